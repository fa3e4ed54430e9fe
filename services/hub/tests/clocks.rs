//! Clocks that are wrong, the senders' and the hub's own.

mod common;

use std::time::UNIX_EPOCH;

use common::{HUB, api, assert_balanced, folder, give};
use testkit::http::{get, metric};
use testkit::post::{now_ms, stamp};
use testkit::{Folder, LIMIT, Program, Server, ServerManner, wait_until};

const HOUR: u64 = 3_600_000;

/// The interval is short, since patience is counted in intervals.
fn site(server: &Server, interval: u64) -> Folder {
    folder(&api(server), &[], interval, &["receive: true"])
}

fn quarantined(hub: &Program) -> f64 {
    metric(hub.address, "pattoo_hub_posts_quarantined_total", "")
}

fn nothing_waits(hub: &Program) {
    wait_until("nothing waits", LIMIT, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(hub);
}

fn readyz(hub: &Program) -> String {
    let answer = get(hub.address, "/readyz");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

#[test]
fn a_post_from_the_future_waits_until_it_is_due() {
    let server = Server::start(ServerManner::Take);
    let folder = site(&server, 1);
    let hub = folder.start(HUB);
    let now = now_ms();
    give(&hub, "little", now + 50_000);
    give(&hub, "more", now + 65_000);
    give(&hub, "more", now + 65_001);
    wait_until("the one that is a little ahead is delivered, the other waits", LIMIT, || {
        server.taken_by_agent().contains_key("little")
            && metric(hub.address, "pattoo_hub_lanes_ahead", "") == 1.0
    });
    assert_eq!(readyz(&hub), "ready\n");
    nothing_waits(&hub);
    for request in server.taken() {
        let at = u64::try_from(request.at.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        assert!(stamp(&request.body) <= at + 60_000, "not before it is due");
    }
    assert_eq!(server.kept_by_agent()["more"].len(), 2);
    assert_eq!(quarantined(&hub), 0.0);
    wait_until("no lane is ahead", LIMIT, || metric(hub.address, "pattoo_hub_lanes_ahead", "") == 0.0);
}

#[test]
fn a_post_two_hours_ahead_is_set_aside_and_its_lane_goes_on() {
    let server = Server::start(ServerManner::Take);
    let folder = site(&server, 1);
    let hub = folder.start(HUB);
    let now = now_ms();
    let far = give(&hub, "a", now + 2 * HOUR);
    let next = give(&hub, "a", now);
    give(&hub, "b", now);
    nothing_waits(&hub);
    let files = Folder::files(&folder.cache().join("quarantine"));
    assert_eq!(files.len(), 1);
    assert!(files[0].0.contains("-future-") && files[0].1 == far, "{}", files[0].0);
    assert_eq!(metric(hub.address, "pattoo_hub_posts_quarantined_total", "\"future\""), 1.0);
    assert_eq!(server.taken_by_agent()["a"], [next]);
}

#[test]
fn where_three_lanes_are_ahead_the_hubs_clock_is_the_suspect_and_nothing_is_set_aside() {
    let server = Server::start(ServerManner::Take);
    let folder = site(&server, 3);
    folder.shift_clock(-2 * HOUR as i64);
    let hub = folder.start_with_shifted_clock(HUB);
    let lanes = ["a", "b", "c"];
    let now = now_ms();
    lanes.iter().for_each(|lane| drop(give(&hub, lane, now)));
    wait_until("/readyz says so", LIMIT, || {
        readyz(&hub).contains("this hub's clock seems to be behind: 3 of 3")
    });
    assert_eq!(metric(hub.address, "pattoo_hub_clock_suspect", ""), 1.0);
    // A lane alone would be waited for two intervals.
    let begin = now_ms();
    wait_until("patience would be over", LIMIT, || now_ms() > begin + 7_500);
    lanes.iter().for_each(|lane| drop(give(&hub, lane, now + 1)));
    assert!(readyz(&hub).starts_with("ready\nthis hub's clock"));
    assert_eq!((quarantined(&hub), server.sent().len()), (0.0, 0));
    assert_eq!(metric(hub.address, "pattoo_hub_posts_waiting", ""), 6.0);
    folder.shift_clock(0);
    nothing_waits(&hub);
    wait_until("all is well", LIMIT, || readyz(&hub) == "ready\n");
    assert!(lanes.iter().all(|lane| server.kept_by_agent()[*lane].len() == 2));
    assert_eq!(quarantined(&hub), 0.0);
    assert_eq!(hub.logged("this hub's clock seems to be behind"), 1, "{}", hub.log());
}

#[test]
fn a_clock_that_is_set_back_and_forth_by_an_hour_costs_nothing() {
    let server = Server::start(ServerManner::Take);
    let folder = site(&server, 5);
    let hub = folder.start_with_shifted_clock(HUB);
    let lanes = ["a", "b", "c", "d"];
    let mut given = 0;
    let mut give_all = || {
        lanes.iter().for_each(|lane| drop(give(&hub, lane, now_ms())));
        given += 1;
        given
    };
    let hour = HOUR as i64;
    for there in [-hour, hour, -hour] {
        folder.shift_clock(0);
        give_all();
        nothing_waits(&hub);
        folder.shift_clock(there);
        give_all();
        if there < 0 {
            wait_until("all lanes wait", LIMIT, || {
                metric(hub.address, "pattoo_hub_lanes_ahead", "") == lanes.len() as f64
            });
        } else {
            nothing_waits(&hub);
        }
    }
    // The last time it stays wrong until a restart.
    assert_balanced(&hub);
    hub.kill();
    let hub = folder.start(HUB);
    nothing_waits(&hub);
    assert_eq!(quarantined(&hub), 0.0);
    assert!(
        lanes.iter().all(|lane| server.kept_by_agent()[*lane].len() == given),
        "{given} of each, in order"
    );
}
