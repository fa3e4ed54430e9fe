//! Configuration: the files of `PATTOO_CONFIGDIR`, then the environment (`<SECTION>__<KEY>`).
//!
//! Each program reads `pattoo.yaml`, `pattoo_agent.yaml` and its own `<program>.yaml`, in this order; what
//! is read later wins, key by key. Other programs' files and sections are none of its business.

mod error;
pub mod keys;
mod sources;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use figment::Figment;
use rustix::fs::Access;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use error::ConfigError;
use error::hint;
use keys::Section;
use sources::Source;
pub use sources::{quoted, written};

use crate::reload::{Print, Seen};
use crate::tls::files;
use crate::{Program, file};

/// Whether the program is supervised by something else, or is its own daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the foreground: logs to standard output, only the directory must exist.
    Foreground,
    /// As a daemon: `pattoo.yaml` and the program's own file must exist, and name the directories.
    Daemon,
}

/// What was read, merged.
#[derive(Debug)]
pub struct Configuration {
    program: &'static Program,
    mode: Mode,
    directory: PathBuf,
    values: Figment,
    print: Print,
    /// The files that keys name and that were read, as they were.
    beside: Mutex<BTreeMap<PathBuf, Print>>,
    /// What is odd but does not stop the program; to be logged once logging works.
    pub warnings: Vec<String>,
}

/// The files that a program reads, in this order.
fn files_of(program: &Program) -> [String; 3] {
    ["pattoo.yaml".to_owned(), "pattoo_agent.yaml".to_owned(), format!("{}.yaml", program.name)]
}

impl Configuration {
    /// Reads the directory that `PATTOO_CONFIGDIR` names, `/etc/pattoo` where it is not set.
    ///
    /// # Errors
    /// Any [`ConfigError`]; nothing was changed then.
    pub fn read(program: &'static Program, mode: Mode) -> Result<Self, ConfigError> {
        let directory = std::env::var_os("PATTOO_CONFIGDIR").filter(|dir| !dir.is_empty());
        let directory = directory.map_or_else(|| PathBuf::from("/etc/pattoo"), PathBuf::from);
        Self::read_from(program, mode, directory, |name| std::env::var(name).ok())
    }

    /// Reads `directory`, with an environment of the caller's.
    ///
    /// # Errors
    /// As [`Configuration::read`].
    pub fn read_from(
        program: &'static Program,
        mode: Mode,
        directory: PathBuf,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        std::fs::read_dir(&directory)
            .map_err(|source| ConfigError::Directory { path: directory.clone(), source })?;
        // Before they are read, so that whoever looks later sees each change.
        let print = Self::print_of(program, &directory);
        let sections: Vec<&'static Section> = program.sections().collect();
        let mut values = Figment::new();
        let mut warnings = Vec::new();
        for name in &files_of(program) {
            let path = directory.join(name);
            let wanted = mode == Mode::Daemon && name != "pattoo_agent.yaml";
            if !wanted && matches!(path.try_exists(), Ok(false)) {
                continue;
            }
            let mut source = Source::file(&path, &sections)?;
            warnings.append(&mut source.warnings);
            values = values.merge(source);
        }
        values = values.merge(Source::environment(&sections, environment)?);
        Ok(Self { program, mode, directory, values, print, beside: Mutex::default(), warnings })
    }

    /// What files with these texts would say, in this order, and an environment: for `services/fuzz` alone.
    ///
    /// # Errors
    /// As [`Configuration::read`].
    #[doc(hidden)]
    pub fn of_texts(
        program: &'static Program,
        mode: Mode,
        texts: &[(&str, &str)],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let directory = PathBuf::from("/made-up");
        let sections: Vec<&'static Section> = program.sections().collect();
        let mut values = Figment::new();
        let mut warnings = Vec::new();
        for (name, text) in texts {
            let mut source = Source::text(&directory.join(name), text, &sections)?;
            warnings.append(&mut source.warnings);
            values = values.merge(source);
        }
        values = values.merge(Source::environment(&sections, environment)?);
        Ok(Self {
            program,
            mode,
            print: Print::of(&directory, []),
            directory,
            values,
            beside: Mutex::default(),
            warnings,
        })
    }

    /// On what it stands: what all files held when they were read.
    pub(crate) fn seen(&self) -> Seen {
        let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Seen { directory: self.print, beside }
    }

    /// A number of the own section, or its default where none is written.
    ///
    /// # Errors
    /// It is less than `least` or more than `most`.
    pub fn within(
        &self,
        key: &str,
        written: Option<u64>,
        default: u64,
        least: u64,
        most: u64,
    ) -> Result<u64, ConfigError> {
        let value = written.unwrap_or(default);
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(self.fault(key, format!("a number from {least} to {most} is expected, found {value}")))
    }

