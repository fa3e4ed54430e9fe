//! What is polled now: the targets that are listed, and every address of the names that stand for all of theirs.
//!
//! The set changes while the hub runs. Changing it is prune, then ensure: who leaves gives up the spoke that it held
//! before who comes is asked, and what stays is not touched: a change costs what changed. A target that is wanted
//! twice (listed, and an address of a name) is one target. One that leaves while it is being polled is done with once
//! that poll is; if it is wanted again before, it simply stays.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::http::health::Health;
use agent::resolve::Every;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::claims::{Claims, Slot};
use crate::lookup::{Change, Known, Said};
use crate::metrics::Metrics;
use crate::poll::{Failure, State};
use crate::target::{Device, Host, Target};

/// The set. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Targets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    set: Mutex<Set>,
    claims: Claims,
    metrics: Metrics,
    health: Health,
}

#[derive(Debug, Default)]
struct Set {
    /// In the order of the configuration.
    devices: Vec<Device>,
    /// The names that stand for all of their addresses.
    names: HashMap<Target, Known>,
    polled: HashMap<Target, Arc<Polled>>,
    max_addresses: usize,
}

/// A target that is polled.
#[derive(Debug)]
pub(crate) struct Polled {
    pub(crate) target: Target,
    standing: Mutex<Standing>,
    /// Wakes the one that polls it, once it is wanted no more.
    pub(crate) left: Notify,
}

#[derive(Debug)]
struct Standing {
    /// For how many reasons it is wanted.
    wanted: usize,
    slot: Slot,
    state: State,
    /// Since when it is up, or fails; none before its first poll.
    since: Option<Instant>,
    /// None before its first poll.
    last: Option<Last>,
    /// Whose post it gave last, also where it gives none now.
    gave: Option<Arc<str>>,
}

impl Standing {
    fn new(slot: Slot) -> Self {
        Self { wanted: 1, slot, state: State::Unknown, since: None, last: None, gave: None }
    }
}

/// When the last poll of a target ended, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) ended: Instant,
    pub(crate) took: Duration,
}

/// How the last poll of a target went.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) polled: Arc<Polled>,
    pub(crate) failure: Option<Failure>,
    pub(crate) last: Last,
}

/// What the page shows, in the order of the configuration.
#[derive(Debug)]
pub(crate) enum Row {
    /// A target and how its last poll ended.
    Target {
        target: Target,
        state: State,
        /// Since when it is up, or fails.
        since: Option<Instant>,
        last: Option<Last>,
        /// Whose post it gave last.
        gave: Option<Arc<str>>,
    },
    /// A name whose addresses follow: what is known of it.
    Name { name: Target, addresses: usize, left_out: usize, said: Said },
}

/// What has to be begun and ended after the set has changed.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    /// Targets that nobody polls yet.
    pub(crate) targets: Vec<Arc<Polled>>,
    /// Names that nobody looks up yet.
    pub(crate) names: Vec<Target>,
    /// Names that are not to be looked up any more.
    pub(crate) ended: Vec<Target>,
}

impl Polled {
    /// State behind the lock is replaced whole: a holder that panicked cannot have left it half done.
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number among the claims.
    pub(crate) fn slot(&self) -> Slot {
        self.standing().slot
    }
}

