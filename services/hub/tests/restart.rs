//! A hub that is killed delivers after its restart what it had taken, in order, and polls at the same offsets.

mod common;

use std::time::Duration;

use common::{HUB, api, assert_balanced, due, entered, folder, given};
use testkit::http::metric;
use testkit::{LIMIT, Server, ServerManner, Spoke, SpokeManner, wait_until};

#[test]
fn what_was_taken_is_delivered_in_order_after_a_kill() {
    let spokes = ["a", "b", "c"].map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let spokes: Vec<(&str, &Spoke)> = spokes.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let listed: Vec<&Spoke> = spokes.iter().map(|(_, spoke)| *spoke).collect();
    let server = Server::start(ServerManner::Refuse);
    let folder = folder(&api(&server), &listed, 1, &["backoff_max: 1"]);

    // Two runs that end by a kill, and nothing was delivered.
    let mut all = Default::default();
    for run in 1..=2 {
        let hub = folder.start(HUB);
        spokes.iter().for_each(|(_, spoke)| spoke.set(SpokeManner::Answer));
        wait_until("three posts of each in this run", LIMIT, || {
            spokes.iter().all(|(_, spoke)| spoke.given().len() >= 3 * run)
        });
        spokes.iter().for_each(|(_, spoke)| spoke.set(SpokeManner::Error));
        wait_until("the hub has all that was given", LIMIT, || {
            all = given(&spokes);
            entered(&hub) == all.values().map(Vec::len).sum::<usize>() as f64
        });
        assert_balanced(&hub);
        hub.kill();
    }
    assert!(server.taken().is_empty());

    server.set(ServerManner::Take);
    let hub = folder.start(HUB);
    wait_until("the backlog arrives", LIMIT, || server.taken_by_agent() == all);
    spokes.iter().for_each(|(_, spoke)| spoke.set(SpokeManner::Answer));
    let backlog = all.values().map(Vec::len).sum::<usize>();
    wait_until("fresh posts follow", LIMIT, || server.taken().len() >= backlog + 3);
    let fresh = spokes.iter().map(|(_, spoke)| spoke.given().len()).sum::<usize>();
    assert!(fresh > backlog);
    spokes.iter().for_each(|(_, spoke)| spoke.set(SpokeManner::Error));
    wait_until("all arrived", LIMIT, || server.taken_by_agent() == given(&spokes));
    wait_until("nothing waits", LIMIT, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(&hub);

    // What was acknowledged does not come back; a kill may repeat what was acknowledged a moment before it.
    let mut hub = hub;
    hub.terminate();
    hub.wait();
    let hub = folder.start(HUB);
    assert_eq!(metric(hub.address, "pattoo_hub_posts_found_total", ""), 0.0);
}

#[test]
fn polls_keep_their_offset_over_a_restart() {
    const INTERVAL: Duration = Duration::from_secs(2);
    let spokes = ["a", "b", "c", "d", "e"].map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let spokes: Vec<(&str, &Spoke)> = spokes.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let listed: Vec<&Spoke> = spokes.iter().map(|(_, spoke)| *spoke).collect();
    let folder = folder(common::NO_API, &listed, 2, &[]);
    for polls in [2, 4] {
        let hub = folder.start(HUB);
        wait_until("two polls of each in this run", LIMIT, || {
            spokes.iter().all(|(_, spoke)| spoke.asked().len() >= polls)
        });
        hub.kill();
    }
    for (id, spoke) in &spokes {
        for request in spoke.asked() {
            let (_, late) = due(spoke, INTERVAL, request.at);
            assert!(late < Duration::from_millis(700), "{id} was asked {late:?} after its offset");
        }
    }
}
