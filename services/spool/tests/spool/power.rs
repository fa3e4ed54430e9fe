//! Power cuts: the disk as it is at one moment. The spool runs on an ext4 whose image is a file on a btrfs; a
//! reflink of that file is taken while it appends, which is one point in time, since cloning locks the file
//! against writing. The clone is opened as after a power cut: what was confirmed before cloning began is there.
//!
//! The second test takes the syncs out and shows that the first would see it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use spool::{Disk, Files, Handle, Options, Spool};
use testkit::{Mount, clone_at_once};

use crate::support::{Chance, SOON, body, long, read_body, small};

/// A disk whose syncs do nothing.
#[derive(Debug)]
struct Unsynced;

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn Handle>);

impl Files for Unsynced {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        Disk.make_folder(folder)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        Disk.list(folder)
    }
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Handle>> {
        Ok(Arc::new(UnsyncedFile(Disk.open(path, write)?)))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Handle>> {
        Ok(Arc::new(UnsyncedFile(Disk.create(path)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Handle for UnsyncedFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(out, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }
    fn reserve(&self, length: u64) -> io::Result<()> {
        self.0.reserve(length)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts the power so many times. Confirmed records that were not there afterwards, and how many were.
fn cut(cuts: u64, seed: u64, files: &Arc<dyn Files>) -> (u64, u64) {
    let outer = Mount::image("btrfs", 1 << 30);
    let image = outer.path().join("image");
    let inner = Mount::image_at("ext4", 96 << 20, &image);
    let options = || Options { segment_bytes: 256 << 10, files: Arc::clone(files), ..small() };
    let (spool, _) = Spool::open(&inner.path().join("spool"), options()).unwrap();
    let (confirmed, gone) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let stop = AtomicBool::new(false);
    let (mut lost, mut found) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let lane = format!("lane-{}", number % 7);
                spool.append(&lane, number, body(&lane, number, 1500)).unwrap();
                confirmed.lock().unwrap().insert(number);
                if spool.stats().waiting.records > 500 {
                    let lane = spool.next_lane(|_| true).unwrap();
                    let record = spool.oldest(&lane).unwrap().unwrap();
                    // Noted before: from here on it may be gone.
                    gone.lock().unwrap().insert(read_body(&record.body).unwrap().1);
                    spool.acknowledge(&lane, record.sequence).unwrap();
                }
            }
        });
        let mut chance = Chance(seed);
        let mut wait = 0;
        for number in 0..cuts {
            // A random number of records later.
            wait += 1 + chance.below(300) as usize;
            while confirmed.lock().unwrap().len() < wait {
                std::thread::yield_now();
            }
            let before: BTreeSet<u64> = confirmed.lock().unwrap().clone();
            let clone = outer.path().join(format!("cut-{number}"));
            clone_at_once(&image, &clone);
            let maybe_gone: BTreeSet<u64> = gone.lock().unwrap().clone();
            let after = Mount::open(&clone);
            let (spool, report) =
                Spool::open(&after.path().join("spool"), Options { files: Arc::new(Disk), ..options() })
                    .unwrap();
            let mut there = BTreeSet::new();
            while let Some(lane) = spool.next_lane(|_| true) {
                let Some(record) = spool.oldest(&lane).unwrap() else { continue };
                there.insert(read_body(&record.body).expect("a bad body").1);
                spool.acknowledge(&lane, record.sequence).unwrap();
            }
            let missing = before.iter().filter(|n| !there.contains(n) && !maybe_gone.contains(n)).count();
            lost += missing as u64;
            found += there.len() as u64;
            if missing > 0 {
                println!(
                    "seed {seed}, cut {number}: {missing} of {} confirmed are missing; {report:?}",
                    before.len()
                );
            }
            drop(spool);
            drop(after);
            std::fs::remove_file(clone).unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    });
    spool.close(SOON).unwrap();
    drop(spool);
    drop(inner);
    (lost, found)
}

#[test]
fn a_power_cut_loses_nothing_that_was_confirmed() {
    let seed = std::process::id().into();
    let cuts = if long() { 300 } else { 6 };
    let (lost, found) = cut(cuts, seed, &(Arc::new(Disk) as Arc<dyn Files>));
    println!("seed {seed}: {cuts} cuts, {found} records found");
    assert!(found > 0);
    assert_eq!(lost, 0, "seed {seed}");
}

#[test]
fn without_the_syncs_a_power_cut_is_seen_to_lose_records() {
    let (lost, _) = cut(2, 1, &(Arc::new(Unsynced) as Arc<dyn Files>));
    assert!(lost > 0, "the test of power cuts sees nothing");
}
