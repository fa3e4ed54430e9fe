//! The keys that configuration may hold: one table, from which the files are judged and the environment is
//! typed.

/// How the text of an environment variable becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kept as it stands, so that `0123456` stays a text.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Switch,
    /// A list; only files can give it.
    List,
}

/// One key of a section.
#[derive(Debug)]
pub struct Key {
    /// The key as it stands in the file.
    pub name: &'static str,
    /// Another spelling of it that the documentation or later versions use.
    pub alias: Option<&'static str>,
    /// What it holds.
    pub kind: Kind,
    /// What it means, with its unit and, in parentheses, its default.
    pub about: &'static str,
}

impl Key {
    /// A key with one spelling.
    pub const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, alias: None, kind, about }
    }

    /// The same key with a second spelling.
    pub const fn or(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    /// Whether `name` is one of this key's spellings.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.alias == Some(name)
    }
}

/// A section: a top-level key of the files, and the keys below it.
#[derive(Debug)]
pub struct Section {
    /// The section's name.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Those that it shares with other sections.
    pub shared: &'static [&'static [Key]],
    /// Whether a key that is not in `keys` stops the program (its own section) or is only warned of (a
    /// section that other programs read as well).
    pub strict: bool,
}

impl Section {
    /// All keys.
    pub fn all(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().chain(self.shared.iter().copied().flatten())
    }

    /// The key of that spelling.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.all().find(|key| key.is(name))
    }

    /// The section's table in `docs/configuration.md`, which the tests hold against this one.
    pub fn table(&self) -> String {
        let row = |key: &Key| {
            let alias = key.alias.map(|alias| format!(", or `{alias}`")).unwrap_or_default();
            let kind = match key.kind {
                Kind::Text => "text",
                Kind::Integer => "whole number",
                Kind::Switch => "`true` or `false`",
                Kind::List => "list",
            };
            format!("| `{}`{alias} | {kind} | {} |\n", key.name, key.about)
        };
        let rows: String = self.all().map(row).collect();
        format!("| key of `{}` | kind | meaning (default) |\n|---|---|---|\n{rows}", self.name)
    }

    /// The known key that looks most like `name`, where one looks like it at all.
    pub fn nearest(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.all().map(|key| key.name))
    }
}

/// The one of `known` that looks most like `name`, where one looks like it at all.
pub fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let likeness = |known: &str| strsim::jaro_winkler(known, name);
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.7).then_some(best)
}

/// Section `pattoo`, which every pattoo program of the directory reads.
pub const PATTOO: Section = Section {
    name: "pattoo",
    strict: false,
    keys: &[
        Key::new("log_level", Kind::Text, "`error`, `warning`, `info` or `debug` (`debug`)"),
        Key::new("log_format", Kind::Text, "`text` or `json` (`text`)"),
        Key::new(
            "log_max_bytes",
            Kind::Integer,
            "size at which a daemon's log file is moved to `<name>.1`; 0: never (10485760)",
        ),
        Key::new(
            "log_directory",
            Kind::Text,
            "where a daemon writes its logs (foreground: `/var/log/pattoo`, not used; daemon: must be given)",
        ),
        Key::new(
            "cache_directory",
            Kind::Text,
            "where the hub keeps what is not delivered yet (foreground: `/var/lib/pattoo/cache`; daemon: must be given)",
        ),
        Key::new(
            "daemon_directory",
            Kind::Text,
            "where identities are kept (foreground: `/var/lib/pattoo/daemon`; daemon: must be given)",
        ),
        Key::new(
            "system_daemon_directory",
            Kind::Text,
            "where pid and lock files are (foreground: `/run/pattoo`; daemon: `daemon_directory`)",
        ),
        Key::new("language", Kind::Text, "accepted, not used by these programs (`en`)"),
    ],
    shared: &[],
};
