//! The connections that there are: what each is doing and since when, who shares an address, and whose turn it is.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use super::limits::Limits;
use super::refusal::Refusal;

/// In the rush of many honest clients nobody is closed who had no time to speak yet.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The TLS handshake.
    Handshake,
    /// Nothing, after a request.
    Idle,
    /// Headers are awaited.
    Head,
    /// A body arrives.
    Body,
    /// A whole request is being answered.
    Serving,
    /// The answer leaves.
    Sending,
}

impl Phase {
    const ALL: [Self; 6] =
        [Self::Handshake, Self::Idle, Self::Head, Self::Body, Self::Serving, Self::Sending];

    /// How long it may take, and what it is called when it takes longer.
    fn limit(self, limits: &Limits) -> Option<(Duration, Option<Refusal>)> {
        match self {
            Self::Handshake => Some((limits.handshake, Some(Refusal::SlowHandshake))),
            Self::Idle => Some((limits.idle, None)),
            Self::Head => Some((limits.headers, Some(Refusal::SlowHeaders))),
            // Who reads the body answers in time that it took too long; this is for bodies that nobody reads.
            Self::Body => Some((limits.body + Duration::from_secs(2), Some(Refusal::SlowBody))),
            Self::Sending => Some((limits.body, Some(Refusal::SlowReader))),
            Self::Serving => None,
        }
    }
}

/// Who shares an address: of IPv6 a whole /64, which is what one site has.
#[derive(Debug)]
pub(super) struct Address {
    /// Connections now; changed under the table's lock alone.
    connections: AtomicUsize,
    /// The round of turns in which one of its requests went ahead last.
    pub(super) served: AtomicU64,
    /// One request at a time waits for its turn among all: so each address has the same chance.
    pub(super) queue: Semaphore,
    /// Requests that may be answered at the same time.
    pub(super) share: Semaphore,
}

fn key_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    pub(super) peer: IpAddr,
    /// Whether it comes from this host's own address.
    pub(super) own: bool,
    pub(super) address: Arc<Address>,
    /// Whether it came in by the port that answers health alone.
    pub(super) for_health: bool,
    opened: Instant,
    /// The phase in the lowest three bits, the milliseconds since `opened` when it began above.
    state: AtomicU64,
    /// Whether it is TLS, and whether a certificate was shown and is good.
    pub(super) encrypted: AtomicBool,
    pub(super) certified: AtomicBool,
    /// Bytes of the answer that leaves, and whether all of it was taken over for sending.
    pub(super) answer_bytes: AtomicUsize,
    pub(super) answer_ended: AtomicBool,
    /// Told when the connection has to end.
    pub(super) close: Notify,
}

impl Connection {
    pub(super) fn enter(&self, phase: Phase) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX >> 3);
        self.state.store((since << 3) | phase as u64, Ordering::Relaxed);
    }

    /// The phase, and for how long it has lasted.
    pub(super) fn now(&self) -> (Phase, Duration) {
        let state = self.state.load(Ordering::Relaxed);
        let at = usize::try_from(state & 7).unwrap_or_default();
        let phase = Phase::ALL.get(at).copied().unwrap_or(Phase::Idle);
        (phase, self.opened.elapsed().saturating_sub(Duration::from_millis(state >> 3)))
    }

    pub(super) fn phase(&self) -> Phase {
        self.now().0
    }

    /// What time is left to it, or why none is.
    pub(super) fn time_left(&self, limits: &Limits) -> Result<Duration, Option<Refusal>> {
        let (phase, lasts) = self.now();
        // While it is answered nobody waits for the client; another look later.
        let Some((limit, refusal)) = phase.limit(limits) else { return Ok(limits.headers) };
        limit.checked_sub(lasts).filter(|left| !left.is_zero()).ok_or(refusal)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    table: Mutex<Table>,
    /// Told when one has ended.
    pub(super) ended: Notify,
}

#[derive(Debug, Default)]
struct Table {
    all: HashMap<u64, Arc<Connection>>,
    addresses: HashMap<IpAddr, Arc<Address>>,
    next: u64,
}

/// What becomes of a new connection.
#[derive(Debug)]
pub(super) enum Admission {
    /// It is let in; whether another had to go for it, and for which limit.
    Taken(Arc<Connection>, Option<Refusal>),
    /// Its address has its share, and each of them is being answered.
    Refused(Refusal),
    /// All places are taken by connections that are being answered, or had no time to speak yet.
    Wait,
}

impl Connections {
    pub(super) fn count(&self) -> usize {
        self.lock().all.len()
    }

    /// Lets a connection from `peer` in where there is a place for it, or one can be made.
    pub(super) fn admit(&self, peer: IpAddr, own: bool, for_health: bool, limits: &Limits) -> Admission {
        let peer = peer.to_canonical();
        let key = key_of(peer);
        let mut table = self.lock();
        let mut displaced = None;
        if let Some(address) = table.addresses.get(&key).cloned()
            && address.connections.load(Ordering::Relaxed) >= limits.connections_per_address
        {
            let Some(slowest) = table.slowest(Some(&address), Duration::ZERO) else {
                return Admission::Refused(Refusal::AddressConnections);
            };
            table.close(&slowest);
            displaced = Some(Refusal::AddressConnections);
        }
        if table.all.len() >= limits.connections {
            let Some(slowest) = table.slowest(None, PATIENCE) else { return Admission::Wait };
            table.close(&slowest);
            displaced = Some(Refusal::Connections);
        }
        let address = table.addresses.entry(key).or_insert_with(|| {
            Arc::new(Address {
                connections: AtomicUsize::new(0),
                served: AtomicU64::new(0),
                queue: Semaphore::new(1),
                share: Semaphore::new(limits.requests_per_address),
            })
        });
        address.connections.fetch_add(1, Ordering::Relaxed);
        let address = Arc::clone(address);
        let number = table.next;
        table.next += 1;
        let connection = Arc::new(Connection {
            number,
            peer,
            own,
            address,
            for_health,
            opened: Instant::now(),
            state: AtomicU64::new(Phase::Head as u64),
            encrypted: AtomicBool::new(false),
            certified: AtomicBool::new(false),
            answer_bytes: AtomicUsize::new(0),
            answer_ended: AtomicBool::new(false),
            close: Notify::new(),
        });
        table.all.insert(number, Arc::clone(&connection));
        Admission::Taken(connection, displaced)
    }

