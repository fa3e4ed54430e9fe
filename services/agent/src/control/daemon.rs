//! Becoming a daemon without forking a running program: `--start` starts the program again with a hidden
//! option, and that one leaves the session, the terminal and the directory behind.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use rustix::fs::Mode as FileMode;

use crate::config::Configuration;

/// How long a daemon may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The line with which a daemon says that it listens; any other is the reason why it does not.
const READY: &str = "ready";

/// Starts the daemon and waits until it listens.
///
/// # Errors
/// The reason that the daemon gave, or that it gave none in time.
pub(super) fn start(configuration: &Configuration) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("failed to find the own program file")?;
    let directory = std::path::absolute(configuration.directory())?;
    let mut child = Command::new(&program)
        .arg("--become-daemon")
        .env("PATTOO_CONFIGDIR", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{}: failed to start", program.display()))?;
    let output = child.stdout.take().context("failed to listen to the daemon")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // A daemon that died says nothing: the empty line tells just that.
        let _ = BufReader::new(output).read_line(&mut line);
        let _ = sender.send(line);
    });
    match receiver.recv_timeout(START_LIMIT).as_deref().map(str::trim_end) {
        Ok(READY) => Ok(()),
        Ok("") => {
            let status = child.wait()?;
            anyhow::bail!("the daemon ended before it listened ({status}); its log may say why")
        }
        Ok(reason) => {
            child.wait()?;
            anyhow::bail!("{}", reason.to_owned())
        }
        Err(_) => anyhow::bail!(
            "the daemon (process {}) did not listen within {} s; its log may say why",
            child.id(),
            START_LIMIT.as_secs()
        ),
    }
}

/// The pipe to the `--start` that waits.
#[derive(Debug)]
pub(super) struct Told(File);

/// Leaves session and terminal, in the process that is to be the daemon.
///
/// # Errors
/// The system refuses.
pub(super) fn detach() -> anyhow::Result<Told> {
    let pipe = Told(File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?));
    // Fails only for a process that leads a group already; then there is no session to leave.
    let _ = rustix::process::setsid();
    rustix::process::umask(FileMode::from_raw_mode(0o027));
    std::env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(pipe)
}

impl Told {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The program listens.
    pub(super) fn ready(mut self) {
        // Whoever waited may be gone; the daemon lives on.
        let _ = writeln!(self.0, "{READY}");
    }

    /// The program ends, for that reason.
    pub(super) fn failed(mut self, error: &anyhow::Error) {
        let _ = writeln!(self.0, "{}", format!("{error:#}").replace('\n', " "));
    }
}
