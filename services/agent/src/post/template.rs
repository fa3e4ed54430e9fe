//! The post prepared: all of it but what differs from one post to the next.
//!
//! As long as the same series come in the same order, their metadata and checksums are the same pairs; only
//! values and times differ, and the ids, which are given on first sight. So each pair that does not change is
//! kept as the text that goes out, and a row as the numbers of its pairs.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use super::checksum::{Checksums, Series};
use super::{Datapoint, Number, Sender};
use crate::clock::Millis;

/// The place of the pair that the asker's interval decides, among the pairs that are kept.
const INTERVAL: usize = 0;

/// A post prepared for some series in their order.
#[derive(Debug, Default)]
pub(super) struct Template {
    rows: Vec<Row>,
    /// The places of each row's pairs, one row after the other.
    places: Vec<usize>,
    /// The texts of the pairs that do not change.
    pairs: Vec<Vec<u8>>,
    scratch: Scratch,
}

/// One series.
#[derive(Debug)]
struct Row {
    series: Series,
    /// Its pairs before the value, in [`Template::places`].
    before: Range<usize>,
    /// The place of its checksum's pair. Rows with the same one are the same to the server.
    checksum: usize,
}

/// What one post needs and the next can use again.
#[derive(Debug, Default)]
struct Scratch {
    /// The id of each kept pair, where it has one in this post.
    ids: Vec<Option<u32>>,
    values: HashMap<Identity, u32>,
    times: Vec<(Millis, u32)>,
    pairs: Vec<u8>,
    next: u32,
    /// The row that was written last: where it begins (0: there is none), and behind each of its first pairs how far it had come.
    row_start: usize,
    row: Vec<(usize, usize)>,
}

/// What makes two values the same: the original's dictionary takes 0 and 0.0 for one.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    Int(u64),
    Bits(u64),
}

impl Template {
    /// Prepares the post of these series.
    pub(super) fn of(
        sender: &Sender,
        checksums: &mut Checksums,
        datapoints: &[Datapoint],
    ) -> serde_json::Result<Self> {
        let mut template = Self { pairs: vec![Vec::new()], ..Self::default() };
        let mut known = HashMap::new();
        let mut seen = HashSet::with_capacity(datapoints.len());
        for Datapoint { series, .. } in datapoints {
            let checksum = checksums.of(sender, series);
            let from = template.places.len();
            for (key, value) in series.metadata(sender) {
                template.put(&mut known, key, value)?;
            }
            template.places.push(INTERVAL);
            for (key, value) in sender.metadata() {
                template.put(&mut known, key, value)?;
            }
            template.put(&mut known, "pattoo_key", series.key)?;
            template.put(&mut known, "pattoo_data_type", series.data_type as u64)?;
            let before = from..template.places.len();
            let place = template.place(&mut known, "pattoo_checksum", &*checksum)?;
            template.rows.push(Row { series: series.clone(), before, checksum: place });
            seen.insert(checksum);
        }
        checksums.keep_only(&seen);
        Ok(template)
    }

    fn put(
        &mut self,
        known: &mut HashMap<Vec<u8>, usize>,
        key: &str,
        value: impl Serialize,
    ) -> serde_json::Result<()> {
        let place = self.place(known, key, value)?;
        self.places.push(place);
        Ok(())
    }

    /// The place of a pair, kept now if it was not.
    fn place(
        &mut self,
        known: &mut HashMap<Vec<u8>, usize>,
        key: &str,
        value: impl Serialize,
    ) -> serde_json::Result<usize> {
        let text = text(key, value)?;
        Ok(*known.entry(text).or_insert_with_key(|text| {
            self.pairs.push(text.clone());
            self.pairs.len() - 1
        }))
    }

    /// Whether it was prepared for these series in this order.
    pub(super) fn fits(&self, datapoints: &[Datapoint]) -> bool {
        self.rows.len() == datapoints.len()
            && self.rows.iter().zip(datapoints).all(|(row, datapoint)| row.series.is(&datapoint.series))
    }

    /// Appends the rows of the post to `body` (`datapoint_pairs` without its brackets) and returns its pairs
    /// (`key_value_pairs` without its braces).
    ///
    /// Of two datapoints with the same checksum the first is kept. A value that is not finite is left out.
    pub(super) fn fill(
        &mut self,
        interval_ms: u64,
        datapoints: &[Datapoint],
        body: &mut Vec<u8>,
    ) -> serde_json::Result<&[u8]> {
        let Self { rows, places, pairs, scratch } = self;
        if let Some(interval) = pairs.get_mut(INTERVAL) {
            *interval = text("pattoo_agent_polling_interval", interval_ms.to_string())?;
        }
        scratch.begin(pairs.len());
        for (row, datapoint) in rows.iter().zip(datapoints) {
            let finite = !matches!(datapoint.value, Number::Float(value) if !value.is_finite());
            let written = scratch.ids.get(row.checksum).is_none_or(Option::is_some);
            if finite && !written {
                let before = places.get(row.before.clone()).unwrap_or_default();
                scratch.row(pairs, before, row.checksum, datapoint, body)?;
            }
        }
        Ok(&scratch.pairs)
    }
}

