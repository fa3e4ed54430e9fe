//! What disks and their partitions read and wrote, from `<proc>/diskstats`.

use agent::post::DataType;

use super::points::Instance;
use super::{Context, Exclude, Points, text};
use crate::files::Files;
use crate::host::HostError;

const KEYS: [&str; 9] = [
    "disk_io_read_count",
    "disk_io_write_count",
    "disk_io_read_bytes",
    "disk_io_write_bytes",
    "disk_io_read_time",
    "disk_io_write_time",
    "disk_io_read_merged_count",
    "disk_io_write_merged_count",
    "disk_io_busy_time",
];

/// What diskstats calls a sector, whatever the disk's are, in bytes.
pub(crate) const SECTOR: u64 = 512;

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    each(context.files, context.exclude, |name, counts| {
        let disk = Instance::trailing("disk_partition", name);
        for (key, count) in KEYS.into_iter().zip(counts) {
            points.of(&disk, key, DataType::Counter, count);
        }
    })
}

/// Calls `take` for each disk with its name and its counts, in the order of [`KEYS`].
pub(crate) fn each(
    files: &Files,
    exclude: &Exclude,
    mut take: impl FnMut(String, [u64; 9]),
) -> Result<(), HostError> {
    let bytes = files.proc("diskstats")?;
    for disk in text::lines(&bytes).filter_map(parse).filter(|disk| !is_left_out(disk.name)) {
        let Some(counts) = disk.counts() else { continue };
        let name = text::printable(disk.name);
        if !exclude.disk(&name) {
            take(name, counts);
        }
    }
    Ok(())
}

/// A line of diskstats.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disk<'a> {
    /// The numbers of the device.
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) name: &'a [u8],
    /// What was counted, in the kernel's order.
    pub(crate) numbers: [u64; 17],
    /// How many of them this kernel tells.
    pub(crate) count: usize,
}

/// None for a line of another shape.
pub(crate) fn parse(line: &[u8]) -> Option<Disk<'_>> {
    let (major, rest) = text::first_word(line)?;
    let (minor, rest) = text::first_word(rest)?;
    let (name, rest) = text::first_word(rest)?;
    let (numbers, count) = text::numbers(rest)?;
    Some(Disk { major: text::number(major)?, minor: text::number(minor)?, name, numbers, count })
}

impl Disk<'_> {
    /// Counts in the order of [`KEYS`]; none for a line of another length.
    fn counts(&self) -> Option<[u64; 9]> {
        let bytes = |sectors: u64| sectors.saturating_mul(SECTOR);
        let [reads, read_merged, read, read_time, writes, write_merged, written, write_time, _, busy, ..] =
            self.numbers;
        match self.count {
            11.. => Some([
                reads,
                writes,
                bytes(read),
                bytes(written),
                read_time,
                write_time,
                read_merged,
                write_merged,
                busy,
            ]),
            4 => {
                // Linux 2.6 tells less of partitions.
                let [reads, read, writes, written, ..] = self.numbers;
                Some([reads, writes, bytes(read), bytes(written), 0, 0, 0, 0, 0])
            }
            _ => None,
        }
    }
}

/// Memory disks (`ram0`) and loop devices are no disks.
fn is_left_out(name: &[u8]) -> bool {
    let memory = name.strip_prefix(b"ram").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit));
    memory || name.starts_with(b"loop")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_in_the_order_of_the_keys() {
        let line: &[u8] = b" 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17";
        let counts = |line| parse(line).and_then(|disk| Some((disk.name, disk.counts()?)));
        assert_eq!(counts(line), Some((&b"vda"[..], [1, 5, 3 * 512, 7 * 512, 4, 8, 2, 6, 10])));
        assert_eq!(counts(b"3 1 hda1 1 2 3 4"), Some((&b"hda1"[..], [1, 3, 1024, 2048, 0, 0, 0, 0, 0])));
        for odd in [&b""[..], b"1 2", b"1 2 sda", b"1 2 sda x", b"1 2 sda 1 2 3 4 5"] {
            assert_eq!(counts(odd), None);
        }
    }

    #[test]
    fn memory_and_loop_are_left_out_and_nothing_that_looks_like_them() {
        for name in [&b"ram0"[..], b"ram15", b"loop0", b"loop"] {
            assert!(is_left_out(name));
        }
        for name in [&b"vda"[..], b"ram", b"ramdisk", b"sdloop", b"nvme0n1p1", b"dm-0"] {
            assert!(!is_left_out(name));
        }
    }
}
