//! History over real files: what is kept, for how long, and what damage, kills and a want of room do to it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop, and say where"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use history::{HEADLINE, History, Options, Points, Query, Reading, Sample, Series, Source};
use testkit::wait_until;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A round time, as the coarsest rows see it.
const BEGIN: u64 = 1_795_334_400_000;

const LIMIT: Duration = Duration::from_secs(60);

const OPTIONS: Options =
    Options { max_bytes: 64 << 20, max_age: Duration::from_secs(8 * 86_400), max_hosts: 100 };

/// History whose clock stands where a test puts it.
struct Site {
    folder: tempfile::TempDir,
    clock: Arc<AtomicU64>,
    history: Option<History>,
}

fn sample(agent_id: &str, stamp_ms: u64, cpu: f64) -> Sample {
    let mut sample = Sample::new(agent_id, "h", stamp_ms, 10_000);
    let mut add = |source, instance, value| sample.add(Reading { source, key: "", instance, value });
    add(Source::Idle, "", 100.0 - cpu);
    add(Source::Memory, "", 50.0);
    add(Source::Partition, "/", 70.0);
    add(Source::Received, "eth0", (stamp_ms - BEGIN) as f64 / 1000.0 * 5000.0);
    sample
}

impl Site {
    fn begin(options: Options) -> Self {
        let clock = Arc::new(AtomicU64::new(BEGIN));
        let mut site = Self { folder: tempfile::tempdir().unwrap(), clock, history: None };
        site.open(options);
        site
    }

    fn open(&mut self, options: Options) {
        let clock = Arc::clone(&self.clock);
        let now = move || clock.load(Ordering::Relaxed);
        self.history = Some(History::begin(self.file(), options, now).unwrap());
    }

    /// As a restart: what waits is written, and the file closed.
    fn reopen(&mut self, options: Options) {
        assert!(self.history().write_now(LIMIT));
        self.history = None;
        self.wait_until_closed();
        self.open(options);
    }

    /// The file is the thread's as long as it runs.
    fn wait_until_closed(&self) {
        wait_until("the file is closed", LIMIT, || !beside(&self.file(), "-wal").exists());
    }

    fn file(&self) -> PathBuf {
        History::file(self.folder.path())
    }

    fn history(&self) -> &History {
        self.history.as_ref().unwrap()
    }

    fn set_clock(&self, now_ms: u64) {
        self.clock.store(now_ms, Ordering::Relaxed);
    }

    /// Samples of `hosts` hosts from `from` to `to`, one each `step`, written each minute as it would be.
    fn run(&self, hosts: usize, from: u64, to: u64, step: u64, cpu: impl Fn(u64) -> f64) {
        let mut written = from;
        for at in (from..to).step_by(usize::try_from(step).unwrap()) {
            self.set_clock(at);
            (0..hosts).for_each(|host| self.history().offer(sample(&format!("a{host}"), at, cpu(at))));
            if at >= written + 5 * MINUTE {
                assert!(self.history().write_now(LIMIT));
                written = at;
            }
        }
        self.set_clock(to);
        assert!(self.history().write_now(LIMIT));
    }

    fn ask(&self, agent_id: &str, query: Query) -> (Vec<Series>, Points) {
        let (sender, receiver) = channel();
        self.history().points(agent_id, query, move |answer| sender.send(answer).unwrap());
        receiver.recv_timeout(LIMIT).unwrap().unwrap()
    }

