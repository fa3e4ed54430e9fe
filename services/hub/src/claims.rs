//! Which target gives which spoke's posts, so that one spoke is not taken from two targets.
//!
//! The first target that gives an agent id holds it as long as it is alive: it is a target still, and its last
//! due poll brought a post. Meanwhile the post of any other target under this id is contested. Once the holder
//! misses a poll, the next target that gives the id holds it.
//!
//! What is held outlives a restart, in a file: otherwise a restart would give a spoke to whichever of two
//! targets comes first. A holder that the file names counts as alive until its first poll. The file: the line
//! `claims 1`, then in each line an agent id, a space and its target; replaced atomically, at most every ten
//! seconds and at the end. What cannot be read of it is as if it had never been held.
//!
//! Targets come and go: one that leaves holds nothing from then on, so a host that comes back under another address is
//! taken from there at once. What the file says of targets that are not known yet (the addresses of a name that was
//! not looked up) is kept until every name was.
//!
//! A target holds one agent id at most, so all of this is bounded by the targets. Posts that are received are
//! not judged here: a sender is nobody in particular until it can prove who it is.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::file;
use agent::http::health::Health;
use agent::identity::is_agent_id;
use agent::shutdown::Stop;
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::settings::{IdentityRule, Settings};
use crate::target::Target;

/// The first line of the file, with its version.
const HEAD: &str = "claims 1";

/// How long a written file is good enough.
const PAUSE: Duration = Duration::from_secs(10);

/// A target's number, which no other target has after it.
pub(crate) type Slot = usize;

/// What a target's post is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The target's own.
    Own,
    /// The target's own from now on; before, it was this target's, which is not alive.
    Passed(Slot),
    /// Another target's.
    Contested {
        /// The target that holds it.
        first: Slot,
        /// Whether that was not told of these two yet.
        news: bool,
    },
}

/// What every target holds. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    state: Mutex<State>,
    changed: Notify,
    metrics: Metrics,
    health: Health,
}

#[derive(Debug, Default)]
struct State {
    holders: HashMap<Arc<str>, Slot>,
    targets: BTreeMap<Slot, Standing>,
    next: Slot,
    /// How many of the targets are contested: counted here, since it is looked at with every poll.
    contested: usize,
    /// What the file says of targets that have not entered yet, by target.
    kept: BTreeMap<String, Arc<str>>,
}

#[derive(Clone, Debug)]
struct Standing {
    target: Target,
    alive: bool,
    holds: Option<Arc<str>>,
    /// Its last post is another target's.
    contested: bool,
    /// With which target, over which agent id, it was last told to be in conflict.
    told: Option<(Slot, Arc<str>)>,
}

impl Claims {
    /// What an earlier run left; it counts as soon as its target enters.
    pub(crate) fn open(settings: &Settings, metrics: Metrics, health: Health) -> Self {
        let path = settings.claims_file();
        let mut state = State::default();
        match std::fs::read_to_string(&path) {
            Ok(text) => state.read(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error,
                "failed to read which target gave which spoke; it is learnt anew"),
        }
        let (state, changed) = (Mutex::new(state), Notify::new());
        Self(Arc::new(Inner { path, state, changed, metrics, health }))
    }

    /// A target is one from now on.
    pub(crate) fn enter(&self, target: &Target) -> Slot {
        self.state().enter(target)
    }

    /// A target is none any more. What it held is free.
    pub(crate) fn leave(&self, target: Slot) {
        let mut state = self.state();
        let before = state.contested;
        if state.leave(target) {
            self.0.changed.notify_one();
        }
        self.show(before, &state);
    }

    /// All targets have entered that an earlier run may have left something about.
    pub(crate) fn all_entered(&self) {
        if !std::mem::take(&mut self.state().kept).is_empty() {
            self.0.changed.notify_one();
        }
    }

