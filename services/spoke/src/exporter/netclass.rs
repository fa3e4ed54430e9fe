//! What interfaces are and how they stand, from `<sys>/class/net`.
//!
//! A sysfs tells of the network in which it was mounted. Where the host's `/proc` is given and its `/sys` is not, that
//! is the container's own: then nothing is told.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::attribute::{Attribute, Entry, Keeper, entries};
use super::page::{Kind, Number, Page};
use super::{Done, Round};
use crate::collect::text;
use crate::host::HostError;

/// File, family without `node_network_`, and what it says. A number that cannot be read in the state in which the
/// interface is, is left out.
const NUMBERS: [(&str, &str, &str); 17] = [
    ("addr_assign_type", "address_assign_type", "How the address came about."),
    ("carrier", "carrier", "Whether the line is there."),
    ("carrier_changes", "carrier_changes_total", "How often the line came or went."),
    ("carrier_up_count", "carrier_up_changes_total", "How often the line came."),
    ("carrier_down_count", "carrier_down_changes_total", "How often the line went."),
    ("dev_id", "device_id", "Which of several on one device."),
    ("dormant", "dormant", "Whether it waits for something else."),
    ("flags", "flags", "The kernel's flags."),
    ("ifindex", "iface_id", "The kernel's number of it."),
    ("iflink", "iface_link", "The kernel's number of what it stands on."),
    ("link_mode", "iface_link_mode", "How its state is set."),
    ("mtu", "mtu_bytes", "The largest packet."),
    ("name_assign_type", "name_assign_type", "How the name came about."),
    ("netdev_group", "net_dev_group", "The group it belongs to."),
    ("speed", "speed_bytes", "Bytes a second; below 0 where it is not known."),
    ("tx_queue_len", "transmit_queue_length", "Packets that may wait to be sent."),
    ("type", "protocol_type", "The kernel's number of its protocol."),
];

/// Packets that nobody wanted: of the collector netdev, as node_exporter has it.
const UNWANTED: &str = "statistics/rx_nohandler";

/// File and label of what is no number.
const TEXTS: [(&str, &str); 5] = [
    ("address", "address"),
    ("broadcast", "broadcast"),
    ("duplex", "duplex"),
    ("operstate", "operstate"),
    ("ifalias", "ifalias"),
];

/// Megabits are how the kernel counts a speed.
const BYTES_OF_MEGABIT: i64 = 125_000;

#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<Entry, Interface>);

#[derive(Debug)]
struct Interface {
    name: Arc<str>,
    numbers: [Attribute; NUMBERS.len()],
    texts: [Attribute; TEXTS.len()],
    unwanted: Attribute,
}

impl Interface {
    fn new(folder: &Path, name: Arc<str>) -> Self {
        let attribute = |file: &str| Attribute::new(folder.join(file));
        Self {
            name,
            numbers: NUMBERS.map(|(file, ..)| attribute(file)),
            texts: TEXTS.map(|(file, _)| attribute(file)),
            unwanted: attribute(UNWANTED),
        }
    }
}

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    follow(round)?;
    write(&mut round.known.netclass.0, &round.known.keeper, round.page);
    Ok(())
}

/// Writes how many packets nobody wanted, where sysfs tells.
pub(super) fn write_unwanted(round: &mut Round<'_>) {
    if follow(round).is_err() {
        return;
    }
    let name = "node_network_receive_nohandler_total";
    let mut family = round.page.family(name, Kind::Counter, "Packets received that nobody wanted.");
    for interface in round.known.netclass.0.values_mut() {
        let number = interface.unwanted.read(&round.known.keeper).and_then(|bytes| Number::parse(&bytes));
        if let Some(number) = number {
            family.add(&[("device", &interface.name)], number);
        }
    }
}

/// Looks which interfaces there are now.
fn follow(round: &mut Round<'_>) -> Result<(), HostError> {
    let Round { files, known, settings, .. } = round;
    let host = files.host();
    let folder = host.sys.join("class/net");
    if !host.sees_network_in_sys() {
        let source = std::io::Error::other("it is this container's own: give host_sys");
        return Err(HostError::Read { path: folder, source });
    }
    let failed = |source| HostError::Read { path: folder.clone(), source };
    let shown =
        |name: &[u8]| Some(text::printable(name)).filter(|name| !settings.interfaces.leaves_out(name));
    let mut before = std::mem::take(&mut known.netclass.0);
    for entry in entries(&folder).map_err(failed)? {
        let Some(name) = known.interfaces.get(&entry.name, shown) else { continue };
        let path = || folder.join(OsStr::from_bytes(&entry.name));
        let interface = before.remove(&entry).unwrap_or_else(|| Interface::new(&path(), name));
        known.netclass.0.insert(entry, interface);
    }
    Ok(())
}

fn write(interfaces: &mut BTreeMap<Entry, Interface>, keeper: &Keeper, page: &mut Page) {
    for (at, (file, name, help)) in NUMBERS.into_iter().enumerate() {
        let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        let mut family = page.family(&format!("node_network_{name}"), kind, help);
        for interface in interfaces.values_mut() {
            let number = interface.numbers.get_mut(at).and_then(|attribute| attribute.number(keeper));
            let scaled = number
                .map(|number| if file == "speed" { number.saturating_mul(BYTES_OF_MEGABIT) } else { number });
            if let Some(number) = scaled {
                family.add(&[("device", &interface.name)], number);
            }
        }
    }
    let texts: Vec<_> = interfaces.values_mut().map(|interface| texts(interface, keeper)).collect();
    let mut family = page.family("node_network_info", Kind::Gauge, "What of the interface is no number.");
    for (device, values) in &texts {
        let named = TEXTS.iter().zip(values).map(|((_, label), value)| (*label, value.as_str()));
        let labels: Vec<_> = std::iter::once(("device", *device)).chain(named).collect();
        family.add(&labels, 1_u64);
    }
    drop(family);
    let mut family = page.family("node_network_up", Kind::Gauge, "Whether the interface's operstate is up.");
    for (device, values) in &texts {
        family.add(&[("device", device)], values.get(OPERSTATE).is_some_and(|state| state == "up"));
    }
}

/// Where `operstate` stands in [`TEXTS`].
const OPERSTATE: usize = 3;

fn texts<'a>(interface: &'a mut Interface, keeper: &Keeper) -> (&'a str, [String; TEXTS.len()]) {
    let Interface { name, texts, .. } = interface;
    let mut found = TEXTS.map(|_| String::new());
    for (attribute, text) in texts.iter_mut().zip(&mut found) {
        *text = attribute.text(keeper).unwrap_or_default();
    }
    (name, found)
}
