//! The page for people: what this hub does, in words.

use std::fmt::Write;

use crate::deliver::{Upstream, Watched};
use crate::poll::{State, Targets};
use crate::settings::Settings;
use crate::store::Store;

/// What the page tells.
#[derive(Debug)]
pub(crate) struct Overview {
    pub(crate) settings: Settings,
    pub(crate) agent_id: String,
    pub(crate) targets: Targets,
    pub(crate) store: Store,
    pub(crate) upstream: Watched,
}

impl Overview {
    /// The page, in HTML.
    pub(crate) fn page(&self) -> String {
        let mut rows = String::new();
        let (mut all, mut up) = (0_usize, 0_usize);
        for (target, state) in self.targets.states() {
            all += 1;
            up += usize::from(state.is_up());
            // Writing to a text cannot fail.
            let _ = writeln!(
                rows,
                "<tr><td>{}</td><td>{}</td></tr>",
                escape(&target.to_string()),
                escape(&in_words(&state))
            );
        }
        let (posts, bytes) = self.store.waiting();
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>pattoo hub {node}</title></head>\n\
             <body>\n<h1>pattoo hub on {node}</h1>\n\
             <p>This hub polls {all} targets every {seconds} s; {up} of them answered the last time. \
             It {receives} posts of other agents.</p>\n\
             <p>{posts} posts ({bytes} bytes) wait here. {upstream}</p>\n",
            node = escape(&self.settings.node),
            seconds = self.settings.interval.as_secs(),
            receives = if self.settings.receive { "receives" } else { "does not receive" },
            upstream = escape(&self.upstream_in_words()),
        );
        if all > 0 {
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

    fn upstream_in_words(&self) -> String {
        let Some(server) = &self.settings.upstream else {
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
