//! Who posts to this hub: agents that nobody polls from here, or not alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::check::Post;

/// More are not remembered.
const MOST: usize = 20_000;

/// A source that is silent for longer than this, and than three of its intervals, is late.
const LATE: Duration = Duration::from_secs(30);

/// The sources. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(Arc<Mutex<HashMap<String, Heard>>>);

/// What was heard of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// When its last post was taken.
    pub(crate) last: Instant,
    /// Since when it has been heard of without being late.
    pub(crate) since: Instant,
    /// The interval that it names.
    pub(crate) interval: Duration,
    /// How large its last post was.
    pub(crate) bytes: usize,
}

impl Heard {
    /// Whether the next post is overdue.
    pub(crate) fn is_late(&self) -> bool {
        self.last.elapsed() > self.patience()
    }

    fn patience(&self) -> Duration {
        LATE.max(self.interval.saturating_mul(3))
    }

    /// Since when it is as it is.
    pub(crate) fn since(&self) -> Instant {
        if self.is_late() { self.last + self.patience() } else { self.since }
    }
}

impl Sources {
    /// A post was taken.
    pub(crate) fn heard(&self, post: &Post, bytes: usize) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let interval = post.stamp().interval;
        if let Some(heard) = sources.get_mut(&post.agent_id) {
            let since = if heard.is_late() { now } else { heard.since };
            *heard = Heard { last: now, since, interval, bytes };
        } else if sources.len() < MOST {
            sources.insert(post.agent_id.clone(), Heard { last: now, since: now, interval, bytes });
        }
    }

    /// All of them, by agent id.
    pub(crate) fn all(&self) -> Vec<(String, Heard)> {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = sources.iter().map(|(agent_id, heard)| (agent_id.clone(), *heard)).collect();
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        all
    }
}
