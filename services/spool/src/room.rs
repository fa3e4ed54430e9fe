//! Room: removing what is empty, dropping what is too old or too much, copying forward what pins a segment.

use std::collections::BinaryHeap;
use std::io;
use std::mem;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::aside;
use crate::files::read_exact_at;
use crate::format::{
    ENTRY, Entry, Kind, Label, Place, RECORD_HEAD, decode_head, encode_record, segment_name,
};
use crate::options::{Error, WhenFull};
use crate::roll::Purpose;
use crate::state::{Leaves, State, is_gone};
use crate::stats::DropReason;
use crate::writer::{RETRY, Writer, place_of};

/// Sealed segments beyond twice of what their records need, before any are copied forward.
const SLACK: u64 = 8;

/// Segments emptied at most to make one new one.
const VICTIMS: usize = 3;

/// Records in the buffer, to be copied forward: lane, old place, what the footer says.
type Copies = Vec<(Place, Entry)>;

impl Writer {
    /// What is done beside writing. `all`: what is looked at once in a while, too.
    pub(crate) fn tend(&mut self, all: bool, reads: usize) {
        if all {
            self.tended = Instant::now();
            self.expire(reads);
        }
        self.sweep();
        let size = self.shared.options.segment_bytes;
        // The second spare is made while the segment fills up, so that rolling does not wait for it.
        let wanted = if self.active.as_ref().is_some_and(|a| a.end > size / 4 * 3) { 2 } else { 1 };
        while self.spares.len() < wanted && self.spare_after.is_none_or(|at| at <= Instant::now()) {
            if self.make_spare().is_err() {
                break;
            }
        }
        for _ in 0..4 {
            if !self.consolidate() {
                break;
            }
        }
    }

    /// Drops what is older than `max_age`. Of lanes whose head is not known only so many are looked at, each
    /// time others: on a cold disk reading ten thousand heads a second would cost more than it brings.
    fn expire(&mut self, mut reads: usize) {
        let age = self.shared.max_age_ms.load(Ordering::SeqCst);
        let Some(limit) = (self.shared.options.clock)().checked_sub(age) else { return };
        let mut from = self.expire_from;
        let mut state = self.state();
        let mut dropped = 0_u64;
        let mut lanes: Vec<u32> = state.lane_bytes().map(|(_, id)| id).collect();
        lanes.sort_unstable_by_key(|id| (*id < from, *id));
        for id in lanes {
            if !state.knows_head(id) {
                let Some(left) = reads.checked_sub(1) else { continue };
                reads = left;
                from = id.saturating_add(1);
            }
            while let Ok(Some((_, head))) = state.head(id)
                && head.taken_ms < limit
                && let Ok(Some(_)) = state.pop(id, Leaves::Dropped(DropReason::MaxAge))
            {
                dropped += 1;
            }
        }
        drop(state);
        self.expire_from = from;
        if dropped > 0 {
            tracing::debug!(dropped, "dropped records older than max_age");
        }
    }

