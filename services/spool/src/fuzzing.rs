//! For `services/fuzz` alone: what opening finds, without the thread that writes.

use std::collections::BTreeMap;
use std::path::Path;

use crate::options::{Error, Options};
use crate::recover::{self, Opened};
use crate::stats::{Record, Report};

/// Opens a directory, and reads all that waits, by the names of the lanes. Nothing is acknowledged.
///
/// # Errors
/// Where the directory cannot be listed, or a file not be read.
pub fn read(folder: &Path, options: &Options) -> Result<(BTreeMap<String, Vec<Record>>, Report, u64), Error> {
    let Opened { mut state, report, .. } = recover::open(folder, options)?;
    let mut found = BTreeMap::new();
    let lanes: Vec<_> =
        state.lanes.values().map(|lane| (lane.name.to_string(), lane.entries.clone())).collect();
    for (name, places) in lanes {
        let mut records = Vec::new();
        for place in places {
            let read = state.read(place).map_err(|error| Error::io("read from the spool", error))?;
            records.extend(read.map(|(head, body)| Record {
                sequence: head.sequence,
                taken_ms: head.taken_ms,
                body,
            }));
        }
        found.insert(name, records);
    }
    Ok((found, report, state.allocated()))
}
