//! History's thread: it empties the queue, writes, makes coarser what is old, and answers what is asked.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::chunk::Rows;
use crate::disk::{Disk, Error, HostRow, Known, set_aside};
use crate::history::{Answer, Ask, Drops, Hosts, Options, Shared, lock};
use crate::host::Host;
use crate::now::{SPARK_POINTS, SPARK_SECONDS};
use crate::tiers::{Means, Query};

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How often rows are written.
const WRITE: Duration = Duration::from_secs(60);

/// Rows that wait to be written, of all hosts together.
const MOST_PENDING: usize = 100_000;

/// How long a host is remembered beyond its rows.
const FORGET_AFTER: Duration = Duration::from_secs(3 * 3600);

/// How far ahead of the clock a sample may be.
const AHEAD_MS: u64 = 120_000;

/// The thread.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    path: PathBuf,
    disk: Option<Disk>,
    in_force: Options,
    /// What part of their ages rows are kept, so that they have room.
    scale: f64,
    /// What was told last.
    fault: Option<String>,
    /// When the file is tried again.
    retry: Instant,
}

impl Keeper {
    /// A thread that has not begun; the file is opened by it.
    pub(crate) fn new(shared: Arc<Shared>, path: PathBuf, in_force: Options) -> Self {
        Self { shared, path, disk: None, in_force, scale: 1.0, fault: None, retry: Instant::now() }
    }

