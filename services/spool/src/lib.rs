//! A durable queue: bytes in lanes, kept on disk, whatever dies.
//!
//! A record is appended to the end of a lane and read from its beginning; it leaves when it is acknowledged.
//! The lanes share the files of one directory.
//!
//! # Invariants
//!
//! 1. An append that was answered with a sequence is on disk: written and synced. One that was answered with
//!    an error may be there or not, and if it is, it may appear later.
//! 2. In a lane, records are handed out in the order of their sequences, which is the order in which the
//!    appends came. The sequence is one for all lanes and only grows: over restarts, over a directory that was
//!    emptied (it is never below the clock's microseconds), and over damage.
//! 3. A record that was acknowledged comes back only after a crash that lost the acknowledgement, or after
//!    damage; it leaves without being acknowledged only for a reason of [`DropReason`], and is counted. At any
//!    moment `found + taken = waiting + acknowledged + dropped`.
//! 4. No body is handed out that is not, byte for byte, what was appended. Damage costs the records that it
//!    hit, and at most repeats deliveries of others.
//! 5. A segment to which a write or a sync has failed is never written to again. What was synced in it before
//!    stays in use.
//! 6. Each segment begins with all cursors, and is synced, before an older one is removed: any segment can be
//!    removed by itself as soon as nothing waits in it.
//! 7. Where anything can be appended, a spare segment is left afterwards, with its blocks reserved. So
//!    acknowledging, and removing what is empty, go on when the disk is full.
//! 8. Opening changes nothing that it needs, needs no free space, and is refused by no damage. What holds
//!    damage is set aside under a dated name once nothing waits in it.
//! 9. Segments, spares and what was set aside together never exceed `max_bytes`.
//! 10. One spool a directory: the directory itself is locked.
//! 11. A lane's number is never given to another name while anything of it is on disk; its name is synced
//!     before its first record is written.
//!
//! # How
//!
//! Segments of a fixed size, written one after the other by one thread, which gathers appends and
//! acknowledgements for a moment, writes them, syncs once, and answers all (`writer`). `format` says what
//! stands on disk, `recover` how it is read at opening, `roll` how one segment follows another, `room` what is
//! done when there is none. In memory stay eight bytes a record (`state`).

mod aside;
mod files;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod names;
mod options;
mod recover;
mod roll;
mod room;
mod scan;
mod spool;
mod state;
mod stats;
mod verify;
mod writer;

pub use files::{Disk, Files, Handle};
pub use options::{Clock, Error, Filled, MAX_LANE_NAME, NameOf, Options, WhenFull};
pub use spool::Spool;
pub use stats::{
    Amount, Damage, DropReason, LaneInfo, Record, RecordInfo, Report, SYNC_BUCKETS_US, Stats, Syncs,
};
pub use verify::{Verified, verify};
