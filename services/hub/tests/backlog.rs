//! A day's backlog: how fast it drains while polling goes on, and what it takes of memory; and ten thousand lanes.
//!
//! Every run does a fiftieth of the day. The whole, and with it the figures of docs/operation.md, by
//!
//! ```text
//! HUB_LONG=1 cargo test --release -p hub --test backlog -- --nocapture --test-threads=1
//! ```
//!
//! which takes some ten minutes and 3 GB below `TMPDIR`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop, and say where"
)]
#![allow(clippy::print_stdout, reason = "figures are told")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{HUB, api_at, assert_balanced, folder, give};
use hub::metrics::Metrics;
use hub::store::{Bounds, Store};
use testkit::http::metric;
use testkit::post::{HostPosts, now_ms, post};
use testkit::{Folder, Program, Spoke, SpokeManner, Tally, wait_until};

/// Sources of the day's backlog.
const SOURCES: usize = 200;

const DAY_MS: u64 = 86_400_000;

/// Enough for a day of them.
const MAX_BYTES: u64 = 8 << 30;

/// What a loaded machine may need.
const LIMIT: Duration = Duration::from_secs(60);

fn long() -> bool {
    std::env::var_os("HUB_LONG").is_some()
}

fn agent(number: usize) -> String {
    format!("host-{number:05}")
}

/// Puts posts into a hub's spool by the hub's own store: `each` of every source, evenly over the day that ended
/// two hours ago. Their bytes on disk.
fn fill(folder: &Path, sources: usize, each: u64, posts: impl Fn(&str) -> HowMade) -> u64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let first = now_ms() - 7_200_000 - DAY_MS;
    runtime.block_on(async {
        let bounds = Bounds { max_bytes: MAX_BYTES, max_age: LIMIT * 60 * 24 * 7, max_sources: 20_000 };
        let metrics = Metrics::new(true).unwrap();
        let (store, filled) = Store::open(folder.to_owned(), bounds, metrics).await.unwrap();
        drop(filled);
        let mut sources_at_work = tokio::task::JoinSet::new();
        for number in 0..sources {
            let (store, lane) = (store.clone(), agent(number));
            let made = posts(&lane);
            sources_at_work.spawn(async move {
                for at in 0..each {
                    let stamp = first + at * DAY_MS / each;
                    store.append_taken_at(&lane, stamp, made(stamp).into()).await.unwrap();
                }
            });
        }
        while let Some(done) = sources_at_work.join_next().await {
            done.unwrap();
        }
        store.close(LIMIT).await.unwrap();
        let (waiting, bytes) = store.waiting();
        assert_eq!(waiting, sources as u64 * each);
        bytes
    })
}

type HowMade = Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>;

fn of_a_host(lane: &str) -> HowMade {
    let posts = HostPosts::of(lane);
    Arc::new(move |stamp| posts.at(stamp))
}

/// What a process takes.
#[derive(Debug)]
#[allow(dead_code, reason = "some is only shown")]
struct Taken {
    resident_kib: u64,
    most_kib: u64,
    anonymous_kib: u64,
    cpu_seconds: f64,
}

impl Taken {
    fn by(hub: &Program) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", hub.pid())).unwrap();
        let number = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let (status, rollup, stat) = (read("status"), read("smaps_rollup"), read("stat"));
        let ticks = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
        Self {
            resident_kib: number(&status, "VmRSS:"),
            most_kib: number(&status, "VmHWM:"),
            anonymous_kib: number(&rollup, "Anonymous:"),
            cpu_seconds: ticks.map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum(),
        }
    }
}

/// A hub that polls 200 spokes, with a backlog of each and a server that is away.
struct Site {
    server: Tally,
    spokes: Vec<Spoke>,
    _folder: Folder,
    hub: Program,
    each: u64,
    bytes: u64,
}

impl Site {
    fn with_backlog(each: u64, interval: u64) -> Self {
        let server = Tally::start();
        let spokes: Vec<Spoke> = (0..SOURCES).map(|n| Spoke::start(&agent(n), SpokeManner::Answer)).collect();
        let bound = format!("max_bytes: {MAX_BYTES}");
        let more = [&*bound, "backoff_max: 1", "delivery_rate: 0", "delivery_timeout: 60"];
        let folder = folder(&api_at(server.address()), &spokes.iter().collect::<Vec<_>>(), interval, &more);
        let bytes = fill(&folder.cache().join("spool"), SOURCES, each, of_a_host);
        let began = Instant::now();
        let hub = folder.start(HUB);
        println!("{} posts, {bytes} bytes: listens after {:.3?}", SOURCES as u64 * each, began.elapsed());
        let site = Self { server, spokes, _folder: folder, hub, each, bytes };
        site.wait_for_polls(1);
        site
    }

    fn wait_for_polls(&self, each: usize) {
        wait_until("every spoke was polled", 2 * LIMIT, || {
            self.spokes.iter().all(|spoke| spoke.given().len() >= each)
        });
        let given: usize = self.spokes.iter().map(|spoke| spoke.given().len()).sum();
        wait_until("what they gave is kept", LIMIT, || {
            common::entered(&self.hub) >= self.posts() + given as f64
        });
    }

    fn posts(&self) -> f64 {
        (SOURCES as u64 * self.each) as f64
    }

