//! Those who abuse a listener, and the honest client beside them. One thread; each prints what it saw.
//!
//! | arguments | what it does |
//! |---|---|
//! | `slow ADDRESS COUNT SOURCES` | so many connections that send a byte a second each of a request without an end |
//! | `silent ADDRESS COUNT SOURCES` | so many that never send |
//! | `flood ADDRESS COUNT SOURCES PATH` | so many that ask for a path, each again as soon as it is answered |
//! | `honest ADDRESS SAMPLES PATH` | asks for a path so often, on a new connection and 10 ms apart; prints the median and the 95th percentile in microseconds |
//! | `shake ADDRESS COUNT SOURCES ca=FILE` | so many handshakes at a time, each given up for the next as soon as the other side has done its part |
//! | `sources ADDRESS COUNT` | says `ready`, posts as so many sources from 16 addresses, 192 at a time, and prints the number of answers of each status |
//!
//! With `ca=FILE` at the end, which holds the authority of the other side's certificate, all of it goes over TLS; `slow` then
//! sends the first message of a handshake, and `silent` not even that.
//!
//! Who abuses says `ready` once each connection was tried, goes on until standard input ends (a connection that is
//! closed is opened again a second later), and then prints `opened N closed N` and the number of answers of each status, of
//! `shake` that of handshakes as 0. `SOURCES` addresses, from 127.1.0.1 on, share their connections; the honest client is
//! 127.0.0.1.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a tool of the checks, which must stop where something is odd"
)]
#![allow(clippy::print_stdout, reason = "this is how it tells")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use testkit::post::{now_ms, post};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long an attempt to connect may take, and an answer.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Seen {
    tried: usize,
    opened: u64,
    closed: u64,
    answers: BTreeMap<u16, u64>,
}

/// Where the program is, and how it is spoken to.
struct Way {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection that is open, over TLS or not.
type Open = Box<dyn Both>;
trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Both for S {}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let authority = arguments.pop_if(|last| last.starts_with("ca="));
    let tls = authority.map(|authority| trusting(&authority[3..]));
    let way = Rc::new(Way { address: arguments[1].parse().unwrap(), tls });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, act(way, &arguments));
}

