//! Health: `/livez` is about this process alone, `/readyz` about whether work may be sent to it. Neither
//! asks the pattoo server: an outage upstream must not restart a fleet.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use warp::http::Method;

use super::answer::{self, Answer};

/// Whether the program is ready, and if not, why. Clones share the state.
#[derive(Clone, Debug)]
pub struct Health(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    /// Why the program is not ready.
    not_ready: Option<String>,
    /// What a person should know though the program is ready, by what it is about.
    notes: BTreeMap<&'static str, String>,
}

impl Health {
    /// Not ready, since it is starting.
    pub fn starting() -> Self {
        let state = State { not_ready: Some("starting".to_owned()), notes: BTreeMap::new() };
        Self(Arc::new(RwLock::new(state)))
    }

    /// Ready from now on.
    pub fn ready(&self) {
        self.change(|state| state.not_ready = None);
    }

    /// Not ready from now on.
    pub fn not_ready(&self, why: &str) {
        self.change(|state| state.not_ready = Some(why.to_owned()));
    }

    /// What `/readyz` says about this beside its answer, which does not change by it. Safe to call often.
    pub fn note(&self, about: &'static str, note: Option<String>) {
        self.change(|state| match note {
            Some(note) => drop(state.notes.insert(about, note)),
            None => drop(state.notes.remove(about)),
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // The lock guards one assignment: a holder that panicked cannot have left it half done.
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The page `/readyz`.
    fn readiness(&self) -> Answer {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let note = state.notes.values().map(|note| format!("{note}\n")).collect::<String>();
        match &state.not_ready {
            None => answer::text(200, format!("ready\n{note}")),
            Some(why) => answer::text(503, format!("not ready: {why}\n{note}")),
        }
    }
}

/// Whether a path is one of those that tell of health alone.
pub(super) fn is_health(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/healthz")
}

/// The pages that every agent has (`/livez`, `/readyz`, `/healthz`), or `None` for another path.
pub fn common_page(method: &Method, path: &str, health: &Health) -> Option<Answer> {
    let page = match path {
        "/livez" => answer::reading(method, || answer::text(200, "alive\n")),
        // /healthz is the older habit; it answers the question that load balancers mean.
        "/readyz" | "/healthz" => answer::reading(method, || health.readiness()),
        _ => return None,
    };
    Some(page)
}
