//! Where the log goes: standard output in the foreground; as a daemon the original's three files in
//! `log_directory`.
//!
//! `pattoo-daemon.log` tells of the life cycle, `pattoo-api.log` of what is asked over HTTP, `pattoo.log` of
//! everything else. All pattoo programs of a host may share them: each line is one appending write. A file
//! that was moved away is opened anew, so that logrotate needs no signal; one that reaches
//! `log_max_bytes` is moved to `<name>.1`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context;
use tracing::Metadata;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{LogFormat, LogLevel, Mode, Pattoo};
use crate::file;

const GENERAL: &str = "pattoo.log";
const API: &str = "pattoo-api.log";
const DAEMON: &str = "pattoo-daemon.log";

/// The files that a daemon writes.
pub(crate) fn files(pattoo: &Pattoo) -> [PathBuf; 3] {
    [GENERAL, API, DAEMON].map(|name| pattoo.log_directory.join(name))
}

/// Starts logging. Called once, as early as configuration is read.
///
/// # Errors
/// The log folder or a file of a daemon cannot be opened.
pub fn start(pattoo: &Pattoo, mode: Mode) -> anyhow::Result<()> {
    match mode {
        Mode::Foreground => write_to(pattoo, io::stdout),
        Mode::Daemon => write_to(pattoo, Files::open(&pattoo.log_directory, pattoo.log_max_bytes)?),
    }
    Ok(())
}

fn write_to<W>(pattoo: &Pattoo, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(pattoo.log_level));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let layer = match pattoo.log_format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // A second start within one process (a test's) keeps the first: there is one log a process.
    if tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().is_ok() {
        let _ = LEVEL.set(handle);
    }
}

/// Changes the level of the one log that a process has. Here alone it is global, as the log itself.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Logs so much from now on.
pub(crate) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // It fails only where the log is gone, and nobody could be told.
        let _ = handle.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Libraries tell their own details at debug; they are of no use to whoever runs the agent.
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(["agent", "spoke", "hub"].map(|target| (target, ours)))
}

/// The three files.
#[derive(Debug)]
struct Files {
    general: Shared,
    api: Shared,
    daemon: Shared,
}

impl Files {
    fn open(folder: &Path, max_bytes: u64) -> anyhow::Result<Self> {
        file::make_folder(folder).with_context(|| format!("{}: failed to make", folder.display()))?;
        let open = |name: &str| {
            let path = folder.join(name);
            LogFile::open(&path, max_bytes)
                .map(|file| Shared(Arc::new(Mutex::new(file))))
                .with_context(|| format!("{}: failed to open the log", path.display()))
        };
        Ok(Self { general: open(GENERAL)?, api: open(API)?, daemon: open(DAEMON)? })
    }

    fn of_target(&self, target: &str) -> Shared {
        const LIFE_CYCLE: [&str; 4] =
            ["agent::control", "agent::identity", "agent::reload", "agent::shutdown"];
        let file = if target.starts_with("agent::http") {
            &self.api
        } else if LIFE_CYCLE.iter().any(|module| target.starts_with(module)) {
            &self.daemon
        } else {
            &self.general
        };
        Shared(Arc::clone(&file.0))
    }
}

impl<'a> MakeWriter<'a> for Files {
    type Writer = Shared;

    fn make_writer(&'a self) -> Shared {
        self.of_target("")
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Shared {
        self.of_target(metadata.target())
    }
}

/// A log file that threads share.
#[derive(Debug)]
struct Shared(Arc<Mutex<LogFile>>);

impl Write for Shared {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A holder that panicked has written its line or not: nothing is half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is appended to, follows its name, and stays below a bound.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    /// 0: no bound.
    max_bytes: u64,
}

impl LogFile {
    fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Ok(Self { path: path.to_owned(), file, max_bytes })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let own = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(named) if (named.dev(), named.ino()) == (own.dev(), own.ino()) => {
                let reached = own.len().saturating_add(line.len() as u64);
                if self.max_bytes > 0 && own.len() > 0 && reached > self.max_bytes {
                    let mut old = self.path.clone().into_os_string();
                    old.push(".1");
                    fs::rename(&self.path, old)?;
                    *self = Self::open(&self.path, self.max_bytes)?;
                }
            }
            // Rotated, or removed: by logrotate, or by another program that shares it.
            _ => *self = Self::open(&self.path, self.max_bytes)?,
        }
        self.file.write_all(line).map(|()| line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pattoo.log");
        let mut log = LogFile::open(&path, 0).unwrap();
        log.write(b"one\n").unwrap();
        fs::rename(&path, folder.path().join("pattoo.log.old")).unwrap();
        log.write(b"two\n").unwrap();
        fs::remove_file(&path).unwrap();
        log.write(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(fs::read_to_string(folder.path().join("pattoo.log.old")).unwrap(), "one\n");
    }

    #[test]
    fn two_programs_share_a_file_and_it_stays_below_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pattoo.log");
        let mut programs = [LogFile::open(&path, 100).unwrap(), LogFile::open(&path, 100).unwrap()];
        for round in 0..200 {
            programs[round % 2].write(b"0123456789\n").unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= 100);
        }
        assert!(folder.path().join("pattoo.log.1").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn each_part_of_the_program_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), 0).unwrap();
        for (target, name) in [
            ("agent::control::lock", "pattoo-daemon.log"),
            ("agent::http::serve", "pattoo-api.log"),
            ("spoke::spoke", "pattoo.log"),
        ] {
            files.of_target(target).write_all(target.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), target);
        }
        files.of_target("agent::reload").write_all(b"+").unwrap();
        let life = fs::read_to_string(folder.path().join("pattoo-daemon.log")).unwrap();
        assert_eq!(life, "agent::control::lock+");
    }
}
