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
use super::statvfs::Asking;
use super::{Context, Exclude, Points, text};
use crate::files::{Content, Files};
use crate::host::{HostError, HostRoot};
use crate::reason::{AllLeftOut, LeftOut, Reason};

/// Looks which partitions there are and begins to ask for them: they answer while other families are read.
pub(super) fn begin<'a>(context: &Context<'a>) -> Result<Asking<'a>, HostError> {
    let mut partitions = context.known.partitions.borrow_mut();
    partitions.follow(context)?;
    context.known.askers.ask_for(&partitions.paths, context.known.patience, context.files.host())
}

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let begun = context.asking.take().unwrap_or_else(|| begin(context))?;
    let partitions = context.known.partitions.borrow();
    points.left_out.extend(partitions.unseen.clone());
    for (partition, answer) in partitions.asked.iter().zip(begun.answers()) {
        match answer {
            Answer::Usage(usage) => Usage::of(&usage).put(&partition.instance, points),
            Answer::Refused(error) => {
                let reason = Reason::of(&error);
                points.leave_out(
                    partition.name.clone(),
                    left_out(reason, format!("{}: {error}", reason.word())),
                );
            }
            // No duration in it: the reason is logged when it changes, and that is once.
            Answer::Hangs => {
                let reason = Reason::Hangs;
                points.leave_out(partition.name.clone(), left_out(reason, reason.word().to_owned()));
            }
            Answer::NotAsked => {
                let text = "not asked: too many others do not answer".to_owned();
                points.leave_out(partition.name.clone(), left_out(Reason::NotAsked, text));
            }
        }
    }
    Ok(())
}

fn left_out(reason: Reason, text: String) -> LeftOut {
    LeftOut { collector: "filesystem", reason, text }
}

/// Why one of the host's mounts is not the one that is found here.
pub(crate) fn unseen(host: &HostRoot) -> LeftOut {
    if host.root_given {
        left_out(Reason::NotSeen, format!("the host's mount is not seen below {}", host.root.display()))
    } else {
        let text = "no host root: / is the container's own here; mount the host's / and set HOST_ROOT";
        left_out(Reason::NoHostRoot, text.to_owned())
    }
}

/// The partitions, as they follow from what they were told by: worked out again when that reads otherwise.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    told_by: Option<ToldBy>,
    asked: Vec<Partition>,
    /// Where each of `asked` is found.
    paths: Vec<PathBuf>,
    /// Partitions that are not seen from here, and why.
    unseen: AllLeftOut,
    /// What they were chosen by.
    exclude: Exclude,
}

#[derive(Debug)]
struct Partition {
    /// As it is named where it is left out.
    name: String,
    instance: Instance,
}

/// The texts that tell of partitions.
#[derive(Debug)]
struct ToldBy {
    filesystems: Content,
    mounts: Content,
    /// The host's mountinfo and our own; none where all mounts are seen.
    mountinfo: Option<(Content, Vec<u8>)>,
}

impl ToldBy {
    /// What they tell now; none where that is the same as `before`.
    fn read(files: &Files, before: Option<&Self>) -> Result<Option<Self>, HostError> {
        let (mounts, mountinfo) = (files.of_init("mounts")?, mountinfo(files)?);
        let before = before.filter(|before| before.mounts == mounts && before.mountinfo == mountinfo);
        // The kernel neither forgets nor changes a type as long as it is mounted.
        if before.is_some() && files.proc_is_kernels() {
            return Ok(None);
        }
        let filesystems = files.proc("filesystems")?;
        let same = before.is_some_and(|before| before.filesystems == filesystems);
        Ok((!same).then_some(Self { filesystems, mounts, mountinfo }))
    }
}

impl Partitions {
    fn follow(&mut self, context: &Context<'_>) -> Result<(), HostError> {
        let before = self.told_by.as_ref().filter(|_| self.exclude == *context.exclude);
        let Some(told_by) = ToldBy::read(context.files, before)? else { return Ok(()) };
        let host = context.files.host();
        let types = types_on_devices(&told_by.filesystems);
        let visible = told_by.mountinfo.as_ref().map(|(theirs, ours)| seen_alike(theirs, ours, &host.root));
        let mut found = Self { exclude: context.exclude.clone(), ..Self::default() };
        // A device that is not found now may be there the next time.
        let mut all_known = true;
        for mount in
            text::lines(&told_by.mounts).filter_map(Mount::parse).filter(|mount| mount.is_partition(&types))
        {
            let point = text::printable(&mount.point);
            if context.exclude.partition(&point) {
                continue;
            }
            let name = format!("partition {point}");
            if visible.as_ref().is_some_and(|points| !points.contains(&mount.point)) {
                found.unseen.insert(name, unseen(host));
                continue;
            }
            let device = if mount.is_root() { root_device(context.files) } else { None };
            all_known &= device.is_some() || !mount.is_root();
            found.paths.push(host.path(&mount.path()));
            found.asked.push(Partition { name, instance: mount.instance(device) });
        }
        found.told_by = all_known.then_some(told_by);
        *self = found;
        Ok(())
    }
}

