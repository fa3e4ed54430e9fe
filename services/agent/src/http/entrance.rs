//! What all listeners of a program share: the rules in force, who is in, whose turn it is, what is in use, and what
//! was refused.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::{Notify, Semaphore};

use super::connections::{Address, Connection, Connections};
use super::refusal::Refusal;
use super::rules::Rules;
use crate::rarely::Rarely;
use crate::tls::validity::Certificates;

/// Lines of log a minute for each reason: the faults of a handshake differ.
const LINES: u32 = 10;

/// The way in. Clones share it.
#[derive(Clone, Debug)]
pub struct Entrance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: RwLock<Arc<Rules>>,
    own_names: RwLock<Vec<String>>,
    connections: Connections,
    turns: Turns,
    requests: AtomicUsize,
    in_flight: AtomicUsize,
    counts: Counts,
    certificates: Certificates,
    lines: [Rarely; Refusal::ALL.len()],
}

#[derive(Debug)]
struct Counts {
    refused: IntCounterVec,
    connections: IntGauge,
    requests: IntGauge,
    in_flight: IntGauge,
}

impl Counts {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let refused =
            Opts::new("http_refused_total", "Connections and requests that were refused, by reason.");
        let this = Self {
            refused: IntCounterVec::new(refused, &["reason"])?,
            connections: IntGauge::new("http_connections", "Connections now.")?,
            requests: IntGauge::new("http_requests", "Requests that are being answered.")?,
            in_flight: IntGauge::new(
                "http_in_flight_bytes",
                "Memory for bodies that arrive and answers that leave.",
            )?,
        };
        for refusal in Refusal::ALL {
            this.refused.with_label_values(&[refusal.word()]);
        }
        registry.register(Box::new(this.refused.clone()))?;
        for gauge in [&this.connections, &this.requests, &this.in_flight] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(this)
    }
}

impl Entrance {
    /// With these rules; `own_names` are the host's names.
    ///
    /// # Errors
    /// The metrics cannot be made.
    pub fn new(rules: Rules, own_names: Vec<String>, registry: &Registry) -> prometheus::Result<Self> {
        let certificates = Certificates::new(registry)?;
        tell(&rules, &certificates);
        Ok(Self(Arc::new(Inner {
            rules: RwLock::new(Arc::new(rules)),
            own_names: RwLock::new(own_names),
            connections: Connections::default(),
            turns: Turns::default(),
            requests: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            counts: Counts::new(registry)?,
            certificates,
            lines: std::array::from_fn(|_| Rarely::lines_a_minute(LINES)),
        })))
    }

