//! The collectors: one file a family, a pure parser from bytes to numbers and one small reader.
//!
//! To change what a family sends, change its file; to add one, add its file and a line to [`FAMILIES`],
//! whose order is the order in the post.

pub mod cpu;
mod cpufreq;
pub(crate) mod disk;
mod exclude;
pub(crate) mod filesystem;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod network;
mod points;
mod process;
pub(crate) mod statvfs;
pub(crate) mod swap;
pub mod text;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::clock::Clock;
use agent::post::Datapoint;

use crate::files::Files;
use crate::host::{HostError, HostRoot};
use crate::reason::{AllLeftOut, LeftOut, Reason};
pub use exclude::{Exclude, Pattern};
pub(crate) use filesystem::root_mount;
use points::Points;
pub(crate) use statvfs::Askers;
use statvfs::Patience;

/// What a collector may look at.
struct Context<'a> {
    files: &'a Files,
    exclude: &'a Exclude,
    known: &'a Known,
    /// The cpu times at the start of the polling interval; none right after the start of the spoke.
    before: Option<&'a cpu::Times>,
    /// The partitions, which are asked while the other families are read.
    asking: Cell<Option<Result<statvfs::Asking<'a>, HostError>>>,
}

/// What collectors keep from one round to the next.
#[derive(Debug, Default)]
struct Known {
    /// Shared with all who ask how full partitions are: one that hangs holds one thread.
    askers: Arc<Askers>,
    patience: Patience,
    partitions: RefCell<filesystem::Partitions>,
    policies: RefCell<cpufreq::Policies>,
    /// How many datapoints the last round had.
    datapoints: Cell<usize>,
}

/// What is read and what is kept of a host from round to round.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) files: Files,
    known: Known,
}

impl Host {
    pub(crate) fn new(root: &HostRoot, askers: Arc<Askers>) -> Self {
        Self { files: Files::new(root), known: Known { askers, ..Known::default() } }
    }

    /// One that goes without partitions where a post asks for them and one does not answer.
    pub(crate) fn impatient(root: &HostRoot, askers: Arc<Askers>) -> Self {
        let known = Known { askers, patience: Patience::Little, ..Known::default() };
        Self { files: Files::new(root), known }
    }

    /// Reads the host once; percentages are over the time since `before`.
    pub(crate) fn collect(&mut self, exclude: &Exclude, before: Option<&cpu::Times>, clock: Clock) -> Round {
        self.files.next_round();
        let context = self.context(exclude, before);
        context.asking.set(Some(filesystem::begin(&context)));
        run(&FAMILIES, &context, clock)
    }

    /// As [`Host::collect`], by the families of these names alone.
    pub(crate) fn collect_only(
        &mut self,
        names: &[&str],
        exclude: &Exclude,
        before: Option<&cpu::Times>,
        clock: Clock,
    ) -> Round {
        self.files.next_round();
        let context =
            Context { files: &self.files, exclude, known: &self.known, before, asking: Cell::default() };
        run(FAMILIES.iter().filter(|family| names.contains(&family.name)), &context, clock)
    }

    /// How full the partitions are, without a round of their own.
    ///
    /// # Errors
    /// It cannot be read which there are, or another reading waits for one.
    pub(crate) fn partitions(&self, exclude: &Exclude) -> Result<Vec<Datapoint>, HostError> {
        let mut points = Points::with_room(0);
        filesystem::collect(&self.context(exclude, None), &mut points)?;
        Ok(points.datapoints)
    }

    fn context<'a>(&'a self, exclude: &'a Exclude, before: Option<&'a cpu::Times>) -> Context<'a> {
        Context { files: &self.files, exclude, known: &self.known, before, asking: Cell::default() }
    }
}

/// One collector.
struct Family {
    /// Its name: of its file, and in metrics and log.
    name: &'static str,
    collect: fn(&Context<'_>, &mut Points) -> Result<(), HostError>,
}

/// All collectors, in the order of the post.
const FAMILIES: [Family; 11] = [
    Family { name: "process", collect: process::collect },
    Family { name: "load", collect: load::collect },
    Family { name: "cpufreq", collect: cpufreq::collect },
    Family { name: "cpu_percent", collect: cpu::collect_percent },
    Family { name: "cpu_times", collect: cpu::collect_times },
    Family { name: "cpu_stats", collect: cpu::collect_stats },
    Family { name: "memory", collect: memory::collect },
    Family { name: "swap", collect: swap::collect },
    Family { name: "filesystem", collect: filesystem::collect },
    Family { name: "disk", collect: disk::collect },
    Family { name: "network", collect: network::collect },
];

/// What reading the host once brought.
#[derive(Debug)]
pub(crate) struct Round {
    /// The datapoints, in the order of the post.
    pub(crate) datapoints: Vec<Datapoint>,
    /// How each collector fared.
    pub(crate) readings: Vec<Reading>,
    /// What is left out, and why: a collector, or one instance of it.
    pub(crate) left_out: AllLeftOut,
}

/// How a collector fared.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Its name.
    pub(crate) collector: &'static str,
    /// Whether its datapoints are in the post.
    pub(crate) success: bool,
    /// How long it took.
    pub(crate) duration: Duration,
}

/// Runs collectors. One that fails costs its own datapoints alone.
fn run<'a>(families: impl IntoIterator<Item = &'a Family>, context: &Context<'_>, clock: Clock) -> Round {
    let (mut readings, mut left_out) = (Vec::with_capacity(FAMILIES.len()), AllLeftOut::new());
    let mut points = Points::with_room(context.known.datapoints.get());
    for family in families {
        let (started, before) = (Instant::now(), points.datapoints.len());
        points.timestamp_ms = clock.now_ms();
        let result = (family.collect)(context, &mut points);
        readings.push(Reading {
            collector: family.name,
            success: result.is_ok(),
            duration: started.elapsed(),
        });
        let mut instances = std::mem::take(&mut points.left_out);
        match result {
            Ok(()) => left_out.append(&mut instances),
            Err(error) => {
                points.datapoints.truncate(before);
                let (collector, reason, text) = (family.name, error.reason(), why(&error));
                left_out.insert(format!("collector {collector}"), LeftOut { collector, reason, text });
            }
        }
    }
    context.known.datapoints.set(points.datapoints.len());
    Round { datapoints: points.datapoints, readings, left_out }
}

/// Why something is left out, for a person.
pub(crate) fn why(error: &HostError) -> String {
    let (reason, text) = (error.reason(), chain(error));
    if reason == Reason::Permission { format!("{}: {text}", reason.word()) } else { text }
}

/// An error with its source.
fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests;