    fn last(&self, range_ms: u64) -> Points {
        self.ask("a0", Query::last(Duration::from_millis(range_ms), self.clock.load(Ordering::Relaxed))).1
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn known(points: &Points, column: usize) -> Vec<f32> {
    points.values[column].iter().copied().flatten().collect()
}

#[test]
fn what_is_kept_gets_coarser_and_every_range_is_whole() {
    let site = Site::begin(OPTIONS);
    // CPU is what the hour says, so that each mean is known.
    let hour_of = |at: u64| ((at - BEGIN) / HOUR % 90) as f64;
    site.run(2, BEGIN, BEGIN + 3 * DAY, 30_000, hour_of);
    let now = BEGIN + 3 * DAY;
    let newest = hour_of(now - 1) as f32;
    for (range, step) in [(HOUR, 10_000), (6 * HOUR, MINUTE), (DAY, 5 * MINUTE), (7 * DAY, 30 * MINUTE)] {
        let points = site.last(range);
        let covered = points.stamps.last().unwrap() - points.stamps.first().unwrap();
        let wanted = range.min(3 * DAY);
        assert!(covered + 2 * step >= wanted, "{range}: {covered}");
        assert!(points.stamps.windows(2).all(|pair| pair[1] - pair[0] == step));
        for (stamp, cpu) in points.stamps.iter().zip(&points.values[0]) {
            // Between two samples of 30 s there is none.
            let Some(cpu) = cpu else {
                assert!(step < 30_000 || *stamp + step > now, "{range}: a gap at {}", stamp - BEGIN);
                continue;
            };
            assert!((cpu - hour_of(*stamp) as f32).abs() < 0.1, "{range}: {cpu} at {}", stamp - BEGIN);
        }
        assert_eq!(known(&points, 0).last().map(|cpu| cpu.round()), Some(newest));
        assert!(known(&points, 9).iter().all(|rate| (rate - 5000.0).abs() < 5.0));
    }
    // The samples themselves are gone after two hours.
    let old = Query { from_ms: BEGIN, to_ms: BEGIN + HOUR, step_ms: 30_000 };
    assert!(known(&site.ask("a0", old).1, 0).len() < 10);
    let (series, _) = site.ask("a0", old);
    assert_eq!(series.len(), HEADLINE.len() + 1);
    assert_eq!((series[12].name.as_str(), series[12].instance.as_str()), ("partition_used_percent", "/"));
}

#[test]
fn what_is_too_old_goes_and_with_it_who_is_gone() {
    let options = Options { max_age: Duration::from_secs(2 * 86_400), ..OPTIONS };
    let site = Site::begin(options);
    site.run(3, BEGIN, BEGIN + 2 * HOUR, MINUTE, |_| 10.0);
    site.run(1, BEGIN + 2 * HOUR, BEGIN + 4 * DAY, 10 * MINUTE, |_| 20.0);
    let oldest = site.history().stats().oldest_ms;
    assert!((BEGIN + 2 * DAY - 3 * HOUR..=BEGIN + 2 * DAY).contains(&oldest), "{}", oldest - BEGIN);
    assert_eq!(site.history().hosts().into_iter().map(|(id, ..)| id).collect::<Vec<_>>(), ["a0"]);
    assert!(known(&site.last(7 * DAY), 0).iter().all(|cpu| (cpu - 20.0).abs() < 0.1));
}

#[test]
fn the_file_is_never_larger_than_it_may_be() {
    let max_bytes = 2 << 20;
    let site = Site::begin(Options { max_bytes, ..OPTIONS });
    let mut noise = 7_u64;
    for hour in 0..40 {
        let begin = BEGIN + hour * HOUR;
        for at in (begin..begin + HOUR).step_by(20_000) {
            site.set_clock(at);
            for host in 0..60 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                site.history().offer(sample(&format!("a{host}"), at, (noise >> 33) as f64 % 100.0));
            }
            if (at - begin).is_multiple_of(5 * MINUTE) {
                assert!(site.history().write_now(LIMIT));
                let bytes = std::fs::metadata(site.file()).unwrap().len();
                assert!(bytes <= max_bytes, "{bytes} after {hour} hours");
            }
        }
    }
    let stats = site.history().stats();
    assert!(stats.works && stats.bytes > max_bytes / 2, "{stats:?}");
    assert_eq!(stats.drops.write, 0);
    // The newest is there all the same.
    assert!(known(&site.last(10 * MINUTE), 0).len() >= 25);
}

#[test]
fn a_restart_keeps_rows_hosts_and_short_lines() {
    let mut site = Site::begin(OPTIONS);
    site.run(2, BEGIN, BEGIN + HOUR, 10_000, |_| 30.0);
    let before = (site.last(HOUR), site.history().now("a1").unwrap());
    site.reopen(OPTIONS);
    wait_until("the file is read", LIMIT, || site.history().now("a1").is_some());
    let after = site.last(HOUR);
    assert_eq!(after, before.0);
    let now = site.history().now("a1").unwrap();
    assert!((now.values[0] - 30.0).abs() < 0.1 && now.stamp_ms == before.1.stamp_ms);
    assert_eq!(
        now.sparks.map(|line| line.iter().flatten().count()),
        before.1.sparks.map(|line| line.iter().flatten().count())
    );
    // And it goes on where it was.
    site.run(2, BEGIN + HOUR, BEGIN + 2 * HOUR, 10_000, |_| 30.0);
    assert!(known(&site.last(2 * HOUR), 0).len() >= 700);
}

#[test]
fn a_file_that_is_damaged_is_set_aside_and_a_new_one_begun() {
    let spoil: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes[..64].fill(7),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.iter_mut().skip(8192).step_by(97).for_each(|byte| *byte ^= 0x55),
        |bytes| bytes.fill(0xff),
    ];
    for (at, spoil) in spoil.into_iter().enumerate() {
        let mut site = Site::begin(OPTIONS);
        site.run(5, BEGIN, BEGIN + HOUR, 10_000, |_| 30.0);
        site.history = None;
        site.wait_until_closed();
        let mut bytes = std::fs::read(site.file()).unwrap();
        spoil(&mut bytes);
        std::fs::write(site.file(), &bytes).unwrap();
        site.open(OPTIONS);
        wait_until("it is set aside", LIMIT, || site.history().stats().set_aside == 1);
        let aside = std::fs::metadata(beside(&site.file(), ".damaged")).unwrap();
        assert_eq!(aside.len(), bytes.len() as u64, "{at}");
        site.run(5, BEGIN + HOUR, BEGIN + HOUR + 10 * MINUTE, 10_000, |_| 40.0);
        assert!(known(&site.last(HOUR), 0).iter().all(|cpu| (cpu - 40.0).abs() < 0.1));
        let stats = site.history().stats();
        assert!(stats.works && stats.set_aside == 1, "{at}: {stats:?}");
    }
}