/// What tells which of the host's mounts this process sees as the host does: the host's mountinfo and our own.
/// None where that is all of them: this process stands on the host, or the host is a folder that somebody made
/// up, where nothing is mounted at all.
///
/// Below a host root, and in a container that was given the host's `/proc` alone, a mount point is the host's only
/// where our own mountinfo has it there with the same device and the same root within it; else it is an empty folder
/// of the mount above, or the container's own. It is not asked by stat, which hangs on a dead server and differs on btrfs.
pub(crate) fn mountinfo(files: &Files) -> Result<Option<(Content, Vec<u8>)>, HostError> {
    if files.host().root == Path::new("/") && !files.stands_elsewhere() {
        return Ok(None);
    }
    match files.of_init("mountinfo") {
        Ok(theirs) => Ok(Some((theirs, std::fs::read("/proc/self/mountinfo").unwrap_or_default()))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The mount points of `theirs` that `ours` has below `root`, with the same device and root.
pub(crate) fn seen_alike(theirs: &[u8], ours: &[u8], root: &Path) -> HashSet<Vec<u8>> {
    let ours = topmost(ours);
    let below_root = |point: &[u8]| {
        let path = root.join(Path::new(OsStr::from_bytes(point)).strip_prefix("/").ok()?);
        // Joining nothing, for `/` itself, leaves a slash at the end.
        let bytes = path.as_os_str().as_bytes();
        Some(bytes.strip_suffix(b"/").filter(|bytes| !bytes.is_empty()).unwrap_or(bytes).to_vec())
    };
    let same = |(point, identity): &(Vec<u8>, (Vec<u8>, Vec<u8>))| {
        below_root(point).and_then(|path| ours.get(&path)).is_some_and(|own| own == identity)
    };
    topmost(theirs).into_iter().filter(same).map(|(point, _)| point).collect()
}

/// Device and root within it of what is mounted last on `/`, from a mountinfo.
pub(crate) fn root_mount(mountinfo: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    topmost(mountinfo).remove(&b"/"[..])
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
pub(crate) struct Mount {
    pub(crate) device: Vec<u8>,
    pub(crate) point: Vec<u8>,
    pub(crate) fstype: Vec<u8>,
    pub(crate) options: Vec<u8>,
}

impl Mount {
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty());
        let mut field = || fields.next().map(decode);
        Some(Self { device: field()?, point: field()?, fstype: field()?, options: field()? })
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.point))
    }

    /// Whether the original counts it among the partitions.
    fn is_partition(&self, types: &HashSet<&[u8]>) -> bool {
        let on_device = !self.device.is_empty() && self.device != b"none";
        let docker = self.point.windows(6).any(|part| part == b"docker");
        on_device && types.contains(self.fstype.as_slice()) && !docker
    }

    /// Whether the device stands there without its name.
    fn is_root(&self) -> bool {
        matches!(self.device.as_slice(), b"/dev/root" | b"rootfs")
    }

    /// Its metadata, with the device's real name where that is another.
    fn instance(&self, device: Option<String>) -> Instance {
        let device = device.unwrap_or_else(|| text::printable(&self.device));
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
fn root_device(files: &Files) -> Option<String> {
    let host = files.host();
    let device = rustix::fs::stat(&host.root).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let listed = || {
        let partitions = files.proc("partitions").ok()?;
        text::lines(&partitions).find_map(|line| name_of_device(line, major, minor))
    };
    let told = || {
        let uevent = std::fs::read(host.sys.join(format!("dev/block/{major}:{minor}/uevent"))).ok()?;
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
        // Without a host root, what is below our own / counts where it is the host's.
        assert_eq!(seen_alike(theirs, ours, Path::new("/")), HashSet::new());
        assert_eq!(seen_alike(theirs, theirs, Path::new("/")).len(), 5);
        assert_eq!(root_mount(ours), Some((b"0:99".to_vec(), b"/".to_vec())));
        assert_eq!(root_mount(b"1 0 8:1 / /x rw - ext4 /dev/sda1 rw\n"), None, "as in a changed root");
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
