//! What one post tells history.

use crate::series::{Source, interface_counts};

/// More of one post is not looked at.
const MOST_READINGS: usize = 4096;

/// What one post says, as far as it is wanted. Texts stand in one buffer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Whose it is.
    pub agent_id: Box<str>,
    /// The host's name.
    pub hostname: Box<str>,
    /// When it was made, in ms since 1970.
    pub stamp_ms: u64,
    /// How long it takes until the next one is made, in ms.
    pub interval_ms: u64,
    readings: Vec<Placed>,
    texts: String,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    source: Source,
    key_at: u32,
    instance_at: u32,
    end: u32,
    value: f64,
}

/// One number of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading<'a> {
    /// What it is for.
    pub source: Source,
    /// The post's key, of another key that is wanted; else empty.
    pub key: &'a str,
    /// Which partition, disk or interface; else empty.
    pub instance: &'a str,
    /// The number.
    pub value: f64,
}

impl Sample {
    /// Of this agent's host, made at `stamp_ms`, the next one `interval_ms` later; as yet without a number.
    pub fn new(agent_id: &str, hostname: &str, stamp_ms: u64, interval_ms: u64) -> Self {
        let (readings, texts) = (Vec::with_capacity(64), String::with_capacity(256));
        Self { agent_id: agent_id.into(), hostname: hostname.into(), stamp_ms, interval_ms, readings, texts }
    }

    /// Takes one number. What is no number, or of an interface that does not count, is left out.
    pub fn add(&mut self, reading: Reading<'_>) {
        let Reading { source, key, instance, value } = reading;
        let counts = !source.is_network() || interface_counts(instance);
        if !value.is_finite() || !counts || self.readings.len() >= MOST_READINGS {
            return;
        }
        let place = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let key_at = place(self.texts.len());
        self.texts.push_str(key);
        let instance_at = place(self.texts.len());
        self.texts.push_str(instance);
        self.readings.push(Placed { source, key_at, instance_at, end: place(self.texts.len()), value });
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// Its numbers, in order.
    pub fn readings(&self) -> impl Iterator<Item = Reading<'_>> + Clone {
        let text = |from: u32, to: u32| {
            let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
            self.texts.get(from..to)
        };
        self.readings.iter().map(move |placed| Reading {
            source: placed.source,
            key: text(placed.key_at, placed.instance_at).unwrap_or_default(),
            instance: text(placed.instance_at, placed.end).unwrap_or_default(),
            value: placed.value,
        })
    }
}
