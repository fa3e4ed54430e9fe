//! The API of the hub's pages, `/api/v1`: read only, versioned; `docs/api.md` has its contract. What is a table there is
//! also CSV (`?format=csv`).

pub(crate) mod ask;
mod delivery;
mod hosts;
pub(crate) mod table;

use std::time::Duration;

use agent::http::answer::{self, Answer};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use warp::http::Method;
use warp::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, HeaderValue};

use self::ask::Ask;
pub(crate) use self::hosts::RANGES;
use self::table::Table;
use crate::deliver::Watched;
use crate::fleet::{Fleet, Found, Member, Standing};
use crate::lookup::Said;
use crate::metrics::Metrics;
use crate::quarantine::Quarantine;
use crate::store::Store;

/// Where the API is.
const ROOT: &str = "/api/v1";

/// Answers that wait for a disk at the same time: what delivers waits for the same threads.
const AT_A_TIME: usize = 4;

/// From what the API answers.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) fleet: Fleet,
    pub(crate) store: Store,
    pub(crate) quarantine: Quarantine,
    pub(crate) upstream: Watched,
    pub(crate) metrics: Metrics,
    pub(crate) reading: Semaphore,
}

/// So many answers may wait for a disk.
pub(crate) fn places() -> Semaphore {
    Semaphore::new(AT_A_TIME)
}

impl Api {
    /// Answers what belongs to the API, `None` for another path.
    pub(crate) async fn answer(&self, method: &Method, path: &str, query: &str) -> Option<Answer> {
        let rest = path.strip_prefix(ROOT)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        Some(answer::reading_later(method, self.page(rest, &Ask::read(query))).await)
    }

    async fn page(&self, path: &str, ask: &Ask) -> Answer {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            [] | [""] => object(index()),
            ["fleet"] => self.fleet_page(ask),
            ["hosts", agent_id] => self.host_page(agent_id),
            ["hosts", agent_id, "history"] => self.history_page(agent_id, ask).await,
            ["hosts", agent_id, "posts"] => self.posts_page(agent_id),
            ["hosts", agent_id, "posts", "newest"] => self.newest_page(agent_id),
            ["delivery"] => self.delivery_page(ask),
            ["delivery", "history"] => self.history_page(crate::history::HUB, ask).await,
            ["quarantine"] => self.quarantine_page(ask),
            ["quarantine", name] => self.body_page(name).await,
            ["configuration"] => self.configuration_page(ask).await,
            _ => error(404, "there is no such page of the API; /api/v1 lists them"),
        }
    }

    fn fleet_page(&self, ask: &Ask) -> Answer {
        let states = Standing::ALL.map(Standing::label);
        if !ask.state.is_empty() && !states.contains(&ask.state.as_str()) {
            return error(400, &format!("state: one of {} is expected", states.join(", ")));
        }
        let (found, names) = self.fleet.find(ask);
        if ask.is_csv() {
            return csv("fleet", &fleet_table(&found.members));
        }
        let Found { counts, matched, members } = found;
        let settings = self.fleet.settings.borrow().clone();
        let mut hosts = fleet_table(&members).objects();
        for (host, member) in hosts.as_array_mut().into_iter().flatten().zip(&members) {
            let now = member.agent_id.as_deref().and_then(|agent_id| self.fleet.recorder.now(agent_id));
            let sparks = now.map_or(Value::Null, |now| {
                let lines = history::SPARKS.iter().zip(&now.sparks);
                let line = |(column, line): (&usize, &[Option<f32>; history::SPARK_POINTS])| {
                    let name = history::HEADLINE.get(*column).map_or("", |series| series.name);
                    (name.to_owned(), line.iter().map(|point| number(*point)).collect())
                };
                Value::Object(lines.map(line).collect())
            });
            if let Some(host) = host.as_object_mut() {
                host.insert("sparks".to_owned(), sparks);
            }
        }
        let counts = Standing::ALL.iter().zip(counts);
        let counts: Map<String, Value> =
            counts.map(|(standing, count)| (standing.label().to_owned(), count.into())).collect();
        let name = |name: &crate::fleet::Name| {
            let (state, reason) = match &name.said {
                Said::Nothing => ("unknown", ""),
                Said::Found => ("found", ""),
                Said::Empty => ("empty", ""),
                Said::Failed(reason) => ("failed", reason.as_str()),
            };
            json!({
                "name": name.name.to_string(), "addresses": name.addresses, "left_out": name.left_out,
                "state": state, "reason": reason,
            })
        };
        object(json!({
            "at_ms": self.fleet.recorder.now_ms(),
            "interval_seconds": settings.interval.as_secs(),
            "history": self.fleet.recorder.is_on(),
            "states": counts,
            "matched": matched,
            "offset": ask.offset,
            "limit": ask.limit(),
            "names": names.iter().map(name).collect::<Vec<_>>(),
            "hosts": hosts,
        }))
    }
}