    /// Reads the file that a key names; `written` is the key's value. From then on the file is looked at like the
    /// configuration itself: when it changes, all is read again.
    ///
    /// # Errors
    /// It cannot be read, is larger than 1 MiB, or `parse` refuses it; by key and file.
    pub fn read_file<T>(
        &self,
        section: &'static str,
        key: &str,
        written: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, files::Fault>,
    ) -> Result<(T, Named), ConfigError> {
        let path = expand_home(written);
        let content = files::read(&path);
        let print = Print::of_content(&content);
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), print);
        let fault = |words: String| self.fault_in(section, key, format!("{}: {words}", path.display()));
        let content = content.map_err(|error| {
            fault(format!("failed to read: {error}; a file is expected that the program's user may read"))
        })?;
        let parsed = parse(&content).map_err(|words| fault(words.to_string()))?;
        Ok((parsed, Named { path, print }))
    }

    /// What the program's files in a directory hold now.
    pub(crate) fn print_of(program: &Program, directory: &Path) -> Print {
        Print::of(directory, files_of(program).iter().map(String::as_str))
    }

    /// Whether the directory was read for the foreground or for a daemon.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The directory that was read.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name of the program's own section.
    pub fn own_section(&self) -> &'static str {
        self.program.section.name
    }

    /// The program's own section.
    ///
    /// # Errors
    /// A value that does not fit, with file, section and key.
    pub fn own<T: DeserializeOwned + Default>(&self) -> Result<T, ConfigError> {
        self.section(self.program.section.name)
    }

    /// The section `name`, or its defaults where no file has it.
    ///
    /// # Errors
    /// A value that does not fit, with file, section and key.
    pub fn section<T: DeserializeOwned + Default>(&self, name: &'static str) -> Result<T, ConfigError> {
        if self.values.find_value(name).is_err() {
            return Ok(T::default());
        }
        self.values.extract_inner(name).map_err(|error| {
            let key = error.path.iter().filter(|part| *part != name).cloned().collect::<Vec<_>>().join(".");
            ConfigError::Value {
                place: self.place_of(&error),
                section: name,
                key,
                reason: reason_of(&error.kind),
            }
        })
    }

    fn place_of(&self, error: &figment::Error) -> String {
        let metadata = error.metadata.as_ref();
        metadata.map_or_else(|| self.directory.display().to_string(), |metadata| metadata.name.to_string())
    }

    /// A fault of the value of `key` in the program's own section, found by the program itself.
    pub fn fault(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        self.fault_in(self.program.section.name, key, reason)
    }

    /// A fault of the value of `key` in any section that the program reads.
    pub fn fault_in(&self, section: &'static str, key: &str, reason: impl Into<String>) -> ConfigError {
        let place = self.values.find_metadata(&format!("{section}.{key}"));
        let place =
            place.map_or_else(|| self.directory.display().to_string(), |found| found.name.to_string());
        ConfigError::Value { place, section, key: key.to_owned(), reason: reason.into() }
    }

    /// Section `pattoo`, with the directories that are in force.
    ///
    /// # Errors
    /// A value that does not fit; in a daemon also a directory that is not named.
    pub fn pattoo(&self) -> Result<Pattoo, ConfigError> {
        let written: WrittenPattoo = self.section(keys::PATTOO.name)?;
        let directory = |key: &str, value: &Option<String>, default: &str| match value {
            Some(text) => Ok(expand_home(text)),
            None if self.mode == Mode::Foreground => Ok(PathBuf::from(default)),
            None => Err(ConfigError::value(
                &self.directory.join("pattoo.yaml"),
                keys::PATTOO.name,
                key,
                "missing; a daemon has no default for it",
            )),
        };
        let daemon_directory =
            directory("daemon_directory", &written.daemon_directory, "/var/lib/pattoo/daemon")?;
        Ok(Pattoo {
            log_level: written.log_level,
            log_format: written.log_format,
            log_max_bytes: written.log_max_bytes.unwrap_or(DEFAULT_LOG_MAX_BYTES),
            log_directory: directory("log_directory", &written.log_directory, "/var/log/pattoo")?,
            cache_directory: directory("cache_directory", &written.cache_directory, "/var/lib/pattoo/cache")?,
            system_daemon_directory: match &written.system_daemon_directory {
                Some(text) => expand_home(text),
                None if self.mode == Mode::Foreground => PathBuf::from("/run/pattoo"),
                None => daemon_directory.clone(),
            },
            daemon_directory,
        })
    }

    /// Judges whether the directories of section `pattoo` can be written to, making those that are missing.
    ///
    /// # Errors
    /// The first that cannot, by its key.
    pub fn check_directories(&self, pattoo: &Pattoo) -> Result<(), ConfigError> {
        [
            ("daemon_directory", &pattoo.daemon_directory),
            ("system_daemon_directory", &pattoo.system_daemon_directory),
            ("cache_directory", &pattoo.cache_directory),
            ("log_directory", &pattoo.log_directory),
        ]
        .into_iter()
        .try_for_each(|(key, path)| self.check_directory(key, path))
    }

    /// Judges whether one directory of section `pattoo` can be written to, making it if it is missing.
    ///
    /// # Errors
    /// It cannot; by its key.
    pub fn check_directory(&self, key: &str, path: &Path) -> Result<(), ConfigError> {
        let writable = file::make_folder(path)
            .and_then(|()| Ok(rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)?));
        writable.map_err(|error| {
            let reason = format!("{}: no directory that can be written to: {error}", path.display());
            self.fault_in(keys::PATTOO.name, key, reason)
        })
    }

    /// The port where health is answered apart.
    ///
    /// # Errors
    /// A port out of range.
    pub(crate) fn health_port(&self) -> Result<Option<u16>, ConfigError> {
        Ok(self.own::<WrittenListen>()?.health_port)
    }

    /// Whether the pages are served over TLS.
    ///
    /// # Errors
    /// A value that is no text.
    pub(crate) fn speaks_tls(&self) -> Result<bool, ConfigError> {
        Ok(self.own::<WrittenListen>()?.tls_certificate_file.is_some_and(|path| !path.trim().is_empty()))
    }

    /// Where the program listens.
    ///
    /// # Errors
    /// An address that is none, or a port out of range.
    pub fn listen(&self) -> Result<SocketAddr, ConfigError> {
        let written: WrittenListen = self.own()?;
        let (address, port) = self.program.listen;
        let address = written.ip_listen_address.as_deref().unwrap_or(address);
        let ip = match address.trim() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            text => text.parse().map_err(|_| {
                self.fault("ip_listen_address", format!("an IP address is expected, found {text:?}"))
            })?,
        };
        Ok(SocketAddr::new(ip, written.ip_bind_port.unwrap_or(port)))
    }
}

