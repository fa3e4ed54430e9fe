//! The post check: what it says of any body is what a straightforward judge says, who reads it with serde_json into a tree.
//!
//! Where Python's JSON and serde's differ (halves of characters, numbers beyond 64 bits, deep nesting), or where serde rounds a
//! number near a bound otherwise, the judge has no opinion.

use std::collections::HashSet;

use agent::identity::is_agent_id;
use hub::check::{Ignored, Post, Reason, check};
use serde_json::{Map, Value};

type Opinion = Result<Post, Reason>;

/// Judges `data` in both ways.
pub fn run(data: &[u8]) {
    let judged = check(data);
    if let Some(opinion) = opinion(data) {
        assert_eq!(judged, opinion, "{:?}", String::from_utf8_lossy(data));
    }
}

fn opinion(data: &[u8]) -> Option<Opinion> {
    let Ok(text) = std::str::from_utf8(data) else { return Some(Err(Reason::NotJson)) };
    match serde_json::from_str::<Value>(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        Ok(value) if is_plain(&value) => Some(of_value(&value)),
        Ok(_) => None,
        Err(error) => {
            let said = error.to_string();
            let other = ["out of range", "hex escape", "surrogate", "recursion limit"];
            let python = ["NaN", "Infinity"].iter().any(|word| text.contains(word));
            (!python && !other.iter().any(|part| said.contains(part))).then_some(Err(Reason::NotJson))
        }
    }
}

/// Whether both read every number alike: serde makes -0.0 of `-0`, and may be a bit off in the last place.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => members.values().all(is_plain),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap().abs();
            let near = |bound: f64| (number / bound - 1.0).abs() < 1e-12;
            number != 0.0 && number < 1e308 && ![2.0, 32.0, 64.0, 99.0, 101.0, 1e30].into_iter().any(near)
        }
        _ => true,
    }
}

fn of_value(value: &Value) -> Opinion {
    let post = value.as_object().ok_or(Reason::NotObject)?;
    let keys =
        ["pattoo_agent_id", "pattoo_agent_polling_interval", "pattoo_agent_timestamp", "pattoo_datapoints"];
    if post.keys().ne(keys) {
        return Err(Reason::Keys);
    }
    let [agent_id, interval, timestamp, datapoints] = keys.map(|key| &post[key]);
    let agent_id = agent_id.as_str().filter(|id| is_agent_id(id)).ok_or(Reason::AgentId)?;
    let stamp = natural(timestamp).ok_or(Reason::AgentTimestamp)?;
    let interval = natural(interval).ok_or(Reason::Interval)?;
    let mut found =
        Post { agent_id: agent_id.to_owned(), stamp, interval, datapoints: 0, ignored: Ignored::default() };
    let datapoints = datapoints.as_object().ok_or(Reason::Datapoints)?;
    if datapoints.keys().ne(["datapoint_pairs", "key_value_pairs"]) {
        return Err(Reason::Datapoints);
    }
    let (rows, pairs) = (&datapoints["datapoint_pairs"], &datapoints["key_value_pairs"]);
    let (Some(rows), Some(pairs)) = (rows.as_array(), pairs.as_object()) else {
        return Err(Reason::Datapoints);
    };
    let rows: Vec<Vec<String>> = rows.iter().map(ids).collect::<Result<_, _>>()?;
    let mut agents = HashSet::new();
    for ids in rows {
        row(&ids, pairs, &mut found, &mut agents)?;
    }
    Ok(found)
}

/// From 0 to what 63 bits hold.
fn natural(value: &Value) -> Option<u64> {
    value.as_u64().filter(|number| i64::try_from(*number).is_ok())
}

fn ids(row: &Value) -> Result<Vec<String>, Reason> {
    let id = |value: &Value| {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return Err(Reason::Id),
        };
        // As the number would be written.
        let canonical = text.parse::<u32>().is_ok_and(|id| id.to_string() == text);
        if canonical { Ok(text) } else { Err(Reason::Id) }
    };
    row.as_array().ok_or(Reason::Entry)?.iter().map(id).collect()
}

