//! What can be configured: section `pattoo_agent_os_spoked`.

use std::net::SocketAddr;
use std::path::PathBuf;

use agent::config::keys::{Key, Kind, Section};
use agent::config::{ConfigError, Configuration, Pattoo, expand_home};
use agent::http::{self, Rules};
use agent::identity::{AgentId, is_agent_id};
use agent::reload::Change;
use serde::Deserialize;

use crate::PROGRAM;
use crate::collect::{Exclude, Pattern};
use crate::exporter;
use crate::files::Files;
use crate::host::HostRoot;
use crate::hostname::Told;
use crate::identity::HostIdentity;

/// The keys.
pub const SECTION: Section = Section {
    name: "pattoo_agent_os_spoked",
    strict: true,
    keys: &[
        Key::new(
            "ip_listen_address",
            Kind::Text,
            "address on which the spoke listens; `0.0.0.0` is all of IPv4, `\"::\"` all of IPv6 (`0.0.0.0`)",
        ),
        Key::new(
            "ip_bind_port",
            Kind::Integer,
            "TCP port on which the spoke listens; 0: a free one (`5000`)",
        )
        .or("bind_port"),
        Key::new(
            "hostname",
            Kind::Text,
            "the host's name in every post (what files and DNS say, as Python's `getfqdn`)",
        ),
        Key::new(
            "agent_id",
            Kind::Text,
            "the agent_id where no file keeps one (derived from machine-id and host name, else random)",
        ),
        Key::new("processor", Kind::Text, "the processor in every post (what `uname -p` prints)"),
        Key::new("type", Kind::Text, "the system in every post (`Linux`)"),
        Key::new("cpus", Kind::Integer, "the number of cpus in every post (the host's online cpus)"),
        Key::new(
            "network_exclude",
            Kind::Text,
            "regular expression; interfaces whose whole name matches are not in the post (none)",
        ),
        Key::new(
            "partition_exclude",
            Kind::Text,
            "regular expression; mount points that match whole are not in the post (none)",
        ),
        Key::new(
            "disk_exclude",
            Kind::Text,
            "regular expression; disks whose whole name matches are not in the post (none)",
        ),
        exporter::keys::OFF,
        exporter::keys::PARTITION_EXCLUDE,
        exporter::keys::FSTYPE_EXCLUDE,
        exporter::keys::DISK_EXCLUDE,
        exporter::keys::NETWORK_EXCLUDE,
        exporter::keys::MAX_SERIES,
        Key::new("host_proc", Kind::Text, "where the host's `/proc` is; also `HOST_PROC` (`/proc`)"),
        Key::new("host_sys", Kind::Text, "where the host's `/sys` is; also `HOST_SYS` (`/sys`)"),
        Key::new("host_root", Kind::Text, "where the host's `/` is; also `HOST_ROOT` (`/`)"),
    ],
    shared: http::KEYS,
};

/// A post with a longer name would stop the server.
const MOST_HOSTNAME: usize = 512;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    hostname: Option<String>,
    agent_id: Option<String>,
    processor: Option<String>,
    r#type: Option<String>,
    cpus: Option<u32>,
    network_exclude: Option<String>,
    partition_exclude: Option<String>,
    disk_exclude: Option<String>,
    host_proc: Option<String>,
    host_sys: Option<String>,
    host_root: Option<String>,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the spoke listens.
    pub listen: SocketAddr,
    /// Section `pattoo`.
    pub pattoo: Pattoo,
    /// Where the host is.
    pub host: HostRoot,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `agent_id`.
    pub agent_id: Option<String>,
    /// `processor`.
    pub processor: Option<String>,
    /// `type`.
    pub system: Option<String>,
    /// `cpus`.
    pub cpus: Option<u32>,
    /// What is left out of the post on purpose.
    pub exclude: Exclude,
    /// What of `/metrics` can be told.
    pub(crate) exporter: exporter::Settings,
    /// Who may ask, and how much.
    pub rules: Rules,
}

