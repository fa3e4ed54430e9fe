//! What happens with every post but is worth a line of log only now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one line in this time.
const PAUSE: Duration = Duration::from_secs(60);

/// Counts events and says when one is to be logged.
#[derive(Debug, Default)]
pub(crate) struct Rarely(Mutex<(Option<Instant>, u64)>);

impl Rarely {
    /// Counts an event; returns how many happened since the last line where it is time for one.
    pub(crate) fn count(&self) -> Option<u64> {
        self.add(1)
    }

    /// Counts several events.
    pub(crate) fn add(&self, events: u64) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = state.1.saturating_add(events);
        if state.0.is_some_and(|last| last.elapsed() < PAUSE) {
            return None;
        }
        state.0 = Some(Instant::now());
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute() {
        let rarely = Rarely::default();
        assert_eq!(rarely.count(), Some(1));
        assert_eq!((rarely.count(), rarely.count()), (None, None));
    }
}
