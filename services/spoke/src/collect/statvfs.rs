//! Asking how full a mount is without ever waiting for one that hangs.
//!
//! statvfs on a dead NFS server or a hung FUSE mount does not return. So the asking is done by few threads:
//! one asks for all mounts in turn; where it does not come back from one within the limit, that mount is
//! left to it, and another thread goes on with the next. A mount that a thread hangs on is not asked for
//! again before that thread is back, so it never holds a second one; then it is asked for as any other.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::StatVfs;

use crate::host::{HostError, HostRoot};

/// How long one mount is waited for.
const LIMIT: Duration = Duration::from_millis(500);

/// How long who would rather do without waits for its turn where another is just asking: nearly always that takes a
/// moment, and where it does not, a mount hangs.
const SOON: Duration = Duration::from_millis(100);

/// Threads, of which each may be lost to a mount that hangs.
const MOST_THREADS: usize = 8;

/// A thread only calls statvfs.
const STACK_BYTES: usize = 128 * 1024;

/// What is known of one mount.
pub(crate) enum Answer {
    /// It answered.
    Usage(StatVfs),
    /// It refused.
    Refused(io::Error),
    /// It does not answer.
    Hangs,
    /// It was not asked: every thread hangs on another mount.
    NotAsked,
}

/// How long somebody waits for another who is asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until it has done.
    #[default]
    Endless,
    /// Not much longer than that takes where no mount hangs.
    Little,
}

type Ask = fn(&Path) -> io::Result<StatVfs>;

/// The threads and what they hang on.
#[derive(Debug)]
pub(crate) struct Askers {
    shared: Arc<Shared>,
    ask: Ask,
    /// Taken while mounts are asked: who asks meanwhile would lose a second thread to the same mount.
    turn: Turn,
}

/// Whose turn it is to ask: one's at a time.
#[derive(Debug, Default)]
struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

impl Turn {
    /// Waits for the turn, but no longer than that.
    fn take(&self, limit: Duration) -> Option<Taken<'_>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.free.wait_timeout_while(taken, limit, |taken| *taken);
        let (mut taken, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() {
            return None;
        }
        *taken = true;
        Some(Taken(self))
    }
}

/// The turn, until it is dropped.
struct Taken<'a>(&'a Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    threads: usize,
    /// How to reach the threads that wait for a job; a thread whose entry is gone ends.
    idle: Vec<Sender<Arc<Job>>>,
    closed: bool,
    hanging: HashSet<PathBuf>,
}

impl Shared {
    /// The lock guards plain assignments: a holder that panicked cannot have left them half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some mounts that are asked for in turn by one thread.
struct Job {
    paths: Vec<PathBuf>,
    progress: Mutex<Progress>,
    /// Told once all have answered: who waits is not woken for each.
    done: Condvar,
}

/// How far a job is. The thread and who waits for it agree under this lock on the mount at which they part.
struct Progress {
    answers: Vec<io::Result<StatVfs>>,
    /// When the thread turned to the mount that it is at.
    since: Instant,
    /// Set once the asker goes on without this thread.
    given_up: bool,
}

impl Job {
    fn new(paths: Vec<PathBuf>) -> Self {
        let answers = Vec::with_capacity(paths.len());
        let progress = Mutex::new(Progress { answers, since: Instant::now(), given_up: false });
        Self { paths, progress, done: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Askers {
    fn default() -> Self {
        Self::with(|path| rustix::fs::statvfs(path).map_err(io::Error::from))
    }
}

impl Askers {
    fn with(ask: Ask) -> Self {
        Self { shared: Arc::default(), ask, turn: Turn::default() }
    }

    /// Begins to ask for all of them, when `patience` allows.
    ///
    /// # Errors
    /// Another is asking, and a mount does not answer; never with [`Patience::Endless`].
    pub(crate) fn ask_for(
        &self,
        paths: &[PathBuf],
        patience: Patience,
        host: &HostRoot,
    ) -> Result<Asking<'_>, HostError> {
        match patience {
            Patience::Endless => Ok(self.begin(paths)),
            Patience::Little => self.begin_within(paths, SOON).ok_or_else(|| HostError::Read {
                path: host.root.clone(),
                source: io::Error::other("another reading waits for a partition that does not answer"),
            }),
        }
    }

    /// Begins to ask for all of them, once whoever is asking has done.
    fn begin(&self, paths: &[PathBuf]) -> Asking<'_> {
        loop {
            // Each mount bounds how long the other takes.
            if let Some(asking) = self.begin_within(paths, LIMIT) {
                return asking;
            }
        }
    }

    /// Begins to ask for all of them; none where another is asking for longer than `limit`.
    fn begin_within(&self, paths: &[PathBuf], limit: Duration) -> Option<Asking<'_>> {
        let turn = self.turn.take(limit)?;
        let hanging = self.shared.lock().hanging.clone();
        let hangs = |path: &PathBuf| !hanging.is_empty() && hanging.contains(path);
        let answers: Vec<_> = paths.iter().map(|path| hangs(path).then_some(Answer::Hangs)).collect();
        let mut asking = Asking { askers: self, paths: paths.to_vec(), answers, job: None, _turn: turn };
        asking.hand_out_rest();
        Some(asking)
    }

