//! What disks and interfaces have counted, and what that is a second.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use agent::devices::{disk_counts, interface_counts};

use crate::collect::{Exclude, disk, network};
use crate::files::Files;

/// Of how many disks, and of how many interfaces, counts are kept: a host of containers may have thousands.
const MOST_KEPT: usize = 1000;

/// A rate is over so much time at least, where there is a sample so old.
pub(crate) const LEAST: Duration = Duration::from_secs(5);

/// A rate over less means nothing.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// What one disk or interface has counted: bytes in, bytes out, and of a disk the milliseconds in which it was busy, of
/// an interface its errors and drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) name: String,
    pub(crate) counts: [u64; 3],
}

/// What all have counted at one moment.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) disks: Vec<Counted>,
    pub(crate) interfaces: Vec<Counted>,
}

impl Moved {
    /// Reads it; what cannot be read has counted nothing that is known.
    pub(crate) fn read(files: &Files, exclude: &Exclude) -> Self {
        let mut moved = Self::default();
        // A post, or the page, says why there is none.
        let _ = disk::each(files, exclude, |name, [_, _, read, written, _, _, _, _, busy]| {
            keep(&mut moved.disks, name, [read, written, busy]);
        });
        let _ = network::each(files, exclude, |name, [sent, received, _, _, faults @ ..]| {
            let faults = faults.into_iter().fold(0, u64::saturating_add);
            keep(&mut moved.interfaces, name, [received, sent, faults]);
        });
        moved
    }
}

fn keep(all: &mut Vec<Counted>, name: String, counts: [u64; 3]) {
    if all.len() < MOST_KEPT {
        all.push(Counted { name, counts });
    }
}

/// The last samples, each with the time at which it was taken.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<(Instant, Moved)>);

impl Recent {
    /// Adds a sample. Two are enough for a rate at any time: samples are further apart than [`LEAST`].
    pub(crate) fn push(&mut self, at: Instant, moved: Moved) {
        if self.0.len() >= 2 {
            self.0.pop_front();
        }
        self.0.push_back((at, moved));
    }

    /// The newest sample that is at least [`LEAST`] old, else the oldest, and the seconds since then.
    pub(crate) fn before(&self, now: Instant) -> Option<(f64, &Moved)> {
        let old_enough = self.0.iter().rev().find(|(at, _)| now.saturating_duration_since(*at) >= LEAST);
        since(now, old_enough.or_else(|| self.0.front())?)
    }

    /// The newest sample, and the seconds since then.
    pub(crate) fn newest(&self, now: Instant) -> Option<(f64, &Moved)> {
        since(now, self.0.back()?)
    }
}

fn since(now: Instant, (at, moved): &(Instant, Moved)) -> Option<(f64, &Moved)> {
    let age = now.saturating_duration_since(*at);
    (age >= TOO_SHORT).then_some((age.as_secs_f64(), moved))
}

/// What one counts a second.
pub(crate) type Rates = [f64; 3];

/// Of each of `now` what it counted a second since `before`, so many seconds ago. None of one that was not there, or whose
/// counts ran backwards.
pub(crate) fn rates(now: &[Counted], before: &[Counted], seconds: f64) -> Vec<Option<Rates>> {
    let known: HashMap<_, _> = before.iter().map(|counted| (&counted.name, counted.counts)).collect();
    let rate = |counted: &Counted| {
        let before = known.get(&counted.name)?;
        let mut rates = Rates::default();
        for ((rate, now), before) in rates.iter_mut().zip(counted.counts).zip(before) {
            *rate = float(now.checked_sub(*before)?) / seconds;
        }
        Some(rates)
    };
    now.iter().map(rate).collect()
}

/// Bytes in and out a second of all disks that count, then of all interfaces.
pub(crate) fn sums(now: &Moved, before: &Moved, seconds: f64) -> [Option<[f64; 2]>; 2] {
    let names: HashSet<_> = now.disks.iter().map(|disk| disk.name.as_str()).collect();
    let disks = rates(&now.disks, &before.disks, seconds);
    let interfaces = rates(&now.interfaces, &before.interfaces, seconds);
    [
        sum(&now.disks, &disks, |name| disk_counts(name, |other| names.contains(other))),
        sum(&now.interfaces, &interfaces, interface_counts),
    ]
}

fn sum(all: &[Counted], rates: &[Option<Rates>], counts: impl Fn(&str) -> bool) -> Option<[f64; 2]> {
    let known = all.iter().zip(rates).filter(|(counted, _)| counts(&counted.name));
    let known = known.filter_map(|(_, rates)| *rates).map(|[read, written, _]| [read, written]);
    known.reduce(|[all_read, all_written], [read, written]| [all_read + read, all_written + written])
}

#[allow(clippy::cast_precision_loss, reason = "of counts that large nobody sees the last digits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(all: &[(&str, [u64; 3])]) -> Vec<Counted> {
        all.iter().map(|(name, counts)| Counted { name: (*name).to_owned(), counts: *counts }).collect()
    }

    #[test]
    fn each_counts_against_its_own_value_before() {
        let before = counted(&[("sda", [100, 0, 50]), ("sda1", [1, 1, 1]), ("sdc", [9, 9, 9])]);
        let now = counted(&[("sdb", [7, 7, 7]), ("sda1", [0, 5, 5]), ("sda", [300, 40, 60])]);
        assert_eq!(rates(&now, &before, 2.0), [None, None, Some([100.0, 20.0, 5.0])]);
    }

    #[test]
    fn a_sum_counts_no_byte_twice_and_is_none_where_nothing_is_known() {
        let disks = |read| counted(&[("sda", [read, 0, 0]), ("sda1", [read, 0, 0]), ("dm-0", [read, 0, 0])]);
        let interfaces =
            |sent| counted(&[("lo", [0, sent, 0]), ("eth0", [0, sent, 0]), ("veth1", [0, sent, 0])]);
        let before = Moved { disks: disks(0), interfaces: interfaces(0) };
        let now = Moved { disks: disks(50), interfaces: interfaces(30) };
        assert_eq!(sums(&now, &before, 10.0), [Some([5.0, 0.0]), Some([0.0, 3.0])]);
        assert_eq!(sums(&now, &Moved::default(), 10.0), [None, None]);
    }

    #[test]
    fn a_rate_is_over_some_seconds() {
        let start = Instant::now();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        let mut recent = Recent::default();
        let since = |recent: &Recent, now| recent.before(now).map(|(seconds, _)| seconds);
        assert_eq!(since(&recent, seconds(1)), None);
        recent.push(seconds(0), Moved::default());
        assert_eq!(
            (since(&recent, start + Duration::from_millis(900)), since(&recent, seconds(2))),
            (None, Some(2.0))
        );
        for at in [10, 20, 30] {
            recent.push(seconds(at), Moved::default());
        }
        assert_eq!((since(&recent, seconds(34)), since(&recent, seconds(36))), (Some(14.0), Some(6.0)));
        assert_eq!(recent.0.len(), 2);
    }

    #[test]
    fn not_all_of_thousands_are_kept() {
        let mut all = Vec::new();
        (0..2 * MOST_KEPT).for_each(|at| keep(&mut all, at.to_string(), [0; 3]));
        assert_eq!(all.len(), MOST_KEPT);
    }
}
