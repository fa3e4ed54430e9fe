//! A folder in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use spool::{Files, Handle};

/// One folder, whatever the paths before the names are. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<BTreeMap<String, Open>>>);

#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<Vec<u8>>>);

impl Memory {
    pub(super) fn of(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let open =
            |(name, bytes): (&String, &Vec<u8>)| (name.clone(), Open(Arc::new(Mutex::new(bytes.clone()))));
        Self(Arc::new(Mutex::new(files.iter().map(open).collect())))
    }
}

fn name(path: &Path) -> io::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Files for Memory {
    fn make_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn Handle>> {
        let files = self.0.lock().unwrap();
        let found = files.get(&name(path)?).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(found.clone()))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn Handle>> {
        let made = Open::default();
        self.0.lock().unwrap().insert(name(path)?, made.clone());
        Ok(Arc::new(made))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let moved = files.remove(&name(from)?).ok_or(io::ErrorKind::NotFound)?;
        files.insert(name(to)?, moved);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let gone = self.0.lock().unwrap().remove(&name(path)?);
        gone.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Handle for Open {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.lock().unwrap();
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let read = rest.len().min(out.len());
        out[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, written: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = self.0.lock().unwrap();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at + written.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at..end].copy_from_slice(written);
        Ok(written.len())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let length = length.max(bytes.len());
        bytes.resize(length, 0);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
