//! What this process itself may use and uses: limits and use of its own control group, v1 or v2, beside the host's numbers
//! and never among them. On a bare host it is the unit's, in a container the container's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

use crate::collect::text;

/// Where the own groups are: one folder for all in v2, one for each controller in v1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    unified: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    pids: Option<PathBuf>,
}

/// Limits, where there are any, and use, where it is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct Use {
    /// Bytes.
    #[serde(rename = "memory_limit_bytes")]
    pub(crate) memory_limit: Option<f64>,
    /// Bytes, with what of files is cached.
    #[serde(rename = "memory_bytes")]
    pub(crate) memory: Option<f64>,
    /// Cpus.
    #[serde(rename = "cpu_limit_cores")]
    pub(crate) cpu_limit: Option<f64>,
    /// Seconds of cpu time since the group was made.
    pub(crate) cpu_seconds: Option<f64>,
    /// Threads.
    pub(crate) tasks_limit: Option<f64>,
    /// Threads.
    pub(crate) tasks: Option<f64>,
}

/// Limits and use now.
pub(crate) fn own() -> Use {
    static PLACES: OnceLock<Places> = OnceLock::new();
    let places = PLACES.get_or_init(|| {
        let read = |file| fs::read(file).unwrap_or_default();
        Places::find(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
    });
    places.read()
}

/// Looks for the own groups as [`own`] does, in these texts.
pub(crate) fn find(groups: &[u8], mountinfo: &[u8]) {
    let _ = Places::find(groups, mountinfo);
}

impl Places {
    fn find(groups: &[u8], mountinfo: &[u8]) -> Self {
        let v1 = |controller: &str| place(groups, mountinfo, Some(controller));
        Self {
            unified: place(groups, mountinfo, None),
            memory: v1("memory"),
            cpu: v1("cpu"),
            cpuacct: v1("cpuacct"),
            pids: v1("pids"),
        }
    }

    fn read(&self) -> Use {
        let at = |place: &Option<PathBuf>, file: &str| read(place.as_deref(), file);
        let v1 = |place: &Option<PathBuf>, file: &str| number(&at(place, file)?);
        let v2 = |file: &str| number(&at(&self.unified, file)?);
        let quota = |text: String| {
            let mut words = text.split_whitespace();
            quotient(number(words.next()?)?, number(words.next()?)?)
        };
        let usage = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
            Some(number(line)? / 1e6)
        };
        Use {
            memory_limit: v2("memory.max")
                .or_else(|| v1(&self.memory, "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED)),
            memory: v2("memory.current").or_else(|| v1(&self.memory, "memory.usage_in_bytes")),
            cpu_limit: at(&self.unified, "cpu.max").and_then(quota).or_else(|| {
                quotient(v1(&self.cpu, "cpu.cfs_quota_us")?, v1(&self.cpu, "cpu.cfs_period_us")?)
            }),
            cpu_seconds: at(&self.unified, "cpu.stat")
                .filter(|_| self.cpuacct.is_none())
                .and_then(usage)
                .or_else(|| Some(v1(&self.cpuacct, "cpuacct.usage")? / 1e9)),
            tasks_limit: v2("pids.max").or_else(|| v1(&self.pids, "pids.max")),
            tasks: v2("pids.current").or_else(|| v1(&self.pids, "pids.current")),
        }
    }
}

/// What v1 says of memory without a limit is the greatest number of whole pages.
const UNLIMITED: f64 = (1_u64 << 62) as f64;

fn read(place: Option<&Path>, file: &str) -> Option<String> {
    fs::read_to_string(place?.join(file)).ok()
}

/// A count; none where there is no limit (`max`, or -1 in v1).
fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

fn quotient(quota: f64, period: f64) -> Option<f64> {
    (period > 0.0).then(|| quota / period)
}

/// The folder of the own group: of a controller in v1, of all in v2. The host's mounts of the same hierarchies may be
/// seen as well; the own is at the usual place.
fn place(groups: &[u8], mountinfo: &[u8], controller: Option<&str>) -> Option<PathBuf> {
    let path = text::lines(groups).find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match controller {
            None => number == "0" && controllers.is_empty(),
            Some(wanted) => controllers.split(',').any(|one| one == wanted),
        };
        is_it.then_some(path)
    })?;
    let mounts = text::lines(mountinfo).filter_map(|line| {
        let (mount, kind) = std::str::from_utf8(line).ok()?.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (fstype, options) = (kind.next()?, kind.nth(1)?);
        let is_it = match controller {
            None => fstype == "cgroup2",
            Some(wanted) => fstype == "cgroup" && options.split(',').any(|one| one == wanted),
        };
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // Above our own: a mount of another namespace.
        (is_it && !root.starts_with("/..")).then_some((root, point))
    });
    let (root, point) = mounts.min_by_key(|(_, point)| !point.starts_with("/sys/fs/cgroup"))?;
    let below =
        path.strip_prefix(root.trim_end_matches('/')).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let place = Path::new(point).join(below.unwrap_or_default().trim_start_matches('/'));
    Some(if place.is_dir() { place } else { PathBuf::from(point) })
}

