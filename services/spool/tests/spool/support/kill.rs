//! Killing: a child works on a spool and tells, line by line, what it tries, what was confirmed, and what it
//! hands out; it is killed with SIGKILL, and the next one goes on. The lines are the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use spool::{Options, Spool};

use super::{Chance, SOON, body, read_body, small};

const LANES: u64 = 5;

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        gather: Duration::from_millis(1),
        tend_every: Duration::from_millis(5),
        ..small()
    }
}

fn say(line: &str) {
    // One write each: a line is in the pipe or it is not.
    let mut out = std::io::stdout().lock();
    if out.write_all(format!("@{line}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(0);
    }
}

/// The child: appends and acknowledges until it is killed.
pub(crate) fn child(folder: &Path, base: u64) {
    say("opening");
    let (spool, report) = Spool::open(folder, options()).unwrap();
    assert!(!report.damage.any(), "{report:?}");
    say("open");
    let flying = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut chance = Chance(base);
            for number in base.. {
                while flying.load(Ordering::SeqCst) > 40 {
                    std::thread::yield_now();
                }
                let lane = format!("lane-{}", chance.below(LANES));
                say(&format!("try {lane} {number}"));
                flying.fetch_add(1, Ordering::SeqCst);
                let length = chance.below(3000) as usize;
                let (bytes, flying, name) = (body(&lane, number, length), Arc::clone(&flying), lane.clone());
                spool.append_then(&lane, number, bytes, move |result| {
                    flying.fetch_sub(1, Ordering::SeqCst);
                    let word = if result.is_ok() { "kept" } else { "failed" };
                    say(&format!("{word} {name} {number}"));
                });
            }
        });
        let mut chance = Chance(base ^ 77);
        loop {
            let Some(lane) = spool.next_lane(|_| true) else {
                std::thread::yield_now();
                continue;
            };
            let record = spool.oldest(&lane).unwrap().unwrap();
            let (named, number) = read_body(&record.body).unwrap();
            assert_eq!((&*named, record.taken_ms), (&*lane, number));
            say(&format!("give {lane} {number}"));
            spool.acknowledge(&lane, record.sequence).unwrap();
            // A backlog of changing depth.
            while chance.below(8) == 0 && spool.stats().waiting.records < 300 {
                std::thread::yield_now();
            }
        }
    });
}

/// What the children said, and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    tried: BTreeMap<String, BTreeSet<u64>>,
    kept: BTreeMap<String, BTreeSet<u64>>,
    given: BTreeMap<String, BTreeSet<u64>>,
    pub(crate) lines: u64,
    pub(crate) repeats: u64,
    pub(crate) opened: u64,
}

impl Oracle {
    fn hear(&mut self, line: &str) {
        self.lines += 1;
        let mut words = line.split(' ');
        let (word, lane, number) = (words.next(), words.next(), words.next());
        let (Some(word), Some(lane), Some(number)) = (word, lane, number) else {
            self.opened += u64::from(line == "open");
            return;
        };
        let number: u64 = number.parse().unwrap();
        let set = |map: &mut BTreeMap<String, BTreeSet<u64>>| {
            map.entry(lane.to_owned()).or_default().insert(number)
        };
        match word {
            "try" => assert!(set(&mut self.tried)),
            "kept" => {
                set(&mut self.kept);
                self.in_order(lane, number);
            }
            "give" => {
                assert!(self.tried[lane].contains(&number), "given but never appended: {line}");
                if !set(&mut self.given) {
                    self.repeats += 1;
                }
                self.in_order(lane, number);
            }
            _ => {}
        }
    }

    /// Nothing that was confirmed may have been passed over by something newer of its lane.
    fn in_order(&self, lane: &str, number: u64) {
        let (Some(kept), Some(given)) = (self.kept.get(lane), self.given.get(lane)) else { return };
        if given.contains(&number) {
            let late = kept.range(..number).rev().take(200).find(|n| !given.contains(n));
            assert_eq!(late, None, "{lane} {number} was given before it");
        } else if let Some(newer) = given.range(number..).next() {
            panic!("{lane} {number} was confirmed and not given, but {newer} was");
        }
    }

    /// At the end all that was confirmed has been given or waits, whole and in order.
    pub(crate) fn judge(&mut self, folder: &Path) {
        let (spool, report) = Spool::open(folder, options()).unwrap();
        assert!(!report.damage.any(), "{report:?}");
        while let Some(lane) = spool.next_lane(|_| true) {
            let record = spool.oldest(&lane).unwrap().unwrap();
            let (_, number) = read_body(&record.body).unwrap();
            self.hear(&format!("give {lane} {number}"));
            spool.acknowledge(&lane, record.sequence).unwrap();
        }
        for (lane, kept) in &self.kept {
            let lost: Vec<u64> = kept.difference(&self.given[lane]).copied().collect();
            assert!(lost.is_empty(), "{lane} lost {lost:?}");
        }
        assert!(spool.stats().balances(), "{:?}", spool.stats());
        spool.close(SOON).unwrap();
    }
}

/// Starts and kills children, some of them while they open.
pub(crate) fn run(folder: &Path, kills: u64, seed: u64, mut command: impl FnMut(u64) -> Command) -> Oracle {
    let mut oracle = Oracle::default();
    let mut chance = Chance(seed);
    for cycle in 1..=kills {
        let mut child = command(cycle * 1_000_000).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = |oracle: &mut Oracle| match lines.next() {
            Some(Ok(line)) => {
                if let Some((_, line)) = line.split_once('@') {
                    oracle.hear(line);
                }
                true
            }
            _ => false,
        };
        let before = oracle.lines;
        while oracle.lines == before && heard(&mut oracle) {}
        let time = if cycle % 4 == 0 { chance.below(1500) } else { chance.below(60_000) };
        let until = Instant::now() + Duration::from_micros(time);
        let mut alive = true;
        while Instant::now() < until && alive {
            // While it opens there may be no line for a while.
            alive = if cycle % 4 == 0 { true } else { heard(&mut oracle) };
        }
        assert!(alive, "the child ended by itself: seed {seed}, cycle {cycle}");
        child.kill().unwrap();
        while heard(&mut oracle) {}
        child.wait().unwrap();
        if cycle % 50 == 0 {
            oracle.judge(folder);
        }
    }
    oracle.judge(folder);
    oracle
}
