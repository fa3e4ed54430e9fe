//! `/host/<agent_id>`: charts of one host, and its posts.

use std::fmt::Write;

use agent::http::html::escape;
use serde_json::json;

use super::words;
use super::{Page, Pages};
use crate::api::RANGES;
use crate::api::ask::Ask;

/// The charts: heading, unit, and the series of each.
const CHARTS: [(&str, &str, &[&str]); 9] = [
    ("CPU", "percent", &["cpu_used_percent", "cpu_iowait_percent"]),
    ("Load", "number", &["load_1m"]),
    ("Memory", "percent", &["memory_used_percent"]),
    ("Swap", "percent", &["swap_used_percent"]),
    ("Partitions", "percent", &["partition_used_percent"]),
    ("Disk I/O", "bytes_per_second", &["disk_read_bytes", "disk_written_bytes"]),
    ("Busiest disk", "percent", &["disk_busy_percent"]),
    ("Network", "bytes_per_second", &["network_received_bytes", "network_sent_bytes"]),
    ("Network errors and drops", "per_second", &["network_errors"]),
];

/// Charts of a host, which the script fills: of what the API says at `from`.
pub(super) fn charts(
    main: &mut String,
    from: &str,
    range: &str,
    charts: &[(&str, &str, &[&str])],
    more: bool,
) {
    main.push_str("<div class=\"tools\" role=\"group\" aria-label=\"Range\">\n");
    for (name, _) in RANGES {
        // Writing to a text cannot fail.
        let _ = writeln!(
            main,
            "<button type=\"button\" data-range=\"{name}\" aria-pressed=\"{}\">{name}</button>",
            name == range
        );
    }
    let _ = write!(
        main,
        "<a id=\"history-csv\" href=\"{0}?range={1}&amp;format=csv\">CSV</a> \
         <a id=\"history-json\" href=\"{0}?range={1}\">JSON</a>\n<span id=\"charts-say\" role=\"status\"></span>\n\
         </div>\n<div class=\"charts\" id=\"charts\" data-from=\"{0}\" data-range=\"{1}\" data-more=\"{more}\">\n",
        escape(from),
        escape(range)
    );
    for (heading, unit, series) in charts {
        let _ = writeln!(
            main,
            "<section class=\"chart\"><h3>{heading}</h3><div class=\"plot\" role=\"img\" aria-label=\"{heading} over the \
             range\" data-unit=\"{unit}\" data-series=\"{}\"></div></section>",
            escape(&json!(series).to_string())
        );
    }
    main.push_str(
        "</div>\n<noscript><p class=\"notice\">The charts are drawn by a script; the same numbers are in \
                   the CSV.</p></noscript>\n",
    );
}

impl Pages {
    /// The page of an agent's host; `None` where nobody gives its posts, and nothing of it is known.
    pub(super) fn host(&self, agent_id: &str, ask: &Ask) -> Option<Page> {
        let members = self.api.members_of(agent_id);
        let recorder = &self.api.fleet.recorder;
        let now = recorder.now(agent_id);
        let lane = self.api.store.in_lane(agent_id);
        if members.is_empty() && now.is_none() && lane.is_none() {
            return None;
        }
        let name = now.as_ref().map(|now| now.hostname.clone()).filter(|name| !name.is_empty());
        let name = name.or_else(|| members.first().map(|member| member.host.clone()));
        let name = name.unwrap_or_else(|| agent_id.to_owned());
        let mut main =
            format!("<h1>{}</h1>\n<div data-live=\"facts\">\n<dl class=\"facts\">\n", escape(&name));
        for member in &members {
            let target = member.target.as_ref().map_or_else(|| "posts here".to_owned(), ToString::to_string);
            let _ =
                writeln!(main, "<div><dt>{}</dt><dd>{}</dd></div>", escape(&target), words::state(member));
            main.push_str(&words::fact("for", &words::since(member.since)));
            main.push_str(&words::fact("last post", &format!("{} ago", words::since(member.last))));
            if let Some(took) = member.took {
                main.push_str(&words::fact("the poll took", &format!("{} ms", took.as_millis())));
            }
        }
        if let Some(member) = members.first() {
            for (words, text) in [
                ("CPU", words::percent(member.number("cpu_used_percent"))),
                ("memory", words::percent(member.number("memory_used_percent"))),
                ("fullest partition", words::percent(member.number("fullest_partition_percent"))),
                ("network", words::rate(member.network())),
            ] {
                main.push_str(&words::fact(words, &text));
            }
        }
        let waiting = lane.map_or(0, |lane| lane.posts);
        main.push_str(&words::fact("posts that wait", &waiting.to_string()));
        let _ = write!(
            main,
            "</dl>\n</div>\n<p class=\"quiet\">Agent id <code>{}</code></p>\n<h2>History</h2>\n",
            escape(agent_id)
        );
        if recorder.is_kept() {
            let range = RANGES.iter().find(|(name, _)| *name == ask.range).map_or("1h", |(name, _)| name);
            charts(&mut main, &format!("/api/v1/hosts/{agent_id}/history"), range, &CHARTS, true);
        } else {
            main.push_str("<p>History is off: the configuration says history: false.</p>\n");
        }
        self.posts(&mut main, agent_id);
        Some(Page { title: name, here: "", main, charts: true })
    }

    /// The newest post, as it came.
    fn posts(&self, main: &mut String, agent_id: &str) {
        main.push_str("<h2>Posts</h2>\n<div data-live=\"posts\">\n");
        match self.api.store.newest(agent_id) {
            Some((taken_ms, body)) => {
                let _ = writeln!(
                    main,
                    "<p>The newest was taken at {}: {}. \
                     <a href=\"/api/v1/hosts/{}/posts/newest\">Read it as it came</a>.</p>",
                    words::time(taken_ms),
                    words::bytes(body.len() as f64),
                    escape(agent_id)
                );
            }
            None => main.push_str(
                "<p>The newest is not kept: none was taken since the start, or those of many others were since.</p>\n",
            ),
        }
        main.push_str("</div>\n");
    }
}
