//! Which lane is next, and whether now: no I/O, so that every course of events can be tried.
//!
//! A lane is in one place at a time: ready, under way, pausing, or held (its oldest post is of the future). Lanes that failed stand behind those that
//! did not, so a post that brings the server down each time does not keep the others from asking whether it
//! is back; among equals the lane with the oldest post goes first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::pause;
use super::rate::Rate;
use crate::store::Lane;

/// The longest that the server may have itself left alone: it may have meant milliseconds.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// A delivery that found the server down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// When it began.
    pub(super) began: Instant,
    /// How long the server wants to be left alone, if it has said so.
    pub(super) retry_after: Option<Duration>,
}

/// The server is down: nothing goes before `until`, then one post asks.
#[derive(Clone, Copy, Debug)]
struct Down {
    failures: u32,
    since: Instant,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Plan {
    concurrency: usize,
    backoff_max: Duration,
    rate: Rate,
    /// The lanes that are in one of the four places.
    known: HashSet<Lane>,
    ready: BTreeSet<(u32, u64, Lane)>,
    under_way: usize,
    pausing: BTreeSet<(Instant, Lane)>,
    held: HashSet<Lane>,
    /// Failures in a row of the lanes that have some.
    failures: HashMap<Lane, u32>,
    down: Option<Down>,
    last_delivery: Option<Instant>,
}

impl Plan {
    pub(super) fn new(concurrency: usize, backoff_max: Duration, rate: Rate) -> Self {
        Self {
            concurrency,
            backoff_max,
            rate,
            known: HashSet::new(),
            ready: BTreeSet::new(),
            under_way: 0,
            pausing: BTreeSet::new(),
            held: HashSet::new(),
            failures: HashMap::new(),
            down: None,
            last_delivery: None,
        }
    }

    /// From now on with these bounds.
    pub(super) fn follow(&mut self, concurrency: usize, backoff_max: Duration, rate: &Rate) {
        (self.concurrency, self.backoff_max) = (concurrency, backoff_max);
        self.rate.follow(rate);
    }

    /// A lane that was empty has posts now.
    pub(super) fn has_posts(&mut self, lane: &Lane, head: Option<u64>) {
        if !self.known.contains(lane) {
            self.make_ready(lane, head);
        }
    }

    /// The lane whose oldest post is to be sent now; it is under way from here on.
    pub(super) fn take(&mut self, now: Instant) -> Option<Lane> {
        while self.pausing.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, lane)) = self.pausing.pop_first() else { break };
            // The lane's head may have been dropped meanwhile; its place in the order is no more than a hint.
            self.make_ready(&lane, Some(0));
        }
        let places = match self.down {
            None => self.concurrency,
            Some(down) if down.until <= now => 1,
            Some(_) => 0,
        };
        if self.under_way >= places || self.ready.is_empty() || !self.rate.take(now) {
            return None;
        }
        let (_, _, lane) = self.ready.pop_first()?;
        self.under_way += 1;
        Some(lane)
    }

    /// Whether the lane's last delivery failed.
    pub(super) fn has_failed(&self, lane: &Lane) -> bool {
        self.failures.contains_key(lane)
    }

    /// When to look again though nothing happened.
    pub(super) fn wake(&self) -> Option<Instant> {
        let pausing = self.pausing.first().map(|(until, _)| *until);
        // Something stands ready and has a place: then it waits for the server, or for the rate.
        let places = if self.down.is_some() { 1 } else { self.concurrency };
        let going = (self.under_way < places && !self.ready.is_empty())
            .then(|| self.down.map(|down| down.until).max(self.rate.free_at()))
            .flatten();
        pausing.into_iter().chain(going).min()
    }

    /// The lane had nothing to send after all.
    pub(super) fn idle(&mut self, lane: &Lane, head: Option<u64>) {
        self.under_way = self.under_way.saturating_sub(1);
        self.make_ready(lane, head);
    }

    /// The lane's oldest post is of the future: the lane stands still until [`Plan::release`].
    pub(super) fn hold(&mut self, lane: &Lane) {
        self.under_way = self.under_way.saturating_sub(1);
        self.held.insert(lane.clone());
    }

    /// The lane may be looked at again, if it was held.
    pub(super) fn release(&mut self, lane: &Lane, head: Option<u64>) {
        if self.held.remove(lane) {
            // One that was emptied meanwhile is forgotten as soon as that is seen.
            self.make_ready(lane, Some(head.unwrap_or(0)));
        }
    }

    /// The lane's oldest post was set aside, which says nothing of the server.
    pub(super) fn set_aside(&mut self, lane: &Lane, head: Option<u64>) {
        self.under_way = self.under_way.saturating_sub(1);
        self.failures.remove(lane);
        self.make_ready(lane, head);
    }

    /// The hub itself could not do what had to be done with the lane's oldest post: the lane pauses.
    pub(super) fn stuck(&mut self, lane: &Lane, head: Option<u64>, now: Instant) {
        self.pause(lane, head, now, None);
    }

    /// The server is there: it took the canary.
    pub(super) fn up(&mut self) {
        self.down = None;
    }

    /// The lane's oldest post was taken.
    pub(super) fn delivered(&mut self, lane: &Lane, head: Option<u64>, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.failures.remove(lane);
        self.down = None;
        self.last_delivery = Some(now);
        self.make_ready(lane, head);
    }

    /// The server refused the lane's oldest post and takes others: the lane pauses.
    pub(super) fn refused(&mut self, lane: &Lane, head: Option<u64>, now: Instant) {
        self.pause(lane, head, now, None);
    }

    /// The server did not take a post: everything pauses. But where another post was taken since this one was
    /// sent, the server is not down; then this lane pauses alone. Returns whether it is down.
    pub(super) fn down(&mut self, lane: &Lane, head: Option<u64>, sent: Sent, now: Instant) -> bool {
        if self.last_delivery.is_some_and(|last| last > sent.began) {
            self.pause(lane, head, now, sent.retry_after);
            return false;
        }
        self.under_way = self.under_way.saturating_sub(1);
        self.fail(lane);
        self.make_ready(lane, head);
        let asked = now + sent.retry_after.unwrap_or_default().min(LONGEST_RETRY);
        // Of several that were under way together, only the first counts.
        if let Some(down) = self.down.as_mut().filter(|down| sent.began < down.since) {
            down.until = down.until.max(asked);
            return true;
        }
        let failures = self.down.map_or(1, |down| down.failures.saturating_add(1));
        let until = asked.max(now + pause(failures, self.backoff_max));
        self.down = Some(Down { failures, since: now, until });
        true
    }

    fn fail(&mut self, lane: &Lane) -> u32 {
        let failures = self.failures.entry(lane.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        *failures
    }

    fn pause(&mut self, lane: &Lane, head: Option<u64>, now: Instant, retry_after: Option<Duration>) {
        self.under_way = self.under_way.saturating_sub(1);
        let failures = self.fail(lane);
        if head.is_none() {
            return self.forget(lane);
        }
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY);
        self.pausing.insert((now + pause(failures, self.backoff_max).max(asked), lane.clone()));
    }

    fn make_ready(&mut self, lane: &Lane, head: Option<u64>) {
        let Some(head) = head else { return self.forget(lane) };
        let failures = self.failures.get(lane).copied().unwrap_or(0);
        self.known.insert(lane.clone());
        self.ready.insert((failures, head, lane.clone()));
    }

    /// The lane is empty; [`Plan::has_posts`] brings it back.
    fn forget(&mut self, lane: &Lane) {
        self.known.remove(lane);
        self.failures.remove(lane);
    }
}

#[cfg(test)]
mod tests;
