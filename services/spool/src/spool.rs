//! The handle: what a program does with a spool.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::files::{Lock, read_exact_at};
use crate::format::{Kind, RECORD_HEAD, decode_head};
use crate::options::{Error, MAX_LANE_NAME, Options};
use crate::recover::{self, Opened};
use crate::state::{Leaves, State, is_gone};
use crate::stats::{DropReason, LaneInfo, Record, RecordInfo, Report, Stats};
use crate::writer::{Append, Message, Writer};

/// What the callers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) options: Options,
    /// Those two of the options that may change while it is open.
    pub(crate) max_bytes: AtomicU64,
    pub(crate) max_age_ms: AtomicU64,
    state: Mutex<State>,
    /// A wake-up is on its way to the writer.
    pub(crate) woken: AtomicBool,
    pending_bytes: AtomicU64,
    /// Held as long as anything of this spool lives.
    _lock: Lock,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Done = Box<dyn FnOnce(Result<u64, Error>) + Send>;

/// The answer to one append, given exactly once: [`Error::Closed`] if the writer ends before.
pub(crate) struct Reply {
    done: Option<Done>,
    bytes: u64,
    shared: Arc<Shared>,
}

impl Reply {
    pub(crate) fn answer(mut self, result: Result<u64, Error>) {
        self.give(result);
    }

