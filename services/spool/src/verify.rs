//! Checking a directory without changing it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::aside;
use crate::files::Files;
use crate::format::{SegmentHead, segment_name, segment_of};
use crate::names;
use crate::options::Error;
use crate::scan::{read_whole, scan};
use crate::stats::{Amount, Damage};

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments, spares left out.
    pub segments: u64,
    /// Spares.
    pub spares: u64,
    /// Records whose checksum is right, acknowledged ones included.
    pub records: Amount,
    /// Those of them that wait.
    pub waiting: Amount,
    /// Records that wait, by the name of their lane; `None` where the name is lost.
    pub lanes: BTreeMap<Option<String>, u64>,
    /// What is damaged.
    pub damage: Damage,
    /// Bytes after the last good record of the newest segment.
    pub torn_bytes: u64,
    /// Files that were set aside, and their bytes.
    pub set_aside: Vec<(String, u64)>,
}

/// Reads everything in a spool's directory and checks every checksum. Nothing is changed and no lock is taken:
/// in a spool that is in use the newest records may look torn.
///
/// # Errors
/// Where the directory cannot be listed.
pub fn verify(folder: &Path, files: &dyn Files) -> Result<Verified, Error> {
    let listed = files.list(folder).map_err(|error| Error::io("list the spool's directory", error))?;
    let mut ids: Vec<u32> = listed.iter().filter_map(|name| segment_of(name)).collect();
    ids.sort_unstable();
    let known = names::read(files, folder);
    let mut found = Verified { set_aside: aside::list(files, folder), ..Verified::default() };
    found.damage.names = known.damaged;
    let mut cursors: HashMap<u32, u64> = HashMap::new();
    let mut records: HashMap<(u32, u64), u32> = HashMap::new();
    let mut buffer = Vec::new();
    // The newest segment that was written to, and what stands unreadable at its end.
    let mut newest_tail: Option<u64> = None;
    for id in ids {
        let path = folder.join(segment_name(id));
        let Ok((file, length)) = files.open(&path, false).and_then(|f| f.len().map(|n| (f, n))) else {
            found.damage.unopened += 1;
            continue;
        };
        let bad_pages = read_whole(&*file, length, &mut buffer);
        let segment = scan(&buffer, id);
        if segment.is_blank() && bad_pages == 0 {
            found.spares += 1;
            continue;
        }
        // Blank, and older than one that was written to: it held something once.
        found.damage.files += std::mem::take(&mut found.spares);
        if segment.readable == 0 || matches!(segment.head, Some(SegmentHead::Foreign { .. })) {
            found.damage.files += 1;
            continue;
        }
        found.segments += 1;
        found.damage.heads += u64::from(segment.head.is_none());
        found.damage.footers += u64::from(segment.sealed && !segment.footer);
        found.damage.stretches += segment.damage.len() as u64;
        found.damage.bytes += segment.damage.iter().map(|range| range.end - range.start).sum::<u64>();
        if let Some(bytes) = newest_tail.take() {
            found.damage.stretches += 1;
            found.damage.bytes += bytes;
        }
        newest_tail = segment.tail.map(|tail| tail.end - tail.start);
        for (lane, sequence) in segment.cursors {
            let cursor = cursors.entry(lane).or_default();
            *cursor = (*cursor).max(sequence);
        }
        for entry in segment.entries {
            found.records.add(entry.length.into());
            records.insert((entry.lane, entry.sequence), entry.length);
        }
    }
    found.torn_bytes = newest_tail.unwrap_or(0);
    let names: HashMap<u32, String> = known.lanes.into_iter().collect();
    let mut unnamed: HashSet<u32> = HashSet::new();
    for ((lane, sequence), bytes) in records {
        if sequence > cursors.get(&lane).copied().unwrap_or(0) {
            found.waiting.add(bytes.into());
            let name = names.get(&lane).cloned();
            if name.is_none() {
                unnamed.insert(lane);
            }
            *found.lanes.entry(name).or_default() += 1;
        }
    }
    found.damage.unnamed_lanes = unnamed.len() as u64;
    Ok(found)
}
