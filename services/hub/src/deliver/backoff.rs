//! How long to wait before trying again: twice as long each time, up to a limit, and a random part of that
//! ("full jitter"), so that many hubs do not come back at one instant.

use std::time::Duration;

/// The longest first pause.
const FIRST: Duration = Duration::from_millis(500);

/// No pause is shorter, however the dice fall.
const LEAST: Duration = Duration::from_millis(50);

/// The pause after that many failures in a row, the first being 1.
pub(super) fn pause(failures: u32, most: Duration) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let ceiling = FIRST.saturating_mul(factor).min(most);
    ceiling.mul_f64(rand::random::<f64>()).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_differ() {
        let most = Duration::from_secs(30);
        let longest = |failures| (0..500).map(|_| pause(failures, most)).max().unwrap();
        let shortest = (0..500).map(|_| pause(40, most)).min().unwrap();
        assert!(longest(1) <= FIRST);
        assert!((FIRST..=2 * FIRST).contains(&longest(2)), "{:?}", longest(2));
        assert!(longest(40) <= most && longest(40) > most / 2);
        assert!(shortest >= LEAST && shortest < most / 2);
        assert!(pause(u32::MAX, most) <= most);
    }
}
