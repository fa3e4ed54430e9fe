//! What is known in memory: which records wait, in which lanes, in which segments. Eight bytes a record; the
//! rest is read from the record's head when it is wanted.
//!
//! It is shared by the callers and the writer behind one lock, under which heads of 40 bytes are read and
//! nothing is ever written.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::files::{Files, Handle, read_exact_at};
use crate::format::{Kind, Place, RECORD_HEAD, RecordHead, decode_head, record_size, segment_name};
use crate::options::Options;
use crate::stats::{Amount, DropReason, LaneInfo, RecordInfo, Stats};

/// Files that stay open for reading.
const OPEN_FILES: usize = 64;

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: Arc<str>,
    pub(crate) entries: VecDeque<Place>,
    /// The place of the oldest record, under which the lane stands in `order`.
    key: Option<Place>,
    head: Option<RecordHead>,
    bytes: u64,
    /// All up to this sequence are gone.
    pub(crate) cursor: u64,
    /// The newest segment that holds anything of this lane, waiting or not.
    pub(crate) last_segment: u32,
    failing_since: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct Segment {
    pub(crate) allocated: u64,
    pub(crate) live: u64,
    pub(crate) live_bytes: u64,
    pub(crate) sealed: bool,
    /// Something in it is damaged: set aside when it is empty, rather than removed.
    pub(crate) suspect: bool,
    /// Open for reading; kept by [`State::keep_open`].
    pub(crate) file: Option<Arc<dyn Handle>>,
}

pub(crate) struct State {
    folder: PathBuf,
    files: Arc<dyn Files>,
    unreadable_after: Duration,
    pub(crate) lanes: HashMap<u32, Lane>,
    pub(crate) names: HashMap<Arc<str>, u32>,
    /// Lanes that hold records, by the place of their oldest. That is the order of the sequences, but for
    /// records that were copied forward; and it is known without reading anything.
    order: BTreeSet<(Place, u32)>,
    pub(crate) segments: BTreeMap<u32, Segment>,
    open: VecDeque<u32>,
    /// Lanes whose cursor moved and is not yet on disk.
    pub(crate) unsynced: BTreeSet<u32>,
    /// A sealed segment has become empty.
    pub(crate) emptied: bool,
    pub(crate) spares: u64,
    pub(crate) spare_bytes: u64,
    pub(crate) aside_bytes: u64,
    pub(crate) stats: Stats,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("lanes", &self.lanes.len())
            .field("segments", &self.segments)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// How a record leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaves {
    Acknowledged,
    Dropped(DropReason),
}

impl State {
    pub(crate) fn new(folder: PathBuf, options: &Options) -> State {
        State {
            folder,
            files: Arc::clone(&options.files),
            unreadable_after: options.unreadable_after,
            lanes: HashMap::new(),
            names: HashMap::new(),
            order: BTreeSet::new(),
            segments: BTreeMap::new(),
            open: VecDeque::new(),
            unsynced: BTreeSet::new(),
            emptied: false,
            spares: 0,
            spare_bytes: 0,
            aside_bytes: 0,
            stats: Stats::default(),
        }
    }