    /// Asks for all of them, and waits.
    #[cfg(test)]
    fn ask(&self, paths: &[PathBuf]) -> Vec<Answer> {
        self.begin(paths).answers()
    }

    /// What the thread comes back from, and one more on which it hangs.
    fn wait(&self, job: &Job) -> Vec<Answer> {
        let mut progress = job.lock();
        let mut hung = None;
        while let Some(path) = job.paths.get(progress.answers.len()) {
            let left = LIMIT.saturating_sub(progress.since.elapsed());
            if left.is_zero() {
                progress.given_up = true;
                self.shared.lock().hanging.insert(path.clone());
                hung = Some(Answer::Hangs);
                break;
            }
            progress = job.done.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let answers = std::mem::take(&mut progress.answers);
        let known = answers.into_iter().map(|answer| answer.map_or_else(Answer::Refused, Answer::Usage));
        known.chain(hung).collect()
    }

    /// None where there is no thread to be had.
    fn hand_out(&self, mut job: Arc<Job>) -> Option<()> {
        loop {
            let mut state = self.shared.lock();
            let Some(idle) = state.idle.pop() else {
                if state.threads >= MOST_THREADS {
                    return None;
                }
                state.threads += 1;
                break;
            };
            drop(state);
            match idle.send(job) {
                Ok(()) => return Some(()),
                Err(returned) => job = returned.0,
            }
        }
        let (shared, ask) = (Arc::clone(&self.shared), self.ask);
        let thread = std::thread::Builder::new().name("statvfs".to_owned()).stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(move || work(&shared, ask, job)) {
            self.shared.lock().threads -= 1;
            tracing::warn!(%error, "failed to start a thread that asks how full partitions are");
            return None;
        }
        Some(())
    }
}

/// Mounts that are being asked for by one thread, and by another once that one hangs.
pub(crate) struct Asking<'a> {
    askers: &'a Askers,
    paths: Vec<PathBuf>,
    /// What is known; the others are those of the job, in their order.
    answers: Vec<Option<Answer>>,
    job: Option<Arc<Job>>,
    _turn: Taken<'a>,
}

impl Asking<'_> {
    fn hand_out_rest(&mut self) {
        let unknown = self.paths.iter().zip(&self.answers).filter(|(_, answer)| answer.is_none());
        let paths: Vec<PathBuf> = unknown.map(|(path, _)| path.clone()).collect();
        self.job = None;
        if !paths.is_empty() {
            let job = Arc::new(Job::new(paths));
            self.job = self.askers.hand_out(Arc::clone(&job)).map(|()| job);
        }
    }

    /// The answers in the order of the paths. Waits at most the limit for each mount that newly hangs, and
    /// not at all for one that hangs already.
    pub(crate) fn answers(mut self) -> Vec<Answer> {
        while let Some(job) = self.job.take() {
            let mut found = self.askers.wait(&job).into_iter();
            for answer in self.answers.iter_mut().filter(|answer| answer.is_none()) {
                *answer = found.next();
            }
            self.hand_out_rest();
        }
        self.answers.into_iter().map(|answer| answer.unwrap_or(Answer::NotAsked)).collect()
    }
}

impl Drop for Askers {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.idle.clear();
    }
}

