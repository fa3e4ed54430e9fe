//! How many posts go up in a second at most: a backlog drains evenly instead of in one blow, and what stood
//! still for a while may catch up a little at once.

use std::time::Duration;

use tokio::time::Instant;

/// What may go at once after a rest, as time that was not used.
const BURST: Duration = Duration::from_millis(100);

/// A limit on posts a second.
#[derive(Debug)]
pub(super) struct Rate {
    /// The time between two posts; zero where there is no limit.
    spacing: Duration,
    /// When the next post is due if all had gone evenly.
    due: Option<Instant>,
}

impl Rate {
    /// So many posts a second; 0: no limit.
    pub(super) fn new(a_second: u32) -> Self {
        let spacing = Duration::from_secs(1).checked_div(a_second).unwrap_or_default();
        Self { spacing, due: None }
    }

    /// Another limit from now on; what was sent before counts.
    pub(super) fn follow(&mut self, other: &Self) {
        self.spacing = other.spacing;
    }

    /// When a post may go. What is past is now.
    pub(super) fn free_at(&self) -> Option<Instant> {
        let tolerance = BURST.saturating_sub(self.spacing);
        self.due.filter(|_| !self.spacing.is_zero()).map(|due| due.checked_sub(tolerance).unwrap_or(due))
    }

    /// Whether a post may go now; one that may is counted.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.free_at().is_some_and(|free| free > now) {
            return false;
        }
        let from = self.due.map_or(now, |due| due.max(now));
        self.due = Some(from + self.spacing);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many posts go in ten seconds if one is tried each millisecond, and how many in the first of these.
    fn tried(a_second: u32) -> (usize, usize) {
        let mut rate = Rate::new(a_second);
        let begin = Instant::now();
        let gone: Vec<usize> = (0..10_000)
            .map(|ms| {
                let now = begin + Duration::from_millis(ms);
                (0..5).filter(|_| rate.take(now)).count()
            })
            .collect();
        (gone.iter().sum(), *gone.first().unwrap())
    }

    #[test]
    fn the_rate_is_kept_and_a_rest_is_made_up_for_a_little() {
        let about =
            |sum: usize, a_second: usize| (a_second * 10..=a_second * 10 + a_second / 5 + 1).contains(&sum);
        for a_second in [1_u32, 7, 10, 100, 1000] {
            let (sum, first) = tried(a_second);
            assert!(about(sum, a_second as usize), "{a_second} a second: {sum} in ten");
            assert!(first <= 1 + a_second as usize / 10, "{a_second} a second: {first} at once");
        }
        assert_eq!(tried(0).0, 50_000, "no limit");
    }

    #[test]
    fn it_says_when_the_next_may_go() {
        let mut rate = Rate::new(2);
        let now = Instant::now();
        assert!(rate.free_at().is_none_or(|free| free <= now) && rate.take(now));
        let free = rate.free_at().unwrap();
        assert_eq!(free - now, Duration::from_millis(500));
        assert!(!rate.take(free - Duration::from_millis(1)) && rate.take(free));
    }
}
