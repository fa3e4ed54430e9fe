//! What the hub is told by configuration: its own section, and where the pattoo server is.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::config::keys::{Key, Kind, Section};
use agent::config::{ConfigError, Configuration, Pattoo};
use agent::identity::{self, Sources};
use serde::Deserialize;
use tokio::sync::watch;

use crate::PROGRAM;
use crate::store::Bounds;
use crate::target::{Device, Host, Resolve, Target};

mod history;

pub use history::{HistoryRule, HistorySettings, WantedSeries};

/// The hub's own section.
pub const OWN: Section = Section {
    name: "pattoo_agent_os_hubd",
    strict: true,
    keys: &[
        Key::new("ip_devices", Kind::List, "what is polled: items of `ip_address` (address or host name), `ip_bind_port` and, where every address of the name is a host of its own, `resolve: all` (none; needed unless `receive`)").or("ip_targets"),
        Key::new("max_addresses", Kind::Integer, "addresses of one name with `resolve: all` that are polled; the others are left out and counted (`5000`)"),
        Key::new("polling_interval", Kind::Integer, "seconds between two polls of a target; 0 means 300 (`300`)"),
        Key::new("poll_timeout", Kind::Integer, "seconds for a whole poll, at most the interval (`10`, or the interval where that is shorter)"),
        Key::new("ip_listen_address", Kind::Text, "address of pages, health, metrics and receiving (`127.0.0.1`; in the image `0.0.0.0`)"),
        Key::new("ip_bind_port", Kind::Integer, "port of pages, health, metrics and receiving; 0: a free one (`5001`)"),
        Key::new("receive", Kind::Switch, "whether other agents may post here, as to a pattoo server (`false`)"),
        Key::new("identity", Kind::Text, "what becomes of the posts of a spoke that another target gives as well: `pin` sets them aside, `warn` sends them up all the same; both tell (`pin`)"),
        Key::new("agent_id", Kind::Text, "the hub's agent_id where no file keeps one (derived from machine-id and host name, else random)"),
        Key::new("hostname", Kind::Text, "the host's name, from which an agent_id may be derived (the system's)"),
        Key::new("max_post_bytes", Kind::Integer, "the largest post that is taken, in bytes (`4194304`)"),
        Key::new("max_bytes", Kind::Integer, "what the spool may take on disk, in bytes; beyond, the oldest of the largest source goes (`1073741824`)"),
        Key::new("max_age", Kind::Integer, "seconds after which a post that waits is dropped (`604800`, a week)"),
        Key::new("max_sources", Kind::Integer, "sources that the spool keeps apart (`20000`)"),
        Key::new("quarantine_max_bytes", Kind::Integer, "what is kept of bodies that were set aside, in bytes; beyond, the oldest goes (`67108864`)"),
        Key::new("delivery_concurrency", Kind::Integer, "sources whose posts are delivered at the same time (`8`)"),
        Key::new("delivery_timeout", Kind::Integer, "seconds for the delivery of a post (`10`)"),
        Key::new("backoff_max", Kind::Integer, "longest pause before delivery is tried again, in seconds (`30`)"),
        Key::new("delivery_rate", Kind::Integer, "posts that are delivered in a second at most; 0: no limit (`1000`)"),
        Key::new("max_attempts", Kind::Integer, "refusals after which a post is set aside, if the server takes others (`5`)"),
        Key::new("allowed_clock_skew", Kind::Integer, "seconds that a post may be ahead of the hub's clock (`60`)"),
        Key::new("max_future", Kind::Integer, "seconds ahead up to which a post waits until it is due; beyond, it is set aside (`3600`)"),
        Key::new("history", Kind::Text, "whether samples are kept for the pages' charts: `true`, `false`, or `auto`, which is `true` up to 2,000 targets and sources (`auto`)"),
        Key::new("history_max_bytes", Kind::Integer, "what the history may take on disk, in bytes; beyond, it reaches back less far (`268435456`)"),
        Key::new("history_max_age", Kind::Integer, "seconds that the history reaches back (`691200`, 8 days)"),
        Key::new("history_series", Kind::List, "series that are kept beside the usual ones: items of `key` (a `pattoo_key`) and, where it is not for all, `hosts` (names or agent ids) (none)"),
        Key::new("graceful_timeout", Kind::Integer, "seconds that stopping may take (`4`)"),
    ],
};

