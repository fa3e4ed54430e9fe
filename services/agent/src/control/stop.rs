//! Ending a running program from outside.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::lock::{Holder, Paths};
use super::{holder, say};
use crate::Program;

/// How long a program may take to end: its own drain is shorter.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// How often the lock is looked at while waiting; the end of the process itself wakes at once.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Stops what holds the lock and waits for its end. Stopping what is stopped is no fault.
pub(super) fn stop(program: &'static Program, paths: &Paths, force: bool) -> anyhow::Result<()> {
    let (pid, ours) = match holder(paths)? {
        Holder::Nobody => {
            paths.remove_pid_file();
            say(&format!("Daemon is stopped - {}", program.name));
            return Ok(());
        }
        Holder::Process { pid, .. } => {
            (pid.context("the program runs in another PID namespace (a container?); stop it there")?, true)
        }
        Holder::Original(pid) => (pid, false),
    };
    anyhow::ensure!(
        ours,
        "process {}, which the pid file names, is not ours; if it is the original daemon, stop it with the original",
        pid.as_raw_nonzero()
    );
    let process = pidfd_open(pid, PidfdFlags::empty())
        .with_context(|| format!("process {}: failed to open", pid.as_raw_nonzero()))?;
    // Between asking and opening, the process may have ended and its pid been given away.
    if !holds(paths, pid)? {
        return stop(program, paths, force);
    }
    signal(&process, pid, force)?;
    wait_for_end(paths, pid, &process)?;
    paths.remove_pid_file();
    say(&format!("Daemon stopped - {}", program.name));
    Ok(())
}

fn holds(paths: &Paths, asked: Pid) -> anyhow::Result<bool> {
    Ok(matches!(holder(paths)?, Holder::Process { pid: Some(pid), .. } if pid == asked))
}

fn signal(process: &OwnedFd, pid: Pid, force: bool) -> anyhow::Result<()> {
    // A container's first process is out of SIGKILL's reach from within; its second SIGTERM ends it at once.
    let signals: &[Signal] = match (force, pid.is_init()) {
        (false, _) => &[Signal::TERM],
        (true, true) => &[Signal::TERM, Signal::TERM],
        (true, false) => &[Signal::KILL],
    };
    for signal in signals {
        pidfd_send_signal(process, *signal)
            .with_context(|| format!("process {}: failed to signal", pid.as_raw_nonzero()))?;
    }
    Ok(())
}

fn wait_for_end(paths: &Paths, pid: Pid, process: &OwnedFd) -> anyhow::Result<()> {
    let limit = Instant::now() + STOP_LIMIT;
    while Instant::now() < limit {
        let mut ended = [PollFd::new(process, PollFlags::IN)];
        // The lock is free a moment before the end: a container's first process takes us with it.
        if poll(&mut ended, Some(&LOOK))? > 0 || !holds(paths, pid)? {
            return Ok(());
        }
    }
    anyhow::bail!(
        "process {} did not end within {} s; --stop --force ends it at once",
        pid.as_raw_nonzero(),
        STOP_LIMIT.as_secs()
    )
}

/// A container's first process, ending, takes every other process of the container with it, also the
/// `--stop` that asked for it and wants to report: give that one a moment to end by itself.
pub(super) fn let_the_asker_finish() {
    if std::process::id() != 1 {
        return;
    }
    let limit = Instant::now() + Duration::from_millis(500);
    while Instant::now() < limit && others_run() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn others_run() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()).is_some_and(|pid| pid != 1)
    })
}
