//! Full disks: acknowledging and removing go on without opening again, and so do appends once there is room.

use std::io::Write;
use std::path::Path;

use spool::{DropReason, Error, Options, Spool, WhenFull};
use testkit::Mount;

use crate::support::{SOON, body, read_body, small};

const SIZE: u64 = 64 << 20;

fn options(when_full: WhenFull) -> Options {
    // Far more than the disk has: it is the disk that ends.
    Options { segment_bytes: 1 << 20, max_bytes: 1 << 40, when_full, ..small() }
}

/// Appends until it is refused. How many were taken.
fn fill(spool: &Spool, number: &mut u64) -> u64 {
    let before = *number;
    loop {
        let lane = format!("lane-{}", *number % 10);
        match spool.append(&lane, 0, body(&lane, *number, 100_000)) {
            Ok(_) => *number += 1,
            Err(Error::NoSpace) => return *number - before,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn drain(spool: &Spool, records: u64, next: &mut u64) {
    for _ in 0..records {
        let lane = spool.next_lane(|_| true).unwrap();
        let record = spool.oldest(&lane).unwrap().unwrap();
        assert_eq!(read_body(&record.body).unwrap().1, *next);
        *next += 1;
        assert_eq!(spool.acknowledge(&lane, record.sequence).unwrap(), 1);
    }
    spool.flush(SOON).unwrap();
}

fn three_cycles(disk: &Path) {
    let folder = disk.join("spool");
    let (mut number, mut next) = (0, 0);
    let mut spool = Spool::open(&folder, options(WhenFull::Refuse)).unwrap().0;
    for cycle in 0..3 {
        let taken = fill(&spool, &mut number);
        // Two thirds of it, at least, is full of records.
        assert!((number - next) * 100_000 > SIZE * 2 / 3, "cycle {cycle}: {taken} taken");
        // A foreign file takes what is left.
        let filler = disk.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        // Opened while full, and full during a roll: nothing is lost, acknowledging goes on.
        drop(spool);
        let (reopened, report) = Spool::open(&folder, options(WhenFull::Refuse)).unwrap();
        spool = reopened;
        assert!(!report.damage.any(), "{report:?}");
        assert_eq!(report.found.records, number - next);
        drain(&spool, 80, &mut next);
        let before = number;
        fill(&spool, &mut number);
        assert!(number > before, "what was freed is used again, without opening again");
        drop(file);
        std::fs::remove_file(&filler).unwrap();
        drain(&spool, (number - next) / 2, &mut next);
        fill(&spool, &mut number);
        // Opened again while full of its own.
        let waiting = number - next;
        drop(spool);
        spool = Spool::open(&folder, options(WhenFull::Refuse)).unwrap().0;
        assert_eq!(spool.stats().waiting.records, waiting);
        drain(&spool, waiting, &mut next);
        spool.tend(SOON).unwrap();
        let stats = spool.stats();
        assert!(stats.allocated_bytes <= 3 << 20, "cycle {cycle}: {stats:?}");
        assert!(stats.balances());
    }
    println!("{number} records through {}", disk.display());
    drop(spool);

    // And where the oldest may be dropped, appends never stop, and small lanes lose nothing.
    let (spool, _) = Spool::open(&folder, options(WhenFull::DropOldest)).unwrap();
    for small in 0..20 {
        spool.append(&format!("small-{small}"), 0, body("small", small, 1000)).unwrap();
    }
    for big in 0..1200 {
        let kept = spool.append("big", 0, body("big", big, 100_000));
        assert!(kept.is_ok(), "{big}: {kept:?}, {:?}", spool.stats());
    }
    let stats = spool.stats();
    assert!(stats.balances() && stats.dropped_for(DropReason::NoSpace).records > 400, "{stats:?}");
    for small in 0..20 {
        assert_eq!(spool.lane(&format!("small-{small}")).unwrap().waiting.records, 1);
    }
    assert_eq!(spool.records("big", usize::MAX).unwrap().len() as u64, stats.waiting.records - 20);
}

#[test]
fn a_full_tmpfs_through_three_cycles() {
    let disk = Mount::tmpfs(SIZE);
    three_cycles(disk.path());
}

#[test]
fn a_full_ext4_through_three_cycles() {
    let disk = Mount::image("ext4", SIZE);
    three_cycles(disk.path());
}