    /// The connection has ended.
    pub(super) fn remove(&self, connection: &Connection) {
        self.lock().remove(connection);
        self.ended.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each change is whole before anything can fail.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Of all or of one address: the connection without a whole request that has dawdled longest, at least for
    /// `patience` where it does not just idle; where there is none, the one that takes its answer slowest.
    fn slowest(&self, of: Option<&Arc<Address>>, patience: Duration) -> Option<Arc<Connection>> {
        let candidates = self.all.values().filter(|one| of.is_none_or(|of| Arc::ptr_eq(of, &one.address)));
        let ranked = candidates.filter_map(|one| {
            let (phase, lasts) = one.now();
            match phase {
                Phase::Serving => None,
                Phase::Idle => Some((true, lasts, one)),
                Phase::Sending => (lasts >= PATIENCE).then_some((false, lasts, one)),
                Phase::Handshake | Phase::Head | Phase::Body => {
                    (lasts >= patience).then_some((true, lasts, one))
                }
            }
        });
        ranked.max_by_key(|(dawdles, lasts, _)| (*dawdles, *lasts)).map(|(_, _, one)| Arc::clone(one))
    }

    fn close(&mut self, connection: &Connection) {
        self.remove(connection);
        connection.close.notify_one();
    }

    fn remove(&mut self, connection: &Connection) {
        // It may have been displaced before.
        if self.all.remove(&connection.number).is_none() {
            return;
        }
        if connection.address.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.addresses.remove(&key_of(connection.peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn admit(connections: &Connections, peer: IpAddr, limits: &Limits) -> Option<Arc<Connection>> {
        match connections.admit(peer, false, false, limits) {
            Admission::Taken(connection, _) => Some(connection),
            Admission::Refused(_) | Admission::Wait => None,
        }
    }

    fn is_in(connections: &Connections, one: &Connection) -> bool {
        connections.lock().all.contains_key(&one.number)
    }

    #[test]
    fn an_address_that_has_its_share_loses_its_slowest() {
        let limits = Limits { connections_per_address: 2, ..Limits::default() };
        let connections = Connections::default();
        let other = admit(&connections, peer(1), &limits).unwrap();
        let (first, second) =
            (admit(&connections, peer(2), &limits).unwrap(), admit(&connections, peer(2), &limits).unwrap());
        first.enter(Phase::Serving);
        let third = admit(&connections, peer(2), &limits).unwrap();
        assert!(is_in(&connections, &first) && !is_in(&connections, &second) && is_in(&connections, &other));
        third.enter(Phase::Serving);
        assert!(admit(&connections, peer(2), &limits).is_none(), "both are being answered");
        // One that was displaced and then ends does not count twice.
        connections.remove(&second);
        assert_eq!(connections.count(), 3);
        for one in [&first, &third, &other] {
            connections.remove(one);
        }
        assert!(connections.lock().addresses.is_empty());
    }

    #[test]
    fn past_all_places_the_one_that_idles_goes_and_those_that_had_no_time_stay() {
        let limits = Limits { connections: 2, ..Limits::default() };
        let connections = Connections::default();
        let (first, second) =
            (admit(&connections, peer(1), &limits).unwrap(), admit(&connections, peer(2), &limits).unwrap());
        assert!(admit(&connections, peer(3), &limits).is_none(), "a moment is granted to speak");
        second.enter(Phase::Idle);
        assert!(admit(&connections, peer(3), &limits).is_some());
        assert!(is_in(&connections, &first) && !is_in(&connections, &second));
    }

    #[test]
    fn a_site_of_ipv6_is_one_address() {
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let connections = Connections::default();
        let first = admit(&connections, "2001:db8::1".parse().unwrap(), &limits).unwrap();
        admit(&connections, "2001:db8:0:1::1".parse().unwrap(), &limits).unwrap();
        admit(&connections, "2001:db8::2".parse().unwrap(), &limits).unwrap();
        assert!(!is_in(&connections, &first));
        let mapped = admit(&connections, "::ffff:192.0.2.9".parse().unwrap(), &limits).unwrap();
        assert_eq!(mapped.peer, peer(9));
        admit(&connections, peer(9), &limits).unwrap();
        assert!(!is_in(&connections, &mapped));
    }

    #[test]
    fn each_phase_has_its_time() {
        let limits = Limits { headers: Duration::ZERO, ..Limits::default() };
        let connections = Connections::default();
        let one = admit(&connections, peer(1), &limits).unwrap();
        assert_eq!(one.time_left(&limits), Err(Some(Refusal::SlowHeaders)));
        one.enter(Phase::Serving);
        assert!(one.time_left(&limits).is_ok());
        one.enter(Phase::Idle);
        assert!(one.time_left(&limits).unwrap() > Duration::from_secs(50));
        assert_eq!(one.time_left(&Limits { idle: Duration::ZERO, ..limits }), Err(None));
    }
}
