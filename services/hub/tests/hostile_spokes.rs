//! Spokes that want the hub's harm: what each way costs the hub, and the spokes beside them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop, and say where"
)]
#![allow(clippy::print_stdout, reason = "figures are told")]

mod common;

use std::time::Duration;

use common::{HUB, api, assert_balanced, due, folder, given, median_and_longest, pauses};
use testkit::http::metric;
use testkit::{Folder, Hostile, LIMIT, Program, Server, ServerManner, Spoke, SpokeManner, Taken, wait_until};

/// Spokes of each case.
const HOSTILE: usize = 8;

const INTERVAL: Duration = Duration::from_secs(1);

const MAX_POST_BYTES: u64 = 1 << 20;

/// What a case may add to the hub's memory: for each hostile spoke a body that grows to the largest post, for which it
/// is copied once, and what is read at once.
const MOST_KIB: u64 = HOSTILE as u64 * (2 * MAX_POST_BYTES + (64 << 10)) / 1024;

/// How long it may be between two polls of an honest spoke, half of the times.
const PAUSE: Duration = Duration::from_secs(2);

/// How long an honest post may take from when its spoke is due until the server has it, half of the times. A quiet one
/// takes 0.1 s; the rest is for a machine with other work.
const IN_TIME: Duration = Duration::from_secs(1);

/// Every way, how many spokes do it, and the reason that the hub gives.
fn hostile_ways(elsewhere: &Spoke) -> [(SpokeManner, usize, &'static [&'static str]); 14] {
    let hostile = SpokeManner::Hostile;
    [
        (hostile(Hostile::Garbage), HOSTILE, &["protocol"]),
        (hostile(Hostile::EndlessHeaders), HOSTILE, &["protocol"]),
        (hostile(Hostile::SlowHeaders), HOSTILE, &["timeout"]),
        (hostile(Hostile::EndlessInterim), HOSTILE, &["too_large"]),
        (hostile(Hostile::EndlessBody), HOSTILE, &["too_large"]),
        // Whichever comes first on this machine.
        (hostile(Hostile::EndlessChunks), HOSTILE, &["too_large", "timeout"]),
        (hostile(Hostile::SlowBody), HOSTILE, &["timeout"]),
        (hostile(Hostile::Gigabyte), HOSTILE, &["too_large"]),
        (hostile(Hostile::GzipBomb), HOSTILE, &["not_json"]),
        (hostile(Hostile::Deep), HOSTILE, &["too_deep"]),
        (hostile(Hostile::RedirectTo(elsewhere.address())), HOSTILE, &["redirect"]),
        (hostile(Hostile::CloseInBody), HOSTILE, &["reset"]),
        (SpokeManner::Pose("a"), HOSTILE, &["identity"]),
        // Two: of three the hub would think that its own clock is wrong.
        (SpokeManner::Tomorrow, 2, &["ok"]),
    ]
}

/// The hub with all that talks to it.
struct Site<'a> {
    hub: &'a Program,
    server: &'a Server,
    honest: &'a [(&'a str, &'a Spoke)],
}

impl Site<'_> {
    fn polls(&self, results: &[&str]) -> f64 {
        let of = |result: &&str| metric(self.hub.address, "pattoo_hub_polls_total", &format!("\"{result}\""));
        results.iter().map(of).sum()
    }

    /// Waits until each honest spoke gave so many posts more and they arrived, in order and whole. Returns how long each
    /// took from when its spoke was due, and the pauses between polls.
    fn honest_posts(&self, more: usize) -> (Vec<Duration>, Vec<Duration>) {
        let before: Vec<usize> = self.honest.iter().map(|(_, spoke)| spoke.given().len()).collect();
        wait_until("the honest posts arrive", LIMIT, || {
            let enough =
                |(at, (_, spoke)): (usize, &(&str, &Spoke))| spoke.given().len() >= before[at] + more;
            self.honest.iter().enumerate().all(enough) && self.arrived()
        });
        let taken = self.server.taken();
        let (mut ways, mut between) = (Vec::new(), Vec::new());
        for (at, (_, spoke)) in self.honest.iter().enumerate() {
            let asked = spoke.asked();
            between.extend(pauses(&asked[before[at].saturating_sub(1)..]));
            for (asked, body) in asked.iter().zip(spoke.given()).skip(before[at]) {
                let (due, _) = due(spoke, INTERVAL, asked.at);
                let Some(arrived) = taken.iter().find(|request| request.body == body) else { continue };
                ways.push(arrived.at.duration_since(due).unwrap());
            }
        }
        (ways, between)
    }

    /// Whether the server has all that the honest spokes gave, in order.
    fn arrived(&self) -> bool {
        let (given, mut taken) = (given(self.honest), self.server.taken_by_agent());
        taken.retain(|agent, _| given.contains_key(agent));
        taken == given
    }
}

