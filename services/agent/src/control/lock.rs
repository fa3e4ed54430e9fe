//! Who is running: the lock and the pid file.
//!
//! The truth is the lock on `<system_daemon_directory>/lock/<program>.lock`, a POSIX lock that the kernel
//! gives back when its holder dies, however it dies; the kernel also names the holder. The pid file is
//! written for other tools and never trusted. The lock file says how its holder runs and where it listens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType, Pid};

use crate::config::Mode;
use crate::file;

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pid: PathBuf,
    lock: PathBuf,
    program: &'static str,
}

/// Who holds the lock.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody: the program is stopped.
    Nobody,
    /// This process.
    Process {
        /// `None` where it lives in a PID namespace that cannot be seen from here.
        pid: Option<Pid>,
        mode: Mode,
        /// Where it is asked whether it lives.
        address: Option<SocketAddr>,
    },
    /// Nobody, but the pid file names a live process of the program's name: an original daemon, it seems.
    Original(Pid),
}

impl Paths {
    pub(super) fn new(system_daemon_directory: &Path, program: &'static str) -> Self {
        Self {
            pid: system_daemon_directory.join("pid").join(format!("{program}.pid")),
            lock: system_daemon_directory.join("lock").join(format!("{program}.lock")),
            program,
        }
    }

    /// The lock file, for messages.
    pub(super) fn lock_file(&self) -> &Path {
        &self.lock
    }

    /// The files that are written.
    pub(super) fn files(&self) -> [&Path; 2] {
        [&self.lock, &self.pid]
    }

    /// Asks the kernel who holds the lock.
    ///
    /// # Errors
    /// The lock file is there and cannot be read.
    pub(super) fn holder(&self) -> io::Result<Holder> {
        let mut file = match File::open(&self.lock) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self.original()),
            Err(error) => return Err(error),
        };
        let asked = Flock::from(FlockType::WriteLock);
        let Some(held) = rustix::process::fcntl_getlk(&file, &asked)? else { return Ok(self.original()) };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let mode = if value("mode") == Some("foreground") { Mode::Foreground } else { Mode::Daemon };
        let address = value("address").and_then(|address| address.parse().ok());
        Ok(Holder::Process { pid: held.pid, mode, address })
    }

    fn original(&self) -> Holder {
        let named = fs::read_to_string(&self.pid).ok().and_then(|text| text.trim().parse().ok());
        match named.and_then(Pid::from_raw) {
            // A pid that now belongs to another program is an old pid file, not a daemon.
            Some(pid) if pid != rustix::process::getpid() && runs(pid, self.program) => Holder::Original(pid),
            _ => Holder::Nobody,
        }
    }

    /// Takes the lock and writes both files.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where it is held; otherwise the folder or a file cannot be written.
    pub(super) fn acquire(&self, mode: Mode) -> io::Result<Lock> {
        for path in [&self.lock, &self.pid] {
            file::make_folder(path.parent().unwrap_or(path))?;
        }
        let mut options = OpenOptions::new();
        let mut lock =
            options.read(true).write(true).create(true).truncate(false).mode(0o640).open(&self.lock)?;
        rustix::fs::fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let name = if mode == Mode::Foreground { "foreground" } else { "daemon" };
        lock.set_len(0)?;
        lock.seek(SeekFrom::Start(0))?;
        lock.write_all(format!("mode={name}\n").as_bytes())?;
        file::write_atomic(&self.pid, format!("{}\n", std::process::id()).as_bytes())?;
        Ok(Lock { file: lock, paths: self.clone() })
    }

    /// Removes the pid file of a program that is gone.
    pub(super) fn remove_pid_file(&self) {
        // One that is not there, or cannot be removed, is not believed by us anyway.
        let _ = fs::remove_file(&self.pid);
    }
}

/// Whether the process `pid` was started as `program`.
fn runs(pid: Pid, program: &str) -> bool {
    let cmdline = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&cmdline).contains(program)
}

/// The lock of a running program, held until it is dropped. Nothing else in the process may open the lock
/// file: closing any descriptor of it gives a POSIX lock back.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    paths: Paths,
}

impl Lock {
    /// Writes where the program listens.
    pub(super) fn listening(&mut self, address: SocketAddr) -> io::Result<()> {
        self.file.write_all(format!("address={address}\n").as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.paths.remove_pid_file();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(folder: &Path) -> Paths {
        Paths::new(folder, "prog")
    }

    #[test]
    fn nobody_holds_a_lock_that_was_never_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(paths(folder.path()).holder().unwrap(), Holder::Nobody);
    }

    #[test]
    fn a_pid_file_of_another_program_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        fs::create_dir(folder.path().join("pid")).unwrap();
        fs::write(&paths.pid, "1\n").unwrap();
        assert_eq!(paths.holder().unwrap(), Holder::Nobody);
    }

    #[test]
    fn taking_it_writes_the_pid_and_dropping_it_removes_the_pid_file() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let lock = paths.acquire(Mode::Daemon).unwrap();
        assert_eq!(fs::read_to_string(&paths.pid).unwrap(), format!("{}\n", std::process::id()));
        drop(lock);
        assert!(!paths.pid.exists());
    }
}
