//! The books of a hub that was stopped, post by post: each post that it has taken is kept by the server, or
//! waits, or both where the stop came between; and nothing else does.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use hub::metrics::Metrics;
use hub::store::{Bounds, Store};
use testkit::post::{agent_id, stamp};

use crate::sources::{Polled, Sent};
use crate::upstream::{Key, Upstream, body};

/// The bounds of the hubs here: small segments, so that the little that they hold is in several.
pub(crate) const BOUNDS: Bounds =
    Bounds { max_bytes: 16 << 20, max_age: Duration::from_secs(7 * 86_400), max_sources: 100 };

/// The lines of the configuration that say so.
pub(crate) const BOUNDED: [&str; 2] = ["max_bytes: 16777216", "max_sources: 100"];

/// Acknowledgements are synced with the next group commit, 10 ms later. Until then a kill repeats what they are
/// of; the rest is for a machine with other work to do.
const COMMITTED_WITHIN: Duration = Duration::from_secs(1);

/// What waits in the spool of a stopped hub, each lane in order. A copy is looked at, so that the hub finds what
/// it left behind.
pub(crate) fn waiting(cache: &Path) -> Vec<Key> {
    let copy = tempfile::tempdir_in(cache).unwrap();
    for file in std::fs::read_dir(cache.join("spool")).into_iter().flatten() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let metrics = Metrics::new(false).unwrap();
        let (store, _filled) = Store::open(copy.path().to_owned(), BOUNDS, metrics).await.unwrap();
        let mut found = Vec::new();
        for (lane, _) in store.lanes() {
            while let Some(post) = store.oldest(&lane).await.unwrap() {
                let key = (agent_id(&post.body), stamp(&post.body));
                assert_eq!((&*post.body, &*key.0), (&*body(&key.0, key.1), &*lane), "altered in the spool");
                found.push(key);
                assert!(store.acknowledge(&lane, post.sequence).await.unwrap());
            }
        }
        found
    })
}

/// What is known over all runs.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Whatever a source gave away or tried to post.
    given: HashSet<Key>,
    /// What was surely taken and was not yet seen at the server.
    open: BTreeSet<Key>,
    /// Posts whose 200 has reached the hub, and which therefore do not come again, but as canaries.
    done: HashSet<Key>,
    /// Posts that the server has and that wait all the same, since a stop came between.
    between: HashSet<Key>,
    /// What the server has been sent.
    seen: HashSet<Key>,
    arrivals: usize,
    pub(crate) figures: Figures,
}

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) taken: usize,
    /// Posts that came again after a stop, or since their answer was lost.
    pub(crate) repeats: usize,
    pub(crate) canaries: usize,
    /// The most that a stop left at the server and in the hub, its 200 having gone out.
    pub(crate) most_between: usize,
    pub(crate) most_waiting: usize,
}

impl Books {
    /// What agents have posted.
    pub(crate) fn sent(&mut self, sent: Sent) {
        assert!(sent.odd.is_empty() && sent.unavailable == 0, "{:?}", sent.odd);
        self.given.extend(sent.tried);
        self.figures.taken += sent.taken.len();
        self.open.extend(sent.taken);
    }

    /// What the run that has just ended has polled, and what the server has got.
    pub(crate) fn enter(&mut self, polled: &[Polled], upstream: &Upstream) {
        for polled in polled {
            self.given.extend(polled.given.iter().cloned());
            self.figures.taken += polled.taken;
            self.open.extend(polled.surely().iter().cloned());
        }
        upstream.look(|kept| {
            kept.assert_sound();

            for arrival in &kept.arrivals[self.arrivals..] {
                assert!(self.given.contains(&arrival.key), "nobody made {:?}", arrival.key);
                let new = self.seen.insert(arrival.key.clone());
                if self.done.contains(&arrival.key) {
                    self.figures.canaries += 1;
                } else {
                    self.figures.repeats += usize::from(!new);
                    if arrival.answered {
                        self.done.insert(arrival.key.clone());
                    }
                }
            }
        });
    }

    /// Judges what the hub left behind, which was stopped at `stopped`. Returns how many posts wait.
    pub(crate) fn judge(
        &mut self,
        cache: &Path,
        polled: &[Polled],
        upstream: &Upstream,
        stopped: Instant,
    ) -> usize {
        let waiting = waiting(cache);
        let ordered = waiting.windows(2).all(|two| two[0].0 != two[1].0 || two[0].1 < two[1].1);
        assert!(ordered, "out of order in the spool: {waiting:?}");
        let waits: HashSet<&Key> = waiting.iter().collect();
        assert_eq!(waits.len(), waiting.len(), "twice in the spool");
        upstream.look(|kept| {
            let lost: Vec<&Key> =
                self.open.iter().filter(|key| !kept.has(key) && !waits.contains(key)).collect();
            assert!(lost.is_empty(), "{} were taken and are nowhere: {:?}", lost.len(), &lost[..1]);
            for polled in polled {
                let here = polled.given.iter().filter(|key| kept.has(key) || waits.contains(key)).count();
                assert!(here >= polled.taken, "{here} are here: {polled:?}");
            }
            self.open.retain(|key| !kept.has(key));
            let answered: HashMap<&Key, Instant> =
                kept.arrivals[self.arrivals..].iter().map(|arrival| (&arrival.key, arrival.at)).collect();
            let mut between = HashSet::new();
            for key in &waiting {
                assert!(self.given.contains(key), "nobody made {key:?}");
                if !kept.has(key) {
                    continue;
                }
                let now = answered.get(key).is_some_and(|at| *at + COMMITTED_WITHIN >= stopped);
                let known = self.between.contains(key);
                let acknowledged = self.done.remove(key);
                assert!(
                    now || known || !acknowledged,
                    "{key:?} was acknowledged long before the stop, and waits"
                );
                between.insert(key.clone());
            }
            self.between = between;
            self.arrivals = kept.arrivals.len();
        });
        self.figures.most_between = self.figures.most_between.max(self.between.len());
        self.figures.most_waiting = self.figures.most_waiting.max(waiting.len());
        waiting.len()
    }

    /// At the end nothing waits, and so the server has all that was surely taken.
    pub(crate) fn assert_done(&self) {
        assert!(self.open.is_empty(), "{} are missing", self.open.len());
    }
}
