//! Polls every target: one task each, at its own offset in the interval, begun and ended as the set changes; and one
//! for each name of which every address is a target, which looks it up twice in an interval.
//!
//! So whoever comes is polled within one interval: found within its first half, polled within its second, at the own
//! offset or half an interval beside it. Who was there when the hub began keeps to the own offset, as over restarts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agent::clock::Clock;
use agent::http::health::Health;
use agent::shutdown::Stop;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::check::check_with;
use crate::claims::Claims;
use crate::history::Recorder;
use crate::intake::Intake;
use crate::metrics::{From, Metrics};
use crate::poll::{Asker, Failure, State};
use crate::resolve;
use crate::settings::{IdentityRule, InForce, Settings};
use crate::target::Target;
use crate::targets::{Begun, Last, Polled, Targets};

/// How all targets are polled.
#[derive(Debug)]
struct Manner {
    asker: Asker,
    rule: IdentityRule,
}

/// Polls what the settings name.
#[derive(Debug)]
pub struct Poller {
    shared: Arc<Shared>,
    settings: InForce,
    manner: watch::Sender<Arc<Manner>>,
    names: HashMap<Target, AbortHandle>,
    /// What was wanted before anybody could poll it.
    begun: Begun,
}

#[derive(Debug)]
struct Shared {
    intake: Intake,
    recorder: Recorder,
    metrics: Metrics,
    clock: Clock,
    targets: Targets,
    claims: Claims,
    ticks: Ticks,
}

/// What a task needs, and holds as long as it runs.
#[derive(Clone, Debug)]
struct Task {
    shared: Arc<Shared>,
    manner: watch::Receiver<Arc<Manner>>,
    stop: Stop,
    /// Gone once the last task is.
    _running: mpsc::Sender<()>,
}

impl Poller {
    /// A poller of all targets of the settings, as they change.
    pub fn new(
        settings: InForce,
        intake: Intake,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock,
        health: Health,
    ) -> Self {
        let now = settings.borrow().clone();
        let claims = Claims::open(&now, metrics.clone(), health.clone());
        let targets = Targets::new(claims.clone(), metrics.clone(), health);
        let begun = targets.configure(&now.devices, now.max_addresses);
        let (manner, _) =
            watch::channel(Arc::new(Manner { asker: Asker::new(&now), rule: now.identity_rule }));
        let ticks = Ticks(Instant::now());
        let shared = Arc::new(Shared { intake, recorder, metrics, clock, targets, claims, ticks });
        let this = Self { shared, settings, manner, names: HashMap::new(), begun };
        this.show_interval(&now);
        this
    }

    fn show_interval(&self, now: &Settings) {
        let seconds = i64::try_from(now.interval.as_secs()).unwrap_or(i64::MAX);
        self.shared.metrics.polling_interval.set(seconds);
    }

    /// What is polled and how it fares.
    pub(crate) fn targets(&self) -> Targets {
        self.shared.targets.clone()
    }

    /// Polls until `stop`, and ends once every body that a poll has in hand is kept.
    pub async fn run(mut self, mut stop: Stop) {
        let (running, mut ended) = mpsc::channel(1);
        let keeping = tokio::spawn(self.shared.claims.clone().keep(stop.clone()));
        let (shared, manner) = (Arc::clone(&self.shared), self.manner.subscribe());
        let task = Task { shared, manner, stop: stop.clone(), _running: running };
        let begun = std::mem::take(&mut self.begun);
        self.begin(begun, &task, false);
        loop {
            tokio::select! {
                () = stop.wait() => break,
                Ok(()) = self.settings.changed() => {}
            }
            let now = self.settings.borrow_and_update().clone();
            self.take_manner(&now);
            let begun = self.shared.targets.configure(&now.devices, now.max_addresses);
            self.begin(begun, &task, true);
        }
        self.names.values().for_each(AbortHandle::abort);
        drop(task);
        // Nobody sends anything: this ends with the last task.
        let _ = ended.recv().await;
        // A keeper that died has told why.
        let _ = keeping.await;
    }

    /// Tells everybody who polls, where there is something to tell.
    fn take_manner(&self, now: &Settings) {
        self.show_interval(now);
        self.manner.send_if_modified(|manner| {
            let asker = Asker::new(now);
            let same = asker.is_as(&manner.asker) && manner.rule == now.identity_rule;
            if !same {
                *manner = Arc::new(Manner { asker, rule: now.identity_rule });
            }
            !same
        });
    }

    fn begin(&mut self, begun: Begun, task: &Task, soon: bool) {
        for name in &begun.ended {
            self.names.remove(name).inspect(AbortHandle::abort);
        }
        for name in begun.names {
            let looking = tokio::spawn(task.clone().look_up(name.clone(), soon));
            self.names.insert(name, looking.abort_handle());
        }
        task.begin(begun.targets, soon);
    }
}