    /// Removes segments of which nothing waits; one with damage in it is set aside.
    pub(crate) fn sweep(&mut self) {
        let keep_from = if self.active.is_some() { u32::MAX } else { self.keep_from };
        let dead: Vec<(u32, bool)> = {
            let mut state = self.state();
            if !mem::take(&mut state.emptied) {
                return;
            }
            let dead = state.segments.iter().filter(|(id, s)| s.sealed && s.live == 0 && **id < keep_from);
            dead.map(|(id, segment)| (*id, segment.suspect)).collect()
        };
        let files = &self.shared.options.files;
        let mut set_aside = false;
        let mut removed_any = false;
        for (id, suspect) in dead {
            let name = segment_name(id);
            let path = self.shared.folder.join(&name);
            let removed = if suspect {
                set_aside = true;
                let dated = aside::dated((self.shared.options.clock)(), &name);
                files.rename(&path, &self.shared.folder.join(dated))
            } else {
                files.remove(&path)
            };
            let mut state = self.state();
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(segment = id, %error, "failed to remove an empty segment; tried again later");
                    state.emptied = true;
                }
                _ => {
                    state.segments.remove(&id);
                    removed_any = true;
                }
            }
        }
        if removed_any {
            self.spare_after = None;
        }
        if set_aside {
            let keep = self.shared.options.set_aside_max_bytes;
            let left = aside::trim(&**files, &self.shared.folder, keep);
            self.state().aside_bytes = left;
        }
    }

    /// Drops the oldest records of the largest lane until a segment can be emptied into the last spare, and
    /// does that: at most a quarter of a segment is copied to get a whole one, and the append fits beside it. `error` says why there is no room; it is the answer where none can be made.
    pub(crate) fn make_room(&mut self, error: Error, need: u64) -> Result<(), Error> {
        let options = &self.shared.options;
        let reason = match error {
            Error::Full => DropReason::MaxBytes,
            Error::NoSpace => DropReason::NoSpace,
            _ => return Err(error),
        };
        let too_soon = self.evict_after.is_some_and(|at| at > Instant::now());
        if options.when_full == WhenFull::Refuse || self.spares.is_empty() || too_soon {
            return Err(error);
        }
        let size = options.segment_bytes;
        let fits = size.saturating_sub(options.overhead() + need);
        let Some(mut victim) = self.state().shrink_largest((size / 4).min(fits), reason) else {
            return Err(error);
        };
        if self.spare_of_what_was_freed() {
            return self.begin();
        }
        self.roll(Purpose::Rescue, 0)?;
        // What a segment gives back can be less than a new one needs: it was cut to its records, and its blocks
        // are counted by the file system's own rules. So more than one may have to go.
        for _ in 0..VICTIMS {
            self.copy_forward(victim, Purpose::Rescue)?;
            if self.spare_of_what_was_freed() {
                return Ok(());
            }
            let fits = self.rest().saturating_sub(need) / 2;
            let Some(next) = self.state().shrink_largest((size / 4).min(fits), reason) else { break };
            victim = next;
        }
        // Another took the room that was freed: do not drop one record after the other for nothing.
        self.evict_after = Some(Instant::now() + RETRY);
        Ok(())
    }

    /// Removes what is empty and makes a spare of its room. A journalling file system gives the blocks of a removed
    /// file back when it has committed the removal, so that is waited for.
    fn spare_of_what_was_freed(&mut self) -> bool {
        self.sweep();
        let _ = self.shared.options.files.sync_folder(&self.shared.folder);
        self.make_spare().is_ok()
    }

    /// A lane that is stuck pins every segment that holds anything of it, and a restart leaves a short segment
    /// behind: copies the emptiest forward where there are far more segments than their records need.
    fn consolidate(&mut self) -> bool {
        let size = self.shared.options.segment_bytes;
        let victim = {
            let state = self.state();
            let sealed = || state.segments.iter().filter(|(_, s)| s.sealed && s.live > 0);
            let live: u64 = sealed().map(|(_, s)| s.live_bytes).sum();
            if sealed().count() as u64 <= 2 * live.div_ceil(size) + SLACK {
                return false;
            }
            sealed()
                .min_by_key(|(_, s)| s.live_bytes)
                .filter(|(_, s)| s.live_bytes <= size / 2)
                .map(|(id, _)| *id)
        };
        let Some(victim) = victim else { return false };
        let copied = self.copy_forward(victim, Purpose::Tidy).is_ok();
        self.sweep();
        copied
    }

    /// Copies what waits of a segment to the end, under the same lanes and sequences.
    fn copy_forward(&mut self, victim: u32, purpose: Purpose) -> Result<(), Error> {
        let records = self.state().records_of(victim);
        let file = self.state().file(victim).map_err(|error| Error::io("open a segment", error))?;
        let mut buffer = Vec::new();
        let mut copies: Copies = Vec::new();
        let mut body = Vec::new();
        for (lane, old) in records {
            let mut head = [0; RECORD_HEAD as usize];
            let read = read_exact_at(&*file, &mut head, old.offset.into()).and_then(|()| {
                let head = decode_head(&head, old).filter(|head| head.kind == Kind::Data);
                let Some(head) = head else { return Ok(None) };
                body.resize(usize::try_from(head.length).map_err(io::Error::other)?, 0);
                read_exact_at(&*file, &mut body, u64::from(old.offset) + RECORD_HEAD)?;
                Ok(head.matches(&body).then_some(head))
            });
            let head = match read {
                Err(error) if !is_gone(&error) => return Err(Error::io("read a segment", error)),
                Ok(Some(head)) => head,
                _ => {
                    self.state().remove_damaged(lane, old);
                    continue;
                }
            };
            let need = buffer.len() as u64 + ENTRY * (copies.len() as u64 + 1) + head.size();
            if need > self.rest() || buffer.len() >= 1 << 20 {
                self.write_copies(&mut buffer, &mut copies)?;
            }
            if head.size() + ENTRY > self.rest() {
                self.roll(purpose, 0)?;
            }
            let Some(active) = &self.active else { return Err(Error::NoSpace) };
            let new = place_of(active.id, active.end + buffer.len() as u64);
            let label = Label { kind: Kind::Data, lane, sequence: head.sequence, taken_ms: head.taken_ms };
            encode_record(&mut buffer, new, label, &body);
            let entry = Entry { sequence: head.sequence, lane, offset: new.offset, length: head.length };
            copies.push((old, entry));
        }
        self.write_copies(&mut buffer, &mut copies)
    }

    fn write_copies(&mut self, buffer: &mut Vec<u8>, copies: &mut Copies) -> Result<(), Error> {
        let Some(active) = self.active.as_ref().filter(|_| !copies.is_empty()) else { return Ok(()) };
        let segment = active.id;
        let entries: Vec<Entry> = copies.iter().map(|(_, entry)| *entry).collect();
        let began = Instant::now();
        let written = self.write_and_sync(buffer, &entries);
        written.map_err(|error| Error::io("copy records forward", error))?;
        let mut state = self.state();
        state.stats.syncs.add(began.elapsed());
        state.stats.written_bytes += buffer.len() as u64;
        for (old, entry) in copies.drain(..) {
            let new = Place { segment, offset: entry.offset };
            state.relocate(entry.lane, old, new, crate::format::record_size(entry.length.into()));
        }
        buffer.clear();
        Ok(())
    }
}