    fn give(&mut self, result: Result<u64, Error>) {
        if let Some(done) = self.done.take() {
            self.shared.pending_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
            done(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.give(Err(Error::Closed));
    }
}

/// A spool that is open. Dropping it commits what was appended, and waits for that.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    outbox: Sender<Message>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Spool {
    /// Opens the spool in a directory, which is made if it is not there. Damage is set aside and reported,
    /// never a reason to refuse; no free space is needed.
    ///
    /// # Errors
    /// [`Error::Locked`] where it is open elsewhere, [`Error::Options`], or [`Error::Io`] where the directory
    /// cannot be made, locked or listed.
    pub fn open(folder: &Path, options: Options) -> Result<(Spool, Report), Error> {
        options.check()?;
        let made = options.files.make_folder(folder);
        let lock = match (Lock::take(folder), made) {
            (Ok(lock), _) => lock,
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::Locked { folder: folder.to_owned() });
            }
            (Err(_), Err(error)) => return Err(Error::io("make the spool's directory", error)),
            (Err(error), Ok(())) => return Err(Error::io("lock the spool's directory", error)),
        };
        let Opened { state, names, spares, next_segment, next_sequence, next_lane, keep_from, report } =
            recover::open(folder, &options)?;
        if report.damage.any() {
            tracing::error!(folder = %folder.display(), damage = ?report.damage, "the spool is damaged");
        }
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            max_bytes: AtomicU64::new(options.max_bytes),
            max_age_ms: AtomicU64::new(millis(options.max_age)),
            options,
            state: Mutex::new(state),
            woken: AtomicBool::new(false),
            pending_bytes: AtomicU64::new(0),
            _lock: lock,
        });
        let (outbox, inbox) = mpsc::channel();
        let writer = Writer {
            shared: Arc::clone(&shared),
            names,
            active: None,
            spares,
            next_segment,
            next_sequence,
            next_lane,
            keep_from,
            forget_lanes: report.damage.unopened == 0,
            buffer: Vec::new(),
            spare_after: None,
            evict_after: None,
            tended: Instant::now(),
            expire_from: 0,
        };
        let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run(&inbox));
        let thread = thread.map_err(|error| Error::io("start the spool's writer", error))?;
        Ok((Spool { shared, outbox, writer: Mutex::new(Some(thread)) }, report))
    }

    /// Appends a record and calls `done` with its sequence once it is synced, or with the reason why it is not.
    /// `done` runs on the writer's thread and must not block. After an error the record may still appear.
    pub fn append_then(
        &self,
        lane: &str,
        taken_ms: u64,
        body: Vec<u8>,
        done: impl FnOnce(Result<u64, Error>) + Send + 'static,
    ) {
        let bytes = body.len() as u64;
        let waiting = self.shared.pending_bytes.fetch_add(bytes, Ordering::SeqCst);
        let reply = Reply { done: Some(Box::new(done)), bytes, shared: Arc::clone(&self.shared) };
        let options = &self.shared.options;
        if lane.is_empty() || lane.len() > MAX_LANE_NAME {
            reply.answer(Err(Error::LaneName));
        } else if bytes > options.max_body() {
            reply.answer(Err(Error::TooLarge { bytes, max: options.max_body() }));
        } else if waiting > 0 && waiting + bytes > options.max_pending_bytes {
            reply.answer(Err(Error::Busy));
        } else {
            // Where the writer has ended, dropping the message answers it.
            let _ = self.outbox.send(Message::Append(Append { lane: lane.into(), taken_ms, body, reply }));
        }
    }

    /// Appends a record and waits until it is synced. Its sequence.
    ///
    /// # Errors
    /// Why it was not kept; it may still appear after [`Error::Io`] and [`Error::NoSpace`].
    pub fn append(&self, lane: &str, taken_ms: u64, body: Vec<u8>) -> Result<u64, Error> {
        let (send, receive) = mpsc::sync_channel(1);
        self.append_then(lane, taken_ms, body, move |result| {
            let _ = send.send(result);
        });
        receive.recv().unwrap_or(Err(Error::Closed))
    }

    fn lane_id(&self, lane: &str) -> Option<u32> {
        self.shared.state().names.get(lane).copied()
    }

    /// The sequence of a lane's oldest record, where it is known without reading it.
    pub fn known_head(&self, lane: &str) -> Option<u64> {
        let state = self.shared.state();
        state.known_head(*state.names.get(lane)?)
    }

    /// How many records were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.shared.state().stats.dropped.iter().map(|amount| amount.records).sum()
    }

    /// The oldest record of a lane, read and checked. Damaged ones before it are passed over and counted.
    ///
    /// # Errors
    /// Where it cannot be read now; after `unreadable_after` it is passed over.
    pub fn oldest(&self, lane: &str) -> Result<Option<Record>, Error> {
        let failed = |error| Error::io("read from the spool", error);
        let Some(id) = self.lane_id(lane) else { return Ok(None) };
        loop {
            let (place, head, file) = {
                let mut state = self.shared.state();
                let Some((place, head)) = state.head(id).map_err(failed)? else { return Ok(None) };
                (place, head, state.file(place.segment))
            };
            let size = usize::try_from(RECORD_HEAD + u64::from(head.length)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; size];
            let read = file.and_then(|file| read_exact_at(&*file, &mut bytes, place.offset.into()));
            match read {
                Ok(()) => {
                    let now = decode_head(&bytes, place).filter(|now| now.kind == Kind::Data);
                    let body = bytes.split_off(RECORD_HEAD as usize);
                    if let Some(now) = now.filter(|now| now.matches(&body)) {
                        return Ok(Some(Record { sequence: now.sequence, taken_ms: now.taken_ms, body }));
                    }
                    self.shared.state().pass_over(id, place);
                }
                Err(error) if is_gone(&error) => self.shared.state().pass_over(id, place),
                Err(error) => self.shared.state().cannot_read(id, place, error).map_err(failed)?,
            }
        }
    }

    /// Acknowledges a lane's records up to a sequence. How many those were. It is in force at once and synced
    /// with the next group commit; a crash before that repeats deliveries.
    ///
    /// # Errors
    /// Where a head cannot be read; the records before it are acknowledged then.
    pub fn acknowledge(&self, lane: &str, up_to: u64) -> Result<u64, Error> {
        self.advance(lane, up_to, Leaves::Acknowledged)
    }

    /// Drops all that waits in a lane. How many records those were.
    ///
    /// # Errors
    /// As [`Spool::acknowledge`].
    pub fn purge(&self, lane: &str) -> Result<u64, Error> {
        self.advance(lane, u64::MAX, Leaves::Dropped(DropReason::Purged))
    }

    fn advance(&self, lane: &str, up_to: u64, how: Leaves) -> Result<u64, Error> {
        let Some(id) = self.lane_id(lane) else { return Ok(0) };
        let mut count = 0;
        let mut failure = None;
        let mut state = self.shared.state();
        loop {
            match state.head(id) {
                Ok(Some((_, head))) if head.sequence <= up_to => {
                    count += u64::from(matches!(state.pop(id, how), Ok(Some(_))));
                    // The usual case, the record that was just delivered, does not wait for the next one's head.
                    if head.sequence == up_to {
                        break;
                    }
                }
                Ok(_) => break,
                Err(error) => {
                    failure = Some(Error::io("read from the spool", error));
                    break;
                }
            }
        }
        drop(state);
        if count > 0 && !self.shared.woken.swap(true, Ordering::SeqCst) {
            let _ = self.outbox.send(Message::Wake);
        }
        failure.map_or(Ok(count), Err)
    }

    /// Of the lanes that hold records and that `want` accepts, the one whose oldest record stands first on disk,
    /// which is the oldest of all but for records that were copied forward: draining in this order reads the
    /// segments one after the other and gives them back soonest.
    pub fn next_lane(&self, want: impl FnMut(&str) -> bool) -> Option<Arc<str>> {
        self.shared.state().next_lane(want)
    }

    /// A lane, if it is known.
    pub fn lane(&self, lane: &str) -> Option<LaneInfo> {
        let mut state = self.shared.state();
        let id = state.names.get(lane).copied()?;
        state.info(id)
    }

    /// All lanes, empty ones too, by name.
    pub fn lanes(&self) -> Vec<LaneInfo> {
        let mut state = self.shared.state();
        let ids: Vec<u32> = state.names.values().copied().collect();
        let mut lanes: Vec<LaneInfo> = ids.into_iter().filter_map(|id| state.info(id)).collect();
        lanes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        lanes
    }

    /// The oldest records of a lane, without their bodies.
    ///
    /// # Errors
    /// Where a head cannot be read.
    pub fn records(&self, lane: &str, limit: usize) -> Result<Vec<RecordInfo>, Error> {
        let Some(id) = self.lane_id(lane) else { return Ok(Vec::new()) };
        self.shared.state().infos(id, limit).map_err(|error| Error::io("read from the spool", error))
    }

    /// Holds more from now on, and each record for so long. A bound of bytes that is lower than before changes nothing: what
    /// is on disk already would have to go, which is the next opening's to decide.
    pub fn extend(&self, max_bytes: u64, max_age: Duration) {
        self.shared.max_bytes.fetch_max(max_bytes, Ordering::SeqCst);
        self.shared.max_age_ms.store(millis(max_age), Ordering::SeqCst);
    }

    /// How many bytes it may take on disk now, and how long a record may wait.
    pub fn bounds(&self) -> (u64, Duration) {
        let max_age = self.shared.max_age_ms.load(Ordering::SeqCst);
        (self.shared.max_bytes.load(Ordering::SeqCst), Duration::from_millis(max_age))
    }

    /// What it counts.
    pub fn stats(&self) -> Stats {
        self.shared.state().stats()
    }

    /// Waits until everything appended and acknowledged before is synced.
    ///
    /// # Errors
    /// [`Error::Late`], or why the acknowledgements could not be synced.
    pub fn flush(&self, within: Duration) -> Result<(), Error> {
        self.ask(Message::Flush, within)?
    }

    /// Lets the writer look after age, spares and empty segments now, and waits for it.
    ///
    /// # Errors
    /// [`Error::Late`], [`Error::Closed`].
    pub fn tend(&self, within: Duration) -> Result<(), Error> {
        self.ask(Message::Tend, within)
    }

    /// Commits what was appended and acknowledged before, seals the segment, and ends the writer. Appends that
    /// come later are answered with [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::Late`] where the disk takes longer: the writer then ends when it can.
    pub fn close(&self, within: Duration) -> Result<(), Error> {
        let outcome = self.ask(Message::Close, within);
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match outcome {
            Err(Error::Late) => Err(Error::Late),
            other => {
                if let Some(thread) = thread {
                    let _ = thread.join();
                }
                other?
            }
        }
    }

    fn ask<T>(&self, message: fn(Sender<T>) -> Message, within: Duration) -> Result<T, Error> {
        let (send, receive) = mpsc::channel();
        self.outbox.send(message(send)).map_err(|_| Error::Closed)?;
        receive.recv_timeout(within).map_err(|error| match error {
            RecvTimeoutError::Timeout => Error::Late,
            RecvTimeoutError::Disconnected => Error::Closed,
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(thread) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let (send, _receive) = mpsc::channel();
            let _ = self.outbox.send(Message::Close(send));
            let _ = thread.join();
        }
    }
}
