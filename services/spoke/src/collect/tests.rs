//! All collectors together, over made-up hosts in good order, with files missing, and with files that hold
//! anything.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use agent::clock::Clock;
use proptest::prelude::*;
use testkit::MadeUpHost;

use super::*;
use crate::spoilt::any_file;

fn root(host: &MadeUpHost) -> HostRoot {
    HostRoot::new(Some(host.path("proc")), Some(host.path("sys")), Some(host.path("root")))
}

fn collect(host: &MadeUpHost) -> Round {
    Host::new(&root(host), Arc::default()).collect(&Exclude::default(), None, Clock::system())
}

fn keys(round: &Round) -> BTreeSet<&'static str> {
    round.datapoints.iter().map(|datapoint| datapoint.series.key).collect()
}

/// The keys that hang on a file, by how they begin; all that hang on none are there whatever is missing.
fn needs(file: &str) -> &'static [&'static str] {
    match file {
        "proc/stat" => &["cpu_times", "cpu_stats"],
        "proc/loadavg" => &["load_average"],
        "proc/meminfo" => &["memory", "swap_memory"],
        "proc/vmstat" => &["swap_memory"],
        "proc/diskstats" => &["disk_io"],
        "proc/cpuinfo" => &["cpu_frequency"],
        "proc/filesystems" | "proc/1/mounts" => &["disk_partition"],
        "proc/1/net/dev" => &["network_io"],
        _ => &[],
    }
}

#[test]
fn a_host_in_good_order_sends_everything() {
    let host = MadeUpHost::new();
    let round = collect(&host);
    assert_eq!(round.left_out, AllLeftOut::new());
    // 5 new ones, 20 of cpu times, 4 of cpu events, 11 of memory, 6 of swap, 4 a partition, 9 a disk, 8 an
    // interface.
    assert_eq!(round.datapoints.len(), 5 + 20 + 4 + 11 + 6 + 2 * 4 + 9 + 2 * 8);
}

#[test]
fn a_collector_that_fails_costs_its_own_datapoints_alone() {
    let host = MadeUpHost::new();
    let whole = collect(&host);
    for file in MadeUpHost::files() {
        host.remove(file);
        let round = collect(&host);
        let lost: BTreeSet<_> = keys(&whole).difference(&keys(&round)).copied().collect();
        let expected: BTreeSet<_> = keys(&whole)
            .into_iter()
            .filter(|key| needs(file).iter().any(|start| key.starts_with(start)))
            .collect();
        assert_eq!(lost, expected, "without {file}");
        let named = !needs(file).is_empty();
        assert_eq!(!round.left_out.is_empty(), named, "without {file}: {:?}", round.left_out);
        host.write(file, MadeUpHost::at_first(file).as_bytes());
    }
}

#[test]
fn a_partition_that_cannot_be_asked_costs_itself_alone() {
    let host = MadeUpHost::new();
    std::fs::remove_dir(host.path("root/data")).unwrap();
    let round = collect(&host);
    let partitions = round.datapoints.iter().filter(|point| point.series.key.starts_with("disk_partition"));
    assert_eq!(partitions.count(), 4);
    assert_eq!(round.left_out.keys().collect::<Vec<_>>(), ["partition /data"]);
}

