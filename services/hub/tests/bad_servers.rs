//! Whatever the server does, nothing is lost, nothing is out of order, and nothing bad goes up.

mod common;

use common::{HUB, api, assert_balanced, folder, freeze, given};
use testkit::http::{get, metric};
use testkit::{LIMIT, Server, ServerManner, Spoke, SpokeManner, wait_until};

/// Lets posts collect in front of a bad server and makes it good. `reason` is what the hub calls it.
fn survives(manner: ServerManner, reason: &str) {
    let spokes = ["a", "b", "c"].map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let spokes: Vec<(&str, &Spoke)> = spokes.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let listed: Vec<&Spoke> = spokes.iter().map(|(_, spoke)| *spoke).collect();
    let server = Server::start(manner);
    let folder = folder(&api(&server), &listed, 1, &["delivery_timeout: 1", "backoff_max: 1"]);
    let hub = folder.start(HUB);
    wait_until("three posts of each wait, and delivery failed", LIMIT, || {
        spokes.iter().all(|(_, spoke)| spoke.given().len() >= 3)
            && metric(hub.address, "pattoo_hub_delivery_failures_total", &format!("\"{reason}\"")) >= 2.0
    });
    assert!(server.taken().is_empty());
    assert_eq!(metric(hub.address, "pattoo_hub_posts_delivered_total", ""), 0.0);
    assert_eq!(metric(hub.address, "pattoo_hub_upstream_up", ""), 0.0);
    assert_eq!(hub.logged("the server is down; posts wait"), 1, "a change of state is said once");
    assert!(get(hub.address, "/").text().contains("is down"));
    // The fleet is not restarted because of it.
    assert_eq!(get(hub.address, "/readyz").status, 200);

    server.set(ServerManner::Take);
    wait_until("the backlog and what is fresh arrive", LIMIT, || {
        spokes.iter().all(|(_, spoke)| spoke.given().len() >= 5)
    });
    let all = freeze(&hub, &spokes);
    wait_until("all arrived", LIMIT, || server.taken_by_agent() == all);
    wait_until("nothing waits", LIMIT, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(&hub);
    for request in server.sent() {
        let id = testkit::post::agent_id(&request.body);
        assert_eq!(request.line, format!("POST /pattoo/api/v1/agent/receive/{id}"));
        assert!(
            request
                .headers
                .iter()
                .any(|header| header.eq_ignore_ascii_case("content-type: application/json"))
        );
        assert!(
            all.get(&id).is_some_and(|given| given.contains(&request.body)),
            "nothing goes up that no spoke gave"
        );
    }
}

#[test]
fn a_server_that_refuses_connections_costs_nothing() {
    survives(ServerManner::Refuse, "refused");
}

#[test]
fn a_server_that_hangs_costs_nothing() {
    survives(ServerManner::Hang, "timeout");
}

#[test]
fn a_server_that_answers_500_costs_nothing() {
    survives(ServerManner::Error, "status");
}

#[test]
fn a_server_that_answers_503_costs_nothing() {
    survives(ServerManner::Unavailable, "unavailable");
}

#[test]
fn a_server_that_redirects_costs_nothing() {
    survives(ServerManner::Redirect, "redirect");
}

#[test]
fn a_server_that_closes_after_the_body_costs_nothing() {
    survives(ServerManner::CloseAfterBody, "reset");
}

#[test]
fn a_200_that_does_not_arrive_whole_acknowledges_nothing() {
    survives(ServerManner::CloseInAnswer, "reset");
}

#[test]
fn a_slow_server_gets_every_lane_side_by_side() {
    let ids = ["a", "b", "c", "d", "e", "f"];
    let spokes = ids.map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let spokes: Vec<(&str, &Spoke)> = spokes.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let listed: Vec<&Spoke> = spokes.iter().map(|(_, spoke)| *spoke).collect();
    let server = Server::start(ServerManner::Slow);
    let folder = folder(&api(&server), &listed, 1, &[]);
    let hub = folder.start(HUB);
    // Six posts a second, half a second each: one after the other would fall behind for ever.
    wait_until("four posts of each arrived", LIMIT, || {
        let taken = server.taken_by_agent();
        taken.len() == ids.len() && taken.values().all(|posts| posts.len() >= 4)
    });
    let waiting = metric(hub.address, "pattoo_hub_posts_waiting", "");
    assert!(waiting <= 2.0 * ids.len() as f64, "{waiting} posts wait");
    let all = freeze(&hub, &spokes);
    wait_until("all arrived", LIMIT, || server.taken_by_agent() == all);
}

#[test]
fn a_post_that_is_refused_stops_its_own_lane_alone() {
    let spokes = ["a", "b"].map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let spokes: Vec<(&str, &Spoke)> = spokes.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let server = Server::start(ServerManner::ErrorTo("a"));
    // So many attempts that none of it is set aside here.
    let more = ["backoff_max: 1", "max_attempts: 1000"];
    let folder = folder(&api(&server), &[spokes[0].1, spokes[1].1], 1, &more);
    let hub = folder.start(HUB);
    wait_until("three posts of b arrived while those of a wait", LIMIT, || {
        let b = server.kept_by_agent().get("b").map_or(0, Vec::len);
        b >= 3 && spokes[0].1.given().len() >= 3
    });
    assert!(!server.taken_by_agent().contains_key("a"));
    // One post at a time: only the oldest of a was ever tried.
    let oldest = &spokes[0].1.given()[0];
    let of_a = server.sent().into_iter().filter(|request| request.line.ends_with("/a"));
    assert!(of_a.into_iter().all(|request| request.body == *oldest));
    assert_eq!(hub.logged("the server refuses a post"), 1, "said once: {}", hub.log());
    server.set(ServerManner::Take);
    freeze(&hub, &spokes);
    wait_until("all arrived", LIMIT, || server.kept_by_agent() == given(&spokes));
    assert_balanced(&hub);
}
