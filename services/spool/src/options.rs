//! How a spool is told to behave, and what it answers when it cannot.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::files::{Disk, Files};
use crate::format::{CURSOR, ENTRY, RECORD_HEAD, SEGMENT_HEAD, TRAILER};

/// The longest name of a lane, in bytes.
pub const MAX_LANE_NAME: usize = 255;

/// The wall clock, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Finds the lane that a body belongs to, where the names of the lanes were damaged.
pub type NameOf = Arc<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// Told of a lane that held nothing and has got a record.
pub type Filled = Arc<dyn Fn(&Arc<str>) + Send + Sync>;

/// What happens to an append for which there is no room, by `max_bytes` or by the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest records of the largest lane are dropped and counted.
    DropOldest,
    /// The append is refused with [`Error::Full`] or [`Error::NoSpace`].
    Refuse,
}

/// How a spool behaves. `Options::default()` is what the hub runs with.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bound of the allocated bytes: segments, spares, and what was set aside.
    pub max_bytes: u64,
    /// Records that were taken longer ago are dropped and counted.
    pub max_age: Duration,
    /// Bound of the lanes. A lane that is empty, and of which no segment holds anything, gives way.
    pub max_lanes: u32,
    /// Bound of the damaged files that are kept for a person to look at; they go first when room is needed.
    pub set_aside_max_bytes: u64,
    /// Bound of the bodies that wait for the writer; beyond it [`Error::Busy`].
    pub max_pending_bytes: u64,
    /// How long the writer gathers before it writes and syncs.
    pub gather: Duration,
    /// How long it gathers where only cursors moved.
    pub gather_cursors: Duration,
    /// At this many bytes it gathers no longer.
    pub gather_bytes: u64,
    /// How often the writer looks after age, spares and empty segments when nothing else happens.
    pub tend_every: Duration,
    /// How long the same record may fail to be read (EIO, not damage) before it is passed over.
    pub unreadable_after: Duration,
    /// What happens when it is full.
    pub when_full: WhenFull,
    /// The wall clock.
    pub clock: Clock,
    /// Names lanes whose names were damaged; a lane that it cannot name is called `unnamed-<number>`.
    pub name_of: NameOf,
    /// Called once such a record is synced, before its append is answered; under the spool's lock, so it must
    /// neither wait nor ask the spool.
    pub filled: Filled,
    /// The file system.
    pub files: Arc<dyn Files>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 8 << 20,
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_lanes: 20_000,
            set_aside_max_bytes: 64 << 20,
            max_pending_bytes: 64 << 20,
            gather: Duration::from_millis(10),
            gather_cursors: Duration::from_millis(100),
            gather_bytes: 1 << 20,
            tend_every: Duration::from_secs(1),
            unreadable_after: Duration::from_secs(60),
            when_full: WhenFull::DropOldest,
            clock: Arc::new(|| {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }),
            name_of: Arc::new(|_| None),
            filled: Arc::new(|_| {}),
            files: Arc::new(Disk),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("segment_bytes", &self.segment_bytes)
            .field("max_bytes", &self.max_bytes)
            .field("max_age", &self.max_age)
            .field("max_lanes", &self.max_lanes)
            .field("when_full", &self.when_full)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// What a segment needs beside its records: its head, the snapshot of as many lanes as there may be, the
    /// footer's own head and the trailer, and what alignment adds.
    pub(crate) fn overhead(&self) -> u64 {
        SEGMENT_HEAD + 2 * RECORD_HEAD + CURSOR * u64::from(self.max_lanes) + TRAILER + 24
    }

    /// The longest body that an append takes: what fits into a fresh segment with all lanes in its snapshot.
    #[must_use]
    pub fn max_body(&self) -> u64 {
        self.segment_bytes.saturating_sub(self.overhead() + RECORD_HEAD + ENTRY + 8)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::Options(text));
        if !self.segment_bytes.is_multiple_of(4096) || self.segment_bytes > 1 << 30 {
            return wrong(format!("segment_bytes {} is no multiple of 4096 up to 1 GiB", self.segment_bytes));
        }
        if self.max_lanes == 0 || self.overhead() > self.segment_bytes / 2 {
            return wrong(format!(
                "a snapshot of max_lanes {} lanes takes more than half of segment_bytes {}",
                self.max_lanes, self.segment_bytes
            ));
        }
        if self.max_bytes < self.segment_bytes.saturating_mul(4) {
            return wrong(format!(
                "max_bytes {} is less than four segments of {}: one to write, two spares, one to drop from",
                self.max_bytes, self.segment_bytes
            ));
        }
        Ok(())
    }
}

/// Why a call failed. Cheap to clone: one failed sync answers many appends.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another process, or another `Spool` of this one, has the directory open.
    #[error("the spool {} is in use by another process", .folder.display())]
    Locked {
        /// The spool's directory.
        folder: PathBuf,
    },
    /// An option makes no sense.
    #[error("{0}")]
    Options(String),
    /// The file system failed.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the file system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk is full, and nothing could or may be dropped.
    #[error("the disk is full")]
    NoSpace,
    /// `max_bytes` is reached, and nothing could or may be dropped.
    #[error("the spool has reached max_bytes")]
    Full,
    /// There are `max_lanes` lanes, and none of them can give way.
    #[error("the spool has reached max_lanes, {max}")]
    TooManyLanes {
        /// The bound.
        max: u32,
    },
    /// The body does not fit into a segment.
    #[error("a body of {bytes} bytes is more than {max}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The bound, [`Options::max_body`].
        max: u64,
    },
    /// A lane's name is empty or longer than [`MAX_LANE_NAME`] bytes.
    #[error("a lane's name has 1 to 255 bytes")]
    LaneName,
    /// A record on disk has the highest sequence that there is, which no spool ever comes to.
    #[error("no sequence is left: what is on disk was not written by a spool; take the directory away")]
    Sequences,
    /// More than `max_pending_bytes` wait for the writer.
    #[error("the spool's writer is behind")]
    Busy,
    /// Not done within the time given; it may still be done later.
    #[error("the spool's writer did not finish in time")]
    Late,
    /// The spool was closed.
    #[error("the spool is closed")]
    Closed,
}

impl Error {
    pub(crate) fn io(what: &'static str, source: io::Error) -> Error {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Error::NoSpace;
        }
        Error::Io { what, source: Arc::new(source) }
    }
}