impl Task {
    fn begin(&self, targets: Vec<Arc<Polled>>, soon: bool) {
        for polled in targets {
            tokio::spawn(self.clone().poll(polled, soon));
        }
    }

    /// Looks a name up, again and again.
    async fn look_up(mut self, name: Target, mut soon: bool) {
        let host = name.host.to_string();
        loop {
            let began = Instant::now();
            let found = resolve::every(&host).await;
            let (begun, first) = self.shared.targets.looked_up(&name, found);
            self.begin(begun, soon || !first);
            soon = true;
            let next = began + self.interval() / 2;
            tokio::select! {
                () = self.stop.wait() => return,
                // Another interval, perhaps.
                Ok(()) = self.manner.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn interval(&self) -> Duration {
        self.manner.borrow().asker.interval()
    }

    /// How long it is until a target is due, at its offset of the interval; `soon`: within half of it.
    fn until_due(&self, target: &Target, interval: Duration, soon: bool) -> Duration {
        let (offset, half) = (target.offset(interval), interval / 2);
        let now = self.shared.clock.now_ms();
        if soon && offset >= half {
            return until_due(now, offset - half, half);
        }
        until_due(now, offset, if soon { half } else { interval })
    }

    async fn poll(mut self, polled: Arc<Polled>, soon: bool) {
        let target = &polled.target;
        let mut interval = self.interval();
        let mut due = Instant::now() + self.until_due(target, interval, soon);
        // Half an interval beside the offset, perhaps; from then on, at it.
        let mut beside = soon;
        loop {
            tokio::select! {
                () = self.stop.wait() => return,
                () = polled.left.notified() => {
                    if self.shared.targets.is_gone(&polled) {
                        return;
                    }
                    continue;
                }
                Ok(()) = self.manner.changed() => {
                    let now = self.interval();
                    if now != interval {
                        interval = now;
                        due = Instant::now() + self.until_due(target, interval, false);
                        beside = false;
                    }
                    continue;
                }
                () = tokio::time::sleep_until(self.shared.ticks.at(due)) => {}
            }
            let manner = self.manner.borrow().clone();
            let began = Instant::now();
            let asked = tokio::select! {
                () = self.stop.wait() => return,
                asked = manner.asker.ask(target) => asked,
            };
            self.shared.polled(&polled, &manner, asked, began).await;
            if std::mem::take(&mut beside) {
                let at_offset = Instant::now() + self.until_due(target, interval, false);
                // One that was polled at its offset is due there in an interval, not in what is left of this moment.
                due = if at_offset < due + interval / 4 { due + interval } else { at_offset };
                continue;
            }
            due += interval;
            let (next, missed) = next_due(due, Instant::now(), interval);
            if missed > 0 {
                tracing::debug!(%target, missed, "polls were due while one was still running");
                self.shared.metrics.polls_missed.inc_by(missed);
            }
            due = next;
        }
    }
}

impl Shared {
    /// Keeps what a poll brought and notes how it ended.
    async fn polled(&self, polled: &Polled, manner: &Manner, asked: Result<Bytes, Failure>, began: Instant) {
        let taken = match asked {
            Ok(body) => self.take(polled, body, manner.rule, began).await,
            Err(failure) => Err(failure),
        };
        if taken.as_ref().is_err_and(|failure| *failure != Failure::Store) {
            self.claims.missed(polled.slot());
        }
        let now = taken.unwrap_or_else(State::Failing);
        let ended = Instant::now();
        let took = ended.saturating_duration_since(began);
        self.metrics.poll_duration.observe(took.as_secs_f64());
        self.metrics.polled(now.failure());
        self.targets.polled(polled, now, Last { ended, took });
    }

    async fn take(
        &self,
        polled: &Polled,
        body: Bytes,
        rule: IdentityRule,
        began: Instant,
    ) -> Result<State, Failure> {
        let bytes = body.len();
        let mut listening = self.recorder.listen();
        let post = match check_with(&body, |seen| listening.hear(seen)) {
            Ok(post) => post,
            Err(reason) => {
                let aside = self.intake.set_aside(body, reason, From::Poll).await;
                return Err(aside.map_or(Failure::Store, |()| Failure::Body(reason)));
            }
        };
        let first = self.claims.gave(polled.slot(), &post.agent_id, rule);
        let goes_up = first.is_none() || rule == IdentityRule::Warn;
        let kept = if goes_up {
            self.intake.keep(&post, body, From::Poll).await
        } else {
            self.intake.set_aside_contested(body, &polled.target, &post.agent_id).await
        };
        kept.map_err(|_| Failure::Store)?; // the intake has said it
        if goes_up {
            self.recorder.take(listening, &post);
        }
        let agent_id = post.agent_id;
        Ok(match first {
            Some(first) => State::Contested { agent_id, first, goes_up },
            None => State::Up { agent_id, bytes, took: began.elapsed() },
        })
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
}
