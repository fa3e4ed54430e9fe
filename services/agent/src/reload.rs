//! The configuration of a running program, followed: what is good comes into force, what is not changes nothing.
//!
//! The folder, and each file that a key names, is looked at by content, every few seconds: a ConfigMap that is swapped, a bind mount and an editor's
//! rename all look the same so, and inotify does not see each of them. What has changed is read once it stays the same
//! for a moment, since an editor may be in the middle of writing; on SIGHUP it is read at once. It is judged as at a
//! start. A fault is told once in the log, and in `/readyz`'s text and a metric as long as it lasts.
//!
//! The log's level, the directories and the address are the same for all agents, and are followed here; the rest is
//! the program's.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::config::{Configuration, Pattoo, keys};
use crate::control::Again;
use crate::http::health::Health;
use crate::logs;
use crate::shutdown::Stop;
use crate::tls::files;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(4);

/// For how long it has to stay as it is before it is read.
const SETTLE: Duration = Duration::from_millis(500);

/// What files hold, as one number: whether they hold the same now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(u64);

impl Print {
    /// Of these files of a directory; one that is missing or cannot be read counts as just that.
    pub(crate) fn of<'a>(directory: &Path, files: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = DefaultHasher::new();
        for file in files {
            let content = std::fs::read(directory.join(file)).map_err(|error| error.kind());
            content.hash(&mut hasher);
        }
        Self(hasher.finish())
    }

    /// Of one file, as it was read or not.
    pub(crate) fn of_content(content: &io::Result<Vec<u8>>) -> Self {
        let mut hasher = DefaultHasher::new();
        content.as_ref().map_err(io::Error::kind).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Everything that a reading of the configuration stands on: its own files, and those that its keys name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) directory: Print,
    pub(crate) beside: BTreeMap<PathBuf, Print>,
}

impl Seen {
    /// The same files, as they are now.
    pub(crate) fn again(&self, directory: Print) -> Self {
        let now = |path: &PathBuf| (path.clone(), Print::of_content(&files::read(path)));
        Self { directory, beside: self.beside.keys().map(now).collect() }
    }
}

/// What a reading changes, key by key.
#[derive(Debug, Default)]
pub struct Change {
    in_force: Vec<String>,
    restart: Vec<String>,
}

impl Change {
    /// A key that comes into force at once, where it differs.
    pub fn at_once(&mut self, section: &str, key: &str, differs: bool) {
        if differs {
            self.in_force.push(format!("{section}.{key}"));
        }
    }

    /// Whether anything comes into force at once.
    pub fn is_at_once(&self) -> bool {
        !self.in_force.is_empty()
    }

    /// A key that comes into force with the next start, where it differs from what is in force.
    pub fn at_restart(&mut self, section: &str, key: &str, differs: bool) {
        if differs {
            self.restart.push(format!("{section}.{key}"));
        }
    }

    /// What the parts that all agents have in common change.
    fn of_all(&mut self, program: &str, before: &Common, now: &Common) {
        let (was, is) = (&before.pattoo, &now.pattoo);
        let section = keys::PATTOO.name;
        self.at_once(section, "log_level", was.log_level != is.log_level);
        self.at_restart(section, "log_format", was.log_format != is.log_format);
        self.at_restart(section, "log_max_bytes", was.log_max_bytes != is.log_max_bytes);
        self.at_restart(section, "log_directory", was.log_directory != is.log_directory);
        self.at_restart(section, "cache_directory", was.cache_directory != is.cache_directory);
        self.at_restart(section, "daemon_directory", was.daemon_directory != is.daemon_directory);
        let (was, is) = (&was.system_daemon_directory, &is.system_daemon_directory);
        self.at_restart(section, "system_daemon_directory", was != is);
        self.at_restart(program, "ip_listen_address", before.listen.ip() != now.listen.ip());
        self.at_restart(program, "ip_bind_port", before.listen.port() != now.listen.port());
    }
}

/// What is the same for all agents.
#[derive(Debug)]
struct Common {
    pattoo: Pattoo,
    listen: std::net::SocketAddr,
}

impl Common {
    fn of(configuration: &Configuration) -> anyhow::Result<Self> {
        Ok(Self { pattoo: configuration.pattoo()?, listen: configuration.listen()? })
    }
}

/// Follows the configuration of a running program.
#[derive(Debug)]
pub struct Reload {
    again: Again,
    hangup: Signal,
    /// What was read last.
    seen: Seen,
    in_force: Common,
    /// What was told last of each, so that it is told once.
    fault: Option<String>,
    restart: Vec<String>,
    warnings: Vec<String>,
}

