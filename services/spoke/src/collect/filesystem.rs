//! How full the host's partitions are: which, from `<proc>/1/mounts` and `<proc>/filesystems`; how full, by
//! statvfs on each mount point below the host's `/`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use agent::post::DataType;
use rustix::fs::StatVfs;

use super::points::Instance;
use super::statvfs::Answer;
use super::{Context, Points, text};
use crate::host::{HostError, HostRoot};

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let types = context.host.read_proc("filesystems")?;
    let mounts = context.host.read_of_init("mounts")?;
    let types = types_on_devices(&types);
    let visible = Visible::of(context.host)?;
    let mut asked = Vec::new();
    for mount in text::lines(&mounts).filter_map(Mount::parse).filter(|mount| mount.is_partition(&types)) {
        if context.exclude.partition(&text::printable(&mount.point)) {
            continue;
        }
        if visible.shows(&mount.point) {
            asked.push(mount);
        } else {
            let root = context.host.root.display();
            leave_out(points, &mount, format!("the host's mount is not seen below {root}"));
        }
    }
    let paths: Vec<PathBuf> = asked.iter().map(|mount| context.host.path(&mount.path())).collect();
    for (mount, answer) in asked.iter().zip(context.askers.ask(&paths)) {
        match answer {
            Answer::Usage(usage) => Usage::of(&usage).put(&mount.instance(context.host), points),
            Answer::Refused(error) => leave_out(points, mount, error.to_string()),
            // No duration in it: the reason is logged when it changes, and that is once.
            Answer::Hangs => leave_out(points, mount, "does not answer".to_owned()),
            Answer::NotAsked => {
                leave_out(points, mount, "not asked: too many others do not answer".to_owned());
            }
        }
    }
    Ok(())
}

fn leave_out(points: &mut Points, mount: &Mount, reason: String) {
    points.leave_out(format!("partition {}", text::printable(&mount.point)), reason);
}

/// Which of the host's mounts this process sees as the host does.
///
/// Below a host root, a mount point is the host's only where our own mountinfo has it there with the same
/// device and the same root within it; else it is an empty folder of the mount above, or the container's
/// own. It is not asked by stat, which hangs on a dead server and differs on btrfs.
enum Visible {
    /// This process stands on the host, or the host is a folder that somebody made up: nothing is mounted
    /// there at all.
    All,
    /// Only these.
    These(HashSet<Vec<u8>>),
}

impl Visible {
    fn of(host: &HostRoot) -> Result<Self, HostError> {
        if host.root == Path::new("/") {
            return Ok(Self::All);
        }
        let theirs = match host.read_of_init("mountinfo") {
            Ok(theirs) => theirs,
            Err(error) if error.is_not_found() => return Ok(Self::All),
            Err(error) => return Err(error),
        };
        let ours = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        Ok(Self::These(seen_alike(&theirs, &ours, &host.root)))
    }

    fn shows(&self, point: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::These(points) => points.contains(point),
        }
    }
}

/// The mount points of `theirs` that `ours` has below `root`, with the same device and root.
fn seen_alike(theirs: &[u8], ours: &[u8], root: &Path) -> HashSet<Vec<u8>> {
    let ours = topmost(ours);
    let below_root = |point: &[u8]| {
        let path = root.join(Path::new(OsStr::from_bytes(point)).strip_prefix("/").ok()?);
        // Joining nothing, for `/` itself, leaves a slash at the end.
        let bytes = path.as_os_str().as_bytes();
        Some(bytes.strip_suffix(b"/").unwrap_or(bytes).to_vec())
    };
    let same = |(point, identity): &(Vec<u8>, (Vec<u8>, Vec<u8>))| {
        below_root(point).and_then(|path| ours.get(&path)).is_some_and(|own| own == identity)
    };
    topmost(theirs).into_iter().filter(same).map(|(point, _)| point).collect()
}

/// Device and root of what is mounted last on each mount point, from a mountinfo.
fn topmost(mountinfo: &[u8]) -> HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)> {
    let entry = |line| {
        let mut fields = text::words(line).skip(2);
        let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
        Some((decode(point), (device.to_vec(), decode(root))))
    };
    text::lines(mountinfo).filter_map(entry).collect()
}

