//! The made-up server of the oracle. As the real one it keeps of each series only what is newer than what it
//! has, and answers 200 to the rest. It fails in stretches, never by the post: a post that is refused while
//! another is taken is bad, and rightly set aside.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use testkit::post::{agent_id, post, post_with, stamp};
use testkit::{Chance, Peer, Request, hang, whole};

/// What tells a post: the agent's id and the stamp, which is its number.
pub(crate) type Key = (String, u64);

/// The post of a source with that number. Those of a source called `big...` take some 5 KB in the spool.
pub(crate) fn body(agent_id: &str, number: u64) -> Vec<u8> {
    if !agent_id.starts_with("big") {
        return post(agent_id, number, 100);
    }
    let mut chance = Chance(number);
    let filler: String = (0..600).map(|_| format!("{:016x}", chance.next())).collect();
    post_with(agent_id, number, &filler)
}

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes posts.
    Take,
    /// Does not listen.
    Refuse,
    /// Reads a post and says nothing.
    Hang,
    /// Answers 500.
    Error,
    /// Takes posts, each after a while.
    Slow,
    /// Reads a post and resets the connection.
    Reset,
    /// Keeps a post and closes the connection without an answer.
    LoseAnswer,
}

impl Manner {
    const FAILING: [Self; 6] =
        [Self::Refuse, Self::Hang, Self::Error, Self::Slow, Self::Reset, Self::LoseAnswer];

    /// One that is not [`Manner::Take`].
    pub(crate) fn failing(chance: &mut Chance) -> Self {
        Self::FAILING[chance.below(Self::FAILING.len() as u64) as usize]
    }
}

/// What the server takes for an answer that surely reached the hub: the hub waits for `delivery_timeout`, two
/// seconds here.
const SURELY_HEARD: Duration = Duration::from_secs(1);

/// A post that the server took, kept or not.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) key: Key,
    pub(crate) at: Instant,
    /// Whether the 200 surely reached the hub, if the hub was alive.
    pub(crate) answered: bool,
}

/// What came, and what was kept of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Each post that the server took, in order.
    pub(crate) arrivals: Vec<Arrival>,
    /// The numbers that were kept of each series.
    pub(crate) series: BTreeMap<String, HashSet<u64>>,
    newest: HashMap<String, u64>,
    /// Posts that came too late: the server dropped them, and had never had them.
    pub(crate) late: Vec<Key>,
    /// Bodies that no source has ever made.
    pub(crate) altered: Vec<Vec<u8>>,
}

impl Kept {
    /// Whether the server has this post.
    pub(crate) fn has(&self, (agent_id, number): &Key) -> bool {
        self.series.get(agent_id).is_some_and(|series| series.contains(number))
    }

    /// How many posts it has.
    pub(crate) fn posts(&self) -> usize {
        self.series.values().map(HashSet::len).sum()
    }

    /// Nothing was altered, and nothing came too late.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        let text = |body: &Vec<u8>| String::from_utf8_lossy(body).into_owned();
        let altered: Vec<String> = self.altered.iter().take(3).map(text).collect();
        assert!(altered.is_empty(), "{} altered bodies: {altered:?}", self.altered.len());
        assert!(self.late.is_empty(), "{} came too late: {:?}", self.late.len(), &self.late[..1]);
    }

    fn take(&mut self, sent: &[u8]) -> Option<usize> {
        let key = (agent_id(sent), stamp(sent));
        if body(&key.0, key.1) != sent {
            self.altered.push(sent.to_vec());
            return None;
        }
        if self.newest.get(&key.0).is_none_or(|newest| *newest < key.1) {
            self.newest.insert(key.0.clone(), key.1);
            self.series.entry(key.0.clone()).or_default().insert(key.1);
        } else if !self.has(&key) {
            self.late.push(key.clone());
        }
        self.arrivals.push(Arrival { key, at: Instant::now(), answered: false });
        Some(self.arrivals.len() - 1)
    }
}

/// The server.
#[derive(Debug)]
pub(crate) struct Upstream {
    peer: Peer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    kept: Mutex<Kept>,
}

impl Upstream {
    pub(crate) fn start(manner: Manner) -> Self {
        let shared = Shared { manner: Mutex::new(manner), kept: Mutex::default() };
        let this = Self { peer: Peer::new(), shared: Arc::new(shared) };
        this.set(manner);
        this
    }

    /// Behaves so from now on.
    pub(crate) fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
        if manner == Manner::Refuse {
            return self.peer.refuse();
        }
        let shared = self.shared.clone();
        self.peer.listen(Arc::new(move |request, mut stream| {
            // That the other side goes away is its right.
            let _ = shared.answer(request, &mut stream);
        }));
    }

    /// The section that sends posts here.
    pub(crate) fn api(&self) -> String {
        crate::common::api_at(self.peer.address())
    }

    /// Looks at what it has.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.shared.kept.lock().unwrap())
    }

    /// Waits until all is done with that a hub, now dead, had asked.
    pub(crate) fn settle(&self) {
        self.peer.settle();
        self.peer.forget();
    }
}

impl Shared {
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        let (manner, began) = (*self.manner.lock().unwrap(), Instant::now());
        match manner {
            Manner::Refuse => return Ok(()),
            Manner::Hang => {
                hang(stream);
                return Ok(());
            }
            Manner::Error => return whole(stream, "500 Internal Server Error", "", b"no"),
            Manner::Reset => {
                return rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))
                    .map_err(Into::into);
            }
            Manner::Slow => std::thread::sleep(Duration::from_millis(300)),
            Manner::Take | Manner::LoseAnswer => {}
        }
        let at = self.kept.lock().unwrap().take(&request.body);
        if manner == Manner::LoseAnswer {
            return Ok(());
        }
        // Noted first: once it is out, the hub may have it.
        if let Some(at) = at {
            self.kept.lock().unwrap().arrivals[at].answered = began.elapsed() < SURELY_HEARD;
        }
        whole(stream, "200 OK", "", b"OK")
    }
}
