//! Servers that want the hub's harm: what each way costs the hub, and that nothing is lost by it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop, and say where"
)]
#![allow(clippy::print_stdout, reason = "figures are told")]

mod common;

use std::time::Duration;

use common::{HUB, api, assert_balanced, folder, given, median_and_longest, pauses};
use testkit::http::{get, metric};
use testkit::{Hostile, LIMIT, Program, Server, ServerManner, Spoke, SpokeManner, Taken, wait_until};

const INTERVAL: Duration = Duration::from_secs(1);

/// What a case may add to the hub's memory: the head of an answer, which may have 400 KiB, and a little of its body; of
/// one connection, since only one asks while the server is down; and what waits meanwhile.
const MOST_KIB: u64 = 4 << 10;

/// How long it may be between two polls of a spoke, half of the times. It is that long where the server floods: the
/// client of delivery has no bound on `100 Continue` but the time for an answer, and takes the thread's time as long.
const PAUSE: Duration = Duration::from_secs(4);

/// Every way, and the reason that the hub gives.
fn ways(elsewhere: &Server) -> [(ServerManner, &'static str); 18] {
    let hostile = ServerManner::Hostile;
    [
        (hostile(Hostile::Garbage), "protocol"),
        (hostile(Hostile::EndlessHeaders), "protocol"),
        (hostile(Hostile::SlowHeaders), "timeout"),
        (hostile(Hostile::EndlessInterim), "timeout"),
        (hostile(Hostile::EndlessBody), "too_large"),
        (hostile(Hostile::EndlessChunks), "too_large"),
        (hostile(Hostile::SlowBody), "timeout"),
        (hostile(Hostile::Gigabyte), "too_large"),
        (hostile(Hostile::GzipBomb), "too_large"),
        (hostile(Hostile::Deep), "too_large"),
        (hostile(Hostile::RedirectTo(elsewhere.address())), "redirect"),
        (hostile(Hostile::CloseInBody), "reset"),
        (ServerManner::Hang, "timeout"),
        (ServerManner::CloseAfterBody, "reset"),
        (ServerManner::Says(503, "Retry-After: soon\r\n"), "unavailable"),
        (ServerManner::Says(429, "Retry-After: 99999999999999999999\r\n"), "unavailable"),
        (
            ServerManner::Says(
                503,
                "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\nRetry-After: Fri, 01 Jan 1999 00:00:00 GMT\r\n",
            ),
            "unavailable",
        ),
        (
            ServerManner::Says(
                503,
                "Date: Sun, 06 Nov 9994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 9994 08:49:38 GMT\r\n",
            ),
            "unavailable",
        ),
    ]
}

/// The hub and the spokes that it polls.
struct Site<'a> {
    hub: &'a Program,
    spokes: &'a [(&'a str, &'a Spoke)],
}

impl Site<'_> {
    fn failures(&self, reason: &str) -> f64 {
        metric(self.hub.address, "pattoo_hub_delivery_failures_total", &format!("\"{reason}\""))
    }

    fn posts(&self) -> Vec<usize> {
        self.spokes.iter().map(|(_, spoke)| spoke.given().len()).collect()
    }

    /// Waits until each spoke gave a post more. Returns the pauses between polls since `before`.
    fn are_polled(&self, before: &[usize]) -> Vec<Duration> {
        let wanted: Vec<usize> = self.posts().iter().map(|posts| posts + 1).collect();
        wait_until("they are polled on", LIMIT, || {
            self.posts().iter().zip(&wanted).all(|(posts, wanted)| posts >= wanted)
        });
        let mut between = Vec::new();
        for ((_, spoke), before) in self.spokes.iter().zip(before) {
            between.extend(pauses(&spoke.asked()[before.saturating_sub(1)..]));
        }
        between
    }

    /// Waits until the server has everything that the spokes have given until now, in order.
    fn all_arrives(&self, server: &Server) {
        let all = given(self.spokes);
        wait_until("all arrives", LIMIT, || {
            let kept = server.kept_by_agent();
            all.iter().all(|(agent, posts)| kept.get(agent).is_some_and(|kept| kept.starts_with(posts)))
        });
    }
}