impl State {
    /// Drops the oldest records of the largest lane, one after the other, until what waits in some sealed
    /// segment takes at most `room` bytes. That segment; `None` where there is none.
    fn shrink_largest(&mut self, room: u64, reason: DropReason) -> Option<u32> {
        let sealed = self.segments.iter().filter(|(_, s)| s.sealed);
        let emptiest = sealed.min_by_key(|(_, s)| s.live_bytes).map(|(id, s)| (*id, s.live_bytes))?;
        if emptiest.1 <= room {
            return Some(emptiest.0);
        }
        let mut largest: BinaryHeap<(u64, u32)> = self.lane_bytes().collect();
        let (mut records, began) = (0_u64, Instant::now());
        let victim = loop {
            let Some((_, id)) = largest.pop() else { break None };
            // A lane that cannot be read now is left alone.
            let Ok(Some((place, _))) = self.pop(id, Leaves::Dropped(reason)) else { continue };
            records += 1;
            if let Some(bytes) = self.bytes_of(id) {
                largest.push((bytes, id));
            }
            if self.segments.get(&place.segment).is_some_and(|s| s.sealed && s.live_bytes <= room) {
                break Some(place.segment);
            }
        };
        let took: Duration = began.elapsed();
        tracing::debug!(records, reason = reason.word(), ?took, "dropped the oldest of the largest lane");
        victim
    }
}
