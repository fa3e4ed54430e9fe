//! What takes time: reading a lane's oldest post, sending it, and noting what became of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::clock::Clock;
use agent::rarely::Rarely;
use bytes::Bytes;
use tokio::time::Instant;

use super::canary;
use super::clocks::{self, Clocks};
use super::failure::Failure;
use super::judge::Refusal;
use super::stamp::stamp;
use crate::client::Sender;
use crate::metrics::Metrics;
use crate::quarantine::{Quarantine, Why};
use crate::settings::{Outward, Settings};
use crate::store::{Lane, Post, Store};
use crate::target::Target;

/// The most that the answer of the server may be long: it says `OK`.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How one delivery went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The server took it.
    Delivered(canary::Post),
    /// Nothing waited in the lane, or another post by now.
    Empty,
    /// It is of the future.
    Held,
    /// It is in quarantine.
    SetAside,
    /// The hub's own disk did not do what it had to.
    Stuck,
    /// The server did not take it.
    Failed { sequence: u64, failure: Failure, retry_after: Option<Duration> },
}

/// Why the canary was not taken, and for how long the server wants to be left alone; `None` if it was.
pub(super) type Answered = Option<(Failure, Option<Duration>)>;

/// What has come to its end.
#[derive(Debug)]
pub(super) enum Ended {
    /// A lane's oldest post.
    Lane { lane: Lane, began: Instant, outcome: Outcome },
    /// The canary.
    Canary { began: Instant, answered: Answered },
}

/// Carries posts.
#[derive(Debug)]
pub(super) struct Courier {
    sender: Sender,
    store: Store,
    quarantine: Quarantine,
    pub(super) metrics: Metrics,
    server: Target,
    timeout: Duration,
    clock: Clock,
    connections: usize,
    deliveries: Outward,
    clocks: Arc<Mutex<Clocks>>,
    setting_aside: Arc<Rarely>,
    failing: Arc<Rarely>,
}

impl Courier {
    pub(super) fn new(
        settings: &Settings,
        server: Target,
        store: Store,
        quarantine: Quarantine,
        metrics: Metrics,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let clocks = Clocks::new(settings.allowed_clock_skew, settings.max_future, settings.interval);
        Ok(Self {
            sender: Sender::new(&server, &settings.deliveries, settings.delivery_concurrency)?,
            deliveries: settings.deliveries.clone(),
            store,
            quarantine,
            metrics,
            server,
            timeout: settings.delivery_timeout,
            clock,
            connections: settings.delivery_concurrency,
            clocks: Arc::new(Mutex::new(clocks)),
            setting_aside: Arc::default(),
            failing: Arc::default(),
        })
    }

    /// One that goes on with other settings to the same server.
    pub(super) fn with(&self, settings: &Settings) -> anyhow::Result<Self> {
        self.clocks().follow(settings.allowed_clock_skew, settings.max_future);
        let (connections, deliveries) = (settings.delivery_concurrency, settings.deliveries.clone());
        let sender = if connections == self.connections && deliveries == self.deliveries {
            self.sender.clone()
        } else {
            Sender::new(&self.server, &deliveries, connections)?
        };
        Ok(Self {
            sender,
            store: self.store.clone(),
            quarantine: self.quarantine.clone(),
            metrics: self.metrics.clone(),
            server: self.server.clone(),
            timeout: settings.delivery_timeout,
            clock: self.clock,
            connections,
            deliveries,
            clocks: Arc::clone(&self.clocks),
            setting_aside: Arc::clone(&self.setting_aside),
            failing: Arc::clone(&self.failing),
        })
    }

    /// The sequence of a lane's oldest post.
    pub(super) fn head(&self, lane: &Lane) -> Option<u64> {
        self.store.head(lane)
    }

    /// What is known of the senders' clocks; never held while something is waited for.
    pub(super) fn clocks(&self) -> MutexGuard<'_, Clocks> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lanes that may be looked at again.
    pub(super) fn look(&self) -> Vec<Lane> {
        let mut clocks = self.clocks();
        let again = clocks.look(self.clock.now_ms(), Instant::now(), |lane| self.head(lane));
        self.metrics.lanes_ahead.set(i64::try_from(clocks.waiting()).unwrap_or(i64::MAX));
        again
    }

    /// Delivers a lane's oldest post.
    pub(super) async fn deliver(self: Arc<Self>, lane: Lane) -> Ended {
        let began = Instant::now();
        let outcome = match self.store.oldest(&lane).await {
            Ok(Some(post)) => self.deliver_or_wait(&lane, post).await,
            Ok(None) => Outcome::Empty,
            Err(error) => self.unread(&lane, &error),
        };
        Ended::Lane { lane, began, outcome }
    }

