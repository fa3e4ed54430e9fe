//! What disks read and wrote, from `<proc>/diskstats`, and what udev knows of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::attribute::Slowly;
use super::names::Names;
use super::page::{Kind, Page};
use super::udev::{self, Properties};
use super::{Done, Round};
use crate::collect::disk::{Disk, SECTOR, parse};
use crate::collect::text;

/// The fields in the kernel's order; what the number is worth is in [`Unit`].
const FIELDS: [(&str, Unit, &str); 17] = [
    ("reads_completed_total", Unit::Count, "Reads completed."),
    ("reads_merged_total", Unit::Count, "Reads merged with others."),
    ("read_bytes_total", Unit::Sectors, "Bytes read."),
    ("read_time_seconds_total", Unit::Milliseconds, "Seconds spent by all reads."),
    ("writes_completed_total", Unit::Count, "Writes completed."),
    ("writes_merged_total", Unit::Count, "Writes merged with others."),
    ("written_bytes_total", Unit::Sectors, "Bytes written."),
    ("write_time_seconds_total", Unit::Milliseconds, "Seconds spent by all writes."),
    ("io_now", Unit::Now, "Reads and writes that are under way."),
    ("io_time_seconds_total", Unit::Milliseconds, "Seconds in which anything was under way."),
    (
        "io_time_weighted_seconds_total",
        Unit::Milliseconds,
        "Seconds, each counted as often as anything was under way.",
    ),
    ("discards_completed_total", Unit::Count, "Discards completed."),
    ("discards_merged_total", Unit::Count, "Discards merged with others."),
    ("discarded_sectors_total", Unit::Count, "Sectors discarded."),
    ("discard_time_seconds_total", Unit::Milliseconds, "Seconds spent by all discards."),
    ("flush_requests_total", Unit::Count, "Flushes completed."),
    ("flush_requests_time_seconds_total", Unit::Milliseconds, "Seconds spent by all flushes."),
];

/// What every kernel since tells of a disk.
const FEWEST: usize = 11;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Count,
    Now,
    Sectors,
    Milliseconds,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    names: Names,
    properties: Slowly<HashMap<(u64, u64), Properties>>,
}

struct Shown<'a> {
    name: Arc<str>,
    disk: Disk<'a>,
}

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, settings, .. } = round;
    let bytes = files.proc("diskstats")?;
    let shown = |name: &[u8]| Some(text::printable(name)).filter(|name| !settings.disks.leaves_out(name));
    // Linux 2.6 has other fields for partitions; node_exporter leaves these out too.
    let disks = text::lines(&bytes).filter_map(parse).filter(|disk| disk.count >= FEWEST);
    let disks: Vec<_> = disks
        .filter_map(|disk| Some(Shown { name: known.disks.names.get(disk.name, shown)?, disk }))
        .collect();
    for (at, (name, unit, help)) in FIELDS.into_iter().enumerate() {
        let kind = if unit == Unit::Now { Kind::Gauge } else { Kind::Counter };
        let mut family = page.family(&format!("node_disk_{name}"), kind, help);
        for Shown { name, disk } in disks.iter().filter(|shown| at < shown.disk.count) {
            let number = disk.numbers.get(at).copied().unwrap_or_default();
            let labels = [("device", &**name)];
            match unit {
                Unit::Count | Unit::Now => family.add(&labels, number),
                Unit::Sectors => family.add(&labels, number.saturating_mul(SECTOR)),
                Unit::Milliseconds => family.add(&labels, seconds(number)),
            }
        }
    }
    let host = files.host();
    let find = || {
        let number = |shown: &Shown<'_>| (shown.disk.major, shown.disk.minor);
        let of = |number| (number, udev::read(host, number));
        Ok::<_, std::convert::Infallible>(disks.iter().map(number).map(of).collect())
    };
    let Ok(properties) = known.disks.properties.get(files.proc_is_kernels(), find);
    write_properties(&disks, properties, page);
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "node_exporter's own arithmetic, in floats")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn write_properties(disks: &[Shown<'_>], known: &HashMap<(u64, u64), Properties>, page: &mut Page) {
    let none = Properties::default();
    let of = |shown: &Shown<'_>| known.get(&(shown.disk.major, shown.disk.minor)).unwrap_or(&none).clone();
    let disks: Vec<_> = disks.iter().map(|shown| (shown, of(shown))).collect();
    let mut family = page.family("node_disk_info", Kind::Gauge, "What is known of the disk.");
    for (shown, properties) in &disks {
        let (major, minor) = (shown.disk.major.to_string(), shown.disk.minor.to_string());
        let labels = [
            ("device", &*shown.name),
            ("major", &major),
            ("minor", &minor),
            ("path", properties.get("ID_PATH")),
            ("wwn", properties.get("ID_WWN")),
            ("model", properties.get("ID_MODEL")),
            ("serial", properties.first(&["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"])),
            ("revision", properties.get("ID_REVISION")),
        ];
        family.add(&labels, 1_u64);
    }
    drop(family);
    let help = "The file system on the disk.";
    let mut family = page.family("node_disk_filesystem_info", Kind::Gauge, help);
    for (shown, properties) in disks.iter().filter(|(_, properties)| properties.has("ID_FS_TYPE")) {
        let labels = [
            ("device", &*shown.name),
            ("type", properties.get("ID_FS_TYPE")),
            ("usage", properties.get("ID_FS_USAGE")),
            ("uuid", properties.get("ID_FS_UUID")),
            ("version", properties.get("ID_FS_VERSION")),
        ];
        family.add(&labels, 1_u64);
    }
    drop(family);
    let help = "What the device mapper knows of the disk.";
    let mut family = page.family("node_disk_device_mapper_info", Kind::Gauge, help);
    for (shown, properties) in disks.iter().filter(|(_, properties)| properties.has("DM_NAME")) {
        let labels = [
            ("device", &*shown.name),
            ("name", properties.get("DM_NAME")),
            ("uuid", properties.get("DM_UUID")),
            ("vg_name", properties.get("DM_VG_NAME")),
            ("lv_name", properties.get("DM_LV_NAME")),
            ("lv_layer", properties.get("DM_LV_LAYER")),
        ];
        family.add(&labels, 1_u64);
    }
    drop(family);
    for (name, property, help) in [
        ("node_disk_ata_write_cache", "ID_ATA_WRITE_CACHE", "Whether the disk has a write cache."),
        (
            "node_disk_ata_write_cache_enabled",
            "ID_ATA_WRITE_CACHE_ENABLED",
            "Whether the disk's write cache is in use.",
        ),
        (
            "node_disk_ata_rotation_rate_rpm",
            "ID_ATA_ROTATION_RATE_RPM",
            "Turns a minute; 0 of a disk that does not turn.",
        ),
    ] {
        let mut family = page.family(name, Kind::Gauge, help);
        for (shown, properties) in disks.iter().filter(|(_, properties)| properties.has("ID_ATA")) {
            if let Some(number) = properties.get(property).parse::<f64>().ok().filter(|n| n.is_finite()) {
                family.add(&[("device", &*shown.name)], number);
            }
        }
    }
}
