//! History: what the hub's pages draw. A second reader of the samples that the hub carries, which may fail without
//! anybody noticing but who looks at the pages.
//!
//! The invariants:
//! - [`History::offer`] neither waits nor fails: it puts a sample into a bounded queue, or drops and counts it. All else
//!   happens on a thread of its own, which looks at the queue once a second, so that a sample wakes nobody.
//! - Each sample becomes one row of numbers: the [`HEADLINE`] series, the host's partitions, and what else is wanted.
//!   Counters become rates here, each instance against its own value before.
//! - Rows are written once a minute, all hosts in one transaction. What a kill can cost is that minute.
//! - What is kept gets coarser: each sample for [`RAW_AGE`], then means of a minute for [`MINUTE_AGE`], then means of ten
//!   minutes for `max_age`. The file never takes more than `max_bytes`: before it would, all three ages shrink alike.
//! - A file that is damaged is set aside under another name, and a new one begun.
//!
//! The file is SQLite's: of the stores that are well kept it is the one that answers damage and a full disk with an
//! error instead of ending the program.

mod chunk;
mod disk;
mod history;
mod host;
mod keeper;
mod now;
mod sample;
mod series;
mod tiers;

pub use disk::Error;
pub use history::{Drops, History, Options, Stats};
pub use now::{Now, SPARK_POINTS, SPARK_SECONDS};
pub use sample::{Reading, Sample};
pub use series::{HEADLINE, Headline, SPARKS, Series, Source, Unit, wanted};
pub use tiers::{MINUTE_AGE, Points, Query, RAW_AGE};
