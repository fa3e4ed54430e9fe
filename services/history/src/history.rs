//! The whole: a bounded queue, a thread that empties it, and what everybody may look at meanwhile.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::Error;
use crate::host::Host;
use crate::keeper::Keeper;
use crate::now::Now;
use crate::sample::Sample;
use crate::series::{HEADLINE, Series};
use crate::tiers::{Points, Query};

/// Samples that wait for the thread; at 10,000 hosts each ten seconds, those of eight seconds.
const MOST_QUEUED: usize = 8192;

/// Questions that wait for the thread.
const MOST_ASKED: usize = 32;

/// What bounds history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the file may take, in bytes.
    pub max_bytes: u64,
    /// How long the coarsest rows are kept.
    pub max_age: Duration,
    /// How many hosts there are at most.
    pub max_hosts: usize,
}

/// Samples that were left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// The queue was full.
    pub queue: u64,
    /// Too many rows wait to be written.
    pub pending: u64,
    /// There are as many hosts as there may be.
    pub hosts: u64,
    /// They are older than the host's last one, or ahead of the clock.
    pub stamp: u64,
    /// They could not be written.
    pub write: u64,
}

impl Drops {
    /// Each count with its reason's word.
    pub fn each(&self) -> [(&'static str, u64); 5] {
        [
            ("queue", self.queue),
            ("pending", self.pending),
            ("hosts", self.hosts),
            ("stamp", self.stamp),
            ("write", self.write),
        ]
    }
}

/// How history is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Samples that became rows.
    pub samples: u64,
    /// Samples that were left out.
    pub drops: Drops,
    /// Hosts that are known.
    pub hosts: usize,
    /// What the file takes, in bytes.
    pub bytes: u64,
    /// When the oldest row was made, in ms since 1970; 0 where there is none.
    pub oldest_ms: u64,
    /// Files that were set aside.
    pub set_aside: u64,
    /// Whether the file can be used.
    pub works: bool,
}

/// History. Clones share it; the last one that goes ends the thread, and what waits is written then.
#[derive(Clone, Debug)]
pub struct History(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    ask: SyncSender<Ask>,
}

type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) queue: Mutex<VecDeque<Sample>>,
    pub(crate) queue_drops: AtomicU64,
    pub(crate) hosts: Mutex<Hosts>,
    pub(crate) stats: Mutex<Stats>,
    pub(crate) options: Mutex<Options>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").field("stats", &self.stats).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Hosts {
    pub(crate) by_agent: HashMap<Box<str>, Host>,
    pub(crate) next_id: i64,
    /// Rows that wait to be written.
    pub(crate) pending: usize,
}

pub(crate) type Answer = Result<(Vec<Series>, Points), Error>;

pub(crate) enum Ask {
    Points {
        agent_id: String,
        query: Query,
        then: Box<dyn FnOnce(Answer) + Send>,
    },
    /// Writes what waits, then says so.
    Write(SyncSender<()>),
}

/// Takes a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change behind these locks is whole: a holder that panicked cannot have left it half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    /// The name of the file within its folder.
    pub const FILE: &str = "history.sqlite";

    /// The file in this folder.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join(Self::FILE)
    }

    /// Begins history in the file at `path`. It is opened by the thread: this waits for no disk. `clock` tells ms since
    /// 1970.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn begin(
        path: PathBuf,
        options: Options,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            clock: Arc::new(clock),
            queue: Mutex::default(),
            queue_drops: AtomicU64::new(0),
            hosts: Mutex::default(),
            stats: Mutex::default(),
            options: Mutex::new(options),
        });
        let (ask, asked) = sync_channel(MOST_ASKED);
        let keeper = Keeper::new(Arc::clone(&shared), path, options);
        std::thread::Builder::new().name("history".to_owned()).spawn(move || keeper.run(&asked))?;
        Ok(Self(Arc::new(Handle { shared, ask })))
    }

    /// Takes a sample, or drops and counts it where too many wait. Wakes nobody, and waits for nobody.
    pub fn offer(&self, sample: Sample) {
        let shared = &self.0.shared;
        let mut queue = lock(&shared.queue);
        if queue.len() < MOST_QUEUED {
            queue.push_back(sample);
        } else {
            shared.queue_drops.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Is bounded so from now on.
    pub fn set_options(&self, options: Options) {
        *lock(&self.0.shared.options) = options;
    }

    /// What is known of a host as of now.
    pub fn now(&self, agent_id: &str) -> Option<Now> {
        let now_ms = (self.0.shared.clock)();
        lock(&self.0.shared.hosts).by_agent.get(agent_id).map(|host| now(host, now_ms))
    }

    /// Looks at each of these agents' hosts: its name, when its last sample was made, and its headline series then.
    pub fn each<'a, T>(
        &self,
        agents: impl Iterator<Item = Option<&'a str>>,
        look: impl Fn(&str, u64, &[f32; HEADLINE.len()]) -> T,
    ) -> Vec<Option<T>> {
        let hosts = lock(&self.0.shared.hosts);
        let of = |agent_id: &str| {
            let host = hosts.by_agent.get(agent_id)?;
            Some(look(&host.hostname, host.stamp_ms, &headline(host)))
        };
        agents.map(|agent| agent.and_then(of)).collect()
    }

    /// Every host: agent id, name, and when its last sample was made.
    pub fn hosts(&self) -> Vec<(String, String, u64)> {
        let hosts = lock(&self.0.shared.hosts);
        let each = hosts.by_agent.iter();
        each.map(|(agent_id, host)| (agent_id.to_string(), host.hostname.to_string(), host.stamp_ms))
            .collect()
    }

    /// Asks for the points of all series of a host. `then` gets the answer on history's own thread; it is dropped
    /// where too many ask, or the disk holds the thread up for good.
    pub fn points(&self, agent_id: &str, query: Query, then: impl FnOnce(Answer) + Send + 'static) {
        let ask = Ask::Points { agent_id: agent_id.to_owned(), query, then: Box::new(then) };
        match self.0.ask.try_send(ask) {
            Ok(()) => {}
            // Dropped, and with it what waits for it.
            Err(TrySendError::Full(ask) | TrySendError::Disconnected(ask)) => drop(ask),
        }
    }

    /// Writes what waits within `limit`. Returns whether that was done.
    pub fn write_now(&self, limit: Duration) -> bool {
        let (done, is_done) = sync_channel(1);
        self.0.ask.try_send(Ask::Write(done)).is_ok() && is_done.recv_timeout(limit).is_ok()
    }

    /// How it is doing.
    pub fn stats(&self) -> Stats {
        let mut stats = *lock(&self.0.shared.stats);
        stats.drops.queue = self.0.shared.queue_drops.load(Ordering::Relaxed);
        stats.hosts = lock(&self.0.shared.hosts).by_agent.len();
        stats
    }
}

fn headline(host: &Host) -> [f32; HEADLINE.len()] {
    let mut values = [f32::NAN; HEADLINE.len()];
    values.iter_mut().zip(&host.row).for_each(|(value, now)| *value = *now);
    values
}

fn now(host: &Host, now_ms: u64) -> Now {
    Now {
        stamp_ms: host.stamp_ms,
        hostname: host.hostname.to_string(),
        values: headline(host),
        sparks: host.sparks.lines(now_ms),
    }
}
