//! The host as it is now: what the page shows, and `/api/v1/host` says. Made of the datapoints that a post would have at
//! that moment, so both say the same.

use std::collections::{BTreeMap, HashMap};

use agent::clock::Millis;
use agent::post::{Datapoint, Number, Pair};
use serde::Serialize;

use super::moved::{Counted, Moved, rates};
use crate::cgroup::Use;
use crate::exporter::pressure::Share;

/// How many of a kind are shown. A host of containers may have thousands, and nobody reads these.
const MOST_SHOWN: usize = 100;

/// The host now. Names end with their unit; what the host does not tell is null.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Now {
    pub(crate) at_ms: Millis,
    pub(crate) name: String,
    pub(crate) agent_id: String,
    pub(crate) program_version: &'static str,
    /// Whether this is the host, and not a container that was given none.
    pub(crate) host_seen: bool,
    #[serde(flatten)]
    pub(crate) seen: Seen,
    pub(crate) missing_from_metrics: Many<LeftOut>,
    /// What the spoke itself uses.
    pub(crate) own: Use,
}

/// What was read of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Seen {
    /// The distribution, as it calls itself.
    pub(crate) system: Option<String>,
    pub(crate) kernel: Option<String>,
    pub(crate) cpus: String,
    pub(crate) uptime_s: Option<u64>,
    #[serde(flatten)]
    pub(crate) numbers: Numbers,
    pub(crate) pressure: Vec<Pressure>,
    /// Why there is none, where the kernel could tell.
    pub(crate) pressure_failed: Option<String>,
    pub(crate) left_out: Many<LeftOut>,
}

/// What the datapoints say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Numbers {
    pub(crate) processes: Option<Number>,
    /// Over 1, 5 and 15 minutes.
    pub(crate) load: Option<[f64; 3]>,
    /// Share of the time, by mode.
    pub(crate) cpu_percent: Option<BTreeMap<&'static str, f64>>,
    pub(crate) memory: Option<Space>,
    pub(crate) swap: Option<Space>,
    pub(crate) partitions: Many<Partition>,
    pub(crate) disks: Many<Disk>,
    pub(crate) interfaces: Many<Interface>,
}

/// The modes of a cpu, in the order in which they are shown. Time of guests is in that of `user` and `nice` as well.
pub(crate) const MODES: [(&str, &str); 10] = [
    ("user", "cpu_times_percent_user"),
    ("nice", "cpu_times_percent_nice"),
    ("system", "cpu_times_percent_system"),
    ("iowait", "cpu_times_percent_iowait"),
    ("irq", "cpu_times_percent_irq"),
    ("softirq", "cpu_times_percent_softirq"),
    ("steal", "cpu_times_percent_steal"),
    ("guest", "cpu_times_percent_guest"),
    ("guest_nice", "cpu_times_percent_guest_nice"),
    ("idle", "cpu_times_percent_idle"),
];

/// Memory, or swap space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Space {
    pub(crate) total_bytes: Number,
    pub(crate) used_bytes: Number,
    pub(crate) used_percent: Number,
}

/// Some of many, in the order of the post.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Many<T> {
    /// How many there are.
    pub(crate) count: usize,
    pub(crate) shown: Vec<T>,
}

impl<T> Many<T> {
    /// Those of most worth, where there are more than are shown.
    fn of(mut all: Vec<T>, worth: impl Fn(&T) -> f64) -> Self {
        let count = all.len();
        if count > MOST_SHOWN {
            let mut worths: Vec<_> = all.iter().map(worth).enumerate().collect();
            worths.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            let mut wanted = vec![false; count];
            for (at, _) in worths.into_iter().take(MOST_SHOWN) {
                if let Some(wanted) = wanted.get_mut(at) {
                    *wanted = true;
                }
            }
            let mut wanted = wanted.into_iter();
            all.retain(|_| wanted.next().unwrap_or_default());
        }
        Self { count, shown: all }
    }
}

/// What waited for a cpu, for disks or for memory.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pressure {
    /// `cpu`, `io` or `memory`.
    pub(crate) on: &'static str,
    /// `some` or `full`: whether some waited, or all.
    pub(crate) who: &'static str,
    pub(crate) last_10s_percent: f64,
    pub(crate) last_60s_percent: f64,
    pub(crate) last_300s_percent: f64,
}