/// A file that a key names, as it was read: differs where the key names another or the content has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Where it is.
    pub path: PathBuf,
    print: Print,
}

/// Section `pattoo` as it is in force.
#[derive(Clone, Debug, Serialize)]
pub struct Pattoo {
    /// How much is logged.
    pub log_level: LogLevel,
    /// Text or JSON.
    pub log_format: LogFormat,
    /// At this size in bytes a log file is moved to `<name>.1`; 0: never.
    pub log_max_bytes: u64,
    /// Where a daemon writes its logs.
    pub log_directory: PathBuf,
    /// Where the hub keeps what is not delivered yet.
    pub cache_directory: PathBuf,
    /// Where identities are kept.
    pub daemon_directory: PathBuf,
    /// Where pid and lock files are.
    pub system_daemon_directory: PathBuf,
}

/// How much is logged; the names are the original's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Data lost, or a person needed.
    #[serde(alias = "critical")]
    Error,
    /// Degraded, nothing lost.
    #[serde(alias = "warn")]
    Warning,
    /// Life cycle and changes of state.
    Info,
    /// Each poll. The original's default.
    #[default]
    Debug,
}

/// What is wrong with a value, in words; one of a few words is answered with the one that is meant.
fn reason_of(kind: &figment::error::Kind) -> String {
    match kind {
        figment::error::Kind::UnknownVariant(found, known) => {
            let meant = hint(&keys::nearest(found, known.iter().copied()));
            format!("one of {} is expected, found {found:?}{meant}", known.join(", "))
        }
        other => other.to_string(),
    }
}

/// How a line of log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Three files and their predecessors then take 60 MiB at most.
const DEFAULT_LOG_MAX_BYTES: u64 = 10 << 20;

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenPattoo {
    log_level: LogLevel,
    log_format: LogFormat,
    log_max_bytes: Option<u64>,
    log_directory: Option<String>,
    cache_directory: Option<String>,
    daemon_directory: Option<String>,
    system_daemon_directory: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenListen {
    ip_listen_address: Option<String>,
    ip_bind_port: Option<u16>,
    health_port: Option<u16>,
    tls_certificate_file: Option<String>,
}

/// Replaces a leading `~` by the home directory, as the original does. A relative path counts from `/`, where
/// a daemon stands: so `--start` and `--status` mean the same folder wherever they are called.
pub fn expand_home(text: &str) -> PathBuf {
    match (text.strip_prefix('~'), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            PathBuf::from(home).join(rest.trim_start_matches('/'))
        }
        _ => Path::new("/").join(text),
    }
}

#[cfg(test)]
mod tests;
