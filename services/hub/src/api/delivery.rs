//! What waits, what was set aside, and what is in force.

use agent::http::answer::{self, Answer};
use serde_json::{Value, json};

use super::ask::Ask;
use super::table::Table;
use super::{Api, as_of_now, csv, error, object, paged};
use crate::deliver::Upstream;
use crate::quarantine::Why;
use crate::store::InLane;

/// How the server is, in a word and a reason.
pub(crate) struct Server {
    /// Where it is; none where nothing is delivered.
    pub(crate) at: Option<String>,
    /// `up`, `down`, `unknown`, or `off`.
    pub(crate) state: &'static str,
    /// Why it is down.
    pub(crate) reason: String,
}

/// A body that was set aside, as its file's name tells.
pub(crate) struct Aside {
    pub(crate) name: String,
    pub(crate) taken_ms: u64,
    pub(crate) reason: String,
    pub(crate) bytes: u64,
}

impl Api {
    pub(crate) fn server(&self) -> Server {
        let server = self.fleet.settings.borrow().upstream.as_ref().map(ToString::to_string);
        let (state, reason) = match (&server, self.upstream.get()) {
            (None, _) => ("off", String::new()),
            (_, Upstream::Unknown) => ("unknown", String::new()),
            (_, Upstream::Up) => ("up", String::new()),
            (_, Upstream::Down(failure)) => ("down", failure.to_string()),
        };
        Server { at: server, state, reason }
    }

    /// The lanes that hold something, the largest first.
    pub(crate) fn lanes(&self) -> Vec<InLane> {
        let mut lanes = self.store.in_lanes();
        lanes.retain(|lane| lane.posts > 0);
        lanes.sort_by(|one, other| other.posts.cmp(&one.posts).then_with(|| one.lane.cmp(&other.lane)));
        lanes
    }

    /// Seconds since a time of the hub's clock.
    pub(crate) fn seconds_since(&self, ms: u64) -> u64 {
        self.fleet.recorder.now_ms().saturating_sub(ms) / 1000
    }

    /// Posts that had to go, and bodies that were set aside, since the start, by reason.
    pub(crate) fn losses(&self) -> [Vec<(&'static str, u64)>; 2] {
        let aside = Why::all().map(|why| (why.label(), self.metrics.quarantined_for(why)));
        [self.store.dropped().to_vec(), aside.filter(|(_, count)| *count > 0).collect()]
    }

    pub(super) fn delivery_page(&self, ask: &Ask) -> Answer {
        let (lanes, page) = paged(self.lanes(), ask);
        let mut table = Table::new(&["agent_id", "posts", "bytes", "oldest_seconds"]);
        for lane in page {
            let oldest = lane.oldest_ms.map(|oldest| self.seconds_since(oldest));
            table.rows.push(vec![json!(*lane.lane), json!(lane.posts), json!(lane.bytes), json!(oldest)]);
        }
        if ask.is_csv() {
            return csv("delivery", &table);
        }
        let (posts, bytes) = self.store.waiting();
        let server = self.server();
        let by_reason = |counts: &[(&str, u64)]| -> Value {
            counts.iter().map(|(reason, posts)| json!({ "reason": reason, "posts": posts })).collect()
        };
        let [dropped, aside] = self.losses();
        object(json!({
            "at_ms": self.fleet.recorder.now_ms(),
            "upstream": {
                "server": server.at, "state": server.state, "reason": server.reason,
                "since_seconds": self.upstream.lasts().map(|lasts| lasts.as_secs()),
            },
            "waiting": {
                "posts": posts, "bytes": bytes,
                "oldest_seconds": self.store.oldest_ms().map(|oldest| self.seconds_since(oldest)),
            },
            "delivered": self.metrics.posts_delivered.get(),
            "dropped": by_reason(&dropped),
            "quarantined": by_reason(&aside),
            "lanes_waiting": lanes,
            "offset": ask.offset,
            "limit": ask.limit(),
            "lanes": table.objects(),
        }))
    }

    /// What is set aside, newest first.
    pub(crate) fn asides(&self) -> Vec<Aside> {
        let aside = |(name, bytes): (String, u64)| {
            let mut parts = name.trim_end_matches(".body").splitn(3, '-');
            let taken_ms = parts.next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
            let reason = parts.next().unwrap_or_default().to_owned();
            Aside { taken_ms, reason, bytes, name }
        };
        self.quarantine.known().into_iter().map(aside).collect()
    }

    pub(super) fn quarantine_page(&self, ask: &Ask) -> Answer {
        let (matched, page) = paged(self.asides(), ask);
        let mut table = Table::new(&["name", "taken_ms", "reason", "bytes"]);
        let row = |aside: Aside| {
            vec![json!(aside.name), json!(aside.taken_ms), json!(aside.reason), json!(aside.bytes)]
        };
        table.rows.extend(page.into_iter().map(row));
        if ask.is_csv() {
            return csv("quarantine", &table);
        }
        let (offset, limit) = (ask.offset, ask.limit());
        object(json!({ "matched": matched, "offset": offset, "limit": limit, "bodies": table.objects() }))
    }

    /// A body that was set aside, byte for byte, as plain text: it may be anything, and nothing runs it.
    pub(super) async fn body_page(&self, name: &str) -> Answer {
        const GONE: &str = "there is no such body in quarantine; /api/v1/quarantine lists them";
        let Some(entry) = self.quarantine.entry(name) else { return error(404, GONE) };
        let Ok(_place) = self.reading.try_acquire() else {
            return error(503, "too many ask for what is on disk; try again");
        };
        let quarantine = self.quarantine.clone();
        match tokio::task::spawn_blocking(move || quarantine.read(&entry)).await {
            Ok(Ok(body)) => as_of_now(answer::text(200, body)),
            _ => error(404, GONE),
        }
    }

    /// The settings in force, as `--check` prints them.
    pub(crate) async fn report(&self) -> Result<String, String> {
        let settings = self.fleet.settings.borrow().clone();
        let _place = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let report = tokio::task::spawn_blocking(move || settings.report());
        report.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    pub(super) async fn configuration_page(&self, ask: &Ask) -> Answer {
        let report = match self.report().await {
            Ok(report) => report,
            Err(why) => return error(500, &why),
        };
        let table = settings(&report);
        if ask.is_csv() {
            return csv("configuration", &table);
        }
        object(json!({ "report": report, "settings": table.objects() }))
    }
}

/// The lines of the report as a table: an item of a list begins with a dash.
pub(crate) fn settings(report: &str) -> Table {
    let mut table = Table::new(&["section", "key", "value"]);
    let mut section = "";
    for line in report.lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        if !line.starts_with(' ') {
            section = key;
            continue;
        }
        let value = value.trim().trim_matches('"');
        table.rows.push(vec![json!(section), json!(key.trim()), json!(value)]);
    }
    table
}