impl State {
    fn offer(&mut self, idle: Option<Sender<Arc<Job>>>) {
        if !self.closed {
            self.idle.extend(idle);
        }
    }
}

/// A thread's life: one job after the other.
fn work(shared: &Shared, ask: Ask, first: Arc<Job>) {
    let mut job = first;
    loop {
        let (sender, next) = channel();
        do_job(shared, ask, &job, sender);
        match next.recv() {
            Ok(another) => job = another,
            Err(_) => return,
        }
    }
}

/// Asks in turn, and offers the thread for the next job before the last answer is out: whoever asks again at
/// once finds it idle, and no second one is started.
fn do_job(shared: &Shared, ask: Ask, job: &Job, idle: Sender<Arc<Job>>) {
    let mut idle = Some(idle);
    for path in &job.paths {
        let answer = ask(path);
        let mut progress = job.lock();
        if progress.given_up {
            // The asker noted this mount as hanging; it is back.
            shared.lock().hanging.remove(path);
            break;
        }
        progress.answers.push(answer);
        progress.since = Instant::now();
        if progress.answers.len() == job.paths.len() {
            shared.lock().offer(idle.take());
            job.done.notify_one();
        }
    }
    shared.lock().offer(idle);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    static HOLD: AtomicBool = AtomicBool::new(true);
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    /// Hangs on every path named `hang...` until released.
    fn ask(path: &Path) -> io::Result<StatVfs> {
        if path.to_string_lossy().contains("hang") {
            ASKED.fetch_add(1, Ordering::SeqCst);
            while HOLD.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        Ok(rustix::fs::statvfs("/")?)
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    fn shape(answers: &[Answer]) -> String {
        let letter = |answer: &Answer| match answer {
            Answer::Usage(_) => 'u',
            Answer::Refused(_) => 'r',
            Answer::Hangs => 'h',
            Answer::NotAsked => 'n',
        };
        answers.iter().map(letter).collect()
    }

    #[test]
    fn a_mount_that_hangs_costs_the_limit_once_and_one_thread() {
        let askers = Askers::with(ask);
        let all = paths(&["a", "hang 1", "b", "hang 2", "c"]);
        let started = Instant::now();
        assert_eq!(shape(&askers.ask(&all)), "uhuhu");
        assert!(started.elapsed() >= 2 * LIMIT);
        let started = Instant::now();
        for _ in 0..100 {
            assert_eq!(shape(&askers.ask(&all)), "uhuhu");
        }
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
        assert_eq!((askers.shared.lock().threads, ASKED.load(Ordering::SeqCst)), (3, 2));

        HOLD.store(false, Ordering::SeqCst);
        let limit = Instant::now() + Duration::from_secs(10);
        while shape(&askers.ask(&all)) != "uuuuu" {
            assert!(Instant::now() < limit, "the mounts are back, and nobody asks for them");
        }
        assert_eq!(askers.shared.lock().threads, 3);
    }

    #[test]
    fn who_asks_meanwhile_loses_no_second_thread() {
        static HELD: AtomicUsize = AtomicUsize::new(0);
        fn hang(path: &Path) -> io::Result<StatVfs> {
            if path == Path::new("hang") {
                HELD.fetch_add(1, Ordering::SeqCst);
                std::thread::park();
            }
            Ok(rustix::fs::statvfs("/")?)
        }
        let askers = Askers::with(hang);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(shape(&askers.ask(&paths(&["a", "hang"]))), "uh"));
            }
        });
        assert_eq!((HELD.load(Ordering::SeqCst), askers.shared.lock().threads), (1, 2));
    }

    #[test]
    fn what_cannot_be_asked_is_told_apart() {
        let askers = Askers::default();
        assert_eq!(shape(&askers.ask(&paths(&["/", "/no such folder", "/proc"]))), "uru");
        assert_eq!(shape(&askers.ask(&[])), "");
        assert_eq!(askers.shared.lock().threads, 1);
    }

    #[test]
    fn without_a_thread_nothing_is_asked_and_nobody_waits() {
        let askers = Askers::default();
        askers.shared.lock().threads = MOST_THREADS;
        assert_eq!(shape(&askers.ask(&paths(&["/", "/proc"]))), "nn");
    }
}
