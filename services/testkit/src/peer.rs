//! What made-up spokes and servers have in common: a port of 127.0.0.1 that is theirs as long as they live,
//! connections answered each on a thread, and a log of what was asked.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket, sockopt};

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
type Answerer = dyn Fn(&Request, TcpStream) + Send + Sync;

/// A port with something behind it, or (before [`Peer::listen`]) with nothing: then it refuses.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    bound: Mutex<Option<OwnedFd>>,
    closing: Arc<AtomicBool>,
    pub(crate) log: Arc<Mutex<Vec<Request>>>,
}

impl Peer {
    /// Takes a port without listening on it, so that nobody else gets it.
    pub(crate) fn new() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn on(address: SocketAddr) -> Self {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let bound = socket(family, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&bound, true).unwrap();
        bind(&bound, &address).unwrap();
        let address = getsockname(&bound).unwrap().try_into().unwrap();
        Self {
            address,
            bound: Mutex::new(Some(bound)),
            closing: Arc::new(AtomicBool::new(false)),
            log: Arc::default(),
        }
    }

    /// Listens from now on.
    pub(crate) fn listen(&self, answer: Arc<Answerer>) {
        let Some(bound) = self.bound.lock().unwrap().take() else { return };
        listen(&bound, 128).unwrap();
        let listener = TcpListener::from(bound);
        let (log, closing) = (self.log.clone(), self.closing.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if closing.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        log.lock().unwrap().push(request.clone());
                        answer(&request, stream);
                    }
                });
            }
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which lets go of the port then.
        let _ = TcpStream::connect(self.address);
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
pub(crate) fn hang(mut stream: &TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn read(stream: &TcpStream) -> Option<Request> {
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
