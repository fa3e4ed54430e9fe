//! The post: what a spoke serves and the pattoo server receives.
//!
//! One JSON object of four keys. Every (key, value) pair stands once, under an id that is given on first
//! sight; a datapoint is a list of such ids. The shape is the contract's to the byte: keys sorted, ids in
//! numeric order, no spaces, one trailing newline.

mod checksum;
mod fit;
mod template;

use crate::clock::Millis;
use checksum::Checksums;
pub use checksum::Series;
pub use fit::fitting;
use template::Template;

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
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
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

/// Writes posts for one sender. What does not change from one to the next is kept.
#[derive(Debug)]
pub struct Writer {
    sender: Sender,
    checksums: Checksums,
    template: Template,
    /// How long the last post was.
    last_bytes: usize,
}

impl Writer {
    /// A writer for that sender.
    pub fn new(sender: Sender) -> Self {
        Self { sender, checksums: Checksums::default(), template: Template::default(), last_bytes: 0 }
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
        // Keys stand in sorted order. Room for a little more than last time, so that the body does not move.
        let mut body = Vec::with_capacity(self.last_bytes + 256);
        body.extend_from_slice(b"{\"pattoo_agent_id\":");
        serde_json::to_writer(&mut body, &self.sender.agent_id)?;
        body.extend_from_slice(b",\"pattoo_agent_polling_interval\":");
        serde_json::to_writer(&mut body, &interval_ms)?;
        body.extend_from_slice(b",\"pattoo_agent_timestamp\":");
        serde_json::to_writer(&mut body, &timestamp_ms)?;
        body.extend_from_slice(b",\"pattoo_datapoints\":{\"datapoint_pairs\":[");
        // A post without datapoints needs no template, and the next one that of before.
        let mut pairs: &[u8] = &[];
        if !datapoints.is_empty() {
            if !self.template.fits(datapoints) {
                self.template = Template::of(&self.sender, &mut self.checksums, datapoints)?;
            }
            pairs = self.template.fill(interval_ms, datapoints, &mut body)?;
        }
        body.extend_from_slice(b"],\"key_value_pairs\":{");
        body.extend_from_slice(pairs);
        body.extend_from_slice(b"}}}\n");
        self.last_bytes = body.len();
        Ok(body)
    }
}

#[cfg(test)]
mod tests;
