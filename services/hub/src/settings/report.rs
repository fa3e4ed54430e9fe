//! The settings in force, as a configuration file would say them.

use std::fmt::{Display, Write};

use agent::config::{ConfigError, quoted, written};
use agent::tls::validity::Certificates;

use super::{API, OWN, POLL_KEYS, Settings, WantedSeries, upstream};
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
        let mut line = |key: &str, value: &dyn Display| {
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
            if target.tls.is_some() != self.poll_tls {
                line("    tls", &target.tls.is_some());
            }
            if let Some(name) = target.other_name() {
                line("    tls_name", &written(name));
            }
        }
        line("max_addresses", &self.max_addresses);
        line("polling_interval", &self.interval.as_secs());
        line("poll_timeout", &self.poll_timeout.as_secs());
        line("poll_tls", &self.poll_tls);
        for (key, file) in self.polls.files(&POLL_KEYS) {
            line(key, &written(&file.to_string_lossy()));
        }
        line("ip_listen_address", &format!("\"{}\"", self.listen.ip()));
        line("ip_bind_port", &self.listen.port());
        line("receive", &self.receive);
        line("identity", &self.identity_rule.label());
        line("hostname", &written(&self.node));
        line("agent_id", &format!("{} # {}", written(&id.id), id.origin));
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
        line("history", &self.history.rule.label());
        line("history_max_bytes", &self.history.max_bytes);
        line("history_max_age", &self.history.max_age.as_secs());
        if !self.history.series.is_empty() {
            line("history_series", &"");
        }
        for WantedSeries { key, hosts } in &self.history.series {
            line("  - key", &written(key));
            if !hosts.is_empty() {
                let hosts = hosts.iter().map(|host| quoted(host)).collect::<Vec<_>>();
                line("    hosts", &format!("[{}]", hosts.join(", ")));
            }
        }
        line("graceful_timeout", &self.graceful_timeout.as_secs());
        for (key, value) in self.rules.values() {
            let number = value.bytes().all(|byte| byte.is_ascii_digit());
            line(key, &if number { value } else { format!("{value:?}") });
        }
        let _ = writeln!(lines, "{}:", API.name);
        let mut line = |key: &str, value: &dyn Display| {
            let _ = writeln!(lines, "    {key}: {value}");
        };
        if let Some(server) = &self.upstream {
            let address = server.host.to_string();
            line("ip_address", &format!("\"{}\"", address.trim_matches(['[', ']'])));
            line("ip_bind_port", &server.port);
            line("tls", &server.tls.is_some());
            if let Some(name) = server.other_name() {
                line("tls_name", &written(name));
            }
            for (key, file) in self.deliveries.files(&upstream::KEYS) {
                line(key, &written(&file.to_string_lossy()));
            }
        }
        line("enabled", &self.upstream.is_some());
        let _ = write!(
            lines,
            "pattoo:\n    cache_directory: {}\n    daemon_directory: {}\n    system_daemon_directory: {}",
            written(&self.pattoo.cache_directory.to_string_lossy()),
            written(&self.pattoo.daemon_directory.to_string_lossy()),
            written(&self.pattoo.system_daemon_directory.to_string_lossy())
        );
        Ok(lines)
    }

    /// What is odd about the settings, and no fault.
    pub fn warnings(&self) -> Vec<String> {
        let targets = self.devices.iter().map(|device| &device.target);
        let polls = self.polls.warnings(&POLL_KEYS, "poll_tls", targets);
        let deliveries = self.deliveries.warnings(&upstream::KEYS, "tls", self.upstream.iter());
        polls.chain(deliveries).collect()
    }

    /// Shows when the certificates count with which the hub comes.
    pub(crate) fn show_certificates(&self, shown: &Certificates) {
        shown.show(POLL_KEYS.certificate_file, self.polls.validity);
        shown.show("pattoo_agent_api.certificate_file", self.deliveries.validity);
    }

    /// Logs what is odd and was not `before`.
    pub fn warn(&self, before: &[String]) {
        for warning in self.warnings().iter().filter(|warning| !before.contains(warning)) {
            tracing::warn!("{warning}");
        }
    }
}
