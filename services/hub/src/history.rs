//! What the hub's pages draw: the crate `history`, fed with what was kept. A post is looked at while it is checked, and
//! what is wanted of it is handed on once it is safe; from then on nothing here can hold anything up.
//!
//! The hub has a host of its own there, under a name that no agent can have: what waits, and how the server is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::clock::Clock;
use agent::shutdown::Stop;
use history::{History, Options, Points, Query, Reading, Sample, Series, Source};
use tokio::sync::oneshot;

use crate::check::{Post, Seen};
use crate::deliver::{Upstream, Watched};
use crate::metrics::Metrics;
use crate::settings::{HistoryRule, Settings, WantedSeries};
use crate::store::Store;

mod shown;

/// The hub's own series.
pub(crate) const HUB: &str = ".hub";

/// Beyond so many targets or sources history is off, unless it is told to be on.
pub(crate) const MOST_HOSTS: usize = 2000;

/// How long a picture is waited for.
const PICTURE: Duration = Duration::from_secs(5);

/// How often the hub's own numbers are taken.
const OWN: Duration = Duration::from_secs(10);

/// Feeds history, and asks it. Clones share it.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    history: Mutex<Option<History>>,
    settings: Mutex<Arc<Settings>>,
    /// Whether samples are taken; looked at with each post.
    on: AtomicBool,
    hosts: AtomicUsize,
    metrics: Metrics,
    clock: Clock,
}

/// What is heard of one post.
#[derive(Debug)]
pub struct Listening {
    sample: Option<Sample>,
    more: Arc<Settings>,
}

impl Recorder {
    /// History as the settings want it.
    pub fn new(settings: Arc<Settings>, metrics: Metrics, clock: Clock) -> Self {
        let inner = Inner {
            history: Mutex::default(),
            settings: Mutex::new(Arc::clone(&settings)),
            on: AtomicBool::new(false),
            hosts: AtomicUsize::new(0),
            metrics,
            clock,
        };
        let this = Self(Arc::new(inner));
        this.follow(settings);
        shown::Shown::show(&this);
        this
    }

    fn history(&self) -> Option<History> {
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn settings(&self) -> Arc<Settings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These settings are in force from now on.
    pub fn follow(&self, settings: Arc<Settings>) {
        let options = Options {
            max_bytes: settings.history.max_bytes,
            max_age: settings.history.max_age,
            max_hosts: usize::try_from(settings.bounds.max_sources).unwrap_or(usize::MAX),
        };
        {
            let mut history = self.0.history.lock().unwrap_or_else(PoisonError::into_inner);
            match (&*history, settings.history.rule) {
                // What waits is written as the last of it goes.
                (_, HistoryRule::Off) => *history = None,
                (Some(history), _) => history.set_options(options),
                (None, _) => {
                    let clock = self.0.clock;
                    let began = History::begin(settings.history_file(), options, move || clock.now_ms());
                    *history = began
                        .inspect_err(
                            |error| tracing::warn!(%error, "failed to begin the history; there is none"),
                        )
                        .ok();
                }
            }
        }
        *self.0.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        self.decide();
    }

    /// Whether history is on now, for as many targets and sources as there are.
    pub(crate) fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    /// Whether there is any, also of earlier times.
    pub(crate) fn is_kept(&self) -> bool {
        self.history().is_some()
    }

    /// Decides whether it is on, and says so where that has changed.
    fn decide(&self) {
        let history = self.history();
        let targets = usize::try_from(self.0.metrics.targets.get()).unwrap_or(0);
        let hosts = targets.max(self.0.hosts.load(Ordering::Relaxed));
        let by_rule = match self.settings().history.rule {
            HistoryRule::On => true,
            HistoryRule::Off => false,
            HistoryRule::Auto => hosts <= MOST_HOSTS,
        };
        let on = by_rule && history.is_some();
        if self.0.on.swap(on, Ordering::Relaxed) && !by_rule && history.is_some() {
            tracing::info!(
                hosts,
                most = MOST_HOSTS,
                "there are more hosts than history is kept of; history: true keeps it"
            );
        }
    }

    /// Begins to listen to a post.
    pub fn listen(&self) -> Listening {
        let sample = self.is_on().then(|| Sample::new("", "", 0, 0));
        Listening { sample, more: self.settings() }
    }

    /// The post that was listened to is kept.
    pub fn take(&self, listening: Listening, post: &Post) {
        let Some(mut sample) = listening.sample.filter(|sample| !sample.is_empty()) else { return };
        sample.agent_id = post.agent_id.as_str().into();
        sample.stamp_ms = post.stamp;
        sample.interval_ms = post.interval;
        if let Some(history) = self.history() {
            history.offer(sample);
        }
    }

    /// Takes the hub's own numbers, again and again until `stop`.
    pub(crate) async fn run(self, store: Store, upstream: Watched, mut stop: Stop) {
        loop {
            if let Some(history) = self.history() {
                self.0.hosts.store(history.stats().hosts, Ordering::Relaxed);
                self.decide();
                if self.is_on() {
                    history.offer(self.own(&store, &upstream));
                }
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(OWN) => {}
            }
        }
    }

    fn own(&self, store: &Store, upstream: &Watched) -> Sample {
        let settings = self.settings();
        let now_ms = self.0.clock.now_ms();
        let interval = u64::try_from(OWN.as_millis()).unwrap_or(u64::MAX);
        let mut sample = Sample::new(HUB, &settings.node, now_ms, interval);
        let mut add = |source, key, value| sample.add(Reading { source, key, instance: "", value });
        #[allow(clippy::cast_precision_loss, reason = "a picture needs no more")]
        let number = |value: u64| value as f64;
        let oldest = store.oldest_ms().map_or(0, |taken| now_ms.saturating_sub(taken) / 1000);
        add(Source::OtherAmount, "waiting_posts", number(store.waiting().0));
        add(Source::OtherAmount, "oldest_waiting_seconds", number(oldest));
        add(Source::OtherCounter, "delivered_posts", number(self.0.metrics.posts_delivered.get()));
        add(Source::OtherCounter, "taken_posts", number(self.0.metrics.taken_in_all()));
        if settings.upstream.is_some() {
            let is_up = !matches!(upstream.get(), Upstream::Down(_));
            add(Source::OtherAmount, "upstream_up", f64::from(u8::from(is_up)));
        }
        sample
    }

    /// What is known of a host as of now.
    pub(crate) fn now(&self, agent_id: &str) -> Option<history::Now> {
        self.history()?.now(agent_id)
    }

    /// What is known of each of these agents' hosts. A row that is older than `stale` is none.
    pub(crate) fn lasts<'a>(
        &self,
        agents: impl ExactSizeIterator<Item = Option<&'a str>>,
        stale: Duration,
    ) -> Vec<Option<Last>> {
        let Some(history) = self.history() else { return vec![None; agents.len()] };
        let stale = u64::try_from(stale.as_millis()).unwrap_or(u64::MAX);
        let since_ms = self.now_ms().saturating_sub(stale);
        history.each(agents, |hostname, stamp_ms, row| Last {
            hostname: hostname.to_owned(),
            row: (stamp_ms >= since_ms).then_some(*row),
        })
    }

