//! Bodies that are not taken, set aside for a person to look at, each in a file whose name tells when and why:
//! the newest, as many as `quarantine_max_bytes` hold.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    max_bytes: Arc<AtomicU64>,
    held: Arc<Mutex<Held>>,
}

/// What the folder holds, read once when it is opened: listing it for each body would take the longer, the more
/// bodies are bad. A file that a person removes counts until its turn comes.
#[derive(Debug, Default)]
struct Held {
    /// Names and bytes, oldest first.
    files: VecDeque<(Box<str>, u64)>,
    bytes: u64,
    /// Milliseconds in the newest name.
    last: u64,
}

impl Quarantine {
    /// Opens the folder, makes it where there is none.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(folder: PathBuf, max_bytes: u64) -> io::Result<Self> {
        file::make_folder(&folder)?;
        let mut held = Held::default();
        for name in names(&folder)? {
            let bytes = std::fs::metadata(folder.join(&name))?.len();
            held.last = name.get(..20).and_then(|at| at.parse().ok()).unwrap_or(held.last);
            held.add(name.into(), bytes);
        }
        let max_bytes = Arc::new(AtomicU64::new(max_bytes));
        Ok(Self { folder, max_bytes, held: Arc::new(Mutex::new(held)) })
    }

    /// Holds so much from now on. What is too much goes with the next body.
    pub(crate) fn set_max_bytes(&self, max_bytes: u64) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
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
        let mut held = self.held();
        // Milliseconds of the clock, and always later than the one before, so that names sort by age.
        held.last = Clock::system().now_ms().max(held.last.saturating_add(1));
        let name = format!("{:020}{ending}", held.last);
        file::write_atomic(&self.folder.join(&name), body)?;
        held.add(name.into(), body.len() as u64);
        while alone
            && let Some(at) = held.files.iter().position(|(other, _)| other.ends_with(ending))
            && at + 1 < held.files.len()
        {
            self.forget(&mut held, at)?;
        }
        while held.files.len() > MOST_FILES || held.bytes > self.max_bytes.load(Ordering::Relaxed) {
            self.forget(&mut held, 0)?;
        }
        Ok(())
    }

    /// Removes a file; one that a person has removed is gone all the same.
    fn forget(&self, held: &mut Held, at: usize) -> io::Result<()> {
        let Some((name, _)) = held.files.get(at) else { return Ok(()) };
        match std::fs::remove_file(self.folder.join(&**name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => held.remove(at),
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn add(&mut self, name: Box<str>, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files.push_back((name, bytes));
    }

    fn remove(&mut self, at: usize) {
        let bytes = self.files.remove(at).map_or(0, |(_, bytes)| bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
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

    /// The entry of that name, where there is one.
    pub(crate) fn entry(&self, name: &str) -> Option<Entry> {
        let held = self.held();
        held.files.iter().find(|(known, _)| **known == *name).map(|(name, bytes)| Entry {
            name: name.to_string(),
            bytes: *bytes,
            sequence: 0,
        })
    }

    /// Names and bytes of what is set aside, newest first, as far as this process knows: nothing is read.
    pub(crate) fn known(&self) -> Vec<(String, u64)> {
        self.held().files.iter().rev().map(|(name, bytes)| (name.to_string(), *bytes)).collect()
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
        let mut held = self.held();
        std::fs::remove_file(self.folder.join(&entry.name))?;
        if let Some(at) = held.files.iter().position(|(name, _)| **name == *entry.name) {
            held.remove(at);
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

    #[tokio::test]
    async fn what_was_taken_out_makes_room_and_what_a_person_removed_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(folder.path().to_owned(), 3).unwrap();
        for body in ["a", "b", "c"] {
            quarantine.put(body.into(), Reason::Nan, None).await.unwrap();
        }
        let bodies = || {
            let entries = quarantine.entries().unwrap();
            entries.iter().map(|entry| quarantine.read(entry).unwrap()).collect::<Vec<_>>().concat()
        };
        quarantine.remove(&quarantine.entries().unwrap()[1]).unwrap();
        quarantine.put("d".into(), Reason::Nan, None).await.unwrap();
        assert_eq!(bodies(), b"acd");
        std::fs::remove_file(folder.path().join(&quarantine.entries().unwrap()[0].name)).unwrap();
        quarantine.put("e".into(), Reason::Nan, None).await.unwrap();
        assert_eq!(bodies(), b"cde");
    }

    #[tokio::test]
    async fn the_folder_is_listed_once_however_many_bodies_are_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..MOST_FILES {
            std::fs::write(folder.path().join(format!("{number:020}-nan.body")), "x").unwrap();
        }
        let quarantine = Quarantine::open(folder.path().to_owned(), 1 << 20).unwrap();
        // What comes to stand there meanwhile is seen only by who lists the folder again.
        let slipped_in = folder.path().join("00000000000000000000-other.body");
        std::fs::write(&slipped_in, "x").unwrap();
        for _ in 0..200 {
            quarantine.put("y".into(), Reason::Nan, None).await.unwrap();
        }
        assert!(slipped_in.exists());
        std::fs::remove_file(slipped_in).unwrap();
        let entries = quarantine.entries().unwrap();
        assert_eq!(entries.len(), MOST_FILES);
        assert!(entries[0].name.starts_with("00000000000000000200-"), "{}", entries[0].name);
    }
}
