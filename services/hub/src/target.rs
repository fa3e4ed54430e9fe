//! What the hub polls: an address or a host name, and a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A host, by address or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, in lower case.
    Name(String),
}

impl Host {
    /// Reads an IPv4 or IPv6 address (also in brackets) or a host name.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(bare) = bare {
            return bare.parse::<Ipv6Addr>().ok().map(|ip| Self::Address(ip.into()));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        is_name(text).then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

/// Whether `text` can be a host's name. A name whose last label begins with a digit is none: a URL would
/// read `127.1` or `10.0.0.0x1` as an address that nobody wrote.
fn is_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let last = labels.rsplit('.').next().unwrap_or_default();
    labels.len() <= 253
        && labels.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(plain))
        && !(labels.contains('.') && last.starts_with(|first: char| first.is_ascii_digit()))
        && !labels.bytes().all(|byte| byte.is_ascii_digit())
        && !labels.starts_with("0x")
}

impl fmt::Display for Host {
    /// As a URL wants it: IPv6 in brackets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(out, "[{address}]"),
            Self::Address(IpAddr::V4(address)) => write!(out, "{address}"),
            Self::Name(name) => out.write_str(name),
        }
    }
}

/// Where a program listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
    /// The name that its certificate has to have; `None`: no TLS is spoken there.
    pub tls: Option<ServerName<'static>>,
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

impl Target {
    /// The name that its certificate has to have, where that is not its host's.
    pub fn other_name(&self) -> Option<&str> {
        match &self.tls {
            Some(ServerName::DnsName(name)) => {
                Some(name.as_ref()).filter(|name| *name != self.host.to_string())
            }
            _ => None,
        }
    }

    /// Where in the interval this target is polled. It depends on the target alone, so a restart keeps it,
    /// and many targets spread evenly.
    pub fn offset(&self, interval: Duration) -> Duration {
        let digest = Sha256::digest(self.to_string());
        let hash = digest.iter().take(8).fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
        let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(hash % millis)
    }
}

/// What the configuration lists: one target, or a name of which every address is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Host and port.
    pub target: Target,
    /// What the host stands for.
    pub resolve: Resolve,
}

/// What a host name stands for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Resolve {
    /// One host: whichever of its addresses answers.
    #[default]
    One,
    /// As many hosts as it has addresses.
    All,
}

impl Device {
    /// The name of which every address is a target.
    pub fn name(&self) -> Option<&str> {
        match (&self.target.host, self.resolve) {
            (Host::Name(name), Resolve::All) => Some(name),
            // An address is its own and only one.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target { host: Host::parse(text).unwrap(), port: 5000, tls: None }
    }

    #[test]
    fn addresses_and_names_read_as_a_url_wants_them() {
        for (text, wanted) in [
            ("127.0.0.1", "127.0.0.1:5000"),
            ("::1", "[::1]:5000"),
            ("[2001:DB8::1]", "[2001:db8::1]:5000"),
            ("Spoke-A", "spoke-a:5000"),
            ("a.b_c.example", "a.b_c.example:5000"),
        ] {
            assert_eq!(target(text).to_string(), wanted);
        }
        for text in [
            "",
            "a b",
            "1.2.3",
            "10.0.0.256",
            "127.1",
            "7",
            "0x7f",
            "a..b",
            "a/b",
            "a@b",
            "fe80::1%eth0",
            "a:1",
        ] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_offset_stays() {
        // Written down, since another hash would move every poll of a running site.
        assert_eq!(target("127.0.0.1").offset(Duration::from_secs(300)), Duration::from_millis(149_297));
        assert!(target("a").offset(Duration::from_millis(1)).is_zero());
    }

    #[test]
    fn ten_thousand_targets_spread_evenly() {
        let mut slots = [0_u32; 100];
        for number in 0..10_000 {
            let offset = target(&format!("spoke-{number}.example")).offset(Duration::from_secs(300));
            slots[usize::try_from(offset.as_millis() / 3000).unwrap()] += 1;
        }
        assert!(slots.iter().all(|count| (50..=160).contains(count)), "{slots:?}");
    }
}
