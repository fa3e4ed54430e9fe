//! What the server would do with each datapoint.
//!
//! It looks up all ids of a post first: one that leads nowhere loses the whole post. A datapoint that lacks
//! one of the ten keys, or is of an unknown type, is left out alone; what is wrong with one that is not left
//! out harms everybody.

use super::pair::{DataType, NAMES, Pair, Pairs};
use super::read::Text;
use super::walk::Datapoints;
use super::{Ignored, Reason, Seen};

/// What the datapoints of a post come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judged<'a> {
    /// How many the server takes.
    pub(super) taken: usize,
    pub(super) ignored: Ignored,
    /// Their latest stamp.
    pub(super) stamp: u64,
    agent_id: Option<Text<'a>>,
}

/// Judges every datapoint. `seen` is shown each number that the server keeps; where a later datapoint harms the post,
/// that was for nothing.
pub(super) fn judge<'a>(
    datapoints: &Datapoints<'a>,
    seen: &mut impl FnMut(&Seen<'a>),
) -> Result<Judged<'a>, Reason> {
    let (Some(rows), Some(pairs), false) = (&datapoints.rows, &datapoints.pairs, datapoints.other_key) else {
        return Err(Reason::Datapoints);
    };
    if let Some(fault) = rows.fault {
        return Err(fault);
    }
    let mut judged = Judged::default();
    for ids in rows.each() {
        judged.add(&Row::read(ids, pairs)?, seen)?;
    }
    Ok(judged)
}

/// One datapoint. Of a key that it has twice the last counts; a faulty text counts wherever it is.
#[derive(Debug, Default)]
struct Row<'a> {
    names: [Option<Text<'a>>; NAMES.len()],
    data_type: Option<DataType>,
    value: Option<Result<Option<f64>, Reason>>,
    instance: Option<Text<'a>>,
    is_read_only: bool,
    timestamp: Option<Option<u64>>,
    interval: Option<bool>,
    key_is_no_text: bool,
    bare: bool,
    fault: Option<Reason>,
}

impl<'a> Row<'a> {
    fn read(ids: &[u32], pairs: &Pairs<'a>) -> Result<Self, Reason> {
        let mut row = Self::default();
        for id in ids {
            match *pairs.get(*id).ok_or(Reason::UnknownId)? {
                Pair::Malformed => return Err(Reason::Pair),
                Pair::Unhashable => return Err(Reason::Key),
                Pair::NotText => row.key_is_no_text = true,
                Pair::Metadata { kept, fault } => {
                    row.bare |= !kept;
                    row.fault = row.fault.or(fault);
                }
                Pair::Name(at, name) => {
                    if let Some(there) = row.names.get_mut(at) {
                        *there = Some(name.unwrap_or_default());
                    }
                    row.fault = row.fault.or(name.err());
                }
                Pair::DataType(data_type) => row.data_type = Some(data_type),
                Pair::Instance(instance) => row.instance = Some(instance),
                Pair::ReadOnly => row.is_read_only = true,
                Pair::Value(value) => row.value = Some(value),
                Pair::Timestamp(stamp) => row.timestamp = Some(stamp),
                Pair::Interval(good) => row.interval = Some(good),
            }
        }
        Ok(row)
    }
}

impl<'a> Judged<'a> {
    fn add(&mut self, row: &Row<'a>, seen: &mut impl FnMut(&Seen<'a>)) -> Result<(), Reason> {
        let ([Some(agent_id), Some(_), Some(_), Some(hostname), Some(key), Some(_)], Some(data_type)) =
            (row.names, row.data_type)
        else {
            self.ignored.keys += 1;
            return Ok(());
        };
        let (Some(value), Some(timestamp), Some(interval)) = (row.value, row.timestamp, row.interval) else {
            self.ignored.keys += 1;
            return Ok(());
        };
        if row.key_is_no_text {
            return Err(Reason::Key); // Python sorts the keys, and fails
        }
        if data_type == DataType::Unknown {
            self.ignored.data_type += 1;
            return Ok(());
        }
        let is_number = data_type != DataType::Text;
        if let Some(fault) = row.fault.or(value.err().filter(|_| is_number)) {
            return Err(fault);
        }
        let timestamp = timestamp.ok_or(Reason::Timestamp)?;
        if !interval {
            return Err(Reason::Interval);
        }
        if !self.agent_id.get_or_insert(agent_id).same(agent_id) {
            return Err(Reason::MixedAgents);
        }
        self.taken += 1;
        self.ignored.metadata += usize::from(row.bare);
        self.stamp = self.stamp.max(timestamp);
        if let (true, Ok(Some(value))) = (is_number, value) {
            let is_counter = data_type == DataType::Counter;
            let Row { instance, is_read_only, .. } = *row;
            seen(&Seen { agent_id, hostname, key, instance, is_read_only, is_counter, value });
        }
        Ok(())
    }
}
