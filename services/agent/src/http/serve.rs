//! The accept loops.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use warp::Filter;

use super::answer::Answer;
use super::connections::{Admission, Connection, Phase};
use super::entrance::Entrance;
use super::guard::Guard;
use super::listen::Sockets;
use super::refusal::Refusal;
use super::rules::Rules;
use super::watched::Watched;
use crate::shutdown::Stop;

/// Time until accepting is tried again after the system refused (no descriptors left, mostly), and until a place is
/// looked for again where none became free.
const PAUSE: Duration = Duration::from_millis(50);

/// Time until a place is looked for again where none became free.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What hyper needs at least for a buffer.
const LEAST_BUFFER: usize = 8192;

/// Serves `routes` until `stop`, then lets requests under way end within `drain`.
pub async fn serve<F>(sockets: Sockets, routes: F, entrance: Entrance, drain: Duration, stop: Stop)
where
    F: Filter<Extract = (Answer,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let ended = async {
        let graceful = GracefulShutdown::new();
        let pages = accept(sockets.pages, &routes, &entrance, false, &graceful, stop.clone());
        match sockets.health {
            None => pages.await,
            Some(health) => {
                let health = accept(health, &routes, &entrance, true, &graceful, stop.clone());
                tokio::join!(pages, health);
            }
        }
        tokio::time::timeout(drain, graceful.shutdown()).await
    };
    // Turns are needed as long as anybody may still be answered.
    tokio::select! {
        () = entrance.give_turns() => {}
        ended = ended => if ended.is_err() {
            tracing::warn!(seconds = drain.as_secs_f32(), "requests still under way were given up");
        }
    }
}

/// Accepts until `stop`, and closes the listener.
async fn accept<F>(
    listener: TcpListener,
    routes: &F,
    entrance: &Entrance,
    for_health: bool,
    graceful: &GracefulShutdown,
    mut stop: Stop,
) where
    F: Filter<Extract = (Answer,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                tracing::debug!(%error, "failed to accept a connection");
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(PAUSE) => continue,
                }
            }
        };
        let rules = entrance.rules();
        let own = stream.local_addr().is_ok_and(|local| local.ip().to_canonical() == peer.to_canonical());
        // The own question for health is let in where there is no other port for it.
        let may = for_health || rules.access.allows(peer) || (own && rules.access.health_port.is_none());
        if !may {
            entrance.refuse(Refusal::Address, peer.to_canonical(), &"");
            continue;
        }
        let admitted = tokio::select! {
            () = stop.wait() => return,
            admitted = admit(entrance, &rules, peer, own, for_health) => admitted,
        };
        let Some(connection) = admitted else { continue };
        let attended = Attended { entrance: entrance.clone(), connection };
        tokio::spawn(attended.run(stream, rules, routes.clone(), graceful.watcher(), stop.clone()));
    }
}

async fn admit(
    entrance: &Entrance,
    rules: &Rules,
    peer: std::net::IpAddr,
    own: bool,
    for_health: bool,
) -> Option<Arc<Connection>> {
    let connections = entrance.connections();
    loop {
        match connections.admit(peer, own, for_health, &rules.limits) {
            Admission::Taken(connection, displaced) => {
                if let Some(refusal) = displaced {
                    entrance.refuse(refusal, connection.peer, &"");
                }
                return Some(connection);
            }
            Admission::Refused(refusal) => {
                entrance.refuse(refusal, peer.to_canonical(), &"");
                return None;
            }
            Admission::Wait => {
                // Either way there may be a place now.
                let _ = tokio::time::timeout(LOOK_AGAIN, connections.ended.notified()).await;
            }
        }
    }
}

/// A connection that is let in, until it is dropped.
struct Attended {
    entrance: Entrance,
    connection: Arc<Connection>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.entrance.give_memory(self.connection.answer_bytes.swap(0, Ordering::Relaxed));
        self.entrance.connections().remove(&self.connection);
        self.entrance.show_connections();
    }
}

impl Attended {
    async fn run<F>(self, stream: TcpStream, rules: Arc<Rules>, pages: F, watcher: Watcher, stop: Stop)
    where
        F: Filter<Extract = (Answer,), Error = Infallible> + Clone + Send + Sync + 'static,
        F::Future: Send,
    {
        self.entrance.show_connections();
        let (entrance, connection) = (&self.entrance, &self.connection);
        let guard = Guard { entrance: entrance.clone(), connection: Arc::clone(connection), pages };
        let spoken = speak(stream, &rules, guard, watcher, stop);
        let sleep = tokio::time::sleep(rules.limits.headers);
        let (mut spoken, mut sleep) = (pin!(spoken), pin!(sleep));
        tokio::select! {
            biased;
            () = connection.close.notified() => {}
            () = &mut spoken => {}
            // Looked at after each step of the above, so it knows what the connection is doing now.
            late = std::future::poll_fn(|context| self.poll_late(sleep.as_mut(), context)) => {
                if let Some(refusal) = late {
                    entrance.refuse(refusal, connection.peer, &"");
                }
            }
        }
    }

