//! Control: what each option of the command line does.
//!
//! `--start` without a foreground starts the program again, detached, and waits until that one listens or
//! says why it cannot. Exit statuses: 0 done; 1 failed; 2 wrong use, wrong configuration, or already
//! running; 3 `--status` of a stopped program.

mod cli;
mod daemon;
mod lock;
mod stop;
mod systemd;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{Resource, Rlimit};

use crate::config::keys::PATTOO;
use crate::config::{ConfigError, Configuration, Mode, Pattoo};
use crate::http::Rules;
use crate::reload::{Print, Reload, Seen};
use crate::{Program, http, logs};
use cli::{Action, Arguments};
use lock::{Holder, Lock, Paths};

/// What a program can do, besides what all agents do alike.
#[derive(Debug)]
pub struct Actions {
    /// Judges the configuration whole, before anything is started, ended or written.
    pub judge: fn(&Configuration) -> anyhow::Result<()>,
    /// `--check`: judges the configuration too, and returns the lines that say what is in force.
    pub check: fn(&Configuration) -> anyhow::Result<String>,
    /// `--once`.
    pub once: fn(&Configuration) -> anyhow::Result<()>,
    /// `--start`: runs until it is told to stop.
    pub run: fn(&Configuration, &mut Running) -> anyhow::Result<()>,
    /// Options that only this program has.
    pub more: &'static [More],
}

/// An option that only one program has. It takes one value or more.
#[derive(Debug)]
pub struct More {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// What its value is called in `--help`.
    pub value: &'static str,
    /// What it does, for `--help`.
    pub about: &'static str,
    /// A further option that goes with it and arrives as a last value, dashes and all, with what it does.
    pub flag: Option<(&'static str, &'static str)>,
    /// Whether the configuration directory alone is enough, as in the foreground.
    pub lenient: bool,
    /// Does it; the number is the exit status.
    pub act: fn(&Configuration, &[String]) -> anyhow::Result<u8>,
}

/// A program that is starting, with its lock.
#[derive(Debug)]
pub struct Running {
    lock: Option<Lock>,
    told: Option<daemon::Told>,
    again: Again,
}

impl Running {
    /// What follows the configuration while the program runs; `configuration` is in force. To be called before
    /// anybody can know that the program runs: from then on SIGHUP ends nothing.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    pub fn reload(&self, configuration: &Configuration) -> anyhow::Result<Reload> {
        Reload::new(self.again.clone(), configuration)
    }

    /// Says that the program listens on `address`, and for its health alone on `health`, and is ready: to the log, to
    /// the lock file, and to the `--start` that waits.
    pub fn listening(&mut self, address: SocketAddr, health: Option<SocketAddr>) {
        tracing::info!(target: "agent::http", %address, "listening");
        if let Some(health) = health {
            tracing::info!(target: "agent::http", at = %health, "health is answered on a port of its own");
        }
        let asked = health.unwrap_or(address);
        if let Some(Err(error)) = self.lock.as_mut().map(|lock| lock.listening(asked)) {
            tracing::warn!(%error, "failed to write the address to the lock file; --health asks the configured one");
        }
        if let Some(told) = self.told.take() {
            told.ready();
        }
        systemd::notify("READY=1");
    }
}

/// Does what the command line says and returns the exit status.
pub fn main(program: &'static Program, actions: &Actions) -> ExitCode {
    let arguments = match cli::read(program, actions.more) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    match act(program, actions, &arguments) {
        Ok(status) => status,
        Err(error) => {
            let wrong_use = error.is::<ConfigError>() || error.is::<AlreadyRunning>();
            complain(program, &error);
            ExitCode::from(if wrong_use { 2 } else { 1 })
        }
    }
}

#[allow(clippy::print_stderr, reason = "this is where a command's failure is told")]
fn complain(program: &Program, error: &anyhow::Error) {
    eprintln!("{}: {error:#}", program.name);
}

#[allow(clippy::print_stderr, reason = "this is where a command's doubts are told")]
fn warn(program: &Program, doubt: &str) {
    eprintln!("{}: warning: {doubt}", program.name);
}

#[allow(clippy::print_stdout, reason = "this is where a command's answer is told")]
fn say(text: &str) {
    println!("{text}");
}

/// `--start` of what runs already.
#[derive(Debug, thiserror::Error)]
#[error("Daemon is already running - {program}{how}")]
struct AlreadyRunning {
    program: &'static str,
    how: String,
}

