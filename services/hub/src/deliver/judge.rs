//! Is a refused post bad, or the server down? The canary, the newest post that the server has acknowledged,
//! sent again, tells. No I/O, so that every course of events can be tried.
//!
//! - A refusal counts against the post only if the canary was sent after it and taken: then the server is well.
//!   A post that was refused `max_attempts` times so is bad.
//! - The canary is refused too, or gets no answer: the server is down, and the refusal says nothing.
//! - Without a canary nothing can be told: the server counts as down. One lane after the other asks whether it
//!   is back then, those that failed least first; the first post that is taken is the canary from then on.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::store::Lane;

/// A post that the server did not want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) lane: Lane,
    pub(super) sequence: u64,
    pub(super) status: u16,
    /// When it was sent.
    pub(super) began: Instant,
}

/// What the canary's way means for a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server takes others: this was refusal number so many of this post.
    Again(u32),
    /// It was refused often enough.
    Bad,
}

/// What is known of refused posts.
#[derive(Debug)]
pub(super) struct Judge {
    max_attempts: u32,
    /// For the lanes whose oldest post was refused while the canary was taken: which post, and how often.
    counted: HashMap<Lane, (u64, u32)>,
    /// Refusals that the canary under way will explain.
    asked: Vec<Refusal>,
    /// Refusals that came after it was sent.
    unexplained: Vec<Refusal>,
}

impl Judge {
    pub(super) fn new(max_attempts: u32) -> Self {
        Self { max_attempts, counted: HashMap::new(), asked: Vec::new(), unexplained: Vec::new() }
    }

    /// From now on so many refusals are enough.
    pub(super) fn follow(&mut self, max_attempts: u32) {
        self.max_attempts = max_attempts;
    }

    /// A post was refused.
    pub(super) fn refused(&mut self, refusal: Refusal) {
        self.unexplained.push(refusal);
    }

    /// Whether a refusal is not explained yet. Nothing else is sent until it is: if the server is down, each
    /// further post would only be refused too.
    pub(super) fn in_doubt(&self) -> bool {
        !self.asked.is_empty() || !self.unexplained.is_empty()
    }

    /// Whether the canary is to be sent now; it is under way then.
    pub(super) fn ask(&mut self) -> bool {
        let now = self.asked.is_empty() && !self.unexplained.is_empty();
        if now {
            self.asked = std::mem::take(&mut self.unexplained);
        }
        now
    }

    /// The canary was taken.
    pub(super) fn taken(&mut self) -> Vec<(Refusal, Verdict)> {
        let asked = std::mem::take(&mut self.asked);
        let judged = asked.into_iter().map(|refusal| {
            let verdict = self.count(&refusal);
            (refusal, verdict)
        });
        judged.collect()
    }

    fn count(&mut self, refusal: &Refusal) -> Verdict {
        let counted = self.counted.entry(refusal.lane.clone()).or_insert((refusal.sequence, 0));
        if counted.0 != refusal.sequence {
            *counted = (refusal.sequence, 0);
        }
        counted.1 = counted.1.saturating_add(1);
        if counted.1 >= self.max_attempts { Verdict::Bad } else { Verdict::Again(counted.1) }
    }

    /// The canary was not taken, or there is none: the server is down. Returns what it refused meanwhile.
    pub(super) fn down(&mut self) -> Vec<Refusal> {
        let mut all = std::mem::take(&mut self.asked);
        all.append(&mut self.unexplained);
        all
    }

    /// The lane's oldest post is gone.
    pub(super) fn forget(&mut self, lane: &Lane) {
        self.counted.remove(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(lane: &str, sequence: u64) -> Refusal {
        Refusal { lane: lane.into(), sequence, status: 500, began: Instant::now() }
    }

    /// Which posts these are.
    fn posts(refusals: &[Refusal]) -> Vec<(&str, u64)> {
        refusals.iter().map(|refusal| (&*refusal.lane, refusal.sequence)).collect()
    }

    fn told(judged: &[(Refusal, Verdict)]) -> Vec<(&str, Verdict)> {
        judged.iter().map(|(refusal, verdict)| (&*refusal.lane, *verdict)).collect()
    }

    /// Refuses a post and lets the canary be taken.
    fn once(judge: &mut Judge, lane: &str, sequence: u64) -> Verdict {
        judge.refused(refusal(lane, sequence));
        assert!(judge.ask() && judge.in_doubt());
        let told = judge.taken();
        assert!(!judge.in_doubt());
        assert_eq!(told.len(), 1);
        told[0].1
    }

    #[test]
    fn a_post_is_bad_once_it_was_refused_often_enough_while_the_canary_was_taken() {
        let mut judge = Judge::new(3);
        assert_eq!(once(&mut judge, "a", 7), Verdict::Again(1));
        assert_eq!(once(&mut judge, "b", 8), Verdict::Again(1));
        assert_eq!(once(&mut judge, "a", 7), Verdict::Again(2));
        assert_eq!(once(&mut judge, "a", 7), Verdict::Bad);
        assert_eq!(once(&mut judge, "b", 8), Verdict::Again(2));
    }

    #[test]
    fn one_attempt_is_enough_where_it_is_said_so() {
        assert_eq!(once(&mut Judge::new(1), "a", 7), Verdict::Bad);
    }

    #[test]
    fn refusals_of_a_server_that_is_down_do_not_count() {
        let mut judge = Judge::new(2);
        for _ in 0..10 {
            judge.refused(refusal("a", 7));
            assert!(judge.ask());
            assert_eq!(posts(&judge.down()), [("a", 7)]);
            assert!(!judge.in_doubt());
        }
        assert_eq!(once(&mut judge, "a", 7), Verdict::Again(1));
        // Nor do they make forgotten what did count.
        judge.refused(refusal("a", 7));
        judge.down();
        assert_eq!(once(&mut judge, "a", 7), Verdict::Bad);
    }

    #[test]
    fn a_canary_says_nothing_of_what_was_refused_after_it_was_sent() {
        let mut judge = Judge::new(1);
        judge.refused(refusal("a", 7));
        assert!(judge.ask());
        judge.refused(refusal("b", 8));
        assert!(!judge.ask(), "one canary at a time");
        assert_eq!(told(&judge.taken()), [("a", Verdict::Bad)]);
        assert!(judge.in_doubt() && judge.ask());
        assert_eq!(told(&judge.taken()), [("b", Verdict::Bad)]);
        assert!(!judge.in_doubt() && !judge.ask());
    }

    #[test]
    fn a_server_that_is_down_explains_all_refusals() {
        let mut judge = Judge::new(1);
        judge.refused(refusal("a", 7));
        assert!(judge.ask());
        judge.refused(refusal("b", 8));
        assert_eq!(posts(&judge.down()), [("a", 7), ("b", 8)]);
        assert!(!judge.in_doubt() && !judge.ask());
    }

    #[test]
    fn each_post_of_a_lane_is_counted_for_itself() {
        let mut judge = Judge::new(2);
        assert_eq!(once(&mut judge, "a", 7), Verdict::Again(1));
        assert_eq!(once(&mut judge, "a", 9), Verdict::Again(1), "number 7 was dropped for want of space");
        judge.forget(&"a".into());
        assert_eq!(once(&mut judge, "a", 9), Verdict::Again(1));
    }
}
