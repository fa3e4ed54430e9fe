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
//! A target holds one agent id at most, so all of this is bounded by the targets. Posts that are received are
//! not judged here: a sender is nobody in particular until it can prove who it is.

use std::collections::HashMap;
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

/// What a target's post is; targets are numbers here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The target's own.
    Own,
    /// The target's own from now on; before, it was this target's, which is not alive.
    Passed(usize),
    /// Another target's.
    Contested {
        /// The target that holds it.
        first: usize,
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
    targets: Vec<Target>,
    rule: IdentityRule,
    state: Mutex<State>,
    changed: Notify,
    metrics: Metrics,
    health: Health,
}

#[derive(Debug, Default)]
struct State {
    holders: HashMap<Arc<str>, usize>,
    targets: Vec<Standing>,
    /// How many of the targets are contested: counted here, since it is looked at with every poll.
    contested: usize,
}

#[derive(Clone, Debug, Default)]
struct Standing {
    alive: bool,
    holds: Option<Arc<str>>,
    /// Its last post is another target's.
    contested: bool,
    /// With which target, over which agent id, it was last told to be in conflict.
    told: Option<(usize, Arc<str>)>,
}

impl Claims {
    /// What an earlier run left, as far as it is about the targets of now.
    pub(crate) fn open(settings: &Settings, metrics: Metrics, health: Health) -> Self {
        let (path, targets) = (settings.claims_file(), settings.targets.clone());
        let mut state = State::new(targets.len());
        match std::fs::read_to_string(&path) {
            Ok(text) => state.read(&text, &targets),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error,
                "failed to read which target gave which spoke; it is learnt anew"),
        }
        Self(Arc::new(Inner {
            path,
            targets,
            rule: settings.identity_rule,
            state: Mutex::new(state),
            changed: Notify::new(),
            metrics,
            health,
        }))
    }

    /// A target gave a post of this agent. Returns the target that the agent's posts are taken from, where that
    /// is another one.
    pub(crate) fn gave(&self, target: usize, agent_id: &str) -> Option<Target> {
        let claim = {
            let mut state = self.state();
            let before = state.contested;
            let (claim, changed) = state.gave(target, agent_id);
            self.show(before, &state);
            if changed {
                self.0.changed.notify_one();
            }
            claim
        };
        let ours = self.0.targets.get(target)?;
        let (Claim::Passed(other) | Claim::Contested { first: other, .. }) = claim else { return None };
        let other = self.0.targets.get(other)?;
        let Claim::Contested { news, .. } = claim else {
            tracing::info!(%agent_id, from = %other, to = %ours, "the spoke is taken from another target now");
            return None;
        };
        self.0.metrics.posts_contested.inc();
        if news {
            let what = match self.0.rule {
                IdentityRule::Pin => "of the second's posts only the newest is kept, in quarantine",
                IdentityRule::Warn => "the posts of both go up",
            };
            tracing::warn!(first = %other, second = %ours, %agent_id, "two targets, one spoke: {what}");
        }
        Some(other.clone())
    }

    /// A target missed a poll.
    pub(crate) fn missed(&self, target: usize) {
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
        let text = self.state().written(&self.0.targets);
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
    fn new(targets: usize) -> Self {
        Self { holders: HashMap::new(), targets: vec![Standing::default(); targets], contested: 0 }
    }

    fn missed(&mut self, target: usize) {
        if let Some(standing) = self.targets.get_mut(target) {
            standing.alive = false;
            self.contested -= usize::from(std::mem::take(&mut standing.contested));
        }
    }

    /// Returns what the post is, and whether what is held has changed.
    fn gave(&mut self, target: usize, agent_id: &str) -> (Claim, bool) {
        let first = self.holders.get(agent_id).copied();
        let (alive, told_of_us) = match first.and_then(|first| self.targets.get(first)) {
            Some(first) => (first.alive, is_told(first, target, agent_id)),
            None => (false, false),
        };
        let Some(standing) = self.targets.get_mut(target) else { return (Claim::Own, false) };
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

    fn hold(&mut self, target: usize, agent_id: Arc<str>) {
        let before = self.holders.insert(agent_id.clone(), target);
        if let Some(before) = before.and_then(|before| self.targets.get_mut(before)) {
            before.holds = None;
        }
        if let Some(standing) = self.targets.get_mut(target) {
            standing.holds = Some(agent_id);
        }
    }

    fn read(&mut self, text: &str, targets: &[Target]) {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            tracing::warn!(
                "what is kept of which target gave which spoke is damaged, or of another version; it is learnt anew"
            );
            return;
        }
        let places: HashMap<String, usize> = targets.iter().map(Target::to_string).zip(0..).collect();
        for (agent_id, name) in lines.filter_map(|line| line.split_once(' ')) {
            // A target that is none any more has left.
            let Some(&target) = places.get(name) else { continue };
            let free = self.targets.get(target).is_some_and(|standing| standing.holds.is_none());
            if free && is_agent_id(agent_id) && !self.holders.contains_key(agent_id) {
                self.hold(target, agent_id.into());
                if let Some(standing) = self.targets.get_mut(target) {
                    standing.alive = true;
                }
            }
        }
    }

    fn written(&self, targets: &[Target]) -> String {
        let mut text = format!("{HEAD}\n");
        for (standing, target) in self.targets.iter().zip(targets) {
            if let Some(agent_id) = &standing.holds {
                // Writing to a text cannot fail.
                let _ = writeln!(text, "{agent_id} {target}");
            }
        }
        text
    }
}