#[test]
fn a_row_that_is_spoilt_is_found_when_it_is_read() {
    let mut site = Site::begin(OPTIONS);
    site.run(1, BEGIN, BEGIN + HOUR, 10_000, |_| 30.0);
    site.history = None;
    site.wait_until_closed();
    let connection = rusqlite_of(&site.file());
    connection.execute("UPDATE chunk SET data = x'0102030405060708' WHERE tier = 1", []).unwrap();
    drop(connection);
    site.open(OPTIONS);
    let (sender, receiver) = channel();
    let query = Query::last(Duration::from_millis(6 * HOUR), BEGIN + HOUR);
    site.history().points("a0", query, move |answer| sender.send(answer.is_err()).unwrap());
    assert!(receiver.recv_timeout(LIMIT).unwrap());
    assert_eq!(site.history().stats().set_aside, 1);
    site.run(1, BEGIN + HOUR, BEGIN + HOUR + 10 * MINUTE, 10_000, |_| 40.0);
    assert!(known(&site.last(6 * HOUR), 0).iter().all(|cpu| (cpu - 40.0).abs() < 0.1));
}

fn rusqlite_of(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

#[test]
fn where_no_file_can_be_the_rest_goes_on() {
    let mut site = Site::begin(OPTIONS);
    site.history = None;
    let blocked = site.folder.path().join("blocked");
    std::fs::write(&blocked, "a file where a folder is wanted").unwrap();
    let history = History::begin(blocked.join("history.sqlite"), OPTIONS, || BEGIN + HOUR).unwrap();
    for at in 0..100 {
        history.offer(sample("a0", BEGIN + at * 10_000, 30.0));
    }
    wait_until("samples are taken", LIMIT, || history.now("a0").is_some());
    assert!(history.write_now(LIMIT));
    let stats = history.stats();
    assert!(!stats.works && stats.samples == 100, "{stats:?}");
    assert!(history.now("a0").unwrap().values[0] > 29.0);
}

#[test]
fn what_is_too_much_is_dropped_and_counted() {
    let site = Site::begin(Options { max_hosts: 2, ..OPTIONS });
    site.set_clock(BEGIN + HOUR);
    for host in 0..5 {
        site.history().offer(sample(&format!("a{host}"), BEGIN, 1.0));
    }
    site.history().offer(sample("a0", BEGIN, 1.0));
    site.history().offer(sample("a0", BEGIN + 2 * HOUR, 1.0));
    site.history().write_now(LIMIT);
    let drops = site.history().stats().drops;
    assert_eq!((drops.hosts, drops.stamp, drops.queue), (3, 2, 0));
    // The queue holds so many, however quickly they come.
    for at in 0..200_000_u64 {
        site.history().offer(sample("a0", BEGIN + at, 1.0));
    }
    let drops = site.history().stats().drops;
    assert!(drops.queue > 0, "{drops:?}");
}

#[test]
fn a_backlog_is_kept_at_its_own_time() {
    let site = Site::begin(OPTIONS);
    site.run(1, BEGIN + 20 * HOUR, BEGIN + 21 * HOUR, 10_000, |_| 10.0);
    // Another source was away, and tells what was.
    for at in (BEGIN + 2 * HOUR..BEGIN + 20 * HOUR).step_by(usize::try_from(5 * MINUTE).unwrap()) {
        site.history().offer(sample("late", at, 60.0));
    }
    assert!(site.history().write_now(LIMIT));
    let (_, points) = site.ask("late", Query::last(Duration::from_secs(86_400), BEGIN + 21 * HOUR));
    assert!(known(&points, 0).len() >= 210, "{}", known(&points, 0).len());
    assert!(known(&points, 0).iter().all(|cpu| (cpu - 60.0).abs() < 0.1));
    assert!(known(&site.last(HOUR), 0).iter().all(|cpu| (cpu - 10.0).abs() < 0.1));
}
