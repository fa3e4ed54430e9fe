//! What is known of a host without looking at the disk: its last row, and short lines of the last hour.

use crate::series::{HEADLINE, SPARKS};

/// Points of a short line.
pub const SPARK_POINTS: usize = 30;

/// Seconds of each.
pub const SPARK_SECONDS: u64 = 120;

/// A host's last row and short lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Now {
    /// When the last sample was made, in ms since 1970.
    pub stamp_ms: u64,
    /// The host's name.
    pub hostname: String,
    /// The headline series; what is not known is not a number.
    pub values: [f32; HEADLINE.len()],
    /// The series of [`SPARKS`], oldest point first.
    pub sparks: [[Option<f32>; SPARK_POINTS]; SPARKS.len()],
}

/// The short lines of a host: a ring of means, whose place is given by the time.
#[derive(Clone, Debug)]
pub(crate) struct Sparks {
    /// The number of the newest mean since 1970.
    newest: u64,
    /// How many samples it is of.
    samples: f32,
    rings: [[f32; SPARK_POINTS]; SPARKS.len()],
}

impl Default for Sparks {
    fn default() -> Self {
        Self { newest: 0, samples: 0.0, rings: [[f32::NAN; SPARK_POINTS]; SPARKS.len()] }
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % SPARK_POINTS as u64).unwrap_or(0)
}

impl Sparks {
    /// Takes a row.
    pub(crate) fn add(&mut self, stamp_ms: u64, row: &[f32]) {
        let number = stamp_ms / 1000 / SPARK_SECONDS;
        if number < self.newest {
            return;
        }
        if number > self.newest {
            let skipped = (number - self.newest).min(SPARK_POINTS as u64);
            for empty in number + 1 - skipped..=number {
                self.rings
                    .iter_mut()
                    .filter_map(|ring| ring.get_mut(place(empty)))
                    .for_each(|mean| *mean = f32::NAN);
            }
            (self.newest, self.samples) = (number, 0.0);
        }
        self.samples += 1.0;
        for (ring, column) in self.rings.iter_mut().zip(SPARKS) {
            let (Some(mean), Some(value)) = (ring.get_mut(place(number)), row.get(column)) else { continue };
            *mean = if mean.is_nan() { *value } else { *mean + (*value - *mean) / self.samples };
        }
    }

    /// The lines as of now, oldest point first.
    pub(crate) fn lines(&self, now_ms: u64) -> [[Option<f32>; SPARK_POINTS]; SPARKS.len()] {
        let last = now_ms / 1000 / SPARK_SECONDS;
        let first = last.saturating_sub(SPARK_POINTS as u64 - 1);
        let oldest = self.newest.saturating_sub(SPARK_POINTS as u64 - 1);
        let mut lines = [[None; SPARK_POINTS]; SPARKS.len()];
        for (line, ring) in lines.iter_mut().zip(&self.rings) {
            for (point, number) in line.iter_mut().zip(first..) {
                if (oldest..=self.newest).contains(&number) {
                    *point = ring.get(place(number)).copied().filter(|mean| !mean.is_nan());
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_of_means_and_what_is_missing_is_a_gap() {
        let mut sparks = Sparks::default();
        let row = |cpu: f32| [cpu; HEADLINE.len()];
        let at = |number: u64| (1_000_000 + number) * SPARK_SECONDS * 1000;
        sparks.add(at(0), &row(10.0));
        sparks.add(at(0) + 10_000, &row(30.0));
        sparks.add(at(2), &row(5.0));
        let line = sparks.lines(at(3))[0];
        assert_eq!(line[SPARK_POINTS - 4..], [Some(20.0), None, Some(5.0), None]);
        assert!(line[..SPARK_POINTS - 4].iter().all(Option::is_none));
        sparks.add(at(200), &row(7.0));
        let line = sparks.lines(at(200))[0];
        assert_eq!(line.iter().flatten().collect::<Vec<_>>(), [&7.0]);
        assert!(sparks.lines(at(400))[0].iter().all(Option::is_none));
    }
}
