//! The hub, put together: what it is made of, and in which order it ends.

use std::sync::Arc;
use std::time::Duration;

use agent::clock::Clock;
use agent::http::{Limits, health::Health, serve};
use agent::shutdown::Stop;
use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::deliver::{Delivery, Watched};
use crate::http::{Served, routes};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::pages::Overview;
use crate::poller::Poller;
use crate::quarantine::Quarantine;
use crate::queue::{Listener, Queue};
use crate::receive::Receiver;
use crate::settings::Settings;
use crate::store::{Filled, Store};
use crate::takeover::take_over;

/// A hub whose store is open.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    agent_id: String,
    metrics: Metrics,
    store: Store,
    filled: Filled,
    quarantine: Quarantine,
}

/// A hub at work.
#[derive(Debug)]
pub struct Work {
    health: Health,
    stop: watch::Sender<bool>,
    /// What must end in order: a body in hand is kept first.
    parts: Vec<JoinHandle<()>>,
    store: Store,
    /// What is in force; those who follow it hold the other end.
    _in_force: watch::Sender<Arc<Settings>>,
    limit: Duration,
}

/// The least time that syncing gets, however late the rest was.
const SYNC_LEAST: Duration = Duration::from_millis(500);

impl Hub {
    /// Opens the store and the quarantine.
    ///
    /// # Errors
    /// They cannot be opened.
    pub async fn open(settings: Settings, agent_id: String) -> anyhow::Result<Self> {
        let metrics = Metrics::new(settings.upstream.is_some())?;
        let spool = settings.spool_folder();
        let opened = Store::open(spool.clone(), settings.bounds, metrics.clone()).await;
        let (store, filled) =
            opened.with_context(|| format!("{}: failed to open the spool", spool.display()))?;
        let folder = settings.quarantine_folder();
        let quarantine = Quarantine::open(folder.clone(), settings.quarantine_max_bytes)
            .with_context(|| format!("{}: failed to open the quarantine", folder.display()))?;
        Ok(Self { settings, agent_id, metrics, store, filled, quarantine })
    }

    /// Serves, polls and delivers from now on.
    ///
    /// # Errors
    /// An HTTP client cannot be made.
    pub fn start(self, listener: TcpListener) -> anyhow::Result<Work> {
        let Self { settings, agent_id, metrics, store, filled, quarantine } = self;
        let (sender, stop) = Stop::by_hand();
        let (clock, health) = (Clock::of_this_program(), Health::starting());
        let intake = Intake::new(store.clone(), quarantine.clone(), metrics.clone());
        let receiver = settings.receive.then(|| Receiver::new(intake.clone(), settings.max_post_bytes));
        let (change, in_force) = watch::channel(Arc::new(settings.clone()));
        let poller = Poller::new(in_force, intake.clone(), metrics.clone(), clock, health.clone());
        let targets = poller.targets();
        // Before the first poll, so that in each lane the original's posts come first.
        let left_behind = settings.pattoo.cache_directory.join(&agent_id);
        let (own_id, polling) = (agent_id.clone(), stop.clone());
        let mut parts = vec![tokio::spawn(async move {
            take_over(left_behind, &own_id, &intake, &polling).await;
            poller.run(polling).await;
        })];
        let queue =
            Queue { store: store.clone(), quarantine: quarantine.clone(), spool: settings.spool_folder() };
        let socket = settings.queue_socket();
        match Listener::bind(&socket) {
            Ok(listener) => parts.push(tokio::spawn(listener.serve(queue, stop.clone()))),
            Err(error) => tracing::warn!(socket = %socket.display(), %error,
                "failed to listen for commands: --queue cannot ask this hub; make system_daemon_directory writable"),
        }
        let mut upstream = Watched::default();
        if let Some(server) = settings.upstream.clone() {
            let (store, metrics) = (store.clone(), metrics.clone());
            let delivery =
                Delivery::new(&settings, server, store, quarantine, metrics, clock, health.clone())?;
            upstream = delivery.upstream();
            parts.push(tokio::spawn(delivery.run(filled, stop.clone())));
        }
        let limit = settings.graceful_timeout;
        let overview = Overview { targets, settings, agent_id, store: store.clone(), upstream };
        let served = Arc::new(Served { health: health.clone(), metrics, overview, receiver });
        // Half of the time, so that what a request has handed over can still be synced.
        let limits = Limits { drain: limit / 2, ..Limits::default() };
        parts.push(tokio::spawn(serve(listener, routes(served), limits, stop)));
        health.ready();
        Ok(Work { health, stop: sender, parts, store, _in_force: change, limit })
    }
}

impl Work {
    /// Ends everything within `graceful_timeout`: not ready first; then no poll begins, an upload is given up
    /// (its post stays), and what has a body in hand keeps it.
    pub async fn drain(self) {
        self.health.not_ready("stopping");
        // Without a receiver left, all parts have ended already.
        let _ = self.stop.send(true);
        let deadline = tokio::time::Instant::now() + self.limit;
        let mut late = 0_usize;
        for part in self.parts {
            late += usize::from(tokio::time::timeout_at(deadline, part).await.is_err());
        }
        // Whatever was late: what was taken must be synced, and a disk that hangs must not hold the end for ever.
        let left = deadline.saturating_duration_since(tokio::time::Instant::now()).max(SYNC_LEAST);
        if let Err(error) = self.store.close(left).await {
            tracing::warn!(%error, "failed to close the spool; deliveries may be repeated after the restart");
        }
        if late > 0 {
            tracing::warn!(
                parts = late,
                seconds = self.limit.as_secs(),
                "gave up waiting for what is still under way"
            );
        }
    }
}