    /// A target gave a post of this agent. Returns the target that the agent's posts are taken from, where that
    /// is another one.
    pub(crate) fn gave(&self, target: Slot, agent_id: &str, rule: IdentityRule) -> Option<Target> {
        let (claim, ours, other) = {
            let mut state = self.state();
            let before = state.contested;
            let (claim, changed) = state.gave(target, agent_id);
            self.show(before, &state);
            if changed {
                self.0.changed.notify_one();
            }
            let (Claim::Passed(other) | Claim::Contested { first: other, .. }) = claim else { return None };
            let named = |slot| state.targets.get(&slot).map(|standing| standing.target.clone());
            (claim, named(target), named(other)?)
        };
        let ours = ours.map_or_else(|| "a target that has left".to_owned(), |ours| ours.to_string());
        let Claim::Contested { news, .. } = claim else {
            tracing::info!(%agent_id, from = %other, to = %ours, "the spoke is taken from another target now");
            return None;
        };
        self.0.metrics.posts_contested.inc();
        if news {
            let what = match rule {
                IdentityRule::Pin => "of the second's posts only the newest is kept, in quarantine",
                IdentityRule::Warn => "the posts of both go up",
            };
            tracing::warn!(first = %other, second = %ours, %agent_id, "two targets, one spoke: {what}");
        }
        Some(other)
    }

    /// A target missed a poll.
    pub(crate) fn missed(&self, target: Slot) {
        let mut state = self.state();
        let before = state.contested;
        state.missed(target);
        self.show(before, &state);
    }

