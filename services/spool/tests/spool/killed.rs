//! SIGKILL at any moment, while opening too.

use std::path::Path;
use std::process::Command;

use crate::support::kill;

const CHILD: &str = "SPOOL_KILLED_CHILD";

/// Not a test by itself: what `kill_9` starts, and kills.
#[test]
fn child() {
    if let Ok(told) = std::env::var(CHILD) {
        let (base, folder) = told.split_once(':').unwrap();
        kill::child(Path::new(folder), base.parse().unwrap());
    }
}

#[test]
fn kill_9_loses_nothing_that_was_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let seed = std::process::id().into();
    let kills = if crate::support::long() { 1000 } else { 60 };
    let oracle = kill::run(folder.path(), kills, seed, |base| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "killed::child", "--nocapture", "--test-threads=1"]);
        command.env(CHILD, format!("{base}:{}", folder.path().display()));
        command
    });
    println!(
        "seed {seed}: {kills} kills, {} lines, {} opened, {} repeats",
        oracle.lines, oracle.opened, oracle.repeats
    );
    assert!(oracle.opened > 0);
}
