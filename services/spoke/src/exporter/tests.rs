//! All collectors together, over made-up hosts in good order, with files missing, and with files that hold anything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use regex_lite::Regex;
use testkit::MadeUpHost;

use super::settings::Filter;
use super::*;
use crate::spoilt::any_file;

fn exporter_with(host: &MadeUpHost, settings: &Settings) -> Exporter {
    let root = HostRoot::new(Some(host.path("proc")), Some(host.path("sys")), Some(host.path("root")));
    Exporter::new(&root, settings, Arc::default())
}

fn exporter(host: &MadeUpHost) -> Exporter {
    exporter_with(host, &Settings::default())
}

/// A page's series with their values, and what it leaves out.
struct Read {
    series: BTreeMap<String, f64>,
    left_out: BTreeMap<String, String>,
}

impl Read {
    fn families(&self) -> BTreeSet<&str> {
        self.series.keys().map(|series| series.split('{').next().unwrap_or_default()).collect()
    }

    fn success(&self, collector: &str) -> Option<f64> {
        self.series.get(&format!("node_scrape_collector_success{{collector=\"{collector}\"}}")).copied()
    }
}

/// Reads a page, line by line, and judges it: each family once, with its head before its series; no series twice.
fn read(exporter: &Exporter, format: Format, wanted: &[String]) -> Result<Read, TestCaseError> {
    let series = Regex::new(r#"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="(?:[^"\\\n]|\\[\\n"])*"(?:,[a-z_]+="(?:[^"\\\n]|\\[\\n"])*")*\})? (\S+)$"#).unwrap();
    let mut page = exporter.page(format, wanted, "made-up.example.com");
    let left_out = std::mem::take(&mut page.left_out);
    let text = page.finish("");
    let (mut found, mut heads) = (BTreeMap::new(), BTreeSet::new());
    let mut family = String::new();
    let body = if format == Format::OpenMetrics {
        text.strip_suffix("# EOF\n").ok_or_else(|| TestCaseError::fail("no end"))?
    } else {
        text.as_str()
    };
    for line in body.lines() {
        if let Some(head) = line.strip_prefix("# HELP ") {
            family = head.split(' ').next().unwrap_or_default().to_owned();
            prop_assert!(heads.insert(family.clone()), "{family} begins twice");
        } else if let Some(head) = line.strip_prefix("# TYPE ") {
            prop_assert!(head.starts_with(&format!("{family} ")), "{line}");
        } else {
            let parts = series.captures(line).ok_or_else(|| TestCaseError::fail(format!("{line:?}")))?;
            let name = &parts[1];
            let in_family =
                name == family || format == Format::OpenMetrics && name == format!("{family}_total");
            prop_assert!(in_family, "{name} in {family}");
            let key = format!("{name}{}", parts.get(2).map_or("", |labels| labels.as_str()));
            let value = parts[3].parse().map_err(|_| TestCaseError::fail(line.to_owned()))?;
            prop_assert!(found.insert(key, value).is_none(), "{line:?} twice");
        }
    }
    Ok(Read { series: found, left_out })
}

fn page(host: &MadeUpHost) -> Read {
    read(&exporter(host), Format::Text, &[]).unwrap()
}

/// The collectors that hang on a file; one that hangs on none says all the same whatever is missing.
fn needs(file: &str) -> &'static [&'static str] {
    match file {
        "proc/stat" => &["cpu", "stat"],
        "proc/loadavg" => &["loadavg"],
        "proc/meminfo" => &["meminfo"],
        "proc/vmstat" => &["vmstat"],
        "proc/diskstats" => &["diskstats"],
        "proc/1/mounts" => &["filesystem"],
        "proc/1/net/dev" => &["netdev"],
        "proc/1/net/netstat" | "proc/1/net/snmp" => &["netstat"],
        "proc/1/net/sockstat" => &["sockstat"],
        "proc/1/net/stat/nf_conntrack" | "proc/sys/net/netfilter/nf_conntrack_max" => &["conntrack"],
        "proc/sys/fs/file-nr" => &["filefd"],
        "proc/sys/kernel/osrelease" | "proc/sys/kernel/version" => &["uname"],
        "proc/sys/kernel/random/entropy_avail" | "proc/sys/kernel/random/poolsize" => &["entropy"],
        "proc/pressure/cpu" | "proc/pressure/io" | "proc/pressure/memory" => &["pressure"],
        "root/etc/os-release" => &["os"],
        _ => &[],
    }
}

/// Where a missing file means that the host has nothing of the kind: nobody is told.
const OPTIONAL: [&str; 4] = ["conntrack", "entropy", "os", "pressure"];

