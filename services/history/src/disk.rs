//! The file: SQLite's, with one table of chunks and one of hosts. One thread has it open, and nobody else may.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::chunk::Rows;
use crate::host::Host;
use crate::series::HEADLINE;
use crate::tiers::{MINUTE_AGE, MINUTES, Means, RAW, RAW_AGE, TENS, TIERS, Tier};

/// The version of the tables.
const VERSION: i64 = 1;

const PAGE: u64 = 4096;

/// What of a page is kept in memory, in KiB.
const CACHE_KIB: i64 = 1024;

/// Hosts that are made coarser at a time: so much memory does it take.
const BATCH: i64 = 256;

/// How long after its end a chunk is made coarser: what was still on its way is in then.
const GRACE_MS: u64 = 150_000;

/// Why the file did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It holds what was never written.
    #[error("the file is damaged")]
    Damaged,
    /// `history_max_bytes` or the disk is used up.
    #[error("there is no room left")]
    Full,
    /// It was written by a later version of this program.
    #[error("the file is of a later version")]
    Later,
    /// Something else.
    #[error("failed to use the file")]
    Other(#[from] rusqlite::Error),
    /// The file system refuses.
    #[error("failed to use the folder")]
    Folder(#[from] std::io::Error),
}

type Result<T> = std::result::Result<T, Error>;

/// Tells damage and a full disk from the rest.
fn told(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged,
        Some(ErrorCode::DiskFull) => Error::Full,
        _ => Error::Other(error),
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Disk {
    connection: Connection,
    max_bytes: u64,
    /// Up to when chunks of minutes, and of tens of minutes, are made, in ms.
    made: [u64; 2],
}

/// A host as the file knows it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) agent_id: String,
    pub(crate) host: Host,
}

/// A row of the table of hosts.
#[derive(Debug)]
pub(crate) struct HostRow {
    pub(crate) id: i64,
    pub(crate) agent_id: String,
    pub(crate) hostname: String,
    /// Names and instances of the series beside the headline ones, as JSON.
    pub(crate) more: String,
    pub(crate) seen_ms: u64,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Disk {
    /// Opens the file, makes it where there is none. All of it is read once: damage is found here.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<(Self, Vec<Known>)> {
        let open = || -> rusqlite::Result<(Connection, bool)> {
            let connection = Connection::open(path)?;
            // Nobody else reads: no shared memory is needed, and the log beside the file is synced now and then.
            connection.execute_batch(&format!(
                "PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA locking_mode = EXCLUSIVE;
                 PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{CACHE_KIB};
                 PRAGMA journal_size_limit = 1048576; PRAGMA wal_autocheckpoint = 256;
                 PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
            ))?;
            let whole: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok((connection, whole == "ok"))
        };
        let (connection, whole) = open().map_err(told)?;
        if !whole {
            return Err(Error::Damaged);
        }
        let mut this = Self { connection, max_bytes, made: [0; 2] };
        this.prepare().map_err(told)??;
        this.set_max_bytes(max_bytes)?;
        let known = this.hosts()?;
        Ok((this, known))
    }

    fn prepare(&mut self) -> rusqlite::Result<Result<()>> {
        let version: i64 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > VERSION {
            return Ok(Err(Error::Later));
        }
        self.connection.execute_batch(&format!(
            "BEGIN;
             CREATE TABLE IF NOT EXISTS host (
                id INTEGER PRIMARY KEY, agent_id TEXT NOT NULL UNIQUE, hostname TEXT NOT NULL,
                more TEXT NOT NULL, seen INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS chunk (
                tier INTEGER NOT NULL, slot INTEGER NOT NULL, host INTEGER NOT NULL, first INTEGER NOT NULL,
                data BLOB NOT NULL, PRIMARY KEY (tier, slot, host, first)) WITHOUT ROWID;
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))?;
        // What is coarser already is told by the newest of it; before the first, by the oldest that is finer.
        for (made, (tier, finer)) in self.made.iter_mut().zip([(MINUTES, RAW), (TENS, MINUTES)]) {
            let edge = |of: Tier, newest: bool| -> rusqlite::Result<Option<u64>> {
                let order = if newest { "DESC" } else { "ASC" };
                let text = format!("SELECT slot FROM chunk WHERE tier = ?1 ORDER BY slot {order} LIMIT 1");
                let slot: Option<i64> =
                    self.connection.query_row(&text, [of.number], |row| row.get(0)).optional()?;
                Ok(slot.and_then(|slot| u64::try_from(slot).ok()).map(|slot| slot * of.span_ms))
            };
            *made = match edge(tier, true)? {
                Some(newest) => newest + tier.span_ms,
                None => edge(finer, false)?.unwrap_or(0),
            };
        }
        Ok(Ok(()))
    }

    fn hosts(&self) -> Result<Vec<Known>> {
        let read = || -> rusqlite::Result<Vec<HostRow>> {
            let mut select =
                self.connection.prepare("SELECT id, agent_id, hostname, more, seen FROM host ORDER BY id")?;
            let rows = select.query_map([], |row| {
                let seen: i64 = row.get(4)?;
                Ok(HostRow {
                    id: row.get(0)?,
                    agent_id: row.get(1)?,
                    hostname: row.get(2)?,
                    more: row.get(3)?,
                    seen_ms: u64::try_from(seen).unwrap_or(0),
                })
            })?;
            rows.collect()
        };
        let known = |row: HostRow| {
            let more: Vec<(Box<str>, Box<str>)> =
                serde_json::from_str(&row.more).map_err(|_| Error::Damaged)?;
            let values = vec![f32::NAN; HEADLINE.len() + more.len()];
            let host = Host {
                more,
                row: values,
                stamp_ms: row.seen_ms,
                hostname: row.hostname.into(),
                changed: false,
                ..Host::new(row.id)
            };
            Ok(Known { agent_id: row.agent_id, host })
        };
        read().map_err(told)?.into_iter().map(known).collect()
    }

    /// The file takes so much at most from now on. What is more goes as it ages.
    pub(crate) fn set_max_bytes(&mut self, max_bytes: u64) -> Result<()> {
        self.max_bytes = max_bytes;
        let pages = number(max_bytes / PAGE);
        self.connection.pragma_update(None, "max_page_count", pages).map_err(told)
    }

    /// What of the file is in use, and what it takes, in bytes.
    pub(crate) fn bytes(&self) -> Result<(u64, u64)> {
        let pages = |what: &str| -> rusqlite::Result<u64> {
            let pages: i64 = self.connection.query_row(&format!("PRAGMA {what}"), [], |row| row.get(0))?;
            Ok(u64::try_from(pages).unwrap_or(0))
        };
        let (all, free) = (pages("page_count").map_err(told)?, pages("freelist_count").map_err(told)?);
        Ok((all.saturating_sub(free) * PAGE, all * PAGE))
    }

    /// Writes rows, and hosts that have changed; all or nothing.
    pub(crate) fn write(&mut self, hosts: &[HostRow], rows: &[(i64, Rows)]) -> Result<()> {
        let mut made = self.made;
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            let mut insert = transaction.prepare(
                "INSERT INTO host (id, agent_id, hostname, more, seen) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET hostname = ?3, more = ?4, seen = ?5",
            )?;
            for HostRow { id, agent_id, hostname, more, seen_ms } in hosts {
                insert.execute(params![id, agent_id, hostname, more, number(*seen_ms)])?;
            }
            drop(insert);
            let mut insert =
                transaction.prepare("INSERT OR REPLACE INTO chunk VALUES (?1, ?2, ?3, ?4, ?5)")?;
            // In the order of the table: a page is filled and done with.
            let mut chunks = BTreeMap::new();
            for (host, rows) in rows {
                for (slot, chunk) in split(rows, RAW) {
                    chunks.insert((slot, *host), chunk);
                }
            }
            for ((slot, host), chunk) in chunks {
                let first = chunk.stamps.first().copied().unwrap_or(0);
                insert.execute(params![RAW.number, number(slot), host, number(first), chunk.pack()])?;
                // What comes late is made coarser once more.
                if let Some(until) = made.first_mut() {
                    *until = (*until).min(slot * RAW.span_ms / MINUTES.span_ms * MINUTES.span_ms);
                }
            }
            drop(insert);
            transaction.commit()
        };
        write().map_err(told)?;
        // Before the first row nothing is made coarser.
        for (until, before) in made.iter_mut().zip(self.made) {
            if before == 0 && *until == 0 {
                *until = rows.iter().filter_map(|(_, rows)| rows.stamps.first()).min().copied().unwrap_or(0);
            }
        }
        self.made = made;
        Ok(())
    }

    /// Makes coarser what has ended by `now_ms`.
    pub(crate) fn coarsen(&mut self, now_ms: u64) -> Result<()> {
        for (at, (finer, coarser)) in [(RAW, MINUTES), (MINUTES, TENS)].into_iter().enumerate() {
            while let Some(until) = self.made.get(at).copied() {
                // After a long rest there is nothing of the time between.
                let oldest = now_ms.saturating_sub(2 * millis(MINUTE_AGE));
                let begin = until.max(oldest) / coarser.span_ms * coarser.span_ms;
                if begin + coarser.span_ms + GRACE_MS > now_ms || until == 0 {
                    break;
                }
                self.coarsen_slot(finer, coarser, begin).map_err(told)??;
                if let Some(until) = self.made.get_mut(at) {
                    *until = begin + coarser.span_ms;
                }
                // What was late may belong to what is coarser still.
                if let (0, Some(next)) = (at, self.made.get_mut(1)) {
                    *next = (*next).min(begin / TENS.span_ms * TENS.span_ms).max(1);
                }
            }
        }
        Ok(())
    }

    fn coarsen_slot(&mut self, finer: Tier, coarser: Tier, begin: u64) -> rusqlite::Result<Result<()>> {
        let transaction = self.connection.transaction()?;
        let (first, last) = (begin / finer.span_ms, (begin + coarser.span_ms - 1) / finer.span_ms);
        let highest: Option<i64> = transaction.query_row("SELECT max(id) FROM host", [], |row| row.get(0))?;
        let mut select = transaction.prepare(
            "SELECT host, data FROM chunk WHERE tier = ?1 AND slot = ?2 AND host BETWEEN ?3 AND ?4",
        )?;
        let mut insert = transaction.prepare("INSERT OR REPLACE INTO chunk VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for from in (0..=highest.unwrap_or(-1)).step_by(usize::try_from(BATCH).unwrap_or(1)) {
            let mut means: BTreeMap<i64, Means> = BTreeMap::new();
            // The newest first: it has the most columns.
            for slot in (first..=last).rev() {
                let mut chunks = select.query(params![finer.number, number(slot), from, from + BATCH - 1])?;
                while let Some(chunk) = chunks.next()? {
                    let (host, Some(rows)) = (chunk.get(0)?, Rows::unpack(chunk.get_ref(1)?.as_blob()?))
                    else {
                        return Ok(Err(Error::Damaged));
                    };
                    let end = begin + coarser.span_ms - 1;
                    let of = means.entry(host);
                    of.or_insert_with(|| Means::new(begin, end, coarser.row_ms, rows.columns)).add(&rows);
                }
            }
            for (host, means) in means {
                let rows = means.rows();
                let Some(at) = rows.stamps.first() else { continue };
                let slot = number(begin / coarser.span_ms);
                insert.execute(params![coarser.number, slot, host, number(*at), rows.pack()])?;
            }
        }
        drop((select, insert));
        transaction.commit().map(Ok)
    }

    /// Lets go what is too old: each kind of rows after its age, times `scale`.
    pub(crate) fn expire(&mut self, now_ms: u64, max_age: Duration, scale: f64) -> Result<()> {
        let mut expire = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            for (tier, age) in TIERS.into_iter().zip([RAW_AGE, MINUTE_AGE, max_age]) {
                // Not before it is made coarser.
                let least = 2 * MINUTES.span_ms * u64::from(tier.number == 0)
                    + 2 * TENS.span_ms * u64::from(tier.number == 1);
                let age = millis(age.min(max_age).mul_f64(scale)).max(least);
                let oldest = now_ms.saturating_sub(age) / tier.span_ms;
                let mut delete = transaction.prepare("DELETE FROM chunk WHERE tier = ?1 AND slot < ?2")?;
                delete.execute(params![tier.number, number(oldest)])?;
            }
            transaction.commit()
        };
        expire().map_err(told)
    }

    /// Forgets hosts that were last seen before, and returns them.
    pub(crate) fn forget(&mut self, seen_before_ms: u64) -> Result<Vec<String>> {
        let forget = || -> rusqlite::Result<Vec<String>> {
            let mut delete =
                self.connection.prepare("DELETE FROM host WHERE seen < ?1 RETURNING agent_id")?;
            let gone = delete.query_map([number(seen_before_ms)], |row| row.get(0))?;
            gone.collect()
        };
        forget().map_err(told)
    }

    /// Gives room back to the file system where much of the file is not in use.
    pub(crate) fn give_back(&mut self) -> Result<()> {
        let (used, all) = self.bytes()?;
        if all - used > (all / 4).max(4 << 20) {
            let pages = number((all - used) / PAGE / 2);
            let mut step =
                self.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})")).map_err(told)?;
            let mut rows = step.query([]).map_err(told)?;
            while rows.next().map_err(told)?.is_some() {}
        }
        Ok(())
    }

    /// The rows of a host between two times, the finest that `tier` allows, handed on chunk by chunk. Where what is coarse
    /// is not made yet, the finer rows are.
    pub(crate) fn read(
        &self,
        host: i64,
        tier: usize,
        from_ms: u64,
        to_ms: u64,
        mut each: impl FnMut(&Rows),
    ) -> Result<()> {
        let mut read = || -> rusqlite::Result<Result<()>> {
            let mut select = self
                .connection
                .prepare("SELECT data FROM chunk WHERE tier = ?1 AND slot = ?2 AND host = ?3")?;
            let mut from_ms = from_ms;
            for (at, of) in TIERS.into_iter().enumerate().take(tier + 1).rev() {
                let made = at.checked_sub(1).and_then(|at| self.made.get(at).copied());
                // The finest of all has everything.
                let until = made.map_or(to_ms, |made| made.saturating_sub(1).min(to_ms));
                if from_ms > until {
                    continue;
                }
                for slot in from_ms / of.span_ms..=until / of.span_ms {
                    let mut chunks = select.query(params![of.number, number(slot), host])?;
                    while let Some(chunk) = chunks.next()? {
                        match Rows::unpack(chunk.get_ref(0)?.as_blob()?) {
                            Some(rows) => each(&rows),
                            None => return Ok(Err(Error::Damaged)),
                        }
                    }
                }
                from_ms = until + 1;
            }
            Ok(Ok(()))
        };
        read().map_err(told)?
    }

    /// Every raw row from a time on, with its host, in the order of time.
    pub(crate) fn read_all(&self, from_ms: u64, mut each: impl FnMut(i64, &Rows)) -> Result<()> {
        let mut read = || -> rusqlite::Result<Result<()>> {
            let mut select = self.connection.prepare(
                "SELECT host, data FROM chunk WHERE tier = 0 AND slot >= ?1 ORDER BY slot, host, first",
            )?;
            let mut chunks = select.query([number(from_ms / RAW.span_ms)])?;
            while let Some(chunk) = chunks.next()? {
                match Rows::unpack(chunk.get_ref(1)?.as_blob()?) {
                    Some(rows) => each(chunk.get(0)?, &rows),
                    None => return Ok(Err(Error::Damaged)),
                }
            }
            Ok(Ok(()))
        };
        read().map_err(told)?
    }

    /// When the oldest row was made, in ms since 1970.
    pub(crate) fn oldest_ms(&self) -> Result<Option<u64>> {
        let mut oldest = None;
        for tier in TIERS {
            let text = "SELECT slot FROM chunk WHERE tier = ?1 ORDER BY slot LIMIT 1";
            let slot: Option<i64> = self
                .connection
                .prepare(text)
                .and_then(|mut select| select.query_row([tier.number], |row| row.get(0)).optional())
                .map_err(told)?;
            let at = slot.and_then(|slot| u64::try_from(slot).ok()).map(|slot| slot * tier.span_ms);
            oldest = [oldest, at].into_iter().flatten().min();
        }
        Ok(oldest)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Rows by the chunk that each belongs to.
fn split(rows: &Rows, tier: Tier) -> BTreeMap<u64, Rows> {
    let mut chunks: BTreeMap<u64, Rows> = BTreeMap::new();
    for (stamp, row) in rows.each() {
        chunks.entry(stamp / tier.span_ms).or_insert_with(|| Rows::of(rows.columns)).push(stamp, row);
    }
    chunks
}

/// Puts a file out of the way, with what SQLite has beside it, in the place of one that was put there before.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = with(".damaged");
    for beside in ["-wal", "-shm", "-journal"] {
        match std::fs::remove_file(with(beside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, &aside)?;
    Ok(aside)
}
