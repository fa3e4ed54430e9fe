//! The writer: one thread that gathers appends and acknowledgements, writes them, syncs once, and answers all.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use crate::files::{Handle, write_all_at};
use crate::format::{
    ENTRY, Entry, Kind, Label, Place, RECORD_HEAD, TRAILER, aligned, encode_cursors, encode_entry,
    encode_record, record_size,
};
use crate::names::Names;
use crate::options::Error;
use crate::recover::Spare;
use crate::roll::Purpose;
use crate::spool::{Reply, Shared};
use crate::state::State;

/// An append on its way to the writer.
pub(crate) struct Append {
    pub(crate) lane: Arc<str>,
    pub(crate) taken_ms: u64,
    pub(crate) body: Vec<u8>,
    pub(crate) reply: Reply,
}

/// What the writer is asked for.
pub(crate) enum Message {
    Append(Append),
    /// There are cursors to sync.
    Wake,
    /// Commit now.
    Flush(Sender<Result<(), Error>>),
    /// Look after age, spares and empty segments now.
    Tend(Sender<()>),
    /// Commit, seal, end.
    Close(Sender<Result<(), Error>>),
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn Handle>,
    /// Everything before this is written and synced.
    pub(crate) end: u64,
    /// The body of its footer.
    pub(crate) entries: Vec<u8>,
}

/// An append that has its lane and its sequence.
struct Pending {
    lane: u32,
    sequence: u64,
    append: Append,
    tries: u32,
}

impl Pending {
    fn need(&self) -> u64 {
        record_size(self.append.body.len() as u64) + ENTRY
    }
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) names: Names,
    pub(crate) active: Option<Active>,
    pub(crate) spares: VecDeque<Spare>,
    pub(crate) next_segment: u32,
    pub(crate) next_sequence: u64,
    pub(crate) next_lane: u32,
    pub(crate) keep_from: u32,
    /// Files that could not be opened may hold anything: no lane is forgotten then.
    pub(crate) forget_lanes: bool,
    pub(crate) buffer: Vec<u8>,
    /// Not before this another spare is tried for, or anything dropped: both have just failed.
    pub(crate) spare_after: Option<Instant>,
    pub(crate) evict_after: Option<Instant>,
    pub(crate) tended: Instant,
    /// The lane at which looking for old records goes on.
    pub(crate) expire_from: u32,
}

#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    bytes: u64,
    flushes: Vec<Sender<Result<(), Error>>>,
    tends: Vec<Sender<()>>,
    close: Option<Sender<Result<(), Error>>>,
}

impl Batch {
    fn take(&mut self, message: Message) {
        match message {
            Message::Append(append) => {
                self.bytes += append.body.len() as u64;
                self.appends.push(append);
            }
            Message::Wake => {}
            Message::Flush(reply) => self.flushes.push(reply),
            Message::Tend(reply) => self.tends.push(reply),
            Message::Close(reply) => self.close = Some(reply),
        }
    }

    fn urgent(&self) -> bool {
        self.close.is_some() || !self.flushes.is_empty() || !self.tends.is_empty()
    }
}

impl Writer {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    pub(crate) fn run(mut self, inbox: &Receiver<Message>) {
        self.tend(true, EXPIRE_READS);
        loop {
            let mut batch = Batch::default();
            match inbox.recv_timeout(self.shared.options.tend_every) {
                Ok(message) => {
                    batch.take(message);
                    self.gather(inbox, &mut batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.commit(Vec::new());
                    return self.end();
                }
            }
            self.shared.woken.store(false, std::sync::atomic::Ordering::SeqCst);
            let mut outcome = self.commit(mem::take(&mut batch.appends));
            let due = self.tended.elapsed() >= self.shared.options.tend_every;
            let asked = !batch.tends.is_empty();
            self.tend(due || asked, if asked { usize::MAX } else { EXPIRE_READS });
            if !batch.flushes.is_empty() && outcome.is_err() {
                outcome = self.commit(Vec::new());
            }
            for reply in batch.flushes {
                let _ = reply.send(outcome.clone());
            }
            for reply in batch.tends {
                let _ = reply.send(());
            }
            if let Some(reply) = batch.close {
                self.end();
                let _ = reply.send(outcome);
                return;
            }
        }
    }

    fn gather(&self, inbox: &Receiver<Message>, batch: &mut Batch) {
        let options = &self.shared.options;
        // Cursors alone are not worth a sync of their own: a crash repeats deliveries, and they are harmless.
        let until = Instant::now() + options.gather_cursors;
        while batch.appends.is_empty() && !batch.urgent() {
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => batch.take(message),
                Err(_) => return,
            }
        }
        // Asleep rather than waiting: so what comes meanwhile wakes nobody.
        for pause in [options.gather, Duration::ZERO] {
            while batch.bytes < options.gather_bytes
                && !batch.urgent()
                && let Ok(message) = inbox.try_recv()
            {
                batch.take(message);
            }
            if batch.bytes >= options.gather_bytes || batch.urgent() {
                return;
            }
            std::thread::sleep(pause);
        }
    }

