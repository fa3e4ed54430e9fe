//! The hub, put together: what it is made of, and in which order it ends.

use std::sync::Arc;
use std::time::Duration;

use agent::clock::Clock;
use agent::config::Configuration;
use agent::http::{Entrance, Sockets, health::Health, serve};
use agent::reload::{Change, Reload};
use agent::shutdown::Stop;
use anyhow::Context;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{self, Api};
use crate::deliver::{Needs, Watched, deliver};
use crate::fleet::Fleet;
use crate::history::Recorder;
use crate::http::{Served, routes};
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::pages::Pages;
use crate::poller::Poller;
use crate::quarantine::Quarantine;
use crate::queue::{Listener, Queue};
use crate::receive::Receiver;
use crate::settings::Settings;
use crate::sources::Sources;
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
    registry: Registry,
    stop: watch::Sender<bool>,
    stopping: Stop,
    /// What must end in order: a body in hand is kept first.
    parts: Vec<JoinHandle<()>>,
    store: Store,
    recorder: Recorder,
    quarantine: Quarantine,
    entrance: Entrance,
    /// What is in force; those who follow it hold the other end.
    in_force: watch::Sender<Arc<Settings>>,
    limit: Duration,
}

/// By which names the hub may be asked: as it calls its host, and as the system does.
fn own_names(settings: &Settings) -> Vec<String> {
    vec![settings.node.clone(), rustix::system::uname().nodename().to_string_lossy().into_owned()]
}

/// The least time that syncing gets, however late the rest was.
const SYNC_LEAST: Duration = Duration::from_millis(500);

/// The most time that the history's last minute gets.
const HISTORY_LEAST: Duration = Duration::from_millis(500);

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
    pub fn start(self, sockets: Sockets) -> anyhow::Result<Work> {
        let Self { settings, agent_id, metrics, store, filled, quarantine } = self;
        let (sender, stop) = Stop::by_hand();
        let (clock, health) = (Clock::of_this_program(), Health::starting());
        let intake = Intake::new(store.clone(), quarantine.clone(), metrics.clone());
        let (change, in_force) = watch::channel(Arc::new(settings.clone()));
        let recorder = Recorder::new(in_force.borrow().clone(), metrics.clone(), clock);
        let sources = Sources::default();
        let receiver = Receiver::new(intake.clone(), recorder.clone(), sources.clone(), in_force.clone());
        let poller = Poller::new(
            in_force.clone(),
            intake.clone(),
            recorder.clone(),
            metrics.clone(),
            clock,
            health.clone(),
        );
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
        let upstream = Watched::default();
        let needs = Needs {
            store: store.clone(),
            quarantine: quarantine.clone(),
            metrics: metrics.clone(),
            clock,
            health: health.clone(),
            upstream: upstream.clone(),
        };
        parts.push(tokio::spawn(deliver(needs, in_force.clone(), filled, stop.clone())?));
        parts.push(tokio::spawn(recorder.clone().run(store.clone(), upstream.clone(), stop.clone())));
        let limit = settings.graceful_timeout;
        let fleet = Fleet { settings: in_force, targets, sources, recorder: recorder.clone() };
        let api = Api {
            fleet,
            store: store.clone(),
            quarantine: quarantine.clone(),
            upstream,
            metrics: metrics.clone(),
            reading: api::places(),
        };
        let pages = Pages::new(api, agent_id);
        let registry = metrics.registry.clone();
        let entrance = Entrance::new(settings.rules.clone(), own_names(&settings), &registry)?;
        settings.show_certificates(entrance.certificates());
        let served = Arc::new(Served { health: health.clone(), metrics, pages, receiver });
        // Half of the time, so that what a request has handed over can still be synced.
        parts.push(tokio::spawn(serve(sockets, routes(served), entrance.clone(), limit / 2, stop.clone())));
        health.ready();
        Ok(Work {
            health,
            registry,
            stop: sender,
            stopping: stop,
            parts,
            store,
            recorder,
            quarantine,
            entrance,
            in_force: change,
            limit,
        })
    }
}

impl Work {
    /// Follows the configuration from now on.
    ///
    /// # Errors
    /// The metrics cannot be made.
    pub fn follow(&self, reload: Reload) -> anyhow::Result<()> {
        let (in_force, quarantine, store) =
            (self.in_force.clone(), self.quarantine.clone(), self.store.clone());
        let entrance = self.entrance.clone();
        let recorder = self.recorder.clone();
        let apply = move |configuration: &Configuration, change: &mut Change| {
            let read = Settings::read(configuration)?;
            let before = in_force.borrow().clone();
            let now = before.followed_by(read, change);
            // An identical one disturbs nobody.
            if change.is_at_once() {
                quarantine.set_max_bytes(now.quarantine_max_bytes);
                store.extend(&now.bounds);
                now.warn(&before.warnings());
                entrance.change(now.rules.clone());
                now.show_certificates(entrance.certificates());
                let now = Arc::new(now);
                recorder.follow(Arc::clone(&now));
                in_force.send_replace(now);
            }
            Ok(())
        };
        reload.follow(&self.registry, self.health.clone(), self.stopping.clone(), apply).map(drop)
    }

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
        // Last: a picture is worth less than a post.
        self.recorder.close(left.min(HISTORY_LEAST)).await;
        if late > 0 {
            tracing::warn!(
                parts = late,
                seconds = self.limit.as_secs(),
                "gave up waiting for what is still under way"
            );
        }
    }
}
