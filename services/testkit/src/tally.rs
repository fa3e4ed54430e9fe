use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::peer::read;
use crate::post::{agent_id, stamp};

/// What one agent's posts did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Posts that the server keeps: each newer than the one before.
    pub kept: u64,
    /// Posts that the server would have thrown away behind a 200, since it has a newer one or the same.
    pub late: u64,
    /// The newest stamp.
    pub newest: u64,
}

/// A made-up pattoo server for more posts than anybody wants to remember: it takes what comes, on connections that
/// stay, and keeps of each agent's posts the count and the newest stamp.
#[derive(Debug)]
pub struct Tally {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    taking: AtomicBool,
    taken: AtomicU64,
    agents: Mutex<BTreeMap<String, Tallied>>,
}

impl Tally {
    /// A server on a free port of 127.0.0.1 that says 503 until [`Tally::take`].
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let shared = Arc::downgrade(&this.shared);
        std::thread::spawn(move || {
            while let (Ok((stream, _)), Some(shared)) = (listener.accept(), shared.upgrade()) {
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
        this
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes posts from now on.
    pub fn take(&self) {
        self.shared.taking.store(true, Ordering::SeqCst);
    }

    /// How many posts it took.
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// What became of each agent's posts.
    pub fn agents(&self) -> BTreeMap<String, Tallied> {
        self.shared.agents.lock().unwrap().clone()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // Wakes the thread that accepts, which ends then; the others end with their connections.
        self.shared = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: &TcpStream) {
        while let Some(request) = read(stream) {
            let answer = if self.taking.load(Ordering::SeqCst) {
                self.keep(&request.body);
                "200 OK"
            } else {
                "503 Service Unavailable"
            };
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nOK");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn keep(&self, body: &[u8]) {
        let (agent, stamp) = (agent_id(body), stamp(body));
        {
            let mut agents = self.agents.lock().unwrap();
            let tallied = agents.entry(agent).or_default();
            if tallied.newest < stamp {
                tallied.newest = stamp;
                tallied.kept += 1;
            } else {
                tallied.late += 1;
            }
        }
        self.taken.fetch_add(1, Ordering::SeqCst);
    }
}
