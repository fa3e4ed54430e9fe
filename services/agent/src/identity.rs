//! Which agent this is: the agent_id, which names every series together with the checksums.
//!
//! An id is looked for in this order: the file of the original
//! (`<daemon_directory>/agent_id/<program>.agent_id`); configuration; derived from the machine and its name;
//! random. What was derived or drawn is written to the file, so that it stays.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config::ConfigError;
use crate::file;

/// An agent_id and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentId {
    /// The id.
    pub id: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where an agent_id came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Kept in this file.
    File(PathBuf),
    /// Given by configuration.
    Configuration,
    /// Derived from machine-id and node name.
    Derived,
    /// Drawn at random, now.
    Random,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(out, "file {}", path.display()),
            Self::Configuration => out.write_str("configuration"),
            Self::Derived => out.write_str("derived from machine-id and host name"),
            Self::Random => out.write_str("random"),
        }
    }
}

/// What an agent_id can be made from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The program's name.
    pub program: &'a str,
    /// Where identities are kept.
    pub daemon_directory: &'a Path,
    /// `agent_id` of the program's section.
    pub configured: Option<&'a str>,
    /// The text of the host's machine-id file, where it could be read.
    pub machine_id: Option<&'a str>,
    /// The host's name.
    pub node: &'a str,
}

impl Sources<'_> {
    fn path(&self) -> PathBuf {
        self.daemon_directory.join("agent_id").join(format!("{}.agent_id", self.program))
    }

    /// Finds the id without writing anything, as `--check` does. An empty file keeps none.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds something else: another id would rename every series.
    pub fn find(&self) -> Result<AgentId, ConfigError> {
        let path = self.path();
        let fault = |reason: String| ConfigError::Identity { path: path.clone(), reason };
        let kept = match std::fs::read(&path) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(fault(error.to_string())),
        };
        let kept = kept.trim_ascii();
        if !kept.is_empty() {
            let id = std::str::from_utf8(kept).ok().filter(|id| is_sha256(id));
            let id = id.ok_or_else(|| fault("it holds no 64 hexadecimal digits".to_owned()))?.to_owned();
            return Ok(AgentId { id, origin: Origin::File(path) });
        }
        if let Some(id) = self.configured {
            return Ok(AgentId { id: id.to_owned(), origin: Origin::Configuration });
        }
        Ok(match self.machine_id.and_then(real_machine_id) {
            Some(machine) => {
                let seed = format!("{}\n{machine}\n{}", self.program, self.node);
                AgentId { id: hex(&Sha256::digest(seed)), origin: Origin::Derived }
            }
            None => AgentId { id: hex(&rand::random::<[u8; 32]>()), origin: Origin::Random },
        })
    }

    /// Finds the id and keeps one that was derived or drawn. Says what a person should know.
    ///
    /// # Errors
    /// As [`Sources::find`].
    pub fn find_and_keep(&self) -> Result<AgentId, ConfigError> {
        let found = self.find()?;
        if let (Origin::File(path), Some(other)) = (&found.origin, self.configured)
            && other != found.id
        {
            tracing::warn!(kept = %found.id, configured = %other, file = %path.display(),
                "the kept agent_id differs from the configured one; the kept one is used, so that every series continues");
        }
        if matches!(found.origin, Origin::Derived | Origin::Random) {
            let path = self.path();
            let folder = path.parent().unwrap_or(self.daemon_directory);
            let kept =
                file::make_folder(folder).and_then(|()| file::write_atomic(&path, found.id.as_bytes()));
            match (kept, &found.origin) {
                (Err(error), Origin::Random) => tracing::warn!(file = %path.display(), %error,
                    "failed to keep the random agent_id: it will be another after a restart, and every series with it; \
                     make the folder writable or set agent_id"),
                (Err(error), _) => tracing::debug!(file = %path.display(), %error,
                    "failed to keep the derived agent_id; it is derived again at the next start"),
                (Ok(()), _) => {}
            }
        }
        tracing::info!(agent_id = %found.id, origin = %found.origin, "identity");
        Ok(found)
    }
}

/// Whether `id` may name an agent, as a source or in a body:
/// `[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}`. Such an id is safe as a file name.
pub fn is_agent_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=128).contains(&id.len())
        && id.bytes().enumerate().all(|(at, byte)| plain(byte) || (byte == b'.' && at > 0))
}

/// Whether a text looks as the original's ids do.
fn is_sha256(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A machine-id counts only if a machine has it: an image's placeholder would make many hosts one.
fn real_machine_id(text: &str) -> Option<&str> {
    let id = text.trim();
    let real = !id.is_empty() && id != "uninitialized" && id.bytes().any(|byte| byte != b'0');
    real.then_some(id)
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources<'a>(
        folder: &'a Path,
        configured: Option<&'a str>,
        machine_id: Option<&'a str>,
    ) -> Sources<'a> {
        Sources { program: "prog", daemon_directory: folder, configured, machine_id, node: "node" }
    }

    #[test]
    fn a_random_id_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = sources(folder.path(), None, None).find_and_keep().unwrap();
        assert_eq!(first.origin, Origin::Random);
        assert_eq!(first.id.len(), 64);
        let second = sources(folder.path(), None, Some("abc")).find_and_keep().unwrap();
        assert_eq!(second.id, first.id);
        assert!(matches!(second.origin, Origin::File(_)));
    }

    #[test]
    fn an_empty_file_is_no_identity() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("agent_id")).unwrap();
        let path = folder.path().join("agent_id/prog.agent_id");
        std::fs::write(&path, "\n").unwrap();
        let found = sources(folder.path(), Some("given"), None).find().unwrap();
        assert_eq!((found.id.as_str(), found.origin), ("given", Origin::Configuration));
        let made = sources(folder.path(), None, Some("m1")).find_and_keep().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), made.id);
    }

    #[test]
    fn a_file_that_keeps_something_else_is_an_error_and_no_new_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent_id/prog.agent_id");
        std::fs::create_dir_all(&path).unwrap();
        let error = sources(folder.path(), Some("given"), None).find_and_keep().unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        std::fs::remove_dir(&path).unwrap();
        for text in ["3f9a", "x", "\u{e4}", &"g".repeat(64)] {
            std::fs::write(&path, text).unwrap();
            sources(folder.path(), None, Some("m1")).find_and_keep().unwrap_err();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_placeholder_machine_id_is_no_machine() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "\n", "uninitialized\n", "00000000000000000000000000000000"] {
            assert_eq!(
                sources(folder.path(), None, Some(text)).find().unwrap().origin,
                Origin::Random,
                "{text:?}"
            );
        }
        let one = sources(folder.path(), None, Some("m1\n")).find().unwrap();
        assert_eq!(one.origin, Origin::Derived);
        assert_eq!(one, sources(folder.path(), None, Some("m1")).find().unwrap());
        assert_ne!(one.id, sources(folder.path(), None, Some("m2")).find().unwrap().id);
    }

    #[test]
    fn ids_that_could_become_a_path_are_refused() {
        for id in ["", ".", "..", ".a", "a/b", "a\\b", "a b", "ä", &"a".repeat(129)] {
            assert!(!is_agent_id(id), "{id:?}");
        }
        for id in ["a", "a.b", "-", "_x", &"0".repeat(64)] {
            assert!(is_agent_id(id), "{id:?}");
        }
    }
}
