//! A few numbers of the last hour, every ten seconds, for the charts: 361 rows of 64 bytes.

use std::collections::{BTreeMap, VecDeque};

use agent::clock::Millis;
use serde::Serialize;

use crate::ring;

/// The series, in the order of a row. Names and units are those of the hub's history, where it has the same.
pub(crate) const SERIES: [&str; 13] = [
    "cpu_user_percent",
    "cpu_system_percent",
    "cpu_iowait_percent",
    "cpu_irq_percent",
    "cpu_steal_percent",
    "load_1m",
    "memory_used_percent",
    "swap_used_percent",
    "fullest_partition_percent",
    "disk_read_bytes",
    "disk_written_bytes",
    "network_received_bytes",
    "network_sent_bytes",
];

/// One row; what is not known is no number.
pub(crate) type Row = [f32; SERIES.len()];

/// A row of which nothing is known.
pub(crate) const NOTHING: Row = [f32::NAN; SERIES.len()];

/// How far back the rows reach.
const REACH_MS: Millis = 3_600_000;

/// Time between two rows.
#[allow(clippy::cast_possible_truncation, reason = "ten seconds")]
const STEP_MS: Millis = ring::STEP.as_millis() as Millis;

/// Rows at most, whatever the clock does.
const MOST: usize = 361;

/// The rows, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Hour(VecDeque<(Millis, Row)>);

/// What `/api/v1/hour` says.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    step_ms: Millis,
    /// The newest there is.
    until_ms: Millis,
    times_ms: Vec<Millis>,
    series: BTreeMap<&'static str, Vec<Option<f32>>>,
}

impl Hour {
    /// Adds a row, and forgets what is older than an hour. Where the clock was set back, what is ahead goes.
    pub(crate) fn push(&mut self, at_ms: Millis, row: Row) {
        while self.0.back().is_some_and(|(last, _)| *last >= at_ms) {
            self.0.pop_back();
        }
        // Nothing was taken for a while, as on a host that slept: a chart draws no line over it.
        let gap = self.0.back().map(|(last, _)| last + STEP_MS).filter(|next| next + 2 * STEP_MS < at_ms);
        for (at_ms, row) in gap.map(|at_ms| (at_ms, NOTHING)).into_iter().chain([(at_ms, row)]) {
            let old = |(first, _): &(Millis, Row)| at_ms.saturating_sub(*first) > REACH_MS;
            while self.0.front().is_some_and(old) || self.0.len() >= MOST {
                self.0.pop_front();
            }
            self.0.push_back((at_ms, row));
        }
    }

    /// What was taken after `since_ms`, to two decimals.
    pub(crate) fn since(&self, since_ms: Millis) -> Shown {
        let rows = || self.0.iter().filter(|(at_ms, _)| *at_ms > since_ms);
        let known = |value: f32| value.is_finite().then(|| (value * 100.0).round() / 100.0);
        let column = |at: usize| rows().map(|(_, row)| row.get(at).copied().and_then(known)).collect();
        Shown {
            step_ms: STEP_MS,
            until_ms: self.0.back().map_or(0, |(at_ms, _)| *at_ms),
            times_ms: rows().map(|(at_ms, _)| *at_ms).collect(),
            series: SERIES.into_iter().enumerate().map(|(at, name)| (name, column(at))).collect(),
        }
    }

    /// The series of that name as means of `points` equal parts of the hour that ends with the newest row.
    pub(crate) fn means(&self, name: &str, points: usize) -> Vec<Option<f32>> {
        let mut parts = vec![(0.0, 0.0_f32); points];
        let place = SERIES.iter().position(|series| *series == name);
        let end = self.0.back().map_or(0, |(at_ms, _)| *at_ms);
        let length = REACH_MS / u64::try_from(points.max(1)).unwrap_or(REACH_MS);
        for (at_ms, row) in &self.0 {
            let from_end = usize::try_from(end.saturating_sub(*at_ms) / length.max(1)).unwrap_or(usize::MAX);
            let value = place.and_then(|place| row.get(place)).copied().filter(|value| value.is_finite());
            let part = points.checked_sub(1).and_then(|last| parts.get_mut(last.checked_sub(from_end)?));
            if let (Some((sum, count)), Some(value)) = (part, value) {
                *sum += value;
                *count += 1.0;
            }
        }
        parts.into_iter().map(|(sum, count)| (count > 0.0).then(|| sum / count)).collect()
    }

