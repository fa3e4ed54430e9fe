//! Delivering: lanes side by side, in a lane strictly oldest first, one post at a time.
//!
//! Only a 200 whose answer arrived whole acknowledges a post; after everything else the post stays. What says
//! that the server is down makes everything wait, and then one post asks whether it is back. A post that is
//! refused makes its lane wait until the canary has told whether the post is bad or the server down ([`judge`]).
//! A post from the future waits until it is due ([`clocks`]).
//!
//! Deciding is pure: which lane is next ([`plan`]), how fast ([`rate`]), what a refusal means, what clocks say.
//! [`courier`] does what takes time. Here they meet.

mod backoff;
mod canary;
mod clocks;
mod courier;
mod failure;
mod judge;
mod plan;
mod rate;
mod stamp;

use std::sync::Arc;
use std::time::Duration;

use agent::clock::Clock;
use agent::http::health::Health;
use agent::shutdown::Stop;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::metrics::{Canaries, Metrics};
use crate::quarantine::Quarantine;
use crate::settings::{InForce, Settings};
use crate::store::{Filled, Lane, Store};
use crate::target::Target;
use canary::Canary;
use courier::{Answered, Courier, Ended, Outcome};
pub use failure::{Failure, Upstream, Watched};
use judge::{Judge, Refusal, Verdict};
use plan::{Plan, Sent};
use rate::Rate;

/// How often it is looked whether a post that waits is due: the wall clock may be set, so no timer knows.
const LOOK: Duration = Duration::from_secs(1);

/// What delivering needs, whichever the server is.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Where posts wait.
    pub store: Store,
    /// Where those go that the server must not get.
    pub quarantine: Quarantine,
    /// What is counted.
    pub metrics: Metrics,
    /// What time it is.
    pub clock: Clock,
    /// What a person should know.
    pub health: Health,
    /// How the server was last seen.
    pub upstream: Watched,
}

/// Delivers to the server that the settings name, as they change, until `stop`.
///
/// # Errors
/// The HTTP client cannot be made.
pub fn deliver(
    needs: Needs,
    settings: InForce,
    filled: Filled,
    stop: Stop,
) -> anyhow::Result<impl Future<Output = ()>> {
    let first = Delivery::new(&settings.borrow(), &needs)?;
    Ok(follow(first, needs, settings, filled, stop))
}

async fn follow(
    mut delivery: Option<Delivery>,
    needs: Needs,
    mut settings: InForce,
    mut filled: Filled,
    mut stop: Stop,
) {
    loop {
        if let Some(delivery) = delivery.take() {
            delivery.run(&mut filled, &mut settings, &mut stop).await;
        } else {
            tokio::select! {
                () = stop.wait() => {}
                Ok(()) = settings.changed() => {}
            }
        }
        if stop.is_now() {
            return;
        }
        let now = settings.borrow_and_update().clone();
        needs.metrics.show_delivery(now.upstream.is_some());
        needs.metrics.upstream_up.set(1);
        needs.upstream.replace(Upstream::Unknown);
        // The clocks are judged anew, too.
        needs.metrics.clock_suspect.set(0);
        needs.health.note("clock", None);
        delivery = Delivery::new(&now, &needs).unwrap_or_else(|error| {
            tracing::error!(%error, "failed to deliver to another server; posts wait until the next change");
            None
        });
        if let Some(delivery) = &mut delivery {
            delivery.find(&needs.store);
        }
    }
}

/// Delivers what the store holds to one server.
#[derive(Debug)]
struct Delivery {
    courier: Arc<Courier>,
    health: Health,
    plan: Plan,
    judge: Judge,
    canary: Canary,
    under_way: JoinSet<Ended>,
    upstream: Watched,
    server: Target,
}