/// What a round says of partitions and disks: their names, in order.
fn instances(round: &Round) -> Vec<String> {
    let mut names = Vec::new();
    for point in &round.datapoints {
        let pairs = point.series.leading.iter().chain(point.series.trailing.iter());
        let name = pairs.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ");
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[test]
fn what_changes_under_a_kept_host_is_in_the_next_post() {
    let made_up = MadeUpHost::new();
    let mut kept = Host::new(&root(&made_up), Arc::default());
    let mut next = |made_up: &MadeUpHost| {
        let round = kept.collect(&Exclude::default(), None, Clock::system());
        let fresh =
            Host::new(&root(made_up), Arc::default()).collect(&Exclude::default(), None, Clock::system());
        assert_eq!(keys(&round), keys(&fresh));
        assert_eq!((instances(&round), &round.left_out), (instances(&fresh), &fresh.left_out));
        // How full the real disk is changes meanwhile.
        let stands = |point: &&Datapoint| !point.series.key.starts_with("disk_partition");
        let values = |round: &Round| {
            round.datapoints.iter().filter(stands).map(|point| point.value).collect::<Vec<_>>()
        };
        assert_eq!(values(&round), values(&fresh));
        instances(&round)
    };
    let before = next(&made_up);
    assert_eq!(next(&made_up), before, "nothing changed");

    std::fs::create_dir(made_up.path("root/new")).unwrap();
    let mounts = MadeUpHost::at_first("proc/1/mounts");
    made_up.write("proc/1/mounts", format!("{mounts}/dev/vdc /new ext4 rw 0 0\n").as_bytes());
    assert_eq!(next(&made_up).len(), before.len() + 1, "a new mount");
    made_up.write("proc/filesystems", b"nodev\tsysfs\n\txfs\n");
    assert_eq!(next(&made_up).len(), before.len() - 1, "a type that is none any more");
    made_up.write("proc/filesystems", MadeUpHost::at_first("proc/filesystems").as_bytes());
    made_up.write("proc/1/mounts", mounts.replace("rw,relatime", "ro,relatime").as_bytes());
    assert!(next(&made_up).contains(&"/dev/vda / ext4 ro,relatime".to_owned()), "an option");
    std::fs::remove_dir(made_up.path("root/data")).unwrap();
    assert_eq!(next(&made_up).len(), before.len() - 1, "a mount point that is gone");
    let disks = MadeUpHost::at_first("proc/diskstats");
    made_up.write("proc/diskstats", format!("{disks} 8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n").as_bytes());
    assert!(next(&made_up).contains(&"sda".to_owned()), "a new disk");
    made_up.write("proc/diskstats", b"");
    assert!(!next(&made_up).contains(&"vda".to_owned()), "no disk");
    made_up.write("proc/cpuinfo", b"cpu MHz : 1.0\n");
    made_up.write("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", b"7000\n");
    made_up.write("sys/devices/system/cpu/cpufreq/policy1/scaling_cur_freq", b"9000\n");
    next(&made_up);
}

/// The keys of a host in good order.
static WHOLE: LazyLock<BTreeSet<&str>> = LazyLock::new(|| keys(&collect(&MadeUpHost::new())));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_files_hold_nothing_panics_and_what_is_sent_is_sound(
        files in prop::collection::vec(any_file(), 1..6)
    ) {
        let host = MadeUpHost::new();
        for (file, bytes) in &files {
            host.write(file, bytes);
        }
        let round = collect(&host);
        for datapoint in &round.datapoints {
            let finite = match datapoint.value {
                agent::post::Number::Int(_) => true,
                agent::post::Number::Float(value) => value.is_finite() && value >= 0.0,
            };
            prop_assert!(finite, "{datapoint:?}");
        }
        // Only what hangs on a spoilt file can be missing.
        let spoilt: Vec<_> = files.iter().flat_map(|(file, _)| needs(file)).collect();
        for key in WHOLE.iter().copied() {
            let expected = !spoilt.iter().any(|start| key.starts_with(**start));
            prop_assert!(!expected || keys(&round).contains(key), "{key}");
        }
    }
}

#[test]
fn long_files_take_no_endless_work() {
    let host = MadeUpHost::new();
    host.write("proc/1/mounts", "/dev/x /a\\040b tmpfs rw 0 0\n".repeat(50_000).as_bytes());
    host.write("proc/stat", format!("cpu 1 2 3 4 {}\n", "5 ".repeat(500_000)).as_bytes());
    let started = Instant::now();
    collect(&host);
    // Linear work takes a tenth of a second; a loop over lines within a loop over lines takes minutes.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
