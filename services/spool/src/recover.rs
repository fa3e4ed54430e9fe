//! Opening: from the newest segment to the oldest, so that the cursors are known before what they acknowledge.
//!
//! Everything here but reading is best effort: opening needs no free space, and no damage refuses it.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aside;
use crate::files::Handle;
use crate::format::{
    ENTRY, Entry, Place, SEGMENT_HEAD, SegmentHead, TRAILER, record_size, segment_name, segment_of,
};
use crate::names::{self, Known, LANES, Names, TEMPORARY};
use crate::options::{Error, Options};
use crate::scan::{Scan, read_footer, read_whole, scan};
use crate::state::{Segment, State};
use crate::stats::Report;

/// A segment that is allocated and blank.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn Handle>,
}

/// What the writer begins with.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) state: State,
    pub(crate) names: Names,
    pub(crate) spares: VecDeque<Spare>,
    pub(crate) next_segment: u32,
    pub(crate) next_sequence: u64,
    pub(crate) next_lane: u32,
    /// Until a new segment is begun, this one and newer ones hold the cursors and may not be removed.
    pub(crate) keep_from: u32,
    pub(crate) report: Report,
}

/// What is known of a lane while the segments are read.
#[derive(Debug, Default)]
struct Found {
    records: Vec<(u64, Place)>,
    bytes: u64,
    cursor: u64,
    last_segment: u32,
}

/// Hashes the number of a lane. It is looked up for every record, and the numbers are the spool's own, given one
/// after the other: nobody outside chooses them so that they collide.
#[derive(Debug, Default)]
struct LaneHasher(u64);

impl Hasher for LaneHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        // 2^64 over the golden ratio: neighbours differ in the low and in the high bits.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// A segment's file and its length.
type OpenedFile = (Arc<dyn Handle>, u64);

/// How many segments are opened before they are read, so that the disk fetches what of them will be wanted while
/// others are looked through.
const AHEAD: usize = 8;

/// What is fetched of the end of a segment before a footer has shown how much is needed.
const FIRST_FOOTER: u64 = 32 << 10;

struct Recovery<'a> {
    folder: &'a Path,
    options: &'a Options,
    state: State,
    spares: VecDeque<Spare>,
    found: HashMap<u32, Found, BuildHasherDefault<LaneHasher>>,
    /// How much of a segment's end the last one needed.
    footer_bytes: u64,
    keep_from: Option<u32>,
    used: bool,
    next_sequence: u64,
    next_lane: u32,
    buffer: Vec<u8>,
    report: Report,
}

/// Reads a spool's directory.
///
/// # Errors
/// Only where the directory itself cannot be listed.
pub(crate) fn open(folder: &Path, options: &Options) -> Result<Opened, Error> {
    let files = &options.files;
    let listed = files.list(folder).or_else(|_| files.list(folder));
    let listed = listed.map_err(|error| Error::io("list the spool's directory", error))?;
    if listed.iter().any(|name| name == TEMPORARY) {
        let _ = files.remove(&folder.join(TEMPORARY));
    }
    let mut ids: Vec<u32> = listed.iter().filter_map(|name| segment_of(name)).collect();
    ids.sort_unstable_by_key(|id| Reverse(*id));
    let known = names::read(&**files, folder);
    let mut recovery = Recovery {
        folder,
        options,
        state: State::new(folder.to_owned(), options),
        spares: VecDeque::new(),
        found: HashMap::default(),
        footer_bytes: FIRST_FOOTER,
        keep_from: None,
        used: false,
        next_sequence: 0,
        next_lane: known.lanes.iter().map(|(id, _)| id.saturating_add(1)).max().unwrap_or(1),
        buffer: Vec::new(),
        report: Report::default(),
    };
    let mut opened = VecDeque::with_capacity(AHEAD);
    let mut unopened = ids.iter();
    loop {
        while opened.len() < AHEAD
            && let Some(id) = unopened.next()
        {
            opened.push_back((*id, recovery.open_ahead(*id)));
        }
        let Some((id, file)) = opened.pop_front() else { break };
        match file {
            Some((file, length)) => recovery.take(id, &*file, length),
            None => recovery.report.damage.unopened += 1,
        }
    }
    let next_segment = ids.first().map_or(1, |id| id.saturating_add(1));
    Ok(recovery.finish(known, next_segment))
}

