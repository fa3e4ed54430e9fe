//! What is polled.

use std::collections::HashSet;

use agent::config::{ConfigError, Configuration};
use serde::Deserialize;

use super::tls_name;
use crate::target::{Device, Host, Resolve, Target};

/// An item of `ip_devices`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    ip_address: String,
    #[serde(alias = "bind_port")]
    ip_bind_port: u16,
    #[serde(default)]
    resolve: Resolve,
    tls: Option<bool>,
    tls_name: Option<String>,
}

/// The items of `ip_devices`, judged; over TLS unless they say otherwise.
pub(super) fn devices(
    configuration: &Configuration,
    written: &[Written],
    over_tls: bool,
) -> Result<Vec<Device>, ConfigError> {
    let mut devices = Vec::with_capacity(written.len());
    let mut listed = HashSet::with_capacity(written.len());
    for (at, device) in written.iter().enumerate() {
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
        let tls = device.tls.unwrap_or(over_tls).then(|| tls_name(&host, device.tls_name.as_deref()));
        let tls = tls.transpose().map_err(|reason| fault("tls_name", reason))?;
        let target = Target { host, port: device.ip_bind_port, tls };
        if !listed.insert((target.host.clone(), target.port)) {
            return Err(fault("ip_address", format!("{target} is listed twice")));
        }
        devices.push(Device { target, resolve: device.resolve });
    }
    Ok(devices)
}
