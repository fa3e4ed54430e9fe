//! Every single call to the file system fails once, or fails from then on: EIO, ENOSPC, a short write, half a
//! write and then EIO. Whatever was confirmed is there when the disk is well again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spool::{Disk, Error, Files, Handle, Options, Spool, WhenFull};

use crate::support::{SOON, body, folder, read_body, small};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Io,
    NoSpace,
    /// A write writes half and says so.
    Short,
    /// A write writes half and fails.
    Torn,
}

/// Which calls fail, and how.
#[derive(Debug)]
struct Plan {
    fault: Fault,
    calls: AtomicU64,
    first: u64,
    last: AtomicU64,
}

impl Plan {
    fn due(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        call >= self.first && call < self.last.load(Ordering::SeqCst)
    }

    fn call(&self) -> io::Result<()> {
        match (self.due(), self.fault) {
            (false, _) | (true, Fault::Short) => Ok(()),
            (true, Fault::NoSpace) => Err(io::Error::from_raw_os_error(28)),
            (true, Fault::Io | Fault::Torn) => Err(io::Error::from_raw_os_error(5)),
        }
    }
}

#[derive(Clone, Debug)]
struct Faulty(Arc<Plan>);

#[derive(Debug)]
struct FaultyFile(Arc<dyn Handle>, Arc<Plan>);

impl Faulty {
    fn wrap(&self, file: io::Result<Arc<dyn Handle>>) -> io::Result<Arc<dyn Handle>> {
        Ok(Arc::new(FaultyFile(file?, Arc::clone(&self.0))))
    }
}

impl Files for Faulty {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.call().and_then(|()| Disk.make_folder(folder))
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.0.call().and_then(|()| Disk.list(folder))
    }
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Handle>> {
        self.0.call()?;
        self.wrap(Disk.open(path, write))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Handle>> {
        self.0.call()?;
        self.wrap(Disk.create(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.call().and_then(|()| Disk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.call().and_then(|()| Disk.remove(path))
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.call().and_then(|()| Disk.sync_folder(folder))
    }
}

impl Handle for FaultyFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.call().and_then(|()| self.0.read_at(out, offset))
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if !self.1.due() {
            return self.0.write_at(bytes, offset);
        }
        let half = &bytes[..bytes.len().div_ceil(2)];
        match self.1.fault {
            Fault::Io => Err(io::Error::from_raw_os_error(5)),
            Fault::NoSpace => Err(io::Error::from_raw_os_error(28)),
            Fault::Short => self.0.write_at(half, offset),
            Fault::Torn => self.0.write_at(half, offset).and(Err(io::Error::from_raw_os_error(5))),
        }
    }
    fn reserve(&self, length: u64) -> io::Result<()> {
        self.1.call().and_then(|()| self.0.reserve(length))
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.1.call().and_then(|()| self.0.set_len(length))
    }
    fn len(&self) -> io::Result<u64> {
        self.1.call().and_then(|()| self.0.len())
    }
    fn sync(&self) -> io::Result<()> {
        self.1.call().and_then(|()| self.0.sync())
    }
}

#[derive(Debug, Default)]
struct Seen {
    kept: BTreeSet<(String, u64)>,
    failed: BTreeSet<(String, u64)>,
    gone: BTreeSet<(String, u64)>,
}

fn options(files: Arc<dyn Files>) -> Options {
    Options {
        segment_bytes: 16 << 10,
        max_lanes: 100,
        when_full: WhenFull::Refuse,
        unreadable_after: Duration::from_secs(3600),
        files,
        ..small()
    }
}

/// Appends, acknowledgements, rolls, seals, a lane that is stuck, and opening again in the middle.
fn work(folder: &Path, plan: &Arc<Plan>, seen: &mut Seen) {
    let mut number = 0;
    for _ in 0..2 {
        let Ok((spool, _)) = Spool::open(folder, options(Arc::new(Faulty(Arc::clone(plan))))) else { return };
        for step in 0..25 {
            let lane = format!("lane-{}", step % 3);
            match spool.append(&lane, 7, body(&lane, number, 2500)) {
                Ok(_) => seen.kept.insert((lane, number)),
                Err(Error::Closed) => panic!("the writer has died"),
                Err(_) => seen.failed.insert((lane, number)),
            };
            number += 1;
            if step % 4 == 3 {
                for lane in ["lane-0", "lane-1"] {
                    let Ok(Some(record)) = spool.oldest(lane) else { continue };
                    let told = read_body(&record.body).unwrap();
                    if spool.acknowledge(lane, record.sequence).is_ok_and(|count| count == 1) {
                        seen.gone.insert(told);
                    }
                }
            }
        }
        let _ = spool.flush(SOON);
        let _ = spool.tend(SOON);
        let stats = spool.stats();
        assert!(stats.balances(), "{stats:?}");
        let _ = spool.close(SOON);
    }
}

fn judge(folder: &Path, seen: &Seen, exact: bool) {
    let (spool, report) = Spool::open(folder, options(Arc::new(Disk))).unwrap();
    let mut there: BTreeSet<(String, u64)> = BTreeSet::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(lane) = spool.next_lane(|_| true) {
        let record = spool.oldest(&lane).unwrap().unwrap();
        let told = read_body(&record.body).unwrap();
        assert_eq!((&*told.0, record.taken_ms), (&*lane, 7));
        assert!(last.insert(told.0.clone(), told.1).is_none_or(|before| before < told.1), "out of order");
        assert!(seen.kept.contains(&told) || seen.failed.contains(&told), "unknown: {told:?}");
        assert!(there.insert(told));
        spool.acknowledge(&lane, record.sequence).unwrap();
    }
    let wanted: BTreeSet<_> = seen.kept.difference(&seen.gone).cloned().collect();
    let lost: Vec<_> = wanted.difference(&there).collect();
    assert!(lost.is_empty(), "lost {lost:?}; {report:?}");
    if exact {
        assert_eq!(there, wanted);
    }
    // And it goes on.
    spool.append("lane-9", 7, b"fresh".to_vec()).unwrap();
    assert_eq!(spool.oldest("lane-9").unwrap().unwrap().body, b"fresh");
    spool.close(SOON).unwrap();
}

fn plan(fault: Fault, first: u64, last: u64) -> Arc<Plan> {
    Arc::new(Plan { fault, calls: AtomicU64::new(0), first, last: AtomicU64::new(last) })
}

fn every_call(fault: Fault) {
    let place = folder();
    let none = plan(fault, u64::MAX, u64::MAX);
    let mut seen = Seen::default();
    work(place.path(), &none, &mut seen);
    judge(place.path(), &seen, true);
    let calls = none.calls.load(Ordering::SeqCst);
    println!("{fault:?}: {calls} calls");
    for first in 0..calls {
        for last in [first + 1, u64::MAX] {
            let place = folder();
            let mut seen = Seen::default();
            work(place.path(), &plan(fault, first, last), &mut seen);
            let told = format!("{fault:?} at call {first} up to {last}");
            let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                judge(place.path(), &seen, fault == Fault::Short);
            }));
            assert!(
                judged.is_ok(),
                "{told}: {:?}",
                std::fs::read_dir(place.path()).unwrap().collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn an_input_output_error_at_every_call() {
    every_call(Fault::Io);
}

#[test]
fn no_space_at_every_call() {
    every_call(Fault::NoSpace);
}

#[test]
fn a_short_write_at_every_call() {
    every_call(Fault::Short);
}

#[test]
fn half_a_write_and_an_error_at_every_call() {
    every_call(Fault::Torn);
}