#[test]
fn hostile_spokes_cost_the_hub_little_and_the_honest_ones_nothing() {
    let names: Vec<String> = (0..HOSTILE).map(|number| format!("hostile-{number}")).collect();
    let hostile: Vec<Spoke> = names.iter().map(|name| Spoke::start(name, SpokeManner::Refuse)).collect();
    let elsewhere = Spoke::start("elsewhere", SpokeManner::Answer);
    let honest = ["a", "b", "c"].map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let honest: Vec<(&str, &Spoke)> = honest.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let listed: Vec<&Spoke> = hostile.iter().chain(honest.iter().map(|(_, spoke)| *spoke)).collect();
    let server = Server::start(ServerManner::Take);
    let max_post_bytes = format!("max_post_bytes: {MAX_POST_BYTES}");
    let folder = folder(&api(&server), &listed, INTERVAL.as_secs(), &[&max_post_bytes]);
    let hub = folder.start(HUB);
    let site = Site { hub: &hub, server: &server, honest: &honest };
    let (ways, _) = site.honest_posts(3);
    let quiet = Taken::by(&hub);
    println!("quiet: {quiet:?}; a post's way, median and longest: {:?}", median_and_longest(ways));

    for (manner, spokes, reasons) in hostile_ways(&elsewhere) {
        let before = site.polls(reasons);
        Taken::measure_anew(&hub);
        hostile[..spokes].iter().for_each(|spoke| spoke.set(manner));
        let (mut ways, mut between) = site.honest_posts(2);
        wait_until("each hostile spoke was asked twice", LIMIT, || {
            site.polls(reasons) >= before + 2.0 * spokes as f64
        });
        let later = site.honest_posts(1);
        ways.extend(later.0);
        between.extend(later.1);
        let (ways, between) = (median_and_longest(ways), median_and_longest(between));
        let more = Taken::by(&hub).most_memory_kib.saturating_sub(quiet.memory_kib);
        println!(
            "{manner:?} by {spokes}: {more} KiB more, at most {MOST_KIB}; a post's way {ways:?}, between polls {between:?}"
        );
        assert!(more <= MOST_KIB, "{manner:?}");
        assert!(ways.0 <= IN_TIME && between.0 <= PAUSE, "{manner:?}: {ways:?} {between:?}");
        hostile.iter().for_each(|spoke| spoke.set(SpokeManner::Refuse));
        hostile.iter().for_each(Spoke::settle);
    }

    // Nobody was asked whom the configuration does not name.
    assert!(elsewhere.asked().is_empty());
    // Of the honest spokes nothing was set aside, and of the others nothing went up.
    wait_until("the posts of tomorrow are set aside", LIMIT, || {
        metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0
    });
    let honest_bodies: Vec<Vec<u8>> = given(&honest).into_values().flatten().collect();
    let aside = Folder::files(&folder.cache().join("quarantine"));
    assert!(aside.iter().all(|(_, body)| !honest_bodies.contains(body)));
    for reason in ["not_json", "too_deep", "identity", "future"] {
        assert!(aside.iter().any(|(name, _)| name.contains(&format!("-{reason}"))), "{reason}");
    }
    let agents = server.taken_by_agent().into_keys().collect::<Vec<_>>();
    assert_eq!(agents, ["a", "b", "c"]);
    assert_balanced(&hub);

    // And all is as before.
    wait_until("descriptors and threads are as before", LIMIT, || {
        let now = Taken::by(&hub);
        // Threads that wait for the disk come and go.
        now.descriptors <= quiet.descriptors && now.threads <= quiet.threads + 2
    });
    let after = Taken::by(&hub);
    println!("afterwards: {after:?}");
    assert!(after.memory_kib <= quiet.memory_kib + MOST_KIB, "{after:?}");
}