impl Delivery {
    /// Delivery to the server of the settings, where they name one.
    fn new(settings: &Settings, needs: &Needs) -> anyhow::Result<Option<Self>> {
        let Some(server) = settings.upstream.clone() else { return Ok(None) };
        let Needs { store, quarantine, metrics, clock, health, upstream } = needs.clone();
        let rate = Rate::new(settings.delivery_rate);
        Ok(Some(Self {
            courier: Arc::new(Courier::new(settings, server.clone(), store, quarantine, metrics, clock)?),
            health,
            plan: Plan::new(settings.delivery_concurrency, settings.backoff_max, rate),
            judge: Judge::new(settings.max_attempts),
            canary: Canary::open(settings.canary_file()),
            under_way: JoinSet::new(),
            upstream,
            server,
        }))
    }

    /// Finds what waits already: of lanes that were announced to another one, nobody tells again.
    fn find(&mut self, store: &Store) {
        for (lane, head) in store.lanes() {
            self.plan.has_posts(&lane, Some(head));
        }
    }

    /// Other settings for the same server.
    fn take(&mut self, settings: &Settings) {
        let rate = Rate::new(settings.delivery_rate);
        self.plan.follow(settings.delivery_concurrency, settings.backoff_max, &rate);
        self.judge.follow(settings.max_attempts);
        match self.courier.with(settings) {
            Ok(courier) => self.courier = Arc::new(courier),
            Err(error) => {
                tracing::error!(%error, "failed to change how posts are delivered; it stays as it was");
            }
        }
    }

