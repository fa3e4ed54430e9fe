//! The wall clock as a value: what needs the time of day is given a [`Clock`], so that a test can shift it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as the posts count.
pub type Millis = u64;

/// Tells the time of day, shifted where a test wants it so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    shift_ms: i64,
    /// A file that says how many milliseconds more, read each time: so a test sets a running program's clock.
    more: Option<&'static Path>,
}

/// For tests alone, and in no documentation: by how many milliseconds a program's clock is ahead, or the path
/// of a file that says so.
const TEST_SHIFT: &str = "PATTOO_TEST_CLOCK_SHIFT_MS";

impl Clock {
    /// The clock of the system.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that is `shift_ms` ahead of the system's (behind it, where negative).
    pub fn shifted(shift_ms: i64) -> Self {
        Self { shift_ms, more: None }
    }

    /// The clock of the system, or what a test has made of it. To be called once, at start.
    pub fn of_this_program() -> Self {
        match std::env::var(TEST_SHIFT) {
            Ok(path) if path.starts_with('/') => Self { shift_ms: 0, more: Some(Path::new(path.leak())) },
            Ok(shift) => Self::shifted(shift.parse().unwrap_or(0)),
            Err(_) => Self::system(),
        }
    }

    /// Milliseconds since 1970. A clock before that year counts as 0.
    pub fn now_ms(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let said = self.more.and_then(|path| std::fs::read_to_string(path).ok());
        let more: i64 = said.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        u64::try_from(ms.saturating_add(self.shift_ms).saturating_add(more)).unwrap_or(0)
    }
}