#[test]
fn a_host_in_good_order_shows_everything() {
    let host = MadeUpHost::new();
    let found = page(&host);
    assert_eq!(found.left_out, BTreeMap::new());
    for name in names() {
        assert_eq!(found.success(name), Some(1.0), "{name}");
        let age = format!("pattoo_spoke_metrics_collector_age_seconds{{collector=\"{name}\"}}");
        assert!(found.series[&age] < 60.0, "{name}");
    }
    for (series, value) in [
        ("node_cpu_seconds_total{cpu=\"1\",mode=\"user\"}", 5.0),
        ("node_disk_read_bytes_total{device=\"vda\"}", 1536.0),
        ("node_disk_read_time_seconds_total{device=\"vda\"}", 0.004),
        ("node_hwmon_temp_celsius{chip=\"coretemp\",sensor=\"temp1\"}", 42.0),
        ("node_network_receive_bytes_total{device=\"eth0\"}", 21.0),
        ("node_network_receive_nohandler_total{device=\"eth0\"}", 3.0),
        ("node_network_flags{device=\"eth0\"}", 4099.0),
        ("node_network_speed_bytes{device=\"eth0\"}", -125_000.0),
        ("node_nf_conntrack_entries", 170.0),
        ("node_sockstat_TCP_mem", 104.0),
        ("node_thermal_zone_temp{type=\"acpitz\",zone=\"0\"}", 27.8),
    ] {
        assert_eq!(found.series.get(series), Some(&value), "{series}");
    }
    assert!(found.families().contains("node_filesystem_files_free"));
}

#[test]
fn open_metrics_say_the_same() {
    let host = MadeUpHost::new();
    let series = |format| read(&exporter(&host), format, &[]).unwrap().series.into_keys().collect::<Vec<_>>();
    assert_eq!(series(Format::Text), series(Format::OpenMetrics));
}

#[test]
fn a_collector_that_fails_costs_its_own_families_alone_and_is_named() {
    let host = MadeUpHost::new();
    let whole = page(&host);
    for file in MadeUpHost::files() {
        host.remove(file);
        let found = page(&host);
        for name in names() {
            let success = if needs(file).contains(&name) { 0.0 } else { 1.0 };
            assert_eq!(found.success(name), Some(success), "{name} without {file}");
        }
        let named: Vec<_> = needs(file).iter().filter(|name| !OPTIONAL.contains(name)).collect();
        assert_eq!(found.left_out.len(), named.len(), "without {file}: {:?}", found.left_out);
        for name in named {
            assert!(found.left_out.contains_key(&format!("collector {name}")), "{name} without {file}");
        }
        assert!(found.families().is_subset(&whole.families()), "without {file}");
        host.write(file, MadeUpHost::at_first(file).as_bytes());
    }
}

#[test]
fn what_a_collector_wrote_before_it_failed_is_taken_back() {
    let host = MadeUpHost::new();
    assert!(page(&host).families().contains("node_entropy_available_bits"));
    // The second of two files.
    host.remove("proc/sys/kernel/random/poolsize");
    assert!(!page(&host).families().contains("node_entropy_available_bits"));
}

#[test]
fn a_collector_that_failed_tells_how_old_its_last_success_is() {
    let host = MadeUpHost::new();
    let exporter = exporter(&host);
    let age = |found: &Read| {
        found.series.get("pattoo_spoke_metrics_collector_age_seconds{collector=\"loadavg\"}").copied()
    };
    host.remove("proc/loadavg");
    assert_eq!(age(&read(&exporter, Format::Text, &[]).unwrap()), None, "it never succeeded");
    host.write("proc/loadavg", MadeUpHost::at_first("proc/loadavg").as_bytes());
    let fresh = age(&read(&exporter, Format::Text, &[]).unwrap()).unwrap();
    host.remove("proc/loadavg");
    assert!(age(&read(&exporter, Format::Text, &[]).unwrap()).unwrap() > fresh);
}

#[test]
fn only_what_is_asked_for_is_run() {
    let host = MadeUpHost::new();
    let found = read(&exporter(&host), Format::Text, &["cpu".to_owned(), "time".to_owned()]).unwrap();
    let ran: Vec<_> = names().filter(|name| found.success(name).is_some()).collect();
    assert_eq!(ran, ["cpu", "time"]);
    assert!(!found.families().contains("node_load1"));
}

#[test]
fn what_hides_the_first_process_is_named_and_nothing_of_our_own_takes_its_place() {
    let host = MadeUpHost::new();
    std::fs::remove_dir_all(host.path("proc/1")).unwrap();
    let found = page(&host);
    for name in ["conntrack", "filesystem", "netdev", "netstat", "sockstat"] {
        assert_eq!(found.success(name), Some(0.0), "{name}");
        assert!(found.left_out.contains_key(&format!("collector {name}")), "{name}");
    }
    assert_eq!(found.left_out.len(), 5, "{:?}", found.left_out);
}

