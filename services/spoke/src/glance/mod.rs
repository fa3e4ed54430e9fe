//! The host at a glance: what the page shows of now, and of the last hour.
//!
//! What percentages are worked out from is sampled here too, every ten seconds. None of this waits for a post whose mounts
//! do not answer; a mount that newly hangs costs its half second whoever comes first, and the others nothing more.

mod hour;
mod moved;
mod now;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::clock::Clock;
use agent::post::Datapoint;

pub(crate) use hour::Hour;
pub(crate) use moved::LEAST;
use now::Numbers;
pub(crate) use now::{Disk, Interface, LeftOut, MODES, Many, Now, Partition, Pressure, Seen, Space, float};

use crate::collect::{Askers, Exclude, Host, cpu, load, memory, swap, text};
use crate::exporter::{os, pressure};
use crate::host::HostRoot;
use crate::identity::HostIdentity;
use crate::spoke::lock;
use hour::{NOTHING, Row};
use moved::{Moved, Recent};

/// How often partitions are asked where nobody looks.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

/// What looking at the host needs, kept from one time to the next.
#[derive(Debug)]
pub(crate) struct Glance {
    work: Mutex<Work>,
    hour: Mutex<Hour>,
}

#[derive(Debug)]
struct Work {
    host: Host,
    recent: Recent,
    /// The cpu times of the last sample.
    times: Option<cpu::Times>,
    /// When it was last tried to learn how full partitions are, and what the fullest was.
    fullest: Option<(Instant, Option<f64>)>,
}

impl Glance {
    pub(crate) fn new(root: &HostRoot, askers: Arc<Askers>) -> Self {
        let work = Work {
            host: Host::impatient(root, askers),
            recent: Recent::default(),
            times: None,
            fullest: None,
        };
        Self { work: Mutex::new(work), hour: Mutex::default() }
    }

    /// Takes one sample, and gives the cpu times of it.
    pub(crate) fn sample(&self, clock: Clock, exclude: &Exclude) -> Option<cpu::Times> {
        let (row, times) = lock(&self.work).sample(exclude);
        lock(&self.hour).push(clock.now_ms(), row);
        times
    }

    /// Asks, once a minute, how full the fullest partition is, for the samples that follow.
    pub(crate) fn follow_fullest(&self, exclude: &Exclude) {
        let mut work = lock(&self.work);
        if work.fullest.is_none_or(|(asked, _)| asked.elapsed() >= ASKED_AGAIN) {
            let datapoints = work.host.partitions(exclude).unwrap_or_default();
            work.know_fullest(&datapoints);
        }
    }

    /// Reads the host; cpu shares are since `before`.
    pub(crate) fn look(
        &self,
        clock: Clock,
        exclude: &Exclude,
        identity: &HostIdentity,
        before: Option<&cpu::Times>,
    ) -> Seen {
        let mut work = lock(&self.work);
        let round = work.host.collect(exclude, before, clock);
        work.know_fullest(&round.datapoints);
        let files = &work.host.files;
        let kernel = files.proc_constant("sys/kernel/osrelease");
        let (pressure, pressure_failed) = match pressure::shares(files) {
            Ok(shares) => (shares.into_iter().map(Pressure::from).collect(), None),
            Err(error) => (Vec::new(), Some(crate::collect::why(&error))),
        };
        Seen {
            numbers: Numbers::of(&round.datapoints, work.recent.before(Instant::now())),
            left_out: Many::left_out(round.left_out.into_iter().map(|(what, one)| (what, one.text))),
            system: os::pretty_name(files.host()),
            kernel: kernel.ok().map(|name| text::printable(name.trim_ascii())),
            cpus: identity.cpus(files).value,
            uptime_s: files.proc("uptime").ok().and_then(|bytes| uptime(&bytes)),
            pressure,
            pressure_failed,
        }
    }

    /// The last hour.
    pub(crate) fn with_hour<T>(&self, look: impl FnOnce(&Hour) -> T) -> T {
        look(&lock(&self.hour))
    }
}

