//! One host: its samples become rows. Counters become rates, each instance against its own value before.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::chunk::Rows;
use crate::now::Sparks;
use crate::sample::{Reading, Sample};
use crate::series::{self, HEADLINE, OF_PARTITION, Series, Source, Unit};

/// Partitions of a host that have a series of their own.
const MOST_PARTITIONS: usize = 8;

/// Series of a host beside the headline ones.
pub(crate) const MOST_MORE: usize = 32;

/// Counters of a host that are followed.
const MOST_COUNTERS: usize = 2048;

/// A rate over a longer time than this, and than three intervals, tells nobody when it was.
const LONGEST_GAP_MS: u64 = 600_000;

/// A host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// Its number in the file.
    pub(crate) id: i64,
    pub(crate) hostname: Box<str>,
    /// Name and instance of what comes after the headline series in a row.
    pub(crate) more: Vec<(Box<str>, Box<str>)>,
    /// Whether the file does not know all of this yet.
    pub(crate) changed: bool,
    pub(crate) stamp_ms: u64,
    pub(crate) row: Vec<f32>,
    pub(crate) sparks: Sparks,
    /// Rows that are not in the file yet.
    pub(crate) pending: Rows,
    /// What counters said last, in the order of the samples.
    pub(crate) counters: Vec<Counter>,
}

/// The last value of a counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    /// Which one, as a number: texts would be many.
    of: u64,
    value: f64,
    stamp_ms: u64,
    /// Whether it counts towards the host's sum.
    counts: bool,
}

impl Host {
    /// A host under this number.
    pub(crate) fn new(id: i64) -> Self {
        Self { id, changed: true, row: vec![f32::NAN; HEADLINE.len()], ..Self::default() }
    }

    /// Its series, in the order of a row.
    pub(crate) fn series(&self) -> Vec<Series> {
        let headline = HEADLINE.iter().map(|of| Series {
            name: of.name.to_owned(),
            instance: String::new(),
            unit: of.unit,
        });
        let more = self.more.iter().map(|(name, instance)| Series {
            name: name.to_string(),
            instance: instance.to_string(),
            unit: if **name == *OF_PARTITION || name.ends_with("_percent") {
                Unit::Percent
            } else if name.ends_with("_per_second") {
                Unit::PerSecond
            } else {
                Unit::Number
            },
        });
        headline.chain(more).collect()
    }

    /// Takes a sample that is later than the last. `keep` says whether its row is to go to the file.
    pub(crate) fn take(&mut self, sample: &Sample, keep: bool) {
        if self.hostname != sample.hostname {
            self.hostname.clone_from(&sample.hostname);
            self.changed = true;
        }
        self.row.iter_mut().for_each(|value| *value = f32::NAN);
        let mut at_counter = 0;
        let mut partitions = 0;
        for reading in sample.readings() {
            let value = if reading.source.is_counter() {
                match self.rate(&reading, sample, &mut at_counter) {
                    Some(rate) => rate,
                    None => continue,
                }
            } else {
                reading.value
            };
            #[allow(clippy::cast_possible_truncation, reason = "a picture needs no more")]
            let value = value as f32;
            match reading.source {
                Source::Idle => self.add(series::CPU, 100.0 - value),
                Source::Iowait => {
                    self.set(series::IOWAIT, value);
                    self.add(series::CPU, -value);
                }
                Source::Load => self.set(series::LOAD, value),
                Source::Memory => self.set(series::MEMORY, value),
                Source::Swap => self.set(series::SWAP, value),
                Source::Partition => {
                    self.most(series::PARTITION, value);
                    partitions += 1;
                    if partitions <= MOST_PARTITIONS {
                        self.set_more(OF_PARTITION, reading.instance, value);
                    }
                }
                Source::DiskRead => self.add(series::DISK_READ, value),
                Source::DiskWrite => self.add(series::DISK_WRITE, value),
                // Milliseconds in a second.
                Source::DiskBusy => self.most(series::DISK_BUSY, (value / 10.0).min(100.0)),
                Source::Received => self.add(series::RECEIVED, value),
                Source::Sent => self.add(series::SENT, value),
                Source::NetworkErrors => self.add(series::NETWORK_ERRORS, value),
                Source::OtherAmount => self.set_more(reading.key, reading.instance, value),
                Source::OtherCounter => {
                    self.set_more(&format!("{}_per_second", reading.key), reading.instance, value);
                }
            }
        }
        if let Some(cpu) = self.row.get_mut(series::CPU) {
            *cpu = cpu.clamp(0.0, 100.0);
        }
        self.stamp_ms = sample.stamp_ms;
        self.sparks.add(sample.stamp_ms, &self.row);
        if keep {
            if self.pending.columns < self.row.len() {
                self.widen();
            }
            self.pending.push(sample.stamp_ms, &self.row);
        }
    }

    /// There is a series more: rows that wait get its column.
    fn widen(&mut self) {
        let mut wider = Rows::of(self.row.len());
        self.pending.each().for_each(|(stamp, row)| wider.push(stamp, row));
        self.pending = wider;
    }

    fn set(&mut self, column: usize, value: f32) {
        self.change(column, |_| value);
    }

