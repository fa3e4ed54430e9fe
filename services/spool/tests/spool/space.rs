//! Space: what is given back, what is held, and who pays when there is too little.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use spool::{DropReason, Options, Spool, WhenFull};
use tempfile::tempdir;

use crate::support::{Chance, SOON, body, long, read_body, small};

#[test]
fn after_a_drain_at_most_three_segments_are_left() {
    let folder = tempdir().unwrap();
    // 1 GiB in segments of 8 MiB, or as many segments of a 64th of that.
    let scale = if long() { 1 } else { 64 };
    let options = Options {
        segment_bytes: (8 << 20) / scale,
        max_bytes: 4 << 30,
        max_pending_bytes: 1 << 30,
        gather: Duration::from_millis(10),
        ..small()
    };
    let segment = options.segment_bytes;
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    let (send, receive) = mpsc::channel();
    let count = (1 << 30) / scale / 10_000;
    for number in 0..count {
        let send = send.clone();
        let lane = format!("lane-{}", number % 1000);
        spool.append_then(&lane, 0, vec![7; 10_000], move |result| send.send(result.is_ok()).unwrap());
        if number >= 100 {
            assert!(receive.recv().unwrap());
        }
    }
    spool.flush(SOON).unwrap();
    assert!(spool.stats().allocated_bytes > 100 * segment);
    while let Some(lane) = spool.next_lane(|_| true) {
        let record = spool.oldest(&lane).unwrap().unwrap();
        spool.acknowledge(&lane, record.sequence).unwrap();
    }
    spool.flush(SOON).unwrap();
    spool.tend(SOON).unwrap();
    let stats = spool.stats();
    assert!(stats.allocated_bytes <= 3 * segment && stats.segments + stats.spares <= 3, "{stats:?}");
    let on_disk = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(on_disk <= 4, "three segments and the lanes' names, not {on_disk}");
    let amplification = stats.written_bytes as f64 / stats.taken.bytes as f64;
    println!(
        "{count} records drained, {} bytes left, write amplification {amplification:.3}",
        stats.allocated_bytes
    );
}

#[test]
fn write_amplification_is_at_most_a_tenth() {
    let folder = tempdir().unwrap();
    let options = Options {
        segment_bytes: 8 << 20,
        max_lanes: 10_000,
        max_pending_bytes: 1 << 30,
        gather: Duration::from_millis(10),
        ..small()
    };
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    let (send, receive) = mpsc::channel();
    for number in 0..6000 {
        let send = send.clone();
        let lane = format!("lane-{}", number % 1000);
        spool.append_then(&lane, 0, vec![7; 10_000], move |result| send.send(result.is_ok()).unwrap());
        if number >= 100 {
            assert!(receive.recv().unwrap());
        }
        // Delivered as it comes, so that the cursors are written as well.
        if let Some(lane) = spool.next_lane(|_| number % 2 == 0) {
            spool.acknowledge(&lane, u64::MAX).unwrap();
        }
    }
    spool.flush(SOON).unwrap();
    let stats = spool.stats();
    let amplification = stats.written_bytes as f64 / stats.taken.bytes as f64;
    println!("write amplification {amplification:.3}, {} syncs", stats.syncs.count);
    assert!(amplification <= 1.1, "{amplification}: {stats:?}");
}

#[test]
fn a_stuck_lane_pins_no_segments() {
    let folder = tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    let mut most = 0;
    for number in 0..6000 {
        // One in twenty goes to the lane that nobody empties: nearly every segment holds some of it.
        let lane = if number % 20 == 0 { "stuck" } else { "busy" };
        spool.append(lane, number, body(lane, number, 2000)).unwrap();
        spool.acknowledge("busy", u64::MAX).unwrap();
        let stats = spool.stats();
        let needed = (stats.waiting.bytes + stats.waiting.records * 60).div_ceil(64 << 10);
        most = most.max(stats.allocated_bytes / (64 << 10));
        assert!(stats.allocated_bytes <= (2 * needed + 8 + 4) * (64 << 10), "{stats:?}");
    }
    let stats = spool.stats();
    println!("at most {most} segments; {} records copied forward", stats.copied_forward.records);
    assert!(stats.balances() && stats.dropped == <[spool::Amount; 5]>::default());
    drop(spool);
    // The copies keep their order, and are told from what they were copied from.
    let (spool, report) = Spool::open(folder.path(), small()).unwrap();
    assert_eq!(report.found.records, 300);
    for number in (0..6000).step_by(20) {
        let record = spool.oldest("stuck").unwrap().unwrap();
        assert_eq!(read_body(&record.body).unwrap().1, number);
        spool.acknowledge("stuck", record.sequence).unwrap();
    }
}

