use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::hostile::Hostile;
use crate::peer::{Peer, Request, hang, head, whole};
use crate::post::post;

const DAY_MS: u64 = 86_400_000;

/// How a made-up spoke behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpokeManner {
    /// Gives a fresh post each time.
    Answer,
    /// Does not listen.
    Refuse,
    /// Takes the question and says nothing.
    HangBeforeHeaders,
    /// Sends the head of an answer, and nothing more.
    HangAfterHeaders,
    /// Sends a post of several megabytes.
    Big,
    /// Sends something that is no JSON.
    NotJson,
    /// Sends a JSON list.
    List,
    /// Sends a post with a NaN in it.
    Nan,
    /// Redirects to a place that answers with a good post.
    Redirect,
    /// Answers 500.
    Error,
    /// Gives a post of the day after.
    Tomorrow,
    /// Gives posts of this agent, which is not its own, a byte longer than that one's.
    Pose(&'static str),
    /// Answers so.
    Hostile(Hostile),
}

/// A made-up spoke. It remembers each post that it gave away whole.
#[derive(Debug)]
pub struct Spoke {
    peer: Peer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agent_id: String,
    /// By how many bytes its posts are longer than they need be.
    filler: usize,
    manner: Mutex<SpokeManner>,
    stamp: AtomicU64,
    given: Mutex<Vec<Vec<u8>>>,
}

impl Spoke {
    /// A spoke of that agent id, on a free port of 127.0.0.1.
    pub fn start(agent_id: &str, manner: SpokeManner) -> Self {
        Self::on(Peer::new(), agent_id, 100, manner)
    }

    /// A spoke on a free port of ::1.
    pub fn start_on_ipv6(agent_id: &str, manner: SpokeManner) -> Self {
        Self::on(Peer::on("[::1]:0".parse().unwrap()), agent_id, 100, manner)
    }

    /// Another spoke of the same agent id, as a host that was copied has it; its posts are longer.
    pub fn twin(&self, manner: SpokeManner) -> Self {
        Self::on(Peer::new(), &self.shared.agent_id, self.shared.filler + 1, manner)
    }

    fn on(peer: Peer, agent_id: &str, filler: usize, manner: SpokeManner) -> Self {
        let shared = Shared {
            agent_id: agent_id.to_owned(),
            filler,
            manner: Mutex::new(manner),
            stamp: AtomicU64::new(crate::post::now_ms() - 3_600_000),
            given: Mutex::default(),
        };
        let this = Self { peer, shared: Arc::new(shared) };
        this.set(manner);
        this
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.peer.address
    }

    /// Behaves so from now on.
    pub fn set(&self, manner: SpokeManner) {
        *self.shared.manner.lock().unwrap() = manner;
        if manner == SpokeManner::Refuse {
            self.peer.refuse();
        } else {
            let shared = self.shared.clone();
            self.peer.listen(Arc::new(move |_, stream| shared.answer(stream)));
        }
    }

    /// Waits until whatever was asked before is done with.
    pub fn settle(&self) {
        self.peer.settle();
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<Request> {
        self.peer.log.lock().unwrap().clone()
    }

    /// The posts that it gave away whole, in order.
    pub fn given(&self) -> Vec<Vec<u8>> {
        self.shared.given.lock().unwrap().clone()
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) {
        // That the other side goes away is its right.
        let _ = self.try_answer(&mut stream);
    }

    fn try_answer(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let manner = *self.manner.lock().unwrap();
        let stamp = self.stamp.fetch_add(1, Ordering::SeqCst);
        let good = post(&self.agent_id, stamp, self.filler);
        match manner {
            SpokeManner::Answer => {
                // Remembered first: once it is out, the hub may be asked about it.
                self.given.lock().unwrap().push(good.clone());
                whole(stream, "200 OK", "", &good)
            }
            SpokeManner::Refuse => Ok(()),
            SpokeManner::HangBeforeHeaders => {
                hang(stream);
                Ok(())
            }
            SpokeManner::HangAfterHeaders => {
                head(stream, "200 OK", "Content-Length: 100\r\n")?;
                hang(stream);
                Ok(())
            }
            SpokeManner::Big => whole(stream, "200 OK", "", &post(&self.agent_id, stamp, 4 << 20)),
            SpokeManner::NotJson => whole(stream, "200 OK", "", b"hello"),
            SpokeManner::List => whole(stream, "200 OK", "", b"[1, 2, 3]"),
            SpokeManner::Nan => {
                let text = String::from_utf8(good).unwrap().replace("1.5", "NaN");
                whole(stream, "200 OK", "", text.as_bytes())
            }
            SpokeManner::Redirect => whole(stream, "302 Found", "Location: /elsewhere\r\n", &good),
            SpokeManner::Error => whole(stream, "500 Internal Server Error", "", &good),
            SpokeManner::Tomorrow => whole(
                stream,
                "200 OK",
                "",
                &post(&self.agent_id, crate::post::now_ms() + DAY_MS, self.filler),
            ),
            SpokeManner::Pose(other) => whole(stream, "200 OK", "", &post(other, stamp, self.filler + 1)),
            SpokeManner::Hostile(hostile) => hostile.answer(stream),
        }
    }
}