    /// Ready once what the connection is doing has taken too long.
    fn poll_late(&self, mut sleep: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<Option<Refusal>> {
        loop {
            let rules = self.entrance.rules();
            let deadline = match self.connection.time_left(&rules.limits) {
                Err(late) => return Poll::Ready(late),
                Ok(left) => Instant::now() + left,
            };
            // Earlier than it would wake; or it has woken, and there is time left.
            if deadline < sleep.deadline() || sleep.is_elapsed() {
                sleep.as_mut().reset(deadline);
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Speaks HTTP, over TLS where that is configured, until the other side or the end of the program ends it.
async fn speak<F>(stream: TcpStream, rules: &Rules, guard: Guard<F>, watcher: Watcher, mut stop: Stop)
where
    F: Filter<Extract = (Answer,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let (entrance, connection) = (guard.entrance.clone(), Arc::clone(&guard.connection));
    let tls = rules.access.tls.as_ref().filter(|_| !connection.for_health);
    let Some(tls) = tls else { return speak_http(stream, rules, guard, watcher).await };
    connection.enter(Phase::Handshake);
    entrance.turn(&connection.address).await;
    let shaken = tokio::select! {
        () = stop.wait() => return,
        shaken = TlsAcceptor::from(Arc::clone(tls)).accept(stream) => shaken,
    };
    match shaken {
        Ok(stream) => {
            let certified = stream.get_ref().1.peer_certificates().is_some();
            connection.encrypted.store(true, Ordering::Relaxed);
            connection.certified.store(certified, Ordering::Relaxed);
            connection.enter(Phase::Head);
            speak_http(stream, rules, guard, watcher).await;
        }
        Err(error) => entrance.refuse(
            Refusal::Handshake,
            connection.peer,
            &format_args!(": {}", crate::tls::faults::in_words(&error)),
        ),
    }
}

async fn speak_http<S, F>(stream: S, rules: &Rules, guard: Guard<F>, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Filter<Extract = (Answer,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let (entrance, connection) = (guard.entrance.clone(), Arc::clone(&guard.connection));
    let stream = Watched { stream, connection: Arc::clone(&connection), entrance: entrance.clone() };
    let service = service_fn(move |request: Request<Incoming>| {
        let guard = guard.clone();
        async move { Ok::<_, Infallible>(guard.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    // The connection's own watch knows more than hyper's. What is too long for a URL and still fits gets its own answer.
    let head = rules.limits.url_bytes.saturating_add(rules.limits.header_bytes).saturating_add(64);
    http.header_read_timeout(None).max_buf_size(head.max(LEAST_BUFFER));
    let Err(error) = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await else {
        return;
    };
    if error.is_parse_too_large() {
        entrance.refuse(Refusal::Headers, connection.peer, &"");
    } else if error.is_parse() {
        entrance.refuse(Refusal::Malformed, connection.peer, &format_args!(": {error}"));
    } else {
        tracing::debug!(%error, "connection ended");
    }
}

/// Serves one connection that is in memory, as [`serve`] serves one of this host over plain TCP: for `services/fuzz`.
#[doc(hidden)]
pub async fn serve_one<S, F>(stream: S, routes: F, entrance: &Entrance)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Filter<Extract = (Answer,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let rules = entrance.rules();
    let peer = std::net::Ipv4Addr::LOCALHOST.into();
    let Some(connection) = admit(entrance, &rules, peer, false, false).await else { return };
    let _attended = Attended { entrance: entrance.clone(), connection: Arc::clone(&connection) };
    let guard = Guard { entrance: entrance.clone(), connection, pages: routes };
    let graceful = GracefulShutdown::new();
    tokio::select! {
        () = entrance.give_turns() => {}
        () = speak_http(stream, &rules, guard, graceful.watcher()) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use prometheus::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::sync::{Notify, watch};
    use warp::path::FullPath;

    use super::super::answer;
    use super::super::guard::Visitor;
    use super::super::limits::Limits;
    use super::*;

    const HERE: [u8; 4] = [127, 0, 0, 1];
    const THERE: [u8; 4] = [127, 0, 0, 2];

    /// All that comes back for this line of a request.
    async fn asked(address: SocketAddr, from: [u8; 4], line: &str) -> String {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answered = String::new();
        stream.read_to_string(&mut answered).await.unwrap();
        answered
    }

    fn counted(registry: &Registry, reason: &str, times: u64) {
        let counted = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line = format!("http_refused_total{{reason=\"{reason}\"}} {times}\n");
        assert!(counted.contains(&line), "{line}{counted}");
    }

    #[tokio::test]
    async fn a_request_without_a_path_is_a_bad_one() {
        let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap(), Some(0)).unwrap();
        let (address, health) = (sockets.address, sockets.health_address.unwrap());
        let (_stop, stopped) = Stop::by_hand();
        let page = warp::path::full().map(|path: FullPath| answer::text(200, path.as_str().to_owned()));
        let registry = Registry::new();
        let entrance = Entrance::new(Rules::open(), Vec::new(), &registry).unwrap();
        tokio::spawn(serve(sockets, page, entrance, Duration::from_secs(1), stopped));
        let long = "x".repeat(9000);
        let (url, header) = (format!("GET /{long}"), format!("GET /a HTTP/1.1\r\nX: {long}\r\nY:"));
        for (address, line, status) in [
            (address, "GET h", 400),
            (address, "CONNECT h:1", 400),
            (address, "OPTIONS *", 200),
            (address, "GET /a", 200),
            (address, "GET http://h/a", 200),
            (address, &url, 414),
            (address, &header, 431),
            (health, "GET /a", 404),
            (health, "GET /readyz", 200),
        ] {
            let answered = asked(address, HERE, line).await;
            assert!(answered.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answered:?}");
        }
        for (reason, times) in [("malformed", 2), ("url", 1), ("headers", 1), ("token", 0)] {
            counted(&registry, reason, times);
        }
    }

    /// A listener of which `/hold` is answered once it is let go, and says when it has begun.
    struct Held {
        address: SocketAddr,
        registry: Registry,
        begun: Arc<Notify>,
        go: Arc<Notify>,
        _stop: watch::Sender<bool>,
    }

    impl Held {
        fn within(limits: Limits) -> Self {
            let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
            let (address, registry) = (sockets.address, Registry::new());
            let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (held, until) = (Arc::clone(&begun), Arc::clone(&go));
            let page = warp::path::full().and(warp::ext::optional()).then(
                move |path: FullPath, visitor: Option<Visitor>| {
                    let (held, until) = (Arc::clone(&held), Arc::clone(&until));
                    async move {
                        let place = match visitor {
                            Some(visitor) => visitor.begin().await.map(Some),
                            None => Ok(None),
                        };
                        if let Err(answer) = place {
                            return *answer;
                        }
                        if path.as_str() == "/hold" {
                            held.notify_one();
                            until.notified().await;
                        }
                        answer::text(200, "there\n")
                    }
                },
            );
            let (stop, stopped) = Stop::by_hand();
            let rules = Rules { limits, ..Rules::open() };
            let entrance = Entrance::new(rules, Vec::new(), &registry).unwrap();
            tokio::spawn(serve(sockets, page, entrance, Duration::from_secs(1), stopped));
            Self { address, registry, begun, go, _stop: stop }
        }
    }

    #[tokio::test]
    async fn more_requests_than_may_be_are_told_to_come_again_and_health_is_answered() {
        let held = Held::within(Limits { requests: 1, ..Limits::default() });
        for line in ["GET /hold", "POST /hold"] {
            let first = tokio::spawn(asked(held.address, HERE, line));
            held.begun.notified().await;
            for (from, line) in [(HERE, "GET /a"), (THERE, "GET /a"), (THERE, "POST /a")] {
                let answered = asked(held.address, from, line).await;
                assert!(answered.starts_with("HTTP/1.1 503 "), "{line}: {answered}");
                assert!(answered.contains("\r\nretry-after: 5\r\n"), "{line}: {answered}");
                assert!(answered.contains("as max_requests allows"), "{line}: {answered}");
            }
            assert!(asked(held.address, HERE, "GET /livez").await.starts_with("HTTP/1.1 200 "));
            held.go.notify_one();
            assert!(first.await.unwrap().starts_with("HTTP/1.1 200 "));
            assert!(
                asked(held.address, THERE, "GET /a").await.starts_with("HTTP/1.1 200 "),
                "there is room again"
            );
        }
        counted(&held.registry, "requests", 6);
    }

    #[tokio::test]
    async fn more_requests_of_one_address_than_may_be_wait_and_those_of_others_do_not() {
        let held = Held::within(Limits { requests_per_address: 1, ..Limits::default() });
        let first = tokio::spawn(asked(held.address, HERE, "GET /hold"));
        held.begun.notified().await;
        let second = tokio::spawn(asked(held.address, HERE, "GET /a"));
        assert!(asked(held.address, THERE, "GET /a").await.starts_with("HTTP/1.1 200 "));
        assert!(asked(held.address, HERE, "GET /livez").await.starts_with("HTTP/1.1 200 "));
        // All that came after it was answered.
        assert!(!second.is_finished());
        held.go.notify_one();
        for one in [first, second] {
            assert!(one.await.unwrap().starts_with("HTTP/1.1 200 "));
        }
    }
}