#[test]
fn when_full_the_largest_lane_pays_and_no_small_one_loses_a_record() {
    let folder = tempdir().unwrap();
    let max_bytes = 64 * (64 << 10);
    let options = Options { max_bytes, ..small() };
    let (spool, _) = Spool::open(folder.path(), options.clone()).unwrap();
    let mut chance = Chance(5);
    let mut smalls = 0;
    for number in 0..9000 {
        // Nine tenths of the bytes go to one lane; 999 small ones hold one record each, all over the segments.
        spool.append("big", 0, body("big", number, 1500)).unwrap();
        if number % 5 == 0 && smalls < 999 {
            let lane = format!("small-{smalls}");
            spool.append(&lane, 0, body(&lane, number, 100 + chance.below(400) as usize)).unwrap();
            smalls += 1;
        }
        let stats = spool.stats();
        assert!(stats.allocated_bytes <= max_bytes, "{stats:?}");
    }
    let stats = spool.stats();
    assert!(stats.dropped_for(DropReason::MaxBytes).records > 5000 && stats.balances(), "{stats:?}");
    println!(
        "{} dropped, {} copied forward",
        stats.dropped_for(DropReason::MaxBytes).records,
        stats.copied_forward.records
    );
    drop(spool);
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    for lane in 0..999 {
        let lane = format!("small-{lane}");
        assert_eq!(spool.lane(&lane).unwrap().waiting.records, 1, "{lane}");
        assert_eq!(read_body(&spool.oldest(&lane).unwrap().unwrap().body).unwrap().0, lane);
    }
    // What is left of the large lane is its newest, without a gap.
    let left = spool.records("big", usize::MAX).unwrap().len() as u64;
    let oldest = read_body(&spool.oldest("big").unwrap().unwrap().body).unwrap().1;
    assert_eq!(oldest + left, 9000);
    assert!(left * 1500 > max_bytes / 3, "{left} records are left of the large lane");
}

#[test]
fn where_nothing_may_be_dropped_the_append_is_refused_and_acknowledging_makes_room() {
    let folder = tempdir().unwrap();
    let options = Options { max_bytes: 8 * (64 << 10), when_full: WhenFull::Refuse, ..small() };
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    let mut taken = 0;
    while spool.append("a", 0, vec![1; 5000]).is_ok() {
        taken += 1;
    }
    assert!(matches!(spool.append("a", 0, vec![1; 5000]), Err(spool::Error::Full)));
    assert!(taken >= 70, "{taken}");
    for _ in 0..30 {
        spool.acknowledge("a", spool.oldest("a").unwrap().unwrap().sequence).unwrap();
    }
    spool.flush(SOON).unwrap();
    spool.append("a", 0, vec![1; 5000]).unwrap();
    assert_eq!(spool.stats().dropped, <[spool::Amount; 5]>::default());
}

#[test]
fn what_is_too_old_goes() {
    let folder = tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let clock = Arc::clone(&now);
    let options = Options {
        max_age: Duration::from_secs(60),
        clock: Arc::new(move || clock.load(Ordering::SeqCst)),
        ..small()
    };
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    for number in 0..100 {
        let taken = now.fetch_add(1000, Ordering::SeqCst);
        spool.append(["a", "b"][number % 2], taken, vec![0; 3000]).unwrap();
    }
    spool.tend(SOON).unwrap();
    let stats = spool.stats();
    assert_eq!((stats.dropped_for(DropReason::MaxAge).records, stats.waiting.records), (40, 60));
    now.fetch_add(3_600_000, Ordering::SeqCst);
    spool.tend(SOON).unwrap();
    let stats = spool.stats();
    assert_eq!(stats.waiting.records, 0);
    assert!(stats.balances() && stats.segments + stats.spares <= 3, "{stats:?}");
}

const CHILD: &str = "SPOOL_MEMORY_CHILD";

/// Not a test by itself: what the next one starts, for a process whose memory is the spool's alone.
#[test]
fn child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = peak();
    let options = Options { segment_bytes: 8 << 20, max_lanes: 10_000, ..small() };
    for _ in 0..2 {
        let (spool, _) = Spool::open(folder.as_ref(), options.clone()).unwrap();
        for number in spool.stats().waiting.records..100_000 {
            spool.append_then(&format!("lane-{}", number % 10_000), 0, vec![1; 200], |result| {
                assert!(result.is_ok());
            });
            if number % 1000 == 0 {
                spool.flush(SOON).unwrap();
            }
        }
        spool.flush(SOON).unwrap();
        assert_eq!(spool.stats().waiting.records, 100_000);
    }
    println!("@{}", peak() - before);
}

#[test]
fn a_hundred_thousand_records_of_ten_thousand_lanes_take_little_memory() {
    let folder = crate::support::folder();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "space::child", "--nocapture", "--test-threads=1"]).env(CHILD, folder.path());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let kib: u64 = text.split_once('@').unwrap().1.split_whitespace().next().unwrap().parse().unwrap();
    println!("{kib} KiB beside what the process had before");
    assert!(kib <= 24 << 10, "{kib} KiB");
}
