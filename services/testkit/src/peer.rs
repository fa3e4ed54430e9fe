//! What made-up spokes and servers have in common: a port of 127.0.0.1 that is theirs as long as they live,
//! connections answered each on a thread, and a log of what was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::SystemTime;

use rustix::net::{
    AddressFamily, Shutdown, SocketType, bind, getsockname, listen, shutdown, socket, sockopt,
};

use crate::wait::{LIMIT, wait_until};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its body had come whole.
    pub at: SystemTime,
    /// Method and path, as `GET /`.
    pub line: String,
    /// Its headers, as they came.
    pub headers: Vec<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Answers one connection; the request is in the log already.
pub type Answerer = dyn Fn(&Request, TcpStream) + Send + Sync;

/// A port with something behind it while it listens; otherwise, as at first, it refuses.
#[derive(Debug)]
pub struct Peer {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    accepting: Mutex<Option<JoinHandle<()>>>,
    /// Connections that were accepted and are not done with.
    busy: Arc<AtomicUsize>,
    pub(crate) log: Arc<Mutex<Vec<Request>>>,
}

impl Peer {
    /// Takes a port of 127.0.0.1 without listening on it, so that nobody else gets it.
    #[allow(clippy::new_without_default, reason = "a port is taken")]
    pub fn new() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn on(address: SocketAddr) -> Self {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let bound_to = |address: SocketAddr| {
            let bound = socket(family, SocketType::STREAM, None).unwrap();
            sockopt::set_socket_reuseaddr(&bound, true).unwrap();
            bind(&bound, &address).unwrap();
            bound
        };
        let any = bound_to(address);
        let address = getsockname(&any).unwrap().try_into().unwrap();
        // Only a port that was asked for by its number stays when listening ends.
        let bound = bound_to(address);
        let listener = TcpListener::from(bound);
        Self { address, listener, accepting: Mutex::default(), busy: Arc::default(), log: Arc::default() }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens from now on, unless it does already.
    pub fn listen(&self, answer: Arc<Answerer>) {
        let mut accepting = self.accepting.lock().unwrap();
        if accepting.is_some() {
            return;
        }
        listen(&self.listener, 128).unwrap();
        let listener = self.listener.try_clone().unwrap();
        let (log, busy) = (self.log.clone(), self.busy.clone());
        *accepting = Some(std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (log, answer, busy) = (log.clone(), answer.clone(), Busy::with(&busy));
                std::thread::spawn(move || {
                    let _busy = busy;
                    if let Some(request) = read(&stream) {
                        log.lock().unwrap().push(request.clone());
                        answer(&request, stream);
                    }
                });
            }
        }));
    }

    /// Refuses connections from now on. Those that stand in the queue are reset.
    pub fn refuse(&self) {
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            // Linux: a listening socket stops listening, keeps its port, and whoever accepts wakes up.
            shutdown(&self.listener, Shutdown::Read).unwrap();
            accepting.join().unwrap();
        }
    }

    /// Waits until whatever was asked before is done with. Whoever asks has gone, or waits for an answer.
    pub fn settle(&self) {
        if self.accepting.lock().unwrap().is_some()
            && let Ok(mut last) = TcpStream::connect(self.address)
        {
            // Connections are accepted one after the other: when this one is, all before it were.
            last.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = last.read(&mut [0]);
        }
        wait_until("all is answered", LIMIT, || self.busy.load(Ordering::SeqCst) == 0);
    }

    /// Forgets what it was asked.
    pub fn forget(&self) {
        self.log.lock().unwrap().clear();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.refuse();
    }
}

/// Counts while it lives.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn with(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A port of 127.0.0.1 that nobody else gets, though a program may listen there; so it can come back there.
#[derive(Debug)]
pub struct Port(Peer);

impl Port {
    /// A free port.
    pub fn reserve() -> Self {
        Self(Peer::new())
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.0.address.port()
    }
}

/// Waits until the other side is gone, as one does that hangs.
pub fn hang(mut stream: &TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Reads one request.
pub(crate) fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let headers = lines.split_off(1);
    let length = headers.iter().find_map(|header| {
        let (name, value) = header.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let line = lines.pop()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Request { at: SystemTime::now(), line, headers, body })
}

/// Sends the head of an answer.
///
/// # Errors
/// The other side is gone.
pub fn head(stream: &mut TcpStream, status: &str, headers: &str) -> std::io::Result<()> {
    stream
        .write_all(format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}\r\n").as_bytes())
}

/// Sends a whole answer, after which the connection ends.
///
/// # Errors
/// The other side is gone.
pub fn whole(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let headers = format!("{headers}Content-Length: {}\r\nConnection: close\r\n", body.len());
    head(stream, status, &headers)?;
    stream.write_all(body)
}
