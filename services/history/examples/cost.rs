//! What history costs: feeds made-up hosts with an hour of samples and prints CPU a sample, bytes on disk a sample and
//! memory. `cargo run --release -p history --example cost [hosts [samples]]`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a figure is asked for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use history::{History, Options, Query, Reading, Sample, Source};

const BEGIN: u64 = 1_795_334_400_000;
const INTERVAL: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

/// CPU of this process so far, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields.get(*at).unwrap().parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

/// Memory of this process, in MiB.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// A host with two disks, two interfaces and three partitions, whose numbers move as those of real ones do.
fn sample(host: usize, at: u64, noise: &mut u64) -> Sample {
    let mut chance = |most: u64| {
        *noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*noise >> 33) % most) as f64
    };
    let agent = format!("{host:064x}");
    let mut sample = Sample::new(&agent, &format!("host-{host}.example.com"), BEGIN + at, INTERVAL);
    let mut add = |source, instance: &str, value| sample.add(Reading { source, key: "", instance, value });
    add(Source::Load, "", chance(400) / 100.0);
    add(Source::Idle, "", 80.0 + chance(200) / 10.0);
    add(Source::Iowait, "", 0.0);
    add(Source::Memory, "", 42.0 + chance(5) / 10.0);
    add(Source::Swap, "", 0.0);
    for (at, mount) in ["/", "/var", "/srv"].into_iter().enumerate() {
        add(Source::Partition, mount, 30.0 + 10.0 * at as f64);
    }
    let grown = at as f64 / 1000.0;
    for disk in ["vda", "vda1", "vdb"] {
        add(Source::DiskRead, disk, (grown * 4096.0 + chance(30_000)).floor());
        add(Source::DiskWrite, disk, (grown * 90_000.0 + chance(300_000)).floor());
        add(Source::DiskBusy, disk, (grown * 20.0 + chance(100)).floor());
    }
    for interface in ["lo", "eth0", "eth1"] {
        add(Source::Sent, interface, (grown * 50_000.0 + chance(100_000)).floor());
        add(Source::Received, interface, (grown * 90_000.0 + chance(100_000)).floor());
        (0..4).for_each(|_| add(Source::NetworkErrors, interface, 0.0));
    }
    sample
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>().unwrap());
    let (hosts, samples) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(360));
    let folder = std::env::temp_dir().join(format!("history-cost-{}", std::process::id()));
    let clock = Arc::new(AtomicU64::new(BEGIN));
    let now = Arc::clone(&clock);
    let options = Options { max_bytes: 1 << 30, max_age: Duration::from_secs(8 * 86_400), max_hosts: 20_000 };
    let history =
        History::begin(History::file(&folder), options, move || now.load(Ordering::Relaxed)).unwrap();
    let mut noise = 7;
    let made = |noise: &mut u64| {
        let before = cpu();
        (0..samples).for_each(|at| {
            (0..hosts).for_each(|host| drop(sample(host, at as u64 * INTERVAL, noise)));
        });
        cpu() - before
    };
    let making = made(&mut noise);
    let (before, idle) = (cpu(), memory());
    let each = 4000 / hosts.max(1);
    for at in 0..samples {
        let at_ms = at as u64 * INTERVAL;
        clock.store(BEGIN + at_ms, Ordering::Relaxed);
        (0..hosts).for_each(|host| history.offer(sample(host, at_ms, &mut noise)));
        // As often as a hub would, but for the queue's sake with many hosts more often.
        if at % 6 == 5 || at % each.max(1) == 0 {
            assert!(history.write_now(LIMIT));
        }
    }
    let all = (hosts * samples) as f64;
    let stats = history.stats();
    println!("hosts {hosts}, samples of each {samples}, left out {:?}", stats.drops);
    println!(
        "CPU a sample: {:.2} us (making it took {:.2} us more)",
        (cpu() - before - making) / all * 1e6,
        making / all * 1e6
    );
    println!("bytes on disk a sample: {:.1}", stats.bytes as f64 / all);
    println!("RSS: {:.1} MiB, before {idle:.1} MiB", memory());
    let before = cpu();
    let (sender, receiver) = std::sync::mpsc::channel();
    let query = Query::last(Duration::from_secs(3600), clock.load(Ordering::Relaxed));
    for host in 0..100 {
        let sender = sender.clone();
        history.points(&format!("{:064x}", host % hosts), query, move |answer| {
            sender.send(answer.unwrap().1.stamps.len()).unwrap();
        });
        assert!(receiver.recv_timeout(LIMIT).unwrap() > 0);
    }
    println!("a picture of an hour: {:.2} ms", (cpu() - before) * 10.0);
    drop(history);
    std::fs::remove_dir_all(folder).unwrap();
}
