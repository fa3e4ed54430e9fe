//! What a program sees of a spool when nothing goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use spool::{Disk, DropReason, Error, Options, Spool, verify};
use tempfile::tempdir;

use crate::support::{SOON, body, read_body, small};

#[test]
fn lanes_are_read_in_order_and_outlive_reopening() {
    let folder = tempdir().unwrap();
    let (spool, report) = Spool::open(folder.path(), small()).unwrap();
    assert_eq!(report, spool::Report::default());
    for number in 0..100 {
        let lane = ["a", "b", "c"][number as usize % 3];
        spool.append(lane, 1000 + number, body(lane, number, 500)).unwrap();
    }
    assert_eq!(spool.acknowledge("a", spool.oldest("a").unwrap().unwrap().sequence).unwrap(), 1);
    spool.close(SOON).unwrap();
    assert!(matches!(spool.append("a", 0, Vec::new()), Err(Error::Closed)));
    drop(spool);

    let (spool, report) = Spool::open(folder.path(), small()).unwrap();
    assert_eq!((report.found.records, report.lanes, report.damage.any()), (99, 3, false));
    let mut order = Vec::new();
    while let Some(lane) = spool.next_lane(|_| true) {
        let record = spool.oldest(&lane).unwrap().unwrap();
        let (_, number) = read_body(&record.body).unwrap();
        assert_eq!(record.taken_ms, 1000 + number);
        order.push(number);
        assert_eq!(spool.acknowledge(&lane, record.sequence).unwrap(), 1);
    }
    assert_eq!(order, (1..100).collect::<Vec<_>>());
    let stats = spool.stats();
    assert_eq!((stats.waiting.records, stats.waiting.bytes, stats.acknowledged.records), (0, 0, 99));
    assert!(stats.balances());
}

#[test]
fn the_lane_with_the_oldest_head_comes_next_and_lanes_can_be_left_out() {
    let folder = tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    for lane in ["x", "y", "x", "z"] {
        spool.append(lane, 0, lane.into()).unwrap();
    }
    let first = spool.oldest("x").unwrap().unwrap().sequence;
    spool.acknowledge("x", first).unwrap();
    assert_eq!(spool.next_lane(|_| true).as_deref(), Some("y"));
    assert_eq!(spool.next_lane(|lane| lane != "y").as_deref(), Some("x"));
    assert_eq!(spool.next_lane(|lane| lane > "z"), None);
    assert_eq!(spool.records("x", 9).unwrap().len(), 1);
    let info = spool.lane("x").unwrap();
    assert_eq!((info.waiting.records, info.waiting.bytes, info.acknowledged), (1, 1, first));
}

#[test]
fn an_acknowledgement_beyond_the_end_swallows_nothing_that_comes_later() {
    let folder = tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    spool.append("a", 0, b"1".to_vec()).unwrap();
    assert_eq!(spool.acknowledge("a", u64::MAX).unwrap(), 1);
    spool.append("a", 0, b"2".to_vec()).unwrap();
    drop(spool);
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    assert_eq!(spool.oldest("a").unwrap().unwrap().body, b"2");
}

#[test]
fn a_directory_is_open_once() {
    let folder = tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    let error = Spool::open(folder.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }));
    assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    drop(spool);
    Spool::open(folder.path(), small()).unwrap();
}

#[test]
fn the_sequence_grows_over_restarts_and_an_emptied_directory() {
    let folder = tempdir().unwrap();
    let mut last = 0;
    for round in 0..4 {
        let (spool, _) = Spool::open(folder.path(), small()).unwrap();
        for _ in 0..3 {
            let sequence = spool.append("a", 0, b"x".to_vec()).unwrap();
            assert!(sequence > last);
            last = sequence;
        }
        spool.purge("a").unwrap();
        drop(spool);
        if round == 2 {
            for file in std::fs::read_dir(folder.path()).unwrap() {
                std::fs::remove_file(file.unwrap().path()).unwrap();
            }
        }
    }
    // Drained, and the clock set back by ten years: what the directory says counts.
    let options = Options { clock: Arc::new(|| 1_400_000_000_000), ..small() };
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    assert!(spool.append("a", 1_400_000_000_000, b"x".to_vec()).unwrap() > last);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempdir().unwrap();
    let options = small();
    let max = options.max_body();
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    assert!(matches!(spool.append("", 0, Vec::new()), Err(Error::LaneName)));
    assert!(matches!(spool.append(&"x".repeat(256), 0, Vec::new()), Err(Error::LaneName)));
    assert!(matches!(spool.append("a", 0, vec![0; max as usize + 1]), Err(Error::TooLarge { .. })));
    spool.append("a", 0, vec![7; max as usize]).unwrap();
    spool.append("a", 0, Vec::new()).unwrap();
    assert_eq!(spool.oldest("a").unwrap().unwrap().body, vec![7; max as usize]);
    for wrong in [
        Options { segment_bytes: 5000, ..small() },
        Options { max_lanes: 100_000, ..small() },
        Options { max_bytes: 128 << 10, ..small() },
    ] {
        assert!(matches!(Spool::open(tempdir().unwrap().path(), wrong), Err(Error::Options(_))));
    }
}