impl Settings {
    /// Reads and judges them.
    ///
    /// # Errors
    /// A value that does not fit.
    pub fn read(configuration: &Configuration) -> Result<Self, ConfigError> {
        let written: Written = configuration.own()?;
        if let Some(id) = &written.agent_id
            && !is_agent_id(id)
        {
            return Err(configuration.fault(
                "agent_id",
                "letters, digits, '_', '-' and '.' are expected, 1 to 128, the first no '.'",
            ));
        }
        if written.hostname.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return Err(configuration.fault("hostname", "a name is expected"));
        }
        if written.hostname.as_ref().is_some_and(|name| name.len() > MOST_HOSTNAME) {
            return Err(
                configuration.fault("hostname", "at most 512 bytes are expected: the server holds no more")
            );
        }
        if written.cpus == Some(0) {
            return Err(configuration.fault("cpus", "at least 1 is expected"));
        }
        let pattern = |key: &str, text: &Option<String>| {
            let text = text.as_ref().filter(|text| !text.is_empty());
            let fault = |error| configuration.fault(key, format!("not a regular expression: {error}"));
            text.map(|text| Pattern::new(text).map_err(fault)).transpose()
        };
        // The three names are the ones that monitoring agents in containers share.
        let place = |key: Option<String>, variable: &str| {
            let named = key.or_else(|| std::env::var(variable).ok()).filter(|path| !path.is_empty());
            named.map(|path| expand_home(&path))
        };
        Ok(Self {
            listen: configuration.listen()?,
            pattoo: configuration.pattoo()?,
            host: HostRoot::new(
                place(written.host_proc, "HOST_PROC"),
                place(written.host_sys, "HOST_SYS"),
                place(written.host_root, "HOST_ROOT"),
            ),
            hostname: written.hostname.map(|name| name.trim().to_owned()),
            agent_id: written.agent_id,
            processor: written.processor,
            system: written.r#type,
            cpus: written.cpus,
            exclude: Exclude {
                network: pattern("network_exclude", &written.network_exclude)?,
                partition: pattern("partition_exclude", &written.partition_exclude)?,
                disk: pattern("disk_exclude", &written.disk_exclude)?,
            },
            exporter: exporter::Settings::read(configuration)?,
            rules: Rules::read(configuration)?,
        })
    }

    /// What is in force once `new` was read: all of it but what only a start can bring about. `change` is told each key
    /// that differs.
    #[must_use]
    pub(crate) fn followed_by(&self, new: Self, change: &mut Change) -> Self {
        let mut at_once = |key: &str, differs: bool| change.at_once(SECTION.name, key, differs);
        at_once("hostname", self.hostname != new.hostname);
        at_once("processor", self.processor != new.processor);
        at_once("type", self.system != new.system);
        at_once("cpus", self.cpus != new.cpus);
        at_once("network_exclude", self.exclude.network != new.exclude.network);
        at_once("partition_exclude", self.exclude.partition != new.exclude.partition);
        at_once("disk_exclude", self.exclude.disk != new.exclude.disk);
        for (key, differs) in self.exporter.differences(&new.exporter) {
            at_once(key, differs);
        }
        let mut at_restart = |key: &str, differs: bool| change.at_restart(SECTION.name, key, differs);
        at_restart("agent_id", self.agent_id != new.agent_id);
        at_restart("host_proc", self.host.proc != new.host.proc);
        at_restart("host_sys", self.host.sys != new.host.sys);
        at_restart("host_root", self.host.root != new.host.root);
        let (pattoo, host, agent_id) = (self.pattoo.clone(), self.host.clone(), self.agent_id.clone());
        let rules = self.rules.followed_by(new.rules, SECTION.name, change);
        Self { listen: self.listen, pattoo, host, agent_id, rules, ..new }
    }

    /// What `--check` prints: all that names a series with where it came from, and the rest in force.
    ///
    /// # Errors
    /// The kept agent_id cannot be read.
    pub fn describe(&self, hostname: &Told) -> Result<String, ConfigError> {
        let found = HostIdentity::find(self);
        let agent_id = self.find_identity()?;
        let told = |told: &Told| format!("{:?} ({})", told.value, told.origin);
        let path = |path: &PathBuf| path.display().to_string();
        let pattern = |pattern: &Option<Pattern>| {
            pattern.as_ref().map_or_else(|| "none".to_owned(), |pattern| pattern.written().to_owned())
        };
        let identity = [
            ("agent_id", format!("{:?} ({})", agent_id.id, agent_id.origin)),
            ("hostname, pattoo_agent_hostname, pattoo_agent_polled_target", told(hostname)),
            ("pattoo_agent_program", format!("{:?} (this program)", PROGRAM.name)),
            ("processor", told(found.processor())),
            ("type", told(&found.system)),
            ("cpus", told(&found.cpus(&Files::new(&self.host)))),
            ("network_exclude", pattern(&self.exclude.network)),
            ("partition_exclude", pattern(&self.exclude.partition)),
            ("disk_exclude", pattern(&self.exclude.disk)),
        ];
        let places = [
            ("listens on", self.listen.to_string()),
            ("host's /proc", path(&self.host.proc)),
            ("host's /sys", path(&self.host.sys)),
            ("host's /", path(&self.host.root)),
            ("daemon_directory", path(&self.pattoo.daemon_directory)),
            ("system_daemon_directory", path(&self.pattoo.system_daemon_directory)),
            ("log_directory", path(&self.pattoo.log_directory)),
            ("log_level", format!("{:?}", self.pattoo.log_level).to_lowercase()),
        ];
        let all =
            identity.into_iter().chain(self.exporter.describe()).chain(places).chain(self.rules.values());
        let lines: Vec<_> = all.map(|(what, value)| format!("{what}: {value}")).collect();
        Ok(format!("The configuration is good.\n{}", lines.join("\n")))
    }

    /// The agent_id that a start would use.
    ///
    /// # Errors
    /// The kept one cannot be read.
    pub fn find_identity(&self) -> Result<AgentId, ConfigError> {
        HostIdentity::find(self).agent_id(self).find()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let document = include_str!("../../../docs/configuration.md");
        assert!(document.contains(&SECTION.table()), "docs/configuration.md lacks:\n{}", SECTION.table());
    }
}
