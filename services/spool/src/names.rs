//! The lanes' names, in a file of their own: appended to and synced before a lane's first record is written.
//!
//! In the segments lanes are numbers, since names in every snapshot would break the write amplification. A
//! number is never given to another name while any record of it is on disk. After any error the file is
//! written anew as a whole, beside the old one, and renamed over it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{Files, Handle, read_exact_at, write_all_at};
use crate::format::{VERSION, u32_at};

/// The name of the file.
pub(crate) const LANES: &str = "lanes";
/// What is written anew, before it is renamed.
pub(crate) const TEMPORARY: &str = "lanes.tmp";

const MAGIC: [u8; 8] = *b"\xC5lanes\r\n";
const ENTRY_MAGIC: [u8; 4] = *b"\xC5Nam";
const HEAD: usize = 16;
const ENTRY_HEAD: usize = 16;

/// The file, as it is written to.
#[derive(Debug)]
pub(crate) struct Names {
    folder: PathBuf,
    files: Arc<dyn Files>,
    file: Option<Arc<dyn Handle>>,
    end: u64,
    /// The name under which the damaged file is set aside when it is written anew.
    aside: Option<String>,
}

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) lanes: Vec<(u32, String)>,
    pub(crate) damaged: bool,
    pub(crate) missing: bool,
    end: u64,
}

fn head() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn encode(out: &mut Vec<u8>, id: u32, name: &str) {
    let mut checked = id.to_le_bytes().to_vec();
    checked.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    checked.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&ENTRY_MAGIC);
    out.extend_from_slice(&crc32fast::hash(&checked).to_le_bytes());
    out.extend_from_slice(&checked);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// An entry at the beginning of `bytes`, and its length.
fn decode(bytes: &[u8]) -> Option<(u32, String, usize)> {
    if !bytes.starts_with(&ENTRY_MAGIC) {
        return None;
    }
    let end = ENTRY_HEAD.checked_add(usize::try_from(u32_at(bytes, 12)?).ok()?)?;
    let checked = bytes.get(8..end)?;
    if u32_at(bytes, 4)? != crc32fast::hash(checked) {
        return None;
    }
    let name = std::str::from_utf8(checked.get(8..)?).ok()?;
    Some((u32_at(bytes, 8)?, name.to_owned(), end.next_multiple_of(8)))
}

fn parse(bytes: &[u8]) -> Known {
    let mut known = Known { damaged: !bytes.starts_with(&head()), ..Known::default() };
    let mut at = HEAD;
    let mut good = HEAD;
    while at < bytes.len() {
        if let Some((id, name, length)) = decode(bytes.get(at..).unwrap_or_default()) {
            // Something unreadable before something readable is damage; at the end it is a write cut short.
            known.damaged |= at > good;
            known.lanes.push((id, name));
            at += length;
            good = at;
        } else {
            at += 8;
        }
    }
    known.end = good as u64;
    known
}

/// Reads the file; a file that cannot be read is a damaged one.
pub(crate) fn read(files: &dyn Files, folder: &Path) -> Known {
    let path = folder.join(LANES);
    let bytes = files.open(&path, false).and_then(|file| {
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    });
    match bytes {
        Ok(bytes) => parse(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Known { missing: true, ..Known::default() },
        Err(_) => Known { damaged: true, ..Known::default() },
    }
}

impl Names {
    /// The file behind what was read. A damaged or missing one is written anew at the first new lane.
    pub(crate) fn new(files: Arc<dyn Files>, folder: &Path, known: &Known, aside: String) -> Names {
        let whole = !known.damaged && !known.missing;
        let file = if whole { files.open(&folder.join(LANES), true).ok() } else { None };
        let aside = known.damaged.then_some(aside);
        Names { folder: folder.to_owned(), files, file, end: known.end, aside }
    }

    /// Whether the file must be written anew before it is whole.
    pub(crate) fn incomplete(&self) -> bool {
        self.file.is_none()
    }

    /// Adds lanes and syncs; `all` are all lanes, the new ones included. The bytes written.
    ///
    /// # Errors
    /// What the file system says; the new lanes may not be used then.
    pub(crate) fn add(&mut self, new: &[(u32, Arc<str>)], all: &[(u32, Arc<str>)]) -> io::Result<u64> {
        let Some(file) = self.file.clone() else { return self.write_anew(all) };
        let mut bytes = Vec::new();
        for (id, name) in new {
            encode(&mut bytes, *id, name);
        }
        if let Err(error) = write_all_at(&*file, &bytes, self.end).and_then(|()| file.sync()) {
            // Cut back, as far as that works, and never append to it again.
            let _ = file.set_len(self.end);
            self.file = None;
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(bytes.len() as u64)
    }

    /// Writes all lanes into a new file and renames it over the old one.
    ///
    /// # Errors
    /// What the file system says; the old file stands then, or is set aside.
    pub(crate) fn write_anew(&mut self, all: &[(u32, Arc<str>)]) -> io::Result<u64> {
        self.file = None;
        let temporary = self.folder.join(TEMPORARY);
        let path = self.folder.join(LANES);
        let mut bytes = head();
        for (id, name) in all {
            encode(&mut bytes, *id, name);
        }
        let file = self.files.create(&temporary)?;
        let written = write_all_at(&*file, &bytes, 0).and_then(|()| file.sync());
        if let Err(error) = written {
            let _ = self.files.remove(&temporary);
            return Err(error);
        }
        if let Some(aside) = self.aside.take()
            && let Err(error) = self.files.rename(&path, &self.folder.join(&aside))
            && error.kind() != io::ErrorKind::NotFound
        {
            self.aside = Some(aside);
            return Err(error);
        }
        self.files.rename(&temporary, &path)?;
        self.files.sync_folder(&self.folder)?;
        self.end = bytes.len() as u64;
        self.file = Some(file);
        Ok(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut bytes = head();
        for (id, name) in [(1, "web-1"), (2, "a lane with an odd name \u{1F980}"), (9, "x")] {
            encode(&mut bytes, id, name);
        }
        bytes
    }

    #[test]
    fn names_are_read_back() {
        let known = parse(&file());
        assert!(!known.damaged);
        assert_eq!(known.lanes[0], (1, "web-1".to_owned()));
        assert_eq!(known.lanes.len(), 3);
        assert_eq!(known.end, file().len() as u64);
    }

    #[test]
    fn an_entry_cut_short_is_no_damage_and_one_in_the_middle_is() {
        let whole = file();
        for cut in 16..whole.len() {
            assert!(!parse(&whole[..cut]).damaged, "cut at {cut}");
        }
        let mut flipped = whole;
        flipped[20] ^= 1;
        let known = parse(&flipped);
        assert!(known.damaged);
        assert_eq!(known.lanes.len(), 2);
    }
}
