//! A bad spoke of every kind, listed first and last, costs the good ones nothing, and nothing bad goes up.

mod common;

use std::time::Duration;

use common::{HUB, api, assert_balanced, due, folder, given};
use testkit::http::{get, metric};
use testkit::{Folder, Hostile, LIMIT, Server, ServerManner, Spoke, SpokeManner, wait_until};

/// Every way to be bad, and the reason that the hub gives.
const BAD: [(SpokeManner, &str); 12] = [
    (SpokeManner::Refuse, "refused"),
    (SpokeManner::HangBeforeHeaders, "timeout"),
    (SpokeManner::HangAfterHeaders, "timeout"),
    (SpokeManner::Hostile(Hostile::SlowBody), "timeout"),
    (SpokeManner::Hostile(Hostile::EndlessBody), "too_large"),
    (SpokeManner::Big, "too_large"),
    (SpokeManner::NotJson, "not_json"),
    (SpokeManner::List, "not_object"),
    (SpokeManner::Nan, "nan"),
    (SpokeManner::Redirect, "redirect"),
    (SpokeManner::Error, "status"),
    (SpokeManner::Hostile(Hostile::CloseInBody), "reset"),
];

const INTERVAL: Duration = Duration::from_secs(3);

#[test]
fn bad_spokes_cost_the_good_ones_nothing() {
    let bad = || BAD.map(|(manner, _)| Spoke::start("bad", manner));
    let (first, last) = (bad(), bad());
    let good = ["a", "b", "c", "d"].map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let good: Vec<(&str, &Spoke)> = good.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let listed: Vec<&Spoke> =
        first.iter().chain(good.iter().map(|(_, spoke)| *spoke)).chain(last.iter()).collect();
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &listed, 3, &["poll_timeout: 2", "max_post_bytes: 1048576"]);
    let hub = folder.start(HUB);

    wait_until("every good spoke gave three posts and they arrived", LIMIT, || {
        good.iter().all(|(_, spoke)| spoke.given().len() >= 3) && server.taken_by_agent() == given(&good)
    });

    // Every other post arrives within 2 s of its target's offset, and every target is asked at its own.
    let taken = server.taken();
    for (id, spoke) in &good {
        for (asked, body) in spoke.asked().iter().zip(spoke.given()) {
            let (due, late) = due(spoke, INTERVAL, asked.at);
            assert!(late < Duration::from_secs(1), "{id} was asked {late:?} after its offset");
            let arrived = taken.iter().find(|request| request.body == body).unwrap().at;
            let took = arrived.duration_since(due).unwrap();
            assert!(took < Duration::from_secs(2), "a post of {id} took {took:?}");
        }
    }

    // Each failure is counted under its reason.
    wait_until("every bad spoke was polled", LIMIT, || {
        BAD.iter().all(|(_, reason)| {
            let kinds = BAD.iter().filter(|(_, other)| other == reason).count();
            let label = format!("result=\"{reason}\"");
            metric(hub.address, "pattoo_hub_polls_total", &label) >= (2 * kinds) as f64
        })
    });
    assert_eq!(metric(hub.address, "pattoo_hub_targets_up", ""), 4.0);
    assert_eq!(metric(hub.address, "pattoo_hub_targets", ""), 28.0);

    // What came whole and is no post is set aside as it came, with its reason; nothing else is.
    let aside = Folder::files(&folder.cache().join("quarantine"));
    for (reason, content) in [("not_json", "hello"), ("not_object", "[1, 2, 3]"), ("nan", "NaN")] {
        let name = format!("-{reason}.body");
        let bodies: Vec<_> = aside.iter().filter(|(file, _)| file.ends_with(&name)).collect();
        assert!(bodies.len() >= 2, "{reason}: {}", aside.len());
        assert!(bodies.iter().all(|(_, body)| String::from_utf8_lossy(body).contains(content)), "{reason}");
    }
    let reasons = ["not_json", "not_object", "nan"];
    assert!(aside.iter().all(|(file, _)| reasons.iter().any(|reason| file.contains(reason))));

    // Nothing bad went up, and no redirect was followed.
    let all: Vec<Vec<u8>> = given(&good).into_values().flatten().collect();
    assert!(server.sent().iter().all(|request| all.contains(&request.body)));
    let asked = first.iter().chain(&last).flat_map(Spoke::asked);
    assert!(asked.into_iter().all(|request| request.line == "GET /pattoo-agent-os/3"));

    // The page names the state of each; the log says a change of state once, not each poll.
    let page = get(hub.address, "/").text();
    for (_, reason) in BAD {
        assert!(page.contains(&format!("failing: {reason}")), "{reason}: {page}");
    }
    for spoke in &first[..2] {
        let told = format!("the target gives no post target={}", spoke.address());
        assert_eq!(hub.logged(&told), 1, "{}", hub.log());
    }
}

#[test]
fn a_spoke_that_comes_back_is_noticed() {
    let spoke = Spoke::start("a", SpokeManner::HangBeforeHeaders);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[&spoke], 1, &[]);
    let hub = folder.start(HUB);
    wait_until("the spoke is seen to hang", LIMIT, || hub.logged("reason=timeout") == 1);
    spoke.set(SpokeManner::Answer);
    wait_until("its posts arrive", LIMIT, || server.taken().len() >= 2);
    assert_eq!(hub.logged("the target answers again"), 1);
    spoke.set(SpokeManner::Error);
    wait_until("it is seen to fail", LIMIT, || hub.logged("reason=status 500") == 1);
    wait_until("its books are closed", LIMIT, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(&hub);
}
