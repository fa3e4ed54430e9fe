//! What is taken and not delivered yet, on disk: posts in lanes, one lane for each `pattoo_agent_id`.
//!
//! The invariants:
//! - [`Store::append`] returns only when the post is synced: it outlives a kill and a power cut. A post whose
//!   writing failed is not taken.
//! - Sequence numbers are global and grow, over restarts too. A lane's oldest post is the one with the lowest.
//! - A post leaves by [`Store::acknowledge`], or for one of the spool's closed list of reasons, counted.
//! - Bodies come out byte for byte as they were put in.
//!
//! Behind this stands the crate `spool`, which keeps bytes; here they become posts: packed ([`pack`]), named
//! by their agent ids, counted ([`shown`]).

mod fresh;
mod newest;
mod pack;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent::clock::Clock;
use agent::rarely::Rarely;
use bytes::Bytes;
use spool::{Options, Spool};
use tokio::sync::{mpsc, oneshot};

use crate::check::{self, Stamp};
use crate::metrics::Metrics;

use fresh::Fresh;
use newest::Newest;
pub use shown::Bounds;
use shown::Shown;

/// A lane's name: the agent id of its posts.
pub type Lane = Arc<str>;

/// A post that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Its place in the order of all posts.
    pub sequence: u64,
    /// The body, as it was taken.
    pub body: Bytes,
    /// What the check found when it was taken, where that is still known.
    pub stamp: Option<Stamp>,
}

/// What waits in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InLane {
    /// The lane.
    pub lane: Lane,
    /// How many posts wait.
    pub posts: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// When the oldest of them was taken, in ms since 1970.
    pub oldest_ms: Option<u64>,
    /// The sequence up to which all is delivered or dropped.
    pub done: u64,
    /// The sequence of the oldest that waits.
    pub head: Option<u64>,
}

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spool: Spool,
    clock: Clock,
    metrics: Metrics,
    fresh: Arc<Fresh>,
    newest: Newest,
    failing: AtomicBool,
    /// Posts of sources that there was no room for.
    crowded: Rarely,
    /// How many drops were told of, and how often that is told.
    told_drops: AtomicU64,
    dropping: Rarely,
}

/// The lanes that are announced and not yet heard of: so what waits to be heard is bounded by the lanes.
type Announced = Arc<Mutex<HashSet<Lane>>>;

/// Tells [`Filled`].
#[derive(Debug)]
struct Announcer {
    sender: mpsc::UnboundedSender<Lane>,
    announced: Announced,
}

impl Announcer {
    fn announce(&self, lane: &Lane) {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.sender.is_closed() && announced.insert(lane.clone()) {
            // Nobody delivers (a stand-in), or the hub is stopping: the post is safe all the same.
            let _ = self.sender.send(lane.clone());
        }
    }
}

/// Names each lane that was empty and has got a post.
#[derive(Debug)]
pub struct Filled {
    receiver: mpsc::UnboundedReceiver<Lane>,
    announced: Announced,
}

impl Filled {
    /// The next lane that was empty and has got a post; `None` once the store is gone. Nothing is lost where the caller
    /// stops waiting.
    pub async fn recv(&mut self) -> Option<Lane> {
        let lane = self.receiver.recv().await?;
        self.announced.lock().unwrap_or_else(PoisonError::into_inner).remove(&lane);
        Some(lane)
    }
}

impl Store {
    /// Opens the store in `folder`, makes it where there is none, and finds what waits there. Damage is set
    /// aside, never a reason to refuse.
    ///
    /// # Errors
    /// The folder cannot be made or listed, or another hub has it open.
    pub async fn open(folder: PathBuf, bounds: Bounds, metrics: Metrics) -> anyhow::Result<(Self, Filled)> {
        blocking(move || Ok(Self::open_now(&folder, bounds.options(), metrics))).await?
    }

    pub(crate) fn open_now(
        folder: &Path,
        options: Options,
        metrics: Metrics,
    ) -> anyhow::Result<(Self, Filled)> {
        let clock = Clock::of_this_program();
        let (sender, receiver) = mpsc::unbounded_channel();
        let announced = Announced::default();
        let heard = Filled { receiver, announced: Arc::clone(&announced) };
        let announcer = Arc::new(Announcer { sender, announced });
        let told = Arc::clone(&announcer);
        let options = Options {
            clock: Arc::new(move || clock.now_ms()),
            // By the spool itself: whoever appends may give up before the answer, and the post is there.
            filled: Arc::new(move |lane| told.announce(lane)),
            name_of: Arc::new(|packed| {
                let body = pack::unpack(packed).ok()?;
                check::check(&body).ok().map(|post| post.agent_id)
            }),
            ..options
        };
        let (spool, report) = Spool::open(folder, options)?;
        tracing::info!(
            posts = report.found.records,
            bytes = report.found.bytes,
            lanes = report.lanes,
            "the spool is open"
        );
        let inner = Inner {
            spool,
            clock,
            metrics,
            fresh: Arc::default(),
            newest: Newest::default(),
            failing: AtomicBool::new(false),
            crowded: Rarely::default(),
            told_drops: AtomicU64::new(0),
            dropping: Rarely::default(),
        };
        for (lane, _) in inner.heads() {
            announcer.announce(&lane);
        }
        inner.metrics.posts_found.inc_by(report.found.records);
        for (kind, places) in report.damage.kinds() {
            inner.metrics.spool_damage.with_label_values(&[kind]).inc_by(places);
        }
        let store = Self(Arc::new(inner));
        let shown = Shown::new(&store)?;
        store.0.metrics.registry.register(Box::new(shown))?;
        Ok((store, heard))
    }