#[test]
fn lanes_are_bounded_and_empty_ones_give_way_once_nothing_of_them_is_on_disk() {
    let folder = tempdir().unwrap();
    let options = || Options { max_lanes: 8, ..small() };
    let (spool, _) = Spool::open(folder.path(), options()).unwrap();
    for lane in 0..8 {
        spool.append(&format!("old-{lane}"), 0, vec![1; 100]).unwrap();
    }
    assert!(matches!(spool.append("new", 0, vec![1]), Err(Error::TooManyLanes { max: 8 })));
    for lane in 1..8 {
        spool.purge(&format!("old-{lane}")).unwrap();
    }
    // Empty, but their records are still in the segment that is written to.
    assert!(matches!(spool.append("new", 0, vec![1]), Err(Error::TooManyLanes { max: 8 })));
    for _ in 0..5 {
        spool.append("old-0", 0, vec![1; 30_000]).unwrap();
        spool.acknowledge("old-0", u64::MAX).unwrap();
    }
    spool.tend(SOON).unwrap();
    spool.append("new", 0, b"kept".to_vec()).unwrap();
    assert_eq!(spool.lanes().len(), 2);
    drop(spool);
    let (spool, report) = Spool::open(folder.path(), options()).unwrap();
    assert_eq!((report.lanes, report.found.records), (2, 1));
    assert_eq!(spool.oldest("new").unwrap().unwrap().body, b"kept");
}

#[test]
fn appends_are_gathered_into_one_sync() {
    let folder = tempdir().unwrap();
    let options = Options { gather: Duration::from_secs(3600), gather_bytes: 100_000, ..small() };
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    let (send, receive) = mpsc::channel();
    let answered = Arc::new(AtomicU64::new(0));
    for number in 0..100_u64 {
        let (send, answered) = (send.clone(), Arc::clone(&answered));
        spool.append_then("a", number, vec![0; 400], move |result| {
            answered.fetch_add(1, Ordering::SeqCst);
            send.send(result.unwrap()).unwrap();
        });
    }
    // 40,000 bytes are below the bound: the flush ends the gathering.
    spool.flush(SOON).unwrap();
    assert_eq!(answered.load(Ordering::SeqCst), 100);
    let sequences: Vec<u64> = receive.try_iter().collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]));
    // Beginning the first segment, and the group.
    assert_eq!(spool.stats().syncs.count, 2);
    let after = spool.stats();
    assert_eq!(after.syncs.buckets.iter().sum::<u64>(), 2);
    assert_eq!(after.unsynced_lanes, 0);
}

#[test]
fn a_record_put_back_keeps_the_time_it_was_taken() {
    let folder = tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    spool.append("a", 5, b"first".to_vec()).unwrap();
    spool.append("a", 6, b"second".to_vec()).unwrap();
    let record = spool.oldest("a").unwrap().unwrap();
    spool.append("a", record.taken_ms, record.body).unwrap();
    spool.acknowledge("a", record.sequence).unwrap();
    let taken: Vec<u64> = spool.records("a", 9).unwrap().iter().map(|record| record.taken_ms).collect();
    assert_eq!(taken, [6, 5]);
}

#[test]
fn a_purge_is_a_drop_with_its_reason() {
    let folder = tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    for _ in 0..10 {
        spool.append("a", 0, vec![0; 10]).unwrap();
    }
    assert_eq!(spool.purge("a").unwrap(), 10);
    let stats = spool.stats();
    assert_eq!(stats.dropped_for(DropReason::Purged), spool::Amount { records: 10, bytes: 100 });
    assert!(stats.balances());
    assert_eq!(DropReason::ALL.map(DropReason::word).len(), stats.dropped.len());
}

#[test]
fn verify_counts_what_is_there_and_changes_nothing() {
    let folder = tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    for number in 0..200 {
        spool.append(["a", "b"][number as usize % 2], 0, body("a", number, 1000)).unwrap();
    }
    let tenth = spool.records("a", 10).unwrap()[9].sequence;
    spool.acknowledge("a", tenth).unwrap();
    spool.close(SOON).unwrap();
    let before: Vec<_> = listing(folder.path());
    let found = verify(folder.path(), &Disk).unwrap();
    assert!(!found.damage.any(), "{found:?}");
    assert_eq!((found.waiting.records, found.torn_bytes), (190, 0));
    assert_eq!(found.lanes[&Some("a".to_owned())], 90);
    assert_eq!(found.lanes[&Some("b".to_owned())], 100);
    assert_eq!(listing(folder.path()), before);
}

fn listing(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_writer_that_is_behind_says_so() {
    let folder = tempdir().unwrap();
    let options = Options { gather: Duration::from_secs(3600), max_pending_bytes: 1000, ..small() };
    let (spool, _) = Spool::open(folder.path(), options).unwrap();
    let (send, receive) = mpsc::channel();
    for _ in 0..3 {
        let send = send.clone();
        spool.append_then("a", 0, vec![0; 400], move |result| send.send(result.is_ok()).unwrap());
    }
    assert_eq!(receive.recv(), Ok(false));
    spool.flush(SOON).unwrap();
    assert_eq!(receive.try_iter().collect::<Vec<_>>(), [true, true]);
    spool.close(SOON).unwrap();
}

#[test]
fn every_append_is_answered_even_where_the_directory_has_gone() {
    let folder = tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), small()).unwrap();
    spool.append("a", 0, vec![0; 100]).unwrap();
    std::fs::remove_dir_all(folder.path()).unwrap();
    let (send, receive) = mpsc::channel();
    for _ in 0..200 {
        let send = send.clone();
        spool.append_then("a", 0, vec![0; 3000], move |result| send.send(result.is_ok()).unwrap());
    }
    drop(send);
    let answers: Vec<bool> = receive.iter().collect();
    assert_eq!(answers.len(), 200);
    assert!(answers.contains(&false));
    spool.acknowledge("a", u64::MAX).unwrap();
    assert!(spool.stats().balances());
}
