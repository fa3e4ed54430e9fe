//! For `services/fuzz` alone: what opening finds, without the thread that writes.

use std::collections::BTreeMap;
use std::path::Path;

use crate::options::{Error, Options};
use crate::recover::{self, Opened};
use crate::state::Leaves;
use crate::stats::{Record, Report};

/// Records by the names of their lanes, what opening found, and how many bytes are allocated.
pub type Read = (BTreeMap<String, Vec<Record>>, Report, u64);

/// Opens a directory, and reads all that waits; what is acknowledged meanwhile is forgotten.
///
/// # Errors
/// Where the directory cannot be listed, or a file not be read.
pub fn read(folder: &Path, options: &Options) -> Result<Read, Error> {
    let Opened { mut state, report, .. } = recover::open(folder, options)?;
    let failed = |error| Error::io("read from the spool", error);
    let mut found = BTreeMap::new();
    let lanes: Vec<_> = state.lanes.iter().map(|(id, lane)| (*id, lane.name.to_string())).collect();
    let allocated = state.allocated();
    for (id, name) in lanes {
        let mut records = Vec::new();
        while let Some((place, head)) = state.head(id).map_err(failed)? {
            let Some((_, body)) = state.read(place).map_err(failed)? else {
                state.pass_over(id, place);
                continue;
            };
            records.push(Record { sequence: head.sequence, taken_ms: head.taken_ms, body });
            state.pop(id, Leaves::Acknowledged).map_err(failed)?;
        }
        found.insert(name, records);
    }
    Ok((found, report, allocated))
}
