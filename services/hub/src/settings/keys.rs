//! The keys that the hub knows.

use agent::config::keys::{Key, Kind, Section};
use agent::http;

/// The hub's own section.
pub const OWN: Section = Section {
    name: "pattoo_agent_os_hubd",
    strict: true,
    keys: &[
        Key::new("ip_devices", Kind::List, "what is polled: items of `ip_address` (address or host name), `ip_bind_port` and, where every address of the name is a host of its own, `resolve: all`; `tls` and `tls_name` as below (none; needed unless `receive`)").or("ip_targets"),
        Key::new("max_addresses", Kind::Integer, "addresses of one name with `resolve: all` that are polled; the others are left out and counted (`5000`)"),
        Key::new("polling_interval", Kind::Integer, "seconds between two polls of a target; 0 means 300 (`300`)"),
        Key::new("poll_timeout", Kind::Integer, "seconds for a whole poll, at most the interval (`10`, or the interval where that is shorter)"),
        Key::new("poll_tls", Kind::Switch, "whether targets are asked over TLS; `tls: true` or `false` of an item says it for that one (`false`)"),
        Key::new("poll_ca_file", Kind::Text, "PEM file of the authorities whose certificates are taken (the system's public ones)"),
        Key::new("poll_certificate_file", Kind::Text, "PEM file of the certificate that the hub shows to targets, those that signed it after it (none)"),
        Key::new("poll_key_file", Kind::Text, "PEM file of its private key (none)"),
        Key::new("poll_token_file", Kind::Text, "file whose first token is sent to targets as `Authorization: Bearer` (none)"),
        Key::new("ip_listen_address", Kind::Text, "address of pages, health, metrics and receiving (`127.0.0.1`; in the image `0.0.0.0`)"),
        Key::new("ip_bind_port", Kind::Integer, "port of pages, health, metrics and receiving; 0: a free one (`5001`)"),
        Key::new("receive", Kind::Switch, "whether other agents may post here, as to a pattoo server (`false`)"),
        Key::new("identity", Kind::Text, "what becomes of the posts of a spoke that another target gives as well: `pin` sets them aside, `warn` sends them up all the same; both tell (`pin`)"),
        Key::new("agent_id", Kind::Text, "the hub's agent_id where no file keeps one (derived from machine-id and host name, else random)"),
        Key::new("hostname", Kind::Text, "the host's name, from which an agent_id may be derived (the system's)"),
        Key::new("max_post_bytes", Kind::Integer, "the largest post that is taken, in bytes (`4194304`)"),
        Key::new("max_bytes", Kind::Integer, "what the spool may take on disk, in bytes; beyond, the oldest of the largest source goes (`1073741824`)"),
        Key::new("max_age", Kind::Integer, "seconds after which a post that waits is dropped (`604800`, a week)"),
        Key::new("max_sources", Kind::Integer, "sources that the spool keeps apart (`20000`)"),
        Key::new("quarantine_max_bytes", Kind::Integer, "what is kept of bodies that were set aside, in bytes; beyond, the oldest goes (`67108864`)"),
        Key::new("delivery_concurrency", Kind::Integer, "sources whose posts are delivered at the same time (`8`)"),
        Key::new("delivery_timeout", Kind::Integer, "seconds for the delivery of a post (`10`)"),
        Key::new("backoff_max", Kind::Integer, "longest pause before delivery is tried again, in seconds (`30`)"),
        Key::new("delivery_rate", Kind::Integer, "posts that are delivered in a second at most; 0: no limit (`1000`)"),
        Key::new("max_attempts", Kind::Integer, "refusals after which a post is set aside, if the server takes others (`5`)"),
        Key::new("allowed_clock_skew", Kind::Integer, "seconds that a post may be ahead of the hub's clock (`60`)"),
        Key::new("max_future", Kind::Integer, "seconds ahead up to which a post waits until it is due; beyond, it is set aside (`3600`)"),
        Key::new("history", Kind::Text, "whether samples are kept for the pages' charts: `true`, `false`, or `auto`, which is `true` up to 2,000 targets and sources (`auto`)"),
        Key::new("history_max_bytes", Kind::Integer, "what the history may take on disk, in bytes; beyond, it reaches back less far (`268435456`)"),
        Key::new("history_max_age", Kind::Integer, "seconds that the history reaches back (`691200`, 8 days)"),
        Key::new("history_series", Kind::List, "series that are kept beside the usual ones: items of `key` (a `pattoo_key`) and, where it is not for all, `hosts` (names or agent ids) (none)"),
        Key::new("graceful_timeout", Kind::Integer, "seconds that stopping may take (`4`)"),
    ],
    shared: http::KEYS,
};

/// The section that tells every agent where the pattoo server is.
pub const API: Section = Section {
    name: "pattoo_agent_api",
    strict: false,
    keys: &[
        Key::new("ip_address", Kind::Text, "address or host name of the pattoo server (`localhost`)"),
        Key::new("ip_bind_port", Kind::Integer, "port of its agent API (`20201`)"),
        Key::new("tls", Kind::Switch, "whether posts go over TLS (`false`)"),
        Key::new("tls_name", Kind::Text, "the name that the server's certificate has to have (`ip_address`)"),
        Key::new(
            "ca_file",
            Kind::Text,
            "PEM file of the authorities whose certificates are taken (the system's public ones)",
        ),
        Key::new(
            "certificate_file",
            Kind::Text,
            "PEM file of the certificate that is shown to the server, those that signed it after it (none)",
        ),
        Key::new("key_file", Kind::Text, "PEM file of its private key (none)"),
        Key::new(
            "token_file",
            Kind::Text,
            "file whose first token is sent to the server as `Authorization: Bearer` (none)",
        ),
        Key::new("enabled", Kind::Switch, "`false`: keep posts and deliver nothing (`true`)"),
    ],
    shared: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let document = include_str!("../../../../docs/configuration.md");
        for table in [OWN.table(), API.table()] {
            assert!(document.contains(&table), "docs/configuration.md lacks:\n{table}");
        }
    }
}
