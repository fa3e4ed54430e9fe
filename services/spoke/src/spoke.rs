//! The spoke itself: reads its host when it is asked, and every ten seconds what percentages need.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent::clock::Clock;
use agent::config::Configuration;
use agent::http::Entrance;
use agent::http::health::Health;
use agent::identity::AgentId;
use agent::post::Writer;
use agent::reload::{Change, Reload};
use agent::shutdown::Stop;
use anyhow::Context;
use bytes::Bytes;
use prometheus::{Registry, TextEncoder};
use tokio::time::MissedTickBehavior;

use crate::PROGRAM;
use crate::cgroup;
use crate::collect::{Exclude, Host, cpu};
use crate::exporter::Exporter;
use crate::glance::{self, Glance, Many, Now};
use crate::hostname::{self, Told};
use crate::identity::HostIdentity;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::ring::{self, Ring};
use crate::scrape::{Wish, Written};
use crate::settings::Settings;
use crate::shared::Shared;

/// The longest interval that is answered, a year in seconds.
pub const LONGEST_INTERVAL_S: u64 = 31_536_000;

/// Said where a container was not given its host.
pub(crate) const NO_HOST: &str = "no host root: this is a container, and what is told of processes, interfaces and \
    file systems is the container's, not the host's; mount the host's /proc, /sys and / read-only, and set HOST_PROC, \
    HOST_SYS and HOST_ROOT";

/// The spoke.
#[derive(Debug)]
pub struct Spoke {
    /// Whether it is ready.
    pub health: Health,
    /// The way in.
    pub entrance: Entrance,
    pub(crate) agent_id: AgentId,
    pub(crate) notices: Notices,
    /// What is missing from `/metrics`.
    pub(crate) missing: Notices,
    pub(crate) scrapes: Shared<Wish, Written>,
    exporter: Exporter,
    pub(crate) metrics: Metrics,
    /// Whether this is not a container that was given no host.
    pub(crate) host_is_seen: bool,
    /// What configuration says of the post, replaced whole when it changes.
    said: Mutex<Arc<Said>>,
    hostname: Mutex<Told>,
    clock: Clock,
    started: Instant,
    ring: Mutex<Ring<cpu::Times>>,
    pub(crate) glance: Glance,
    looks: Shared<(), Arc<Now>>,
    work: Mutex<Work>,
    /// Posts, by their interval.
    posts: Shared<u64, Bytes>,
}

/// What configuration says of the post.
#[derive(Debug)]
struct Said {
    settings: Settings,
    identity: HostIdentity,
}

/// What making a post needs, kept from one to the next.
#[derive(Debug)]
struct Work {
    host: Host,
    writer: Writer,
}

impl Spoke {
    /// A spoke that writes nothing to disk, for `--once` and `--compare`.
    ///
    /// # Errors
    /// The kept agent_id cannot be read.
    pub fn new(settings: &Settings, hostname: Told) -> anyhow::Result<Self> {
        let identity = HostIdentity::find(settings);
        let agent_id = identity.agent_id(settings).find()?;
        Self::with(settings, hostname, identity, agent_id)
    }

    /// A spoke that keeps a new agent_id on disk and knows the cpu times of its start.
    ///
    /// # Errors
    /// As [`Spoke::new`].
    pub fn keeping_identity(settings: &Settings, hostname: Told) -> anyhow::Result<Self> {
        let identity = HostIdentity::find(settings);
        let agent_id = identity.agent_id(settings).find_and_keep()?;
        tracing::info!(hostname = %hostname.value, origin = hostname.origin,
            processor = %identity.processor().value, "host");
        let spoke = Self::with(settings, hostname, identity, agent_id)?;
        if !spoke.host_is_seen {
            tracing::warn!(proc = %settings.host.proc.display(), "{NO_HOST}");
        }
        spoke.sample();
        Ok(spoke)
    }

