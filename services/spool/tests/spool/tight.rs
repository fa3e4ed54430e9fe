//! A disk that is full to the block: what one removed segment gives back is not always what a new one needs, since
//! sealed segments are cut to their records and file systems want blocks of their own for each file; and what was
//! removed comes back only once the file system has committed that.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use spool::{Disk, DropReason, Files, Handle, Options, Spool, WhenFull};

use crate::support::{body, folder, small};

const BLOCK: u64 = 4096;

/// Counts blocks as a file system would: whole ones, one more for each file, and those of removed files until the
/// next sync of a folder.
#[derive(Debug)]
struct Blocks {
    total: u64,
    used: Mutex<HashMap<PathBuf, u64>>,
    removed: AtomicU64,
}

impl Blocks {
    fn set(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut used = self.used.lock().unwrap();
        let wanted = bytes.div_ceil(BLOCK) + 1;
        let others: u64 = used.iter().filter(|(other, _)| *other != path).map(|(_, blocks)| blocks).sum();
        if others + wanted + self.removed.load(Ordering::SeqCst) > self.total
            && wanted > used.get(path).copied().unwrap_or(0)
        {
            return Err(io::Error::from_raw_os_error(28));
        }
        used.insert(path.to_owned(), wanted);
        Ok(())
    }

    fn grow(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let now = self.used.lock().unwrap().get(path).copied().unwrap_or(0);
        if bytes.div_ceil(BLOCK) + 1 > now { self.set(path, bytes) } else { Ok(()) }
    }
}

#[derive(Clone, Debug)]
struct Tight(Arc<Blocks>);

#[derive(Debug)]
struct TightFile(Arc<dyn Handle>, PathBuf, Arc<Blocks>);

impl Files for Tight {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        Disk.make_folder(folder)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        Disk.list(folder)
    }
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Handle>> {
        Ok(Arc::new(TightFile(Disk.open(path, write)?, path.to_owned(), Arc::clone(&self.0))))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Handle>> {
        self.0.set(path, 0)?;
        Ok(Arc::new(TightFile(Disk.create(path)?, path.to_owned(), Arc::clone(&self.0))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)?;
        let mut used = self.0.used.lock().unwrap();
        if let Some(blocks) = used.remove(from) {
            used.insert(to.to_owned(), blocks);
        }
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)?;
        let blocks = self.0.used.lock().unwrap().remove(path).unwrap_or(0);
        self.0.removed.fetch_add(blocks, Ordering::SeqCst);
        Ok(())
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.removed.store(0, Ordering::SeqCst);
        Disk.sync_folder(folder)
    }
}

impl Handle for TightFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(out, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.2.grow(&self.1, offset + bytes.len() as u64)?;
        self.0.write_at(bytes, offset)
    }
    fn reserve(&self, length: u64) -> io::Result<()> {
        self.2.grow(&self.1, length)?;
        self.0.reserve(length)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.2.set(&self.1, length)?;
        self.0.set_len(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn appends_never_stop_on_a_full_disk_of_any_size() {
    // From a disk that ends with a whole segment to one that ends with the next, block by block.
    for total in 70..=90 {
        // Bodies that leave between nothing and a half of a segment unused.
        for length in [3_000, 9_000, 11_000, 16_000] {
            let place = folder();
            let blocks = Blocks { total, used: Mutex::default(), removed: AtomicU64::new(0) };
            let options = Options {
                max_bytes: 1 << 40,
                when_full: WhenFull::DropOldest,
                files: Arc::new(Tight(Arc::new(blocks))),
                ..small()
            };
            let (spool, _) = Spool::open(place.path(), options).unwrap();
            spool.append("small", 0, body("small", 0, 500)).unwrap();
            for number in 0..200 {
                let kept = spool.append("big", 0, body("big", number, length));
                let kept =
                    kept.map_err(|error| format!("{error:?}, {total} blocks, {length} bytes, {number}"));
                kept.unwrap();
            }
            let stats = spool.stats();
            assert!(stats.balances() && stats.dropped_for(DropReason::NoSpace).records > 0, "{stats:?}");
            assert_eq!(spool.lane("small").unwrap().waiting.records, 1);
        }
    }
}
