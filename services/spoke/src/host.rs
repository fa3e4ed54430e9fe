//! Where the host is: its `/proc`, `/sys` and `/`, each of which may be mounted elsewhere.
//!
//! Passed in as a value, never global: a made-up host is a folder, and from within a container the real one
//! is `/host/proc` and so on.

use std::io;
use std::path::{Path, PathBuf};

use crate::reason::Reason;

/// The three places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoot {
    /// The host's `/proc`.
    pub proc: PathBuf,
    /// The host's `/sys`.
    pub sys: PathBuf,
    /// The host's `/`.
    pub root: PathBuf,
    /// Whether `proc` was given. Then there is no falling back to this process' own view: a wrong number
    /// is worse than none.
    pub given: bool,
    /// Whether `root` was given.
    pub root_given: bool,
    /// Whether any of the three was given: somebody means the host, not the container.
    pub any_given: bool,
    /// Whether `sys` was given.
    pub sys_given: bool,
}

/// A file of the host that cannot be read, or does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It cannot be read.
    #[error("{}: failed to read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It lacks something.
    #[error("{}: no {what} in it", path.display())]
    Lacks {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// It tells of the container alone, and the host was asked for.
    #[error("{}: no host root: this is the container's own; mount the host's /proc and set HOST_PROC", path.display())]
    NoHostRoot {
        /// What was not looked at.
        path: PathBuf,
    },
    /// The host's `/proc` does not show other users' processes.
    #[error("{}: hidepid: not shown to this user; add the group that the mount of the host's /proc exempts (gid=)", path.display())]
    Hidepid {
        /// What is not to be seen.
        path: PathBuf,
    },
}

impl HostError {
    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The word for it.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Read { source, .. } => Reason::of(source),
            Self::Lacks { .. } => Reason::Error,
            Self::NoHostRoot { .. } => Reason::NoHostRoot,
            Self::Hidepid { .. } => Reason::Hidepid,
        }
    }
}

impl HostRoot {
    /// The host as seen from this process, but for the places that are given.
    pub fn new(proc: Option<PathBuf>, sys: Option<PathBuf>, root: Option<PathBuf>) -> Self {
        Self {
            given: proc.is_some(),
            root_given: root.is_some(),
            any_given: proc.is_some() || sys.is_some() || root.is_some(),
            sys_given: sys.is_some(),
            proc: proc.unwrap_or_else(|| "/proc".into()),
            sys: sys.unwrap_or_else(|| "/sys".into()),
            root: root.unwrap_or_else(|| "/".into()),
        }
    }

    /// Whether `<sys>/class/net` tells of the host's network: a sysfs tells of the one in which it was mounted, and
    /// who was given the host's `/proc` has a `/sys` of his own.
    pub fn sees_network_in_sys(&self) -> bool {
        self.sys_given || !self.given
    }

    /// The place below the host's `/` of an absolute path on the host.
    pub fn path(&self, absolute: &Path) -> PathBuf {
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// An error for a file below `<proc>` that lacks `what`.
    pub fn lacks(&self, file: &str, what: &'static str) -> HostError {
        HostError::Lacks { path: self.proc.join(file), what }
    }
}
