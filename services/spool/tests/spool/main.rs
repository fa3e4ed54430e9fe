//! Tests of the spool as a program uses it. The quick forms run with `cargo test -p spool`; `SPOOL_LONG=1`
//! asks for the long ones. The full disks and the power cuts mount file systems and want root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, reason = "seeds and figures are told")]

mod basics;
mod damage;
mod faults;
mod full;
mod killed;
mod model;
mod power;
mod space;
mod support;
mod tight;
