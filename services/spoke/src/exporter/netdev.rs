//! What interfaces sent and received, from the host's own `net/dev`.
//!
//! node_exporter asks the kernel by netlink, which tells of the asker's own network; the file says the same of the
//! host's. What it does not say, packets that nobody wanted, stands in sysfs.

use super::page::Kind;
use super::{Done, Round, netclass};
use crate::collect::network;
use crate::collect::text;

/// The fields in the kernel's order.
const FIELDS: [(&str, &str); 16] = [
    ("receive_bytes", "Bytes received."),
    ("receive_packets", "Packets received."),
    ("receive_errs", "Packets received with an error."),
    ("receive_drop", "Packets received and dropped."),
    ("receive_fifo", "Packets lost since a queue of the receiver ran over."),
    ("receive_frame", "Packets received with a frame of the wrong shape."),
    ("receive_compressed", "Packets received compressed."),
    ("receive_multicast", "Packets received that went to several."),
    ("transmit_bytes", "Bytes sent."),
    ("transmit_packets", "Packets sent."),
    ("transmit_errs", "Packets not sent for an error."),
    ("transmit_drop", "Packets dropped before they were sent."),
    ("transmit_fifo", "Packets lost since a queue of the sender ran over."),
    ("transmit_colls", "Collisions."),
    ("transmit_carrier", "Packets not sent since the line was lost."),
    ("transmit_compressed", "Packets sent compressed."),
];

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, settings, .. } = round;
    let bytes = files.of_init("net/dev")?;
    let shown =
        |name: &[u8]| Some(text::printable(name)).filter(|name| !settings.interfaces.leaves_out(name));
    let interfaces: Vec<_> = text::lines(&bytes)
        .filter_map(network::parse)
        .filter_map(|(name, numbers)| Some((known.interfaces.get(name, shown)?, numbers)))
        .collect();
    for (at, (name, help)) in FIELDS.into_iter().enumerate() {
        let mut family = page.family(&format!("node_network_{name}_total"), Kind::Counter, help);
        for (interface, numbers) in &interfaces {
            family.add(&[("device", interface)], numbers.get(at).copied().unwrap_or_default());
        }
    }
    netclass::write_unwanted(round);
    Ok(())
}
