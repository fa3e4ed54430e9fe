//! The oracle: the whole hub, killed, cut off, filled up and damaged, and judged on what the server kept.
//!
//! | what | how often in every run | at length |
//! |---|---|---|
//! | `kills`: SIGKILL at random moments | 20 | `ORACLE_KILLS=1000` |
//! | `power`: the power cut at random moments | 4 | `ORACLE_CUTS=100` |
//! | `damage`: bytes flipped, files cut | a table and 6 random ones | `ORACLE_DAMAGES=200` |
//!
//! `ORACLE_SEED` repeats what a run that failed has printed, as far as chance is the test's own. The full disks
//! and the power cuts mount file systems and want root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, reason = "seeds and figures are told")]

#[path = "../common/mod.rs"]
mod common;

mod books;
mod clocks;
mod damage;
mod full;
mod kills;
mod power;
mod site;
mod sources;
mod upstream;

use testkit::Chance;

/// A number that the environment may set.
fn told(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Chance from a seed that is printed, so that it can be told the next time.
fn chance() -> Chance {
    let seed = told("ORACLE_SEED", std::process::id().into());
    println!("ORACLE_SEED={seed}");
    Chance(seed)
}
