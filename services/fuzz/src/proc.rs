//! The host's files below `/proc`, `/sys` and `/`, mounts apart: one of them holds anything, and what reads it runs.
//!
//! The page of metrics is sound, and says what readers say that have kept nothing of earlier rounds; every datapoint is a number
//! that can be sent; and the post that is made of them is one that the hub takes whole.

use std::cell::RefCell;
use std::collections::HashSet;

use agent::config::{Configuration, Mode};
use agent::post::{Number, Sender, Writer};
use hub::check::{Ignored, check};
use spoke::collect::cpu::Times;
use spoke::fuzzing::Readers;
use spoke::host::HostRoot;
use spoke::settings::Settings;
use testkit::MadeUpHost;

/// A file, the collectors of `/metrics` that read it, and the families of the post that do.
type Read = (&'static str, &'static [&'static str], &'static [&'static str]);

const FILES: [Read; 39] = [
    ("proc/stat", &["cpu", "stat"], &["cpu_percent", "cpu_times", "cpu_stats"]),
    ("proc/loadavg", &["loadavg"], &["load"]),
    ("proc/meminfo", &["meminfo"], &["memory", "swap"]),
    ("proc/vmstat", &["vmstat"], &["swap"]),
    ("proc/zoneinfo", &[], &["memory"]),
    ("proc/diskstats", &["diskstats"], &["disk"]),
    ("proc/cpuinfo", &[], &["cpufreq"]),
    ("proc/sys/kernel/osrelease", &["uname"], &[]),
    ("proc/sys/kernel/version", &["uname"], &[]),
    ("proc/1/net/dev", &["netdev"], &["network"]),
    ("proc/1/net/netstat", &["netstat"], &[]),
    ("proc/1/net/snmp", &["netstat"], &[]),
    ("proc/1/net/snmp6", &["netstat"], &[]),
    ("proc/1/net/sockstat", &["sockstat"], &[]),
    ("proc/1/net/sockstat6", &["sockstat"], &[]),
    ("proc/1/net/stat/nf_conntrack", &["conntrack"], &[]),
    ("proc/sys/net/netfilter/nf_conntrack_max", &["conntrack"], &[]),
    ("proc/sys/fs/file-nr", &["filefd"], &[]),
    ("proc/sys/kernel/random/entropy_avail", &["entropy"], &[]),
    ("proc/sys/kernel/random/poolsize", &["entropy"], &[]),
    ("proc/pressure/cpu", &["pressure"], &[]),
    ("proc/pressure/io", &["pressure"], &[]),
    ("proc/pressure/memory", &["pressure"], &[]),
    ("sys/class/net/eth0/address", &["netclass"], &[]),
    ("sys/class/net/eth0/operstate", &["netclass"], &[]),
    ("sys/class/net/eth0/flags", &["netclass"], &[]),
    ("sys/class/net/eth0/speed", &["netclass"], &[]),
    ("sys/class/net/eth0/statistics/rx_nohandler", &["netdev"], &[]),
    ("sys/class/hwmon/hwmon0/name", &["hwmon"], &[]),
    ("sys/class/hwmon/hwmon0/temp1_input", &["hwmon"], &[]),
    ("sys/class/hwmon/hwmon0/temp1_label", &["hwmon"], &[]),
    ("sys/class/thermal/thermal_zone0/type", &["thermal_zone"], &[]),
    ("sys/class/thermal/thermal_zone0/temp", &["thermal_zone"], &[]),
    ("sys/class/thermal/cooling_device0/cur_state", &["thermal_zone"], &[]),
    ("sys/devices/system/clocksource/clocksource0/available_clocksource", &["time"], &[]),
    ("sys/devices/system/cpu/isolated", &["cpu"], &[]),
    ("root/run/udev/data/b254:0", &["diskstats"], &[]),
    ("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", &[], &["cpufreq"]),
    ("root/etc/os-release", &["os"], &[]),
];

struct World {
    host: MadeUpHost,
    root: HostRoot,
    settings: Settings,
    kept: Readers,
    before: Option<Times>,
    writer: Writer,
}

impl World {
    fn new() -> Self {
        let host = MadeUpHost::new();
        let root = HostRoot::new(Some(host.path("proc")), Some(host.path("sys")), Some(host.path("root")));
        let configuration = Configuration::of_texts(&spoke::PROGRAM, Mode::Foreground, &[], |_| None);
        let settings = Settings::read(&configuration.unwrap()).unwrap();
        let mut kept = Readers::new(&root, &settings);
        let before = kept.times();
        let name = "made-up.example.com".to_owned();
        let sender = Sender {
            agent_id: "a".repeat(64),
            program: spoke::PROGRAM.name,
            hostname: name.clone(),
            polled_target: name,
            host: vec![("release", "6.1.0".to_owned()), ("cpus", "2".to_owned())],
        };
        Self { host, root, settings, kept, before, writer: Writer::new(sender) }
    }

    fn page(&self, fresh: Option<&Readers>, open_metrics: bool, collectors: &[&str]) {
        let wanted: Vec<_> = collectors.iter().map(|&name| name.to_owned()).collect();
        let page = self.kept.page(open_metrics, &wanted);
        assert_sound(&page, open_metrics);
        // It keeps on purpose how far each cpu had come, so that no counter runs backwards.
        if let Some(fresh) = fresh.filter(|_| !collectors.contains(&"cpu")) {
            assert_eq!(lasting(&page), lasting(&fresh.page(open_metrics, &wanted)));
        }
    }

    fn post(&mut self, fresh: Option<&mut Readers>, families: &[&str]) {
        let datapoints = self.kept.datapoints(families, self.before.as_ref());
        for point in &datapoints {
            let sound = match point.value {
                Number::Int(_) => true,
                Number::Float(value) => value.is_finite() && value >= 0.0,
            };
            assert!(sound, "{point:?}");
        }
        if let Some(fresh) = fresh {
            let again = fresh.datapoints(families, self.before.as_ref());
            assert!(
                datapoints
                    .iter()
                    .map(|point| (&point.series, point.value))
                    .eq(again.iter().map(|point| (&point.series, point.value)))
            );
        }
        let post = self.writer.write(300, 1_700_000_000_000, &datapoints).unwrap();
        let judged =
            check(&post).unwrap_or_else(|reason| panic!("{reason}: {}", String::from_utf8_lossy(&post)));
        assert_eq!(judged.ignored, Ignored::default());
        assert!(judged.datapoints <= datapoints.len());
    }
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

/// Reads `data`: a byte that chooses the file, one that chooses the form of the page and whether it is read a second time from
/// nothing, then the file's content.
pub fn run(data: &[u8]) {
    let [file, form, content @ ..] = data else { return };
    let (file, collectors, families) = FILES[usize::from(*file) % FILES.len()];
    WORLD.with_borrow_mut(|world| {
        world.host.write(file, content);
        let mut fresh = (form & 14 == 0).then(|| Readers::new(&world.root, &world.settings));
        if !collectors.is_empty() {
            world.page(fresh.as_ref(), form & 1 == 1, collectors);
        }
        if !families.is_empty() {
            world.post(fresh.as_mut(), families);
        }
        world.host.write(file, MadeUpHost::at_first(file).as_bytes());
    });
}

/// A page without what tells of time.
fn lasting(page: &str) -> Vec<&str> {
    let passes = |line: &&str| {
        !["_duration_seconds{", "_age_seconds", "node_time_seconds "].iter().any(|part| line.contains(part))
    };
    page.lines().filter(passes).collect()
}

/// Each family once, its head before its series; no series twice; every name, label and number as Prometheus reads it.
fn assert_sound(page: &str, open_metrics: bool) {
    let (mut heads, mut all) = (HashSet::new(), HashSet::new());
    let mut family = "";
    let body = if open_metrics { page.strip_suffix("# EOF\n").expect("an end") } else { page };
    assert!(body.is_empty() || body.ends_with('\n'));
    // A carriage return within a label stays in its line.
    for line in body.split_terminator('\n') {
        if let Some(head) = line.strip_prefix("# HELP ") {
            family = head.split(' ').next().unwrap();
            assert!(heads.insert(family), "{family} begins twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind.split(' ').next(), Some(family), "{line:?}");
        } else {
            let (series, number) = line.rsplit_once(' ').expect("a number");
            assert!(number.parse::<f64>().is_ok(), "{line:?}");
            let (name, labels) = series.split_at(series.find('{').unwrap_or(series.len()));
            let own = name == family || open_metrics && name.strip_suffix("_total") == Some(family);
            assert!(own && is_name(name) && are_labels(labels), "{line:?} in {family}");
            assert!(all.insert(series), "{series} twice");
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    name.bytes().all(letter) && !name.starts_with(|first: char| first.is_ascii_digit()) && !name.is_empty()
}

/// Nothing, or `{name="value",...}` with backslash, quote and newline escaped.
fn are_labels(labels: &str) -> bool {
    let Some(mut rest) = labels.strip_prefix('{') else { return labels.is_empty() };
    loop {
        let Some((name, value)) = rest.split_once("=\"") else { return false };
        let mut escaped = false;
        let end = value.char_indices().find(|(_, letter)| {
            let ends = !escaped && *letter == '"';
            escaped = !escaped && *letter == '\\';
            ends
        });
        let Some((end, _)) = end else { return false };
        if !is_name(name) {
            return false;
        }
        match value[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => return value[end + 1..] == *"}",
        }
    }
}
