//! For tests alone: made-up hosts, spokes and servers that misbehave on request, a real program as a child, plain
//! HTTP, file systems of their own, chance from a seed, and a wait that does not sleep longer than it must.
//!
//! Everything here runs on threads of its own and ends when it is dropped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop, and say where"
)]

mod chance;
mod host;
mod hostile;
pub mod http;
mod mount;
mod peer;
pub mod post;
mod program;
mod server;
mod spoke;
mod tally;
mod wait;

pub use chance::Chance;
pub use host::MadeUpHost;
pub use hostile::Hostile;
pub use mount::{Mount, clone_at_once};
pub use peer::{Answerer, Peer, Port, Request, hang, head, whole};
pub use program::{Folder, Program, Taken};
pub use server::{Server, ServerManner};
pub use spoke::{Spoke, SpokeManner};
pub use tally::{Tallied, Tally};
pub use wait::{LIMIT, wait_until};
