//! `/`: everybody, with state and last numbers.

use std::fmt::Write;

use agent::http::draw::{bar, sparkline};
use agent::http::html::escape;

use super::words::{self, NONE};
use super::{Page, Pages};
use crate::api::ask::Ask;
use crate::deliver::Upstream;
use crate::fleet::{Found, Member, Name, Standing};
use crate::history::MOST_HOSTS;
use crate::lookup::Said;

/// The columns: what they sort by, their words, and their classes.
const COLUMNS: [(&str, &str, &str); 10] = [
    ("host", "Host", ""),
    ("target", "Target", "minor"),
    ("state", "State", ""),
    ("since", "Since", "number minor"),
    ("last", "Last", "number minor"),
    ("duration", "Took", "number minor"),
    ("cpu", "CPU", "number"),
    ("memory", "Memory", "number"),
    ("partition", "Fullest partition", "number"),
    ("network", "Network", "number minor"),
];

impl Pages {
    pub(super) fn fleet(&self, ask: &Ask) -> Page {
        let (found, names) = self.api.fleet.find(ask);
        let mut main = String::with_capacity(2048 * (found.members.len() + 2));
        main.push_str("<h1>Fleet</h1>\n<div data-live=\"summary\">\n");
        self.summary(&mut main, &found, &names);
        main.push_str("</div>\n");
        tools(&mut main, ask);
        main.push_str("<div data-live=\"fleet\">\n");
        filters(&mut main, ask, &found);
        self.table(&mut main, ask, &found);
        pager(&mut main, ask, &found);
        main.push_str("</div>\n");
        Page { title: "Fleet".to_owned(), here: "/", main, charts: false }
    }

    /// What this hub does, in words.
    fn summary(&self, main: &mut String, found: &Found, names: &[Name]) {
        let settings = self.api.fleet.settings.borrow().clone();
        let (posts, bytes) = self.api.store.waiting();
        let targets = self.api.metrics.targets.get();
        let up = self.api.metrics.targets_up.get();
        // Writing to a text cannot fail.
        let _ = write!(
            main,
            "<p>This hub polls {targets} targets every {} s; {up} of them answered the last time. \
             It {} posts of other agents.</p>\n<p>{posts} posts ({}) wait here. {}</p>\n",
            settings.interval.as_secs(),
            if settings.receive { "receives" } else { "does not receive" },
            words::bytes(bytes as f64),
            escape(&self.upstream_in_words()),
        );
        if !self.api.fleet.recorder.is_on() {
            let why = if self.api.fleet.recorder.is_kept() {
                format!("there are more than {MOST_HOSTS} hosts; history: true switches it on")
            } else {
                "the configuration says history: false".to_owned()
            };
            let _ = writeln!(
                main,
                "<p class=\"quiet\">History is off ({why}), and with it the numbers of the hosts.</p>"
            );
        }
        for name in names {
            let bad = matches!(name.said, Said::Empty | Said::Failed(_)) || name.left_out > 0;
            let class = if bad { "notice bad" } else { "quiet" };
            let (text, of) = (escape(&name.name.to_string()), escape(&of_a_name(name)));
            let _ = writeln!(main, "<p class=\"{class}\">{text}: {of}</p>");
        }
        if found.counts == [0; 4] {
            main.push_str("<p>Nothing is polled and nobody has posted here yet.</p>\n");
        }
    }

    /// The server's state.
    pub(super) fn upstream_in_words(&self) -> String {
        let Some(server) = self.api.fleet.settings.borrow().upstream.clone() else {
            return "Posts are kept here and delivered nowhere; the oldest go when the space is used up."
                .to_owned();
        };
        match self.api.upstream.get() {
            Upstream::Unknown => format!("Nothing was sent to the pattoo server at {server} yet."),
            Upstream::Up => format!("The pattoo server at {server} answers."),
            Upstream::Down(reason) => {
                format!("The pattoo server at {server} is down ({reason}); posts wait.")
            }
        }
    }

