//! What one entry of `key_value_pairs` says, read once and kept in a few bytes.

use std::borrow::Cow;
use std::collections::HashMap;

use super::read::Text;
use super::{Reason, number};

/// The server's columns for texts hold so many bytes, and it cuts metadata to so many characters.
const MAX_TEXT: usize = 512;

/// A value of JSON. What is in lists and objects is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(Text<'a>),
    /// A number as it is written.
    Number(&'a str),
    Null,
    /// A list or an object.
    Nested,
    /// `true`, `false`, `NaN` or an infinity.
    Other,
}

impl<'a> Value<'a> {
    pub(super) fn text(self) -> Option<Text<'a>> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn number(self) -> Option<&'a str> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// The id that it is. The server looks ids up as texts, so `"7"` is one as well.
    pub(super) fn id(self) -> Option<u32> {
        match self {
            Self::Number(number) => number::id(number),
            Self::Text(text) => text.decode().as_deref().and_then(number::id),
            _ => None,
        }
    }
}

/// The keys whose values name a series, each a text.
pub(super) const NAMES: [&str; 6] = [
    "pattoo_agent_id",
    "pattoo_agent_polled_target",
    "pattoo_agent_program",
    "pattoo_agent_hostname",
    "pattoo_key",
    "pattoo_checksum",
];

/// The keys whose values tell series of one key apart: a mount point, a disk, an interface.
const INSTANCES: [&str; 3] = ["disk_partition_mountpoint", "disk_partition", "network_io_interface"];

/// The key of a partition's options, as the kernel lists them.
const OPTIONS: &str = "disk_partition_opts";

/// What the server does with a datapoint of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataType {
    /// It keeps the value, an amount.
    Amount,
    /// It keeps the value, of a counter.
    Counter,
    /// It takes the datapoint and not its value: 2 and null.
    Text,
    /// It leaves the datapoint out.
    Unknown,
}

/// One entry. A fault counts only where a datapoint that the server takes has the entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pair<'a> {
    /// No list of two members.
    Malformed,
    /// Its key is a list or an object, which Python cannot have as a key.
    Unhashable,
    /// Its key is no text.
    NotText,
    /// Metadata; `kept` where it is a text, else the server leaves it out.
    Metadata {
        kept: bool,
        fault: Option<Reason>,
    },
    /// Metadata that tells which partition, disk or interface it is.
    Instance(Text<'a>),
    /// Metadata that tells that the partition cannot be written to.
    ReadOnly,
    /// One of the keys that name a series, by its place in [`NAMES`].
    Name(usize, Result<Text<'a>, Reason>),
    DataType(DataType),
    /// The number, where it is written as one. The fault counts only for a number's type.
    Value(Result<Option<f64>, Reason>),
    Timestamp(Option<u64>),
    /// Whether it is an interval.
    Interval(bool),
}

impl<'a> Pair<'a> {
    pub(super) fn new(key: Value<'a>, value: Value<'a>) -> Self {
        let Value::Text(key) = key else {
            return if key == Value::Nested { Self::Unhashable } else { Self::NotText };
        };
        let Some(key) = key.decode() else {
            return Self::Metadata { kept: value.text().is_some(), fault: Some(Reason::Surrogate) };
        };
        if let Some(at) = NAMES.iter().position(|name| key == *name) {
            return Self::Name(at, name(value));
        }
        match key.as_ref() {
            "pattoo_data_type" => Self::DataType(data_type(value)),
            "pattoo_timestamp" => Self::Timestamp(value.number().and_then(number::natural)),
            "pattoo_agent_polling_interval" => Self::Interval(is_interval(value)),
            "pattoo_value" => Self::Value(match value {
                Value::Number(number) => number::value(number).map(Some),
                // One with a lone surrogate is no number and left out.
                Value::Text(text) => {
                    text.decode().map_or(Ok(None), |text| number::value_of_text(&text).map(|()| None))
                }
                _ => Ok(None),
            }),
            _ => match (metadata(&key, value), value) {
                (Ok(()), Value::Text(text)) if INSTANCES.contains(&key.as_ref()) => Self::Instance(text),
                (Ok(()), Value::Text(text)) if key == OPTIONS && is_read_only(text) => Self::ReadOnly,
                (judged, _) => Self::Metadata { kept: value.text().is_some(), fault: judged.err() },
            },
        }
    }
}

/// A text that the server hashes and encodes.
fn name(value: Value<'_>) -> Result<Text<'_>, Reason> {
    let text = value.text().ok_or(Reason::Name)?;
    let decoded = text.decode().ok_or(Reason::Surrogate)?;
    if decoded.len() <= MAX_TEXT { Ok(text) } else { Err(Reason::TooLong) }
}

/// Whether key and value fit into the server's columns as it cuts them: to 512 characters, not bytes.
fn metadata(key: &str, value: Value<'_>) -> Result<(), Reason> {
    let Value::Text(value) = value else { return Ok(()) };
    let value: Cow<'_, str> = value.decode().ok_or(Reason::Surrogate)?;
    let value_fits = value.len() <= MAX_TEXT || value.chars().take(MAX_TEXT).all(|letter| letter.is_ascii());
    // It lowers the key's letters, which may make it longer.
    let key_fits = key.is_ascii() || (key.len() <= MAX_TEXT && key.to_lowercase().len() <= MAX_TEXT);
    if value_fits && key_fits { Ok(()) } else { Err(Reason::TooLong) }
}

fn is_read_only(options: Text<'_>) -> bool {
    options.decode().is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

/// As Python compares: 99.0 is 99.
fn data_type(value: Value<'_>) -> DataType {
    match value {
        Value::Null => DataType::Text,
        Value::Number(number) => match number.parse::<f64>() {
            Ok(2.0) => DataType::Text,
            Ok(32.0 | 64.0) => DataType::Counter,
            Ok(99.0 | 101.0) => DataType::Amount,
            _ => DataType::Unknown,
        },
        _ => DataType::Unknown,
    }
}

/// Whether the server makes an integer of it that its column holds: 32 bits without a sign. Ours are texts.
fn is_interval(value: Value<'_>) -> bool {
    let fits = |digits: &str| digits.parse::<u32>().is_ok() && !digits.starts_with('+');
    match value {
        Value::Number(number) => fits(number),
        Value::Text(text) => text.decode().as_deref().is_some_and(fits),
        _ => false,
    }
}

/// `key_value_pairs` by id: a list as long as the ids come in order, which they do.
#[derive(Debug, Default)]
pub(super) struct Pairs<'a> {
    in_order: Vec<Pair<'a>>,
    others: HashMap<u32, Pair<'a>>,
}

impl<'a> Pairs<'a> {
    /// Room for what a text of so many bytes usually holds, never more than the text itself takes.
    pub(super) fn for_text(bytes: usize) -> Self {
        Self { in_order: Vec::with_capacity(bytes / size_of::<Pair<'a>>().max(1)), others: HashMap::new() }
    }

    /// The last of an id stays.
    pub(super) fn insert(&mut self, id: u32, pair: Pair<'a>) {
        let at = usize::try_from(id).unwrap_or(usize::MAX);
        if let Some(there) = self.in_order.get_mut(at) {
            *there = pair;
        } else if at == self.in_order.len() {
            self.in_order.push(pair); // from now on it hides what `others` has of this id
        } else {
            self.others.insert(id, pair);
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&Pair<'a>> {
        self.in_order.get(usize::try_from(id).ok()?).or_else(|| self.others.get(&id))
    }
}
