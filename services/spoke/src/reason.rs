//! Why something is left out of the post: one closed list of words, in the log's line, on the page and as the metric's label.

use std::collections::BTreeMap;
use std::io;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// This user may not look at it.
    Permission,
    /// The host's `/proc` hides other users' processes, the first one among them.
    Hidepid,
    /// It could be read, and would tell of the container instead of the host.
    NoHostRoot,
    /// A mount of the host that is not there, or is another one, below the host root.
    NotSeen,
    /// A mount that hangs.
    Hangs,
    /// Too many other mounts hang.
    NotAsked,
    /// There is no such file.
    Missing,
    /// Anything else: the text tells.
    Error,
}

impl Reason {
    /// The word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::Hidepid => "hidepid",
            Self::NoHostRoot => "no host root",
            Self::NotSeen => "not seen",
            Self::Hangs => "does not answer",
            Self::NotAsked => "not asked",
            Self::Missing => "missing",
            Self::Error => "error",
        }
    }

    /// Why the kernel refused.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission,
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Error,
        }
    }
}

/// What is left out of a post, by its name.
pub(crate) type AllLeftOut = BTreeMap<String, LeftOut>;

/// One thing that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// The collector that looked for it.
    pub(crate) collector: &'static str,
    /// Why.
    pub(crate) reason: Reason,
    /// The same for a person, with that word in it and the place. Nothing in it changes from round to round.
    pub(crate) text: String,
}
