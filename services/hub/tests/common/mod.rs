//! What the tests of the real hub have in common.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hub::target::{Host, Target};
use testkit::http::{metric, post_json};
use testkit::post::post;
use testkit::{Folder, LIMIT, Program, Request, Server, Spoke, SpokeManner, wait_until};

/// The real program.
pub(crate) const HUB: &str = env!("CARGO_BIN_EXE_pattoo_agent_os_hubd");

/// The section that sends posts to `server`.
pub(crate) fn api(server: &Server) -> String {
    api_at(server.address())
}

/// The section that sends posts to that address.
pub(crate) fn api_at(server: SocketAddr) -> String {
    format!("pattoo_agent_api:\n  ip_address: {}\n  ip_bind_port: {}\n", server.ip(), server.port())
}

/// The section that sends posts nowhere.
pub(crate) const NO_API: &str = "pattoo_agent_api:\n  enabled: false\n";

/// A folder for a hub that polls `spokes` each `interval` seconds, with more lines for its section.
pub(crate) fn folder(api: &str, spokes: &[&Spoke], interval: u64, more: &[&str]) -> Folder {
    let folder = Folder::new(api);
    configure(&folder, spokes, interval, more);
    folder
}

/// Writes the section of a hub that polls `spokes` each `interval` seconds, with more lines.
pub(crate) fn configure(folder: &Folder, spokes: &[&Spoke], interval: u64, more: &[&str]) {
    let mut own = format!("pattoo_agent_os_hubd:\n  ip_bind_port: 0\n  polling_interval: {interval}\n");
    if !spokes.is_empty() {
        own.push_str("  ip_devices:\n");
    }
    for spoke in spokes {
        let address = spoke.address();
        own.push_str(&format!(
            "    - ip_address: \"{}\"\n      ip_bind_port: {}\n",
            address.ip(),
            address.port()
        ));
    }
    for line in more {
        own.push_str(&format!("  {line}\n"));
    }
    folder.write("pattoo_agent_os_hubd.yaml", &own);
}

/// Posts to the hub as an agent does, and waits until it has taken it. Returns the body.
pub(crate) fn give(hub: &Program, agent_id: &str, stamp: u64) -> Vec<u8> {
    let body = post(agent_id, stamp, 100);
    let answer = post_json(hub.address, &format!("/pattoo/api/v1/agent/receive/{agent_id}"), &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    body
}

/// What each spoke gave away, by its agent id.
pub(crate) fn given(spokes: &[(&str, &Spoke)]) -> BTreeMap<String, Vec<Vec<u8>>> {
    let given = spokes.iter().map(|(id, spoke)| ((*id).to_owned(), spoke.given()));
    given.filter(|(_, posts)| !posts.is_empty()).collect()
}

/// Lets the spokes give no further post, and waits until the hub has all that they gave.
pub(crate) fn freeze(hub: &Program, spokes: &[(&str, &Spoke)]) -> BTreeMap<String, Vec<Vec<u8>>> {
    spokes.iter().for_each(|(_, spoke)| spoke.set(SpokeManner::Error));
    wait_until("the hub has taken what was given", LIMIT, || {
        let posts: usize = given(spokes).values().map(Vec::len).sum();
        entered(hub) >= posts as f64
    });
    given(spokes)
}

/// When the spoke was due last before `at`, and how long before.
pub(crate) fn due(spoke: &Spoke, interval: Duration, at: SystemTime) -> (SystemTime, Duration) {
    let address = spoke.address();
    let target = Target { host: Host::Address(address.ip()), port: address.port(), tls: None };
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default() - target.offset(interval);
    let late = Duration::from_nanos((since.as_nanos() % interval.as_nanos()) as u64);
    (at - late, late)
}

/// The pauses between these requests.
pub(crate) fn pauses(asked: &[Request]) -> impl Iterator<Item = Duration> {
    let pairs = asked.iter().zip(asked.iter().skip(1));
    pairs.map(|(one, next)| next.at.duration_since(one.at).unwrap_or_default())
}

/// The one in the middle, and the longest: the first is judged, so that one moment of a busy machine is not.
pub(crate) fn median_and_longest(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |place: usize| times.get(place).copied().unwrap_or_default();
    (at(times.len() / 2), at(times.len().saturating_sub(1)))
}

/// How many posts have entered the books: taken now, or found from an earlier run.
pub(crate) fn entered(hub: &Program) -> f64 {
    metric(hub.address, "pattoo_hub_posts_taken_total", "")
        + metric(hub.address, "pattoo_hub_posts_found_total", "")
}

/// Asserts that the books of a hub at rest balance. A page read in the middle of a change may not: each
/// number is right, but they are read one after the other.
pub(crate) fn assert_balanced(hub: &Program) {
    let sum = |name: &str| metric(hub.address, &format!("pattoo_hub_posts_{name}"), "");
    wait_until("entered = delivered + quarantined + dropped + waiting", LIMIT, || {
        let left = sum("delivered_total") + sum("quarantined_total") + sum("dropped_total");
        entered(hub) == left + sum("waiting")
    });
}
