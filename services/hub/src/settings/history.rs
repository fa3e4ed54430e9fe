//! The keys of the history.

use std::time::Duration;

use agent::config::{ConfigError, Configuration};
use serde::Deserialize;

use super::MIB;

const DAY: u64 = 86_400;

/// What is kept for the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Whether anything is.
    pub rule: HistoryRule,
    /// What it may take on disk, in bytes.
    pub max_bytes: u64,
    /// How far back it reaches.
    pub max_age: Duration,
    /// What is kept beside the usual series.
    pub series: Vec<WantedSeries>,
}

impl HistorySettings {
    /// Reads its keys of the section.
    pub(super) fn read(configuration: &Configuration) -> Result<Self, ConfigError> {
        let within =
            |key: &str, value, default, least, most| configuration.within(key, value, default, least, most);
        let written: Written = configuration.own()?;
        let rule = HistoryRule::read(written.history.as_ref());
        let max_age = within("history_max_age", written.history_max_age, 8 * DAY, 3600, 3650 * DAY)?;
        Ok(Self {
            rule: rule.map_err(|reason| configuration.fault("history", reason))?,
            max_bytes: within("history_max_bytes", written.history_max_bytes, 256 * MIB, MIB, 1 << 40)?,
            max_age: Duration::from_secs(max_age),
            series: written.history_series,
        })
    }
}

/// Whether samples are kept for the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistoryRule {
    /// As long as there are not too many hosts.
    #[default]
    Auto,
    /// However many hosts there are.
    On,
    /// Not at all.
    Off,
}

impl HistoryRule {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "true",
            Self::Off => "false",
        }
    }

    /// A switch, or a word where it comes from the environment.
    fn read(written: Option<&WrittenRule>) -> Result<Self, String> {
        Ok(match written {
            None => Self::Auto,
            Some(WrittenRule::Switch(true)) => Self::On,
            Some(WrittenRule::Switch(false)) => Self::Off,
            Some(WrittenRule::Word(word)) => match word.as_str() {
                "auto" => Self::Auto,
                "true" => Self::On,
                "false" => Self::Off,
                other => return Err(format!("one of true, false, auto is expected, found {other:?}")),
            },
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    history: Option<WrittenRule>,
    history_max_bytes: Option<u64>,
    history_max_age: Option<u64>,
    history_series: Vec<WantedSeries>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WrittenRule {
    Switch(bool),
    Word(String),
}

/// A series that is kept beside the usual ones.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct WantedSeries {
    /// The `pattoo_key` of its datapoints.
    pub key: String,
    /// The hosts of which it is kept, by name or agent id; all where there is none.
    #[serde(default)]
    pub hosts: Vec<String>,
}