    pub(crate) fn allocated(&self) -> u64 {
        self.segments.values().map(|s| s.allocated).sum::<u64>() + self.spare_bytes + self.aside_bytes
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            lanes: self.lanes.len() as u64,
            allocated_bytes: self.allocated(),
            segments: self.segments.len() as u64,
            spares: self.spares,
            set_aside_bytes: self.aside_bytes,
            unsynced_lanes: self.unsynced.len() as u64,
            ..self.stats.clone()
        }
    }

    pub(crate) fn add_lane(&mut self, id: u32, name: Arc<str>, cursor: u64, last_segment: u32) {
        self.names.insert(Arc::clone(&name), id);
        let (entries, key, head, bytes, failing_since) = (VecDeque::new(), None, None, 0, None);
        self.lanes.insert(id, Lane { name, entries, key, head, bytes, cursor, last_segment, failing_since });
    }

    pub(crate) fn remove_lane(&mut self, id: u32) {
        if let Some(lane) = self.lanes.remove(&id) {
            self.names.remove(&lane.name);
            self.unsynced.remove(&id);
        }
    }

    /// The file of a segment, opened if it is not.
    pub(crate) fn file(&mut self, id: u32) -> io::Result<Arc<dyn Handle>> {
        let segment = self.segments.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        if let Some(file) = &segment.file {
            return Ok(Arc::clone(file));
        }
        let file = self.files.open(&self.folder.join(segment_name(id)), false)?;
        self.keep_open(id, Arc::clone(&file));
        Ok(file)
    }

    /// Keeps a segment's file open, and closes the one that has been open longest.
    pub(crate) fn keep_open(&mut self, id: u32, file: Arc<dyn Handle>) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.file = Some(file);
            self.open.push_back(id);
        }
        while self.open.len() > OPEN_FILES {
            let oldest = self.open.pop_front();
            if let Some(segment) = oldest.and_then(|id| self.segments.get_mut(&id)) {
                segment.file = None;
            }
        }
    }

    /// A head as it stands on disk; `None` where it is damaged or gone, an error where it cannot be read now.
    pub(crate) fn read_head(&mut self, place: Place) -> io::Result<Option<RecordHead>> {
        let mut bytes = [0; RECORD_HEAD as usize];
        let read = self.file(place.segment).and_then(|f| read_exact_at(&*f, &mut bytes, place.offset.into()));
        match read {
            Ok(()) => Ok(decode_head(&bytes, place).filter(|head| head.kind == Kind::Data)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A record as it stands on disk; `None` where it is damaged or gone.
    pub(crate) fn read(&mut self, place: Place) -> io::Result<Option<(RecordHead, Vec<u8>)>> {
        let Some(head) = self.read_head(place)? else { return Ok(None) };
        let mut body = vec![0; usize::try_from(head.length).map_err(io::Error::other)?];
        let file = self.file(place.segment)?;
        match read_exact_at(&*file, &mut body, u64::from(place.offset) + RECORD_HEAD) {
            Ok(()) => Ok(head.matches(&body).then_some((head, body))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The head of a lane's oldest readable record. Damaged ones are passed over and counted.
    pub(crate) fn head(&mut self, id: u32) -> io::Result<Option<(Place, RecordHead)>> {
        loop {
            let Some(lane) = self.lanes.get(&id) else { return Ok(None) };
            let Some(place) = lane.entries.front().copied() else { return Ok(None) };
            if let Some(head) = lane.head {
                return Ok(Some((place, head)));
            }
            let cursor = lane.cursor;
            // A footer that is whole and says otherwise than what it lists was not written by us.
            let is_next = |head: &RecordHead| head.lane == id && head.sequence > cursor;
            match self.read_head(place).map(|head| head.filter(is_next)) {
                Ok(Some(head)) => {
                    if let Some(lane) = self.lanes.get_mut(&id) {
                        lane.head = Some(head);
                        lane.failing_since = None;
                    }
                    return Ok(Some((place, head)));
                }
                Ok(None) => self.pass_over(id, place),
                Err(error) => self.cannot_read(id, place, error)?,
            }
        }
    }

    /// A record failed to be read: an error, or passed over where it has failed for long.
    pub(crate) fn cannot_read(&mut self, id: u32, place: Place, error: io::Error) -> io::Result<()> {
        let limit = self.unreadable_after;
        let Some(lane) = self.lanes.get_mut(&id) else { return Ok(()) };
        if lane.failing_since.get_or_insert_with(Instant::now).elapsed() < limit {
            return Err(error);
        }
        self.pass_over(id, place);
        Ok(())
    }

    /// Passes over a damaged record, if it is still the oldest of its lane.
    pub(crate) fn pass_over(&mut self, id: u32, place: Place) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.entries.front() != Some(&place) {
            return;
        }
        lane.entries.pop_front();
        // Where its head was still readable its length is known; else the lane's bytes come right at its end.
        let bytes = lane.head.take().map_or(0, |head| u64::from(head.length));
        lane.failing_since = None;
        tracing::error!(lane = &*lane.name, segment = place.segment, offset = place.offset, "damaged record");
        self.gone(id, place, bytes, Leaves::Dropped(DropReason::Damaged));
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.suspect = true;
        }
    }

    /// Takes a damaged record out of its lane, wherever in it.
    pub(crate) fn remove_damaged(&mut self, id: u32, place: Place) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.entries.front() == Some(&place) {
            self.pass_over(id, place);
        } else if let Some(at) = lane.entries.iter().position(|entry| *entry == place) {
            lane.entries.remove(at);
            self.gone(id, place, 0, Leaves::Dropped(DropReason::Damaged));
        }
    }

    /// Takes out a lane's oldest record. Its place and sequence.
    pub(crate) fn pop(&mut self, id: u32, how: Leaves) -> io::Result<Option<(Place, u64)>> {
        let Some((place, head)) = self.head(id)? else { return Ok(None) };
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.entries.pop_front();
            lane.head = None;
            lane.cursor = lane.cursor.max(head.sequence);
            if lane.entries.capacity() > 64 && lane.entries.len() < lane.entries.capacity() / 4 {
                lane.entries.shrink_to(lane.entries.len() * 2);
            }
        }
        self.unsynced.insert(id);
        self.gone(id, place, head.length.into(), how);
        Ok(Some((place, head.sequence)))
    }

    /// The books of a record that is no longer in its lane.
    fn gone(&mut self, id: u32, place: Place, bytes: u64, how: Leaves) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let empty = lane.entries.is_empty();
        let leaves = if empty { lane.bytes } else { bytes.min(lane.bytes) };
        lane.bytes -= leaves;
        self.stats.waiting.records = self.stats.waiting.records.saturating_sub(1);
        self.stats.waiting.bytes = self.stats.waiting.bytes.saturating_sub(leaves);
        match how {
            Leaves::Acknowledged => self.stats.acknowledged.add(bytes),
            Leaves::Dropped(reason) => self.stats.drop(reason, bytes),
        }
        self.release(place.segment, record_size(bytes));
        self.rekey(id);
    }

    /// One record less in a segment.
    fn release(&mut self, id: u32, size: u64) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.live = segment.live.saturating_sub(1);
            segment.live_bytes = if segment.live == 0 { 0 } else { segment.live_bytes.saturating_sub(size) };
            self.emptied |= segment.live == 0 && segment.sealed;
        }
    }

    /// Puts a lane where its oldest record now belongs in the order.
    fn rekey(&mut self, id: u32) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let key = lane.entries.front().copied();
        if let Some(old) = std::mem::replace(&mut lane.key, key) {
            self.order.remove(&(old, id));
        }
        self.order.extend(key.map(|key| (key, id)));
    }

    /// A record that was written and synced, at the end of its lane. The lane's name where it was empty, to be told.
    #[must_use]
    pub(crate) fn push(&mut self, place: Place, head: RecordHead) -> Option<Arc<str>> {
        let (id, bytes) = (head.lane, u64::from(head.length));
        let lane = self.lanes.get_mut(&id)?;
        let first = lane.entries.is_empty();
        let name = first.then(|| Arc::clone(&lane.name));
        lane.entries.push_back(place);
        lane.bytes += bytes;
        lane.last_segment = lane.last_segment.max(place.segment);
        if first {
            lane.head = Some(head);
            self.rekey(id);
        }
        self.stats.waiting.add(bytes);
        self.stats.taken.add(bytes);
        self.hold(place.segment, record_size(bytes));
        name
    }

    /// One record more in a segment.
    fn hold(&mut self, id: u32, size: u64) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.live += 1;
            segment.live_bytes += size;
        }
    }

    /// Puts the records of a lane that opening found into the index, in order.
    pub(crate) fn load(&mut self, id: u32, found: &[(u64, Place)], bytes: u64) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.entries = found.iter().map(|(_, place)| *place).collect();
        lane.bytes = bytes;
        self.stats.waiting.records += found.len() as u64;
        self.stats.waiting.bytes += bytes;
        self.rekey(id);
    }

    /// The length of a record that opening found twice, or found acknowledged after all; it is not held then.
    pub(crate) fn forget(&mut self, place: Place) -> u64 {
        let bytes = self.read_head(place).ok().flatten().map_or(0, |head| u64::from(head.length));
        self.release(place.segment, record_size(bytes));
        bytes
    }

    /// A record was copied: its old place gives way to the new one, unless it has gone meanwhile.
    pub(crate) fn relocate(&mut self, id: u32, old: Place, new: Place, size: u64) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.last_segment = lane.last_segment.max(new.segment);
        let Some(entry) = lane.entries.iter_mut().find(|place| **place == old) else { return };
        *entry = new;
        self.rekey(id);
        self.release(old.segment, size);
        self.hold(new.segment, size);
        self.stats.copied_forward.add(size.saturating_sub(RECORD_HEAD));
    }

    /// The waiting records of a segment, by their offset.
    pub(crate) fn records_of(&self, segment: u32) -> Vec<(u32, Place)> {
        let mut found: Vec<(u32, Place)> = Vec::new();
        for (id, lane) in &self.lanes {
            found.extend(lane.entries.iter().filter(|p| p.segment == segment).map(|p| (*id, *p)));
        }
        found.sort_unstable_by_key(|(_, place)| place.offset);
        found
    }

    /// Of the lanes that hold records and that `want` accepts, the one whose oldest record stands first.
    pub(crate) fn next_lane(&self, mut want: impl FnMut(&str) -> bool) -> Option<Arc<str>> {
        let names = self.order.iter().filter_map(|(_, id)| Some(&self.lanes.get(id)?.name));
        names.into_iter().find(|name| want(name)).cloned()
    }

    /// Whether the head of a lane's oldest record is known without reading it.
    pub(crate) fn knows_head(&self, id: u32) -> bool {
        self.known_head(id).is_some()
    }

    /// The sequence of a lane's oldest record, where it is known without reading it.
    pub(crate) fn known_head(&self, id: u32) -> Option<u64> {
        self.lanes.get(&id)?.head.map(|head| head.sequence)
    }

    pub(crate) fn info(&mut self, id: u32) -> Option<LaneInfo> {
        let oldest = self.head(id).ok().flatten().map(|(_, head)| info_of(&head));
        let lane = self.lanes.get(&id)?;
        let waiting = Amount { records: lane.entries.len() as u64, bytes: lane.bytes };
        Some(LaneInfo { name: Arc::clone(&lane.name), waiting, oldest, acknowledged: lane.cursor })
    }

    /// The heads of a lane's oldest records; damaged ones are left out.
    pub(crate) fn infos(&mut self, id: u32, limit: usize) -> io::Result<Vec<RecordInfo>> {
        let Some(lane) = self.lanes.get(&id) else { return Ok(Vec::new()) };
        let places: Vec<Place> = lane.entries.iter().take(limit).copied().collect();
        let mut found = Vec::with_capacity(places.len());
        for place in places {
            found.extend(self.read_head(place)?.map(|head| info_of(&head)));
        }
        Ok(found)
    }

    /// Lanes that hold records, and their bytes.
    pub(crate) fn lane_bytes(&self) -> impl Iterator<Item = (u64, u32)> {
        self.lanes.iter().filter(|(_, lane)| !lane.entries.is_empty()).map(|(id, lane)| (lane.bytes, *id))
    }

    /// Bytes that wait in a lane; `None` where none does.
    pub(crate) fn bytes_of(&self, id: u32) -> Option<u64> {
        self.lanes.get(&id).filter(|lane| !lane.entries.is_empty()).map(|lane| lane.bytes)
    }
}

fn info_of(head: &RecordHead) -> RecordInfo {
    RecordInfo { sequence: head.sequence, taken_ms: head.taken_ms, bytes: head.length.into() }
}

/// Whether a read failed since the bytes are not there any more, rather than for a reason that may pass.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound)
}
