//! The spoke: tells how its host is doing.
//!
//! The life of a number: a collector ([`collect`]) reads it below a [`host::HostRoot`] and makes a datapoint
//! of it; [`agent::post`] writes the post; [`http`] serves it. Beside it [`exporter`] writes `/metrics`, and [`glance`] reads what
//! the page shows. Collecting
//! knows no HTTP, and serving reads no files.

mod cgroup;
pub mod collect;
pub mod compare;
mod exporter;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod glance;
pub mod host;
pub mod hostname;
pub mod http;
pub mod identity;
mod metrics;
mod notices;
mod page;
mod reason;
pub mod ring;
mod scrape;
pub mod settings;
mod shared;
#[cfg(test)]
mod spoilt;
pub mod spoke;
mod surroundings;

use agent::Program;

/// The spoke as a program.
pub static PROGRAM: Program = Program {
    name: "pattoo_agent_os_spoked",
    about: "Serves this host's performance data to a pattoo hub.",
    version: env!("CARGO_PKG_VERSION"),
    once: "Print one post, as for a polling interval of 300 s, and end.",
    section: &settings::SECTION,
    other_sections: &[&agent::config::keys::PATTOO],
    listen: ("0.0.0.0", 5000),
};
