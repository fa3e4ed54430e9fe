//! Bodies that are not taken, set aside for a person to look at, each in a file whose name tells when and why:
//! the newest, as many as `quarantine_max_bytes` hold.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agent::clock::Clock;
use agent::file;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::check::Reason;

/// More files than this are kept of nothing, however small they are.
const MOST_FILES: usize = 10_000;

/// Why a body is set aside. The closed list is the log's word, the metric's label and part of a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is no post, or would do harm.
    Body(Reason),
    /// The server refuses it and takes others.
    Refused,
    /// It is too far in the future.
    Future,
    /// Its spoke is taken from another target.
    Identity,
}

impl Why {
    /// Why, as one word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Body(reason) => reason.label(),
            Self::Refused => "refused",
            Self::Future => "future",
            Self::Identity => "identity",
        }
    }

    /// Each reason.
    pub fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.into_iter().map(Self::Body).chain([Self::Refused, Self::Future, Self::Identity])
    }
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        Self::Body(reason)
    }
}

/// The folder of bodies that were set aside. Clones share it.
#[derive(Clone, Debug)]
pub struct Quarantine {
    folder: PathBuf,
    max_bytes: u64,
    last: Arc<Mutex<u64>>,
}

impl Quarantine {
    /// Opens the folder, makes it where there is none.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(folder: PathBuf, max_bytes: u64) -> io::Result<Self> {
        file::make_folder(&folder)?;
        let newest = names(&folder)?.pop();
        let last = newest.and_then(|name| name.get(..20)?.parse().ok()).unwrap_or(0);
        Ok(Self { folder, max_bytes, last: Arc::new(Mutex::new(last)) })
    }

    /// Sets a body aside; it is synced when this returns.
    ///
    /// # Errors
    /// Whatever the file system says.
    ///
    /// `sequence` is the place in its lane of a post that was kept already: it tells later whether the lane has
    /// newer ones.
    pub async fn put(&self, body: Bytes, why: impl Into<Why>, sequence: Option<u64>) -> io::Result<()> {
        let place = sequence.map(|sequence| format!("-{sequence}")).unwrap_or_default();
        let ending = format!("-{}{place}.body", why.into().label());
        self.put_named(body, ending, false).await
    }

    /// As [`Quarantine::put`], in the place of what was put before for the same reason and the same `of`.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub async fn put_newest(&self, body: Bytes, why: impl Into<Why>, of: &str) -> io::Result<()> {
        // Short whatever `of` is, and no number that would be read as a place.
        let digest = Sha256::digest(of);
        let of: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.put_named(body, format!("-{}-of_{of}.body", why.into().label()), true).await
    }

    async fn put_named(&self, body: Bytes, ending: String, alone: bool) -> io::Result<()> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.put_now(&body, &ending, alone))
            .await
            .map_err(io::Error::other)?
    }

    fn put_now(&self, body: &[u8], ending: &str, alone: bool) -> io::Result<()> {
        // Held while writing: bad bodies may wait for each other.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Milliseconds of the clock, and always later than the one before, so that names sort by age.
        *last = Clock::system().now_ms().max(last.saturating_add(1));
        let name = format!("{:020}{ending}", *last);
        file::write_atomic(&self.folder.join(&name), body)?;
        self.make_room(|other| alone && *other != name && other.ends_with(ending))
    }
}

/// A body that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file's name: milliseconds, reason, and the place in its lane where it had one.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// The place that it had in its lane; 0 for a body that was never in one.
    pub sequence: u64,
}

impl Quarantine {
    /// What is set aside, oldest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let entry = |name: String| {
            let bytes = std::fs::metadata(self.folder.join(&name))?.len();
            let place = name.strip_suffix(".body").and_then(|name| name.splitn(3, '-').nth(2));
            let sequence = place.and_then(|place| place.parse().ok()).unwrap_or(0);
            Ok(Entry { name, bytes, sequence })
        };
        names(&self.folder)?.into_iter().map(entry).collect()
    }

    /// The body of an entry.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder.join(&entry.name))
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, entry: &Entry) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(&entry.name))
    }

    /// Removes what `is_over` tells, and the oldest files until the rest is within the bounds.
    fn make_room(&self, is_over: impl Fn(&String) -> bool) -> io::Result<()> {
        let mut kept_bytes = 0_u64;
        for (newer, name) in names(&self.folder)?.iter().rev().enumerate() {
            let path = self.folder.join(name);
            if is_over(name) {
                std::fs::remove_file(path)?;
                continue;
            }
            kept_bytes = kept_bytes.saturating_add(std::fs::metadata(&path)?.len());
            if newer >= MOST_FILES || kept_bytes > self.max_bytes {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Our files, oldest first.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.ends_with(".body") && name.get(..20).is_some_and(|at| at.bytes().all(|b| b.is_ascii_digit()))
        })
        .collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_are_kept_within_the_bound_with_their_reason() {
        let folder = tempfile::tempdir().unwrap();
        for part in [10..60_u32, 60..99] {
            let quarantine = Quarantine::open(folder.path().join("quarantine"), 40).unwrap();
            for number in part {
                quarantine.put(number.to_string().into(), Reason::Nan, None).await.unwrap();
            }
        }
        let names = names(&folder.path().join("quarantine")).unwrap();
        let bodies: Vec<String> = names
            .iter()
            .map(|name| std::fs::read_to_string(folder.path().join("quarantine").join(name)).unwrap())
            .collect();
        assert_eq!(bodies, (79..99).map(|number| number.to_string()).collect::<Vec<_>>());
        assert!(names.iter().all(|name| name.ends_with("-nan.body")), "{names:?}");
    }

    #[tokio::test]
    async fn of_what_is_put_alone_the_newest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..3 {
            // Opened anew each time: a restart changes nothing.
            let quarantine = Quarantine::open(folder.path().to_owned(), 1000).unwrap();
            quarantine.put(format!("door {number}").into(), Reason::Nan, None).await.unwrap();
            for of in ["a", "b"] {
                let body = format!("{of} {number}").into();
                quarantine.put_newest(body, Why::Identity, of).await.unwrap();
            }
        }
        let quarantine = Quarantine::open(folder.path().to_owned(), 1000).unwrap();
        let entries = quarantine.entries().unwrap();
        assert!(entries.iter().all(|entry| entry.sequence == 0));
        let bodies: Vec<_> = entries.iter().map(|entry| quarantine.read(entry).unwrap()).collect();
        assert_eq!(bodies, ["door 0", "door 1", "door 2", "a 2", "b 2"].map(|body| body.as_bytes().to_vec()));
    }

    #[tokio::test]
    async fn an_entry_tells_the_place_that_a_post_had() {
        let folder = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(folder.path().join("quarantine"), 1000).unwrap();
        quarantine.put("door".into(), Reason::AgentId, None).await.unwrap();
        quarantine.put("lane".into(), Why::Refused, Some(42)).await.unwrap();
        let entries = quarantine.entries().unwrap();
        assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [0, 42]);
        assert_eq!(quarantine.read(&entries[1]).unwrap(), b"lane");
        quarantine.remove(&entries[0]).unwrap();
        assert_eq!(quarantine.entries().unwrap(), entries[1..]);
    }
}
