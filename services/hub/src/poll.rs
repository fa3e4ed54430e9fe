//! Polling one target: asking, and what can come of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;

use crate::check::Reason;
use crate::client::{Fault, Getter};
use crate::settings::{Outward, Settings};
use crate::target::Target;

/// Why a poll brought nothing. The closed list is the log's word and the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no whole answer.
    Transport(Fault),
    /// A redirect, which is not followed.
    Redirect(u16),
    /// Another status than 200.
    Status(u16),
    /// The body is no post.
    Body(Reason),
    /// The post is of a spoke that is taken from another target.
    Identity,
    /// The hub could not write the body to disk.
    Store,
}

impl Failure {
    /// The failure as one word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Transport(fault) => fault.label(),
            Self::Redirect(_) => "redirect",
            Self::Status(_) => "status",
            Self::Body(reason) => reason.label(),
            Self::Identity => "identity",
            Self::Store => "store",
        }
    }

    /// One failure for each label.
    pub fn all() -> impl Iterator<Item = Self> {
        let faults = Fault::ALL.into_iter().map(Self::Transport);
        let reasons = Reason::ALL.into_iter().map(Self::Body);
        let others = [Self::Redirect(302), Self::Status(500), Self::Identity, Self::Store];
        faults.chain(reasons).chain(others)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(fault) => fault.fmt(out),
            Self::Redirect(status) | Self::Status(status) => write!(out, "{} {status}", self.label()),
            _ => out.write_str(self.label()),
        }
    }
}

/// How a target's last poll ended.
#[derive(Clone, Debug)]
pub enum State {
    /// It was not polled yet.
    Unknown,
    /// It gave a post.
    Up {
        /// Whose post it was.
        agent_id: String,
        /// How large the post was.
        bytes: usize,
        /// How long the poll took.
        took: Duration,
    },
    /// It gave a post of a spoke that another target gives.
    Contested {
        /// Whose post it was.
        agent_id: String,
        /// The target that the spoke is taken from.
        first: Target,
        /// Whether the post goes up all the same.
        goes_up: bool,
    },
    /// It gave none.
    Failing(Failure),
}

impl State {
    /// Why the poll brought nothing, if it brought nothing.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Contested { goes_up: false, .. } => Some(Failure::Identity),
            Self::Failing(failure) => Some(*failure),
            Self::Unknown | Self::Up { .. } | Self::Contested { goes_up: true, .. } => None,
        }
    }

    /// Whether the poll brought a post.
    pub fn is_up(&self) -> bool {
        !matches!(self, Self::Unknown) && self.failure().is_none()
    }
}

/// Asks targets for their posts.
#[derive(Clone, Debug)]
pub struct Asker {
    getter: Getter,
    interval: Duration,
    timeout: Duration,
    most: usize,
    polls: Outward,
}

impl Asker {
    /// An asker.
    pub fn new(settings: &Settings) -> Self {
        Self {
            getter: Getter::new(settings.poll_timeout, &settings.polls),
            interval: settings.interval,
            timeout: settings.poll_timeout,
            most: settings.max_post_bytes,
            polls: settings.polls.clone(),
        }
    }

    /// Whether both ask alike.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let settings = |of: &Self| (of.interval, of.timeout, of.most);
        settings(self) == settings(other) && self.polls == other.polls
    }

    /// The time between two polls of a target.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Asks a target once.
    ///
    /// # Errors
    /// Why there is no body.
    pub async fn ask(&self, target: &Target) -> Result<Bytes, Failure> {
        let url = format!("http://{target}/pattoo-agent-os/{}", self.interval.as_secs());
        // The settings let no host pass that a URL cannot hold.
        let url = Uri::try_from(url).map_err(|_| Failure::Transport(Fault::Dns))?;
        let answer = self.getter.get(url, target.tls.as_ref(), self.timeout, self.most).await;
        let answer = answer.map_err(Failure::Transport)?;
        match answer.status {
            200 => Ok(answer.body),
            status @ 300..400 => Err(Failure::Redirect(status)),
            status => Err(Failure::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_a_label_of_its_own() {
        let mut labels: Vec<_> = Failure::all().map(Failure::label).collect();
        let all = labels.len();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), all, "{labels:?}");
    }
}
