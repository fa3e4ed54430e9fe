//! `/delivery`: how the server is, what waits, and what was set aside.

use std::fmt::Write;
use std::time::Duration;

use agent::http::html::escape;

use super::host::charts;
use super::words;
use super::{Page, Pages};
use crate::api::ask::Ask;

/// The hub's own charts.
const CHARTS: [(&str, &str, &[&str]); 4] = [
    ("Posts that wait", "number", &["waiting_posts"]),
    ("Age of the oldest", "seconds", &["oldest_waiting_seconds"]),
    ("Taken and delivered", "per_second", &["taken_posts_per_second", "delivered_posts_per_second"]),
    ("Server up", "number", &["upstream_up"]),
];

/// Lanes and bodies that the page lists; the API has all of them.
const MOST: usize = 100;

impl Pages {
    pub(super) fn delivery(&self, ask: &Ask) -> Page {
        let mut main = "<h1>Delivery</h1>\n<div data-live=\"delivery\">\n".to_owned();
        let server = self.api.server();
        let (state, class) = match server.state {
            "up" => ("answers", "up"),
            "down" => ("is down", "failing"),
            "off" => ("off", "unknown"),
            _ => ("not asked yet", "unknown"),
        };
        let (posts, bytes) = self.api.store.waiting();
        let oldest = self.api.store.oldest_ms().map(|oldest| self.api.seconds_since(oldest));
        let _ = write!(
            main,
            "<p>{}</p>\n<dl class=\"facts\">\n<div><dt>{}</dt><dd><span class=\"state {class}\">{state}</span> \
             <span class=\"quiet\">{}</span></dd></div>\n",
            escape(&self.upstream_in_words()),
            escape(server.at.as_deref().unwrap_or("server")),
            escape(&server.reason)
        );
        main.push_str(&words::fact("for", &words::since(self.api.upstream.lasts())));
        main.push_str(&words::fact("posts that wait", &format!("{posts} ({})", words::bytes(bytes as f64))));
        let oldest = oldest.filter(|_| posts > 0).map(Duration::from_secs);
        main.push_str(&words::fact("age of the oldest", &words::since(oldest)));
        main.push_str(&words::fact(
            "delivered since the start",
            &self.api.metrics.posts_delivered.get().to_string(),
        ));
        main.push_str("</dl>\n");
        self.losses(&mut main);
        main.push_str("</div>\n<h2>History</h2>\n");
        if self.api.fleet.recorder.is_kept() {
            let range =
                crate::api::RANGES.iter().find(|(name, _)| *name == ask.range).map_or("1h", |(name, _)| name);
            charts(&mut main, "/api/v1/delivery/history", range, &CHARTS, false);
        } else {
            main.push_str("<p>History is off: the configuration says history: false.</p>\n");
        }
        self.lanes(&mut main);
        self.asides(&mut main);
        Page { title: "Delivery".to_owned(), here: "/delivery", main, charts: true }
    }

    fn losses(&self, main: &mut String) {
        let [dropped, aside] = self.api.losses();
        main.push_str("<h2>Lost or set aside since the start</h2>\n");
        let rows = dropped.iter().filter(|(_, posts)| *posts > 0).map(|row| ("dropped", row));
        let rows: Vec<_> = rows.chain(aside.iter().map(|row| ("set aside", row))).collect();
        if rows.is_empty() {
            main.push_str("<p>Nothing.</p>\n");
            return;
        }
        main.push_str(
            "<div class=\"table-frame\"><table><thead><tr><th scope=\"col\">What became of it</th>\
             <th scope=\"col\">Why</th><th scope=\"col\" class=\"number\">Posts</th></tr></thead>\n<tbody>\n",
        );
        for (what, (reason, posts)) in rows {
            let _ =
                writeln!(main, "<tr><td>{what}</td><td>{reason}</td><td class=\"number\">{posts}</td></tr>");
        }
        main.push_str("</tbody></table></div>\n");
    }

    fn lanes(&self, main: &mut String) {
        let lanes = self.api.lanes();
        let _ = write!(
            main,
            "<h2>What waits</h2>\n<div data-live=\"lanes\">\n<p>{}. \
             <a href=\"/api/v1/delivery?format=csv\">CSV</a> <a href=\"/api/v1/delivery\">JSON</a></p>\n",
            words::count(lanes.len(), "source has posts that wait", "sources have posts that wait"),
        );
        if !lanes.is_empty() {
            main.push_str(
                "<div class=\"table-frame\" tabindex=\"0\" role=\"region\" aria-label=\"Sources with posts that wait\">\
                 <table><thead><tr><th scope=\"col\">Source</th><th scope=\"col\" class=\"number\">Posts</th>\
                 <th scope=\"col\" class=\"number\">Size</th><th scope=\"col\" class=\"number\">Oldest</th></tr></thead>\
                 \n<tbody>\n",
            );
        }
        for lane in lanes.iter().take(MOST) {
            let oldest = lane.oldest_ms.map(|oldest| Duration::from_secs(self.api.seconds_since(oldest)));
            let id = escape(&lane.lane);
            let _ = writeln!(
                main,
                "<tr><th scope=\"row\"><a href=\"/host/{id}\"><code>{id}</code></a></th><td class=\"number\">{}</td>\
                 <td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
                lane.posts,
                words::bytes(lane.bytes as f64),
                words::since(oldest)
            );
        }
        if !lanes.is_empty() {
            main.push_str("</tbody></table></div>\n");
        }
        more(main, lanes.len());
        main.push_str("</div>\n");
    }

    fn asides(&self, main: &mut String) {
        let asides = self.api.asides();
        let _ = write!(
            main,
            "<h2>Quarantine</h2>\n<div data-live=\"quarantine\">\n<p>{}. \
             <a href=\"/api/v1/quarantine?format=csv\">CSV</a> <a href=\"/api/v1/quarantine\">JSON</a></p>\n",
            words::count(asides.len(), "body is set aside", "bodies are set aside"),
        );
        if !asides.is_empty() {
            main.push_str(
                "<div class=\"table-frame\" tabindex=\"0\" role=\"region\" aria-label=\"Bodies that were set aside\">\
                 <table><thead><tr><th scope=\"col\">Body</th><th scope=\"col\">Set aside</th><th scope=\"col\">Why</th>\
                 <th scope=\"col\" class=\"number\">Size</th></tr></thead>\n<tbody>\n",
            );
        }
        for aside in asides.iter().take(MOST) {
            let name = escape(&aside.name);
            let _ = writeln!(
                main,
                "<tr><th scope=\"row\"><a href=\"/api/v1/quarantine/{name}\"><code>{name}</code></a></th>\
                 <td>{}</td><td>{}</td><td class=\"number\">{}</td></tr>",
                words::time(aside.taken_ms),
                escape(&aside.reason),
                words::bytes(aside.bytes as f64)
            );
        }
        if !asides.is_empty() {
            main.push_str("</tbody></table></div>\n");
        }
        more(main, asides.len());
        main.push_str("</div>\n");
    }
}

/// That a list goes on.
fn more(main: &mut String, all: usize) {
    if let Some(more) = all.checked_sub(MOST).filter(|more| *more > 0) {
        let _ = writeln!(main, "<p class=\"quiet\">{more} more are in the CSV and the JSON.</p>");
    }
}