    fn add(&mut self, column: usize, value: f32) {
        self.change(column, |before| if before.is_nan() { value } else { before + value });
    }

    fn most(&mut self, column: usize, value: f32) {
        self.change(column, |before| before.max(value));
    }

    fn change(&mut self, column: usize, change: impl FnOnce(f32) -> f32) {
        if let Some(there) = self.row.get_mut(column) {
            *there = change(*there);
        }
    }

    fn set_more(&mut self, name: &str, instance: &str, value: f32) {
        let known = self.more.iter().position(|(one, other)| **one == *name && **other == *instance);
        let at = match known {
            Some(at) => at,
            None if self.more.len() < MOST_MORE => {
                self.more.push((name.into(), instance.into()));
                self.row.push(f32::NAN);
                self.changed = true;
                self.more.len() - 1
            }
            None => return,
        };
        self.set(HEADLINE.len() + at, value);
    }

    /// What a counter grew by in a second since the sample before; `None` where it counts nothing, was not there, or
    /// fell. Counters come in the same order each time, so `at` mostly says where this one is.
    fn rate(&mut self, reading: &Reading<'_>, sample: &Sample, at: &mut usize) -> Option<f64> {
        let mut hasher = DefaultHasher::new();
        (reading.source, reading.key, reading.instance).hash(&mut hasher);
        let of = hasher.finish();
        let mut here = *at;
        if self.counters.get(here).is_none_or(|counter| counter.of != of) {
            here = self.counters.iter().position(|counter| counter.of == of).unwrap_or(self.counters.len());
        }
        *at = here + 1;
        let now = Counter { of, value: reading.value, stamp_ms: sample.stamp_ms, counts: true };
        let Some(counter) = self.counters.get_mut(here) else {
            if self.counters.len() < MOST_COUNTERS {
                let is_there = |whole: &str| {
                    let mut disks = sample.readings().filter(|other| other.source == reading.source);
                    disks.any(|other| other.instance == whole)
                };
                let counts = !reading.source.is_disk() || series::disk_counts(reading.instance, is_there);
                self.counters.push(Counter { counts, ..now });
            }
            return None;
        };
        let before = std::mem::replace(counter, Counter { counts: counter.counts, ..now });
        // One key can stand for several counters, whose sum is what matters (errors and drops).
        if before.stamp_ms == now.stamp_ms {
            return None;
        }
        let gap = now.stamp_ms.saturating_sub(before.stamp_ms);
        let longest = LONGEST_GAP_MS.max(sample.interval_ms.saturating_mul(3));
        let grown = now.value - before.value;
        #[allow(clippy::cast_precision_loss, reason = "a gap is short")]
        let seconds = gap as f64 / 1000.0;
        (before.counts && grown >= 0.0 && gap <= longest).then(|| grown / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: u64, readings: &[(Source, &str, f64)]) -> Sample {
        let mut sample = Sample::new("a", "h", at_s * 1000, 10_000);
        readings.iter().for_each(|(source, instance, value)| {
            sample.add(Reading { source: *source, key: "", instance, value: *value });
        });
        sample
    }

    #[test]
    fn counters_become_rates_each_instance_for_itself() {
        let mut host = Host::new(1);
        let read = |at, a: f64, b: f64| {
            sample(
                at,
                &[(Source::DiskRead, "sda", a), (Source::DiskRead, "sda1", a), (Source::DiskRead, "sdb", b)],
            )
        };
        host.take(&read(10, 1000.0, 0.0), true);
        assert!(host.row[series::DISK_READ].is_nan());
        host.take(&read(20, 2000.0, 500.0), true);
        assert_eq!(host.row[series::DISK_READ], 150.0);
        // One began anew: it says nothing, and the other one does.
        host.take(&read(30, 10.0, 600.0), true);
        assert_eq!(host.row[series::DISK_READ], 10.0);
        // Nobody knows when within an hour it was.
        host.take(&read(3630, 9_000_000.0, 9_000_000.0), true);
        assert!(host.row[series::DISK_READ].is_nan());
        assert_eq!(host.pending.stamps.len(), 4);
    }

    #[test]
    fn shares_are_shares_and_the_fullest_partition_is_the_fullest() {
        let mut host = Host::new(1);
        host.take(
            &sample(
                10,
                &[
                    (Source::Idle, "", 70.0),
                    (Source::Iowait, "", 10.0),
                    (Source::Partition, "/", 40.0),
                    (Source::Partition, "/srv", 90.5),
                    (Source::Memory, "", f64::NAN),
                ],
            ),
            true,
        );
        assert_eq!((host.row[series::CPU], host.row[series::PARTITION]), (20.0, 90.5));
        assert!(host.row[series::MEMORY].is_nan());
        let series = host.series();
        assert_eq!(series.len(), 14);
        assert_eq!((series[13].name.as_str(), series[13].instance.as_str()), (OF_PARTITION, "/srv"));
        for at in 0..100 {
            let instance = format!("/{at}");
            host.take(&sample(20 + at, &[(Source::OtherAmount, &instance, 1.0)]), true);
        }
        assert_eq!(host.row.len(), HEADLINE.len() + MOST_MORE);
    }
}
