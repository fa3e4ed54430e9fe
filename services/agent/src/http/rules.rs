//! What configuration says of those who ask: limits and access, one value that is replaced whole.

use rustls_pki_types::UnixTime;

use super::access::{self, Access};
use super::limits::{self, Limits};
use crate::config::keys::Key;
use crate::config::{ConfigError, Configuration};
use crate::reload::Change;

/// The keys, which both programs have in their own sections.
pub const KEYS: &[&[Key]] = &[&access::KEYS, &limits::KEYS];

/// Who may ask, and how much.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) limits: Limits,
    pub(super) access: Access,
}

impl Rules {
    /// Reads and judges them, with the files that they name.
    ///
    /// # Errors
    /// A value or a file that does not fit, with its key.
    pub fn read(configuration: &Configuration) -> Result<Self, ConfigError> {
        Ok(Self { limits: Limits::read(configuration)?, access: Access::read(configuration)? })
    }

    /// Everybody, within the limits that hold where nothing is configured.
    pub fn open() -> Self {
        Self { limits: Limits::default(), access: Access::open() }
    }

    /// The port where health is answered apart; 0 is a free one.
    pub fn health_port(&self) -> Option<u16> {
        self.access.health_port
    }

    /// Whether only TLS is spoken.
    pub fn speaks_tls(&self) -> bool {
        self.access.tls.is_some()
    }

    /// What a person should know who looks at this configuration of a program that listens on `address`.
    pub(crate) fn warnings(&self, address: std::net::IpAddr) -> Vec<String> {
        let mut all = Vec::new();
        if !address.is_loopback() && !self.access.is_closed() {
            all.push(format!(
                "open to the world: whoever reaches {address} is answered; set allow_from, tokens_file or tls_client_ca_file, \
                 or keep others away with a firewall or a network policy (docs/security.md)"
            ));
        }
        all.extend(self.certificate_warning());
        if self.access.tells_tokens() {
            all.push(
                "tokens_file without TLS: whoever listens on the way can read the tokens; set tls_certificate_file and tls_key_file"
                    .to_owned(),
            );
        }
        all
    }

    /// What a person should know about the certificate that the program shows.
    pub(super) fn certificate_warning(&self) -> Option<String> {
        self.access.validity?.warning("tls_certificate_file", UnixTime::now())
    }

    /// Each key that is in force, as `--check` prints it.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, String)> {
        let limits = self.limits.values().into_iter().map(|(key, value)| (key, value.to_string()));
        self.access.values().into_iter().chain(limits)
    }

    /// What is in force once `new` was read; `change` is told each key that differs.
    #[must_use]
    pub fn followed_by(&self, new: Self, section: &str, change: &mut Change) -> Self {
        for (key, differs) in self.access.differences(&new.access) {
            change.at_once(section, key, differs);
        }
        for ((key, was), (_, is)) in self.limits.values().into_iter().zip(new.limits.values()) {
            change.at_once(section, key, was != is);
        }
        let health_port = self.access.health_port;
        change.at_restart(section, "health_port", health_port != new.access.health_port);
        Self { limits: new.limits, access: Access { health_port, ..new.access } }
    }
}