impl From<Share> for Pressure {
    fn from(Share { on, who, of }: Share) -> Self {
        let [last_10s_percent, last_60s_percent, last_300s_percent] = of;
        Self { on, who, last_10s_percent, last_60s_percent, last_300s_percent }
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Partition {
    pub(crate) mountpoint: String,
    pub(crate) device: String,
    pub(crate) fstype: String,
    pub(crate) read_only: bool,
    pub(crate) total_bytes: Number,
    pub(crate) used_bytes: Number,
    pub(crate) free_bytes: Number,
    pub(crate) used_percent: Number,
}

/// A disk, or a part of one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Disk {
    pub(crate) name: String,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) read_bytes_per_second: Option<f64>,
    pub(crate) written_bytes_per_second: Option<f64>,
    pub(crate) busy_percent: Option<f64>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes_per_second: Option<f64>,
    pub(crate) sent_bytes_per_second: Option<f64>,
    /// Errors and drops.
    pub(crate) faults: u64,
    pub(crate) faults_per_second: Option<f64>,
}

/// What cannot be seen, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) what: String,
    pub(crate) reason: String,
}

impl Many<LeftOut> {
    /// The first of what is left out, each with its reason.
    pub(crate) fn left_out(all: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::of(all.into_iter().map(|(what, reason)| LeftOut { what, reason }).collect(), |_| 0.0)
    }
}

/// A number of a datapoint, for what is worked out or drawn.
pub(crate) fn float(number: Number) -> f64 {
    match number {
        #[allow(clippy::cast_precision_loss, reason = "a drawing does not show the last digits")]
        Number::Int(number) => number as f64,
        Number::Float(number) => number,
    }
}

/// How full the fullest partition is that can be written to: one that cannot, such as a snap's, is full from the start.
pub(crate) fn fullest(datapoints: &[Datapoint]) -> Option<f64> {
    let percent = datapoints.iter().filter(|point| point.series.key == "disk_partition_disk_usage_percent");
    let writable = percent.filter(|point| !is_read_only(value(&point.series.leading, "disk_partition_opts")));
    writable.map(|point| float(point.value)).reduce(f64::max)
}

fn is_read_only(options: &str) -> bool {
    options.split(',').any(|option| option == "ro")
}

fn value<'a>(pairs: &'a [Pair], key: &str) -> &'a str {
    pairs.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value)
}

/// The datapoints of one partition, disk or interface, or of the host as a whole. Where there are two of a key, the first
/// counts, as in the post.
#[derive(Debug, Default)]
struct Instance<'a> {
    pairs: &'a [Pair],
    values: Vec<(&'static str, Number)>,
}

impl<'a> Instance<'a> {
    /// All of them, in the order of the post.
    fn all(datapoints: &'a [Datapoint]) -> Vec<Self> {
        let mut places = HashMap::new();
        let mut all: Vec<Self> = Vec::new();
        for Datapoint { series, value, .. } in datapoints {
            let pairs: &[Pair] = if series.leading.is_empty() { &series.trailing } else { &series.leading };
            let place = *places.entry(pairs).or_insert(all.len());
            if place == all.len() {
                all.push(Self { pairs, values: Vec::new() });
            }
            if let Some(instance) = all.get_mut(place) {
                instance.values.push((series.key, *value));
            }
        }
        all
    }

    fn get(&self, key: &str) -> Option<Number> {
        self.values.iter().find(|(known, _)| *known == key).map(|(_, number)| *number)
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.get(key).map(float)
    }

    fn count(&self, key: &str) -> u64 {
        match self.get(key) {
            Some(Number::Int(count)) => count,
            Some(Number::Float(_)) | None => 0,
        }
    }

    fn space(&self, total: &str, used: &str, percent: &str) -> Option<Space> {
        Some(Space {
            total_bytes: self.get(total)?,
            used_bytes: self.get(used)?,
            used_percent: self.get(percent)?,
        })
    }