/// The section that tells every agent where the pattoo server is.
pub const API: Section = Section {
    name: "pattoo_agent_api",
    strict: false,
    keys: &[
        Key::new("ip_address", Kind::Text, "address or host name of the pattoo server (`localhost`)"),
        Key::new("ip_bind_port", Kind::Integer, "port of its agent API (`20201`)"),
        Key::new("enabled", Kind::Switch, "`false`: keep posts and deliver nothing (`true`)"),
    ],
};

/// The interval of the original.
const INTERVAL: u64 = 300;

/// A spoke answers no longer interval than a year.
const LONGEST_INTERVAL: u64 = 31_536_000;

/// A limit in seconds that nobody means to exceed, so that sums of times cannot overflow.
const LONGEST_LIMIT: u64 = 86_400;

const MIB: u64 = 1 << 20;

/// Posts older than a week tell nobody anything any more.
const WEEK: u64 = 7 * 86_400;

/// The settings in force, for who has to follow them while the hub runs.
pub type InForce = watch::Receiver<Arc<Settings>>;

/// What the hub is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is polled.
    pub devices: Vec<Device>,
    /// How many addresses of one name are polled.
    pub max_addresses: usize,
    /// Time between two polls of a target; whole seconds.
    pub interval: Duration,
    /// Time for a whole poll, at most the interval.
    pub poll_timeout: Duration,
    /// Where the hub listens.
    pub listen: SocketAddr,
    /// Whether it receives.
    pub receive: bool,
    /// What becomes of the posts of a spoke that another target gives.
    pub identity_rule: IdentityRule,
    /// Where posts go; `None` keeps them here.
    pub upstream: Option<Target>,
    /// The largest post, in bytes.
    pub max_post_bytes: usize,
    /// What bounds the spool.
    pub bounds: Bounds,
    /// The largest post that fits into the spool as it was opened.
    pub(crate) most_post_bytes: u64,
    /// What may be set aside, in bytes.
    pub quarantine_max_bytes: u64,
    /// Lanes that are delivered side by side.
    pub delivery_concurrency: usize,
    /// Time for the delivery of a post.
    pub delivery_timeout: Duration,
    /// Longest pause before delivery is tried again.
    pub backoff_max: Duration,
    /// Posts that are delivered in a second at most; 0 is no limit.
    pub delivery_rate: u32,
    /// Refusals after which a post is set aside.
    pub max_attempts: u32,
    /// How far ahead of the hub's clock a post may be.
    pub allowed_clock_skew: Duration,
    /// How far ahead a post may be and wait until it is due.
    pub max_future: Duration,
    /// What is kept for the pages.
    pub history: HistorySettings,
    /// Time that stopping may take.
    pub graceful_timeout: Duration,
    /// The host's name.
    pub node: String,
    pub(crate) agent_id: Option<String>,
    pub(crate) machine_id: Option<String>,
    /// The section that all pattoo programs share.
    pub pattoo: Pattoo,
}

/// What becomes of the posts of a spoke that another target gives as well.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum IdentityRule {
    /// The newest is kept in quarantine.
    #[default]
    Pin,
    /// They go up all the same.
    Warn,
}