    /// Delivers until `stop`, or until the settings name another server or none. What is under way is given up then
    /// and stays in its lane.
    async fn run(mut self, filled: &mut Filled, settings: &mut InForce, stop: &mut Stop) {
        let mut looking = tokio::time::interval(LOOK);
        looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start();
            // While in doubt only the canary's way changes anything.
            let wake = if self.judge.in_doubt() { None } else { self.plan.wake() };
            let waiting = self.courier.clocks().is_busy();
            tokio::select! {
                // And waited for: one that outlives the runtime's threads would tell of an error that is none.
                () = stop.wait() => return self.under_way.shutdown().await,
                Ok(()) = settings.changed() => {
                    let now = settings.borrow_and_update().clone();
                    if now.upstream.as_ref() != Some(&self.server) {
                        return self.under_way.shutdown().await;
                    }
                    self.take(&now);
                }
                lane = filled.recv() => match lane {
                    Some(lane) => self.plan.has_posts(&lane, self.courier.head(&lane)),
                    None => return stop.wait().await, // the store is gone
                },
                Some(ended) = self.under_way.join_next() => match ended {
                    Ok(Ended::Lane { lane, began, outcome }) => self.lane_ended(&lane, began, outcome),
                    Ok(Ended::Canary { began, answered }) => self.canary_ended(began, answered),
                    Err(error) => tracing::error!(%error, "a delivery died; its lane waits for a restart"),
                },
                _ = looking.tick(), if waiting => self.look(),
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Sends what may be sent now.
    fn start(&mut self) {
        let now = Instant::now();
        while !self.judge.in_doubt()
            && let Some(lane) = self.plan.take(now)
        {
            if self.plan.has_failed(&lane) {
                self.courier.metrics.deliveries_retried.inc();
            }
            self.under_way.spawn(Arc::clone(&self.courier).deliver(lane));
        }
    }

    fn lane_ended(&mut self, lane: &Lane, began: Instant, outcome: Outcome) {
        let (head, now) = (self.courier.head(lane), Instant::now());
        if head.is_none() {
            self.courier.clocks().forget(lane);
        }
        match outcome {
            Outcome::Empty => {
                self.plan.idle(lane, head);
                self.judge.forget(lane);
            }
            Outcome::Delivered(post) => {
                self.plan.delivered(lane, head, now);
                self.judge.forget(lane);
                if let Some(writing) = self.canary.acknowledged(post, now) {
                    tokio::task::spawn_blocking(move || writing.write());
                }
                self.see(Upstream::Up);
            }
            Outcome::Held if head.is_some() => self.plan.hold(lane),
            Outcome::Held => self.plan.idle(lane, None), // it was dropped meanwhile
            Outcome::SetAside => {
                self.plan.set_aside(lane, head);
                self.judge.forget(lane);
            }
            Outcome::Stuck => self.plan.stuck(lane, head, now),
            Outcome::Failed { sequence, failure, retry_after } => {
                self.courier.metrics.delivery_failed(failure);
                match failure {
                    Failure::Refused(status) => {
                        self.judge.refused(Refusal { lane: lane.clone(), sequence, status, began });
                        self.ask();
                    }
                    _ => {
                        if self.plan.down(lane, head, Sent { began, retry_after }, now) {
                            self.see(Upstream::Down(failure));
                        }
                    }
                }
            }
        }
    }

    /// Sends the canary if a refusal is not explained yet. Without one the server counts as down, and the lanes
    /// ask one after the other whether it is.
    fn ask(&mut self) {
        if !self.judge.ask() {
            return;
        }
        match self.canary.post() {
            Some(post) => drop(self.under_way.spawn(Arc::clone(&self.courier).send_canary(post.clone()))),
            None => {
                let now = Instant::now();
                for refusal in self.judge.down() {
                    let (head, lane) = (self.courier.head(&refusal.lane), &refusal.lane);
                    let sent = Sent { began: refusal.began, retry_after: None };
                    if self.plan.down(lane, head, sent, now) {
                        self.see(Upstream::Down(Failure::Refused(refusal.status)));
                    }
                }
            }
        }
    }

    fn canary_ended(&mut self, began: Instant, answered: Answered) {
        let now = Instant::now();
        let metrics = &self.courier.metrics;
        let Some((failure, retry_after)) = answered else {
            metrics.canary(Canaries::Taken);
            self.plan.up();
            self.see(Upstream::Up);
            for (refusal, verdict) in self.judge.taken() {
                self.explained(refusal, verdict, now);
            }
            return self.ask();
        };
        metrics.canary(if failure.is_down() { Canaries::Unanswered } else { Canaries::Refused });
        for refusal in self.judge.down() {
            let head = self.courier.head(&refusal.lane);
            if self.plan.down(&refusal.lane, head, Sent { began, retry_after }, now) {
                self.see(Upstream::Down(failure));
            }
        }
    }

    /// The server took the canary, so it is this post that it does not want.
    fn explained(&mut self, refusal: Refusal, verdict: Verdict, now: Instant) {
        let (lane, status) = (&refusal.lane, refusal.status);
        match verdict {
            Verdict::Again(times) => {
                if times == 1 {
                    tracing::warn!(%lane, status, "the server refuses a post; its lane waits, the others go on");
                }
                self.plan.refused(lane, self.courier.head(lane), now);
            }
            Verdict::Bad => drop(self.under_way.spawn(Arc::clone(&self.courier).give_up(refusal))),
        }
    }

    /// Looks which of the posts that wait are due.
    fn look(&mut self) {
        let again = self.courier.look();
        for lane in again {
            self.plan.release(&lane, self.courier.head(&lane));
        }
        let suspicion = self.courier.clocks().suspicion();
        let metrics = &self.courier.metrics;
        let before = metrics.clock_suspect.get();
        metrics.clock_suspect.set(i64::from(suspicion.is_some()));
        match (&suspicion, before) {
            (Some(note), 0) => tracing::warn!("{note}"),
            (None, 1) => tracing::info!("this hub's clock is no longer behind those of its sources"),
            _ => {}
        }
        self.health.note("clock", suspicion);
    }

    /// Notes how the server is, and logs what has changed.
    fn see(&self, now: Upstream) {
        let before = self.upstream.replace(now);
        let server = &self.server;
        self.courier.metrics.upstream_up.set(i64::from(!matches!(now, Upstream::Down(_))));
        match (before, now) {
            (Upstream::Down(_), Upstream::Up) => tracing::info!(%server, "the server answers again"),
            (Upstream::Unknown, Upstream::Up) => tracing::info!(%server, "the server answers"),
            (Upstream::Down(old), Upstream::Down(new)) if old == new => {}
            (_, Upstream::Down(reason)) => tracing::warn!(%server, %reason, "the server is down; posts wait"),
            _ => {}
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