/// What the server does with one datapoint.
fn row<'a>(
    ids: &[String],
    pairs: &'a Map<String, Value>,
    post: &mut Post,
    agents: &mut HashSet<&'a str>,
) -> Result<(), Reason> {
    let mut known: Map<String, Value> = Map::new();
    let (mut key_is_no_text, mut bare, mut fault) = (false, false, None);
    let mut agent = None;
    for id in ids {
        let pair = pairs.get(id).ok_or(Reason::UnknownId)?;
        let Some([key, value]) = pair.as_array().map(Vec::as_slice) else { return Err(Reason::Pair) };
        let Some(key) = key.as_str() else {
            if key.is_array() || key.is_object() {
                return Err(Reason::Key);
            }
            key_is_no_text = true;
            continue;
        };
        if let Some(key) = key.strip_prefix("pattoo_").and_then(special) {
            if key.is_name {
                fault = fault.or(match value.as_str() {
                    None => Some(Reason::Name),
                    Some(text) if text.len() > 512 => Some(Reason::TooLong),
                    Some(_) => None,
                });
            }
            if key.name == "agent_id" {
                agent = value.as_str();
            }
            known.insert(key.name.to_owned(), value.clone());
        } else if let Some(text) = value.as_str() {
            fault = fault.or(metadata(key, text));
        } else {
            bare = true;
        }
    }
    if known.len() < 10 {
        post.ignored.keys += 1;
        return Ok(());
    }
    if key_is_no_text {
        return Err(Reason::Key);
    }
    let has_value = match data_type(&known["data_type"]) {
        Some(has_value) => has_value,
        None => {
            post.ignored.data_type += 1;
            return Ok(());
        }
    };
    if let Some(fault) = fault.or_else(|| measured(&known["value"]).filter(|_| has_value)) {
        return Err(fault);
    }
    let stamp = natural(&known["timestamp"]).ok_or(Reason::Timestamp)?;
    if !is_interval(&known["agent_polling_interval"]) {
        return Err(Reason::Interval);
    }
    agents.extend(agent);
    if agents.len() > 1 {
        return Err(Reason::MixedAgents);
    }
    post.datapoints += 1;
    post.ignored.metadata += usize::from(bare);
    post.stamp = post.stamp.max(stamp);
    Ok(())
}

struct Special {
    name: &'static str,
    /// Whether it names the series.
    is_name: bool,
}

/// The ten keys that a datapoint must have, by what stands behind `pattoo_`.
fn special(name: &str) -> Option<Special> {
    const NAMES: &[&str] =
        &["agent_id", "agent_polled_target", "agent_program", "agent_hostname", "key", "checksum"];
    const OTHERS: &[&str] = &["data_type", "value", "timestamp", "agent_polling_interval"];
    let of = |all: &'static [&'static str], is_name| {
        all.iter().find(|known| **known == name).map(|name| Special { name, is_name })
    };
    of(NAMES, true).or_else(|| of(OTHERS, false))
}

/// Columns of 512 bytes, into which 512 characters are put.
fn metadata(key: &str, value: &str) -> Option<Reason> {
    let cut: String = value.chars().take(512).collect();
    let value_fits = value.len() <= 512 || cut.is_ascii();
    let key_fits = key.is_ascii() || (key.len() <= 512 && key.to_lowercase().len() <= 512);
    (!(value_fits && key_fits)).then_some(Reason::TooLong)
}

/// Whether the server keeps the value; none where it leaves the datapoint out.
fn data_type(value: &Value) -> Option<bool> {
    match value {
        Value::Null => Some(false),
        Value::Number(number) => match number.as_u64()? {
            2 => Some(false),
            32 | 64 | 99 | 101 => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// What is wrong with a value.
fn measured(value: &Value) -> Option<Reason> {
    let bounded = |number: f64| match number {
        _ if number.is_nan() => Some(Reason::Nan),
        _ if number.is_infinite() => Some(Reason::Infinite),
        _ if number.abs() >= 1e30 => Some(Reason::OutOfRange),
        _ => None,
    };
    match value {
        Value::Number(number) => bounded(number.as_f64()?),
        Value::String(text) => {
            // What Python's float() strips, and how it takes digits apart.
            let space = |letter: char| letter.is_whitespace() || ('\x1c'..='\x1f').contains(&letter);
            let plain = text.trim_matches(space).replace('_', "");
            plain.parse().map_or_else(
                |_| {
                    let like = |letter: char| letter.is_numeric() || "+-.eE".contains(letter);
                    (!plain.is_ascii() && plain.chars().all(like)).then_some(Reason::OutOfRange)
                },
                bounded,
            )
        }
        _ => None,
    }
}

/// A whole number of 32 bits, or its digits.
fn is_interval(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64().is_some_and(|number| u32::try_from(number).is_ok()),
        Value::String(text) => {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.trim_start_matches('0');
            digits && number.len() <= 10 && number.parse::<u64>().unwrap_or(0) <= u64::from(u32::MAX)
        }
        _ => false,
    }
}