    fn with(
        settings: &Settings,
        hostname: Told,
        identity: HostIdentity,
        agent_id: AgentId,
    ) -> anyhow::Result<Self> {
        let askers = Arc::default();
        let host = Host::new(&settings.host, Arc::clone(&askers));
        let glance = Glance::new(&settings.host, Arc::clone(&askers));
        let host_is_seen = settings.host.any_given || !host.files.proc_is_containers();
        let writer = Writer::new(identity.sender(&agent_id.id, &hostname.value, &host.files));
        let metrics = Metrics::new(host_is_seen).context("failed to make the metrics")?;
        let names = own_names(&hostname);
        let entrance = Entrance::new(settings.rules.clone(), names, &metrics.registry)
            .context("failed to make the metrics")?;
        Ok(Self {
            health: Health::starting(),
            entrance,
            agent_id,
            notices: Notices::of("the post"),
            missing: Notices::of("/metrics"),
            scrapes: Shared::default(),
            exporter: Exporter::new(&settings.host, &settings.exporter, askers),
            metrics,
            host_is_seen,
            said: Mutex::new(Arc::new(Said { settings: settings.clone(), identity })),
            hostname: Mutex::new(hostname),
            clock: Clock::system(),
            started: Instant::now(),
            ring: Mutex::default(),
            glance,
            looks: Shared::default(),
            work: Mutex::new(Work { host, writer }),
            posts: Shared::default(),
        })
    }

    /// The host's name as it is sent now.
    pub fn hostname(&self) -> String {
        lock(&self.hostname).value.clone()
    }

    fn said(&self) -> Arc<Said> {
        Arc::clone(&lock(&self.said))
    }

    /// Reads the host and writes the post for an interval of that many seconds; for 0 the host is not read.
    ///
    /// # Errors
    /// The post cannot be written, which values as they are do not bring about.
    pub fn post(&self, interval_s: u64) -> anyhow::Result<Vec<u8>> {
        let mut work = lock(&self.work);
        let Work { host, writer } = &mut *work;
        let said = self.said();
        let datapoints = if interval_s == 0 {
            Vec::new()
        } else {
            self.collect(host, &said.settings.exclude, Duration::from_secs(interval_s))
        };
        writer.set_sender(said.identity.sender(&self.agent_id.id, &self.hostname(), &host.files));
        writer.write(interval_s, self.clock.now_ms(), &datapoints).context("failed to write the post")
    }

    /// As [`Spoke::post`], for all who ask at the same time together.
    ///
    /// # Errors
    /// As [`Spoke::post`]; reading the host ended unexpectedly.
    pub async fn shared_post(self: &Arc<Self>, interval_s: u64) -> anyhow::Result<Bytes> {
        let spoke = Arc::clone(self);
        self.posts.get(interval_s, move || spoke.post(interval_s).map(Bytes::from)).await
    }

    /// The host now, read once for all who ask at the same time.
    ///
    /// # Errors
    /// Reading the host ended unexpectedly.
    pub(crate) async fn look(self: &Arc<Self>) -> anyhow::Result<Arc<Now>> {
        let spoke = Arc::clone(self);
        self.looks.get((), move || Ok(Arc::new(spoke.now()))).await
    }

    fn now(&self) -> Now {
        let said = self.said();
        let before = lock(&self.ring).before(self.started.elapsed(), glance::LEAST).cloned();
        let seen = self.glance.look(self.clock, &said.settings.exclude, &said.identity, before.as_ref());
        Now {
            at_ms: self.clock.now_ms(),
            name: self.hostname(),
            agent_id: self.agent_id.id.clone(),
            program_version: PROGRAM.version,
            host_seen: self.host_is_seen,
            seen,
            missing_from_metrics: Many::left_out(self.missing.now()),
            own: cgroup::own(),
        }
    }

    fn collect(&self, host: &mut Host, exclude: &Exclude, interval: Duration) -> Vec<agent::post::Datapoint> {
        let before = lock(&self.ring).before(self.started.elapsed(), interval).cloned();
        let round = host.collect(exclude, before.as_ref(), self.clock);
        for reading in &round.readings {
            self.metrics.collected(reading.collector, reading.success, reading.duration);
        }
        self.metrics.collections.inc();
        self.metrics.datapoints.set(i64::try_from(round.datapoints.len()).unwrap_or(i64::MAX));
        self.metrics.left_out(&round.left_out);
        self.notices.update(round.left_out.into_iter().map(|(what, one)| (what, one.text)).collect());
        round.datapoints
    }

    /// Takes one sample for the percentages and the charts.
    fn sample(&self) {
        // Where it cannot be read, the next post says so; here there is nothing to keep.
        if let Some(times) = self.glance.sample(self.clock, &self.said().settings.exclude) {
            lock(&self.ring).push(self.started.elapsed(), times);
            self.metrics.samples.inc();
        }
    }

