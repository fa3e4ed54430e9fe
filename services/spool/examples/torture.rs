//! The long forms, by hand: kills without end, and the figures of the budgets.
//!
//! ```text
//! cargo run -p spool --example torture -- --kills 1000 [--seed N]
//! cargo run -p spool --release --example torture -- --budgets [FOLDER]
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, reason = "it tells figures")]
#![allow(dead_code, reason = "what the tests share is used here in part")]

#[path = "../tests/spool/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use spool::{Options, Spool};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--kills", kills] => kills_of(kills.parse().unwrap(), std::process::id().into()),
        ["--kills", kills, "--seed", seed] => kills_of(kills.parse().unwrap(), seed.parse().unwrap()),
        ["child", base, folder] => support::kill::child(Path::new(folder), base.parse().unwrap()),
        ["--budgets"] => budgets(tempfile::tempdir_in(".").unwrap().path()),
        ["--budgets", folder] => budgets(Path::new(folder)),
        ["fill", folder, records, bytes] => {
            fill(Path::new(folder), records.parse().unwrap(), bytes.parse().unwrap());
        }
        ["open", folder] => open(Path::new(folder)),
        ["drain", folder] => drain(Path::new(folder)),
        _ => println!("torture --kills N [--seed N] | --budgets [FOLDER]"),
    }
}

fn itself() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

fn kills_of(kills: u64, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    println!("seed {seed}");
    let oracle = support::kill::run(folder.path(), kills, seed, |base| {
        let mut command = itself();
        command.args(["child", &base.to_string(), folder.path().to_str().unwrap()]);
        command
    });
    let (lines, opened, repeats) = (oracle.lines, oracle.opened, oracle.repeats);
    println!(
        "{kills} kills in {:?}: {lines} lines, {opened} opened, {repeats} repeats, nothing lost",
        began.elapsed()
    );
}

fn options() -> Options {
    Options { max_bytes: 8 << 30, max_age: Duration::MAX, max_pending_bytes: 256 << 20, ..Options::default() }
}

/// The most memory that this process has used, and what it has had written, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find(|line| line.starts_with("write_bytes")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Each figure in a process of its own, so that memory is that of one thing.
fn budgets(folder: &Path) {
    for (name, records, bytes) in [
        ("a million records of 1,000 bytes", "1000000", "1000"),
        ("1 GiB in 10,000 bytes", "107374", "10000"),
    ] {
        println!("{name}, 10,000 lanes:");
        let folder = folder.join(records);
        let told = folder.to_str().unwrap();
        for command in [vec!["fill", told, records, bytes], vec!["open", told], vec!["drain", told]] {
            assert!(itself().args(&command).status().unwrap().success());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

fn fill(folder: &Path, records: u64, bytes: usize) {
    let (spool, _) = Spool::open(folder, options()).unwrap();
    let began = Instant::now();
    let (send, receive) = mpsc::channel();
    let mut flying = 0_u64;
    for number in 0..records {
        let send = send.clone();
        let lane = format!("0123456789abcdef-{:05}", number % 10_000);
        spool.append_then(&lane, number, vec![number as u8; bytes], move |result| {
            send.send(result.is_ok()).unwrap();
        });
        flying += 1;
        while flying > 1000 {
            assert!(receive.recv().unwrap());
            flying -= 1;
        }
    }
    spool.flush(support::SOON).unwrap();
    let took = began.elapsed();
    let stats = spool.stats();
    let (own, disk) = (stats.written_bytes as f64, written() as f64);
    let bodies = stats.taken.bytes as f64;
    println!(
        "  filled in {took:.1?}: {:.0}/s, write amplification {:.3} (with the file system's pages {:.3}), {} MB of memory at most, {} syncs, the longest {:?}",
        records as f64 / took.as_secs_f64(),
        own / bodies,
        disk / bodies,
        memory() >> 20,
        stats.syncs.count,
        stats.syncs.longest
    );
    // Left behind as by a crash: no footer on the newest segment.
    std::process::exit(0);
}

fn open(folder: &Path) {
    for file in std::fs::read_dir(folder).unwrap() {
        let file = std::fs::File::open(file.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    let began = Instant::now();
    let (spool, report) = Spool::open(folder, options()).unwrap();
    let took = began.elapsed();
    let gib = report.found.bytes as f64 / f64::from(1 << 30);
    println!(
        "  opened {} records, {gib:.2} GiB, {} of {} segments scanned: {took:.3?}, {:.3} s a GiB, {} MB of memory at most",
        report.found.records,
        report.scanned,
        report.segments,
        took.as_secs_f64() / gib,
        memory() >> 20
    );
    spool.tend(support::SOON).unwrap();
}

fn drain(folder: &Path) {
    let (spool, report) = Spool::open(folder, options()).unwrap();
    let began = Instant::now();
    let mut drained = 0_u64;
    let (send, receive) = mpsc::channel();
    let mut flying = 0;
    while let Some(lane) = spool.next_lane(|_| true) {
        let record = spool.oldest(&lane).unwrap().unwrap();
        spool.acknowledge(&lane, record.sequence).unwrap();
        drained += 1;
        // A fifth of live appends beside it.
        if drained.is_multiple_of(5) && drained < report.found.records {
            let send = send.clone();
            spool.append_then(&lane, record.taken_ms, record.body, move |result| {
                send.send(result.is_ok()).unwrap();
            });
            flying += 1;
            while flying > 200 {
                assert!(receive.recv().unwrap());
                flying -= 1;
            }
        }
    }
    spool.flush(support::SOON).unwrap();
    let took = began.elapsed();
    spool.tend(support::SOON).unwrap();
    let stats = spool.stats();
    println!(
        "  drained {drained} in {took:.1?}: {:.0}/s; {} MB in {} segments and {} spares are left; {} MB of memory at most",
        drained as f64 / took.as_secs_f64(),
        stats.allocated_bytes >> 20,
        stats.segments,
        stats.spares,
        memory() >> 20
    );
    assert!(stats.balances());
}
