//! The post: what a spoke serves and the pattoo server receives.
//!
//! One JSON object of four keys. Every (key, value) pair stands once, under an id that is given on first
//! sight; a datapoint is a list of such ids. The shape is the contract's to the byte: keys sorted, ids in
//! numeric order, no spaces, one trailing newline.

mod checksum;
mod pairs;

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use crate::clock::Millis;
use checksum::Checksums;
pub use checksum::Series;
use pairs::{Pairs, Value};

/// The types that the pattoo server knows, as numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DataType {
    /// A counter of 64 bits.
    Counter = 64,
    /// A gauge: an amount at this moment.
    Gauge = 99,
    /// A share or a rate, with decimals.
    Float = 101,
}

/// A measured number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    Int(u64),
    /// A number with decimals. One that is not finite never reaches the wire.
    Float(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// One measured value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Datapoint {
    /// What was measured, and on which instance.
    pub series: Series,
    /// The value, in the series' own unit.
    pub value: Number,
    /// When it was read.
    pub timestamp_ms: Millis,
}

/// A metadata pair: key and value, both text.
pub type Pair = (&'static str, String);

/// Who sends the post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The agent's id.
    pub agent_id: String,
    /// The program's name.
    pub program: &'static str,
    /// The host's name.
    pub hostname: String,
    /// Whom the agent asked: for a spoke its own host.
    pub polled_target: String,
    /// What is true of every series of the host, in order (`release`, `version`, `processor`, ...).
    pub host: Vec<Pair>,
}

impl Sender {
    /// The metadata that says who sends, in the contract's order.
    fn metadata(&self) -> [(&'static str, &str); 4] {
        [
            ("pattoo_agent_hostname", &self.hostname),
            ("pattoo_agent_id", &self.agent_id),
            ("pattoo_agent_polled_target", &self.polled_target),
            ("pattoo_agent_program", self.program),
        ]
    }
}

/// Writes posts for one sender, remembering each series' checksum.
#[derive(Debug)]
pub struct Writer {
    sender: Sender,
    checksums: Checksums,
}

/// The keys of a post; a field's name is the key on the wire, in sorted order.
#[derive(Serialize)]
struct Wire<'a> {
    pattoo_agent_id: &'a str,
    pattoo_agent_polling_interval: u64,
    pattoo_agent_timestamp: Millis,
    pattoo_datapoints: WireDatapoints<'a>,
}

#[derive(Serialize)]
struct WireDatapoints<'a> {
    datapoint_pairs: &'a [Vec<u32>],
    key_value_pairs: &'a Pairs,
}

impl Writer {
    /// A writer for that sender.
    pub fn new(sender: Sender) -> Self {
        Self { sender, checksums: Checksums::default() }
    }

    /// Who sends.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Takes another sender; checksums are worked out anew where it differs.
    pub fn set_sender(&mut self, sender: Sender) {
        if sender != self.sender {
            *self = Self::new(sender);
        }
    }

    /// Writes the post of `datapoints`, in their order, for a polling interval of that many seconds.
    ///
    /// Of two datapoints with the same checksum the first is kept. A value that is not finite is left out.
    ///
    /// # Errors
    /// The JSON cannot be written; with values as they are here that does not happen.
    pub fn write(
        &mut self,
        interval_s: u64,
        timestamp_ms: Millis,
        datapoints: &[Datapoint],
    ) -> serde_json::Result<Vec<u8>> {
        let interval_ms = interval_s.saturating_mul(1000);
        let mut pairs = Pairs::default();
        let mut rows = Vec::with_capacity(datapoints.len());
        let mut seen = HashSet::with_capacity(datapoints.len());
        for datapoint in datapoints {
            let finite = !matches!(datapoint.value, Number::Float(value) if !value.is_finite());
            let checksum = self.checksums.of(&self.sender, &datapoint.series);
            if finite && seen.insert(Arc::clone(&checksum)) {
                rows.push(row(&mut pairs, &self.sender, interval_ms, datapoint, checksum));
            }
        }
        self.checksums.keep_only(&seen);
        let mut body = serde_json::to_vec(&Wire {
            pattoo_agent_id: &self.sender.agent_id,
            pattoo_agent_polling_interval: interval_ms,
            pattoo_agent_timestamp: timestamp_ms,
            pattoo_datapoints: WireDatapoints { datapoint_pairs: &rows, key_value_pairs: &pairs },
        })?;
        body.push(b'\n');
        Ok(body)
    }
}

fn row(
    pairs: &mut Pairs,
    sender: &Sender,
    interval_ms: u64,
    datapoint: &Datapoint,
    checksum: Arc<str>,
) -> Vec<u32> {
    let series = &datapoint.series;
    let mut row = Vec::with_capacity(16 + series.leading.len() + series.trailing.len());
    let mut put = |key: &'static str, value: Value| row.push(pairs.id(key, value));
    for (key, value) in series.metadata(sender) {
        put(key, Value::text(value));
    }
    put("pattoo_agent_polling_interval", Value::text(&interval_ms.to_string()));
    for (key, value) in sender.metadata() {
        put(key, Value::text(value));
    }
    put("pattoo_key", Value::text(series.key));
    put("pattoo_data_type", Value::Number(Number::Int(series.data_type as u64)));
    put("pattoo_value", Value::Number(datapoint.value));
    put("pattoo_timestamp", Value::Number(Number::Int(datapoint.timestamp_ms)));
    put("pattoo_checksum", Value::Text(checksum));
    row
}

#[cfg(test)]
mod tests;