    /// Takes a sample every ten seconds until `stop`.
    pub fn sample_until(self: Arc<Self>, mut stop: Stop) {
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(ring::STEP);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await; // the first is at once, and that sample is taken
            loop {
                tokio::select! {
                    () = stop.wait() => break,
                    _ = ticks.tick() => {
                        let spoke = Arc::clone(&self);
                        // A reading that panicked would have said so; the next comes in ten seconds.
                        let sample = move || {
                            spoke.sample();
                            spoke.glance.follow_fullest(&spoke.said().settings.exclude);
                        };
                        let _ = tokio::task::spawn_blocking(sample).await;
                    }
                }
            }
        });
    }

    /// Follows the configuration until `stop`.
    ///
    /// # Errors
    /// The metrics cannot be made.
    pub fn follow(self: Arc<Self>, reload: Reload, stop: Stop) -> anyhow::Result<()> {
        let (spoke, until) = (Arc::clone(&self), stop.clone());
        let apply = move |configuration: &Configuration, change: &mut Change| {
            let read = Settings::read(configuration)?;
            Arc::clone(&spoke).take_settings(read, change, &until);
            Ok(())
        };
        reload.follow(&self.metrics.registry, self.health.clone(), stop, apply).map(drop)
    }

    /// Brings into force what may change while the spoke runs.
    fn take_settings(self: Arc<Self>, read: Settings, change: &mut Change, stop: &Stop) {
        let said = self.said();
        let (before, now) = (&said.settings, said.settings.followed_by(read, change));
        if !change.is_at_once() {
            return;
        }
        let named = (before.hostname != now.hostname).then(|| now.hostname.clone());
        let identity = HostIdentity::find(&now);
        if now.exporter != before.exporter {
            self.exporter.take_settings(&now.exporter);
        }
        self.entrance.change(now.rules.clone());
        *lock(&self.said) = Arc::new(Said { settings: now.clone(), identity });
        match named {
            None => {}
            Some(Some(name)) => self.take_hostname(Told::new(name, "configuration")),
            Some(None) => self.follow_hostname(now, stop.clone()),
        }
    }

    /// Asks for the host's name until files or DNS answer, and keeps the answer. Does nothing where the name
    /// is configured.
    pub fn follow_hostname(self: Arc<Self>, settings: Settings, mut stop: Stop) {
        if settings.hostname.is_some() {
            return;
        }
        tokio::spawn(async move {
            // Until it is configured after all.
            while self.said().settings.hostname.is_none() {
                let answered = tokio::select! {
                    () = stop.wait() => return,
                    answered = hostname::ask() => answered,
                };
                if let Some(name) = answered {
                    if self.said().settings.hostname.is_none() {
                        hostname::keep(&settings, &name);
                        self.take_hostname(Told::new(name, "files and DNS"));
                    }
                    return;
                }
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(hostname::ASK_AGAIN) => {}
                }
            }
        });
    }

    fn take_hostname(&self, told: Told) {
        let mut known = lock(&self.hostname);
        if known.value != told.value {
            tracing::warn!(was = %known.value, is = %told.value,
                "the host's name changed, and every series with it; set hostname to keep one");
            self.entrance.set_own_names(own_names(&told));
            *known = told;
        }
    }

    /// The page `/metrics`: the host's metrics, then the spoke's own.
    pub(crate) fn metrics_page(&self, wish: &Wish) -> anyhow::Result<String> {
        let mut page = self.exporter.page(wish.format, &wish.collectors, &self.hostname());
        // Who asks for some collectors alone says nothing of the others.
        if wish.collectors.is_empty() {
            self.missing.update_beside(std::mem::take(&mut page.left_out), &self.notices);
        }
        self.metrics.cut(&page.cut);
        let own = TextEncoder::new().encode_to_string(&self.registry().gather());
        Ok(page.finish(&own.context("failed to write the program's own metrics")?))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.metrics.registry
    }
}

/// By which names the spoke may be asked: as it calls its host, and as the system does.
fn own_names(hostname: &Told) -> Vec<String> {
    vec![hostname.value.clone(), rustix::system::uname().nodename().to_string_lossy().into_owned()]
}

/// The state behind these locks is replaced whole: a holder that panicked cannot have left it half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
