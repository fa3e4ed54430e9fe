//! The floor of `.ci/bench`: what it costs merely to move the bytes. Each spoke is asked over a connection of its own
//! at its place in the interval, and what it answers goes to the server over a kept one, unread.
//!
//! `floor_hub <spokes' port> <server's port> <spokes> <interval in ms>`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a tool of the bench, which must stop where something is odd"
)]

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// The connections to the server that nobody uses now.
type Kept = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

async fn connect<B>(ip: Ipv4Addr, port: u16) -> SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect((ip, port)).await.expect("connect");
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::task::spawn_local(async { drop(connection.await) });
    sender
}

async fn relay(ip: Ipv4Addr, from: u16, to: u16, kept: &Kept) {
    let ask = Request::get("/pattoo-agent-os/10").header(HOST, "spoke").body(Empty::<Bytes>::new()).unwrap();
    let answer = connect(ip, from).await.send_request(ask).await.expect("an answer");
    assert!(answer.status().is_success());
    let post = Request::builder()
        .method(Method::POST)
        .uri(format!("/pattoo/api/v1/agent/receive/{:064x}", ip.to_bits()));
    let post = post.header(HOST, "server").body(answer.into_body()).unwrap();
    let spare = kept.borrow_mut().pop();
    let mut server = match spare {
        Some(server) => server,
        None => connect(Ipv4Addr::LOCALHOST, to).await,
    };
    let taken = server.send_request(post).await.expect("taken");
    assert!(taken.status().is_success());
    taken.into_body().collect().await.expect("the whole answer");
    kept.borrow_mut().push(server);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<u32> =
        std::env::args().skip(1).map(|number| number.parse().expect("a number")).collect();
    let [from, to, spokes, interval] = arguments.try_into().expect("two ports, spokes, an interval");
    let (from, to) = (u16::try_from(from).unwrap(), u16::try_from(to).unwrap());
    let interval = Duration::from_millis(interval.into());
    let (kept, began) = (Kept::default(), Instant::now());
    let poll = |spoke: u32| {
        let kept = Rc::clone(&kept);
        async move {
            let ip = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + spoke);
            let mut due = began + interval * spoke / spokes;
            loop {
                sleep_until(due).await;
                relay(ip, from, to, &kept).await;
                due += interval;
            }
        }
    };
    let local = tokio::task::LocalSet::new();
    for spoke in 0..spokes {
        local.spawn_local(poll(spoke));
    }
    local.await;
}
