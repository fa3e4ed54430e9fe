//! Posts from the future. The server would keep them, and their series would be silent until then. No I/O, and
//! the time of day is passed in, so that every course of events can be tried.
//!
//! - Up to `skew` ahead of the hub's clock a post goes, up to `max_future` it waits in its lane until it is due.
//! - Beyond that it is set aside, but only once its lane has been ahead for a while ([`Clocks::patience`]), in
//!   which every other lane has shown where its clock stands: for
//! - where at least three lanes, and half of the active ones, are ahead, the hub's own clock is the suspect.
//!   All of them wait then.
//!
//! A lane is active while it is ahead, and for a few intervals after its last post of these days.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::check::Stamp;
use crate::store::Lane;

/// So many lanes must be ahead before the hub's clock is the suspect.
const SUSPICIOUS: usize = 3;

/// Intervals for which a lane has to be ahead before one of its posts is set aside.
const PATIENCE: u32 = 2;

/// Intervals for which a lane counts as active after a post.
const ACTIVE: u32 = 3;

/// So few lanes are not worth looking which of them fell silent.
const LEAST_TO_PRUNE: usize = 1000;

/// The longest interval that is waited for, whatever a post says.
const LONGEST: Duration = Duration::from_secs(1800);

/// What the clocks say of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may go.
    Go,
    /// It waits.
    Wait,
    /// It is set aside.
    TooFar,
}

/// A lane whose oldest post is ahead.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    sequence: u64,
    stamp_ms: u64,
    /// Since when one post or the other of this lane is ahead.
    since: Instant,
}

/// What is known of the senders' clocks.
#[derive(Debug)]
pub(super) struct Clocks {
    skew_ms: u64,
    max_future_ms: u64,
    /// The longest interval seen.
    interval: Duration,
    ahead: HashMap<Lane, Ahead>,
    /// When a lane had its last post that is of these days and not ahead.
    right: HashMap<Lane, Instant>,
    suspect: bool,
    /// How many lanes were ahead at the last look.
    looked_at: usize,
    /// How many lanes may be remembered before it is looked which of them are active.
    prune_at: usize,
}

impl Clocks {
    /// Nothing is known yet. `interval` is that of the hub itself.
    pub(super) fn new(skew: Duration, max_future: Duration, interval: Duration) -> Self {
        Self {
            skew_ms: millis(skew),
            max_future_ms: millis(max_future),
            interval: interval.min(LONGEST),
            ahead: HashMap::new(),
            right: HashMap::new(),
            suspect: false,
            looked_at: 0,
            prune_at: LEAST_TO_PRUNE,
        }
    }

    /// From now on with these bounds.
    pub(super) fn follow(&mut self, skew: Duration, max_future: Duration) {
        (self.skew_ms, self.max_future_ms) = (millis(skew), millis(max_future));
    }

    /// Judges a lane's oldest post, before it is sent.
    pub(super) fn judge(
        &mut self,
        lane: &Lane,
        sequence: u64,
        stamp: Stamp,
        now_ms: u64,
        now: Instant,
    ) -> Verdict {
        self.interval = self.interval.max(stamp.interval.min(LONGEST));
        if stamp.ms <= now_ms.saturating_add(self.skew_ms) {
            self.ahead.remove(lane);
            // An old post says nothing of the clock of today.
            if now_ms.saturating_sub(stamp.ms) <= millis(self.interval * ACTIVE).saturating_add(self.skew_ms)
            {
                self.right.insert(lane.clone(), now);
                if self.right.len() > self.prune_at {
                    self.prune(now);
                }
            }
            return Verdict::Go;
        }
        self.right.remove(lane);
        let since = self.ahead.get(lane).map_or(now, |ahead| ahead.since);
        let ahead = Ahead { sequence, stamp_ms: stamp.ms, since };
        self.ahead.insert(lane.clone(), ahead);
        if self.is_too_far(&ahead, now_ms, now) { Verdict::TooFar } else { Verdict::Wait }
    }

    /// How long a lane has to be ahead before its posts are set aside.
    fn patience(&self) -> Duration {
        self.interval * PATIENCE
    }

    fn is_too_far(&self, ahead: &Ahead, now_ms: u64, now: Instant) -> bool {
        !self.suspect
            && ahead.stamp_ms > now_ms.saturating_add(self.max_future_ms)
            && now.duration_since(ahead.since) >= self.patience()
    }

    /// To be called every second while something waits: the lanes whose oldest post is to be judged again,
    /// since it is due, or too far ahead, or another one by now (`head` says which). Works out anew whether the
    /// hub's clock is the suspect.
    pub(super) fn look(
        &mut self,
        now_ms: u64,
        now: Instant,
        head: impl Fn(&Lane) -> Option<u64>,
    ) -> Vec<Lane> {
        self.prune(now);
        self.looked_at = self.ahead.len();
        let ahead = self.ahead_now(now_ms);
        self.suspect = ahead >= SUSPICIOUS && ahead >= self.right.len();
        let again = self.ahead.iter().filter(|(lane, ahead)| {
            ahead.stamp_ms <= now_ms.saturating_add(self.skew_ms)
                || self.is_too_far(ahead, now_ms, now)
                || head(lane) != Some(ahead.sequence)
        });
        again.map(|(lane, _)| lane.clone()).collect()
    }

