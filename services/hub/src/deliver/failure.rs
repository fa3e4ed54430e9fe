//! What keeps the server from taking a post, and how it was last seen.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::{Fault, TlsFault};

/// Why a delivery failed. The closed list is the log's word and the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no whole answer.
    Transport(Fault),
    /// A redirect, which is not followed: the 200 behind it would say nothing about the post.
    Redirect(u16),
    /// 429, 502, 503 or 504: the server cannot, for now.
    Unavailable(u16),
    /// Any other status: the server does not want this post, or none now. The status alone does not tell.
    Refused(u16),
}

impl Failure {
    /// One failure for each label.
    pub const ALL: [Self; 11] = [
        Self::Transport(Fault::Refused),
        Self::Transport(Fault::Timeout),
        Self::Transport(Fault::Dns),
        Self::Transport(Fault::Reset),
        Self::Transport(Fault::Unreachable),
        Self::Transport(Fault::TooLarge),
        Self::Transport(Fault::Protocol),
        Self::Transport(Fault::Tls(TlsFault::Handshake)),
        Self::Redirect(302),
        Self::Unavailable(503),
        Self::Refused(500),
    ];

    /// The failure as one word. `refused` is the connection, `status` the post.
    pub fn label(self) -> &'static str {
        match self {
            Self::Transport(fault) => fault.label(),
            Self::Redirect(_) => "redirect",
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "status",
        }
    }

    /// Whether no other post would fare better.
    pub(super) fn is_down(self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// What a status means; `None` for the one that acknowledges.
    pub(super) fn of_status(status: u16) -> Option<Self> {
        match status {
            200 => None,
            300..400 => Some(Self::Redirect(status)),
            429 | 502 | 503 | 504 => Some(Self::Unavailable(status)),
            _ => Some(Self::Refused(status)),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(fault) => fault.fmt(out),
            Self::Redirect(status) | Self::Unavailable(status) | Self::Refused(status) => {
                write!(out, "{} {status}", self.label())
            }
        }
    }
}

/// How the server was last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upstream {
    /// Nothing was sent yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down(Failure),
}

/// The server's state, for the page. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Mutex<(Upstream, Option<Instant>)>>);

impl Watched {
    /// The state.
    pub fn get(&self) -> Upstream {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// For how long the server has been up, or down; none before anything was sent.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.map(|since| since.elapsed())
    }

    pub(super) fn replace(&self, state: Upstream) -> Upstream {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::discriminant(&watched.0) != std::mem::discriminant(&state) {
            watched.1 = Some(Instant::now());
        }
        std::mem::replace(&mut watched.0, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_meaning() {
        assert_eq!(Failure::of_status(200), None);
        for status in [301, 302, 304, 307, 429, 502, 503, 504] {
            assert!(Failure::of_status(status).unwrap().is_down(), "{status}");
        }
        for status in [201, 204, 400, 401, 404, 408, 413, 418, 500, 501, 505, 599] {
            assert_eq!(Failure::of_status(status), Some(Failure::Refused(status)));
        }
        assert!(!Failure::Refused(500).is_down());
    }
}
