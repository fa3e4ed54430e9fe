//! Stopping is bounded, whatever hangs, and loses nothing.

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use common::{HUB, api, folder};
use testkit::http::metric;
use testkit::{LIMIT, Server, ServerManner, Spoke, SpokeManner, wait_until};

#[test]
fn a_hub_stops_within_five_seconds_though_server_and_spoke_hang() {
    let hanging = Spoke::start("h", SpokeManner::HangAfterHeaders);
    let good = Spoke::start("a", SpokeManner::Answer);
    let server = Server::start(ServerManner::Hang);
    let more = ["receive: true", "delivery_timeout: 60"];
    let folder = folder(&api(&server), &[&hanging, &good], 5, &more);
    let mut hub = folder.start(HUB);
    wait_until("an upload hangs, and a poll too", LIMIT, || {
        !server.sent().is_empty() && !hanging.asked().is_empty()
    });
    let taken = good.given().len() as f64;
    wait_until("the post is kept", LIMIT, || {
        metric(hub.address, "pattoo_hub_posts_taken_total", "") >= taken
    });
    let mut half = TcpStream::connect(hub.address).unwrap();
    half.write_all(b"POST /pattoo/api/v1/agent/receive/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{").unwrap();

    hub.terminate();
    let (status, took) = hub.wait();
    assert_eq!(status.code(), Some(0), "{}", hub.log());
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    drop(hub);

    // What was under way is still there.
    server.set(ServerManner::Take);
    good.set(SpokeManner::Error);
    let given = good.given();
    let _hub = folder.start(HUB);
    wait_until("it is delivered after a restart", LIMIT, || server.taken_by_agent().get("a") == Some(&given));
}

#[test]
fn an_idle_hub_stops_at_once() {
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &["receive: true"]);
    let mut hub = folder.start(HUB);
    hub.terminate();
    let (status, took) = hub.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(1), "it took {took:?}");
}
