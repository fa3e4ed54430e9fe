//! Where bodies enter, polled and received alike: into the store, or set aside.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use agent::rarely::Rarely;

use crate::check::{Post, Reason};
use crate::metrics::{From, Metrics};
use crate::quarantine::{Quarantine, Why};
use crate::store::Store;
use crate::target::Target;

/// The entrance. Clones share it.
#[derive(Clone, Debug)]
pub struct Intake {
    store: Store,
    quarantine: Quarantine,
    metrics: Metrics,
    setting_aside: Arc<Rarely>,
    failing: Arc<Rarely>,
    empty: Arc<Rarely>,
}

impl Intake {
    /// The entrance to `store` and `quarantine`.
    pub fn new(store: Store, quarantine: Quarantine, metrics: Metrics) -> Self {
        let (setting_aside, failing, empty) = Default::default();
        Self { store, quarantine, metrics, setting_aside, failing, empty }
    }

    /// Takes a post. It is safe on disk when this returns; one without a datapoint that the server takes is
    /// counted and goes nowhere, since the server would never get rid of it.
    ///
    /// # Errors
    /// It could not be written and is not taken.
    pub async fn keep(&self, post: &Post, body: Bytes, from: From) -> io::Result<()> {
        if post.datapoints == 0 {
            self.metrics.empty(post);
            if let Some(posts) = self.empty.count() {
                tracing::warn!(
                    posts,
                    agent_id = post.agent_id,
                    "no datapoint that the server takes; left out"
                );
            }
            return Ok(());
        }
        self.store.append_checked(post, body).await?;
        self.metrics.taken(from);
        self.metrics.datapoints(post);
        Ok(())
    }

    /// Sets aside a body that is no post or would do harm. It is safe on disk when this returns.
    ///
    /// # Errors
    /// It could not be written and is not taken.
    pub async fn set_aside(&self, body: Bytes, reason: Reason, from: From) -> io::Result<()> {
        self.is_set_aside(self.quarantine.put(body, reason, None).await, reason, from)?;
        if let Some(bodies) = self.setting_aside.count() {
            tracing::warn!(bodies, reason = reason.label(), "{reason}; set aside in quarantine");
        }
        Ok(())
    }

    /// Sets aside a post of a spoke that is taken from another target than this one, in the place of the one
    /// before. It is safe on disk when this returns.
    ///
    /// # Errors
    /// It could not be written and is not taken.
    pub async fn set_aside_contested(&self, body: Bytes, target: &Target, agent_id: &str) -> io::Result<()> {
        let of = format!("{target} {agent_id}");
        self.is_set_aside(
            self.quarantine.put_newest(body, Why::Identity, &of).await,
            Why::Identity,
            From::Poll,
        )
    }

    fn is_set_aside(&self, put: io::Result<()>, why: impl Into<Why>, from: From) -> io::Result<()> {
        put.inspect_err(|error| {
            self.metrics.store_errors.inc();
            if let Some(bodies) = self.failing.count() {
                tracing::error!(bodies, %error, "failed to set bodies aside");
            }
        })?;
        self.metrics.taken(from);
        self.metrics.quarantined(why);
        Ok(())
    }
}