    /// Forgets lanes that are not active any more.
    fn prune(&mut self, now: Instant) {
        let active = self.interval * ACTIVE;
        self.right.retain(|_, last| now.duration_since(*last) <= active);
        self.prune_at = self.right.len() * 2 + LEAST_TO_PRUNE;
    }

    fn ahead_now(&self, now_ms: u64) -> usize {
        let limit = now_ms.saturating_add(self.skew_ms);
        self.ahead.values().filter(|ahead| ahead.stamp_ms > limit).count()
    }

    /// The lane is empty.
    pub(super) fn forget(&mut self, lane: &Lane) {
        self.ahead.remove(lane);
    }

    /// Whether [`Clocks::look`] has something to look at, or something to take back.
    pub(super) fn is_busy(&self) -> bool {
        !self.ahead.is_empty() || self.looked_at > 0
    }

    /// How many lanes wait since their oldest post is ahead.
    pub(super) fn waiting(&self) -> usize {
        self.ahead.len()
    }

    /// What a person should know, if the hub's own clock is the suspect.
    pub(super) fn suspicion(&self) -> Option<String> {
        let ahead = self.ahead.len();
        self.suspect.then(|| {
            format!(
                "this hub's clock seems to be behind: {ahead} of {} active sources are ahead of it; their posts wait",
                ahead + self.right.len()
            )
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    /// What the hub's clock says when a test begins.
    const NOON: u64 = 1_795_350_000_000;

    /// Clocks, and a time that passes for both of the hub's clocks alike.
    struct Site {
        clocks: Clocks,
        begin: Instant,
        passed: Duration,
        /// By how much the hub's wall clock was set, in ms.
        set: i64,
    }

    impl Site {
        fn new() -> Self {
            let clocks = Clocks::new(60 * SECOND, 3600 * SECOND, 10 * SECOND);
            Self { clocks, begin: Instant::now(), passed: Duration::ZERO, set: 0 }
        }

        fn now(&self) -> (u64, Instant) {
            let wall = (NOON + millis(self.passed)).saturating_add_signed(self.set);
            (wall, self.begin + self.passed)
        }

        fn judge(&mut self, lane: &str, sequence: u64, ms: u64) -> Verdict {
            let (wall, now) = self.now();
            let stamp = Stamp { ms, interval: 10 * SECOND };
            self.clocks.judge(&lane.into(), sequence, stamp, wall, now)
        }

        /// Lets time pass; each lane's oldest post is still the one it was. Returns who is judged again.
        fn pass(&mut self, seconds: u32) -> Vec<String> {
            self.passed += SECOND * seconds;
            let (wall, now) = self.now();
            let heads: HashMap<Lane, u64> =
                self.clocks.ahead.iter().map(|(lane, ahead)| (lane.clone(), ahead.sequence)).collect();
            let again = self.clocks.look(wall, now, |lane| heads.get(lane).copied());
            let mut again: Vec<String> = again.iter().map(|lane| lane.to_string()).collect();
            again.sort();
            again
        }
    }

    #[test]
    fn a_little_ahead_goes_more_ahead_waits_until_it_is_due() {
        let mut site = Site::new();
        assert_eq!(site.judge("a", 1, 0), Verdict::Go);
        assert_eq!(site.judge("a", 1, NOON + MINUTE), Verdict::Go);
        assert_eq!(site.judge("a", 2, NOON + MINUTE + 1), Verdict::Wait);
        assert_eq!(site.clocks.waiting(), 1);
        assert_eq!(site.pass(1), ["a"]);
        assert_eq!(site.judge("a", 2, NOON + MINUTE + 1), Verdict::Go);
        assert_eq!(site.clocks.waiting(), 0);
        assert_eq!(site.judge("a", 3, NOON + HOUR), Verdict::Wait);
        assert_eq!(site.pass(3000), Vec::<String>::new());
        assert_eq!(site.pass(600), ["a"]);
        assert_eq!(site.judge("a", 3, NOON + HOUR), Verdict::Go);
    }

    #[test]
    fn too_far_ahead_is_set_aside_once_others_could_show_their_clocks() {
        let mut site = Site::new();
        assert_eq!(site.judge("a", 1, NOON + 2 * HOUR), Verdict::Wait);
        assert_eq!(site.pass(19), Vec::<String>::new());
        assert_eq!(site.pass(1), ["a"]);
        assert_eq!(site.judge("a", 1, NOON + 2 * HOUR), Verdict::TooFar);
        // What follows it does not wait as long again,
        assert_eq!(site.judge("a", 2, NOON + 2 * HOUR), Verdict::TooFar);
        // unless the clock of the sender was right meanwhile.
        assert_eq!(site.judge("a", 3, NOON), Verdict::Go);
        assert_eq!(site.judge("a", 4, NOON + 2 * HOUR), Verdict::Wait);
    }

    #[test]
    fn where_three_lanes_and_half_of_the_active_ones_are_ahead_the_hubs_clock_is_the_suspect() {
        for (ahead, right, suspect) in
            [(1, 0, false), (2, 0, false), (3, 0, true), (3, 3, true), (3, 4, false)]
        {
            let mut site = Site::new();
            let stamp = NOON + 2 * HOUR;
            for lane in 0..ahead {
                assert_eq!(site.judge(&format!("ahead{lane}"), 1, stamp), Verdict::Wait);
            }
            site.pass(15);
            let wall = site.now().0;
            (0..right).for_each(|lane| assert_eq!(site.judge(&format!("right{lane}"), 1, wall), Verdict::Go));
            let again = site.pass(5);
            assert_eq!(site.clocks.suspicion().is_some(), suspect, "{ahead} ahead, {right} right");
            assert_eq!(again.len(), if suspect { 0 } else { ahead });
            let told = if suspect { Verdict::Wait } else { Verdict::TooFar };
            assert_eq!(site.judge("ahead0", 1, stamp), told);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_by_an_hour_and_forth_again_costs_nothing() {
        for back in [HOUR, 3 * HOUR] {
            let mut site = Site::new();
            let lanes = ["a", "b", "c", "d"];
            for lane in lanes {
                assert_eq!(site.judge(lane, 1, NOON), Verdict::Go);
            }
            site.set = -i64::try_from(back).unwrap();
            // Each lane's next post comes at its own time within the interval.
            for (number, lane) in lanes.iter().enumerate() {
                let stamp = NOON + 10_000 + number as u64 * 1000;
                assert_eq!(site.judge(lane, 2, stamp), Verdict::Wait, "{back}");
                assert_eq!(site.pass(2), Vec::<String>::new());
            }
            assert_eq!(site.pass(20), Vec::<String>::new());
            let note = site.clocks.suspicion().unwrap();
            assert!(note.contains("4 of 4 active sources"), "{note}");
            site.set = 0;
            assert_eq!(site.pass(1), lanes);
            assert_eq!(site.clocks.suspicion(), None);
            for lane in lanes {
                assert_eq!(site.judge(lane, 2, NOON + 13_000), Verdict::Go);
            }
        }
    }

    #[test]
    fn a_backlog_and_lanes_that_fell_silent_say_nothing_of_the_clock() {
        let mut site = Site::new();
        // Right once, and silent since; and old posts.
        (0..9).for_each(|lane| assert_eq!(site.judge(&format!("silent{lane}"), 1, NOON), Verdict::Go));
        site.pass(60);
        (0..9).for_each(|lane| assert_eq!(site.judge(&format!("old{lane}"), 1, NOON - HOUR), Verdict::Go));
        (0..3)
            .for_each(|lane| assert_eq!(site.judge(&format!("a{lane}"), 1, NOON + 3 * HOUR), Verdict::Wait));
        assert_eq!(site.pass(20), Vec::<String>::new());
        assert!(site.clocks.suspicion().is_some());
    }

    #[test]
    fn a_lane_whose_oldest_post_was_dropped_is_judged_again() {
        let mut site = Site::new();
        assert_eq!(site.judge("a", 1, NOON + HOUR), Verdict::Wait);
        let (wall, now) = site.now();
        assert_eq!(site.clocks.look(wall, now, |_| Some(1)), []);
        assert_eq!(site.clocks.look(wall, now, |_| Some(2)), ["a".into()]);
        assert_eq!(site.clocks.look(wall, now, |_| None), ["a".into()]);
        site.clocks.forget(&"a".into());
        assert_eq!(site.clocks.waiting(), 0);
    }

    #[test]
    fn patience_grows_with_the_intervals_that_posts_name_up_to_an_hour() {
        let mut site = Site::new();
        let stamp = |interval| Stamp { ms: NOON, interval };
        let (wall, now) = site.now();
        site.clocks.judge(&"a".into(), 1, stamp(300 * SECOND), wall, now);
        assert_eq!(site.clocks.patience(), 600 * SECOND);
        site.clocks.judge(&"a".into(), 2, stamp(Duration::MAX), wall, now);
        assert_eq!(site.clocks.patience(), 3600 * SECOND);
    }

    #[test]
    fn lanes_that_come_and_go_are_not_remembered_for_ever() {
        let mut site = Site::new();
        for lane in 0..100_000_u32 {
            site.passed += Duration::from_millis(100);
            let wall = site.now().0;
            assert_eq!(site.judge(&lane.to_string(), 1, wall), Verdict::Go);
        }
        // Ten a second, active for thirty seconds each.
        assert!(site.clocks.right.len() <= 300 * 2 + LEAST_TO_PRUNE, "{}", site.clocks.right.len());
    }
}
