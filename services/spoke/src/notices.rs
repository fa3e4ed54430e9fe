//! Logs a change once: what begins to fail, and what works again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What fails now, by name, each with its reason.
#[derive(Debug)]
pub(crate) struct Notices {
    /// What it is left out of.
    of: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeMap<String, String>,
    /// Those of them that others have told of.
    told_elsewhere: BTreeSet<String>,
}

impl Notices {
    pub(crate) fn of(of: &'static str) -> Self {
        Self { of, state: Mutex::default() }
    }

    /// Takes what fails in this round and logs what differs from the last one.
    pub(crate) fn update(&self, failing: BTreeMap<String, String>) {
        self.take(failing, &BTreeMap::new());
    }

    /// As [`Notices::update`], without logging again what `others` know for the same reason.
    pub(crate) fn update_beside(&self, failing: BTreeMap<String, String>, others: &Self) {
        self.take(failing, &others.now());
    }

    fn take(&self, failing: BTreeMap<String, String>, others: &BTreeMap<String, String>) {
        let mut state = self.state();
        let State { known, told_elsewhere } = &mut *state;
        for (what, reason) in failing.iter().filter(|(what, reason)| known.get(*what) != Some(*reason)) {
            if others.get(what) == Some(reason) {
                told_elsewhere.insert(what.clone());
            } else {
                told_elsewhere.remove(what);
                tracing::warn!(%what, %reason, "left out of {}", self.of);
            }
        }
        for what in known.keys().filter(|what| !failing.contains_key(*what)) {
            if !told_elsewhere.remove(what) {
                tracing::info!(%what, "no longer missing from {}", self.of);
            }
        }
        *known = failing;
    }

    /// What fails now.
    pub(crate) fn now(&self) -> BTreeMap<String, String> {
        self.state().known.clone()
    }

    /// The lock guards plain assignments: a holder that panicked cannot have left them half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