    fn unread(&self, lane: &Lane, error: &std::io::Error) -> Outcome {
        tracing::error!(%lane, %error, "failed to read the store");
        Outcome::Stuck
    }

    async fn deliver_or_wait(&self, lane: &Lane, post: Post) -> Outcome {
        let stamp = post.stamp.unwrap_or_else(|| stamp(&post.body));
        let now_ms = self.clock.now_ms();
        let verdict = self.clocks().judge(lane, post.sequence, stamp, now_ms, Instant::now());
        match verdict {
            clocks::Verdict::Go => self.send(lane, post).await,
            clocks::Verdict::Wait => {
                tracing::debug!(%lane, sequence = post.sequence, ahead_ms = stamp.ms.saturating_sub(now_ms), "waits");
                Outcome::Held
            }
            clocks::Verdict::TooFar => {
                self.set_aside(lane, post, Why::Future, "it is too far in the future").await
            }
        }
    }

    async fn send(&self, lane: &Lane, post: Post) -> Outcome {
        let Post { sequence, body, .. } = post;
        if let Some((failure, retry_after)) = self.post(lane, body.clone()).await {
            return Outcome::Failed { sequence, failure, retry_after };
        }
        match self.store.acknowledge(lane, sequence).await {
            // Counted only while it was ours: one that was dropped meanwhile is in the books already.
            Ok(true) => self.metrics.posts_delivered.inc(),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%lane, %error, "failed to acknowledge a post; it is delivered again");
            }
        }
        Outcome::Delivered(canary::Post { lane: lane.clone(), body })
    }

    async fn post(&self, lane: &Lane, body: Bytes) -> Answered {
        let path = format!("/pattoo/api/v1/agent/receive/{lane}");
        let (bytes, began) = (body.len(), Instant::now());
        let answered = match self.sender.post(&path, body, self.timeout, LONGEST_ANSWER).await {
            Ok(answer) => Failure::of_status(answer.status).map(|failure| {
                // Elsewhere it is about the post or the address, not about the server.
                let retry_after = answer.retry_after.filter(|_| matches!(answer.status, 429 | 503));
                (failure, retry_after)
            }),
            Err(fault) => Some((Failure::Transport(fault), None)),
        };
        self.metrics.delivery_duration.observe(began.elapsed().as_secs_f64());
        tracing::debug!(%lane, bytes, ?answered, "sent");
        answered
    }

    /// Sends the canary, which nothing depends on but what its way tells.
    pub(super) async fn send_canary(self: Arc<Self>, post: canary::Post) -> Ended {
        let began = Instant::now();
        let answered = self.post(&post.lane, post.body).await;
        Ended::Canary { began, answered }
    }

    /// Sets aside a post that the server refused often enough.
    pub(super) async fn give_up(self: Arc<Self>, refusal: Refusal) -> Ended {
        let Refusal { lane, sequence, status, began } = refusal;
        let outcome = match self.store.oldest(&lane).await {
            Ok(Some(post)) if post.sequence == sequence => {
                let what = format!("the server refuses it with {status} and takes others");
                self.set_aside(&lane, post, Why::Refused, &what).await
            }
            Ok(_) => Outcome::Empty,
            Err(error) => self.unread(&lane, &error),
        };
        Ended::Lane { lane, began, outcome }
    }

    /// Into quarantine first, then out of the lane: a post that a kill leaves in both is judged again.
    async fn set_aside(&self, lane: &Lane, post: Post, why: Why, reason: &str) -> Outcome {
        if let Err(error) = self.quarantine.put(post.body, why, Some(post.sequence)).await {
            self.metrics.store_errors.inc();
            if let Some(posts) = self.failing.count() {
                tracing::error!(posts, %lane, %error, "failed to set posts aside; their lanes wait");
            }
            return Outcome::Stuck;
        }
        match self.store.acknowledge(lane, post.sequence).await {
            Ok(true) => self.metrics.quarantined(why),
            Ok(false) => {} // dropped meanwhile, and in the books as that
            Err(error) => {
                tracing::error!(%lane, %error, "failed to acknowledge a post that was set aside");
                return Outcome::Stuck;
            }
        }
        if let Some(posts) = self.setting_aside.count() {
            tracing::error!(posts, %lane, sequence = post.sequence, reason, "a post is set aside in quarantine");
        }
        Outcome::SetAside
    }
}