    /// Runs until nobody can ask any more, and writes what waits then.
    pub(crate) fn run(mut self, asked: &Receiver<Ask>) {
        let mut write = Instant::now() + WRITE;
        self.open();
        loop {
            let ended = match asked.recv_timeout(LOOK) {
                Ok(ask) => {
                    self.take();
                    match ask {
                        Ask::Points { agent_id, query, then } => then(self.points(&agent_id, query)),
                        Ask::Write(done) => {
                            self.write();
                            // Whoever waited may have given up.
                            let _ = done.send(());
                        }
                    }
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.take();
            if ended || Instant::now() >= write {
                self.write();
                write = Instant::now() + WRITE;
            }
            if ended {
                return;
            }
        }
    }

    /// Empties the queue.
    fn take(&mut self) {
        let samples = std::mem::take(&mut *lock(&self.shared.queue));
        if samples.is_empty() {
            return;
        }
        let ahead = (self.shared.clock)().saturating_add(AHEAD_MS);
        let max_hosts = lock(&self.shared.options).max_hosts;
        let mut hosts = lock(&self.shared.hosts);
        let (mut taken, mut drops) = (0, Drops::default());
        for sample in samples {
            let Hosts { by_agent, next_id, pending } = &mut *hosts;
            if !by_agent.contains_key(&sample.agent_id) {
                if by_agent.len() >= max_hosts {
                    drops.hosts += 1;
                    continue;
                }
                by_agent.insert(sample.agent_id.clone(), Host::new(*next_id));
                *next_id += 1;
            }
            let Some(host) = by_agent.get_mut(&sample.agent_id) else { continue };
            if sample.stamp_ms <= host.stamp_ms || sample.stamp_ms > ahead {
                drops.stamp += 1;
                continue;
            }
            let keep = *pending < MOST_PENDING;
            host.take(&sample, keep);
            *pending += usize::from(keep);
            taken += u64::from(keep);
            drops.pending += u64::from(!keep);
        }
        drop(hosts);
        let mut stats = lock(&self.shared.stats);
        stats.samples += taken;
        stats.drops.hosts += drops.hosts;
        stats.drops.stamp += drops.stamp;
        stats.drops.pending += drops.pending;
    }

    /// Writes what waits, makes coarser what is old, lets go what is too old.
    fn write(&mut self) {
        if self.disk.is_none() && Instant::now() >= self.retry {
            self.open();
        }
        let options = *lock(&self.shared.options);
        if self.disk.is_some() {
            let now_ms = (self.shared.clock)();
            let (hosts, rows) = self.pending();
            let samples: usize = rows.iter().map(|(_, rows)| rows.stamps.len()).sum();
            let written = self.write_all(&options, now_ms, &hosts, &rows);
            if written.is_err() {
                lock(&self.shared.stats).drops.write += samples as u64;
                // They are told again.
                let mut known = lock(&self.shared.hosts);
                for written in &hosts {
                    if let Some(host) = known.by_agent.get_mut(written.agent_id.as_str()) {
                        host.changed = true;
                    }
                }
            }
            self.tell(written);
        }
    }

    /// What is to be written: hosts that have changed, and rows.
    fn pending(&self) -> (Vec<HostRow>, Vec<(i64, Rows)>) {
        /// How long the time that a host was seen at may be behind.
        const SEEN_MS: u64 = 3_600_000;
        let mut hosts = lock(&self.shared.hosts);
        hosts.pending = 0;
        let (mut changed, mut rows) = (Vec::new(), Vec::new());
        for (agent_id, host) in &mut hosts.by_agent {
            if host.pending.stamps.is_empty() {
                continue;
            }
            let pending = std::mem::replace(&mut host.pending, Rows::of(host.row.len()));
            let passed = |from: &u64, to: &u64| from / SEEN_MS != to / SEEN_MS;
            let an_hour_on = pending
                .stamps
                .first()
                .zip(pending.stamps.last())
                .is_some_and(|(from, to)| passed(&from.saturating_sub(60_000), to));
            if std::mem::take(&mut host.changed) || an_hour_on {
                // Texts: this cannot fail.
                let more = serde_json::to_string(&host.more).unwrap_or_else(|_| "[]".to_owned());
                changed.push(HostRow {
                    id: host.id,
                    agent_id: agent_id.to_string(),
                    hostname: host.hostname.to_string(),
                    more,
                    seen_ms: host.stamp_ms,
                });
            }
            rows.push((host.id, pending));
        }
        (changed, rows)
    }

    fn write_all(
        &mut self,
        options: &Options,
        now_ms: u64,
        hosts: &[HostRow],
        rows: &[(i64, Rows)],
    ) -> Result<(), Error> {
        /// Above this part of `max_bytes` rows are kept for a shorter time, below the other one for a longer.
        const HIGH: f64 = 0.9;
        const LOW: f64 = 0.7;
        let Some(disk) = &mut self.disk else { return Ok(()) };
        if self.in_force.max_bytes != options.max_bytes {
            disk.set_max_bytes(options.max_bytes)?;
        }
        self.in_force = *options;
        let mut written = disk.write(hosts, rows);
        if matches!(written, Err(Error::Full)) {
            // Room for this one is made at once.
            self.scale *= 0.7;
            disk.expire(now_ms, options.max_age, self.scale)?;
            written = disk.write(hosts, rows);
        }
        written?;
        disk.coarsen(now_ms)?;
        #[allow(clippy::cast_precision_loss, reason = "a share")]
        let share = disk.bytes()?.0 as f64 / options.max_bytes as f64;
        if share > HIGH {
            self.scale *= 0.9;
        } else if share < LOW {
            self.scale = (self.scale * 1.02).min(1.0);
        }
        disk.expire(now_ms, options.max_age, self.scale)?;
        let forget = millis(options.max_age.saturating_add(FORGET_AFTER));
        let gone = disk.forget(now_ms.saturating_sub(forget))?;
        let mut known = lock(&self.shared.hosts);
        gone.iter().for_each(|agent_id| drop(known.by_agent.remove(agent_id.as_str())));
        drop(known);
        disk.give_back()?;
        let (bytes, oldest) = (disk.bytes()?.1, disk.oldest_ms()?);
        let mut stats = lock(&self.shared.stats);
        (stats.bytes, stats.oldest_ms) = (bytes, oldest.unwrap_or(0));
        Ok(())
    }

    /// Opens the file. One that is damaged is set aside, and a new one begun.
    fn open(&mut self) {
        /// When a file that cannot be opened is tried again.
        const PAUSE: Duration = Duration::from_secs(60);
        self.retry = Instant::now() + PAUSE;
        let opened = match self.opened() {
            Err(Error::Damaged | Error::Later) => self.begin_anew().and_then(|()| self.opened()),
            opened => opened,
        };
        self.tell(opened);
    }

    fn opened(&mut self) -> Result<(), Error> {
        let options = *lock(&self.shared.options);
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let (disk, known) = Disk::open(&self.path, options.max_bytes)?;
        let ids: HashMap<i64, String> =
            known.iter().map(|known| (known.host.id, known.agent_id.clone())).collect();
        let mut hosts = lock(&self.shared.hosts);
        hosts.next_id = known.iter().map(|known| known.host.id + 1).max().unwrap_or(1);
        // What came while there was no file is newer than what the file knows, and has a number that means nothing here.
        let mut newcomers = std::mem::take(&mut hosts.by_agent);
        for Known { agent_id, host } in known {
            let host = match newcomers.remove(agent_id.as_str()) {
                Some(newer) => Host { id: host.id, changed: true, ..newer },
                None => host,
            };
            hosts.by_agent.insert(agent_id.into(), host);
        }
        for (agent_id, host) in newcomers {
            let id = hosts.next_id;
            hosts.next_id += 1;
            hosts.by_agent.insert(agent_id, Host { id, changed: true, ..host });
        }
        drop(hosts);
        let hour = SPARK_SECONDS * 1000 * SPARK_POINTS as u64;
        disk.read_all((self.shared.clock)().saturating_sub(hour), |id, rows| {
            let mut hosts = lock(&self.shared.hosts);
            let Some(host) = ids.get(&id).and_then(|agent_id| hosts.by_agent.get_mut(agent_id.as_str()))
            else {
                return;
            };
            for (stamp, row) in rows.each() {
                host.sparks.add(stamp, row);
                host.stamp_ms = host.stamp_ms.max(stamp);
                if host.pending.stamps.is_empty() {
                    host.row.iter_mut().zip(row).for_each(|(now, value)| *now = *value);
                }
            }
        })?;
        let (bytes, oldest) = (disk.bytes()?.1, disk.oldest_ms()?);
        let mut stats = lock(&self.shared.stats);
        (stats.bytes, stats.oldest_ms) = (bytes, oldest.unwrap_or(0));
        drop(stats);
        self.disk = Some(disk);
        Ok(())
    }

    /// Sets the file aside.
    fn begin_anew(&mut self) -> Result<(), Error> {
        self.disk = None;
        let aside = set_aside(&self.path)?;
        tracing::warn!(path = %self.path.display(), set_aside = %aside.display(),
            "the history is damaged, or of a later version; it is set aside and begun anew");
        lock(&self.shared.stats).set_aside += 1;
        Ok(())
    }

    /// Notes how the file is, logs it where that has changed, and leaves one that cannot be used.
    fn tell(&mut self, result: Result<(), Error>) {
        let fault = match result {
            Ok(()) => None,
            Err(Error::Damaged) if self.disk.is_some() => {
                self.begin_anew().and_then(|()| self.opened()).err()
            }
            Err(error) => Some(error),
        };
        lock(&self.shared.stats).works = fault.is_none();
        match &fault {
            Some(error) => {
                let text = chain(error);
                // A write that found no room may find some the next time.
                if !matches!(error, Error::Full) {
                    self.disk = None;
                }
                if self.fault.is_none() {
                    tracing::warn!(path = %self.path.display(), error = %text,
                        "the history cannot be written; posts are kept and delivered all the same");
                }
                self.fault = Some(text);
            }
            None => {
                if self.fault.take().is_some() {
                    tracing::info!(path = %self.path.display(), "the history is written again");
                }
            }
        }
    }

    fn points(&mut self, agent_id: &str, query: Query) -> Answer {
        let hosts = lock(&self.shared.hosts);
        let Some(host) = hosts.by_agent.get(agent_id) else { return Ok(Default::default()) };
        let (id, series, pending) = (host.id, host.series(), host.pending.clone());
        drop(hosts);
        let mut means = Means::new(query.from_ms, query.to_ms, query.step_ms, series.len());
        if let Some(disk) = &self.disk {
            let tier = query.tier((self.shared.clock)(), self.scale);
            let read = disk.read(id, tier, query.from_ms, query.to_ms, |rows| means.add(rows));
            if matches!(read, Err(Error::Damaged)) {
                self.tell(Err(Error::Damaged));
            }
            read?;
        }
        means.add(&pending);
        Ok((series, means.points()))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An error with what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