    /// Other rules hold from now on: certificates and limits of time for new connections and the next wait, the rest
    /// from the next request on.
    pub fn change(&self, rules: Rules) {
        tell(&rules, &self.0.certificates);
        *self.0.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// The metrics of certificates, for those that the program comes with where it asks itself.
    pub fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    /// The host's names, from now on.
    pub fn set_own_names(&self, names: Vec<String>) {
        *self.0.own_names.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    pub(super) fn with_own_names<T>(&self, look: impl FnOnce(&[String]) -> T) -> T {
        look(&self.0.own_names.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    pub(super) fn show_connections(&self) {
        self.0.counts.connections.set(i64::try_from(self.0.connections.count()).unwrap_or(i64::MAX));
    }

    /// Waits until it is the turn of a request of this address.
    pub(super) async fn turn(&self, address: &Address) {
        self.0.turns.wait(address).await;
    }

    /// Gives the turns that were used out again, for ever.
    pub(super) async fn give_turns(&self) {
        self.0.turns.give().await;
    }

    /// Counts what was refused; the log is told so often that it can be read.
    pub(super) fn refuse(&self, refusal: Refusal, peer: IpAddr, detail: &dyn fmt::Display) {
        let inner = &*self.0;
        inner.counts.refused.with_label_values(&[refusal.word()]).inc();
        let lines = Refusal::ALL.iter().zip(&inner.lines).find(|(one, _)| **one == refusal);
        if let Some(times) = lines.and_then(|(_, rarely)| rarely.count()) {
            tracing::warn!(target: "agent::http", reason = refusal.word(), address = %peer, times, "refused: {}{detail}",
                refusal.in_words());
        }
    }

    /// Begins to answer a request: `None` where as many as may be are being answered.
    pub(super) async fn begin(&self, connection: &Arc<Connection>) -> Option<Place> {
        // It is never closed.
        connection.address.share.acquire().await.ok()?.forget();
        let place = Place { entrance: self.clone(), connection: Arc::clone(connection) };
        let under_way = self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0.counts.requests.inc();
        // Dropping the place takes it back.
        (under_way < self.rules().limits.requests).then_some(place)
    }

    /// Nothing so far of the memory for what is under way.
    pub(super) fn reservation(&self) -> Reservation {
        Reservation { entrance: self.clone(), bytes: 0 }
    }

    /// Takes so much of the memory. One alone may have all that it wants: what may be posted is bounded elsewhere.
    pub(super) fn take_memory(&self, more: usize, have: usize) -> bool {
        let used = self.0.in_flight.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let others = used.saturating_sub(have).saturating_sub(more);
        if others > 0 && used > self.rules().limits.in_flight_bytes {
            self.0.in_flight.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.0.counts.in_flight.add(i64::try_from(more).unwrap_or(i64::MAX));
        true
    }

    pub(super) fn give_memory(&self, bytes: usize) {
        if bytes > 0 {
            self.0.in_flight.fetch_sub(bytes, Ordering::Relaxed);
            self.0.counts.in_flight.sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

/// Of the certificate that is shown. One that is out of date is taken all the same: a clock that is wrong, here or there, must
/// not keep a program from starting.
fn tell(rules: &Rules, certificates: &Certificates) {
    certificates.show("tls_certificate_file", rules.access.validity);
    if let Some(warning) = rules.certificate_warning() {
        tracing::warn!("{warning}");
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Place {
    entrance: Entrance,
    connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.address.share.add_permits(1);
        self.entrance.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.entrance.0.counts.requests.dec();
    }
}

/// Memory for a body that arrives, until it is dropped.
#[derive(Debug)]
pub struct Reservation {
    entrance: Entrance,
    bytes: usize,
}

impl Reservation {
    /// Takes so many bytes more; `false` where too much is in use.
    pub fn grow(&mut self, more: usize) -> bool {
        let taken = self.entrance.take_memory(more, self.bytes);
        self.bytes += if taken { more } else { 0 };
        taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.entrance.give_memory(self.bytes);
    }
}

/// Whose turn it is. An address's first request of a round goes ahead; its further ones queue, one of each address at a
/// time for one turn of all. So who floods waits for himself, and everybody else is next. A round lasts until all tasks
/// that were due have run and, where anybody queues, what has arrived meanwhile was looked at: a request that is answered
/// at once would otherwise pass its turn on before anybody else could ask for it.
#[derive(Debug)]
struct Turns {
    round: AtomicU64,
    free: Semaphore,
    /// Turns that were used in this round.
    used: AtomicUsize,
    waiting: AtomicUsize,
    wake: Notify,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            round: AtomicU64::new(1),
            free: Semaphore::new(1),
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wake: Notify::new(),
        }
    }
}

impl Turns {
    async fn wait(&self, address: &Address) {
        let round = self.round.load(Ordering::Relaxed);
        let first = address.served.swap(round, Ordering::Relaxed) != round;
        if !first || address.queue.available_permits() == 0 {
            let _waiting = Waiting::new(&self.waiting);
            // Neither is ever closed.
            let _next = address.queue.acquire().await;
            if let Ok(turn) = self.free.acquire().await {
                turn.forget();
                self.used.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.wake.notify_one();
    }

    async fn give(&self) {
        loop {
            self.wake.notified().await;
            if self.waiting.load(Ordering::Relaxed) > 0 {
                // Comes back after the look at what has arrived.
                tokio::task::yield_now().await;
            }
            self.round.fetch_add(1, Ordering::Relaxed);
            self.free.add_permits(self.used.swap(0, Ordering::Relaxed));
        }
    }
}

/// One who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
