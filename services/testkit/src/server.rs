use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::hostile::Hostile;
use crate::peer::{Peer, Request, hang, head, whole};
use crate::post::{agent_id, stamp};

/// How a made-up pattoo server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerManner {
    /// Takes posts: 200 and `OK`.
    Take,
    /// Does not listen.
    Refuse,
    /// Reads the post and says nothing.
    Hang,
    /// Answers 500.
    Error,
    /// Answers 500 to the posts of this agent and takes those of others.
    ErrorTo(&'static str),
    /// Answers this status to all.
    Status(u16),
    /// Answers this status to the posts of this agent and takes those of others.
    StatusTo(&'static str, u16),
    /// Answers 500 to posts with this stamp and takes the others.
    ErrorToStamp(u64),
    /// Answers this status, and says with `Retry-After` when to come again.
    Busy(u16, &'static str),
    /// Answers 503.
    Unavailable,
    /// Redirects to a place that would answer 200.
    Redirect,
    /// Reads the post and closes the connection.
    CloseAfterBody,
    /// Says 200, announces a body, and closes the connection before it.
    CloseInAnswer,
    /// Takes posts, each after half a second.
    Slow,
    /// Takes a post, keeps the connection, and closes it once the next one comes on it.
    CloseReused,
    /// Answers this status with these headers (each with its line end), and nothing else.
    Says(u16, &'static str),
    /// Reads the post and answers so.
    Hostile(Hostile),
}

/// A made-up pattoo server. It remembers what it was sent, what of that it took, and what it kept. As the real
/// one it keeps of each series only what is newer than what it has, and answers 200 to the rest; an agent's
/// posts are one series here.
#[derive(Debug)]
pub struct Server {
    peer: Peer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<ServerManner>,
    taken: Mutex<Vec<Request>>,
    kept: Mutex<BTreeMap<String, Vec<Vec<u8>>>>,
    reused: AtomicUsize,
}

impl Server {
    /// A server on a free port of 127.0.0.1.
    pub fn start(manner: ServerManner) -> Self {
        let shared = Shared {
            manner: Mutex::new(manner),
            taken: Mutex::default(),
            kept: Mutex::default(),
            reused: AtomicUsize::new(0),
        };
        let this = Self { peer: Peer::new(), shared: Arc::new(shared) };
        this.set(manner);
        this
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.peer.address
    }

    /// Behaves so from now on.
    pub fn set(&self, manner: ServerManner) {
        *self.shared.manner.lock().unwrap() = manner;
        if manner == ServerManner::Refuse {
            self.peer.refuse();
        } else {
            let shared = self.shared.clone();
            self.peer.listen(Arc::new(move |request, mut stream| {
                // That the other side goes away is its right.
                let _ = shared.answer(request, &mut stream);
            }));
        }
    }

    /// What it was sent, whatever it answered.
    pub fn sent(&self) -> Vec<Request> {
        self.peer.log.lock().unwrap().clone()
    }

    /// What it took, in the order in which it took it.
    pub fn taken(&self) -> Vec<Request> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// The bodies that it took, by the agent id in them, each agent's in order.
    pub fn taken_by_agent(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let mut by_agent = BTreeMap::<String, Vec<Vec<u8>>>::new();
        for request in self.taken() {
            by_agent.entry(agent_id(&request.body)).or_default().push(request.body);
        }
        by_agent
    }

    /// The bodies that it kept, by the agent id in them: of what it took, what was newer each time.
    pub fn kept_by_agent(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        self.shared.kept.lock().unwrap().clone()
    }

    /// How many posts came on a connection that had carried one before.
    pub fn reused(&self) -> usize {
        self.shared.reused.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        let manner = *self.manner.lock().unwrap();
        match manner {
            ServerManner::ErrorTo(other) if agent_id(&request.body) == other => {
                whole(stream, "500 Internal Server Error", "", b"no")
            }
            ServerManner::ErrorToStamp(bad) if stamp(&request.body) == bad => {
                whole(stream, "500 Internal Server Error", "", b"no")
            }
            ServerManner::StatusTo(other, status) if agent_id(&request.body) == other => {
                whole(stream, &format!("{status} So"), "", b"")
            }
            ServerManner::Status(status) => whole(stream, &format!("{status} So"), "", b""),
            ServerManner::Busy(status, after) => {
                whole(stream, &format!("{status} Later"), &format!("Retry-After: {after}\r\n"), b"")
            }
            ServerManner::Take
            | ServerManner::ErrorTo(_)
            | ServerManner::ErrorToStamp(_)
            | ServerManner::StatusTo(..) => self.take(request, stream),
            ServerManner::Slow => {
                std::thread::sleep(Duration::from_millis(500));
                self.take(request, stream)
            }
            ServerManner::Refuse | ServerManner::CloseAfterBody => Ok(()),
            ServerManner::Hang => {
                hang(stream);
                Ok(())
            }
            ServerManner::Error => whole(stream, "500 Internal Server Error", "", b"no"),
            ServerManner::Unavailable => whole(stream, "503 Service Unavailable", "", b"no"),
            ServerManner::Redirect => whole(stream, "302 Found", "Location: /elsewhere\r\n", b""),
            ServerManner::CloseReused => {
                self.keep(request);
                // No more than a byte, so that what is left unread makes the end a reset.
                head(stream, "200 OK", "Content-Length: 2\r\n")?;
                stream.write_all(b"OK")?;
                if stream.read(&mut [0])? > 0 {
                    self.reused.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            }
            ServerManner::Says(status, headers) => whole(stream, &format!("{status} So"), headers, b""),
            ServerManner::Hostile(hostile) => hostile.answer(stream),
            ServerManner::CloseInAnswer => head(stream, "200 OK", "Content-Length: 2\r\n"),
        }
    }

    fn take(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        self.keep(request);
        whole(stream, "200 OK", "", b"OK")
    }

    fn keep(&self, request: &Request) {
        {
            let mut kept = self.kept.lock().unwrap();
            let series = kept.entry(agent_id(&request.body)).or_default();
            if series.last().is_none_or(|newest| stamp(newest) < stamp(&request.body)) {
                series.push(request.body.clone());
            }
        }
        // Last, so that who sees a post here finds what it did to the series.
        self.taken.lock().unwrap().push(request.clone());
    }
}
