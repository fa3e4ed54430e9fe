//! The table of (key, value) pairs of one post.

use std::collections::HashMap;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Number;

/// A pair's value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Arc<str>),
    Number(Number),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// What makes two values the same: the original's dictionary takes 0 and 0.0 for one.
    fn identity(&self) -> Identity {
        match self {
            Self::Text(text) => Identity::Text(Arc::clone(text)),
            Self::Number(Number::Int(value)) => Identity::Int(*value),
            Self::Number(Number::Float(value)) => {
                whole(*value).map_or(Identity::Bits(value.to_bits()), Identity::Int)
            }
        }
    }
}

/// The whole number that `value` is exactly, if it is one.
fn whole(value: f64) -> Option<u64> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0; // 2 to the 64th
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range and whole, as just checked"
    )]
    (value.fract() == 0.0 && (0.0..LIMIT).contains(&value)).then_some(value as u64)
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    Text(Arc<str>),
    Int(u64),
    Bits(u64),
}

/// The pairs in the order of their ids, and the way back from pair to id.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    ids: HashMap<(&'static str, Identity), u32>,
    listed: Vec<(&'static str, Value)>,
}

impl Pairs {
    /// The id of a pair, given now if it was never seen.
    pub(super) fn id(&mut self, key: &'static str, value: Value) -> u32 {
        let next = u32::try_from(self.listed.len()).unwrap_or(u32::MAX);
        let id = *self.ids.entry((key, value.identity())).or_insert(next);
        if id == next {
            self.listed.push((key, value));
        }
        id
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(Number::Int(value)) => serializer.serialize_u64(*value),
            Self::Number(Number::Float(value)) => serializer.serialize_f64(*value),
        }
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.listed.len()))?;
        for (id, pair) in self.listed.iter().enumerate() {
            map.serialize_entry(&id, pair)?;
        }
        map.end()
    }
}
