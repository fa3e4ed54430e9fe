//! The page for people: what this hub does, in words.

use std::fmt::Write;

use crate::deliver::{Upstream, Watched};
use crate::lookup::Said;
use crate::poll::State;
use crate::settings::{InForce, Settings};
use crate::store::Store;
use crate::targets::{Row, Targets};

/// What the page tells.
#[derive(Debug)]
pub(crate) struct Overview {
    pub(crate) settings: InForce,
    pub(crate) agent_id: String,
    pub(crate) targets: Targets,
    pub(crate) store: Store,
    pub(crate) upstream: Watched,
}

impl Overview {
    /// The page, in HTML.
    pub(crate) fn page(&self) -> String {
        let settings = self.settings.borrow().clone();
        let mut rows = String::new();
        let (mut all, mut up) = (0_usize, 0_usize);
        for row in self.targets.rows() {
            let (what, how) = match row {
                Row::Target(target, state) => {
                    all += 1;
                    up += usize::from(state.is_up());
                    (target, in_words(&state))
                }
                Row::Name { name, addresses, left_out, said } => {
                    (name, of_a_name(addresses, left_out, &said))
                }
            };
            // Writing to a text cannot fail.
            let _ =
                writeln!(rows, "<tr><td>{}</td><td>{}</td></tr>", escape(&what.to_string()), escape(&how));
        }
        let (posts, bytes) = self.store.waiting();
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>pattoo hub {node}</title></head>\n\
             <body>\n<h1>pattoo hub on {node}</h1>\n\
             <p>This hub polls {all} targets every {seconds} s; {up} of them answered the last time. \
             It {receives} posts of other agents.</p>\n\
             <p>{posts} posts ({bytes} bytes) wait here. {upstream}</p>\n",
            node = escape(&settings.node),
            seconds = settings.interval.as_secs(),
            receives = if settings.receive { "receives" } else { "does not receive" },
            upstream = escape(&self.upstream_in_words(&settings)),
        );
        if !rows.is_empty() {
            let _ = write!(page, "<table>\n<tr><th>Target</th><th>Last poll</th></tr>\n{rows}</table>\n");
        }
        let _ = write!(
            page,
            "<p>Agent id {}. See also <a href=\"/metrics\">metrics</a>, <a href=\"/livez\">livez</a>, \
             <a href=\"/readyz\">readyz</a>.</p>\n</body></html>\n",
            escape(&self.agent_id)
        );
        page
    }

    fn upstream_in_words(&self, settings: &Settings) -> String {
        let Some(server) = &settings.upstream else {
            return "They are kept here and delivered nowhere; the oldest go when the space is used up."
                .to_owned();
        };
        match self.upstream.get() {
            Upstream::Unknown => format!("Nothing was sent to the pattoo server at {server} yet."),
            Upstream::Up => format!("The pattoo server at {server} answers."),
            Upstream::Down(reason) => {
                format!("The pattoo server at {server} is down ({reason}); posts wait.")
            }
        }
    }
}

fn in_words(state: &State) -> String {
    match state {
        State::Unknown => "not polled yet".to_owned(),
        State::Up { agent_id, bytes, took } => {
            format!("up: {bytes} bytes of {agent_id} in {} ms", took.as_millis())
        }
        State::Contested { agent_id, first, goes_up } => {
            let what = if *goes_up { "go up as well" } else { "are set aside, the newest of them is kept" };
            format!("two targets, one spoke: {agent_id} is taken from {first}; the posts of this one {what}")
        }
        State::Failing(failure) => format!("failing: {failure}"),
    }
}

fn of_a_name(addresses: usize, left_out: usize, said: &Said) -> String {
    let mut text = match said {
        Said::Nothing => "not looked up yet".to_owned(),
        Said::Found => format!("a name with {addresses} addresses, each polled"),
        Said::Empty => "a name without an address".to_owned(),
        Said::Failed(reason) => {
            format!("failing to look the name up ({reason}); {addresses} addresses are known and polled")
        }
    };
    if left_out > 0 {
        // Writing to a text cannot fail.
        let _ = write!(text, "; {left_out} more are beyond max_addresses and are not polled");
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
