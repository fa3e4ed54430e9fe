//! Logs a change once: what begins to fail, and what works again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What fails now, by name, each with its reason.
#[derive(Debug)]
pub(crate) struct Notices {
    /// What it is left out of.
    of: &'static str,
    known: Mutex<BTreeMap<String, String>>,
}

impl Notices {
    pub(crate) fn of(of: &'static str) -> Self {
        Self { of, known: Mutex::default() }
    }

    /// Takes what fails in this round and logs what differs from the last one.
    pub(crate) fn update(&self, failing: BTreeMap<String, String>) {
        // The lock guards plain assignments: a holder that panicked cannot have left them half done.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, reason) in &failing {
            if known.get(what) != Some(reason) {
                tracing::warn!(%what, %reason, "left out of {}", self.of);
            }
        }
        for what in known.keys().filter(|what| !failing.contains_key(*what)) {
            tracing::info!(%what, "in {} again", self.of);
        }
        *known = failing;
    }

    /// What fails now.
    pub(crate) fn now(&self) -> BTreeMap<String, String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