#[test]
fn without_the_hosts_sys_the_containers_own_network_is_not_shown() {
    let host = MadeUpHost::new();
    let root = HostRoot::new(Some(host.path("proc")), None, Some(host.path("root")));
    let exporter = Exporter::new(&root, &Settings::default(), Arc::default());
    let found = read(&exporter, Format::Text, &[]).unwrap();
    assert_eq!(found.success("netclass"), Some(0.0));
    assert!(found.left_out["collector netclass"].contains("host_sys"), "{:?}", found.left_out);
    assert!(!found.families().contains("node_network_up"));
}

#[test]
fn interfaces_may_come_and_go() {
    let host = MadeUpHost::new();
    let exporter = exporter(&host);
    let up = |name: &str| {
        let found = read(&exporter, Format::Text, &[]).unwrap();
        found.series.get(&format!("node_network_up{{device=\"{name}\"}}")).copied()
    };
    assert_eq!((up("eth0"), up("eth1")), (Some(1.0), None));
    host.write("sys/class/net/eth1/operstate", b"down\n");
    assert_eq!((up("eth0"), up("eth1")), (Some(1.0), Some(0.0)));
    std::fs::remove_dir_all(host.path("sys/class/net/eth0")).unwrap();
    assert_eq!((up("eth0"), up("eth1")), (None, Some(0.0)));
}

#[test]
fn other_settings_are_in_force_from_the_next_page_on() {
    let host = MadeUpHost::new();
    let exporter = exporter(&host);
    let first = read(&exporter, Format::Text, &[]).unwrap();
    exporter.take_settings(&Settings {
        off: vec!["hwmon", "cpu"],
        types: Filter::new("ext4").unwrap(),
        disks: Filter::new("^vda$").unwrap(),
        interfaces: Filter::new("^eth0$").unwrap(),
        ..Settings::default()
    });
    let second = read(&exporter, Format::Text, &[]).unwrap();
    assert_eq!(
        (second.success("hwmon"), second.success("cpu"), second.success("stat")),
        (None, None, Some(1.0))
    );
    let shown = |found: &Read, label: &str| found.series.keys().any(|series| series.contains(label));
    for label in ["device=\"eth0\"", "device=\"vda\"", "mountpoint=\"/\""] {
        assert!(shown(&first, label) && !shown(&second, label), "{label}");
    }
    exporter.take_settings(&Settings { most_series: 1, ..Settings::default() });
    let capped = read(&exporter, Format::Text, &[]).unwrap();
    assert_eq!((capped.families(), capped.series.len()), (first.families(), first.families().len()));
    // As they were: all is there again. What the kernel counts backwards does not run backwards for that.
    let stat = MadeUpHost::at_first("proc/stat").replace("9000 40", "9000 35").replace("4500 20", "4500 15");
    host.write("proc/stat", stat.as_bytes());
    exporter.take_settings(&Settings::default());
    let third = read(&exporter, Format::Text, &[]).unwrap();
    let iowait = "node_cpu_seconds_total{cpu=\"0\",mode=\"iowait\"}";
    assert_eq!(third.series.get(iowait), first.series.get(iowait));
    assert_eq!(third.families(), first.families());
    assert!(first.series.keys().all(|series| third.series.contains_key(series)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_files_hold_the_page_is_sound(
        files in prop::collection::vec(any_file(), 1..8),
        open_metrics in any::<bool>(),
    ) {
        let host = MadeUpHost::new();
        for (file, bytes) in &files {
            host.write(file, bytes);
        }
        let exporter = exporter(&host);
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        // Twice: what is kept from the first must do no harm to the second.
        for _ in 0..2 {
            let found = read(&exporter, format, &[])?;
            let spoilt: Vec<_> = files.iter().flat_map(|(file, _)| needs(file)).collect();
            for name in names() {
                prop_assert!(found.success(name) == Some(1.0) || spoilt.contains(&&name), "{name}");
            }
        }
    }
}

#[test]
fn long_files_take_no_endless_work_and_the_page_is_bounded() {
    let host = MadeUpHost::new();
    let interfaces: String =
        (0..20_000).map(|at| format!("veth{at}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")).collect();
    host.write("proc/1/net/dev", interfaces.as_bytes());
    host.write("proc/1/mounts", "/dev/x /a\\040b tmpfs rw 0 0\n".repeat(50_000).as_bytes());
    let started = Instant::now();
    let exporter = exporter(&host);
    let mut page = exporter.page(Format::Text, &["netdev".to_owned()], "");
    // Linear work takes a second in this build; a loop over lines within a loop over lines takes minutes.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let cut = std::mem::take(&mut page.cut);
    assert_eq!(cut.get("node_network_receive_bytes_total"), Some(&15_000));
    assert_eq!(cut.len(), 16);
    let text = page.finish("");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("node_network_receive_bytes_total{")).count(),
        5000
    );
}
