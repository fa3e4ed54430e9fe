//! From one segment to the next: spares, beginning, sealing, giving up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::aside;
use crate::files::write_all_at;
use crate::format::{
    Kind, Label, SEGMENT_HEAD, encode_cursors, encode_record, encode_segment_head, encode_trailer,
    segment_name,
};
use crate::options::Error;
use crate::recover::Spare;
use crate::state::Segment;
use crate::writer::{Active, RETRY, Writer, place_of};

/// What a new segment is begun for, which decides whether the last spare may be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Records: only where a spare is left afterwards; drops the oldest records to get there.
    Append,
    /// Cursors may use the last spare: that is what makes acknowledging on a full disk work.
    Cursors,
    /// Records that are copied so that their segment can be removed may as well.
    Rescue,
    /// Records that are copied for tidiness: only where a spare is left, and nothing is dropped for it.
    Tidy,
}

impl Writer {
    /// Begins a new segment. For an append of `need` bytes there may be no new one but room in the old.
    pub(crate) fn roll(&mut self, purpose: Purpose, need: u64) -> Result<(), Error> {
        let wanted = if matches!(purpose, Purpose::Append | Purpose::Tidy) { 2 } else { 1 };
        let mut failure = None;
        while self.spares.len() < wanted && failure.is_none() {
            failure = self.make_spare().err();
        }
        if let Some(error) = failure {
            return match purpose {
                Purpose::Append => self.make_room(error, need),
                Purpose::Cursors | Purpose::Rescue | Purpose::Tidy => Err(error),
            };
        }
        self.begin()
    }

    /// Makes a segment ready: its blocks reserved, its name synced.
    pub(crate) fn make_spare(&mut self) -> Result<(), Error> {
        let made = match self.try_spare() {
            // What was set aside goes before anything that is wanted.
            Err(Error::Full | Error::NoSpace) if self.state().aside_bytes > 0 => {
                let left = aside::trim(&*self.shared.options.files, &self.shared.folder, 0);
                self.state().aside_bytes = left;
                self.try_spare()
            }
            other => other,
        };
        self.spare_after = made.is_err().then(|| Instant::now() + RETRY);
        made
    }

    fn try_spare(&mut self) -> Result<(), Error> {
        let options = &self.shared.options;
        let size = options.segment_bytes;
        if self.state().allocated() + size > self.shared.max_bytes.load(Ordering::SeqCst) {
            return Err(Error::Full);
        }
        let id = self.next_segment;
        let path = self.shared.folder.join(segment_name(id));
        let made = options.files.create(&path).and_then(|file| {
            file.reserve(size)?;
            file.sync()?;
            options.files.sync_folder(&self.shared.folder)?;
            Ok(file)
        });
        match made {
            Ok(file) => {
                self.next_segment = id.saturating_add(1);
                self.spares.push_back(Spare { id, file });
                let mut state = self.state();
                state.spares += 1;
                state.spare_bytes += size;
                Ok(())
            }
            Err(error) => {
                let _ = options.files.remove(&path);
                Err(Error::io("make a segment", error))
            }
        }
    }

    /// Begins the first spare: its head and a snapshot of all cursors, synced. Then seals the segment before.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        let Some(Spare { id, file }) = self.spares.pop_front() else { return Err(Error::Full) };
        let size = self.shared.options.segment_bytes;
        let mut bytes = encode_segment_head(id, self.next_sequence, (self.shared.options.clock)());
        let unsynced = {
            let mut state = self.state();
            state.spares = state.spares.saturating_sub(1);
            state.spare_bytes = state.spare_bytes.saturating_sub(size);
            let cursors: Vec<(u32, u64)> = state.lanes.iter().map(|(id, lane)| (*id, lane.cursor)).collect();
            let label = Label { kind: Kind::Snapshot, lane: 0, sequence: self.next_sequence, taken_ms: 0 };
            encode_record(&mut bytes, place_of(id, SEGMENT_HEAD), label, &encode_cursors(&cursors));
            std::mem::take(&mut state.unsynced)
        };
        let began = Instant::now();
        if let Err(error) = write_all_at(&*file, &bytes, 0).and_then(|()| file.sync()) {
            let mut state = self.state();
            state.unsynced.extend(unsynced);
            state.stats.write_errors += 1;
            drop(state);
            // Emptied first: where it cannot be removed it is at least nothing that was written to.
            let _ = file.set_len(0);
            let _ = self.shared.options.files.remove(&self.shared.folder.join(segment_name(id)));
            return Err(Error::io("begin a segment", error));
        }
        let mut state = self.state();
        state.stats.syncs.add(began.elapsed());
        state.stats.written_bytes += bytes.len() as u64;
        state.segments.insert(id, Segment { allocated: size, ..Segment::default() });
        state.keep_open(id, Arc::clone(&file));
        // Segments that were kept for their cursors alone may go now.
        state.emptied = true;
        drop(state);
        let new = Active { id, file, end: bytes.len() as u64, entries: Vec::new() };
        if let Some(old) = self.active.replace(new) {
            self.seal(&old);
        }
        Ok(())
    }

    /// Ends a segment with its footer and gives back what it did not use. Best effort, and not synced: a footer
    /// that is not whole is not believed.
    pub(crate) fn seal(&self, old: &Active) {
        let mut bytes = Vec::new();
        let place = place_of(old.id, old.end);
        let label = Label { kind: Kind::Footer, lane: 0, sequence: self.next_sequence, taken_ms: 0 };
        encode_record(&mut bytes, place, label, &old.entries);
        encode_trailer(&mut bytes, old.id, place.offset);
        let size = bytes.len() as u64;
        let written = write_all_at(&*old.file, &bytes, old.end).is_ok();
        let length = if written { old.end + size } else { old.end };
        let cut = old.file.set_len(length).is_ok();
        let mut state = self.state();
        state.stats.written_bytes += size;
        if let Some(segment) = state.segments.get_mut(&old.id) {
            segment.sealed = true;
            if cut {
                segment.allocated = length;
            }
        }
        state.emptied = true;
    }

    /// Gives up the segment that is written to, after an error: cut back to what was synced, never written to
    /// again, and without a footer, since nothing more may be written to it.
    pub(crate) fn abandon(&mut self) {
        let Some(old) = self.active.take() else { return };
        let cut = old.file.set_len(old.end).and_then(|()| old.file.sync()).is_ok();
        // Until the next one is begun, this one holds cursors that no other does.
        self.keep_from = old.id;
        let mut state = self.state();
        state.stats.write_errors += 1;
        state.emptied = true;
        if let Some(segment) = state.segments.get_mut(&old.id) {
            segment.sealed = true;
            if cut {
                segment.allocated = old.end;
            }
        }
        tracing::error!(segment = old.id, "a write to the spool failed; it goes on in the next segment");
    }
}