    fn table(&self, main: &mut String, ask: &Ask, found: &Found) {
        main.push_str(
            "<div class=\"table-frame\" tabindex=\"0\" role=\"region\" aria-label=\"Hosts\">\n<table>\n\
             <caption class=\"unseen\">Hosts</caption>\n<thead><tr>",
        );
        for (by, words, class) in COLUMNS {
            let sorted = ask.sort == by;
            // Numbers are looked at from the largest, names from the first.
            let first = if matches!(by, "host" | "target" | "state") { "asc" } else { "desc" };
            let order = match (sorted, ask.falling) {
                (true, true) => "asc",
                (true, false) => "desc",
                (false, _) => first,
            };
            let state = match (sorted, ask.falling) {
                (true, true) => " aria-sort=\"descending\"",
                (true, false) => " aria-sort=\"ascending\"",
                (false, _) => "",
            };
            let link = ask.with(&[("sort", by), ("order", order), ("offset", "")]);
            let _ = write!(
                main,
                "<th scope=\"col\" class=\"{class}\"{state}><a data-go href=\"/?{}\">{words}</a></th>",
                escape(&link)
            );
        }
        main.push_str("</tr></thead>\n<tbody>\n");
        for member in &found.members {
            self.row(main, member);
        }
        if found.members.is_empty() {
            let _ = writeln!(main, "<tr><td colspan=\"{}\">Nobody matches.</td></tr>", COLUMNS.len());
        }
        main.push_str("</tbody>\n</table>\n</div>\n");
    }

    fn row(&self, main: &mut String, member: &Member) {
        let host = escape(&member.host);
        let host = match &member.agent_id {
            Some(agent_id) => format!("<a href=\"/host/{}\">{host}</a>", escape(agent_id)),
            None => host,
        };
        let target = member.target.as_ref().map_or_else(|| "posts here".to_owned(), ToString::to_string);
        let now = member.agent_id.as_deref().filter(|_| member.row.is_some());
        let now = now.and_then(|agent_id| self.api.fleet.recorder.now(agent_id));
        let spark = |column: usize, most: f32, words: &str| {
            let lines = now.as_ref().map(|now| history::SPARKS.iter().zip(&now.sparks));
            let line = lines.into_iter().flatten().find(|(of, _)| **of == column);
            line.map_or_else(String::new, |(_, line)| sparkline(line, most, words))
        };
        let took = member.took.map_or_else(|| NONE.to_owned(), |took| format!("{} ms", took.as_millis()));
        let fullest = member.number("fullest_partition_percent");
        // Both directions, as one line.
        let network = now.as_ref().map_or_else(String::new, |now| {
            let [.., received, sent] = &now.sparks;
            let sum = |at: usize| {
                let both = [received, sent].map(|line| line.get(at).copied().flatten());
                both.into_iter().flatten().reduce(|one, other| one + other)
            };
            let line: Vec<Option<f32>> = (0..history::SPARK_POINTS).map(sum).collect();
            sparkline(&line, 1000.0, "network over the last hour")
        });
        let _ = writeln!(
            main,
            "<tr><th scope=\"row\">{host}</th><td class=\"minor\">{target}</td><td>{state}</td>\
             <td class=\"number minor\">{since}</td><td class=\"number minor\">{last}</td>\
             <td class=\"number minor\">{took}</td>\
             <td class=\"number\">{cpu_line} {cpu}</td><td class=\"number\">{memory_line} {memory}</td>\
             <td class=\"number\">{bar} {partition}</td><td class=\"number minor\">{network} {rate}</td></tr>",
            target = escape(&target),
            state = words::state(member),
            since = words::since(member.since),
            last = words::since(member.last),
            cpu_line = spark(0, 100.0, "CPU over the last hour"),
            cpu = words::percent(member.number("cpu_used_percent")),
            memory_line = spark(3, 100.0, "memory over the last hour"),
            memory = words::percent(member.number("memory_used_percent")),
            bar = fullest.map_or_else(String::new, bar),
            partition = words::percent(fullest),
            rate = words::rate(member.network()),
        );
    }
}

