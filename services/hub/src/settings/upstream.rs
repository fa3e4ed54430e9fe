//! Where posts go.

use agent::config::{ConfigError, Configuration};
use serde::Deserialize;

use super::API;
use crate::target::{Host, Target};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    ip_address: Option<String>,
    ip_bind_port: Option<u16>,
    enabled: Option<bool>,
}

/// The server, unless delivery is switched off.
pub(super) fn upstream(configuration: &Configuration) -> Result<Option<Target>, ConfigError> {
    let written: Written = configuration.section(API.name)?;
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
