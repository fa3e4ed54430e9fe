//! Polling: one task a target, each at its own offset in the interval.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::clock::Clock;
use agent::http::health::Health;
use agent::shutdown::Stop;
use bytes::Bytes;
use hyper::Uri;
use tokio::time::Instant;

use crate::check::{Reason, check};
use crate::claims::Claims;
use crate::client::{Fault, Getter};
use crate::intake::Intake;
use crate::metrics::{From, Metrics};
use crate::settings::{IdentityRule, Settings};
use crate::target::Target;

/// Why a poll brought nothing. The closed list is the log's word and the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no whole answer.
    Transport(Fault),
    /// A redirect, which is not followed.
    Redirect(u16),
    /// Another status than 200.
    Status(u16),
    /// The body is no post.
    Body(Reason),
    /// The post is of a spoke that is taken from another target.
    Identity,
    /// The hub could not write the body to disk.
    Store,
}

impl Failure {
    /// The failure as one word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Transport(fault) => fault.label(),
            Self::Redirect(_) => "redirect",
            Self::Status(_) => "status",
            Self::Body(reason) => reason.label(),
            Self::Identity => "identity",
            Self::Store => "store",
        }
    }

    /// One failure for each label.
    pub fn all() -> impl Iterator<Item = Self> {
        let faults = Fault::ALL.into_iter().map(Self::Transport);
        let reasons = Reason::ALL.into_iter().map(Self::Body);
        let others = [Self::Redirect(302), Self::Status(500), Self::Identity, Self::Store];
        faults.chain(reasons).chain(others)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirect(status) | Self::Status(status) => write!(out, "{} {status}", self.label()),
            _ => out.write_str(self.label()),
        }
    }
}

/// How a target's last poll ended.
#[derive(Clone, Debug)]
pub enum State {
    /// It was not polled yet.
    Unknown,
    /// It gave a post.
    Up {
        /// Whose post it was.
        agent_id: String,
        /// How large the post was.
        bytes: usize,
        /// How long the poll took.
        took: Duration,
    },
    /// It gave a post of a spoke that another target gives.
    Contested {
        /// Whose post it was.
        agent_id: String,
        /// The target that the spoke is taken from.
        first: Target,
        /// Whether the post goes up all the same.
        goes_up: bool,
    },
    /// It gave none.
    Failing(Failure),
}

impl State {
    /// Why the poll brought nothing, if it brought nothing.
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Contested { goes_up: false, .. } => Some(Failure::Identity),
            Self::Failing(failure) => Some(*failure),
            Self::Unknown | Self::Up { .. } | Self::Contested { goes_up: true, .. } => None,
        }
    }

    /// Whether the poll brought a post.
    pub fn is_up(&self) -> bool {
        !matches!(self, Self::Unknown) && self.failure().is_none()
    }
}

/// The targets and how they are. Clones share it.
#[derive(Clone, Debug)]
pub struct Targets(Arc<Vec<(Target, Mutex<State>)>>);

impl Targets {
    fn new(targets: &[Target]) -> Self {
        Self(Arc::new(targets.iter().map(|target| (target.clone(), Mutex::new(State::Unknown))).collect()))
    }

