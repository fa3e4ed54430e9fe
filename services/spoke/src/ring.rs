//! The ring of samples from which percentages over a polling interval are worked out, so that two pollers
//! do not disturb each other: one every ten seconds for an hour, one every five minutes for a day.

use std::collections::VecDeque;
use std::time::Duration;

/// Time between two samples.
pub const STEP: Duration = Duration::from_secs(10);

/// How far back every sample is kept.
const FINE: Duration = Duration::from_secs(3600);

/// Time between two samples that are kept for longer.
const COARSE_STEP: Duration = Duration::from_secs(300);

/// How far back the ring reaches.
const REACH: Duration = Duration::from_secs(86_400);

/// Samples in the order of their age, each with the monotonic time at which it was taken.
#[derive(Debug)]
pub struct Ring<T> {
    coarse: VecDeque<(Duration, T)>,
    fine: VecDeque<(Duration, T)>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { coarse: VecDeque::new(), fine: VecDeque::new() }
    }
}

impl<T> Ring<T> {
    /// Adds a sample taken at `now`, and forgets what is no longer needed.
    pub fn push(&mut self, now: Duration, sample: T) {
        // In both parts one more than fits stays, so that an interval as long as the part has its sample.
        while let Some(old) = pop_beyond(&mut self.fine, now, FINE) {
            let due = self.coarse.back().is_none_or(|(last, _)| old.0.saturating_sub(*last) >= COARSE_STEP);
            if due {
                self.coarse.push_back(old);
            }
        }
        while pop_beyond(&mut self.coarse, now, REACH).is_some() {}
        self.fine.push_back((now, sample));
    }

    /// The sample to compare with for an interval that ends at `now`: the newest that is at least the
    /// interval old, else the oldest; none where none was taken yet.
    pub fn before(&self, now: Duration, interval: Duration) -> Option<&T> {
        let old_enough = |(taken, _): &&(Duration, T)| now.saturating_sub(*taken) >= interval;
        let newest_first = || self.fine.iter().rev().chain(self.coarse.iter().rev());
        newest_first().find(old_enough).or_else(|| newest_first().last()).map(|(_, sample)| sample)
    }
}

/// Takes the oldest out where the one behind it reaches back far enough already.
fn pop_beyond<T>(
    samples: &mut VecDeque<(Duration, T)>,
    now: Duration,
    reach: Duration,
) -> Option<(Duration, T)> {
    let (second, _) = samples.get(1)?;
    if now.saturating_sub(*second) >= reach { samples.pop_front() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_empty_ring_has_nothing_to_compare_with() {
        assert_eq!(Ring::<u64>::default().before(seconds(5), seconds(1)), None);
    }

    #[test]
    fn the_newest_that_is_old_enough_is_taken_else_the_oldest() {
        let mut ring = Ring::default();
        for at in [0, 10, 20, 30] {
            ring.push(seconds(at), at);
        }
        assert_eq!(ring.before(seconds(35), seconds(5)), Some(&30));
        assert_eq!(ring.before(seconds(35), seconds(6)), Some(&20));
        assert_eq!(ring.before(seconds(35), seconds(35)), Some(&0));
        assert_eq!(ring.before(seconds(35), seconds(300)), Some(&0));
        assert_eq!(ring.before(seconds(35), seconds(0)), Some(&30));
    }

    #[test]
    fn it_is_fine_for_an_hour_coarse_for_a_day_and_stays_small() {
        let mut ring = Ring::default();
        for at in (0..1_000_000).step_by(10) {
            ring.push(seconds(at), at);
        }
        assert!(
            ring.fine.len() <= 362 && ring.coarse.len() <= 290,
            "{} {}",
            ring.fine.len(),
            ring.coarse.len()
        );
        let now = seconds(999_990);
        assert_eq!(ring.before(now, seconds(3600)), Some(&996_390));
        for interval in [3_610, 7_200, 40_000, 86_400] {
            let age = now - seconds(*ring.before(now, seconds(interval)).unwrap());
            assert!(
                age >= seconds(interval) && age <= seconds(interval) + COARSE_STEP,
                "{interval}: {age:?}"
            );
        }
        let oldest = *ring.before(now, seconds(31_536_000)).unwrap();
        assert!(now - seconds(oldest) >= REACH && now - seconds(oldest) <= REACH + COARSE_STEP);
    }
}