impl Recovery<'_> {
    fn path(&self, id: u32) -> PathBuf {
        self.folder.join(segment_name(id))
    }

    /// Opens a segment, and has the disk fetch its head and about its footer.
    fn open_ahead(&self, id: u32) -> Option<OpenedFile> {
        let path = self.path(id);
        let files = &self.options.files;
        let open = || files.open(&path, false).and_then(|file| file.len().map(|length| (file, length)));
        let (file, length) = open().or_else(|_| open()).ok()?;
        file.will_need(0, SEGMENT_HEAD);
        file.will_need(length.saturating_sub(self.footer_bytes), self.footer_bytes);
        Some((file, length))
    }

    fn take(&mut self, id: u32, file: &dyn Handle, length: u64) {
        if self.keep_from.is_some()
            && let Ok(Some((next_sequence, entries))) = read_footer(file, id, length)
        {
            self.report.segments += 1;
            self.footer_bytes = TRAILER + record_size(entries.len() as u64 * ENTRY);
            self.next_sequence = self.next_sequence.max(next_sequence);
            self.add_segment(id, length, false);
            self.add_entries(id, &entries);
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let bad_pages = read_whole(file, length, &mut buffer);
        let found = scan(&buffer, id);
        self.buffer = buffer;
        if found.is_blank() && bad_pages == 0 {
            self.take_blank(id, length);
        } else if self.is_hopeless(id, &found, bad_pages) {
            self.report.damage.bytes += length;
        } else {
            self.take_scanned(id, length, file, &found, bad_pages);
        }
    }

    /// A blank file newer than all that was written to is a spare. Segments are written to in the order of their
    /// numbers, so an older one held something once.
    fn take_blank(&mut self, id: u32, length: u64) {
        let path = self.path(id);
        if self.used {
            return self.set_aside(id);
        }
        if length == self.options.segment_bytes && self.spares.len() < 2 {
            if let Ok(file) = self.options.files.open(&path, true) {
                self.spares.push_front(Spare { id, file });
                self.state.spares += 1;
                self.state.spare_bytes += length;
            }
            return;
        }
        let _ = self.options.files.remove(&path);
    }

    /// Whether nothing in it can be used; it is set aside then, or left alone where reading it failed.
    fn is_hopeless(&mut self, id: u32, found: &Scan, bad_pages: u64) -> bool {
        let foreign = matches!(found.head, Some(SegmentHead::Foreign { .. }));
        let tail = found.tail.as_ref().map_or(0, |tail| tail.end);
        // A crash while a segment is begun leaves at most its head and its snapshot.
        let just_begun = !self.used && tail <= self.options.overhead();
        if !foreign && (found.readable > 0 || (just_begun && bad_pages == 0)) {
            return false;
        }
        if bad_pages > 0 {
            self.report.damage.unopened += 1;
            return true;
        }
        self.set_aside(id);
        true
    }

    fn set_aside(&mut self, id: u32) {
        let name = aside::dated((self.options.clock)(), &segment_name(id));
        match self.options.files.rename(&self.path(id), &self.folder.join(&name)) {
            Ok(()) => self.report.damage.files += 1,
            Err(_) => self.report.damage.unopened += 1,
        }
    }

    fn take_scanned(&mut self, id: u32, mut length: u64, file: &dyn Handle, found: &Scan, bad_pages: u64) {
        self.report.segments += 1;
        self.report.scanned += 1;
        let newest = !self.used;
        let path = self.path(id);
        let damage = &mut self.report.damage;
        let mut suspect = bad_pages > 0 || !found.damage.is_empty();
        for range in &found.damage {
            damage.stretches += 1;
            damage.bytes += range.end - range.start;
        }
        if let Some(tail) = &found.tail {
            if newest && !found.sealed {
                self.report.torn_bytes += tail.end - tail.start;
                // Cut off now: a crash before the next segment is sealed would leave it in an older segment, where
                // it looks like damage. Best effort, and it wants no space.
                let cut = self.options.files.open(&path, true).and_then(|file| file.set_len(tail.start));
                if cut.is_ok() {
                    length = tail.start;
                }
            } else {
                damage.stretches += 1;
                damage.bytes += tail.end - tail.start;
                suspect = true;
            }
        }
        if found.head.is_none() && found.readable > 0 {
            damage.heads += 1;
            suspect = true;
        }
        damage.footers += u64::from(found.sealed && !found.footer);
        if newest {
            // What the page cache still holds of a life that was killed is made as durable as the rest.
            let _ = file.sync();
        }
        if let Some(SegmentHead::Known { next_sequence }) = found.head {
            self.next_sequence = self.next_sequence.max(next_sequence);
        }
        for (lane, sequence) in &found.cursors {
            let found = self.found.entry(*lane).or_default();
            found.cursor = found.cursor.max(*sequence);
            self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
            self.next_lane = self.next_lane.max(lane.saturating_add(1));
        }
        self.add_segment(id, length, suspect);
        self.add_entries(id, &found.entries);
        if found.snapshot && self.keep_from.is_none() {
            self.keep_from = Some(id);
        }
    }

    fn add_segment(&mut self, id: u32, allocated: u64, suspect: bool) {
        self.used = true;
        self.state.segments.insert(id, Segment { allocated, sealed: true, suspect, ..Segment::default() });
    }

    fn add_entries(&mut self, segment: u32, entries: &[Entry]) {
        let (mut live, mut live_bytes) = (0, 0);
        for entry in entries {
            self.next_sequence = self.next_sequence.max(entry.sequence.saturating_add(1));
            self.next_lane = self.next_lane.max(entry.lane.saturating_add(1));
            let found = self.found.entry(entry.lane).or_default();
            found.last_segment = found.last_segment.max(segment);
            if entry.sequence > found.cursor {
                found.records.push((entry.sequence, Place { segment, offset: entry.offset }));
                found.bytes += u64::from(entry.length);
                live += 1;
                live_bytes += record_size(entry.length.into());
            }
        }
        if let Some(held) = self.state.segments.get_mut(&segment) {
            held.live += live;
            held.live_bytes += live_bytes;
        }
    }

    /// A lane's records in order, each once, without those that are acknowledged after all.
    fn tidy(&mut self, found: &mut Found) {
        let cursor = found.cursor;
        // Of a record that was copied forward the newer place counts.
        found.records.sort_by_key(|(sequence, place)| (*sequence, Reverse(*place)));
        let mut previous = None;
        let (state, bytes) = (&mut self.state, &mut found.bytes);
        found.records.retain(|(sequence, place)| {
            let keep = *sequence > cursor && previous != Some(*sequence);
            previous = Some(*sequence);
            if !keep {
                *bytes = bytes.saturating_sub(state.forget(*place));
            }
            keep
        });
    }

    /// The name of a lane whose entry in the file of names is lost: what one of its bodies says.
    fn name_by_body(&mut self, lane: u32, found: &Found) -> Arc<str> {
        for (_, place) in found.records.iter().take(8) {
            let record = self.state.read(*place).ok().flatten();
            let name = record.and_then(|(_, body)| (self.options.name_of)(&body));
            if let Some(name) = name.filter(|name| !self.state.names.contains_key(name.as_str())) {
                self.report.damage.renamed_lanes += 1;
                return name.into();
            }
        }
        self.report.damage.unnamed_lanes += 1;
        format!("unnamed-{lane}").into()
    }

    fn finish(mut self, known: Known, next_segment: u32) -> Opened {
        self.buffer = Vec::new();
        // Records without a file of names: it was damaged so much that it is gone.
        let lost = known.missing && self.found.values().any(|found| !found.records.is_empty());
        self.report.damage.names = known.damaged || lost;
        let now_ms = (self.options.clock)();
        let aside = aside::dated(now_ms, LANES);
        let names = Names::new(Arc::clone(&self.options.files), self.folder, &known, aside);
        let mut found = std::mem::take(&mut self.found);
        for (id, name) in known.lanes {
            let mut lane = found.remove(&id).unwrap_or_default();
            self.tidy(&mut lane);
            self.add_lane(id, name.into(), &lane);
        }
        let mut nameless: Vec<(u32, Found)> = found.into_iter().collect();
        nameless.sort_unstable_by_key(|(id, _)| *id);
        for (id, mut lane) in nameless {
            self.tidy(&mut lane);
            if !lane.records.is_empty() {
                let name = self.name_by_body(id, &lane);
                self.add_lane(id, name, &lane);
            }
        }
        self.state.aside_bytes = aside::list(&*self.options.files, self.folder).iter().map(|(_, n)| n).sum();
        self.state.emptied = true;
        self.state.stats.found = self.state.stats.waiting;
        self.report.found = self.state.stats.waiting;
        self.report.lanes = self.state.lanes.len() as u64;
        Opened {
            names,
            spares: self.spares,
            next_segment,
            // At least the clock: it grows over a directory that was emptied, or lost its newest segment, too.
            next_sequence: self.next_sequence.max(now_ms.saturating_mul(1000)).max(1),
            next_lane: self.next_lane,
            keep_from: self.keep_from.unwrap_or(0),
            report: self.report,
            state: self.state,
        }
    }

    fn add_lane(&mut self, id: u32, name: Arc<str>, found: &Found) {
        self.state.add_lane(id, name, found.cursor, found.last_segment);
        self.state.load(id, &found.records, found.bytes);
    }
}