/// The types of file system that live on devices, and zfs, which only looks as if it did not.
fn types_on_devices(filesystems: &[u8]) -> HashSet<&[u8]> {
    let name = |line| {
        let mut words = text::words(line);
        match words.next()? {
            b"nodev" => words.next().filter(|name| *name == b"zfs"),
            name => Some(name),
        }
    };
    text::lines(filesystems).filter_map(name).collect()
}

/// A line of `mounts`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: Vec<u8>,
    point: Vec<u8>,
    fstype: Vec<u8>,
    options: Vec<u8>,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty());
        let mut field = || fields.next().map(decode);
        Some(Self { device: field()?, point: field()?, fstype: field()?, options: field()? })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.point))
    }

    /// Whether the original counts it among the partitions.
    fn is_partition(&self, types: &HashSet<&[u8]>) -> bool {
        let on_device = !self.device.is_empty() && self.device != b"none";
        let docker = self.point.windows(6).any(|part| part == b"docker");
        on_device && types.contains(self.fstype.as_slice()) && !docker
    }

    fn instance(&self, host: &HostRoot) -> Instance {
        let device = if matches!(self.device.as_slice(), b"/dev/root" | b"rootfs") {
            root_device(host).unwrap_or_else(|| text::printable(&self.device))
        } else {
            text::printable(&self.device)
        };
        Instance::leading([
            ("disk_partition_device", device),
            ("disk_partition_mountpoint", text::printable(&self.point)),
            ("disk_partition_fstype", text::printable(&self.fstype)),
            ("disk_partition_opts", text::printable(&self.options)),
        ])
    }
}

