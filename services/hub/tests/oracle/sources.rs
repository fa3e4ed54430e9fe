//! Whose posts the hub takes: spokes that it polls, and agents that post to it. Each numbers its posts by their
//! stamps, and remembers what it gave away and what the hub has surely taken.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use testkit::http::try_send;
use testkit::post::{now_ms, stamp};
use testkit::{Spoke, SpokeManner, wait_until};

use crate::upstream::{Key, body};

/// Longer than anything takes, on a machine with other work to do.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What agents have posted.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// What they tried to post, each once.
    pub(crate) tried: Vec<Key>,
    /// What of it was answered with 200.
    pub(crate) taken: Vec<Key>,
    /// How many were answered with 503 and `Retry-After`.
    pub(crate) unavailable: usize,
    /// Other answers, which nobody expects.
    pub(crate) odd: Vec<String>,
}

impl Sent {
    /// More of it.
    pub(crate) fn extend(&mut self, more: Self) {
        self.tried.extend(more.tried);
        self.taken.extend(more.taken);
        self.odd.extend(more.odd);
        self.unavailable += more.unavailable;
    }
}

/// Agents that post, each as fast as it is answered, while the hub has a door.
#[derive(Debug)]
pub(crate) struct Agents {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    door: Mutex<Option<SocketAddr>>,
    sent: Mutex<Sent>,
    taken: AtomicUsize,
    /// How many posts may be taken in all before the agents pause.
    limit: AtomicUsize,
    stop: AtomicBool,
}

impl Agents {
    pub(crate) fn start(ids: impl IntoIterator<Item = String>) -> Self {
        let shared = Arc::new(Shared {
            door: Mutex::default(),
            sent: Mutex::default(),
            taken: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            stop: AtomicBool::new(false),
        });
        let post = |id: String| {
            let (shared, mut last) = (shared.clone(), 0);
            std::thread::spawn(move || while shared.post(&id, &mut last) {})
        };
        let threads = ids.into_iter().map(post).collect();
        Self { shared, threads }
    }

    /// Where the hub is from now on; `None` while it is nowhere.
    pub(crate) fn door(&self, door: Option<SocketAddr>) {
        *self.shared.door.lock().unwrap() = door;
    }

    /// How many posts may be taken in all before the agents pause.
    pub(crate) fn limit(&self, posts: usize) {
        self.shared.limit.store(posts, Ordering::SeqCst);
    }

    /// How many posts were surely taken.
    pub(crate) fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// What was posted since this was asked before.
    pub(crate) fn news(&self) -> Sent {
        std::mem::take(&mut self.shared.sent.lock().unwrap())
    }

    /// Ends; what is under way is answered, or the hub is dead.
    pub(crate) fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// Posts once. Whether to go on.
    fn post(&self, id: &str, last: &mut u64) -> bool {
        let mut door = None;
        wait_until("there is a door, or an end", 10 * LONG, || {
            door = *self.door.lock().unwrap();
            let may = self.taken.load(Ordering::SeqCst) < self.limit.load(Ordering::SeqCst);
            self.stop.load(Ordering::SeqCst) || (door.is_some() && may)
        });
        if self.stop.load(Ordering::SeqCst) {
            return false;
        }
        let Some(door) = door else { return true };
        // Never used again: without an answer nobody knows what became of it.
        *last = now_ms().max(*last + 1);
        let key = (id.to_owned(), *last);
        self.sent.lock().unwrap().tried.push(key.clone());
        let path = format!("/pattoo/api/v1/agent/receive/{id}");
        let json = [("Content-Type", "application/json")];
        let Ok(answer) = try_send(door, "POST", &path, &json, &body(id, *last)) else { return true };
        let mut sent = self.sent.lock().unwrap();
        match answer.status {
            200 => {
                sent.taken.push(key);
                self.taken.fetch_add(1, Ordering::SeqCst);
            }
            503 if answer.header("retry-after").is_some() => sent.unavailable += 1,
            _ => sent.odd.push(answer.head),
        }
        true
    }
}

/// What a run of the hub has had of a spoke. What it has surely taken of that is the hub's own word: the line of
/// its log that says that a poll has succeeded is written when the post is synced.
///
/// Where no poll has failed, the posts are in the order of those lines, and so the first so many are taken; the
/// last one may be in nobody's hands. Where one has failed (a time limit, on a machine with other work), it is
/// known only that so many of them are.
#[derive(Debug)]
pub(crate) struct Polled {
    /// What the spoke gave away.
    pub(crate) given: Vec<Key>,
    /// How many of these were surely taken.
    pub(crate) taken: usize,
    /// Whether a poll has failed.
    pub(crate) failed: bool,
}

impl Polled {
    /// The posts that were surely taken.
    pub(crate) fn surely(&self) -> &[Key] {
        if self.failed { &[] } else { &self.given[..self.taken] }
    }
}

/// Spokes, which number their posts as well.
#[derive(Debug)]
pub(crate) struct Spokes {
    spokes: Vec<(String, Spoke)>,
    /// How many posts each had given before the present run.
    before: Vec<usize>,
}

impl Spokes {
    pub(crate) fn start(ids: impl IntoIterator<Item = String>) -> Self {
        let spoke = |id: String| {
            let spoke = Spoke::start(&id, SpokeManner::Answer);
            (id, spoke)
        };
        let spokes: Vec<(String, Spoke)> = ids.into_iter().map(spoke).collect();
        Self { before: vec![0; spokes.len()], spokes }
    }

    pub(crate) fn listed(&self) -> Vec<&Spoke> {
        self.spokes.iter().map(|(_, spoke)| spoke).collect()
    }

    pub(crate) fn set(&self, manner: SpokeManner) {
        self.spokes.iter().for_each(|(_, spoke)| spoke.set(manner));
    }

    /// A run of the hub has ended; this was its log.
    pub(crate) fn run_ended(&mut self, log: &str) -> Vec<Polled> {
        let each = self.spokes.iter().zip(&mut self.before);
        each.map(|((id, spoke), before)| {
            spoke.settle();
            let given = spoke.given();
            let given: Vec<Key> = given[*before..].iter().map(|body| (id.clone(), stamp(body))).collect();
            *before += given.len();
            let target = format!("target={} ", spoke.address());
            let polled: Vec<&str> =
                log.lines().filter(|line| line.contains(" polled ") && line.contains(&target)).collect();
            let taken = polled.iter().filter(|line| line.contains("state=Up")).count();
            assert!(taken <= given.len(), "{id} gave {} posts and the hub has taken {taken}", given.len());
            Polled { given, taken, failed: taken < polled.len() }
        })
        .collect()
    }
}
