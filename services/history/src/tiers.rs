//! How what is kept gets coarser as it ages, and how it is put together again for a picture.

use std::time::Duration;

use crate::chunk::Rows;

/// For how long each sample is kept.
pub const RAW_AGE: Duration = Duration::from_secs(2 * 3600);

/// For how long means of a minute are kept.
pub const MINUTE_AGE: Duration = Duration::from_secs(26 * 3600);

/// A kind of row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tier {
    /// Its number in the file.
    pub(crate) number: i64,
    /// What a chunk of it spans, in ms.
    pub(crate) span_ms: u64,
    /// What a row of it spans, in ms; 0 where it is a sample.
    pub(crate) row_ms: u64,
}

pub(crate) const RAW: Tier = Tier { number: 0, span_ms: 60_000, row_ms: 0 };
pub(crate) const MINUTES: Tier = Tier { number: 1, span_ms: 600_000, row_ms: 60_000 };
pub(crate) const TENS: Tier = Tier { number: 2, span_ms: 7_200_000, row_ms: 600_000 };
pub(crate) const TIERS: [Tier; 3] = [RAW, MINUTES, TENS];

/// More points are not put together for one picture.
const MOST_POINTS: u64 = 5000;

/// What a picture is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// From when on, in ms since 1970.
    pub from_ms: u64,
    /// Up to when.
    pub to_ms: u64,
    /// Milliseconds of a point, whose number is the mean.
    pub step_ms: u64,
}

impl Query {
    /// The last `range` up to `now_ms`, with points that suit it: of a second, or of a minute, five, half an hour.
    pub fn last(range: Duration, now_ms: u64) -> Self {
        let range_ms = u64::try_from(range.as_millis()).unwrap_or(u64::MAX);
        let step_ms = match range.as_secs() {
            0..=7_200 => 10_000,
            7_201..=43_200 => 60_000,
            43_201..=172_800 => 300_000,
            _ => 1_800_000,
        };
        Self { from_ms: now_ms.saturating_sub(range_ms), to_ms: now_ms, step_ms }
    }

    /// The finest kind of rows that reaches back as far as is asked.
    pub(crate) fn tier(&self, now_ms: u64, scale: f64) -> usize {
        let age = Duration::from_millis(now_ms.saturating_sub(self.from_ms));
        // A sample is wanted where it is still there; a mean of one point is not finer for being made of samples.
        if age <= RAW_AGE.mul_f64(scale) && self.step_ms < MINUTES.row_ms {
            0
        } else if age <= MINUTE_AGE.mul_f64(scale) || age <= RAW_AGE {
            1
        } else {
            2
        }
    }
}

/// The points of a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// When each begins, in ms since 1970.
    pub stamps: Vec<u64>,
    /// Each series' numbers, in the order of the host's series; `None` is a gap.
    pub values: Vec<Vec<Option<f32>>>,
}

/// Means, as rows come.
#[derive(Debug)]
pub(crate) struct Means {
    from_ms: u64,
    step_ms: u64,
    columns: usize,
    /// Sum and count of each point's columns.
    sums: Vec<(f64, u32)>,
    points: usize,
}

impl Means {
    /// For points of `step_ms` from `from_ms` up to `to_ms`. A step is lengthened where there would be too many.
    pub(crate) fn new(from_ms: u64, to_ms: u64, step_ms: u64, columns: usize) -> Self {
        let range = to_ms.saturating_sub(from_ms);
        let step_ms = step_ms.max(1).max(range / MOST_POINTS);
        // Points are the same whenever one looks.
        let from_ms = from_ms - from_ms % step_ms;
        let points = usize::try_from(to_ms.saturating_sub(from_ms) / step_ms + 1).unwrap_or(0);
        Self { from_ms, step_ms, columns, sums: vec![(0.0, 0); points * columns], points }
    }

    pub(crate) fn add(&mut self, rows: &Rows) {
        for (stamp, row) in rows.each() {
            let Some(since) = stamp.checked_sub(self.from_ms) else { continue };
            let Ok(point) = usize::try_from(since / self.step_ms) else { continue };
            if point >= self.points {
                continue;
            }
            let sums = self.sums.iter_mut().skip(point * self.columns).take(self.columns);
            for ((sum, count), value) in sums.zip(row) {
                if !value.is_nan() {
                    *sum += f64::from(*value);
                    *count += 1;
                }
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = (u64, &[(f64, u32)])> {
        (0..).map(|point: u64| self.from_ms + point * self.step_ms).zip(self.sums.chunks(self.columns.max(1)))
    }

    /// As rows, without the points of which nothing is known.
    pub(crate) fn rows(&self) -> Rows {
        let mut rows = Rows::of(self.columns);
        for (stamp, sums) in self.each() {
            if sums.iter().any(|(_, count)| *count > 0) {
                let row: Vec<f32> = sums.iter().map(|sum| mean(*sum).unwrap_or(f32::NAN)).collect();
                rows.push(stamp, &row);
            }
        }
        rows
    }

    /// As points, from the first of which something is known.
    pub(crate) fn points(&self) -> Points {
        let mut points = Points { stamps: Vec::new(), values: vec![Vec::new(); self.columns] };
        for (stamp, sums) in self.each() {
            if points.stamps.is_empty() && sums.iter().all(|(_, count)| *count == 0) {
                continue;
            }
            points.stamps.push(stamp);
            points.values.iter_mut().zip(sums).for_each(|(values, sum)| values.push(mean(*sum)));
        }
        points
    }
}

fn mean((sum, count): (f64, u32)) -> Option<f32> {
    #[allow(clippy::cast_possible_truncation, reason = "a picture needs no more")]
    (count > 0).then(|| (sum / f64::from(count)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_means_and_what_is_missing_is_a_gap() {
        let mut rows = Rows::of(2);
        for (stamp, value) in [(60_000, 1.0), (70_000, 3.0), (240_000, 5.0), (999_000, 7.0)] {
            rows.push(stamp, &[value, f32::NAN]);
        }
        let mut means = Means::new(5_000, 300_000, 60_000, 2);
        means.add(&rows);
        let points = means.points();
        assert_eq!(points.stamps, [60_000, 120_000, 180_000, 240_000, 300_000]);
        assert_eq!(points.values[0], [Some(2.0), None, None, Some(5.0), None]);
        assert!(points.values[1].iter().all(Option::is_none));
        assert_eq!(means.rows().stamps, [60_000, 240_000]);
    }

    #[test]
    fn a_picture_has_so_many_points_and_no_more() {
        let means = Means::new(0, u64::MAX, 1, 1);
        assert!(means.points <= 5002, "{}", means.points);
    }

    #[test]
    fn what_is_old_is_looked_for_where_it_is() {
        let now = 1_795_349_433_125;
        let tier = |hours: u64| Query::last(Duration::from_secs(hours * 3600), now).tier(now, 1.0);
        assert_eq!([tier(1), tier(2), tier(6), tier(24), tier(168)], [0, 0, 1, 1, 2]);
    }
}
