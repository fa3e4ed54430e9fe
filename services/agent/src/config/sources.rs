//! Where values come from: the YAML files of the directory, then the environment.
//!
//! `serde_yaml` is met here and in the printing of `--check` alone, so that another YAML library can take
//! its place.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use serde_yaml::Value as Yaml;

use super::error::ConfigError;
use super::keys::{Kind, Section};

/// The sections of one source.
#[derive(Debug)]
pub(super) struct Source {
    place: Place,
    sections: Dict,
    /// Keys that are unknown and only warned of.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Environment,
}

impl Source {
    /// Reads one file; a section that is not in `sections` is somebody else's and is not looked at.
    pub(super) fn file(path: &Path, sections: &[&'static Section]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        Self::text(path, &text, sections)
    }

    /// What a file at `path` says that holds `text`.
    pub(super) fn text(path: &Path, text: &str, sections: &[&'static Section]) -> Result<Self, ConfigError> {
        let yaml = |reason: String| ConfigError::Yaml { path: path.to_owned(), reason };
        let mut source =
            Self { place: Place::File(path.to_owned()), sections: Dict::new(), warnings: Vec::new() };
        let top = match serde_yaml::from_str::<Yaml>(text).map_err(|e| yaml(e.to_string()))? {
            Yaml::Null => return Ok(source),
            Yaml::Mapping(top) => top,
            _ => return Err(yaml("the top is a list or a single value".to_owned())),
        };
        for section in sections {
            match top.get(section.name) {
                None | Some(Yaml::Null) => {}
                Some(Yaml::Mapping(keys)) => {
                    let dict = source.section(path, section, keys)?;
                    source.sections.insert(section.name.to_owned(), Value::from(dict));
                }
                Some(_) => return Err(yaml(format!("section {} is no mapping", section.name))),
            }
        }
        Ok(source)
    }

    fn section(
        &mut self,
        path: &Path,
        section: &'static Section,
        keys: &serde_yaml::Mapping,
    ) -> Result<Dict, ConfigError> {
        let mut dict = Dict::new();
        for (key, value) in keys {
            let written = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
            let Some(known) = section.key(&written) else {
                let unknown = ConfigError::UnknownKey {
                    place: path.display().to_string(),
                    section: section.name,
                    nearest: section.nearest(&written),
                    key: written,
                };
                if section.strict {
                    return Err(unknown);
                }
                self.warnings.push(unknown.to_string());
                continue;
            };
            if value.is_null() {
                continue; // `key:` with nothing behind it: the default
            }
            let fault = |reason: String| ConfigError::value(path, section.name, &written, reason);
            let value = Value::serialize(value).map_err(|e| fault(e.to_string()))?;
            if dict.insert(known.name.to_owned(), value).is_some() {
                return Err(fault(format!("given twice, also as {}", known.name)));
            }
        }
        Ok(dict)
    }

    /// Reads `<SECTION>__<KEY>` for known keys only: Kubernetes puts names of its own into the environment.
    pub(super) fn environment(
        sections: &[&'static Section],
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut all = Dict::new();
        for section in sections {
            let mut dict = Dict::new();
            for key in section.all() {
                let name = format!("{}__{}", section.name, key.name).to_uppercase();
                let Some(text) = get(&name) else { continue };
                let fault = |reason: &str| ConfigError::Value {
                    place: format!("environment variable {name}"),
                    section: section.name,
                    key: key.name.to_owned(),
                    reason: format!("{reason}, found {text:?}"),
                };
                let value = match key.kind {
                    Kind::Text => Value::from(text),
                    Kind::Integer => Value::from(
                        text.trim().parse::<i64>().map_err(|_| fault("a whole number is expected"))?,
                    ),
                    Kind::Switch => Value::from(
                        text.trim().parse::<bool>().map_err(|_| fault("true or false is expected"))?,
                    ),
                    Kind::List => return Err(fault("a list can only be given in a file")),
                };
                dict.insert(key.name.to_owned(), value);
            }
            if !dict.is_empty() {
                all.insert(section.name.to_owned(), Value::from(dict));
            }
        }
        Ok(Self { place: Place::Environment, sections: all, warnings: Vec::new() })
    }
}

/// A text as a file of YAML has it on one line: plain where it reads back as just this text, else in quotes.
pub fn written(text: &str) -> String {
    let is_plain = |top: Yaml| top.get("key").is_some_and(|value| value.as_str() == Some(text));
    if !text.contains('\n') && serde_yaml::from_str(&format!("key: {text}\n")).is_ok_and(is_plain) {
        return text.to_owned();
    }
    quoted(text)
}

/// A text as a file of YAML has it in quotes, which it may wear anywhere.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ if letter.is_alphanumeric() => quoted.push(letter),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(letter))),
        }
    }
    quoted.push('"');
    quoted
}

impl Provider for Source {
    fn metadata(&self) -> Metadata {
        match &self.place {
            Place::File(path) => Metadata::from(path.display().to_string(), path.as_path()),
            Place::Environment => Metadata::named("environment"),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.sections.clone())]))
    }
}