fn act(program: &'static Program, actions: &Actions, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mode =
        if arguments.foreground || environment_says_foreground() { Mode::Foreground } else { Mode::Daemon };
    // What only asks wants no more than the directory, as in the foreground.
    let lenient = match arguments.action {
        Action::Check | Action::Once => true,
        Action::More(more, _) => more.lenient,
        _ => false,
    };
    let configuration = Configuration::read(program, if lenient { Mode::Foreground } else { mode })?;
    let pattoo = configuration.pattoo()?;
    let paths = Paths::new(&pattoo.system_daemon_directory, program.name);
    let control = Control { program, actions, configuration, pattoo, paths };
    match &arguments.action {
        Action::More(more, values) => {
            return Ok(ExitCode::from((more.act)(&control.configuration, values)?));
        }
        Action::Check => say(&control.check()?),
        Action::Once => (actions.once)(&control.configuration)?,
        Action::Health => control.health()?,
        Action::Status => return control.status(),
        Action::Stop => stop::stop(program, &control.paths, arguments.force)?,
        Action::Restart => control.restart(arguments.force)?,
        Action::Start if mode == Mode::Daemon => control.start_daemon()?,
        Action::Start => control.run(None)?,
        Action::BecomeDaemon => control.become_daemon()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn environment_says_foreground() -> bool {
    std::env::var("PATTOO_FOREGROUND").is_ok_and(|value| matches!(value.as_str(), "1" | "true" | "yes"))
}

fn holder(paths: &Paths) -> anyhow::Result<Holder> {
    paths.holder().with_context(|| format!("{}: failed to ask who runs", paths.lock_file().display()))
}

fn judge(
    program: &Program,
    of_the_program: fn(&Configuration) -> anyhow::Result<()>,
    configuration: &Configuration,
) -> anyhow::Result<()> {
    let pattoo = configuration.pattoo()?;
    let paths = Paths::new(&pattoo.system_daemon_directory, program.name);
    let daemon = configuration.mode() == Mode::Daemon;
    if daemon {
        configuration.check_directories(&pattoo)?;
    }
    of_the_program(configuration)?;
    let logs = logs::files(&pattoo).into_iter().filter(|_| daemon).map(|file| ("log_directory", file));
    let files = paths.files().map(|file| ("system_daemon_directory", file.to_owned()));
    for (key, file) in logs.chain(files) {
        if file.is_dir() {
            let reason = format!("{}: a directory where a file should be", file.display());
            return Err(configuration.fault_in(PATTOO.name, key, reason).into());
        }
    }
    let folder = &pattoo.system_daemon_directory;
    if folder.exists() && !folder.is_dir() {
        let reason = format!("{}: not a directory", folder.display());
        return Err(configuration.fault_in(PATTOO.name, "system_daemon_directory", reason).into());
    }
    Ok(())
}

/// Reads the configuration of a running program again, and judges it as a start does.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    program: &'static Program,
    mode: Mode,
    directory: PathBuf,
    judge: fn(&Configuration) -> anyhow::Result<()>,
}

impl Again {
    pub(crate) fn program(&self) -> &'static Program {
        self.program
    }

    pub(crate) fn print(&self) -> Print {
        Configuration::print_of(self.program, &self.directory)
    }

    pub(crate) fn read(&self) -> Result<Configuration, Refused> {
        let environment = |name: &str| std::env::var(name).ok();
        let read = Configuration::read_from(self.program, self.mode, self.directory.clone(), environment)
            .map_err(|error| Refused { seen: None, error: error.into() })?;
        match judge(self.program, self.judge, &read) {
            Ok(()) => Ok(read),
            Err(error) => Err(Refused { seen: Some(read.seen()), error }),
        }
    }
}

/// A configuration that is not taken.
#[derive(Debug)]
pub(crate) struct Refused {
    /// On what it stands, where it came so far that this is known.
    pub(crate) seen: Option<Seen>,
    pub(crate) error: anyhow::Error,
}

/// What is in memory, keys among it, is written to no disk when the program dies. To be no subject of `ptrace` either,
/// it would have to give its own `/proc` to root, which it reads.
fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Lowering one's own limit is refused only where a seccomp profile forbids the call; what then holds is the
    // system's own limit.
    let _ = rustix::process::setrlimit(Resource::Core, none);
}

/// A program and its configuration, read.
struct Control<'a> {
    program: &'static Program,
    actions: &'a Actions,
    configuration: Configuration,
    pattoo: Pattoo,
    paths: Paths,
}

