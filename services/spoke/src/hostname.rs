//! The host's name, which names every series: Python's `socket.getfqdn()`, since that is what the original
//! sent.
//!
//! That algorithm asks DNS where `/etc/hosts` does not answer, and DNS may be down at boot; a name that
//! changes renames every series. So the last name that was answered is kept beside the agent_id, served at
//! once at the next start, and asked for again meanwhile.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use agent::file;
use agent::resolve::{Hosts, Resolver};
use sysinfo::System;

use crate::PROGRAM;
use crate::settings::Settings;

/// How long files and DNS together may take.
const LIMIT: Duration = Duration::from_secs(2);

/// How often a name that nothing answers is asked for again.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(300);

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The value.
    pub value: String,
    /// Where it came from.
    pub origin: &'static str,
}

impl Told {
    pub(crate) fn new(value: impl Into<String>, origin: &'static str) -> Self {
        Self { value: value.into(), origin }
    }
}

/// The host's name at start: configured, kept, or asked for within two seconds.
pub async fn at_start(settings: &Settings) -> Told {
    if let Some(name) = &settings.hostname {
        return Told::new(name, "configuration");
    }
    let kept = std::fs::read_to_string(kept_file(settings)).unwrap_or_default();
    if !kept.trim().is_empty() {
        return Told::new(kept.trim(), "kept from an earlier start");
    }
    match ask().await {
        Some(name) => Told::new(name, "files and DNS"),
        None => Told::new(node_name(), "the system's host name, since neither files nor DNS know it"),
    }
}

/// The host's own name, without asking anybody: `uname -n`.
pub fn node_name() -> String {
    System::host_name().unwrap_or_else(|_| "localhost".to_owned())
}

/// Keeps a name for the next start.
pub(crate) fn keep(settings: &Settings, name: &str) {
    let path = kept_file(settings);
    // Writing waits for the disk, and mostly it is there already.
    if std::fs::read_to_string(&path).is_ok_and(|kept| kept.trim() == name) {
        return;
    }
    let folder = path.parent().unwrap_or(&settings.pattoo.daemon_directory);
    let kept =
        file::make_folder(folder).and_then(|()| file::write_atomic(&path, format!("{name}\n").as_bytes()));
    if let Err(error) = kept {
        tracing::debug!(file = %path.display(), %error, "failed to keep the host's name; it is asked for at the next start");
    }
}

fn kept_file(settings: &Settings) -> PathBuf {
    settings.pattoo.daemon_directory.join("agent_id").join(format!("{}.hostname", PROGRAM.name))
}

/// What `socket.getfqdn()` returns, or none where nothing answers and it would return the plain name.
pub(crate) async fn ask() -> Option<String> {
    let hosts = Hosts::system();
    let (node, resolver) = (node_name(), Resolver::system(LIMIT));
    tokio::time::timeout(LIMIT, fully_qualified(&node, &hosts, &resolver)).await.ok().flatten()
}

async fn fully_qualified(node: &str, hosts: &Hosts, resolver: &Resolver) -> Option<String> {
    let mut addresses = hosts.addresses(node);
    if addresses.is_empty() {
        addresses = resolver.addresses(node).await.ok()?;
    }
    let address = preferred(&addresses)?;
    let mut names = hosts.names(address);
    if names.is_empty() {
        names = vec![resolver.name(address).await.ok()?];
    }
    names.iter().find(|name| name.contains('.')).or(names.first()).cloned()
}

/// The address that the C library would put first: one that can be reached, IPv6 before IPv4.
fn preferred(addresses: &[IpAddr]) -> Option<IpAddr> {
    let rank = |address: &&IpAddr| (!reachable(**address), address.is_ipv4());
    addresses.iter().min_by_key(rank).copied()
}

/// Whether this host has a way to the address; nothing is sent.
fn reachable(address: IpAddr) -> bool {
    let any: SocketAddr = if address.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0_u8; 4], 0).into() };
    UdpSocket::bind(any).and_then(|socket| socket.connect((address, 9))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(node: &str, hosts: &str) -> Option<String> {
        // No server is asked: the cases are answered by the file, or by nothing within a moment.
        let resolver = Resolver::system(Duration::from_millis(1));
        fully_qualified(node, &Hosts::parse(hosts), &resolver).await
    }

    #[tokio::test]
    async fn the_cases_of_the_contract() {
        // The captured machine: called vm, it is localhost.
        assert_eq!(found("vm", "127.0.0.1 localhost\n127.0.0.1 vm\n").await.as_deref(), Some("localhost"));
        // Debian's usual.
        let debian = "127.0.0.1\tlocalhost\n127.0.1.1\th.example.com\th\n";
        assert_eq!(found("h", debian).await.as_deref(), Some("h.example.com"));
        assert_eq!(found("H", debian).await.as_deref(), Some("h.example.com"));
        // The first name with a dot, else the canonical one.
        assert_eq!(found("h", "10.0.0.1 h alias h.example.com").await.as_deref(), Some("h.example.com"));
        assert_eq!(found("h", "10.0.0.1 canonical h").await.as_deref(), Some("canonical"));
    }
}