/// The members as a table.
pub(super) fn fleet_table(members: &[Member]) -> Table {
    let mut table = Table::new(&[
        "host",
        "target",
        "agent_id",
        "source",
        "state",
        "reason",
        "since_seconds",
        "last_seconds",
        "duration_ms",
        "post_bytes",
    ]);
    table.columns.extend(history::HEADLINE.iter().map(|series| series.name));
    for member in members {
        let mut row = vec![
            json!(member.host),
            json!(member.target.as_ref().map(ToString::to_string)),
            json!(member.agent_id),
            json!(if member.target.is_some() { "poll" } else { "receive" }),
            json!(member.standing.label()),
            json!(member.reason),
            seconds(member.since),
            seconds(member.last),
            member.took.map_or(Value::Null, |took| number(Some(took.as_secs_f32() * 1000.0))),
            json!(member.bytes),
        ];
        let known = |at| member.row.as_ref().and_then(|row| row.get(at).copied());
        row.extend((0..history::HEADLINE.len()).map(|at| number(known(at))));
        table.rows.push(row);
    }
    table
}

fn index() -> Value {
    json!({
        "version": 1,
        "pages": [
            "/api/v1/fleet",
            "/api/v1/hosts/<agent_id>",
            "/api/v1/hosts/<agent_id>/history",
            "/api/v1/hosts/<agent_id>/posts",
            "/api/v1/hosts/<agent_id>/posts/newest",
            "/api/v1/delivery",
            "/api/v1/delivery/history",
            "/api/v1/quarantine",
            "/api/v1/quarantine/<name>",
            "/api/v1/configuration",
        ],
    })
}

/// Whole seconds.
fn seconds(time: Option<Duration>) -> Value {
    json!(time.map(|time| time.as_secs()))
}

/// A measured number, with three decimals; what is none is null.
pub(super) fn number(value: Option<f32>) -> Value {
    let value = value.filter(|value| value.is_finite());
    value.map_or(Value::Null, |value| json!((f64::from(value) * 1000.0).round() / 1000.0))
}

/// An answer as of now, which nobody keeps.
fn as_of_now(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer::guard(&mut answer);
    answer
}

#[allow(clippy::needless_pass_by_value, reason = "it is made for this")]
fn object(value: Value) -> Answer {
    as_of_now(answer::json(200, format!("{value}\n")))
}

fn error(status: u16, why: &str) -> Answer {
    as_of_now(answer::json(status, format!("{}\n", json!({ "error": why }))))
}

fn csv(name: &str, table: &Table) -> Answer {
    csv_text(name, table.csv())
}

fn csv_text(name: &str, text: String) -> Answer {
    let mut answer = as_of_now(answer::with_type(200, "text/csv; charset=utf-8; header=present", text));
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}.csv\"")) {
        answer.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    answer
}

/// Of the rows of a table those that are asked for, and how many there are in all.
fn paged<T>(rows: Vec<T>, ask: &Ask) -> (usize, Vec<T>) {
    (rows.len(), rows.into_iter().skip(ask.offset).take(ask.limit()).collect())
}