fn is_told(standing: &Standing, of: usize, agent_id: &str) -> bool {
    standing.told.as_ref().is_some_and(|(other, id)| *other == of && **id == *agent_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Host;

    fn contested(first: usize, news: bool) -> (Claim, bool) {
        (Claim::Contested { first, news }, false)
    }

    fn targets(hosts: &[&str]) -> Vec<Target> {
        hosts.iter().map(|host| Target { host: Host::parse(host).unwrap(), port: 5000 }).collect()
    }

    #[test]
    fn the_first_holds_a_spoke_until_it_misses_a_poll() {
        let mut state = State::new(3);
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
        let mut state = State::new(2);
        state.gave(0, "a");
        state.missed(0);
        assert_eq!(state.gave(0, "a"), (Claim::Own, false));
        assert_eq!(state.gave(1, "a"), contested(0, true));
    }

    #[test]
    fn two_hosts_that_change_their_addresses_are_both_taken_again() {
        let mut state = State::new(2);
        state.gave(0, "a");
        state.gave(1, "b");
        assert_eq!(state.gave(0, "b"), (Claim::Contested { first: 1, news: true }, true));
        assert_eq!(state.gave(1, "a"), (Claim::Own, true));
        assert_eq!(state.gave(0, "b"), (Claim::Own, true));
        assert_eq!(state.contested, 0);
    }

    #[test]
    fn a_conflict_that_was_over_is_told_again() {
        let mut state = State::new(2);
        state.gave(0, "a");
        assert_eq!(state.gave(1, "a"), contested(0, true));
        assert_eq!(state.gave(1, "b"), (Claim::Own, true));
        assert_eq!(state.gave(1, "a"), (Claim::Contested { first: 0, news: true }, true));
    }

    #[test]
    fn what_is_held_outlives_a_restart_and_what_is_no_target_any_more_does_not() {
        let targets = targets(&["x", "y", "::1"]);
        let mut state = State::new(3);
        state.gave(2, "a");
        state.gave(1, "b");
        let text = state.written(&targets);
        assert_eq!(text, "claims 1\nb y:5000\na [::1]:5000\n");

        let mut again = State::new(3);
        again.read(&text, &targets);
        assert_eq!(again.gave(0, "a"), contested(2, true), "before the holder's first poll, too");
        again.missed(2);
        assert_eq!(again.gave(0, "a"), (Claim::Passed(2), true));

        let mut without = State::new(2);
        without.read(&text, &targets[..2]);
        assert_eq!(without.gave(0, "a"), (Claim::Own, true));
        assert_eq!(without.gave(0, "b"), (Claim::Contested { first: 1, news: true }, true));
    }

    #[test]
    fn a_damaged_file_says_nothing() {
        let targets = targets(&["x", "y"]);
        for text in ["", "claims 2\na x:5000\n", "\0", "claims 1\na\n../a x:5000\n\na  x:5000\na x:1\n"] {
            let mut state = State::new(2);
            state.read(text, &targets);
            assert!(state.holders.is_empty(), "{text:?}");
        }
        let mut state = State::new(2);
        state.read("claims 1\na x:5000\nb x:5000\na y:5000\n", &targets);
        assert_eq!(state.written(&targets), "claims 1\na x:5000\n");
    }
}