impl Work {
    fn sample(&mut self, exclude: &Exclude) -> (Row, Option<cpu::Times>) {
        self.host.files.next_round();
        let files = &self.host.files;
        // What cannot be read is a gap here; the next post, and the page, say why.
        let times = cpu::read_times(files).ok();
        let (now, moved) = (Instant::now(), Moved::read(files, exclude));
        let mut row = NOTHING;
        let [
            user,
            system,
            iowait,
            irq,
            steal,
            load_1m,
            memory_used,
            swap_used,
            fullest,
            disk_read,
            disk_written,
            received,
            sent,
        ] = &mut row;
        let shares = times.as_ref().zip(self.times.as_ref()).and_then(|(now, then)| now.percent_since(then));
        let share = |modes: &[usize]| -> Option<f64> {
            let shares = shares.as_ref()?;
            Some(modes.iter().filter_map(|mode| shares.get(*mode)).sum())
        };
        // In the kernel's order: user, nice, system, idle, iowait, irq, softirq, steal.
        for (place, modes) in
            [(user, &[0, 1][..]), (system, &[2]), (iowait, &[4]), (irq, &[5, 6]), (steal, &[7])]
        {
            set(place, share(modes));
        }
        set(load_1m, load::read(files).ok().map(|[one, ..]| one));
        set(memory_used, memory::read(files).ok().map(|memory| memory.percent));
        set(swap_used, swap::read(files).ok().map(|swap| swap.percent));
        if let Some((seconds, before)) = self.recent.newest(now) {
            let [moved_by_disks, moved_by_interfaces] = moved::sums(&moved, before, seconds);
            set(disk_read, moved_by_disks.map(|[read, _]| read));
            set(disk_written, moved_by_disks.map(|[_, written]| written));
            set(received, moved_by_interfaces.map(|[received, _]| received));
            set(sent, moved_by_interfaces.map(|[_, sent]| sent));
        }
        set(fullest, self.fullest.and_then(|(_, percent)| percent));
        self.recent.push(now, moved);
        self.times.clone_from(&times);
        (row, times)
    }

    fn know_fullest(&mut self, datapoints: &[Datapoint]) {
        self.fullest = Some((Instant::now(), now::fullest(datapoints)));
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a chart does not show the last digits")]
fn set(place: &mut f32, value: Option<f64>) {
    *place = value.map_or(f32::NAN, |value| value as f32);
}

/// Whole seconds since the host was started.
fn uptime(bytes: &[u8]) -> Option<u64> {
    let word = text::words(bytes).next()?;
    text::number(word.split(|byte| *byte == b'.').next()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use testkit::MadeUpHost;

    use super::hour::SERIES;
    use super::moved::Counted;
    use super::*;

    fn work(host: &MadeUpHost) -> Work {
        let root = HostRoot::new(Some(host.path("proc")), Some(host.path("sys")), Some(host.path("root")));
        Work {
            host: Host::impatient(&root, Arc::default()),
            recent: Recent::default(),
            times: None,
            fullest: None,
        }
    }

    fn named(row: &Row) -> BTreeMap<&'static str, f32> {
        SERIES.into_iter().zip(*row).filter(|(_, value)| value.is_finite()).collect()
    }

    #[test]
    fn a_sample_says_what_can_be_known() {
        let host = MadeUpHost::new();
        let mut work = work(&host);
        let (row, times) = work.sample(&Exclude::default());
        let first = named(&row);
        assert!(times.is_some());
        assert_eq!(
            first.keys().copied().collect::<Vec<_>>(),
            ["load_1m", "memory_used_percent", "swap_used_percent"]
        );

        // Ten seconds before, all had counted less.
        let before = |name: &str, counts| vec![Counted { name: name.to_owned(), counts }];
        let moved = Moved { disks: before("vda", [512, 512, 0]), interfaces: before("eth0", [11, 9, 0]) };
        work.recent = Recent::default();
        work.recent.push(Instant::now().checked_sub(Duration::from_secs(10)).unwrap(), moved);
        work.fullest = Some((Instant::now(), Some(77.0)));
        let stat = "cpu  1060 30 320 9090 50 5 6 17 80 9\n";
        host.write("proc/stat", stat.as_bytes());
        let second = named(&work.sample(&Exclude::default()).0);
        // 70 user and nice, 20 system, 90 idle, 10 iowait, 10 steal.
        for (name, value) in [
            ("cpu_user_percent", 35.0),
            ("cpu_system_percent", 10.0),
            ("cpu_iowait_percent", 5.0),
            ("cpu_irq_percent", 0.0),
            ("cpu_steal_percent", 5.0),
            ("load_1m", 0.1),
            ("memory_used_percent", 40.0),
            ("swap_used_percent", 20.0),
            ("fullest_partition_percent", 77.0),
            ("disk_read_bytes", 102.4),
            ("disk_written_bytes", 307.2),
            ("network_received_bytes", 1.0),
            ("network_sent_bytes", 2.0),
        ] {
            assert!((second[name] - value).abs() < value * 0.02 + 0.001, "{name}: {second:?}");
        }
        assert_eq!(second.len(), SERIES.len());
    }

    #[test]
    fn what_cannot_be_read_is_a_gap_alone() {
        let host = MadeUpHost::new();
        for file in ["proc/stat", "proc/loadavg", "proc/diskstats", "proc/1/net/dev"] {
            host.remove(file);
        }
        let mut work = work(&host);
        let (row, times) = work.sample(&Exclude::default());
        assert!(times.is_none());
        assert_eq!(named(&row).into_keys().collect::<Vec<_>>(), ["memory_used_percent", "swap_used_percent"]);
    }

    #[test]
    fn an_uptime_is_whole_seconds() {
        assert_eq!(uptime(b"12345.67 20000.00\n"), Some(12345));
        for odd in [&b""[..], b"x 1", b"-1.0 2"] {
            assert_eq!(uptime(odd), None);
        }
    }
}
