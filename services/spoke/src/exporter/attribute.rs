//! Files of sysfs that are read again and again: of each interface, cpu or sensor one value a file.
//!
//! As in [`crate::files`], descriptors are kept on the kernel's own sysfs, but not without end: a host may have
//! thousands of such files. Beyond the limit a file is opened each time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::collect::text;

/// Descriptors that are kept at most: well below the usual limit of 1024, of which connections take their part.
const MOST_KEPT: usize = 256;

/// The longest that sysfs gives for a value: a page. It comes with one read.
const PAGE: usize = 4096;

/// How long what is found in folders that seldom change is taken for true.
const SLOWLY: Duration = Duration::from_secs(60);

/// Hands out the places for descriptors that may be kept.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    kept: Arc<AtomicUsize>,
    /// Whether the files are the kernel's: only there a descriptor goes on to tell of now.
    pub(super) kernels: bool,
}

impl Keeper {
    pub(super) fn new(kernels: bool) -> Self {
        Self { kept: Arc::default(), kernels }
    }

    fn place(&self) -> Option<Place> {
        let free = self.kernels && self.kept.load(Ordering::Relaxed) < MOST_KEPT;
        free.then(|| {
            self.kept.fetch_add(1, Ordering::Relaxed);
            Place(Arc::clone(&self.kept))
        })
    }
}

/// The right to keep one descriptor.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct Attribute {
    path: PathBuf,
    kept: Option<(File, Place)>,
}

impl Attribute {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, kept: None }
    }

    /// What it says now, without blanks around; none where it cannot be read, as many cannot in many a state of
    /// their device.
    pub(super) fn read(&mut self, keeper: &Keeper) -> Option<Vec<u8>> {
        let mut buffer = [0; PAGE];
        if let Some((file, _)) = &self.kept {
            match file.read_at(&mut buffer, 0) {
                Ok(len) => return Some(buffer.get(..len)?.trim_ascii().to_vec()),
                // Its device is gone; another may have taken its place.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => self.kept = None,
                Err(_) => return None,
            }
        }
        let file = File::open(&self.path).ok()?;
        let read = file.read_at(&mut buffer, 0);
        self.kept = keeper.place().map(|place| (file, place));
        Some(buffer.get(..read.ok()?)?.trim_ascii().to_vec())
    }

    /// As [`Attribute::read`], as a text that can be a label.
    pub(super) fn text(&mut self, keeper: &Keeper) -> Option<String> {
        Some(text::printable(&self.read(keeper)?))
    }

    /// A whole number, decimal or `0x` and hexadecimal.
    pub(super) fn number(&mut self, keeper: &Keeper) -> Option<i64> {
        number(&self.read(keeper)?)
    }
}

/// A whole number, decimal or `0x` and hexadecimal.
pub(super) fn number(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// An entry of a folder. Number and name together change where another device comes under an old name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    inode: u64,
}

/// The entries of a folder that are folders or links to such, in the order of their names.
pub(super) fn entries(folder: &Path) -> std::io::Result<Vec<Entry>> {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::DirEntryExt;

    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // bonding_masters stands among the interfaces and is a file.
        if entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_symlink()) {
            found.push(Entry { inode: entry.ino(), name: entry.file_name().into_vec() });
        }
    }
    found.sort();
    Ok(found)
}

/// The numbers of a folder's entries that are `prefix` and a number, in their order.
pub(super) fn numbered(entries: &[Entry], prefix: &[u8]) -> Vec<u64> {
    let number = |entry: &Entry| text::number(entry.name.strip_prefix(prefix)?);
    let mut numbers: Vec<_> = entries.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// What is found in folders that seldom change: looked for once a minute, and each time where somebody made the
/// host up.
#[derive(Debug)]
pub(super) struct Slowly<T> {
    found: Option<(Instant, T)>,
}

impl<T> Default for Slowly<T> {
    fn default() -> Self {
        Self { found: None }
    }
}

impl<T> Slowly<T> {
    pub(super) fn get<E>(&mut self, kernels: bool, find: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
        let fresh = |(when, _): &(Instant, T)| kernels && when.elapsed() < SLOWLY;
        let found = match self.found.take().filter(fresh) {
            Some(found) => found,
            None => (Instant::now(), find()?),
        };
        Ok(&mut self.found.insert(found).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        for (text, value) in
            [("12", Some(12)), ("-1", Some(-1)), ("0x1003", Some(4099)), ("", None), ("0x", None)]
        {
            assert_eq!(number(text.as_bytes()), value, "{text:?}");
        }
        assert_eq!(number(b"\xff"), None);
    }

    #[test]
    fn no_more_descriptors_are_kept_than_allowed_and_dropping_gives_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        std::fs::write(&path, "7\n").unwrap();
        let keeper = Keeper::new(true);
        let mut all: Vec<_> = (0..MOST_KEPT + 50).map(|_| Attribute::new(path.clone())).collect();
        for _ in 0..2 {
            assert!(all.iter_mut().all(|attribute| attribute.number(&keeper) == Some(7)));
            assert_eq!(all.iter().filter(|attribute| attribute.kept.is_some()).count(), MOST_KEPT);
        }
        all.truncate(MOST_KEPT / 2);
        assert_eq!(keeper.kept.load(Ordering::Relaxed), MOST_KEPT / 2);
    }

    #[test]
    fn a_made_up_file_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("value"), folder.path().join("beside"));
        let (keeper, mut attribute) = (Keeper::new(false), Attribute::new(path.clone()));
        assert_eq!(attribute.read(&keeper), None);
        for value in ["one", "two"] {
            std::fs::write(&beside, value).unwrap();
            std::fs::rename(&beside, &path).unwrap();
            assert_eq!(attribute.text(&keeper).as_deref(), Some(value));
        }
    }

    #[test]
    fn what_seldom_changes_is_looked_for_once_where_it_is_the_kernels() {
        let mut slowly = Slowly::default();
        let mut get = |kernels, value| slowly.get(kernels, || Ok::<_, ()>(value)).copied();
        assert_eq!((get(true, 1), get(true, 2), get(false, 3)), (Ok(1), Ok(1), Ok(3)));
    }
}
