//! What happens with every post or request but is worth a line of log only now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines at most in this time.
const WHILE: Duration = Duration::from_secs(60);

/// Counts events and says when one is to be logged: once a minute, unless made for more.
#[derive(Debug)]
pub struct Rarely {
    lines: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the minute began, and how many lines it has had.
    minute: Option<(Instant, u32)>,
    /// Events since the last line.
    untold: u64,
}

impl Default for Rarely {
    fn default() -> Self {
        Self::lines_a_minute(1)
    }
}

impl Rarely {
    /// For events that differ in what they tell.
    pub fn lines_a_minute(lines: u32) -> Self {
        Self { lines, state: Mutex::default() }
    }

    /// Counts an event; returns how many happened since the last line where it is time for one.
    pub fn count(&self) -> Option<u64> {
        self.add(1)
    }

    /// Counts several events.
    pub fn add(&self, events: u64) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold = state.untold.saturating_add(events);
        let (began, lines) =
            state.minute.filter(|(began, _)| began.elapsed() < WHILE).unwrap_or((Instant::now(), 0));
        if lines >= self.lines {
            return None;
        }
        state.minute = Some((began, lines + 1));
        Some(std::mem::take(&mut state.untold))
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
        let some = Rarely::lines_a_minute(2);
        assert_eq!([some.count(), some.add(3), some.count()], [Some(1), Some(3), None]);
    }
}
