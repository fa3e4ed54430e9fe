//! Is a refused post bad, or the server down? What the newest acknowledged post, sent again, tells.

mod common;

use common::{HUB, api, assert_balanced, folder, give};
use testkit::http::{get, metric};
use testkit::post::{now_ms, stamp};
use testkit::{Folder, LIMIT, Program, Server, ServerManner, wait_until};

const MORE: [&str; 2] = ["receive: true", "backoff_max: 1"];

fn quarantined(hub: &Program) -> f64 {
    metric(hub.address, "pattoo_hub_posts_quarantined_total", "")
}

fn failures(hub: &Program) -> f64 {
    metric(hub.address, "pattoo_hub_delivery_failures_total", "")
}

fn canaries(hub: &Program, result: &str) -> f64 {
    metric(hub.address, "pattoo_hub_canaries_total", result)
}

fn nothing_waits(hub: &Program) {
    wait_until("nothing waits", LIMIT, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(hub);
}

/// The bodies in quarantine, each with its reason.
fn set_aside(folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let files = Folder::files(&folder.cache().join("quarantine")).into_iter();
    let reason = |name: &str| Some(name.strip_suffix(".body")?.split('-').nth(1)?.to_owned());
    files.map(|(name, body)| (reason(&name).unwrap_or(name), body)).collect()
}

/// How often a post was sent.
fn times_sent(server: &Server, body: &[u8]) -> usize {
    server.sent().iter().filter(|request| request.body == body).count()
}

#[test]
fn a_bad_post_among_good_ones_is_set_aside_after_five_refusals() {
    let first = now_ms() - 60_000;
    let server = Server::start(ServerManner::ErrorToStamp(first + 2));
    let folder = folder(&api(&server), &[], 300, &MORE);
    let hub = folder.start(HUB);
    let of_a = [1, 2, 3].map(|number| give(&hub, "a", first + number));
    let of_b = [11, 12, 13].map(|number| give(&hub, "b", first + number));
    wait_until("the bad post is out of the way", LIMIT, || {
        let kept = server.kept_by_agent();
        kept.get("a").is_some_and(|kept| kept.len() == 2) && kept.get("b").is_some_and(|kept| kept.len() == 3)
    });
    nothing_waits(&hub);
    assert_eq!(
        server.kept_by_agent()["a"],
        [of_a[0].clone(), of_a[2].clone()],
        "in order, but for the bad one"
    );
    assert_eq!(server.kept_by_agent()["b"], of_b);
    assert_eq!(set_aside(&folder), [("refused".to_owned(), of_a[1].clone())]);
    assert_eq!(times_sent(&server, &of_a[1]), 5);
    assert_eq!((canaries(&hub, "taken"), canaries(&hub, "")), (5.0, 5.0), "one canary for each refusal");
    assert_eq!(metric(hub.address, "pattoo_hub_posts_quarantined_total", "\"refused\""), 1.0);
    assert_eq!(metric(hub.address, "pattoo_hub_deliveries_retried_total", ""), 4.0);
    assert_eq!(hub.logged("the server refuses a post"), 1, "said once: {}", hub.log());
    assert_eq!(hub.logged("a post is set aside in quarantine"), 1);
    assert_eq!(hub.logged("the server is down"), 0);
}

#[test]
fn a_404_from_a_wrong_path_sets_nothing_aside() {
    let first = now_ms() - 60_000;
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &MORE);
    let hub = folder.start(HUB);
    let lanes = ["a", "b", "c"];
    lanes.iter().for_each(|lane| drop(give(&hub, lane, first)));
    nothing_waits(&hub);
    server.set(ServerManner::Status(404));
    for number in 1..=3 {
        lanes.iter().for_each(|lane| drop(give(&hub, lane, first + number)));
    }
    wait_until("more refusals than the attempts of all", LIMIT, || failures(&hub) >= 16.0);
    assert_eq!((canaries(&hub, "taken"), quarantined(&hub)), (0.0, 0.0));
    // One for all that were refused together.
    assert!(canaries(&hub, "refused") >= 10.0, "each refusal is asked about");
    assert_eq!(metric(hub.address, "pattoo_hub_upstream_up", ""), 0.0);
    assert!(get(hub.address, "/").text().contains("is down (status 404)"));
    assert_eq!(hub.logged("the server is down; posts wait"), 1, "said once: {}", hub.log());
    assert_eq!(get(hub.address, "/readyz").status, 200);
    server.set(ServerManner::Take);
    nothing_waits(&hub);
    for lane in lanes {
        let stamps: Vec<u64> = server.kept_by_agent()[lane].iter().map(|body| stamp(body) - first).collect();
        assert_eq!(stamps, [0, 1, 2, 3], "{lane}");
    }
    assert_eq!(quarantined(&hub), 0.0);
}

