//! A hub, spokes that it polls, agents that post to it, a server that fails in stretches, and the books.

use std::time::{Duration, Instant};

use testkit::http::metric;
use testkit::{Chance, Folder, Program, SpokeManner, wait_until};

use crate::books::{BOUNDED, Books, Figures};
use crate::common::{HUB, assert_balanced, configure, entered};
use crate::sources::{Agents, LONG, Spokes};
use crate::upstream::{Manner, Upstream};

/// How many posts may wait until the agents pause: a backlog, but one that is gone between two stretches.
const BACKLOG: usize = 400;

/// Each stretch of 500s may cost two canaries, one for what was
/// refused before the canary went out, one for what was refused while it was under way.
const CANARIES: usize = 2;

/// A hub, and those around it.
pub(crate) struct Site {
    folder: Folder,
    upstream: Upstream,
    spokes: Spokes,
    agents: Agents,
    books: Books,
    chance: Chance,
    /// How often the server began to answer 500.
    errors: usize,
    /// When the server behaves otherwise.
    change: Instant,
    /// By how many milliseconds the hub's clock may be wrong.
    clocks: &'static [i64],
}

impl Site {
    pub(crate) fn new(chance: Chance) -> Self {
        let upstream = Upstream::start(Manner::Take);
        // A kill leaves what the kernel has: no disk is needed to tell.
        let folder = Folder::in_memory(&upstream.api());
        let spokes = Spokes::start((0..20).map(|number| format!("spoke-{number}")));
        let own = ["receive: true", "backoff_max: 1", "delivery_timeout: 2"];
        configure(&folder, &spokes.listed(), 1, &[&own[..], &BOUNDED].concat());
        let agents = Agents::start((0..6).map(|number| format!("agent-{number}")));
        let (books, errors, change) = (Books::default(), 0, Instant::now());
        Self { folder, upstream, spokes, agents, books, chance, errors, change, clocks: &[0] }
    }

    /// Lets the server fail in stretches, and the agents post as long as the backlog is bounded.
    fn tick(&mut self) {
        let kept = self.upstream.look(|kept| kept.posts());
        self.agents.limit(kept + BACKLOG);
        if Instant::now() < self.change {
            return;
        }
        let failing = self.chance.below(2) == 0;
        let manner = if failing { Manner::failing(&mut self.chance) } else { Manner::Take };
        self.errors += usize::from(manner == Manner::Error);
        self.upstream.set(manner);
        self.folder.shift_clock(self.clocks[self.chance.below(self.clocks.len() as u64) as usize]);
        let ms = if failing { 100 + self.chance.below(500) } else { 200 + self.chance.below(800) };
        self.change = Instant::now() + Duration::from_millis(ms);
    }

    /// Runs a hub for so long. `found` is what waited before.
    fn run(&mut self, time: Duration, found: usize) -> Program {
        let mut hub = self.folder.spawn(HUB);
        let (until, mut open) = (Instant::now() + time, false);
        wait_until("its time is over", 2 * LONG, || {
            self.tick();
            if !open && hub.listens() {
                open = true;
                assert_eq!(metric(hub.address, "pattoo_hub_posts_found_total", ""), found as f64);
                self.agents.door(Some(hub.address));
            }
            Instant::now() >= until
        });
        hub
    }

    /// The hub has stopped: closes the books. Returns what waits.
    fn stopped(&mut self, at: Instant, log: &str) -> usize {
        self.agents.door(None);
        self.upstream.settle();
        let polled = self.spokes.run_ended(log);
        self.books.sent(self.agents.news());
        self.books.enter(&polled, &self.upstream);
        let canaries = self.books.figures.canaries;
        assert!(canaries <= CANARIES * self.errors, "{canaries} repeats for {} stretches", self.errors);
        assert!(!log.contains(" ERROR "), "{log}");
        self.books.judge(&self.folder.cache(), &polled, &self.upstream, at)
    }

    /// What `--queue list` of the stopped hub says.
    fn listed(&self) -> usize {
        let output = self.folder.run(HUB, &["--queue", "list"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(" 0 bodies are set aside"), "{said}");
        last.split(' ').next().and_then(|posts| posts.parse().ok()).expect("how many posts wait")
    }

    /// One life of the hub: it runs for so long, then it is killed, or told to stop. `found` is what waited before;
    /// returns what waits after it.
    pub(crate) fn life(&mut self, time: Duration, found: usize, killed: bool) -> usize {
        let mut hub = self.run(time, found);
        let at = Instant::now();
        if !killed {
            wait_until("it listens", LONG, || hub.listens());
            hub.terminate();
            let (status, took) = hub.wait();
            assert!(status.success() && took < Duration::from_secs(20), "{status} after {took:?}");
        }
        let log = hub.kill();
        self.stopped(at, &log)
    }

    /// So many kills, and a stop now and then. Returns what waits.
    pub(crate) fn kills(&mut self, kills: u64) -> usize {
        let mut found = 0;
        for kill in 0..kills {
            // Every fifth comes while the hub opens.
            let most = if kill % 5 == 4 { 60 } else { 2000 };
            let time = Duration::from_millis(self.chance.below(most));
            found = self.life(time, found, true);
            if kill % 7 == 6 {
                found = self.life(time, found, false);
            }
            if kill % 4 == 3 {
                assert_eq!(self.listed(), found);
            }
        }
        found
    }

    /// From now on the hub's clock is wrong by one of these many milliseconds.
    pub(crate) fn set_clock(&mut self, clocks: &'static [i64]) {
        self.clocks = clocks;
        self.change = Instant::now();
    }

    /// All is well again, and nobody posts any more: `found` posts and what else is taken arrive.
    pub(crate) fn finish(mut self, found: usize) -> Figures {
        let mut hub = self.run(Duration::ZERO, found);
        wait_until("it listens", LONG, || hub.listens());
        self.spokes.set(SpokeManner::Error);
        self.agents.stop();
        self.upstream.set(Manner::Take);
        self.folder.shift_clock(0);
        wait_until("nothing waits", LONG, || {
            metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0 && entered(&hub) >= found as f64
        });
        assert_balanced(&hub);
        self.books.sent(self.agents.news());
        self.agents = Agents::start(["fresh".to_owned()]);
        self.agents.limit(1);
        self.agents.door(Some(hub.address));
        wait_until("a fresh one flows", LONG, || {
            self.upstream.look(|kept| kept.series.contains_key("fresh"))
        });
        self.agents.stop();
        hub.terminate();
        hub.wait();
        let log = hub.kill();
        assert_eq!(self.stopped(Instant::now(), &log), 0);
        self.books.assert_done();
        assert!(self.books.figures.taken > 0);
        self.books.figures
    }
}