impl Reload {
    /// Listens for SIGHUP from now on, which would end the program otherwise. `configuration` is in force.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    pub(crate) fn new(again: Again, configuration: &Configuration) -> anyhow::Result<Self> {
        Ok(Self {
            again,
            hangup: signal(SignalKind::hangup())?,
            seen: configuration.seen(),
            in_force: Common::of(configuration)?,
            fault: None,
            restart: Vec::new(),
            warnings: configuration.warnings.clone(),
        })
    }

    /// Follows until `stop`. `apply` brings a good configuration into force and says what it has changed; what is the
    /// same for all agents is no business of its.
    ///
    /// # Errors
    /// The metrics cannot be made.
    pub fn follow(
        self,
        registry: &Registry,
        health: Health,
        stop: Stop,
        apply: impl FnMut(&Configuration, &mut Change) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let shown = Shown::new(registry, health)?;
        Ok(tokio::spawn(self.run(shown, stop, apply)))
    }

    async fn run(
        mut self,
        shown: Shown,
        mut stop: Stop,
        mut apply: impl FnMut(&Configuration, &mut Change) -> anyhow::Result<()>,
    ) {
        loop {
            let asked = tokio::select! {
                () = stop.wait() => return,
                Some(()) = self.hangup.recv() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let Ok(now) = self.look().await else { continue };
            if asked {
                tracing::info!("SIGHUP: the configuration is read again");
            } else if now == self.seen || !self.settles(&now).await {
                continue;
            }
            self.seen = now;
            let again = self.again.clone();
            // A reading that died has told why, and changes nothing.
            let Ok(read) = spawn_blocking(move || again.read()).await else { continue };
            let taken = match read {
                Ok(configuration) => {
                    let taken = self.take(&configuration, &mut apply);
                    self.seen = configuration.seen();
                    taken
                }
                Err(refused) => {
                    self.seen = refused.seen.unwrap_or(self.seen);
                    Err(refused.error)
                }
            };
            self.tell(&shown, taken, asked);
        }
    }

    /// What the files hold now.
    async fn look(&self) -> io::Result<Seen> {
        let (again, seen) = (self.again.clone(), self.seen.clone());
        // It may wait for a disk, or for a mount that hangs.
        spawn_blocking(move || seen.again(again.print())).await.map_err(io::Error::other)
    }

    /// Whether the files stay as they are for a moment; if not, the next look will find it.
    async fn settles(&self, now: &Seen) -> bool {
        tokio::time::sleep(SETTLE).await;
        self.look().await.is_ok_and(|later| later == *now)
    }

    fn take(
        &mut self,
        configuration: &Configuration,
        apply: &mut impl FnMut(&Configuration, &mut Change) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Change, Vec<String>)> {
        let now = Common::of(configuration)?;
        let mut change = Change::default();
        change.of_all(self.again.program().name, &self.in_force, &now);
        apply(configuration, &mut change)?;
        // Last, so that a fault of the others leaves it as it was.
        if self.in_force.pattoo.log_level != now.pattoo.log_level {
            self.in_force.pattoo.log_level = now.pattoo.log_level;
            logs::set_level(now.pattoo.log_level);
        }
        Ok((change, configuration.warnings.clone()))
    }

    /// Tells what became of a reading: each thing once.
    fn tell(&mut self, shown: &Shown, taken: anyhow::Result<(Change, Vec<String>)>, asked: bool) {
        let (change, warnings) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                let fault = format!("{error:#}").replace('\n', " ");
                shown.refused(&fault);
                if self.fault.as_ref() != Some(&fault) {
                    tracing::error!(error = %fault, "the configuration is not taken; what was in force stays");
                    self.fault = Some(fault);
                }
                return;
            }
        };
        shown.taken(&change.restart);
        for warning in warnings.iter().filter(|warning| !self.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.warnings = warnings;
        let was_faulty = self.fault.take().is_some();
        if !change.in_force.is_empty() {
            tracing::info!(
                changed = change.in_force.join(" "),
                "the configuration has changed and is in force"
            );
        } else if was_faulty {
            tracing::info!("the configuration is good again; nothing that is in force has changed");
        } else if asked {
            tracing::info!("nothing that is in force has changed");
        }
        if change.restart != self.restart {
            if !change.restart.is_empty() {
                tracing::warn!(
                    keys = change.restart.join(" "),
                    "the configuration has changed where it takes a restart; until then what was in force stays"
                );
            }
            self.restart = change.restart;
        }
    }
}

/// What everybody can see of it.
#[derive(Debug)]
struct Shown {
    health: Health,
    reloads: IntCounterVec,
    success: IntGauge,
    restart_needed: IntGauge,
}

impl Shown {
    fn new(registry: &Registry, health: Health) -> prometheus::Result<Self> {
        let reloads =
            Opts::new("config_reloads_total", "Configurations that were read while the program ran.");
        let this = Self {
            health,
            reloads: IntCounterVec::new(reloads, &["result"])?,
            success: IntGauge::new(
                "config_last_reload_success",
                "1 unless the configuration was not taken.",
            )?,
            restart_needed: IntGauge::new(
                "config_restart_needed",
                "1 while the configuration says what only a restart brings into force.",
            )?,
        };
        for result in ["taken", "refused"] {
            this.reloads.with_label_values(&[result]);
        }
        this.success.set(1);
        registry.register(Box::new(this.reloads.clone()))?;
        registry.register(Box::new(this.success.clone()))?;
        registry.register(Box::new(this.restart_needed.clone()))?;
        Ok(this)
    }

    fn refused(&self, fault: &str) {
        self.reloads.with_label_values(&["refused"]).inc();
        self.success.set(0);
        self.health.note(
            "configuration",
            Some(format!("the configuration is not taken, what was in force stays: {fault}")),
        );
    }

    fn taken(&self, restart: &[String]) {
        self.reloads.with_label_values(&["taken"]).inc();
        self.success.set(1);
        self.restart_needed.set(i64::from(!restart.is_empty()));
        let note = format!("a restart is needed to bring into force: {}", restart.join(" "));
        self.health.note("configuration", None);
        self.health.note("restart", (!restart.is_empty()).then_some(note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_print_follows_the_content_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let print = || Print::of(folder.path(), ["a", "b"]);
        let missing = print();
        std::fs::write(folder.path().join("a"), "1").unwrap();
        let one = print();
        std::fs::write(folder.path().join("c"), "somebody else's").unwrap();
        std::fs::write(folder.path().join("a"), "1").unwrap();
        assert_eq!(print(), one);
        std::fs::write(folder.path().join("a"), "2").unwrap();
        let another = print();
        std::fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        let moved = print();
        std::fs::write(folder.path().join("b"), "").unwrap();
        let empty = print();
        let all = [missing, one, another, moved, empty];
        assert!((0..5).all(|at| all.iter().filter(|print| **print == all[at]).count() == 1), "{all:?}");
    }
}
