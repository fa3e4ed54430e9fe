//! Every call to the file system that the spool makes, behind two traits, so that tests can let any single
//! one of them fail.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, FlockOperation, fadvise, flock};
use rustix::io::Errno;

/// What is done with names in a folder.
///
/// # Errors
/// Each method answers what the file system says.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Files: Send + Sync + Debug {
    /// Makes a folder and those above it.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// The names in a folder that are UTF-8; others are not the spool's.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Opens a file that is there, for reading and, if asked, writing.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Handle>>;
    /// Makes a file, empty; one that is there is emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Handle>>;
    /// Gives a file another name; a file that had it is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names in a folder outlive a power cut.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// What is done with an open file.
#[allow(clippy::missing_errors_doc, clippy::len_without_is_empty, reason = "as above; a file's length")]
pub trait Handle: Send + Sync + Debug {
    /// Reads up to `out.len()` bytes; 0 at the end of the file.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes up to `bytes.len()` bytes and says how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes the file `length` bytes long and reserves their blocks where the file system can.
    fn reserve(&self, length: u64) -> io::Result<()>;
    /// Cuts or lengthens the file.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// `fdatasync`.
    fn sync(&self) -> io::Result<()>;
    /// Says what will be read soon, for the disk to fetch it meanwhile: no more than a hint.
    fn will_need(&self, _offset: u64, _length: u64) {}
}

/// The file system itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Handle>> {
        Ok(Arc::new(DiskFile(OpenOptions::new().read(true).write(write).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn Handle>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o640);
        Ok(Arc::new(DiskFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[derive(Debug)]
struct DiskFile(File);

impl Handle for DiskFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            // This file system cannot reserve: a write may meet ENOSPC later, and is prepared for it.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.0.set_len(length),
            other => Ok(other?),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn will_need(&self, offset: u64, length: u64) {
        // Without it reading is slower, and that is all.
        let _ = fadvise(&self.0, offset, NonZeroU64::new(length), Advice::WillNeed);
    }
}

/// Fills `out` from `offset` on.
///
/// # Errors
/// `UnexpectedEof` where the file ends before that; else what the file system says.
pub(crate) fn read_exact_at(file: &dyn Handle, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match file.read_at(out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                out = out.get_mut(read..).ok_or_else(|| io::Error::other("more read than asked for"))?;
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`, however short the single writes are.
///
/// # Errors
/// What the file system says; some of the bytes may have been written then.
pub(crate) fn write_all_at(file: &dyn Handle, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes =
                    bytes.get(written..).ok_or_else(|| io::Error::other("more written than asked for"))?;
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The lock of a folder, held on the folder itself, so that it takes no room on a full disk and leaves nothing
/// behind.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// `WouldBlock` where another has it; else what the file system says.
    pub(crate) fn take(folder: &Path) -> io::Result<Lock> {
        let file = File::open(folder)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Lock(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that was just forked, and has not yet become its program, holds it too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