impl IdentityRule {
    fn label(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Warn => "warn",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTarget {
    ip_address: String,
    #[serde(alias = "bind_port")]
    ip_bind_port: u16,
    #[serde(default)]
    resolve: Resolve,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    ip_devices: Vec<WrittenTarget>,
    max_addresses: Option<u64>,
    polling_interval: u64,
    poll_timeout: Option<u64>,
    receive: bool,
    identity: IdentityRule,
    agent_id: Option<String>,
    hostname: Option<String>,
    max_post_bytes: Option<u64>,
    max_bytes: Option<u64>,
    max_age: Option<u64>,
    max_sources: Option<u64>,
    quarantine_max_bytes: Option<u64>,
    delivery_concurrency: Option<u64>,
    delivery_timeout: Option<u64>,
    backoff_max: Option<u64>,
    delivery_rate: Option<u64>,
    max_attempts: Option<u64>,
    allowed_clock_skew: Option<u64>,
    max_future: Option<u64>,
    graceful_timeout: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WrittenApi {
    ip_address: Option<String>,
    ip_bind_port: Option<u16>,
    enabled: Option<bool>,
}

impl Settings {
    /// Reads and judges the configuration whole.
    ///
    /// # Errors
    /// The first value that does not fit, with file, section and key.
    pub fn read(configuration: &Configuration) -> Result<Self, ConfigError> {
        let written: Written = configuration.own()?;
        let within = |key: &str, value: Option<u64>, default: u64, least: u64, most: u64| {
            let value = value.unwrap_or(default);
            if (least..=most).contains(&value) {
                return Ok(value);
            }
            Err(configuration
                .fault(key, format!("a number from {least} to {most} is expected, found {value}")))
        };
        let seconds = |key: &str, value: Option<u64>, default: u64| {
            within(key, value, default, 1, LONGEST_LIMIT).map(Duration::from_secs)
        };
        let interval = if written.polling_interval == 0 { INTERVAL } else { written.polling_interval };
        let interval = within("polling_interval", Some(interval), INTERVAL, 1, LONGEST_INTERVAL)?;
        // Said explicitly, a limit beyond the interval is a misunderstanding; the default just follows.
        let poll_timeout = within("poll_timeout", written.poll_timeout, 10.min(interval), 1, interval)?;
        let max_sources = within("max_sources", written.max_sources, 20_000, 1, 1_000_000)?;
        let max_sources = u32::try_from(max_sources).unwrap_or(u32::MAX);
        let least = Bounds::least_max_bytes(max_sources);
        let bounds = Bounds {
            max_bytes: within("max_bytes", written.max_bytes, 1024 * MIB, least, i64::MAX.unsigned_abs())?,
            max_age: Duration::from_secs(within("max_age", written.max_age, WEEK, 60, 100 * 365 * 86_400)?),
            max_sources,
        };
        let most_post = bounds.most_post_bytes();
        let max_post_bytes =
            within("max_post_bytes", written.max_post_bytes, (4 * MIB).min(most_post), 1024, most_post)?;
        let quarantine_max_bytes = within(
            "quarantine_max_bytes",
            written.quarantine_max_bytes,
            (64 * MIB).max(max_post_bytes),
            max_post_bytes,
            i64::MAX.unsigned_abs(),
        )?;
        let devices = devices(configuration, &written)?;
        let max_addresses = within("max_addresses", written.max_addresses, 5000, 1, 100_000)?;
        if written.agent_id.as_deref().is_some_and(|id| !identity::is_agent_id(id)) {
            return Err(configuration
                .fault("agent_id", "1 to 128 letters, digits, '_', '-' or (not first) '.' are expected"));
        }
        let uname = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        let concurrency = within("delivery_concurrency", written.delivery_concurrency, 8, 1, 1024)?;
        let delivery_rate = within("delivery_rate", written.delivery_rate, 1000, 0, 1_000_000)?;
        let max_attempts = within("max_attempts", written.max_attempts, 5, 1, 1000)?;
        let skew = within("allowed_clock_skew", written.allowed_clock_skew, 60, 0, LONGEST_LIMIT)?;
        // What may go need not wait.
        let max_future = within("max_future", written.max_future, 3600.max(skew), skew, LONGEST_INTERVAL)?;
        Ok(Self {
            devices,
            max_addresses: usize::try_from(max_addresses).unwrap_or(usize::MAX),
            interval: Duration::from_secs(interval),
            poll_timeout: Duration::from_secs(poll_timeout),
            listen: configuration.listen()?,
            receive: written.receive,
            identity_rule: written.identity,
            upstream: upstream(configuration)?,
            max_post_bytes: usize::try_from(max_post_bytes).unwrap_or(usize::MAX),
            bounds,
            most_post_bytes: most_post,
            quarantine_max_bytes,
            delivery_concurrency: usize::try_from(concurrency).unwrap_or(1),
            delivery_timeout: seconds("delivery_timeout", written.delivery_timeout, 10)?,
            backoff_max: seconds("backoff_max", written.backoff_max, 30)?,
            delivery_rate: u32::try_from(delivery_rate).unwrap_or(0),
            max_attempts: u32::try_from(max_attempts).unwrap_or(u32::MAX),
            allowed_clock_skew: Duration::from_secs(skew),
            max_future: Duration::from_secs(max_future),
            history: HistorySettings::read(configuration, within)?,
            graceful_timeout: seconds("graceful_timeout", written.graceful_timeout, 4)?,
            node: written.hostname.filter(|name| !name.is_empty()).unwrap_or_else(uname),
            agent_id: written.agent_id,
            machine_id: std::fs::read_to_string("/etc/machine-id").ok(),
            pattoo: configuration.pattoo()?,
        })
    }

    /// From what the hub's agent_id is made.
    pub fn identity(&self) -> Sources<'_> {
        Sources {
            program: PROGRAM.name,
            daemon_directory: &self.pattoo.daemon_directory,
            configured: self.agent_id.as_deref(),
            machine_id: self.machine_id.as_deref(),
            node: &self.node,
        }
    }

    /// Where posts wait.
    pub fn spool_folder(&self) -> PathBuf {
        self.pattoo.cache_directory.join("spool")
    }

    /// Where bodies are set aside.
    pub fn quarantine_folder(&self) -> PathBuf {
        self.pattoo.cache_directory.join("quarantine")
    }

    /// Where the newest acknowledged post is kept.
    pub fn canary_file(&self) -> PathBuf {
        self.pattoo.cache_directory.join("canary")
    }

    /// Where it is kept which target gave which spoke.
    pub fn claims_file(&self) -> PathBuf {
        self.pattoo.cache_directory.join("claims")
    }

    /// Where the pages' history is kept.
    pub fn history_file(&self) -> PathBuf {
        ::history::History::file(&self.pattoo.cache_directory.join("history"))
    }

    /// Where a running hub takes the commands of `--queue`.
    pub fn queue_socket(&self) -> PathBuf {
        self.pattoo.system_daemon_directory.join(format!("{}.queue.sock", PROGRAM.name))
    }

    /// What `--check` prints: the settings in force, as a configuration file would say them.
    ///
    /// # Errors
    /// The kept agent_id cannot be read.
    pub fn report(&self) -> Result<String, ConfigError> {
        let id = self.identity().find()?;
        let devices = if self.devices.is_empty() { " []" } else { "" };
        let mut lines = format!("{}:\n    ip_devices:{devices}\n", OWN.name);
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a text cannot fail.
            let _ = writeln!(lines, "    {key}: {value}");
        };
        for Device { target, resolve } in &self.devices {
            let address = target.host.to_string();
            line("  - ip_address", &format!("\"{}\"", address.trim_matches(['[', ']'])));
            line("    ip_bind_port", &target.port);
            if *resolve == Resolve::All {
                line("    resolve", &"all");
            }
        }
        line("max_addresses", &self.max_addresses);
        line("polling_interval", &self.interval.as_secs());
        line("poll_timeout", &self.poll_timeout.as_secs());
        line("ip_listen_address", &format!("\"{}\"", self.listen.ip()));
        line("ip_bind_port", &self.listen.port());
        line("receive", &self.receive);
        line("identity", &self.identity_rule.label());
        line("hostname", &self.node);
        line("agent_id", &format!("{} # {}", id.id, id.origin));
        line("max_post_bytes", &self.max_post_bytes);
        line("max_bytes", &self.bounds.max_bytes);
        line("max_age", &self.bounds.max_age.as_secs());
        line("max_sources", &self.bounds.max_sources);
        line("quarantine_max_bytes", &self.quarantine_max_bytes);
        line("delivery_concurrency", &self.delivery_concurrency);
        line("delivery_timeout", &self.delivery_timeout.as_secs());
        line("backoff_max", &self.backoff_max.as_secs());
        line("delivery_rate", &self.delivery_rate);
        line("max_attempts", &self.max_attempts);
        line("allowed_clock_skew", &self.allowed_clock_skew.as_secs());
        line("max_future", &self.max_future.as_secs());
        line("history", &self.history.rule.label());
        line("history_max_bytes", &self.history.max_bytes);
        line("history_max_age", &self.history.max_age.as_secs());
        if !self.history.series.is_empty() {
            line("history_series", &"");
        }
        for WantedSeries { key, hosts } in &self.history.series {
            line("  - key", &format!("{key:?}"));
            if !hosts.is_empty() {
                line("    hosts", &format!("{hosts:?}"));
            }
        }
        line("graceful_timeout", &self.graceful_timeout.as_secs());
        let _ = writeln!(lines, "{}:", API.name);
        let _ = match &self.upstream {
            Some(target) => writeln!(
                lines,
                "    ip_address: \"{}\"\n    ip_bind_port: {}\n    enabled: true",
                target.host.to_string().trim_matches(['[', ']']),
                target.port
            ),
            None => writeln!(lines, "    enabled: false"),
        };
        let _ = write!(
            lines,
            "pattoo:\n    cache_directory: {}\n    daemon_directory: {}\n    system_daemon_directory: {}",
            self.pattoo.cache_directory.display(),
            self.pattoo.daemon_directory.display(),
            self.pattoo.system_daemon_directory.display()
        );
        Ok(lines)
    }
}

fn devices(configuration: &Configuration, written: &Written) -> Result<Vec<Device>, ConfigError> {
    let mut devices = Vec::with_capacity(written.ip_devices.len());
    let mut listed = HashSet::with_capacity(written.ip_devices.len());
    for (at, device) in written.ip_devices.iter().enumerate() {
        let fault = |key: &str, reason: String| {
            let error = configuration.fault("ip_devices", reason);
            match error {
                ConfigError::Value { place, section, reason, .. } => {
                    ConfigError::Value { place, section, key: format!("ip_devices.{at}.{key}"), reason }
                }
                other => other,
            }
        };
        let address = &device.ip_address;
        let Some(host) = Host::parse(address) else {
            return Err(fault(
                "ip_address",
                format!("an IP address or a host name is expected, found {address:?}"),
            ));
        };
        if device.ip_bind_port == 0 {
            return Err(fault("ip_bind_port", "a port from 1 to 65535 is expected, found 0".to_owned()));
        }
        let target = Target { host, port: device.ip_bind_port };
        if !listed.insert(target.clone()) {
            return Err(fault("ip_address", format!("{target} is listed twice")));
        }
        devices.push(Device { target, resolve: device.resolve });
    }
    if devices.is_empty() && !written.receive {
        return Err(configuration
            .fault("ip_devices", "nothing to do: list at least one target, or set receive: true"));
    }
    Ok(devices)
}

fn upstream(configuration: &Configuration) -> Result<Option<Target>, ConfigError> {
    let written: WrittenApi = configuration.section(API.name)?;
    if written.enabled == Some(false) {
        return Ok(None);
    }
    let fault = |key: &str, reason: String| configuration.fault_in(API.name, key, reason);
    let address = written.ip_address.as_deref().unwrap_or("localhost");
    let host = Host::parse(address).ok_or_else(|| {
        fault("ip_address", format!("an IP address or a host name is expected, found {address:?}"))
    })?;
    match written.ip_bind_port.unwrap_or(20201) {
        0 => Err(fault("ip_bind_port", "a port from 1 to 65535 is expected, found 0".to_owned())),
        port => Ok(Some(Target { host, port })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let document = include_str!("../../../docs/configuration.md");
        for table in [OWN.table(), API.table()] {
            assert!(document.contains(&table), "docs/configuration.md lacks:\n{table}");
        }
    }
}