    /// Keeps a post as the newest of its lane. Where this returns a sequence, the post is safe.
    ///
    /// # Errors
    /// Why it could not be kept; the post is not taken then.
    pub async fn append(&self, lane: &str, body: Bytes) -> io::Result<u64> {
        self.append_taken_at(lane, self.0.clock.now_ms(), body).await
    }

    /// As [`Store::append`], for a post that has just passed the check.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_checked(&self, post: &check::Post, body: Bytes) -> io::Result<u64> {
        self.append_as(&post.agent_id, self.0.clock.now_ms(), body, Some(post.stamp())).await
    }

    /// As [`Store::append`], for a post that was taken before.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_taken_at(&self, lane: &str, taken_ms: u64, body: Bytes) -> io::Result<u64> {
        self.append_as(lane, taken_ms, body, None).await
    }

    async fn append_as(
        &self,
        lane: &str,
        taken_ms: u64,
        body: Bytes,
        stamp: Option<Stamp>,
    ) -> io::Result<u64> {
        let packed = pack::pack(&body)?;
        let (fresh, newest) = (Arc::clone(&self.0.fresh), packed.clone());
        let (sender, answer) = oneshot::channel();
        self.0.spool.append_then(lane, taken_ms, packed, move |result| {
            if let (Ok(sequence), Some(_)) = (&result, &stamp) {
                fresh.put(Post { sequence: *sequence, body, stamp });
            }
            // Whoever appended may have given up; the post is safe, and counted by the spool.
            let _ = sender.send(result);
        });
        let result = answer.await.map_err(io::Error::other)?;
        match result {
            Ok(sequence) => {
                self.0.newest.put(lane, taken_ms, newest);
                self.0.works_again();
                self.0.tell_drops();
                Ok(sequence)
            }
            Err(error) => {
                self.0.failed(&error);
                Err(io::Error::other(error))
            }
        }
    }

    /// The oldest post of a lane, `None` where nothing waits in it.
    ///
    /// # Errors
    /// It cannot be read now.
    pub async fn oldest(&self, lane: &Lane) -> io::Result<Option<Post>> {
        let head = self.0.spool.known_head(lane);
        if let Some(post) = head.and_then(|sequence| self.0.fresh.take(sequence)) {
            return Ok(Some(post));
        }
        let (inner, lane) = (self.0.clone(), lane.clone());
        blocking(move || inner.oldest(&lane)).await
    }

    /// Lets a post go, since it was delivered. Returns whether it still was here: meanwhile it may have been
    /// dropped for want of space.
    ///
    /// # Errors
    /// The lane's head cannot be read.
    pub async fn acknowledge(&self, lane: &Lane, sequence: u64) -> io::Result<bool> {
        // What is known reads nothing, and so holds up nobody.
        if self.0.spool.known_head(lane) == Some(sequence) {
            return self.0.acknowledge(lane, sequence);
        }
        let (inner, lane) = (self.0.clone(), lane.clone());
        blocking(move || inner.acknowledge(&lane, sequence)).await
    }

    /// The sequence of a lane's oldest post; 0 where it cannot be read now.
    pub fn head(&self, lane: &Lane) -> Option<u64> {
        head(&self.0.spool.lane(lane)?)
    }

    /// The lanes that are not empty, with the sequence of their oldest post.
    pub fn lanes(&self) -> Vec<(Lane, u64)> {
        self.0.heads()
    }

    /// What stands in each lane, empty ones too.
    pub fn in_lanes(&self) -> Vec<InLane> {
        self.0.spool.lanes().into_iter().map(in_lane).collect()
    }

    /// Drops all that waits in a lane; how many posts those were.
    ///
    /// # Errors
    /// A head cannot be read; the posts before it are dropped then.
    pub async fn purge(&self, lane: &str) -> io::Result<u64> {
        let (inner, lane) = (self.0.clone(), lane.to_owned());
        blocking(move || inner.spool.purge(&lane).map_err(io::Error::other)).await
    }

    /// The newest post that was taken of a source, and when, where it is still known.
    pub(crate) fn newest(&self, lane: &str) -> Option<(u64, Vec<u8>)> {
        let (taken_ms, packed) = self.0.newest.get(lane)?;
        Some((taken_ms, pack::unpack(&packed).ok()?))
    }

    /// What stands in one lane; none where it holds nothing and never did.
    pub(crate) fn in_lane(&self, lane: &str) -> Option<InLane> {
        self.0.spool.lane(lane).map(in_lane)
    }

    /// How many posts wait, and their bytes on disk.
    pub fn waiting(&self) -> (u64, u64) {
        let waiting = self.0.spool.stats().waiting;
        (waiting.records, waiting.bytes)
    }

    /// Holds more from now on, and each post for so long.
    pub(crate) fn extend(&self, bounds: &Bounds) {
        self.0.spool.extend(bounds.max_bytes, bounds.max_age);
    }

    /// Syncs what was appended and acknowledged, and takes nothing more.
    ///
    /// # Errors
    /// It did not end in time, or the disk refuses: then deliveries may be repeated after the restart.
    pub async fn close(&self, within: Duration) -> io::Result<()> {
        let inner = self.0.clone();
        blocking(move || inner.spool.close(within).map_err(io::Error::other)).await
    }

    /// Posts that had to go since the start, by reason.
    pub(crate) fn dropped(&self) -> [(&'static str, u64); spool::DropReason::ALL.len()] {
        let stats = self.stats();
        spool::DropReason::ALL.map(|reason| (reason.word(), stats.dropped_for(reason).records))
    }

    fn stats(&self) -> spool::Stats {
        self.0.spool.stats()
    }

    /// When the oldest post of all was taken.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        let lane = self.0.spool.next_lane(|_| true)?;
        self.0.spool.lane(&lane)?.oldest.map(|oldest| oldest.taken_ms)
    }
}

