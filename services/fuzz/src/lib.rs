//! For tests alone: whatever reads what others wrote, fed with anything.
//!
//! One file a target. Each has `run`, which takes any bytes, and panics where a property does not hold. `.ci/fuzz` drives
//! them by libFuzzer; `cargo test` replays what is kept in `corpus/`, which holds every case that ever failed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a property that does not hold must stop the target"
)]

pub mod check;
pub mod configuration;
pub mod http;
pub mod mounts;
pub mod proc;
pub mod spool;
