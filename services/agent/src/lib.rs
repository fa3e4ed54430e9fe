//! What every pattoo agent is, whatever it measures: configuration, identity, control (start, stop,
//! status), serving HTTP, health, logs, metrics and the post.
//!
//! The crate knows neither spoke nor hub. Each program describes itself by one [`Program`] value and hands
//! its actions to [`control::main`].

pub mod clock;
pub mod config;
pub mod control;
pub mod devices;
pub mod file;
pub mod http;
pub mod identity;
pub mod logs;
pub mod metrics;
pub mod post;
pub mod rarely;
pub mod reload;
pub mod resolve;
pub mod shutdown;
pub mod tls;

use config::keys::Section;

/// What distinguishes one agent program from another.
#[derive(Debug)]
pub struct Program {
    /// The program's name: of its binary, its own section, its own file, its pid file and its identity.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// The version that `--version` prints.
    pub version: &'static str,
    /// What `--once` does, for `--help`.
    pub once: &'static str,
    /// The keys of the program's own section.
    pub section: &'static Section,
    /// The other sections that the program reads.
    pub other_sections: &'static [&'static Section],
    /// Address and port on which the program listens where configuration does not say.
    pub listen: (&'static str, u16),
}

impl Program {
    /// Every section that the program reads, its own first.
    pub fn sections(&self) -> impl Iterator<Item = &'static Section> + '_ {
        std::iter::once(self.section).chain(self.other_sections.iter().copied())
    }
}
