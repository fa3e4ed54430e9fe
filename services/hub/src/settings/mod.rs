//! What the hub is told by configuration: its own section, and where the pattoo server is.

mod devices;
mod history;
mod keys;
mod outward;
mod report;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::config::{ConfigError, Configuration, Pattoo};
use agent::http::Rules;
use agent::identity::{self, Sources};
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::sync::watch;

use crate::PROGRAM;
use crate::store::Bounds;
use crate::target::{Device, Host, Target};
use devices::devices;
pub use history::{HistoryRule, HistorySettings, WantedSeries};
pub use keys::{API, OWN};
pub use outward::Outward;
use outward::{Files, Keys};
use upstream::upstream;

/// The interval of the original.
const INTERVAL: u64 = 300;

/// A spoke answers no longer interval than a year.
const LONGEST_INTERVAL: u64 = 31_536_000;

/// A limit in seconds that nobody means to exceed, so that sums of times cannot overflow.
const LONGEST_LIMIT: u64 = 86_400;

const MIB: u64 = 1 << 20;

/// Posts older than a week tell nobody anything any more.
const WEEK: u64 = 7 * 86_400;

/// The keys of TLS and token of the polls.
const POLL_KEYS: Keys = Keys {
    section: OWN.name,
    ca_file: "poll_ca_file",
    certificate_file: "poll_certificate_file",
    key_file: "poll_key_file",
    token_file: "poll_token_file",
};

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
    /// Whether targets are asked over TLS that do not say it themselves.
    pub poll_tls: bool,
    /// How the hub meets its targets.
    pub polls: Outward,
    /// Where the hub listens.
    pub listen: SocketAddr,
    /// Whether it receives.
    pub receive: bool,
    /// What becomes of the posts of a spoke that another target gives.
    pub identity_rule: IdentityRule,
    /// Where posts go; `None` keeps them here.
    pub upstream: Option<Target>,
    /// How the hub meets the server.
    pub deliveries: Outward,
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
    /// Who may ask and post, and how much.
    pub rules: Rules,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    ip_devices: Vec<devices::Written>,
    max_addresses: Option<u64>,
    polling_interval: u64,
    poll_timeout: Option<u64>,
    poll_tls: bool,
    poll_ca_file: Option<String>,
    poll_certificate_file: Option<String>,
    poll_key_file: Option<String>,
    poll_token_file: Option<String>,
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

impl Settings {
    /// Reads and judges the configuration whole.
    ///
    /// # Errors
    /// The first value that does not fit, with file, section and key.
    pub fn read(configuration: &Configuration) -> Result<Self, ConfigError> {
        let written: Written = configuration.own()?;
        let within =
            |key: &str, value, default, least, most| configuration.within(key, value, default, least, most);
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
        let devices = devices(configuration, &written.ip_devices, written.poll_tls)?;
        if devices.is_empty() && !written.receive {
            return Err(configuration
                .fault("ip_devices", "nothing to do: list at least one target, or set receive: true"));
        }
        let polls = Files {
            ca: written.poll_ca_file.as_deref(),
            certificate: written.poll_certificate_file.as_deref(),
            key: written.poll_key_file.as_deref(),
            token: written.poll_token_file.as_deref(),
        };
        let over_tls = devices.iter().any(|device| device.target.tls.is_some());
        let polls = Outward::read(configuration, &POLL_KEYS, polls, over_tls)?;
        let (upstream, deliveries) = upstream(configuration)?;
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
            poll_tls: written.poll_tls,
            polls,
            listen: configuration.listen()?,
            receive: written.receive,
            identity_rule: written.identity,
            upstream,
            deliveries,
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
            history: HistorySettings::read(configuration)?,
            graceful_timeout: seconds("graceful_timeout", written.graceful_timeout, 4)?,
            node: written.hostname.filter(|name| !name.is_empty()).unwrap_or_else(uname),
            agent_id: written.agent_id,
            machine_id: std::fs::read_to_string("/etc/machine-id").ok(),
            pattoo: configuration.pattoo()?,
            rules: Rules::read(configuration)?,
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
}

/// The name that a certificate has to have: what `tls_name` says, else the host's own.
fn tls_name(host: &Host, written: Option<&str>) -> Result<ServerName<'static>, String> {
    let name = match (written, host) {
        (None, Host::Address(address)) => return Ok((*address).into()),
        (None, Host::Name(name)) => name.as_str(),
        (Some(written), _) => written,
    };
    let name = name.trim().trim_end_matches('.');
    match ServerName::try_from(name.to_ascii_lowercase()) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        _ => Err(format!("a host name is expected, found {name:?}")),
    }
}