    fn partition(&self) -> Option<Partition> {
        let text = |key: &str| value(self.pairs, key).to_owned();
        Some(Partition {
            mountpoint: text("disk_partition_mountpoint"),
            device: text("disk_partition_device"),
            fstype: text("disk_partition_fstype"),
            read_only: is_read_only(value(self.pairs, "disk_partition_opts")),
            total_bytes: self.get("disk_partition_disk_usage_total")?,
            used_bytes: self.get("disk_partition_disk_usage_used")?,
            free_bytes: self.get("disk_partition_disk_usage_free")?,
            used_percent: self.get("disk_partition_disk_usage_percent")?,
        })
    }
}

impl Numbers {
    /// What the datapoints say; rates are against `before`, so many seconds ago.
    pub(crate) fn of(datapoints: &[Datapoint], before: Option<(f64, &Moved)>) -> Self {
        let (mut host, mut partitions, mut moved) = (Instance::default(), Vec::new(), Moved::default());
        for instance in Instance::all(datapoints) {
            let counted = |keys: [&str; 2], third: &[&str]| {
                let third = third.iter().map(|key| instance.count(key)).fold(0, u64::saturating_add);
                let [first, second] = keys.map(|key| instance.count(key));
                let name = instance.pairs.first().map(|(_, name)| name.clone()).unwrap_or_default();
                Counted { name, counts: [first, second, third] }
            };
            match instance.pairs.first().map(|(key, _)| *key) {
                None => host = instance,
                Some("disk_partition") => moved
                    .disks
                    .push(counted(["disk_io_read_bytes", "disk_io_write_bytes"], &["disk_io_busy_time"])),
                Some("network_io_interface") => moved.interfaces.push(counted(
                    ["network_io_bytes_recv", "network_io_bytes_sent"],
                    &["network_io_errin", "network_io_errout", "network_io_dropin", "network_io_dropout"],
                )),
                Some(_) => partitions.extend(instance.partition()),
            }
        }
        let load = ["load_average_01min", "load_average_05min", "load_average_15min"];
        let load = load.map(|key| host.float(key));
        let modes: BTreeMap<_, _> =
            MODES.into_iter().filter_map(|(mode, key)| Some((mode, host.float(key)?))).collect();
        let (disks, interfaces) = moving(moved, before);
        Self {
            processes: host.get("process_count"),
            load: if let [Some(one), Some(five), Some(fifteen)] = load {
                Some([one, five, fifteen])
            } else {
                None
            },
            cpu_percent: (!modes.is_empty()).then_some(modes),
            memory: host.space("memory_total", "memory_used", "memory_percent"),
            swap: host.space("swap_memory_total", "swap_memory_used", "swap_memory_percent"),
            partitions: Many::of(partitions, |partition| float(partition.used_percent)),
            disks,
            interfaces,
        }
    }
}