/// Undoes the kernel's escapes of blank, tab, newline and backslash, and no others.
fn decode(field: &[u8]) -> Vec<u8> {
    const ESCAPES: [(&[u8], u8); 4] =
        [(b"\\040", b' '), (b"\\011", b'\t'), (b"\\012", b'\n'), (b"\\134", b'\\')];
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        match ESCAPES.iter().find_map(|(escape, byte)| Some((*byte, rest.strip_prefix(*escape)?))) {
            Some((byte, behind)) => {
                out.push(byte);
                rest = behind;
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// The device of the host's `/`, where `mounts` says only `/dev/root`: by its number, from
/// `<proc>/partitions`, else from sysfs.
fn root_device(host: &HostRoot) -> Option<String> {
    let device = rustix::fs::stat(&host.root).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let listed = || {
        let partitions = host.read_proc("partitions").ok()?;
        text::lines(&partitions).find_map(|line| name_of_device(line, major, minor))
    };
    let told = || {
        let uevent = host.read_sys(&format!("dev/block/{major}:{minor}/uevent")).ok()?;
        text::lines(&uevent).find_map(|line| Some(text::printable(line.strip_prefix(b"DEVNAME=")?)))
    };
    let name = format!("/dev/{}", listed().or_else(told)?);
    host.path(Path::new(&name)).exists().then_some(name)
}

fn name_of_device(line: &[u8], major: u32, minor: u32) -> Option<String> {
    let mut words = text::words(line);
    let same = words.next().and_then(text::number) == Some(major.into())
        && words.next().and_then(text::number) == Some(minor.into());
    same.then(|| words.nth(1).map(text::printable))?
}

/// How full a partition is, in bytes but for the percentage.
#[derive(Debug, PartialEq)]
struct Usage {
    total: u64,
    used: u64,
    /// What a user without privileges may still take.
    free: u64,
    percent: f64,
}

impl Usage {
    fn of(answer: &StatVfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(answer.f_frsize);
        let total = bytes(answer.f_blocks);
        let used = total.saturating_sub(bytes(answer.f_bfree));
        let free = bytes(answer.f_bavail);
        // Of what a user may have, not of what is reserved for root as well.
        Self { total, used, free, percent: text::percent(used, used.saturating_add(free)) }
    }

    fn put(&self, partition: &Instance, points: &mut Points) {
        points.of(partition, "disk_partition_disk_usage_total", DataType::Gauge, self.total);
        points.of(partition, "disk_partition_disk_usage_used", DataType::Gauge, self.used);
        points.of(partition, "disk_partition_disk_usage_free", DataType::Gauge, self.free);
        points.of(partition, "disk_partition_disk_usage_percent", DataType::Gauge, self.percent);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mount(line: &str) -> Mount {
        Mount::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn only_four_escapes_are_undone() {
        assert_eq!(decode(b"a\\040b\\011\\012\\134\\043\\04"), b"a b\t\n\\\\043\\04");
        assert_eq!(decode(b"\\134040"), b"\\040");
    }

    #[test]
    fn types_without_a_device_are_no_partitions_but_zfs_is() {
        let text = b"nodev\tsysfs\n\text4\nnodev\tzfs\n\tfuseblk\n";
        let types = types_on_devices(text);
        assert_eq!(types, HashSet::from([&b"ext4"[..], b"zfs", b"fuseblk"]));
        assert!(mount("/dev/vda / ext4 rw 0 0").is_partition(&types));
        assert!(mount("tank /tank zfs rw 0 0").is_partition(&types));
        assert!(!mount("none /x ext4 rw 0 0").is_partition(&types));
        assert!(!mount("/dev/vda /var/lib/docker/x ext4 rw 0 0").is_partition(&types));
        assert!(!mount("overlay / overlay rw 0 0").is_partition(&types));
    }

    #[test]
    fn a_mount_counts_only_where_it_is_seen_as_the_host_sees_it() {
        let theirs = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
            2 1 8:2 / /data\\040x rw - ext4 /dev/sda2 rw\n\
            3 1 0:40 /@home /home rw - btrfs /dev/sdb rw\n\
            4 1 8:3 / /hidden rw - ext4 /dev/sda3 rw\n\
            5 1 8:4 / /over rw - ext4 /dev/sda4 rw\n\
            6 1 8:5 / /over rw - ext4 /dev/sda5 rw\n";
        let ours = b"9 0 0:99 / / rw - overlay overlay rw\n\
            10 9 8:1 / /host ro - ext4 /dev/sda1 rw\n\
            11 10 8:2 / /host/data\\040x ro - ext4 /dev/sda2 rw\n\
            12 10 0:40 /@other /host/home ro - btrfs /dev/sdb rw\n\
            13 10 8:4 / /host/over ro - ext4 /dev/sda4 rw\n";
        let seen = seen_alike(theirs, ours, Path::new("/host"));
        assert_eq!(seen, HashSet::from([b"/".to_vec(), b"/data x".to_vec()]));
    }

    #[test]
    fn a_short_line_is_passed_over() {
        for odd in [&b""[..], b"/dev/vda", b"/dev/vda / ext4"] {
            assert_eq!(Mount::parse(odd), None);
        }
    }

    #[test]
    fn a_device_is_found_by_its_number() {
        let line = b" 254        1  1234567 vda1";
        assert_eq!(name_of_device(line, 254, 1).as_deref(), Some("vda1"));
        assert_eq!(name_of_device(line, 254, 2), None);
        assert_eq!(name_of_device(b"major minor  #blocks  name", 0, 0), None);
    }

    /// Bytes, among them such as a mountinfo has.
    fn mountinfo() -> impl Strategy<Value = Vec<u8>> {
        let word = prop::sample::select(vec![
            &b"1"[..],
            b"8:1",
            b"/",
            b"/data\\040x",
            b"-",
            b"ext4",
            b"\\0",
            b"\xff",
            b"\n",
            b" ",
        ]);
        let likely = prop::collection::vec(word, 0..60).prop_map(|words| words.join(&b' '));
        prop_oneof![prop::collection::vec(any::<u8>(), 0..300), likely]
    }

    proptest! {
        #[test]
        fn whatever_mountinfo_holds_only_mounts_of_both_sides_are_seen(theirs in mountinfo(), ours in mountinfo()) {
            let seen = seen_alike(&theirs, &ours, Path::new("/host"));
            prop_assert!(seen.len() <= topmost(&theirs).len().min(topmost(&ours).len()));
        }

        #[test]
        fn whatever_a_line_holds_decoding_does_not_lengthen_it(line in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&line).len() <= line.len());
            let _ = Mount::parse(&line);
            let _ = name_of_device(&line, 1, 2);
        }
    }
}
