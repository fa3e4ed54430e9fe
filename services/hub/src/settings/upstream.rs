//! Where posts go.

use agent::config::{ConfigError, Configuration};
use serde::Deserialize;

use super::outward::{Files, Keys, Outward};
use super::{API, tls_name};
use crate::target::{Host, Target};

/// The keys of TLS and token.
pub(super) const KEYS: Keys = Keys {
    section: API.name,
    ca_file: "ca_file",
    certificate_file: "certificate_file",
    key_file: "key_file",
    token_file: "token_file",
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    ip_address: Option<String>,
    ip_bind_port: Option<u16>,
    tls: bool,
    tls_name: Option<String>,
    ca_file: Option<String>,
    certificate_file: Option<String>,
    key_file: Option<String>,
    token_file: Option<String>,
    enabled: Option<bool>,
}

/// The server and how it is met, unless delivery is switched off.
pub(super) fn upstream(configuration: &Configuration) -> Result<(Option<Target>, Outward), ConfigError> {
    let written: Written = configuration.section(API.name)?;
    if written.enabled == Some(false) {
        return Ok((None, Outward::PLAIN));
    }
    let fault = |key: &str, reason: String| configuration.fault_in(API.name, key, reason);
    let address = written.ip_address.as_deref().unwrap_or("localhost");
    let host = Host::parse(address).ok_or_else(|| {
        fault("ip_address", format!("an IP address or a host name is expected, found {address:?}"))
    })?;
    let port = match written.ip_bind_port.unwrap_or(20201) {
        0 => return Err(fault("ip_bind_port", "a port from 1 to 65535 is expected, found 0".to_owned())),
        port => port,
    };
    let tls = written.tls.then(|| tls_name(&host, written.tls_name.as_deref()));
    let tls = tls.transpose().map_err(|reason| fault("tls_name", reason))?;
    let files = Files {
        ca: written.ca_file.as_deref(),
        certificate: written.certificate_file.as_deref(),
        key: written.key_file.as_deref(),
        token: written.token_file.as_deref(),
    };
    let outward = Outward::read(configuration, &KEYS, files, tls.is_some())?;
    Ok((Some(Target { host, port, tls }), outward))
}
