//! A fleet for `.ci/bench`: as many made-up spokes as are wanted, each on an address of its own of 127.0.0.0/8 and
//! all on one port, and the server behind the hub, which counts. One thread, so that a core is left to the hub.
//!
//! `fleet <spokes' port> <server's port>`; `GET /books` on the server's port tells what was counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a tool of the bench, which must stop where something is odd"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use testkit::post::{HostPosts, now_ms};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// As many bytes as a post has, in the text that the peers ask for.
const TEXT_BYTES: usize = 51_000;

/// What a spoke was asked for, and what of it came up.
#[derive(Default)]
struct Spoke {
    polls: u64,
    /// The newest stamp that came up.
    newest: u64,
}

/// What was counted.
struct Books {
    began: Instant,
    spokes: HashMap<Ipv4Addr, Spoke>,
    /// Polls in each second since the start.
    seconds: Vec<u32>,
    posts: u64,
    bytes: u64,
    /// Posts that came after a newer one of their spoke.
    late: u64,
}

impl Books {
    fn polled(&mut self, spoke: Ipv4Addr) {
        self.spokes.entry(spoke).or_default().polls += 1;
        let second = usize::try_from(self.began.elapsed().as_secs()).unwrap();
        self.seconds.resize(second + 1, 0);
        *self.seconds.last_mut().unwrap() += 1;
    }

    fn posted(&mut self, path: &str, body: &[u8]) {
        self.posts += 1;
        self.bytes += body.len() as u64;
        // What the peers write has neither agent id nor stamp.
        let Some(spoke) = path.rsplit('/').next().and_then(spoke_of) else { return };
        let stamp = testkit::post::stamp(body);
        let newest = &mut self.spokes.entry(spoke).or_default().newest;
        self.late += u64::from(stamp <= *newest);
        *newest = stamp.max(*newest);
    }

    fn told(&self) -> String {
        let polls = || self.spokes.values().map(|spoke| spoke.polls);
        format!(
            "{{\"spokes\":{},\"polls\":{},\"least\":{},\"most\":{},\"posts\":{},\"bytes\":{},\"late\":{},\
             \"seconds\":{:?}}}\n",
            self.spokes.len(),
            polls().sum::<u64>(),
            polls().min().unwrap_or(0),
            polls().max().unwrap_or(0),
            self.posts,
            self.bytes,
            self.late,
            self.seconds
        )
    }
}

/// The agent id of the spoke at an address.
fn agent_id(spoke: Ipv4Addr) -> String {
    format!("{:064x}", spoke.to_bits())
}

fn spoke_of(agent_id: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(agent_id.get(56..)?, 16).ok().map(Ipv4Addr::from_bits)
}

/// What spokes answer, with gaps for what differs.
struct Answers {
    post: String,
    text: Bytes,
}

impl Answers {
    fn new() -> Self {
        let gap = 1_111_111_111_111_u64;
        let post = String::from_utf8(HostPosts::of("<agent>").at(gap)).unwrap();
        let mut text = String::from("# TYPE node_network_receive_bytes_total counter\n");
        for line in 0.. {
            let value = line * 7919;
            let labels =
                format!("device=\"volume-{line}\",mountpoint=\"/srv/volume-{line}\",fstype=\"ext4\"");
            writeln!(text, "node_filesystem_avail_bytes{{{labels}}} {value}").unwrap();
            if text.len() > TEXT_BYTES {
                break;
            }
        }
        Self { post: post.replace(&gap.to_string(), "<stamp>"), text: text.into() }
    }

    fn post(&self, spoke: Ipv4Addr) -> Bytes {
        let (agent_id, stamp) = (agent_id(spoke), now_ms().to_string());
        let mut body = String::with_capacity(self.post.len() + 512);
        for (at, part) in self.post.split('<').enumerate() {
            let rest = part.strip_prefix("agent>").inspect(|_| body.push_str(&agent_id));
            let rest = rest.or_else(|| part.strip_prefix("stamp>").inspect(|_| body.push_str(&stamp)));
            assert!(at == 0 || rest.is_some(), "a gap without a name");
            body.push_str(rest.unwrap_or(part));
        }
        body.into()
    }
}

struct Fleet {
    books: RefCell<Books>,
    answers: Answers,
}

impl Fleet {
    /// What the spoke at that address answers.
    fn answer(&self, path: &str, spoke: Ipv4Addr) -> Response<Full<Bytes>> {
        self.books.borrow_mut().polled(spoke);
        let (body, kind) = if path == "/metrics" {
            (self.answers.text.clone(), "text/plain; version=0.0.4")
        } else {
            (self.answers.post(spoke), "application/json")
        };
        let mut answer = Response::new(Full::new(body));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }

    /// What the server answers.
    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() == Method::GET {
            return Response::new(Full::new(self.books.borrow().told().into()));
        }
        let path = request.uri().path().to_owned();
        // Half of one is none: whoever sends it has been stopped.
        if let Ok(body) = request.into_body().collect().await {
            self.books.borrow_mut().posted(&path, &body.to_bytes());
        }
        Response::new(Full::new(Bytes::from_static(b"OK")))
    }
}

async fn spokes(fleet: Rc<Fleet>, listener: TcpListener) {
    loop {
        let (stream, from) = listener.accept().await.unwrap();
        let Ok(SocketAddr::V4(at)) = stream.local_addr() else { continue };
        // It listens on all addresses, for want of a way to listen on all of 127.0.0.0/8 alone.
        if from.ip().is_loopback() {
            tokio::task::spawn_local(serve(stream, Rc::clone(&fleet), Some(*at.ip())));
        }
    }
}

async fn server(fleet: Rc<Fleet>, listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::task::spawn_local(serve(stream, Rc::clone(&fleet), None));
    }
}

async fn serve(stream: TcpStream, fleet: Rc<Fleet>, spoke: Option<Ipv4Addr>) {
    stream.set_nodelay(true).unwrap();
    let answer = service_fn(move |request: Request<Incoming>| {
        let fleet = Rc::clone(&fleet);
        async move {
            Ok::<_, Infallible>(match spoke {
                Some(spoke) => fleet.answer(request.uri().path(), spoke),
                None => fleet.take(request).await,
            })
        }
    });
    // A hub that goes away is no fault of the fleet.
    let _ = Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut ports = std::env::args().skip(1).map(|port| port.parse::<u16>().expect("a port"));
    let mut listen = |ip: Ipv4Addr| {
        let socket = TcpSocket::new_v4().unwrap();
        // It may have been here a moment ago.
        socket.set_reuseaddr(true).unwrap();
        socket.bind((ip, ports.next().expect("a port")).into()).expect("bind");
        // Many spokes have a queue each; here all of theirs is one.
        socket.listen(4096).unwrap()
    };
    let (spokes_at, server_at) = (listen(Ipv4Addr::UNSPECIFIED), listen(Ipv4Addr::LOCALHOST));
    let books = Books {
        began: Instant::now(),
        spokes: HashMap::new(),
        seconds: Vec::new(),
        posts: 0,
        bytes: 0,
        late: 0,
    };
    let fleet = Rc::new(Fleet { books: RefCell::new(books), answers: Answers::new() });
    let local = tokio::task::LocalSet::new();
    local.spawn_local(spokes(Rc::clone(&fleet), spokes_at));
    local.run_until(server(fleet, server_at)).await;
}
