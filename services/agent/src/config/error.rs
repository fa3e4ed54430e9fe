//! What can be wrong with configuration. Each message names the place and the way out.

use std::path::{Path, PathBuf};

/// A fault of configuration: exit status 2, nothing started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The directory cannot be listed.
    #[error("{}: failed to read the configuration directory; create it or set PATTOO_CONFIGDIR to another", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that must be there or that is there cannot be read.
    #[error("{}: failed to read the configuration file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no YAML, or its top is no mapping.
    #[error("{}: not a YAML mapping of sections: {reason}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// An agent_id is kept and cannot be told: another would rename every series.
    #[error("{}: failed to read the kept agent_id: {reason}; mend the file, or remove it to begin all series anew", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key that the section does not have.
    #[error("{place}: section {section}: unknown key {key}{}", hint(.nearest))]
    UnknownKey {
        /// File or environment variable.
        place: String,
        /// Section.
        section: &'static str,
        /// The key as it was written.
        key: String,
        /// The known key that is meant, perhaps.
        nearest: Option<&'static str>,
    },
    /// A value that does not fit its key.
    #[error("{place}: section {section}: key {key}: {reason}")]
    Value {
        /// File or environment variable.
        place: String,
        /// Section.
        section: &'static str,
        /// Key, with the place in a list.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ConfigError {
    /// A fault of a value, found while the value is used.
    pub fn value(place: &Path, section: &'static str, key: &str, reason: impl Into<String>) -> Self {
        Self::Value {
            place: place.display().to_string(),
            section,
            key: key.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The end of a message that names the word that is meant, perhaps.
pub(super) fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}