#[test]
fn hostile_servers_cost_the_hub_little_and_the_posts_nothing() {
    let spokes = ["a", "b", "c"].map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let spokes: Vec<(&str, &Spoke)> = spokes.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let listed: Vec<&Spoke> = spokes.iter().map(|(_, spoke)| *spoke).collect();
    let (server, elsewhere) = (Server::start(ServerManner::Take), Server::start(ServerManner::Take));
    let more = ["delivery_timeout: 1", "backoff_max: 1"];
    let folder = folder(&api(&server), &listed, INTERVAL.as_secs(), &more);
    let hub = folder.start(HUB);
    let site = Site { hub: &hub, spokes: &spokes };
    wait_until("each gave three posts", LIMIT, || site.posts().iter().all(|posts| *posts >= 3));
    site.all_arrives(&server);
    let quiet = Taken::by(&hub);
    println!("quiet: {quiet:?}");

    let up = || metric(hub.address, "pattoo_hub_upstream_up", "");
    for (manner, reason) in ways(&elsewhere) {
        let (failures, posts) = (site.failures(reason), site.posts());
        Taken::measure_anew(&hub);
        server.set(manner);
        wait_until("it failed twice", LIMIT, || site.failures(reason) >= failures + 2.0);
        let taken = server.taken().len();
        let pause = median_and_longest(site.are_polled(&posts));
        assert_eq!((up(), server.taken().len()), (0.0, taken), "{manner:?}");
        let most = Taken::by(&hub).most_memory_kib.saturating_sub(quiet.memory_kib);
        println!("{manner:?}: {most} KiB more, at most {MOST_KIB}; between polls {pause:?}");
        assert!(most <= MOST_KIB, "{manner:?}");
        assert!(pause.0 <= PAUSE, "{manner:?}: {pause:?}");
        server.set(ServerManner::Take);
        site.all_arrives(&server);
        wait_until("it is up", LIMIT, || up() == 1.0);
    }
    assert!(elsewhere.sent().is_empty(), "nothing goes where the configuration does not say");

    // A year is an hour at most, during which nothing else suffers; a person who names another server ends it.
    let (before, sent) = (site.failures("unavailable"), server.sent().len());
    server.set(ServerManner::Says(503, "Retry-After: 31536000\r\n"));
    wait_until("it failed", LIMIT, || site.failures("unavailable") > before);
    let asked = server.sent().len();
    let posts = site.posts();
    for _ in 0..3 {
        site.are_polled(&posts);
    }
    assert_eq!(server.sent().len(), asked, "nobody knocks");
    assert!(asked - sent <= spokes.len() + 1);
    let waiting = get(hub.address, "/").text();
    assert!(waiting.contains("is down"), "{waiting}");
    let second = Server::start(ServerManner::Take);
    let pattoo = std::fs::read_to_string(folder.config().join("pattoo.yaml")).unwrap();
    folder.write("pattoo.yaml", &pattoo.replace(&api(&server), &api(&second)));
    let waited: Vec<Vec<u8>> = spokes.iter().flat_map(|(_, spoke)| spoke.given().pop()).collect();
    wait_until("what waited arrives there", LIMIT, || {
        let taken = second.taken();
        waited.iter().all(|body| taken.iter().any(|request| request.body == *body))
    });

    // Nothing was set aside or dropped, and all is as before.
    for lost in ["quarantined_total", "dropped_total"] {
        assert_eq!(metric(hub.address, &format!("pattoo_hub_posts_{lost}"), ""), 0.0, "{lost}");
    }
    wait_until("nothing waits", LIMIT, || metric(hub.address, "pattoo_hub_posts_waiting", "") <= 1.0);
    spokes.iter().for_each(|(_, spoke)| spoke.set(SpokeManner::Refuse));
    assert_balanced(&hub);
    wait_until("descriptors and threads are as before", LIMIT, || {
        let now = Taken::by(&hub);
        // Threads that wait for the disk come and go.
        now.descriptors <= quiet.descriptors && now.threads <= quiet.threads + 2
    });
    println!("afterwards: {:?}", Taken::by(&hub));
}
