//! What a spool counts, and what it says about its lanes.

use std::sync::Arc;
use std::time::Duration;

/// Why a record left the spool without having been acknowledged. A closed list: it is the log's word and the
/// metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The spool had reached `max_bytes`, and this was the oldest of the largest lane.
    MaxBytes,
    /// The disk was full, and this was the oldest of the largest lane.
    NoSpace,
    /// Taken longer ago than `max_age`.
    MaxAge,
    /// Asked for by [`crate::Spool::purge`].
    Purged,
    /// Damaged on disk, found when it was read.
    Damaged,
}

impl DropReason {
    /// All reasons, in the order of [`Stats::dropped`].
    pub const ALL: [DropReason; 5] = [
        DropReason::MaxBytes,
        DropReason::NoSpace,
        DropReason::MaxAge,
        DropReason::Purged,
        DropReason::Damaged,
    ];

    /// The word of the log and of the metric's label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            DropReason::MaxBytes => "max_bytes",
            DropReason::NoSpace => "no_space",
            DropReason::MaxAge => "max_age",
            DropReason::Purged => "purged",
            DropReason::Damaged => "damaged",
        }
    }
}

/// Records and the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub records: u64,
    /// The bytes of their bodies.
    pub bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
    }
}

/// Upper bounds of the buckets of [`Syncs`], in microseconds; a last bucket has none.
pub const SYNC_BUCKETS_US: [u64; 10] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000];

/// How long the group commits took: one write and one `fdatasync` each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syncs {
    /// How many.
    pub count: u64,
    /// Their time in all.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
    /// How many fell into each bucket of [`SYNC_BUCKETS_US`], and above.
    pub buckets: [u64; 11],
}

impl Syncs {
    pub(crate) fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        self.longest = self.longest.max(took);
        let at = SYNC_BUCKETS_US.iter().position(|bound| took.as_micros() <= u128::from(*bound));
        if let Some(bucket) = self.buckets.get_mut(at.unwrap_or(SYNC_BUCKETS_US.len())) {
            *bucket += 1;
        }
    }
}

/// What a spool counts. Of one life: it begins with zero at each opening, but for `found` and `waiting`.
/// `found + taken = waiting + acknowledged + all of dropped`, at any moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What was found at opening and was not yet acknowledged.
    pub found: Amount,
    /// What was appended and synced.
    pub taken: Amount,
    /// What waits now.
    pub waiting: Amount,
    /// What was acknowledged.
    pub acknowledged: Amount,
    /// What left otherwise, in the order of [`DropReason::ALL`]. The bytes of damaged records are not known.
    pub dropped: [Amount; 5],
    /// Lanes, empty ones too.
    pub lanes: u64,
    /// Bytes of segments, spares and what was set aside: what `max_bytes` bounds.
    pub allocated_bytes: u64,
    /// Segments that hold records, the one that is written to included.
    pub segments: u64,
    /// Segments ready to be written to.
    pub spares: u64,
    /// Bytes of what was set aside.
    pub set_aside_bytes: u64,
    /// Bytes written to files.
    pub written_bytes: u64,
    /// Records that were copied forward so that their segment could be removed.
    pub copied_forward: Amount,
    /// Write and sync errors; each ended a segment.
    pub write_errors: u64,
    /// Acknowledgements not yet on disk, in lanes; a crash repeats their deliveries.
    pub unsynced_lanes: u64,
    /// The group commits.
    pub syncs: Syncs,
}

impl Stats {
    /// What left for this reason.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> Amount {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }

    /// Whether the books balance, in records.
    #[must_use]
    pub fn balances(&self) -> bool {
        let dropped: u64 = self.dropped.iter().map(|amount| amount.records).sum();
        self.found.records + self.taken.records == self.waiting.records + self.acknowledged.records + dropped
    }

    pub(crate) fn drop(&mut self, reason: DropReason, bytes: u64) {
        if let Some(amount) = self.dropped.get_mut(reason as usize) {
            amount.add(bytes);
        }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order of all records.
    pub sequence: u64,
    /// When it was taken, as the append said: milliseconds since 1970.
    pub taken_ms: u64,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// A record without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordInfo {
    /// Its place in the order of all records.
    pub sequence: u64,
    /// When it was taken: milliseconds since 1970.
    pub taken_ms: u64,
    /// Bytes of its body.
    pub bytes: u64,
}

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneInfo {
    /// Its name.
    pub name: Arc<str>,
    /// What waits in it.
    pub waiting: Amount,
    /// Its oldest record, if it can be read.
    pub oldest: Option<RecordInfo>,
    /// Everything up to this sequence is acknowledged or dropped.
    pub acknowledged: u64,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that wait, and their bytes.
    pub found: Amount,
    /// Lanes, empty ones too.
    pub lanes: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Segments that were read whole, since they had no good footer. One is usual after a crash.
    pub scanned: u64,
    /// What is damaged.
    pub damage: Damage,
    /// Bytes after the last good record of the newest segment: a write that a crash cut short. Not damage.
    pub torn_bytes: u64,
}

/// Damage, as opening or [`crate::verify`] found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Stretches of segments that hold nothing readable: lost records, acknowledgements, a footer.
    pub stretches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments whose head is bad; their records count all the same.
    pub heads: u64,
    /// Sealed segments whose footer is bad; they were read whole.
    pub footers: u64,
    /// Files that hold nothing readable, or whose format is newer, and were set aside whole.
    pub files: u64,
    /// Files that could not be opened and were left alone.
    pub unopened: u64,
    /// Whether the names of the lanes were damaged.
    pub names: bool,
    /// Lanes whose names were found again by their bodies.
    pub renamed_lanes: u64,
    /// Lanes whose names are lost; they are called `unnamed-<number>`.
    pub unnamed_lanes: u64,
}

impl Damage {
    /// Whether there is any.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Damage::default()
    }

    /// How often each kind of damage was found, under one word each; what was mended (`renamed_lanes`) is left out.
    #[must_use]
    pub fn kinds(&self) -> [(&'static str, u64); 6] {
        [
            ("stretch", self.stretches),
            ("head", self.heads),
            ("footer", self.footers),
            ("file", self.files),
            ("unopened", self.unopened),
            ("names", u64::from(self.names)),
        ]
    }
}
