//! `pattoo_agent_os_hubd`: asks the spokes, keeps what they say, carries it to the pattoo server.
//!
//! Polling ([`poller`]) and receiving ([`receive`]) judge each body ([`check`]) and put it into the store
//! ([`store`]); delivering ([`deliver`]) takes it out. They meet nowhere else.

mod api;
pub mod check;
mod claims;
pub mod client;
pub mod deliver;
mod exposition;
pub mod files;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
pub mod http;
pub mod hub;
pub mod intake;
mod lookup;
pub mod metrics;
pub mod once;
mod pages;
pub mod poll;
pub mod poller;
pub mod quarantine;
pub mod queue;
pub mod receive;
mod reload;
pub mod resolve;
pub mod settings;
mod sources;
pub mod store;
mod takeover;
pub mod target;
mod targets;

use agent::{Program, config::keys};

/// What this program is called, reads and does.
pub static PROGRAM: Program = Program {
    name: "pattoo_agent_os_hubd",
    about: "Polls pattoo_agent_os_spoked on one or more hosts and reports what they say to the pattoo server.",
    version: env!("CARGO_PKG_VERSION"),
    once: "Poll each target once, print a line for each, and end; nothing is kept or delivered.",
    section: &settings::OWN,
    other_sections: &[&keys::PATTOO, &settings::API],
    listen: ("127.0.0.1", 5001),
};
