//! The settings in force, as a configuration file would say them.

use std::fmt::Write;

use agent::config::ConfigError;

use super::{API, OWN, Settings};
use crate::target::{Device, Resolve};

impl Settings {
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