    /// Keeps the file up to date until `stop`.
    pub(crate) async fn keep(self, mut stop: Stop) {
        loop {
            let stopping = tokio::select! {
                () = stop.wait() => true,
                () = self.0.changed.notified() => false,
            };
            let this = self.clone();
            // A writing that died has left the file as it was.
            let _ = tokio::task::spawn_blocking(move || this.write()).await;
            if stopping {
                return;
            }
            tokio::select! {
                () = stop.wait() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    fn write(&self) {
        let text = self.state().written();
        if let Err(error) = file::write_atomic(&self.0.path, text.as_bytes()) {
            tracing::warn!(path = %self.0.path.display(), %error, "failed to keep which target gave which spoke");
        }
    }

    /// Each change is one assignment: a holder that panicked cannot have left it half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With the lock held, so that the last that is shown is the last that is true.
    fn show(&self, before: usize, state: &State) {
        let now = state.contested;
        if now == before {
            return;
        }
        self.0.metrics.targets_contested.set(i64::try_from(now).unwrap_or(i64::MAX));
        let note = format!("two targets, one spoke: {now} targets give what another one gives; / names them");
        self.0.health.note("identity", (now > 0).then_some(note));
    }
}

impl State {
    fn enter(&mut self, target: &Target) -> Slot {
        let slot = self.next;
        self.next += 1;
        let (target, kept) = (target.clone(), self.kept.remove(&target.to_string()));
        let standing = Standing { target, alive: false, holds: None, contested: false, told: None };
        self.targets.insert(slot, standing);
        if let Some(agent_id) = kept.filter(|agent_id| !self.holders.contains_key(agent_id)) {
            self.hold(slot, agent_id);
            if let Some(standing) = self.targets.get_mut(&slot) {
                standing.alive = true;
            }
        }
        slot
    }

    /// Returns whether what is held has changed.
    fn leave(&mut self, target: Slot) -> bool {
        let Some(standing) = self.targets.remove(&target) else { return false };
        self.contested -= usize::from(standing.contested);
        standing.holds.is_some_and(|held| self.holders.remove(&held).is_some())
    }

    fn missed(&mut self, target: Slot) {
        if let Some(standing) = self.targets.get_mut(&target) {
            standing.alive = false;
            self.contested -= usize::from(std::mem::take(&mut standing.contested));
        }
    }

    /// Returns what the post is, and whether what is held has changed. A target that has left holds nothing.
    fn gave(&mut self, target: Slot, agent_id: &str) -> (Claim, bool) {
        let first = self.holders.get(agent_id).copied();
        let (alive, told_of_us) = match first.and_then(|first| self.targets.get(&first)) {
            Some(first) => (first.alive, is_told(first, target, agent_id)),
            None => (false, false),
        };
        let Some(standing) = self.targets.get_mut(&target) else {
            let claim =
                first.filter(|_| alive).map_or(Claim::Own, |first| Claim::Contested { first, news: false });
            return (claim, false);
        };
        standing.alive = true;
        self.contested -= usize::from(std::mem::take(&mut standing.contested));
        if standing.told.as_ref().is_some_and(|(_, id)| **id != *agent_id) {
            standing.told = None;
        }
        // What it no longer gives it no longer holds.
        let mut changed = false;
        if let Some(other) = standing.holds.take_if(|held| **held != *agent_id) {
            self.holders.remove(&other);
            changed = true;
        }
        let claim = match first {
            Some(first) if first == target => return (Claim::Own, changed),
            Some(first) if alive => {
                standing.contested = true;
                self.contested += 1;
                let news = !told_of_us && !is_told(standing, first, agent_id);
                if news {
                    standing.told = Some((first, agent_id.into()));
                }
                return (Claim::Contested { first, news }, changed);
            }
            Some(first) => Claim::Passed(first),
            None => Claim::Own,
        };
        self.hold(target, agent_id.into());
        (claim, true)
    }

    fn hold(&mut self, target: Slot, agent_id: Arc<str>) {
        let before = self.holders.insert(agent_id.clone(), target);
        if let Some(before) = before.and_then(|before| self.targets.get_mut(&before)) {
            before.holds = None;
        }
        if let Some(standing) = self.targets.get_mut(&target) {
            standing.holds = Some(agent_id);
        }
    }

    fn read(&mut self, text: &str) {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            tracing::warn!(
                "what is kept of which target gave which spoke is damaged, or of another version; it is learnt anew"
            );
            return;
        }
        for (agent_id, target) in lines.filter_map(|line| line.split_once(' ')) {
            if is_agent_id(agent_id) {
                self.kept.entry(target.to_owned()).or_insert_with(|| agent_id.into());
            }
        }
    }

    fn written(&self) -> String {
        let mut text = format!("{HEAD}\n");
        let holders = self.targets.values().filter_map(|standing| {
            let agent_id = standing.holds.as_ref()?;
            Some((agent_id, standing.target.to_string()))
        });
        for (agent_id, target) in holders {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{agent_id} {target}");
        }
        for (target, agent_id) in &self.kept {
            let _ = writeln!(text, "{agent_id} {target}");
        }
        text
    }
}

fn is_told(standing: &Standing, of: Slot, agent_id: &str) -> bool {
    standing.told.as_ref().is_some_and(|(other, id)| *other == of && **id == *agent_id)
}

#[cfg(test)]
impl Claims {
    /// Of nobody, and kept nowhere.
    pub(crate) fn of_a_test(metrics: Metrics, health: Health) -> Self {
        let (path, state, changed) = (PathBuf::new(), Mutex::default(), Notify::new());
        Self(Arc::new(Inner { path, state, changed, metrics, health }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Host;

    /// So many targets, none of which has given anything.
    fn state(targets: usize) -> State {
        let hosts: Vec<String> = (0..targets).map(|number| format!("t{number}")).collect();
        with(&targets_of(&hosts.iter().map(String::as_str).collect::<Vec<_>>()), "claims 1\n")
    }

    /// These targets after what the file says was read.
    fn with(targets: &[Target], text: &str) -> State {
        let mut state = State::default();
        state.read(text);
        for target in targets {
            state.enter(target);
        }
        state
    }

    fn contested(first: Slot, news: bool) -> (Claim, bool) {
        (Claim::Contested { first, news }, false)
    }

    fn targets_of(hosts: &[&str]) -> Vec<Target> {
        hosts.iter().map(|host| Target { host: Host::parse(host).unwrap(), port: 5000, tls: None }).collect()
    }

    #[test]
    fn the_first_holds_a_spoke_until_it_misses_a_poll() {
        let mut state = state(3);
        assert_eq!(state.gave(1, "a"), (Claim::Own, true));
        assert_eq!(state.gave(1, "a"), (Claim::Own, false));
        assert_eq!(state.gave(0, "a"), contested(1, true));
        assert_eq!(state.gave(0, "a"), contested(1, false));
        assert_eq!(state.gave(2, "a"), contested(1, true));
        assert_eq!(state.contested, 2);
        state.missed(1);
        assert_eq!(state.gave(0, "a"), (Claim::Passed(1), true));
        assert_eq!(state.gave(0, "a"), (Claim::Own, false));
        // It was told of these two, in the other direction.
        assert_eq!(state.gave(1, "a"), contested(0, false));
        assert_eq!(state.gave(2, "a"), contested(0, true));
    }

    #[test]
    fn a_holder_that_comes_back_before_anyone_else_holds_it_still() {
        let mut state = state(2);
        state.gave(0, "a");
        state.missed(0);
        assert_eq!(state.gave(0, "a"), (Claim::Own, false));
        assert_eq!(state.gave(1, "a"), contested(0, true));
    }

    #[test]
    fn two_hosts_that_change_their_addresses_are_both_taken_again() {
        let mut state = state(2);
        state.gave(0, "a");
        state.gave(1, "b");
        assert_eq!(state.gave(0, "b"), (Claim::Contested { first: 1, news: true }, true));
        assert_eq!(state.gave(1, "a"), (Claim::Own, true));
        assert_eq!(state.gave(0, "b"), (Claim::Own, true));
        assert_eq!(state.contested, 0);
    }

    #[test]
    fn a_conflict_that_was_over_is_told_again() {
        let mut state = state(2);
        state.gave(0, "a");
        assert_eq!(state.gave(1, "a"), contested(0, true));
        assert_eq!(state.gave(1, "b"), (Claim::Own, true));
        assert_eq!(state.gave(1, "a"), (Claim::Contested { first: 0, news: true }, true));
    }

    #[test]
    fn what_is_held_outlives_a_restart_and_what_is_no_target_any_more_does_not() {
        let targets = targets_of(&["x", "y", "::1"]);
        let mut state = with(&targets, HEAD);
        state.gave(2, "a");
        state.gave(1, "b");
        let text = state.written();
        assert_eq!(text, "claims 1\nb y:5000\na [::1]:5000\n");

        let mut again = with(&targets, &text);
        assert_eq!(again.gave(0, "a"), contested(2, true), "before the holder's first poll, too");
        again.missed(2);
        assert_eq!(again.gave(0, "a"), (Claim::Passed(2), true));

        let mut without = with(&targets[..2], &text);
        assert_eq!(without.gave(0, "a"), (Claim::Own, true));
        assert_eq!(without.gave(0, "b"), (Claim::Contested { first: 1, news: true }, true));
    }

    #[test]
    fn a_damaged_file_says_nothing() {
        let targets = targets_of(&["x", "y"]);
        for text in ["", "claims 2\na x:5000\n", "\0", "claims 1\na\n../a x:5000\n\na  x:5000\na x:1\n"] {
            let state = with(&targets, text);
            assert!(state.holders.is_empty(), "{text:?}");
        }
        let state = with(&targets, "claims 1\na x:5000\nb x:5000\na y:5000\n");
        assert_eq!(state.written(), "claims 1\na x:5000\n");
    }

    #[test]
    fn what_leaves_holds_nothing_and_comes_back_as_another() {
        let mut state = state(2);
        state.gave(0, "a");
        assert_eq!(state.gave(1, "a"), contested(0, true));
        assert!(state.leave(0));
        assert_eq!(state.gave(1, "a"), (Claim::Own, true), "nobody holds it");
        // A post that was under way when its target left: another target's, or nobody's.
        assert_eq!(state.gave(0, "a"), contested(1, false));
        assert_eq!(state.gave(0, "b"), (Claim::Own, false));
        let back = state.enter(&targets_of(&["t0"])[0]);
        assert_eq!(state.gave(back, "a"), contested(1, true), "told again: it is a new conflict");
        assert!(!state.leave(back));
        assert_eq!(state.contested, 0);
        assert_eq!(state.written(), "claims 1\na t1:5000\n");
    }

    #[test]
    fn what_was_kept_waits_for_its_target() {
        let targets = targets_of(&["x", "10.0.0.1", "10.0.0.2"]);
        let text = "claims 1\na 10.0.0.1:5000\nb 10.0.0.9:5000\n";
        let mut state = with(&targets[..1], text);
        assert_eq!(
            state.written(),
            text,
            "not lost where the hub is restarted before the name was looked up"
        );
        let late = state.enter(&targets[1]);
        let other = state.enter(&targets[2]);
        assert_eq!(state.gave(other, "a"), contested(late, true), "before the holder's first poll, too");
        state.kept.clear();
        assert_eq!(state.written(), "claims 1\na 10.0.0.1:5000\n");
    }
}