/// The same as metrics. What has no limit has no metric of one.
#[derive(Debug)]
pub(crate) struct Metrics {
    gauges: [Gauge; 5],
    seconds: Counter,
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            gauges: [
                Gauge::new(
                    "cgroup_memory_limit_bytes",
                    "How much memory the spoke's own control group may use.",
                )?,
                Gauge::new(
                    "cgroup_memory_bytes",
                    "How much memory the spoke's own control group uses, with cached files.",
                )?,
                Gauge::new("cgroup_cpu_limit_cores", "How many cpus the spoke's own control group may use.")?,
                Gauge::new("cgroup_tasks_limit", "How many threads the spoke's own control group may have.")?,
                Gauge::new("cgroup_tasks", "How many threads the spoke's own control group has.")?,
            ],
            seconds: seconds()?,
        })
    }
}

fn seconds() -> prometheus::Result<Counter> {
    Counter::new("cgroup_cpu_seconds_total", "Cpu time that the spoke's own control group used.")
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(Collector::desc).chain(self.seconds.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let own = own();
        let values = [own.memory_limit, own.memory, own.cpu_limit, own.tasks_limit, own.tasks];
        let mut families = Vec::new();
        for (gauge, value) in self.gauges.iter().zip(values) {
            if let Some(value) = value {
                gauge.set(value);
                families.append(&mut gauge.collect());
            }
        }
        // Counted by the kernel: told as it stands, by a counter of this one answer.
        if let (Some(value), Ok(seconds)) = (own.cpu_seconds, seconds()) {
            seconds.inc_by(value);
            families.append(&mut seconds.collect());
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Folders of control groups, with files in them.
    fn made(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn version_2_is_one_folder() {
        let folder = made(&[
            ("system.slice/pattoo.service/memory.max", "67108864\n"),
            ("system.slice/pattoo.service/memory.current", "4096000\n"),
            ("system.slice/pattoo.service/cpu.max", "50000 100000\n"),
            ("system.slice/pattoo.service/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
            ("system.slice/pattoo.service/pids.max", "max\n"),
            ("system.slice/pattoo.service/pids.current", "5\n"),
        ]);
        let point = folder.path().display();
        let mountinfo = format!("30 23 0:26 / {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
        let places = Places::find(b"0::/system.slice/pattoo.service\n", mountinfo.as_bytes());
        let wanted = Use {
            memory_limit: Some(67_108_864.0),
            memory: Some(4_096_000.0),
            cpu_limit: Some(0.5),
            cpu_seconds: Some(2.5),
            tasks_limit: None,
            tasks: Some(5.0),
        };
        assert_eq!(places.read(), wanted);
        let unlimited = Places::find(b"0::/\n", mountinfo.as_bytes()).read();
        assert_eq!(unlimited, Use::default(), "the first group has no such files");
    }

    #[test]
    fn version_1_is_a_folder_for_each_controller_and_in_a_container_the_mount_is_the_group() {
        let folder = made(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "1000\n"),
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/cpuacct.usage", "1500000000\n"),
            ("pids/pids.max", "100\n"),
            ("pids/pids.current", "7\n"),
            ("unified/cpu.stat", "usage_usec 9\n"),
        ]);
        let point = folder.path().display();
        let groups =
            b"12:memory:/docker/abc\n6:cpu,cpuacct:/docker/abc\n5:pids:/docker/abc\n0::/docker/abc\n";
        let mountinfo = format!(
            "1 0 0:1 /docker/abc {point}/memory ro - cgroup cgroup rw,memory\n\
             2 0 0:2 /docker/abc {point}/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
             3 0 0:3 /docker/abc {point}/pids ro - cgroup cgroup rw,pids\n\
             4 0 0:4 /docker/abc {point}/unified ro - cgroup2 cgroup rw\n"
        );
        let mut own = Places::find(groups, mountinfo.as_bytes()).read();
        let wanted = Use {
            memory: Some(1000.0),
            cpu_seconds: Some(1.5),
            tasks_limit: Some(100.0),
            tasks: Some(7.0),
            ..Use::default()
        };
        assert_eq!(own, wanted);
        fs::write(folder.path().join("memory/memory.limit_in_bytes"), "67108864\n").unwrap();
        fs::write(folder.path().join("cpu,cpuacct/cpu.cfs_quota_us"), "200000\n").unwrap();
        own = Places::find(groups, mountinfo.as_bytes()).read();
        assert_eq!((own.memory_limit, own.cpu_limit), (Some(67_108_864.0), Some(2.0)));
    }

    #[test]
    fn the_hosts_mounts_beside_it_are_not_the_own_group() {
        let mountinfo = b"1 0 0:1 /.. /host/sys/fs/cgroup ro - cgroup2 cgroup2 rw\n\
            2 0 0:1 / /host/root/sys/fs/cgroup ro - cgroup2 cgroup2 rw\n\
            3 0 0:1 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(place(b"0::/\n", mountinfo, None), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(place(b"0::/\n", b"", None), None);
    }

    #[test]
    fn this_process_has_what_the_kernel_counts() {
        // Wherever the tests run, reading it ends, and what is told is a number.
        let own = own();
        for value in [own.memory, own.cpu_seconds, own.tasks].into_iter().flatten() {
            assert!(value > 0.0, "{own:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_texts_hold_looking_for_the_place_ends(groups in "\\PC{0,80}|[0-2]:(memory)?:/.{0,9}\n", mountinfo in "\\PC{0,200}|1 0 0:1 /.{0,5} /x rw - cgroup2 a b\n") {
            let _ = Places::find(groups.as_bytes(), mountinfo.as_bytes());
            let _ = number(&groups);
        }
    }
}