impl Inner {
    fn heads(&self) -> Vec<(Lane, u64)> {
        self.spool
            .lanes()
            .into_iter()
            .filter_map(|lane| Some((Arc::clone(&lane.name), head(&lane)?)))
            .collect()
    }

    fn oldest(&self, lane: &Lane) -> io::Result<Option<Post>> {
        loop {
            let Some(record) = self.spool.oldest(lane).map_err(io::Error::other)? else { return Ok(None) };
            match pack::unpack(&record.body) {
                Ok(body) => {
                    return Ok(Some(Post { sequence: record.sequence, body: body.into(), stamp: None }));
                }
                // Its checksum is right, so this is a fault of the program that wrote it, not of the disk.
                Err(error) => {
                    tracing::error!(%lane, sequence = record.sequence, %error,
                        "failed to unpack a post that was kept; it is lost");
                    self.metrics.unpackable.inc();
                    self.spool.acknowledge(lane, record.sequence).map_err(io::Error::other)?;
                }
            }
        }
    }

    fn acknowledge(&self, lane: &Lane, sequence: u64) -> io::Result<bool> {
        Ok(self.spool.acknowledge(lane, sequence).map_err(io::Error::other)? > 0)
    }

    fn failed(&self, error: &spool::Error) {
        self.metrics.store_errors.inc();
        // Nothing of the store is wrong: others are kept on, so this is told apart from a store that fails.
        if let spool::Error::TooManyLanes { max } = error {
            if let Some(posts) = self.crowded.count() {
                tracing::error!(
                    posts,
                    max_sources = max,
                    "no room for the posts of another source, which are lost; raise max_sources, or keep strangers away (docs/security.md)"
                );
            }
            return;
        }
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error = format!("{:#}", anyhow::anyhow!(error.clone())),
                "failed to keep a post; what is not kept is lost until this is mended"
            );
        }
    }

    /// Says, at most once a minute, that posts had to go.
    fn tell_drops(&self) {
        let dropped = self.spool.dropped();
        let before = self.told_drops.fetch_max(dropped, Ordering::Relaxed);
        let more = dropped.saturating_sub(before);
        if more > 0
            && let Some(posts) = self.dropping.add(more)
        {
            tracing::error!(posts, "posts that waited had to go; pattoo_hub_posts_dropped_total tells why");
        }
    }

    fn works_again(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("posts are kept again");
        }
    }
}

fn in_lane(lane: spool::LaneInfo) -> InLane {
    InLane {
        posts: lane.waiting.records,
        bytes: lane.waiting.bytes,
        oldest_ms: lane.oldest.map(|oldest| oldest.taken_ms),
        done: lane.acknowledged,
        head: lane.oldest.map(|oldest| oldest.sequence),
        lane: lane.name,
    }
}

/// The sequence of a lane's oldest post. A lane whose oldest post cannot be read now is not empty: nobody would
/// look at it again.
fn head(lane: &spool::LaneInfo) -> Option<u64> {
    (lane.waiting.records > 0).then(|| lane.oldest.map_or(0, |oldest| oldest.sequence))
}

/// Runs what waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