impl Scratch {
    fn begin(&mut self, pairs: usize) {
        self.ids.clear();
        self.ids.resize(pairs, None);
        self.values.clear();
        self.times.clear();
        self.pairs.clear();
        self.next = 0;
        self.row_start = 0;
        self.row.clear();
    }

    fn row(
        &mut self,
        pairs: &[Vec<u8>],
        before: &[usize],
        checksum: usize,
        datapoint: &Datapoint,
        rows: &mut Vec<u8>,
    ) -> serde_json::Result<()> {
        let separator: &[u8] = if self.row_start == 0 { b"[" } else { b",[" };
        rows.extend_from_slice(separator);
        let start = rows.len();
        // Rows of one instance begin alike, and what has an id keeps it.
        let alike = self.row.iter().zip(before).take_while(|((last, _), place)| last == *place).count();
        self.row.truncate(alike);
        if let Some((_, len)) = self.row.last() {
            rows.extend_from_within(self.row_start..self.row_start + len);
        }
        self.row_start = start;
        for place in before.iter().skip(alike) {
            let id = self.kept(pairs, *place)?;
            serde_json::to_writer(&mut *rows, &id)?;
            rows.push(b',');
            self.row.push((*place, rows.len() - start));
        }
        let value = self.value(datapoint.value)?;
        serde_json::to_writer(&mut *rows, &value)?;
        rows.push(b',');
        let time = self.time(datapoint.timestamp_ms)?;
        serde_json::to_writer(&mut *rows, &time)?;
        rows.push(b',');
        let checksum = self.kept(pairs, checksum)?;
        serde_json::to_writer(&mut *rows, &checksum)?;
        rows.push(b']');
        Ok(())
    }

    /// The id of a pair that is kept, given now if it has none in this post.
    fn kept(&mut self, pairs: &[Vec<u8>], place: usize) -> serde_json::Result<u32> {
        if let Some(id) = self.ids.get(place).copied().flatten() {
            return Ok(id);
        }
        let id = self.new_id(pairs.get(place).map(Vec::as_slice).unwrap_or_default())?;
        if let Some(known) = self.ids.get_mut(place) {
            *known = Some(id);
        }
        Ok(id)
    }

    fn value(&mut self, value: Number) -> serde_json::Result<u32> {
        let identity = match value {
            Number::Int(value) => Identity::Int(value),
            Number::Float(value) => whole(value).map_or(Identity::Bits(value.to_bits()), Identity::Int),
        };
        let id = *self.values.entry(identity).or_insert(self.next);
        if id < self.next {
            return Ok(id);
        }
        self.new_id(b"\":[\"pattoo_value\",")?;
        match value {
            Number::Int(value) => serde_json::to_writer(&mut self.pairs, &value)?,
            Number::Float(value) => serde_json::to_writer(&mut self.pairs, &value)?,
        }
        self.pairs.push(b']');
        Ok(id)
    }

    fn time(&mut self, time: Millis) -> serde_json::Result<u32> {
        // Each collector has one time, and most are the same.
        if let Some((_, id)) = self.times.iter().rev().find(|(known, _)| *known == time) {
            return Ok(*id);
        }
        let id = self.new_id(b"\":[\"pattoo_timestamp\",")?;
        self.times.push((time, id));
        serde_json::to_writer(&mut self.pairs, &time)?;
        self.pairs.push(b']');
        Ok(id)
    }

    /// Gives the next id and begins its entry, which goes on with `behind`.
    fn new_id(&mut self, behind: &[u8]) -> serde_json::Result<u32> {
        let id = self.next;
        self.next = id.saturating_add(1);
        let separator: &[u8] = if self.pairs.is_empty() { b"\"" } else { b",\"" };
        self.pairs.extend_from_slice(separator);
        serde_json::to_writer(&mut self.pairs, &id)?;
        self.pairs.extend_from_slice(behind);
        Ok(id)
    }
}

impl Series {
    /// Whether it is the same; quick where the metadata is the very same.
    fn is(&self, other: &Self) -> bool {
        let same = |one: &Arc<[_]>, other: &Arc<[_]>| Arc::ptr_eq(one, other) || one == other;
        self.key == other.key
            && self.data_type == other.data_type
            && same(&self.leading, &other.leading)
            && same(&self.trailing, &other.trailing)
    }
}

/// A pair as it goes out behind the digits of its id.
fn text(key: &str, value: impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = b"\":".to_vec();
    serde_json::to_writer(&mut text, &(key, value))?;
    Ok(text)
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
