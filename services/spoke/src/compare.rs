//! `--compare`: which series of an original spoke continue in this one.
//!
//! Every series is named by the checksum over its metadata. Where a checksum differs, the metadata of both
//! sides tell by which input.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use agent::http::client;
use anyhow::{Context, bail};
use serde_json::Value;

/// Metadata that is not part of a series' name.
const NOT_NAMING: [&str; 6] = [
    "release",
    "version",
    "pattoo_agent_polling_interval",
    "pattoo_value",
    "pattoo_timestamp",
    "pattoo_checksum",
];

/// What tells the instances of one key apart.
const INSTANCES: [&str; 3] = ["disk_partition_mountpoint", "disk_partition", "network_io_interface"];

/// How long an original may take to answer, and how much it may say.
const LIMIT: Duration = Duration::from_secs(30);
const MOST_BYTES: usize = 64 << 20;

/// Reads the original's answer from an `http://` address or a file.
///
/// # Errors
/// It cannot be read, or the answer is not 200.
pub async fn read(place: &str) -> anyhow::Result<Vec<u8>> {
    if !place.starts_with("http://") {
        return std::fs::read(place).with_context(|| format!("{place}: failed to read"));
    }
    let answer = client::get(place, LIMIT, MOST_BYTES).await?;
    if answer.status != 200 {
        bail!("{place}: status {}", answer.status);
    }
    Ok(answer.body)
}

/// A series as a post tells it.
#[derive(Debug, PartialEq, Eq)]
struct Series {
    checksum: String,
    inputs: BTreeMap<String, String>,
}

/// The series of a post, by what a person would call them.
type Named = BTreeMap<String, Series>;

/// How the series of two posts relate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    continuing: Vec<String>,
    renamed: Vec<(String, Vec<String>)>,
    gone: Vec<String>,
    new: Vec<String>,
}

impl Comparison {
    /// Compares an original's post with ours.
    ///
    /// # Errors
    /// One of them is no post.
    pub fn of(original: &[u8], ours: &[u8]) -> anyhow::Result<Self> {
        let original = series(original).context("the original's answer is no post")?;
        let ours = series(ours).context("the own answer is no post")?;
        let known: BTreeSet<&str> = ours.values().map(|series| series.checksum.as_str()).collect();
        let mut comparison = Self::default();
        for (name, theirs) in &original {
            match ours.get(name) {
                _ if known.contains(theirs.checksum.as_str()) => comparison.continuing.push(name.clone()),
                Some(own) => {
                    comparison.renamed.push((name.clone(), differences(&theirs.inputs, &own.inputs)));
                }
                None => comparison.gone.push(name.clone()),
            }
        }
        comparison.new = ours.into_keys().filter(|name| !original.contains_key(name)).collect();
        Ok(comparison)
    }

    /// Whether the server starts no series anew for one that the original had.
    pub fn all_continue(&self) -> bool {
        self.renamed.is_empty() && self.gone.is_empty() && !self.continuing.is_empty()
    }
}

fn series(post: &[u8]) -> anyhow::Result<Named> {
    let post: Value = serde_json::from_slice(post)?;
    let datapoints = post.get("pattoo_datapoints").context("no pattoo_datapoints")?;
    let rows = datapoints.get("datapoint_pairs").and_then(Value::as_array).context("no datapoint_pairs")?;
    let pairs = datapoints.get("key_value_pairs").and_then(Value::as_object).context("no key_value_pairs")?;
    let mut named = Named::new();
    for row in rows {
        let ids = row.as_array().context("a datapoint that is no list")?;
        let mut all = BTreeMap::new();
        for id in ids {
            let pair =
                pairs.get(&id.to_string()).and_then(Value::as_array).context("an id without a pair")?;
            let [key, value] = pair.as_slice() else { bail!("a pair of {} members", pair.len()) };
            all.insert(text(key), text(value));
        }
        let key = all.get("pattoo_key").context("a datapoint without pattoo_key")?;
        let instance = INSTANCES.iter().find_map(|instance| all.get(*instance));
        let name = instance.map_or_else(|| key.clone(), |instance| format!("{key} of {instance}"));
        let checksum = all.get("pattoo_checksum").context("a datapoint without pattoo_checksum")?.clone();
        all.retain(|key, _| !NOT_NAMING.contains(&key.as_str()));
        // Of two alike the server keeps the first.
        named.entry(name).or_insert(Series { checksum, inputs: all });
    }
    Ok(named)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn differences(theirs: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) -> Vec<String> {
    let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let shown =
        |value: Option<&String>| value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"));
    let differs = |key: &&String| theirs.get(*key) != ours.get(*key);
    let tell = |key: &String| format!("{key} was {}, is {}", shown(theirs.get(key)), shown(ours.get(key)));
    keys.into_iter().filter(differs).map(tell).collect()
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.continuing {
            writeln!(out, "continues  {name}")?;
        }
        for (name, inputs) in &self.renamed {
            writeln!(out, "renamed    {name}: {}", inputs.join("; "))?;
        }
        for name in &self.gone {
            writeln!(out, "gone       {name}")?;
        }
        for name in &self.new {
            writeln!(out, "new        {name}")?;
        }
        writeln!(
            out,
            "{} continue, {} would be renamed, {} are not found here, {} are new",
            self.continuing.len(),
            self.renamed.len(),
            self.gone.len(),
            self.new.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn post(hostname: &str, checksum: &str, interface: &str) -> Vec<u8> {
        serde_json::json!({"pattoo_datapoints": {
            "datapoint_pairs": [[0, 1, 2, 3, 4]],
            "key_value_pairs": {
                "0": ["hostname", hostname], "1": ["network_io_interface", interface],
                "2": ["pattoo_key", "k"], "3": ["pattoo_value", 1], "4": ["pattoo_checksum", checksum],
            },
        }})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_renamed_series_tells_the_input_that_renames_it() {
        let comparison = Comparison::of(&post("a", "1", "eth0"), &post("b", "2", "eth0")).unwrap();
        assert!(!comparison.all_continue());
        assert!(comparison.to_string().contains("renamed    k of eth0: hostname was \"a\", is \"b\""));
    }

    #[test]
    fn the_same_checksum_continues_and_another_instance_does_not() {
        assert!(Comparison::of(&post("a", "1", "eth0"), &post("a", "1", "eth0")).unwrap().all_continue());
        let gone = Comparison::of(&post("a", "1", "eth0"), &post("a", "2", "eth1")).unwrap();
        assert_eq!((gone.gone.len(), gone.new.len(), gone.all_continue()), (1, 1, false));
    }

    #[test]
    fn what_is_no_post_is_refused() {
        for odd in ["", "[]", "{}", r#"{"pattoo_datapoints":{"datapoint_pairs":[[7]],"key_value_pairs":{}}}"#]
        {
            assert!(Comparison::of(odd.as_bytes(), &post("a", "1", "eth0")).is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_original_answered_comparing_ends(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..200) {
            let ours = post("a", "1", "eth0");
            let _ = Comparison::of(&bytes, &ours);
            let spoilt = [&ours[..cut.min(ours.len())], &bytes[..], &ours[cut.min(ours.len())..]].concat();
            let _ = Comparison::of(&spoilt, &ours);
        }
    }
}
