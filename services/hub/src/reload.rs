//! Which settings come into force while the hub runs, and which stay until a restart.

use agent::reload::Change;

use crate::settings::{API, OWN, Settings};
use crate::store::Bounds;

impl Settings {
    /// What is in force once `new` was read: all of it but what only a start can bring about. `change` is told each key
    /// that differs.
    #[must_use]
    pub(crate) fn followed_by(&self, new: Self, change: &mut Change) -> Self {
        let mut at_once = |key: &str, differs: bool| change.at_once(OWN.name, key, differs);
        at_once("ip_devices", self.devices != new.devices);
        at_once("max_addresses", self.max_addresses != new.max_addresses);
        at_once("polling_interval", self.interval != new.interval);
        at_once("poll_timeout", self.poll_timeout != new.poll_timeout);
        at_once("poll_tls", self.poll_tls != new.poll_tls);
        at_once("poll_ca_file", self.polls.ca != new.polls.ca);
        at_once("poll_certificate_file", self.polls.certificate != new.polls.certificate);
        at_once("poll_key_file", self.polls.key != new.polls.key);
        at_once("poll_token_file", self.polls.token_file != new.polls.token_file);
        at_once("receive", self.receive != new.receive);
        at_once("identity", self.identity_rule != new.identity_rule);
        at_once("quarantine_max_bytes", self.quarantine_max_bytes != new.quarantine_max_bytes);
        at_once("delivery_concurrency", self.delivery_concurrency != new.delivery_concurrency);
        at_once("delivery_timeout", self.delivery_timeout != new.delivery_timeout);
        at_once("backoff_max", self.backoff_max != new.backoff_max);
        at_once("delivery_rate", self.delivery_rate != new.delivery_rate);
        at_once("max_attempts", self.max_attempts != new.max_attempts);
        at_once("allowed_clock_skew", self.allowed_clock_skew != new.allowed_clock_skew);
        at_once("max_future", self.max_future != new.max_future);
        at_once("history", self.history.rule != new.history.rule);
        at_once("history_max_bytes", self.history.max_bytes != new.history.max_bytes);
        at_once("history_max_age", self.history.max_age != new.history.max_age);
        at_once("history_series", self.history.series != new.history.series);
        // A larger post must fit into the spool as it was opened.
        let fits = usize::try_from(self.most_post_bytes).unwrap_or(usize::MAX);
        let max_post_bytes = new.max_post_bytes.min(fits);
        at_once("max_post_bytes", self.max_post_bytes != max_post_bytes);
        let server = |settings: &Self| settings.upstream.clone();
        if server(self).is_some() != server(&new).is_some() {
            change.at_once(API.name, "enabled", true);
        } else if let (Some(was), Some(is)) = (server(self), server(&new)) {
            change.at_once(API.name, "ip_address", was.host != is.host);
            change.at_once(API.name, "ip_bind_port", was.port != is.port);
            change.at_once(API.name, "tls", was.tls.is_some() != is.tls.is_some());
            change.at_once(API.name, "tls_name", was.tls.is_some() && is.tls.is_some() && was.tls != is.tls);
            let (was, is) = (&self.deliveries, &new.deliveries);
            change.at_once(API.name, "ca_file", was.ca != is.ca);
            change.at_once(API.name, "certificate_file", was.certificate != is.certificate);
            change.at_once(API.name, "key_file", was.key != is.key);
            change.at_once(API.name, "token_file", was.token_file != is.token_file);
        }
        // More room is had at once; less would mean to drop posts that are kept.
        let max_bytes = self.bounds.max_bytes.max(new.bounds.max_bytes);
        let bounds = Bounds { max_bytes, max_age: new.bounds.max_age, max_sources: self.bounds.max_sources };
        change.at_once(OWN.name, "max_bytes", self.bounds.max_bytes != max_bytes);
        change.at_once(OWN.name, "max_age", self.bounds.max_age != bounds.max_age);
        let rules = self.rules.followed_by(new.rules, OWN.name, change);
        let mut at_restart = |key: &str, differs: bool| change.at_restart(OWN.name, key, differs);
        at_restart("max_post_bytes", max_post_bytes != new.max_post_bytes);
        at_restart("max_bytes", max_bytes != new.bounds.max_bytes);
        at_restart("max_sources", self.bounds.max_sources != new.bounds.max_sources);
        at_restart("graceful_timeout", self.graceful_timeout != new.graceful_timeout);
        at_restart("agent_id", self.agent_id != new.agent_id);
        at_restart("hostname", self.node != new.node);
        Self {
            listen: self.listen,
            max_post_bytes,
            bounds,
            most_post_bytes: self.most_post_bytes,
            graceful_timeout: self.graceful_timeout,
            agent_id: self.agent_id.clone(),
            machine_id: self.machine_id.clone(),
            node: self.node.clone(),
            pattoo: self.pattoo.clone(),
            rules,
            ..new
        }
    }
}