    /// Lets the server take posts until nothing waits. Posts a second.
    fn drain(&self) -> f64 {
        let (before, polled) = (Taken::by(&self.hub), self.polls());
        let began = Instant::now();
        self.server.take();
        wait_until("the backlog is delivered", 30 * LIMIT, || self.server.taken() as f64 >= self.posts());
        let took = began.elapsed().as_secs_f64();
        let rate = self.posts() / took;
        let after = Taken::by(&self.hub);
        println!(
            "drained in {took:.1} s: {rate:.0} posts/s, {:.2} CPU s, {} polls meanwhile, {} missed; {after:?}",
            after.cpu_seconds - before.cpu_seconds,
            self.polls() - polled,
            self.missed()
        );
        rate
    }

    fn polls(&self) -> f64 {
        metric(self.hub.address, "pattoo_hub_polls_total", "")
    }

    fn missed(&self) -> f64 {
        metric(self.hub.address, "pattoo_hub_polls_missed_total", "")
    }

    /// Each source's posts came whole and in their order, the fresh ones behind its backlog.
    fn assert_in_order(&self) {
        self.spokes.iter().for_each(|spoke| spoke.set(SpokeManner::Error));
        let given = || self.spokes.iter().map(|spoke| spoke.given().len()).sum::<usize>() as f64;
        wait_until("all is delivered", LIMIT, || {
            self.server.taken() as f64 == self.posts() + given()
                && metric(self.hub.address, "pattoo_hub_posts_waiting", "") == 0.0
        });
        let agents = self.server.agents();
        for (number, spoke) in self.spokes.iter().enumerate() {
            let tallied = agents[&agent(number)];
            let given = spoke.given();
            assert_eq!((tallied.kept, tallied.late), (self.each + given.len() as u64, 0), "{number}");
            assert_eq!(tallied.newest, testkit::post::stamp(given.last().unwrap()), "{number}");
        }
        assert_eq!(self.missed(), 0.0);
        assert_balanced(&self.hub);
    }
}

#[test]
fn a_days_backlog_drains_fast_in_order_and_takes_little_memory() {
    // A day at 60 s, or a fiftieth of it; polled so that every spoke has its turn while it drains.
    let (each, interval) = if long() { (1440, 60) } else { (29, 3) };
    let with_thousand = Taken::by(&Site::with_backlog(5, interval).hub);
    println!("with 1,000 posts: {with_thousand:?}");
    println!("a post is of {} bytes", of_a_host("host-00001")(now_ms()).len());
    let site = Site::with_backlog(each, interval);
    let with_all = Taken::by(&site.hub);
    println!("with {} posts: {with_all:?}", site.posts());
    let rate = site.drain();
    site.wait_for_polls(2);
    site.assert_in_order();
    tell_how_long_it_lasts(site.bytes as f64 / site.posts());
    assert!(rate >= 20.0 * SOURCES as f64 / 60.0, "{rate} posts/s");
    let more = with_all.resident_kib.saturating_sub(with_thousand.resident_kib);
    assert!(more <= 8 << 10, "{more} KiB more: {with_thousand:?}, {with_all:?}");
}

/// The table of docs/operation.md.
fn tell_how_long_it_lasts(bytes_a_post: f64) {
    // Its record's head and its place in the footer; and of the bound a segment is spare and one half full.
    let bytes_a_post = bytes_a_post + 64.0;
    let posts = f64::from((1 << 30) - 2 * (8 << 20)) / bytes_a_post;
    println!("{bytes_a_post:.0} bytes a post on disk: {posts:.0} posts in 1 GiB");
    for spokes in [10.0, 100.0, 1000.0, 10_000.0] {
        let hours = [300.0, 60.0, 10.0].map(|interval| posts / spokes * interval / 3600.0);
        println!("{spokes} spokes: {hours:.2?} hours at 300, 60 and 10 s");
    }
}

#[test]
fn ten_thousand_lanes_open_take_and_are_delivered() {
    const LANES: usize = 10_000;
    let server = Tally::start();
    let more = ["receive: true", "backoff_max: 1", "delivery_rate: 0", "delivery_timeout: 60"];
    let folder = folder(&api_at(server.address()), &[], 300, &more);
    fill(&folder.cache().join("spool"), LANES, 1, |lane| {
        let lane = lane.to_owned();
        Arc::new(move |stamp| post(&lane, stamp, 100))
    });
    let began = Instant::now();
    let hub = folder.start(HUB);
    let opened = began.elapsed();
    let waiting = || metric(hub.address, "pattoo_hub_posts_waiting", "");
    assert_eq!(waiting(), LANES as f64);
    // A second post for some, the first for others.
    for number in (0..50).chain(LANES..LANES + 50) {
        give(&hub, &agent(number), now_ms());
    }
    let with_all = Taken::by(&hub);
    let began = Instant::now();
    server.take();
    wait_until("all is delivered", 2 * LIMIT, || waiting() == 0.0);
    let after = Taken::by(&hub);
    println!(
        "{LANES} lanes: listens after {opened:.3?}, {with_all:?}, drained in {:.3?}, {after:?}",
        began.elapsed()
    );
    let agents = server.agents();
    assert_eq!(agents.len(), LANES + 50);
    for number in 0..LANES + 50 {
        let tallied = agents[&agent(number)];
        assert_eq!((tallied.kept, tallied.late), (if number < 50 { 2 } else { 1 }, 0), "{number}");
    }
    assert_balanced(&hub);
    assert!(opened < LIMIT / 6, "{opened:?}");
    assert!(after.most_kib <= 64 << 10, "{after:?}");
}
