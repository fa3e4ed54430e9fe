//! One host: what it is, its history, its posts.

use std::time::Duration;

use agent::http::answer::{self, Answer};
use history::{HEADLINE, Points, Query, Series};
use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::table::{field, line};
use super::{Api, as_of_now, csv_text, error, fleet_table, number, object};
use crate::fleet::Member;

/// The ranges that there are, and how long each is.
pub(crate) const RANGES: [(&str, Duration); 4] = [
    ("1h", Duration::from_secs(3600)),
    ("6h", Duration::from_secs(6 * 3600)),
    ("24h", Duration::from_secs(86_400)),
    ("7d", Duration::from_secs(7 * 86_400)),
];

const NO_HOST: &str = "there is no such host; /api/v1/fleet lists them";

impl Api {
    /// The members whose posts are of this agent.
    pub(crate) fn members_of(&self, agent_id: &str) -> Vec<Member> {
        let (members, _) = self.fleet.all();
        members.into_iter().filter(|member| member.agent_id.as_deref() == Some(agent_id)).collect()
    }

    pub(super) fn host_page(&self, agent_id: &str) -> Answer {
        let members = self.members_of(agent_id);
        let now = self.fleet.recorder.now(agent_id);
        let lane = self.store.in_lane(agent_id);
        if members.is_empty() && now.is_none() && lane.is_none() {
            return error(404, NO_HOST);
        }
        let hostname = now.as_ref().map(|now| now.hostname.clone());
        let values = now.as_ref().map(|now| {
            let values = HEADLINE.iter().zip(now.values);
            values.map(|(series, value)| (series.name.to_owned(), number(Some(value)))).collect::<Map<_, _>>()
        });
        let now_ms = self.fleet.recorder.now_ms();
        let waiting = lane.map(|lane| {
            let oldest = lane.oldest_ms.filter(|_| lane.posts > 0);
            json!({
                "posts": lane.posts, "bytes": lane.bytes,
                "oldest_seconds": oldest.map(|oldest| now_ms.saturating_sub(oldest) / 1000),
            })
        });
        object(json!({
            "agent_id": agent_id,
            "host": hostname.or_else(|| members.first().map(|member| member.host.clone())),
            "members": fleet_table(&members).objects(),
            "sample_ms": now.as_ref().map(|now| now.stamp_ms),
            "now": values,
            "waiting": waiting,
        }))
    }

    /// What is drawn of a host for a range; `None` where nothing can be had.
    pub(crate) async fn picture(
        &self,
        agent_id: &str,
        range: Duration,
    ) -> Option<(Query, Vec<Series>, Points)> {
        let query = Query::last(range, self.fleet.recorder.now_ms());
        let (series, mut points) = self.fleet.recorder.points(agent_id, query).await?;
        // The hub has no processor of its own to tell of, and not every host swaps.
        let (series, values) = series
            .into_iter()
            .zip(points.values)
            .filter(|(_, values)| values.iter().any(Option::is_some))
            .unzip();
        points.values = values;
        Some((query, series, points))
    }

    pub(super) async fn history_page(&self, agent_id: &str, ask: &Ask) -> Answer {
        let range = if ask.range.is_empty() { "1h" } else { ask.range.as_str() };
        let Some((_, range)) = RANGES.into_iter().find(|(name, _)| *name == range) else {
            return error(400, "range: one of 1h, 6h, 24h, 7d is expected");
        };
        if !self.fleet.recorder.is_kept() {
            return error(404, "history is off; the configuration's key history switches it on");
        }
        let Some((query, series, points)) = self.picture(agent_id, range).await else {
            return error(503, "the history cannot be read now; try again");
        };
        if series.is_empty() && self.fleet.recorder.now(agent_id).is_none() {
            return error(404, NO_HOST);
        }
        if ask.is_csv() {
            return csv_text("history", history_csv(&series, &points));
        }
        let series = series.iter().zip(points.values).map(|(series, values)| {
            let values: Vec<Value> = values.into_iter().map(number).collect();
            json!({
                "name": series.name, "instance": series.instance, "unit": series.unit.label(), "values": values,
            })
        });
        object(json!({
            "agent_id": agent_id,
            "from_ms": query.from_ms,
            "to_ms": query.to_ms,
            "step_ms": query.step_ms,
            "times_ms": points.stamps,
            "series": series.collect::<Vec<_>>(),
        }))
    }

    pub(super) fn posts_page(&self, agent_id: &str) -> Answer {
        let newest = self.store.newest(agent_id);
        let waiting = self.store.in_lane(agent_id).map_or(0, |lane| lane.posts);
        let post = newest.map(|(taken_ms, body)| {
            let read: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            json!({ "taken_ms": taken_ms, "bytes": body.len(), "post": read })
        });
        object(json!({ "agent_id": agent_id, "waiting": waiting, "posts": Vec::from_iter(post) }))
    }

    pub(super) fn newest_page(&self, agent_id: &str) -> Answer {
        match self.store.newest(agent_id) {
            Some((_, body)) => as_of_now(answer::json(200, body)),
            None => error(404, "no post of it was taken since the start, or others were taken after it"),
        }
    }
}

/// One line a time; a column a series.
fn history_csv(series: &[Series], points: &Points) -> String {
    let mut out = String::new();
    let names = series.iter().map(|series| {
        let name = match series.instance.as_str() {
            "" => series.name.clone(),
            instance => format!("{} {instance}", series.name),
        };
        field(&Value::String(name))
    });
    line(&mut out, std::iter::once("time_ms".to_owned()).chain(names));
    for (at, stamp) in points.stamps.iter().enumerate() {
        let values = points.values.iter().map(|values| field(&number(values.get(at).copied().flatten())));
        line(&mut out, std::iter::once(stamp.to_string()).chain(values));
    }
    out
}