impl Control<'_> {
    fn check(&self) -> anyhow::Result<String> {
        let mut report = (self.actions.check)(&self.configuration)?;
        let (rules, address) = (Rules::read(&self.configuration)?, self.configuration.listen()?);
        for warning in rules.warnings(address.ip()) {
            warn(self.program, &warning);
        }
        for warning in &self.configuration.warnings {
            report.push_str(&format!("\nwarning: {warning}"));
        }
        Ok(report)
    }

    fn status(&self) -> anyhow::Result<ExitCode> {
        let running = holder(&self.paths)? != Holder::Nobody;
        say(&format!("Daemon is {} - {}", if running { "running" } else { "stopped" }, self.program.name));
        Ok(if running { ExitCode::SUCCESS } else { ExitCode::from(3) })
    }

    fn health(&self) -> anyhow::Result<()> {
        let configured = || {
            let address = self.configuration.listen()?;
            let port = self.configuration.health_port()?.unwrap_or(address.port());
            anyhow::Ok(SocketAddr::new(address.ip(), port))
        };
        let address = match self.paths.holder() {
            Ok(Holder::Process { address: Some(address), .. }) => address,
            _ => configured()?,
        };
        let over_tls = self.configuration.speaks_tls()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(http::client::check_alive(address, over_tls))
    }

    fn restart(&self, force: bool) -> anyhow::Result<()> {
        self.judge()?; // a bad configuration must not end what runs
        if let Holder::Process { mode: Mode::Foreground, .. } = holder(&self.paths)? {
            anyhow::bail!(
                "{} runs in the foreground, under a supervisor that alone can start it again: \
                 use `docker restart`, `docker compose restart`, `kubectl rollout restart` or `systemctl restart`",
                self.program.name
            );
        }
        stop::stop(self.program, &self.paths, force)?;
        self.start_daemon()
    }

    /// Everything that can be wrong with the configuration, found before anything is started, ended or
    /// written.
    fn judge(&self) -> anyhow::Result<()> {
        judge(self.program, self.actions.judge, &self.configuration)
    }

    fn refuse_if_running(&self) -> anyhow::Result<()> {
        let how = match holder(&self.paths)? {
            Holder::Nobody => return Ok(()),
            Holder::Process { .. } => String::new(),
            Holder::Original(pid) => format!(
                ": process {}, which its pid file names, is not ours; if it is the original daemon, stop it with the original",
                pid.as_raw_nonzero()
            ),
        };
        Err(AlreadyRunning { program: self.program.name, how }.into())
    }

    fn start_daemon(&self) -> anyhow::Result<()> {
        self.judge()?;
        self.refuse_if_running()?;
        daemon::start(&self.configuration)?;
        say(&format!("Daemon started - {}", self.program.name));
        Ok(())
    }

    fn become_daemon(&self) -> anyhow::Result<()> {
        let told = daemon::detach()?;
        let teller = told.try_clone()?;
        self.run(Some(told)).inspect_err(|error| {
            tracing::error!(error = format!("{error:#}"), "ended");
            teller.failed(error);
        })
    }

    fn run(&self, told: Option<daemon::Told>) -> anyhow::Result<()> {
        leave_no_core();
        self.judge()?;
        self.refuse_if_running()?;
        logs::start(&self.pattoo, self.configuration.mode())?;
        tracing::info!(program = self.program.name, version = self.program.version,
            configuration = %self.configuration.directory().display(), "starting");
        for warning in &self.configuration.warnings {
            tracing::warn!("{warning}");
        }
        let again = Again {
            program: self.program,
            mode: self.configuration.mode(),
            directory: self.configuration.directory().to_owned(),
            judge: self.actions.judge,
        };
        let mut running = Running { lock: self.acquire()?, told, again };
        let ended = (self.actions.run)(&self.configuration, &mut running);
        systemd::notify("STOPPING=1");
        tracing::info!("stopped");
        drop(running);
        stop::let_the_asker_finish();
        ended
    }

    fn acquire(&self) -> anyhow::Result<Option<Lock>> {
        match self.paths.acquire(self.configuration.mode()) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Err(AlreadyRunning { program: self.program.name, how: String::new() }.into())
            }
            Err(error) if self.configuration.mode() == Mode::Foreground => {
                tracing::warn!(file = %self.paths.lock_file().display(), %error,
                    "failed to take the lock: --status and --stop cannot find this program; \
                     make system_daemon_directory writable (a tmpfs will do)");
                Ok(None)
            }
            Err(error) => {
                let lock = self.paths.lock_file().display();
                Err(error).with_context(|| format!("{lock}: failed to take the lock"))
            }
        }
    }
}