impl Targets {
    /// An empty set.
    pub(crate) fn new(claims: Claims, metrics: Metrics, health: Health) -> Self {
        Self(Arc::new(Inner { set: Mutex::default(), claims, metrics, health }))
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.0.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These devices are polled from now on.
    pub(crate) fn configure(&self, devices: &[Device], max_addresses: usize) -> Begun {
        let mut set = self.set();
        let mut begun = Begun::default();
        if set.max_addresses != max_addresses {
            set.max_addresses = max_addresses;
            self.cap(&mut set, &mut begun);
        }
        if set.devices == devices {
            return begun;
        }
        let mut fresh: HashSet<&Device> = devices.iter().collect();
        let before = std::mem::replace(&mut set.devices, devices.to_vec());
        for device in before.iter().filter(|device| !fresh.remove(device)) {
            if device.name().is_none() {
                self.let_leave(&set, &device.target);
                continue;
            }
            let Some(known) = set.names.remove(&device.target) else { continue };
            self.0.metrics.addresses_left_out.sub(gauge(known.left_out()));
            for address in known.polled() {
                self.let_leave(&set, &of(&device.target, *address));
            }
            begun.ended.push(device.target.clone());
        }
        for device in devices.iter().filter(|device| fresh.contains(device)) {
            if device.name().is_some() {
                set.names.insert(device.target.clone(), Known::default());
                begun.names.push(device.target.clone());
            } else {
                begun.targets.extend(self.want(&mut set, device.target.clone()));
            }
        }
        self.names_changed(&set);
        begun
    }

    fn cap(&self, set: &mut Set, begun: &mut Begun) {
        let names: Vec<Target> = set.names.keys().cloned().collect();
        for name in names {
            begun.targets.extend(self.update(set, &name, Known::cap));
        }
    }

    /// What a lookup of `name` found. Returns the targets that nobody polls yet, and whether it was the first lookup.
    pub(crate) fn looked_up(&self, name: &Target, found: Every) -> (Vec<Arc<Polled>>, bool) {
        let mut set = self.set();
        let Some(known) = set.names.get(name) else { return (Vec::new(), false) };
        let before = known.said().clone();
        let begun = self.update(&mut set, name, |known, most| known.take(found.v4, found.v6, most));
        if let Some(known) = set.names.get(name) {
            self.0.metrics.looked_up(known.said());
            tell(name, &before, known.said());
        }
        self.names_changed(&set);
        (begun, before == Said::Nothing)
    }

    /// Changes what is known of a name, and the set with it.
    fn update(
        &self,
        set: &mut Set,
        name: &Target,
        change: impl FnOnce(&mut Known, usize) -> Change,
    ) -> Vec<Arc<Polled>> {
        let most = set.max_addresses;
        let Some(known) = set.names.get_mut(name) else { return Vec::new() };
        let before = known.left_out();
        let Change { gone, found } = change(known, most);
        let (left_out, addresses) = (known.left_out(), known.polled().len());
        self.0.metrics.addresses_left_out.add(gauge(left_out) - gauge(before));
        if left_out > 0 && before == 0 {
            tracing::warn!(%name, polled = addresses, left_out,
                "the name has more addresses than max_addresses; the others are not polled");
        }
        if !(gone.is_empty() && found.is_empty()) {
            tracing::info!(%name, addresses, found = some(&found), gone = some(&gone),
                "the addresses of the name have changed");
        }
        for address in gone {
            self.let_leave(set, &of(name, address));
        }
        found.into_iter().filter_map(|address| self.want(set, of(name, address))).collect()
    }

    /// Notes how all names are, where everybody can see it.
    fn names_changed(&self, set: &Set) {
        let failing = set.names.values().filter(|known| matches!(known.said(), Said::Failed(_))).count();
        let note = format!(
            "{failing} names cannot be looked up, and what is known of their addresses is polled; / names them"
        );
        self.0.health.note("lookup", (failing > 0).then_some(note));
        let never = |known: &Known| known.polled().is_empty() && *known.said() != Said::Found;
        if !set.names.values().any(never) {
            self.0.claims.all_entered();
        }
    }

    /// Wants a target for one reason more. Returns it where nobody polls it yet.
    fn want(&self, set: &mut Set, target: Target) -> Option<Arc<Polled>> {
        let entry = match set.polled.entry(target) {
            Entry::Vacant(entry) => entry,
            Entry::Occupied(entry) => {
                let mut standing = entry.get().standing();
                standing.wanted += 1;
                if standing.wanted == 1 {
                    // It was to leave, and whoever polls it has not noticed yet.
                    *standing = Standing::new(self.0.claims.enter(entry.key()));
                    self.0.metrics.targets.inc();
                }
                return None;
            }
        };
        let target = entry.key().clone();
        let standing = Standing::new(self.0.claims.enter(&target));
        self.0.metrics.targets.inc();
        let polled = Arc::new(Polled { target, standing: Mutex::new(standing), left: Notify::new() });
        Some(Arc::clone(entry.insert(polled)))
    }

    /// Wants a target for one reason less.
    fn let_leave(&self, set: &Set, target: &Target) {
        let Some(polled) = set.polled.get(target) else { return };
        let mut standing = polled.standing();
        standing.wanted = standing.wanted.saturating_sub(1);
        if standing.wanted > 0 {
            return;
        }
        self.0.claims.leave(standing.slot);
        self.0.metrics.targets.dec();
        self.0.metrics.targets_up.sub(i64::from(standing.state.is_up()));
        (standing.state, standing.last) = (State::Unknown, None);
        tracing::debug!(%target, "the target is polled no more");
        polled.left.notify_one();
    }

    /// Whether a target that was to leave may be forgotten by whoever polls it. It may be wanted again.
    pub(crate) fn is_gone(&self, polled: &Arc<Polled>) -> bool {
        let mut set = self.set();
        let gone = polled.standing().wanted == 0;
        if gone && set.polled.get(&polled.target).is_some_and(|known| Arc::ptr_eq(known, polled)) {
            set.polled.remove(&polled.target);
        }
        gone
    }

    /// Notes how a poll ended, and logs what has changed. Of a target that has left meanwhile there is nothing to note.
    pub(crate) fn polled(&self, polled: &Polled, now: State, last: Last) {
        let target = &polled.target;
        tracing::debug!(%target, state = ?now, "polled");
        let mut standing = polled.standing();
        if standing.wanted == 0 {
            return;
        }
        self.0.metrics.targets_up.add(i64::from(now.is_up()) - i64::from(standing.state.is_up()));
        match (&standing.state, &now) {
            (State::Unknown | State::Contested { .. }, State::Up { agent_id, .. }) => {
                tracing::info!(%target, %agent_id, "the target answers");
            }
            (State::Failing(_), State::Up { agent_id, .. }) => {
                tracing::info!(%target, %agent_id, "the target answers again");
            }
            (State::Failing(old), State::Failing(new)) if old == new => {}
            (_, State::Failing(reason)) => tracing::warn!(%target, %reason, "the target gives no post"),
            _ => {}
        }
        if standing.since.is_none() || standing.state.is_up() != now.is_up() {
            standing.since = Some(last.ended);
        }
        standing.last = Some(last);
        if let State::Up { agent_id, .. } = &now
            && standing.gave.as_deref() != Some(agent_id)
        {
            standing.gave = Some(agent_id.as_str().into());
        }
        standing.state = now;
    }

    /// Each target that was polled, once, whatever it is wanted for.
    pub(crate) fn told(&self) -> Vec<Told> {
        // Outside of the set's lock: looking at thousands must not hold up who changes the set.
        let all: Vec<_> = self.set().polled.values().cloned().collect();
        let told = all.into_iter().filter_map(|polled| {
            let (failure, last) = {
                let standing = polled.standing();
                (standing.state.failure(), standing.last?)
            };
            Some(Told { polled, failure, last })
        });
        told.collect()
    }

    /// Each device and, below a name, its addresses.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let set = self.set();
        let row = |target: &Target| {
            let standing = set.polled.get(target).map(|polled| polled.standing());
            Row::Target {
                target: target.clone(),
                state: standing.as_ref().map_or(State::Unknown, |standing| standing.state.clone()),
                since: standing.as_ref().and_then(|standing| standing.since),
                last: standing.as_ref().and_then(|standing| standing.last),
                gave: standing.and_then(|standing| standing.gave.clone()),
            }
        };
        let mut rows = Vec::with_capacity(set.polled.len());
        for device in &set.devices {
            let Some(known) = set.names.get(&device.target) else {
                rows.push(row(&device.target));
                continue;
            };
            rows.push(Row::Name {
                name: device.target.clone(),
                addresses: known.polled().len(),
                left_out: known.left_out(),
                said: known.said().clone(),
            });
            rows.extend(known.polled().iter().map(|address| row(&of(&device.target, *address))));
        }
        rows
    }
}

/// The target that an address of a name is; over TLS it has to have the certificate of the name.
pub(crate) fn of(name: &Target, address: IpAddr) -> Target {
    Target { host: Host::Address(address), ..name.clone() }
}

/// Logs how the lookups of a name have changed.
fn tell(name: &Target, before: &Said, now: &Said) {
    match (before, now) {
        (Said::Failed(_), Said::Failed(_)) => {}
        (_, Said::Failed(reason)) => tracing::warn!(%name, %reason,
            "failed to look the name up; what is known of its addresses is polled"),
        (Said::Empty, Said::Empty) => {}
        (_, Said::Empty) => tracing::warn!(%name, "the name has no address"),
        (Said::Failed(_) | Said::Empty, _) => tracing::info!(%name, "the name is found again"),
        _ => {}
    }
}

/// The first few addresses, for a line of log.
fn some(addresses: &[IpAddr]) -> String {
    const FEW: usize = 8;
    let mut text = addresses.iter().take(FEW).map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
    if let Some(more) = addresses.len().checked_sub(FEW).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