fn moving(now: Moved, before: Option<(f64, &Moved)>) -> (Many<Disk>, Many<Interface>) {
    let none = Moved::default();
    let (seconds, before) = before.unwrap_or((1.0, &none));
    let disk_rates = rates(&now.disks, &before.disks, seconds);
    let disk = |(Counted { name, counts: [read, written, _] }, rates): (Counted, Option<[f64; 3]>)| Disk {
        name,
        read_bytes: read,
        written_bytes: written,
        read_bytes_per_second: rates.map(|[read, ..]| read),
        written_bytes_per_second: rates.map(|[_, written, _]| written),
        // Milliseconds a second; the kernel's may be a few more.
        busy_percent: rates.map(|[.., busy]| (busy / 10.0).min(100.0)),
    };
    let interface_rates = rates(&now.interfaces, &before.interfaces, seconds);
    let interface =
        |(Counted { name, counts: [received, sent, faults] }, rates): (Counted, Option<[f64; 3]>)| {
            Interface {
                name,
                received_bytes: received,
                sent_bytes: sent,
                received_bytes_per_second: rates.map(|[received, ..]| received),
                sent_bytes_per_second: rates.map(|[_, sent, _]| sent),
                faults,
                faults_per_second: rates.map(|[.., faults]| faults),
            }
        };
    let sum = |one: Option<f64>, other: Option<f64>| one.unwrap_or_default() + other.unwrap_or_default();
    (
        Many::of(now.disks.into_iter().zip(disk_rates).map(disk).collect(), |disk: &Disk| {
            sum(disk.read_bytes_per_second, disk.written_bytes_per_second)
        }),
        Many::of(
            now.interfaces.into_iter().zip(interface_rates).map(interface).collect(),
            |one: &Interface| sum(one.received_bytes_per_second, one.sent_bytes_per_second),
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agent::clock::Clock;
    use testkit::MadeUpHost;

    use super::*;
    use crate::collect::{Exclude, Host};
    use crate::host::HostRoot;

    fn datapoints(host: &MadeUpHost) -> Vec<Datapoint> {
        let root = HostRoot::new(Some(host.path("proc")), Some(host.path("sys")), Some(host.path("root")));
        Host::new(&root, Arc::default()).collect(&Exclude::default(), None, Clock::system()).datapoints
    }

    #[test]
    fn numbers_are_the_posts() {
        let host = MadeUpHost::new();
        let before = Moved {
            disks: vec![Counted { name: "vda".to_owned(), counts: [512, 7 * 512, 0] }],
            interfaces: vec![Counted { name: "eth0".to_owned(), counts: [1, 9, 0] }],
        };
        let numbers = Numbers::of(&datapoints(&host), Some((2.0, &before)));
        assert_eq!(numbers.load, Some([0.1, 0.2, 0.3]));
        let memory = numbers.memory.unwrap();
        assert_eq!(
            (memory.total_bytes, memory.used_percent),
            (Number::Int(1_024_000_000), Number::Float(40.0))
        );
        assert_eq!(numbers.swap.unwrap().used_bytes, Number::Int(10_000 * 1024));
        let cpu = numbers.cpu_percent.unwrap();
        assert_eq!((cpu.len(), cpu["user"], cpu["idle"]), (10, 9.6, 86.7));
        let points: Vec<_> = numbers.partitions.shown.iter().map(|one| one.mountpoint.as_str()).collect();
        assert_eq!((points, numbers.partitions.count), (vec!["/", "/data"], 2));
        let [disk] = &numbers.disks.shown[..] else { panic!("{:?}", numbers.disks) };
        assert_eq!((disk.name.as_str(), disk.read_bytes, disk.written_bytes), ("vda", 3 * 512, 7 * 512));
        assert_eq!((disk.read_bytes_per_second, disk.written_bytes_per_second), (Some(512.0), Some(0.0)));
        let [lo, eth0] = &numbers.interfaces.shown[..] else { panic!("{:?}", numbers.interfaces) };
        assert_eq!((lo.name.as_str(), lo.received_bytes_per_second), ("lo", None));
        assert_eq!((eth0.received_bytes, eth0.received_bytes_per_second), (21, Some(10.0)));
        assert_eq!((eth0.sent_bytes_per_second, eth0.faults), (Some(10.0), 23 + 24 + 31 + 32));
    }

    #[test]
    fn without_a_file_its_numbers_are_missing_and_no_others() {
        let host = MadeUpHost::new();
        for file in
            ["proc/stat", "proc/meminfo", "proc/loadavg", "proc/1/mounts", "proc/1/net/dev", "proc/diskstats"]
        {
            host.remove(file);
        }
        let numbers = Numbers::of(&datapoints(&host), None);
        assert_eq!((numbers.load, numbers.cpu_percent, numbers.memory), (None, None, None));
        assert_eq!(numbers.partitions.count + numbers.disks.count + numbers.interfaces.count, 0);
        assert!(numbers.processes.is_some());
    }

    #[test]
    fn of_many_those_of_most_worth_are_shown_in_their_order() {
        let many = Many::of((0..1000).collect(), |number| f64::from(number % 500));
        assert_eq!((many.count, many.shown.len()), (1000, MOST_SHOWN));
        assert_eq!((many.shown.first(), many.shown.last()), (Some(&450), Some(&999)));
        assert!(many.shown.is_sorted());
        assert_eq!(Many::of(vec![3, 1], |_| 0.0).shown, [3, 1]);
    }

    #[test]
    fn the_fullest_can_be_written_to() {
        let host = MadeUpHost::new();
        let full = |host: &MadeUpHost| fullest(&datapoints(host));
        assert!(full(&host).is_some());
        let mounts = MadeUpHost::at_first("proc/1/mounts");
        host.write("proc/1/mounts", mounts.replace(" rw", " ro").as_bytes());
        assert_eq!(full(&host), None);
    }
}