    fn end(&mut self) {
        if let Some(active) = self.active.take() {
            self.seal(&active);
            let _ = active.file.sync();
        }
    }

    /// Writes and syncs a batch and answers it. The result is that of the acknowledgements in it.
    pub(crate) fn commit(&mut self, appends: Vec<Append>) -> Result<(), Error> {
        let mut queue = self.name_lanes(appends);
        let mut staged: Vec<Pending> = Vec::new();
        let mut size = 0;
        loop {
            match queue.pop_front() {
                Some(item) if self.rest() >= size + item.need() => {
                    size += item.need();
                    staged.push(item);
                }
                Some(item) if !staged.is_empty() => {
                    queue.push_front(item);
                    self.write_out(mem::take(&mut staged), &mut queue);
                    size = 0;
                }
                Some(mut item) => {
                    item.tries += 1;
                    match self.roll(Purpose::Append, item.need()) {
                        // A segment that was begun may hold too little yet, after records were copied into it.
                        Ok(()) if item.tries < 6 => queue.push_front(item),
                        Ok(()) => item.append.reply.answer(Err(Error::Full)),
                        Err(error) => item.append.reply.answer(Err(error)),
                    }
                }
                None if staged.is_empty() => return self.write_cursors(),
                None => {
                    self.write_out(mem::take(&mut staged), &mut queue);
                    size = 0;
                }
            }
        }
    }

    /// What still fits into the segment that is written to, its footer aside.
    pub(crate) fn rest(&self) -> u64 {
        let Some(active) = &self.active else { return 0 };
        let footer = RECORD_HEAD + aligned(active.entries.len() as u64 + 8) + TRAILER;
        self.shared.options.segment_bytes.saturating_sub(active.end + footer)
    }

    /// Writes these records and the cursors that moved, syncs, and answers. What fails for the first time goes
    /// back to the front of the queue, to be written into the next segment under the same sequences.
    fn write_out(&mut self, staged: Vec<Pending>, queue: &mut VecDeque<Pending>) {
        let room = self.rest().saturating_sub(staged.iter().map(Pending::need).sum());
        let Some(active) = self.active.as_ref() else { return };
        let (id, end) = (active.id, active.end);
        let mut buffer = mem::take(&mut self.buffer);
        buffer.clear();
        let mut entries = Vec::with_capacity(staged.len());
        let mut heads = Vec::with_capacity(staged.len());
        let place_at = |buffer: &Vec<u8>| place_of(id, end + buffer.len() as u64);
        for item in &staged {
            let place = place_at(&buffer);
            let label = Label {
                kind: Kind::Data,
                lane: item.lane,
                sequence: item.sequence,
                taken_ms: item.append.taken_ms,
            };
            let head = encode_record(&mut buffer, place, label, &item.append.body);
            let (sequence, lane, length) = (head.sequence, head.lane, head.length);
            entries.push(Entry { sequence, lane, offset: place.offset, length });
            heads.push((place, head));
        }
        let unsynced = self.take_cursors(room, &mut buffer, place_at);
        let began = Instant::now();
        let written = self.write_and_sync(&buffer, &entries);
        let size = buffer.len() as u64;
        self.buffer = buffer;
        match written {
            Ok(()) => {
                let mut state = self.state();
                state.stats.syncs.add(began.elapsed());
                state.stats.written_bytes += size;
                let filled: Vec<_> =
                    heads.into_iter().filter_map(|(place, head)| state.push(place, head)).collect();
                drop(state);
                for item in staged {
                    item.append.reply.answer(Ok(item.sequence));
                }
                // Last, so that whoever takes the records out finds what the answers left for it.
                for lane in &filled {
                    (self.shared.options.filled)(lane);
                }
            }
            Err(error) => {
                self.state().unsynced.extend(unsynced);
                let error = Error::io("write to the spool", error);
                for mut item in staged.into_iter().rev() {
                    item.tries += 1;
                    if item.tries > 3 || matches!(error, Error::NoSpace) && item.tries > 1 {
                        item.append.reply.answer(Err(error.clone()));
                    } else {
                        queue.push_front(item);
                    }
                }
            }
        }
    }

    /// Encodes the cursors that moved, if they fit. The lanes that they are of.
    fn take_cursors(&self, room: u64, out: &mut Vec<u8>, place: impl Fn(&Vec<u8>) -> Place) -> BTreeSet<u32> {
        let mut state = self.state();
        let size = record_size(state.unsynced.len() as u64 * 12);
        if state.unsynced.is_empty() || size > room {
            return BTreeSet::new();
        }
        let lanes = mem::take(&mut state.unsynced);
        let cursor = |id: &u32| Some((*id, state.lanes.get(id)?.cursor));
        let cursors: Vec<(u32, u64)> = lanes.iter().filter_map(cursor).collect();
        drop(state);
        let label = Label { kind: Kind::Acknowledgement, lane: 0, sequence: 0, taken_ms: 0 };
        let at = place(out);
        encode_record(out, at, label, &encode_cursors(&cursors));
        lanes
    }