/// The search field: a form for who has no JavaScript, where Return sends it.
fn tools(main: &mut String, ask: &Ask) {
    let _ = write!(
        main,
        "<form class=\"tools\" role=\"search\" action=\"/\"><label for=\"q\">Search</label>\n\
         <input id=\"q\" name=\"q\" type=\"search\" maxlength=\"200\" autocomplete=\"off\" value=\"{}\" \
         placeholder=\"host, target or agent id\">\n",
        escape(&ask.q)
    );
    let order = if ask.falling { "desc" } else { "" };
    for (name, value) in [("state", ask.state.as_str()), ("sort", &ask.sort), ("order", order)] {
        if !value.is_empty() {
            let _ = writeln!(main, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
        }
    }
    main.push_str("</form>\n");
}

fn filters(main: &mut String, ask: &Ask, found: &Found) {
    main.push_str("<div class=\"tools\"><nav aria-label=\"States\">");
    let mut link = |words: String, state: &str| {
        let here = if ask.state == state { " aria-current=\"true\"" } else { "" };
        let query = ask.with(&[("state", state), ("offset", "")]);
        let _ = write!(main, "<a data-go{here} href=\"/?{}\">{words}</a> ", escape(&query));
    };
    link(format!("all {}", found.counts.iter().sum::<usize>()), "");
    for (standing, count) in Standing::ALL.into_iter().zip(found.counts) {
        link(format!("{} {count}", standing.label()), standing.label());
    }
    let query = escape(&ask.with(&[("offset", ""), ("limit", ""), ("format", "csv")]));
    let _ = write!(
        main,
        "</nav>\n<span class=\"quiet\">{}</span>\n<a href=\"/api/v1/fleet?{query}\">CSV</a> \
         <a href=\"/api/v1/fleet?{}\">JSON</a></div>\n",
        words::count(found.matched, "match", "matches"),
        escape(&ask.with(&[]))
    );
}

/// The pages of a long list.
fn pager(main: &mut String, ask: &Ask, found: &Found) {
    let limit = ask.limit().max(1);
    if found.matched <= limit && ask.offset == 0 {
        return;
    }
    let last = found.matched.saturating_sub(1) / limit * limit;
    let shown = if found.members.is_empty() { 0 } else { ask.offset + 1 };
    let _ = writeln!(
        main,
        "<nav class=\"tools\" aria-label=\"Pages of the list\"><span>{shown} to {} of {}</span>",
        ask.offset + found.members.len(),
        found.matched
    );
    let before = ask.offset.saturating_sub(limit);
    for (words, to) in
        [("First", 0), ("Previous", before), ("Next", (ask.offset + limit).min(last)), ("Last", last)]
    {
        if to == ask.offset {
            let _ = writeln!(main, "<span class=\"quiet\">{words}</span>");
        } else {
            let offset = to.to_string();
            let link = ask.with(&[("offset", if to == 0 { "" } else { &offset })]);
            let _ = writeln!(main, "<a data-go href=\"/?{}\">{words}</a>", escape(&link));
        }
    }
    main.push_str("</nav>\n");
}

fn of_a_name(of: &Name) -> String {
    let addresses = of.addresses;
    let mut text = match &of.said {
        Said::Nothing => "not looked up yet".to_owned(),
        Said::Found => format!("a name with {addresses} addresses, each polled"),
        Said::Empty => "a name without an address".to_owned(),
        Said::Failed(reason) => {
            format!("failing to look the name up ({reason}); {addresses} addresses are known and polled")
        }
    };
    if of.left_out > 0 {
        // Writing to a text cannot fail.
        let _ = write!(text, "; {} more are beyond max_addresses and are not polled", of.left_out);
    }
    text
}
