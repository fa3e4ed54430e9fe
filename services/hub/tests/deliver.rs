//! Delivery: what each status means, how long the server is left alone, how fast a backlog goes, and what a
//! connection that has gone stale costs.

mod common;

use std::time::{Duration, SystemTime};

use common::{HUB, NO_API, api, assert_balanced, folder, give};
use testkit::http::{get, metric};
use testkit::post::now_ms;
use testkit::{LIMIT, Program, Server, ServerManner, wait_until};

fn waiting(hub: &Program) -> f64 {
    metric(hub.address, "pattoo_hub_posts_waiting", "")
}

fn failures(hub: &Program, reason: &str) -> f64 {
    metric(hub.address, "pattoo_hub_delivery_failures_total", reason)
}

fn between(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

#[test]
fn a_status_that_says_the_server_is_down_makes_everything_wait() {
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &["receive: true", "backoff_max: 1", "max_attempts: 1"]);
    let hub = folder.start(HUB);
    let mut stamp = now_ms() - 60_000;
    give(&hub, "a", stamp);
    for (status, reason) in [
        (300, "redirect"),
        (301, "redirect"),
        (304, "redirect"),
        (308, "redirect"),
        (429, "unavailable"),
        (502, "unavailable"),
        (503, "unavailable"),
        (504, "unavailable"),
    ] {
        server.set(ServerManner::Status(status));
        let before = failures(&hub, reason);
        stamp += 1;
        give(&hub, "a", stamp);
        wait_until("it failed twice", LIMIT, || failures(&hub, reason) >= before + 2.0);
        assert_eq!(metric(hub.address, "pattoo_hub_upstream_up", ""), 0.0, "{status}");
        assert!(get(hub.address, "/").text().contains(&format!("is down ({reason} {status})")), "{status}");
        server.set(ServerManner::Take);
        wait_until("it is delivered", LIMIT, || waiting(&hub) == 0.0);
        // Noted a moment after the post has left the books.
        wait_until("it is up", LIMIT, || metric(hub.address, "pattoo_hub_upstream_up", "") == 1.0);
    }
    assert_eq!(metric(hub.address, "pattoo_hub_canaries_total", ""), 0.0, "there was nothing to ask");
    assert_eq!(metric(hub.address, "pattoo_hub_posts_quarantined_total", ""), 0.0);
    assert_balanced(&hub);
}

#[test]
fn every_other_status_but_200_refuses_the_post() {
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &["receive: true", "backoff_max: 1", "max_attempts: 1"]);
    let hub = folder.start(HUB);
    let mut stamp = now_ms() - 60_000;
    give(&hub, "b", stamp);
    wait_until("there is a canary", LIMIT, || waiting(&hub) == 0.0);
    let statuses = [201, 204, 400, 401, 403, 404, 405, 413, 415, 500, 501, 505];
    for (so_far, status) in statuses.into_iter().enumerate() {
        server.set(ServerManner::StatusTo("a", status));
        stamp += 1;
        give(&hub, "a", stamp);
        wait_until("it is set aside", LIMIT, || {
            metric(hub.address, "pattoo_hub_posts_quarantined_total", "\"refused\"") == (so_far + 1) as f64
        });
        wait_until("and gone", LIMIT, || waiting(&hub) == 0.0);
    }
    assert_eq!(failures(&hub, "\"status\""), statuses.len() as f64);
    assert_eq!(metric(hub.address, "pattoo_hub_upstream_up", ""), 1.0);
    assert!(!server.taken_by_agent().contains_key("a"));
    assert_balanced(&hub);
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_asks() {
    for busy in [ServerManner::Busy(429, "3"), ServerManner::Busy(503, "3")] {
        let server = Server::start(busy);
        let folder = folder(&api(&server), &[], 300, &["receive: true", "backoff_max: 1"]);
        let hub = folder.start(HUB);
        give(&hub, "a", now_ms() - 2);
        give(&hub, "a", now_ms() - 1);
        wait_until("it was asked", LIMIT, || !server.sent().is_empty());
        server.set(ServerManner::Take);
        wait_until("all is delivered", LIMIT, || waiting(&hub) == 0.0);
        let asked: Vec<SystemTime> = server.sent().iter().map(|request| request.at).collect();
        assert_eq!(asked.len(), 3, "nobody knocked meanwhile");
        let alone = between(asked[0], asked[1]);
        assert!(alone >= Duration::from_millis(2950), "{busy:?}: it was left alone for {alone:?}");
        assert!(between(asked[1], asked[2]) < Duration::from_secs(2), "then all follows");
    }
}

#[test]
fn a_backlog_drains_at_the_rate_that_is_allowed() {
    let server = Server::start(ServerManner::Take);
    let more = ["receive: true", "delivery_rate: 20"];
    // The backlog is taken while nothing is delivered.
    let folder = folder(NO_API, &[], 300, &more);
    let hub = folder.start(HUB);
    let first = now_ms() - 60_000;
    for number in 0..30 {
        give(&hub, "a", first + number);
        give(&hub, "b", first + number);
    }
    hub.kill();
    folder.write("pattoo_agent.yaml", &api(&server).replace("  ip_address", "  enabled: true\n  ip_address"));
    let hub = folder.start(HUB);
    wait_until("all is delivered", LIMIT, || server.taken().len() == 60);
    let at: Vec<SystemTime> = server.taken().iter().map(|request| request.at).collect();
    let took = between(at[0], at[59]);
    assert!(took >= Duration::from_millis(2800), "60 posts at 20 a second took {took:?}");
    for begin in &at {
        let within = at.iter().filter(|at| **at >= *begin && between(*begin, **at) < Duration::from_secs(1));
        let within = within.count();
        // The rate, a tenth of a second made up for, and two that were under way.
        assert!(within <= 26, "{within} posts in a second");
    }
    assert_eq!(server.kept_by_agent().values().map(Vec::len).collect::<Vec<_>>(), [30, 30], "in order");
    wait_until("nothing waits", LIMIT, || waiting(&hub) == 0.0);
    assert_balanced(&hub);
}

#[test]
fn a_connection_that_went_stale_says_nothing_of_the_server() {
    let server = Server::start(ServerManner::CloseReused);
    let folder = folder(&api(&server), &[], 300, &["receive: true"]);
    let hub = folder.start(HUB);
    let first = now_ms() - 60_000;
    for number in 0..20 {
        give(&hub, "a", first + number);
    }
    wait_until("all is delivered", LIMIT, || waiting(&hub) == 0.0);
    assert!(server.reused() > 0, "connections are kept");
    assert_eq!(failures(&hub, ""), 0.0);
    assert_eq!(hub.logged("the server is down"), 0, "{}", hub.log());
    assert_eq!(server.kept_by_agent()["a"].len(), 20);
    assert_balanced(&hub);
}