    /// The newest value of the series and its highest.
    pub(crate) fn now_and_most(&self, name: &str) -> Option<(f32, f32)> {
        let place = SERIES.iter().position(|series| *series == name)?;
        let value = |(_, row): &(Millis, Row)| row.get(place).copied();
        let now = self.0.back().and_then(value).filter(|value| value.is_finite())?;
        Some((now, self.0.iter().filter_map(value).fold(now, f32::max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f32) -> Row {
        [value; SERIES.len()]
    }

    fn times(hour: &Hour) -> Vec<Millis> {
        hour.since(0).times_ms
    }

    #[test]
    fn it_holds_an_hour_and_no_more() {
        let mut hour = Hour::default();
        for at in 1..=2000 {
            hour.push(at * STEP_MS, row(1.0));
        }
        assert_eq!(hour.0.len(), MOST);
        assert_eq!(times(&hour).last().unwrap() - times(&hour).first().unwrap(), REACH_MS);
        assert!(size_of_val(&hour.0[0]) * MOST < 24 * 1024);
        // Faster than it should be, or a clock that leaps ahead.
        for at in 1..=2000 {
            hour.push(2000 * STEP_MS + at, row(1.0));
        }
        assert_eq!(hour.0.len(), MOST);
        hour.push(2 * REACH_MS + 2000 * STEP_MS, row(1.0));
        assert_eq!(times(&hour).len(), 1);
    }

    #[test]
    fn a_pause_is_a_gap_and_a_clock_that_is_set_back_leaves_no_time_twice() {
        let mut hour = Hour::default();
        for at in [1, 2, 3, 9] {
            hour.push(at * STEP_MS, row(1.0));
        }
        assert_eq!(times(&hour), [1, 2, 3, 4, 9].map(|at| at * STEP_MS));
        let shown = hour.since(2 * STEP_MS);
        assert_eq!(shown.series["load_1m"], [Some(1.0), None, Some(1.0)]);
        hour.push(2 * STEP_MS, row(5.0));
        assert_eq!(times(&hour), [STEP_MS, 2 * STEP_MS]);
    }

    #[test]
    fn what_is_shown_is_json_without_long_tails() {
        let mut hour = Hour::default();
        hour.push(7, row(1.0 / 3.0));
        hour.push(8, NOTHING);
        let json = serde_json::to_string(&hour.since(0)).unwrap();
        assert!(json.starts_with("{\"step_ms\":10000,\"until_ms\":8,\"times_ms\":[7,8],"), "{json}");
        assert!(json.contains("\"load_1m\":[0.33,null]"), "{json}");
        assert_eq!(json.matches("[0.33,null]").count(), SERIES.len());
    }

    #[test]
    fn means_end_with_the_newest() {
        let mut hour = Hour::default();
        assert_eq!(hour.means("load_1m", 3), [None; 3]);
        for (minute, value) in [(1, 9.0), (21, 1.0), (22, 3.0), (60, 5.0)] {
            hour.0.push_back((minute * 60_000, row(value)));
        }
        assert_eq!(hour.means("load_1m", 3), [Some(9.0), Some(2.0), Some(5.0)]);
        assert_eq!(hour.means("no such series", 2), [None; 2]);
        assert_eq!(hour.means("load_1m", 0), []);
        assert_eq!(hour.now_and_most("load_1m"), Some((5.0, 9.0)));
    }
}