    /// Each target and how its last poll ended.
    pub fn states(&self) -> impl Iterator<Item = (&Target, State)> {
        self.0
            .iter()
            .map(|(target, state)| (target, state.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

/// Asks targets for their posts.
#[derive(Clone, Debug)]
pub struct Asker {
    getter: Getter,
    interval: Duration,
    timeout: Duration,
    most: usize,
}

impl Asker {
    /// An asker.
    pub fn new(settings: &Settings) -> Self {
        Self {
            getter: Getter::new(settings.poll_timeout),
            interval: settings.interval,
            timeout: settings.poll_timeout,
            most: settings.max_post_bytes,
        }
    }

    /// Asks a target once.
    ///
    /// # Errors
    /// Why there is no body.
    pub async fn ask(&self, target: &Target) -> Result<Bytes, Failure> {
        let url = format!("http://{target}/pattoo-agent-os/{}", self.interval.as_secs());
        // The settings let no host pass that a URL cannot hold.
        let url = Uri::try_from(url).map_err(|_| Failure::Transport(Fault::Dns))?;
        let answer = self.getter.get(url, self.timeout, self.most).await.map_err(Failure::Transport)?;
        match answer.status {
            200 => Ok(answer.body),
            status @ 300..400 => Err(Failure::Redirect(status)),
            status => Err(Failure::Status(status)),
        }
    }
}

/// Polls every target until it is told to stop.
#[derive(Clone, Debug)]
pub struct Poller {
    asker: Asker,
    intake: Intake,
    metrics: Metrics,
    clock: Clock,
    targets: Targets,
    claims: Claims,
    rule: IdentityRule,
    ticks: Ticks,
}

impl Poller {
    /// A poller of all targets of the settings.
    pub fn new(settings: &Settings, intake: Intake, metrics: Metrics, clock: Clock, health: Health) -> Self {
        let targets = &settings.targets;
        metrics.targets.set(i64::try_from(targets.len()).unwrap_or(i64::MAX));
        Self {
            asker: Asker::new(settings),
            intake,
            claims: Claims::open(settings, metrics.clone(), health),
            metrics,
            clock,
            targets: Targets::new(targets),
            rule: settings.identity_rule,
            ticks: Ticks(Instant::now()),
        }
    }

    /// The targets and how they are.
    pub fn targets(&self) -> Targets {
        self.targets.clone()
    }

    /// Polls until `stop`; the returned tasks end then, each once a body that it has in hand is kept.
    pub fn start(&self, stop: &Stop) -> Vec<tokio::task::JoinHandle<()>> {
        let poll = |at| tokio::spawn(self.clone().poll(at, stop.clone()));
        let keeping = tokio::spawn(self.claims.clone().keep(stop.clone()));
        (0..self.targets.0.len()).map(poll).chain([keeping]).collect()
    }

    async fn poll(self, at: usize, mut stop: Stop) {
        let Some((target, state)) = self.targets.0.get(at) else { return };
        let interval = self.asker.interval;
        let mut due = Instant::now() + until_due(self.clock.now_ms(), target.offset(interval), interval);
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep_until(self.ticks.at(due)) => {}
            }
            let began = Instant::now();
            let asked = tokio::select! {
                () = stop.wait() => return,
                asked = self.asker.ask(target) => asked,
            };
            let polled = match asked {
                Ok(body) => self.take(at, target, body, began).await,
                Err(failure) => Err(failure),
            };
            if polled.as_ref().is_err_and(|failure| *failure != Failure::Store) {
                self.claims.missed(at);
            }
            let now = polled.unwrap_or_else(State::Failing);
            self.metrics.poll_duration.observe(began.elapsed().as_secs_f64());
            self.metrics.polled(now.failure());
            self.change(target, state, &now);
            due += interval;
            let (next, missed) = next_due(due, Instant::now(), interval);
            if missed > 0 {
                tracing::debug!(%target, missed, "polls were due while one was still running");
                self.metrics.polls_missed.inc_by(missed);
            }
            due = next;
        }
    }

    async fn take(&self, at: usize, target: &Target, body: Bytes, began: Instant) -> Result<State, Failure> {
        let bytes = body.len();
        let post = match check(&body) {
            Ok(post) => post,
            Err(reason) => {
                let aside = self.intake.set_aside(body, reason, From::Poll).await;
                return Err(aside.map_or(Failure::Store, |()| Failure::Body(reason)));
            }
        };
        let first = self.claims.gave(at, &post.agent_id);
        let goes_up = first.is_none() || self.rule == IdentityRule::Warn;
        let kept = if goes_up {
            self.intake.keep(&post, body, From::Poll).await
        } else {
            self.intake.set_aside_contested(body, target, &post.agent_id).await
        };
        kept.map_err(|_| Failure::Store)?; // the intake has said it
        let agent_id = post.agent_id;
        Ok(match first {
            Some(first) => State::Contested { agent_id, first, goes_up },
            None => State::Up { agent_id, bytes, took: began.elapsed() },
        })
    }

    /// Notes how a poll ended, and logs what has changed.
    fn change(&self, target: &Target, state: &Mutex<State>, now: &State) {
        tracing::debug!(%target, state = ?now, "polled");
        let before =
            std::mem::replace(&mut *state.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        self.metrics.targets_up.add(i64::from(now.is_up()) - i64::from(before.is_up()));
        match (&before, now) {
            (State::Unknown | State::Contested { .. }, State::Up { agent_id, .. }) => {
                tracing::info!(%target, %agent_id, "the target answers");
            }
            (State::Failing(_), State::Up { agent_id, .. }) => {
                tracing::info!(%target, %agent_id, "the target answers again");
            }
            (State::Failing(old), State::Failing(new)) if old == new => {}
            (_, State::Failing(reason)) => tracing::warn!(%target, %reason, "the target gives no post"),
            _ => {}
        }
    }
}

/// Polls begin together, ten times a second, with those that have become due since: what they share (waking, warm
/// code, a sync, a wait for the sockets) is then paid once for all of them, and costs less than half.
#[derive(Clone, Copy, Debug)]
struct Ticks(Instant);

impl Ticks {
    const EACH: Duration = Duration::from_millis(100);

    /// The first tick that is not before `due`.
    fn at(self, due: Instant) -> Instant {
        let since = due.saturating_duration_since(self.0).as_nanos();
        let ticks = u32::try_from(since.div_ceil(Self::EACH.as_nanos())).ok();
        ticks
            .and_then(|ticks| Self::EACH.checked_mul(ticks))
            .and_then(|later| self.0.checked_add(later))
            .unwrap_or(due)
    }
}

/// How long it is until the offset comes up in the interval that the wall clock is in, or in the next one.
fn until_due(now_ms: u64, offset: Duration, interval: Duration) -> Duration {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (offset, interval) = (millis(offset), millis(interval).max(1));
    let into = now_ms % interval;
    Duration::from_millis(if into <= offset { offset - into } else { interval - into + offset })
}

/// When the next poll is due, and how many were missed. A poll that may last the whole interval ends a moment
/// after the next is due: that one is a little late, not missed.
fn next_due(due: Instant, now: Instant, interval: Duration) -> (Instant, u64) {
    let late = now.saturating_duration_since(due);
    if late <= interval / 4 {
        return (due, 0);
    }
    let missed =
        u32::try_from(late.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX).saturating_add(1);
    let next = interval.checked_mul(missed).and_then(|skipped| due.checked_add(skipped));
    (next.unwrap_or(now), u64::from(missed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_poll_is_due_at_its_offset_of_the_wall_clocks_interval() {
        let until = |now| until_due(now, SECOND, 10 * SECOND).as_millis();
        assert_eq!(
            [until(0), until(1_000), until(1_001), until(9_999), until(20_500)],
            [1_000, 0, 9_999, 1_001, 500]
        );
    }

    #[test]
    fn what_is_missed_is_counted_and_the_offset_stays() {
        let due = Instant::now();
        let next = |late| {
            let (next, missed) = next_due(due, due + late, 4 * SECOND);
            (next.duration_since(due), missed)
        };
        assert_eq!(next(Duration::ZERO), (Duration::ZERO, 0));
        assert_eq!(next(SECOND), (Duration::ZERO, 0));
        assert_eq!(next(2 * SECOND), (4 * SECOND, 1));
        assert_eq!(next(9 * SECOND), (12 * SECOND, 3));
        assert_eq!(next_due(due + 4 * SECOND, due, 4 * SECOND), (due + 4 * SECOND, 0));
    }

    #[test]
    fn each_failure_has_a_label_of_its_own() {
        let mut labels: Vec<_> = Failure::all().map(Failure::label).collect();
        let all = labels.len();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), all, "{labels:?}");
    }
}