    /// Appends to the segment that is written to and syncs; after an error it is not written to again.
    pub(crate) fn write_and_sync(&mut self, bytes: &[u8], entries: &[Entry]) -> io::Result<()> {
        let Some(active) = self.active.as_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let written = write_all_at(&*active.file, bytes, active.end).and_then(|()| active.file.sync());
        if let Err(error) = written {
            self.abandon();
            return Err(error);
        }
        active.end += bytes.len() as u64;
        for entry in entries {
            encode_entry(&mut active.entries, *entry);
        }
        Ok(())
    }

    /// Writes the cursors that no group of records took along.
    fn write_cursors(&mut self) -> Result<(), Error> {
        for _ in 0..2 {
            let unsynced = self.state().unsynced.len() as u64;
            if unsynced == 0 {
                return Ok(());
            }
            if self.rest() >= record_size(unsynced * 12) {
                self.write_out(Vec::new(), &mut VecDeque::new());
            } else {
                // The snapshot that a segment begins with holds them.
                self.roll(Purpose::Cursors, 0)?;
            }
        }
        let left = self.state().unsynced.len();
        if left == 0 { Ok(()) } else { self.roll(Purpose::Cursors, 0) }
    }

    /// Finds or makes the lanes of a batch, and gives each append its sequence.
    fn name_lanes(&mut self, appends: Vec<Append>) -> VecDeque<Pending> {
        let failure = self.add_lanes(&appends);
        let mut queue = VecDeque::with_capacity(appends.len());
        for append in appends {
            let lane = self.state().names.get(&append.lane).copied();
            let Some(lane) = lane else {
                append.reply.answer(Err(failure.clone().unwrap_or(Error::Closed)));
                continue;
            };
            let sequence = self.next_sequence;
            let Some(next) = sequence.checked_add(1) else {
                append.reply.answer(Err(Error::Sequences));
                continue;
            };
            self.next_sequence = next;
            queue.push_back(Pending { lane, sequence, append, tries: 0 });
        }
        queue
    }

    fn add_lanes(&mut self, appends: &[Append]) -> Option<Error> {
        let max = self.shared.options.max_lanes;
        let mut seen: HashSet<&str> = HashSet::new();
        let mut new: Vec<(u32, Arc<str>)> = Vec::new();
        let mut lanes = {
            let state = self.state();
            let unknown = |append: &&Append| !state.names.contains_key(&append.lane);
            for append in appends.iter().filter(unknown).filter(|append| seen.insert(&append.lane)) {
                new.push((0, Arc::clone(&append.lane)));
            }
            state.lanes.len()
        };
        if new.is_empty() {
            return None;
        }
        if lanes + new.len() > max as usize {
            lanes -= self.forget_empty_lanes();
        }
        let wanted = new.len();
        // Nor more than there are numbers for: two lanes under one would be one.
        let numbers = usize::try_from(u32::MAX - self.next_lane).unwrap_or(usize::MAX);
        new.truncate((max as usize).saturating_sub(lanes).min(numbers));
        let mut failure = (new.len() < wanted).then_some(Error::TooManyLanes { max });
        for (id, _) in &mut new {
            *id = self.next_lane;
            self.next_lane = self.next_lane.saturating_add(1);
        }
        let mut all = if self.names.incomplete() { self.all_names() } else { Vec::new() };
        all.extend(new.iter().cloned());
        match self.names.add(&new, &all) {
            Ok(bytes) => {
                let mut state = self.state();
                state.stats.written_bytes += bytes;
                for (id, name) in new {
                    state.add_lane(id, name, 0, 0);
                }
            }
            Err(error) => failure = Some(Error::io("write the lanes' names", error)),
        }
        failure
    }

    fn all_names(&self) -> Vec<(u32, Arc<str>)> {
        self.state().lanes.iter().map(|(id, lane)| (*id, Arc::clone(&lane.name))).collect()
    }

    /// Forgets lanes that are empty and of which no segment holds anything. How many.
    fn forget_empty_lanes(&mut self) -> usize {
        let gone: Vec<u32> = {
            let state = self.state();
            let oldest = state.segments.keys().next().copied().unwrap_or(u32::MAX);
            let empty = state.lanes.iter().filter(|(_, l)| l.entries.is_empty() && l.last_segment < oldest);
            empty.map(|(id, _)| *id).collect()
        };
        if gone.is_empty() || !self.forget_lanes {
            return 0;
        }
        // A removed segment that came back after a power cut would bring its records back without their cursor.
        if self.shared.options.files.sync_folder(&self.shared.folder).is_err() {
            return 0;
        }
        let mut left = self.all_names();
        left.retain(|(id, _)| !gone.contains(id));
        if self.names.write_anew(&left).is_err() {
            return 0;
        }
        let mut state = self.state();
        for id in &gone {
            state.remove_lane(*id);
        }
        gone.len()
    }
}

pub(crate) fn place_of(segment: u32, offset: u64) -> Place {
    // Segments are at most 1 GiB long.
    Place { segment, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
}

/// How long after a failed try the next is made.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// How many heads that are not known are read each time, to find what is too old.
const EXPIRE_READS: usize = 500;