#[test]
fn a_single_spokes_bad_post_is_told_after_a_restart_too() {
    let first = now_ms() - 60_000;
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &MORE);
    let mut hub = folder.start(HUB);
    let good = give(&hub, "a", first);
    nothing_waits(&hub);
    wait_until("the canary is kept", LIMIT, || folder.cache().join("canary").is_file());
    // Not killed: then the good post might be delivered once more, and be the canary by that.
    hub.terminate();
    hub.wait();

    server.set(ServerManner::ErrorToStamp(first + 1));
    let hub = folder.start(HUB);
    let bad = give(&hub, "a", first + 1);
    let next = give(&hub, "a", first + 2);
    nothing_waits(&hub);
    assert_eq!(set_aside(&folder), [("refused".to_owned(), bad.clone())]);
    assert_eq!(server.kept_by_agent()["a"], [good.clone(), next]);
    assert_eq!((times_sent(&server, &bad), times_sent(&server, &good)), (5, 6));
}

#[test]
fn before_the_first_acknowledgement_everything_waits_until_another_lane_is_taken() {
    let first = now_ms() - 60_000;
    let server = Server::start(ServerManner::ErrorToStamp(first));
    let folder = folder(&api(&server), &[], 300, &MORE);
    let hub = folder.start(HUB);
    let bad = give(&hub, "a", first);
    let next = give(&hub, "a", first + 1);
    wait_until("it was refused more often than five times", LIMIT, || failures(&hub) >= 6.0);
    assert_eq!((quarantined(&hub), canaries(&hub, "")), (0.0, 0.0));
    assert_eq!(metric(hub.address, "pattoo_hub_upstream_up", ""), 0.0, "nobody can tell; everything waits");
    assert!(server.taken().is_empty());
    let other = give(&hub, "b", first + 10);
    nothing_waits(&hub);
    assert_eq!(set_aside(&folder), [("refused".to_owned(), bad)]);
    let kept = server.kept_by_agent();
    assert_eq!((&kept["a"], &kept["b"]), (&vec![next], &vec![other.clone()]));
    assert_eq!(times_sent(&server, &other), 1 + 5, "it was the canary");
}

#[test]
fn a_damaged_canary_is_not_used() {
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &MORE);
    let hub = folder.start(HUB);
    give(&hub, "a", now_ms() - 60_000);
    let path = folder.cache().join("canary");
    wait_until("the canary is kept", LIMIT, || path.is_file());
    hub.kill();
    let mut content = std::fs::read(&path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(&path, content).unwrap();
    server.set(ServerManner::Error);
    let hub = folder.start(HUB);
    wait_until("it says so", LIMIT, || hub.logged("damaged, or of another version; not used") == 1);
    give(&hub, "a", now_ms());
    wait_until("it is refused twice", LIMIT, || failures(&hub) >= 2.0);
    assert_eq!(canaries(&hub, ""), 0.0);
    server.set(ServerManner::Take);
    nothing_waits(&hub);
}