/// Trusts what the authority of this file has signed. Each handshake is a whole one: none resumes the one before.
fn trusting(file: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

async fn act(way: Rc<Way>, arguments: &[String]) {
    let what = arguments[0].as_str();
    let count: usize = arguments[2].parse().unwrap();
    match what {
        "honest" => honest(&way, count, &arguments[3]).await,
        "sources" => sources(way, count).await,
        _ => abuse(what, way, count, arguments).await,
    }
}

async fn abuse(what: &str, way: Rc<Way>, count: usize, arguments: &[String]) {
    let sources: usize = arguments[3].parse().unwrap();
    let seen = Rc::new(RefCell::new(Seen::default()));
    for number in 0..count {
        let source = Ipv4Addr::new(127, 1, 0, u8::try_from(number % sources + 1).unwrap());
        let (seen, way, what) = (Rc::clone(&seen), Rc::clone(&way), what.to_owned());
        let request = request(arguments.get(4).map_or("/", String::as_str), "keep-alive");
        spawn_local(async move {
            loop {
                let stream = way.connect(source).await;
                seen.borrow_mut().tried += 1;
                if let Ok(stream) = stream {
                    seen.borrow_mut().opened += 1;
                    // However it ended, it did.
                    let _ = match what.as_str() {
                        "slow" => {
                            let bytes = way.first_bytes();
                            drip(stream, &bytes[..bytes.len() - 1]).await
                        }
                        "silent" => wait(stream).await,
                        "flood" => ask_again(&way, stream, &request, &seen).await,
                        "shake" => shake_again(&way, stream, source, &seen).await,
                        other => unreachable!("{other}: nobody does that"),
                    };
                    seen.borrow_mut().closed += 1;
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    while seen.borrow().tried < count {
        sleep(Duration::from_millis(10)).await;
    }
    println!("ready");
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    let seen = seen.borrow();
    println!("opened {} closed {}", seen.opened, seen.closed);
    for (status, answers) in &seen.answers {
        println!("{status} {answers}");
    }
}

impl Way {
    async fn connect(&self, source: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source.into(), 0))?;
        timeout(PATIENCE, socket.connect(self.address)).await?
    }

    /// Speaks TLS where that is spoken.
    async fn open(&self, stream: TcpStream) -> io::Result<Open> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let connector = TlsConnector::from(Arc::clone(tls));
        Ok(Box::new(connector.connect(self.address.ip().into(), stream).await?))
    }

    /// What a client sends first; a request has no end.
    fn first_bytes(&self) -> Vec<u8> {
        let Some(tls) = &self.tls else {
            return [&b"GET / HTTP/1.1\r\nX: "[..], &[b'x'; 1000]].concat();
        };
        let mut hello = Vec::new();
        let mut client = ClientConnection::new(Arc::clone(tls), self.address.ip().into()).unwrap();
        client.write_tls(&mut hello).unwrap();
        hello
    }
}

fn request(path: &str, connection: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {connection}\r\n\r\n")
}

async fn drip(mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        let mut nothing = [0; 1];
        // What is sent fails a step late: the end of what comes back is the sign.
        if let Ok(ended) = timeout(Duration::from_secs(1), stream.read(&mut nothing)).await {
            return ended.map(drop);
        }
    }
    wait(stream).await
}

async fn wait(mut stream: TcpStream) -> io::Result<()> {
    stream.read(&mut [0; 1]).await.map(drop)
}

async fn shake_again(
    way: &Way,
    mut stream: TcpStream,
    source: Ipv4Addr,
    seen: &RefCell<Seen>,
) -> io::Result<()> {
    // One for all: who abuses wants the other side to compute, not himself.
    let hello = way.first_bytes();
    loop {
        stream.write_all(&hello).await?;
        stream.read_exact(&mut [0; 1]).await?;
        *seen.borrow_mut().answers.entry(0).or_default() += 1;
        stream = way.connect(source).await?;
    }
}

async fn ask_again(way: &Way, stream: TcpStream, request: &str, seen: &RefCell<Seen>) -> io::Result<()> {
    let mut stream = way.open(stream).await?;
    let mut buffer = Vec::new();
    loop {
        stream.write_all(request.as_bytes()).await?;
        let status = answer(&mut stream, &mut buffer).await?;
        *seen.borrow_mut().answers.entry(status).or_default() += 1;
    }
}

/// Reads one answer that tells its length.
async fn answer(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<u16> {
    buffer.clear();
    let end = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    while buffer.len() < end + length.unwrap_or(0) {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head[9..12].parse().unwrap())
}

async fn honest(way: &Way, samples: usize, path: &str) {
    let (mut took, mut failed) = (Vec::with_capacity(samples), 0_usize);
    let request = request(path, "close");
    for _ in 0..samples {
        let begun = Instant::now();
        let asked = async {
            let mut stream = way.open(TcpStream::connect(way.address).await?).await?;
            stream.write_all(request.as_bytes()).await?;
            answer(&mut stream, &mut Vec::new()).await
        };
        let good = matches!(timeout(PATIENCE, asked).await, Ok(Ok(200)));
        failed += usize::from(!good);
        took.push(begun.elapsed().as_micros());
        sleep(Duration::from_millis(10)).await;
    }
    took.sort_unstable();
    println!("median {} p95 {} failed {failed}", took[samples / 2], took[samples * 95 / 100]);
}

async fn sources(way: Rc<Way>, count: usize) {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let next = Rc::new(RefCell::new(0..count));
    let mut all = Vec::new();
    println!("ready");
    // Posts are synced in groups, so only many at a time are many a second.
    for connection in 0..192 {
        let (seen, next, way) = (Rc::clone(&seen), Rc::clone(&next), Rc::clone(&way));
        all.push(spawn_local(async move {
            let stream = way.connect(Ipv4Addr::new(127, 1, 0, 1 + connection % 16)).await.unwrap();
            let mut stream = way.open(stream).await.unwrap();
            let mut buffer = Vec::new();
            loop {
                let Some(number) = next.borrow_mut().next() else { return };
                let body = post(&format!("source-{number}"), now_ms(), 0);
                let head = format!(
                    "POST /pattoo/api/v1/agent/receive/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&body).await.unwrap();
                let status = answer(&mut stream, &mut buffer).await.unwrap();
                *seen.borrow_mut().answers.entry(status).or_default() += 1;
            }
        }));
    }
    for one in all {
        one.await.unwrap();
    }
    for (status, answers) in &seen.borrow().answers {
        println!("{status} {answers}");
    }
}
