use std::time::{Duration, Instant};

/// Long enough for whatever is not measured itself, on a machine with other work to do.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` is true, at most for `limit`; the place where tests sleep.
///
/// # Panics
/// The condition did not become true in time. `what` says what was waited for.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain until {what}");
        std::thread::sleep(LOOK);
    }
}
