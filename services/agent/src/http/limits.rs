//! What a listener puts up with.

use std::time::Duration;

use serde::Deserialize;

use crate::config::keys::{Key, Kind};
use crate::config::{ConfigError, Configuration};

/// The keys of both programs' own sections.
pub(super) const KEYS: [Key; 11] = [
    Key::new(
        "max_connections",
        Kind::Integer,
        "connections at the same time; beyond, the one that dawdles longest without a whole request is closed (`1024`)",
    ),
    Key::new(
        "max_connections_per_address",
        Kind::Integer,
        "connections at the same time from one address, of IPv6 from one /64; beyond, its own slowest is closed (`128`)",
    ),
    Key::new(
        "max_requests",
        Kind::Integer,
        "requests that are answered at the same time; beyond, 503 (`256`)",
    ),
    Key::new(
        "max_requests_per_address",
        Kind::Integer,
        "requests of one address that are answered at the same time; its further ones wait (`16`)",
    ),
    Key::new(
        "max_in_flight_bytes",
        Kind::Integer,
        "memory for bodies that arrive and answers that leave, in bytes; beyond, 503 (`16777216`)",
    ),
    Key::new(
        "max_url_bytes",
        Kind::Integer,
        "longest path with query of a request, in bytes; beyond, 414 (`8192`)",
    ),
    Key::new(
        "max_header_bytes",
        Kind::Integer,
        "largest headers of a request, in bytes; beyond, 431 (`8192`)",
    ),
    Key::new("handshake_timeout", Kind::Integer, "seconds for the TLS handshake (`10`)"),
    Key::new(
        "header_timeout",
        Kind::Integer,
        "seconds from the first byte of a request, or from connecting, to the end of its headers (`10`)",
    ),
    Key::new("body_timeout", Kind::Integer, "seconds for a whole body, and for taking a whole answer (`30`)"),
    Key::new(
        "idle_timeout",
        Kind::Integer,
        "seconds that a connection may be without a request after one (`60`)",
    ),
];

/// Time and sizes that nobody means to exceed, so that sums cannot overflow.
const LONGEST: u64 = 86_400;
const LARGEST: u64 = 1 << 40;

/// The largest request line and headers: what a connection may hold without saying what it wants.
const LARGEST_HEAD: u64 = 1 << 20;

/// What a listener puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) connections_per_address: usize,
    pub(super) requests: usize,
    pub(super) requests_per_address: usize,
    pub(super) in_flight_bytes: usize,
    pub(super) url_bytes: usize,
    pub(super) header_bytes: usize,
    pub(super) handshake: Duration,
    pub(super) headers: Duration,
    pub(super) body: Duration,
    pub(super) idle: Duration,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    max_connections: Option<u64>,
    max_connections_per_address: Option<u64>,
    max_requests: Option<u64>,
    max_requests_per_address: Option<u64>,
    max_in_flight_bytes: Option<u64>,
    max_url_bytes: Option<u64>,
    max_header_bytes: Option<u64>,
    handshake_timeout: Option<u64>,
    header_timeout: Option<u64>,
    body_timeout: Option<u64>,
    idle_timeout: Option<u64>,
}

impl Limits {
    /// Reads and judges them.
    ///
    /// # Errors
    /// A number out of range.
    pub(super) fn read(configuration: &Configuration) -> Result<Self, ConfigError> {
        let written: Written = configuration.own()?;
        let within =
            |key: &str, value, default, least, most| configuration.within(key, value, default, least, most);
        let default = Self::default();
        let number = |key: &str, value, default: usize, least, most| {
            let value = within(key, value, u64::try_from(default).unwrap_or(most), least, most)?;
            Ok(usize::try_from(value).unwrap_or(usize::MAX))
        };
        let seconds = |key: &str, value, default: Duration| {
            within(key, value, default.as_secs(), 1, LONGEST).map(Duration::from_secs)
        };
        let count = |key: &str, value, default| number(key, value, default, 1, 1_000_000);
        let head = |key: &str, value, default| number(key, value, default, 256, LARGEST_HEAD);
        let own = &written;
        Ok(Self {
            connections: count("max_connections", own.max_connections, default.connections)?,
            connections_per_address: count(
                "max_connections_per_address",
                own.max_connections_per_address,
                default.connections_per_address,
            )?,
            requests: count("max_requests", own.max_requests, default.requests)?,
            requests_per_address: count(
                "max_requests_per_address",
                own.max_requests_per_address,
                default.requests_per_address,
            )?,
            in_flight_bytes: number(
                "max_in_flight_bytes",
                own.max_in_flight_bytes,
                default.in_flight_bytes,
                1,
                LARGEST,
            )?,
            url_bytes: head("max_url_bytes", own.max_url_bytes, default.url_bytes)?,
            header_bytes: head("max_header_bytes", own.max_header_bytes, default.header_bytes)?,
            handshake: seconds("handshake_timeout", own.handshake_timeout, default.handshake)?,
            headers: seconds("header_timeout", own.header_timeout, default.headers)?,
            body: seconds("body_timeout", own.body_timeout, default.body)?,
            idle: seconds("idle_timeout", own.idle_timeout, default.idle)?,
        })
    }

    /// Each key with its value.
    pub(super) fn values(&self) -> [(&'static str, u64); 11] {
        let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        [
            ("max_connections", number(self.connections)),
            ("max_connections_per_address", number(self.connections_per_address)),
            ("max_requests", number(self.requests)),
            ("max_requests_per_address", number(self.requests_per_address)),
            ("max_in_flight_bytes", number(self.in_flight_bytes)),
            ("max_url_bytes", number(self.url_bytes)),
            ("max_header_bytes", number(self.header_bytes)),
            ("handshake_timeout", self.handshake.as_secs()),
            ("header_timeout", self.headers.as_secs()),
            ("body_timeout", self.body.as_secs()),
            ("idle_timeout", self.idle.as_secs()),
        ]
    }
}

impl Default for Limits {
    /// What is in force where configuration says nothing.
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 128,
            requests: 256,
            requests_per_address: 16,
            in_flight_bytes: 16 << 20,
            url_bytes: 8192,
            header_bytes: 8192,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}