    /// The points of a host's series; `None` where there are none, or they cannot be had in time.
    pub(crate) async fn points(&self, agent_id: &str, query: Query) -> Option<(Vec<Series>, Points)> {
        let history = self.history()?;
        let (sender, answer) = oneshot::channel();
        // Whoever asked may have gone.
        history.points(agent_id, query, move |answer| drop(sender.send(answer)));
        drop(history);
        tokio::time::timeout(PICTURE, answer).await.ok()?.ok()?.ok()
    }

    /// The time that pictures and rows count in.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// Writes what waits within `limit`.
    pub async fn close(&self, limit: Duration) {
        let Some(history) = self.history() else { return };
        let written = tokio::task::spawn_blocking(move || history.write_now(limit));
        if !tokio::time::timeout(limit, written).await.is_ok_and(|written| written.unwrap_or(false)) {
            tracing::warn!("the last minute of the history was not written in time");
        }
    }
}

/// A host's headline series.
pub(crate) type Row = [f32; history::HEADLINE.len()];

/// What is known of a host.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) hostname: String,
    pub(crate) row: Option<Row>,
}

impl Listening {
    /// Hears one number of the post.
    pub fn hear(&mut self, seen: &Seen<'_>) {
        let Some(sample) = &mut self.sample else { return };
        let key = seen.key();
        // A partition that cannot be written to, such as a snap's, is full from the start and says nothing.
        let full_anyway = |source| source == Source::Partition && seen.is_read_only;
        if let Some(source) = history::wanted(&key).filter(|source| !full_anyway(*source)) {
            if sample.hostname.is_empty() {
                sample.hostname = seen.hostname().into();
            }
            sample.add(Reading { source, key: "", instance: &seen.instance(), value: seen.value });
        }
        let wants = |wanted: &WantedSeries| {
            wanted.key == key
                && (wanted.hosts.is_empty()
                    || wanted.hosts.iter().any(|host| *host == seen.hostname() || *host == seen.agent_id()))
        };
        if self.more.history.series.iter().any(wants) {
            let source = if seen.is_counter { Source::OtherCounter } else { Source::OtherAmount };
            sample.add(Reading { source, key: &key, instance: &seen.instance(), value: seen.value });
        }
    }
}
