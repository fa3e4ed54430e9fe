//! Each request, judged before a page is asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Method, Request, Response};
use hyper_util::service::TowerToHyperService;
use warp::Filter;
use warp::http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use super::answer::{self, Answer};
use super::connections::{Connection, Phase};
use super::entrance::{Entrance, Place, Reservation};
use super::health;
use super::refusal::Refusal;
use super::rules::Rules;
use super::watched::{Arriving, Leaving};

/// When a client may try again for which there was no room, in seconds.
const RETRY: HeaderValue = HeaderValue::from_static("5");

/// What is served by one connection.
#[derive(Clone)]
pub(super) struct Guard<F> {
    pub(super) entrance: Entrance,
    pub(super) connection: Arc<Connection>,
    pub(super) pages: F,
}

/// Who posts, for the page that reads the body: pages find it among the request's extensions.
#[derive(Clone, Debug)]
pub struct Visitor {
    entrance: Entrance,
    connection: Arc<Connection>,
}

impl Visitor {
    /// How long a body may take.
    pub fn body_timeout(&self) -> Duration {
        self.entrance.rules().limits.body
    }

    /// Memory for the body.
    pub fn reservation(&self) -> Reservation {
        self.entrance.reservation()
    }

    /// Begins to answer, now that the request is whole.
    ///
    /// # Errors
    /// The answer where as many requests as may be are being answered.
    pub async fn begin(&self) -> Result<Place, Box<Answer>> {
        let place = self.entrance.begin(&self.connection).await;
        place.ok_or_else(|| Box::new(self.refuse(Refusal::Requests)))
    }

    /// Counts and logs a refusal; what there is no room for has its answer.
    pub fn refuse(&self, refusal: Refusal) -> Answer {
        self.entrance.refuse(refusal, self.connection.peer, &"");
        no_room(refusal)
    }
}

impl<F> Guard<F>
where
    F: Filter<Extract = (Answer,), Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    pub(super) async fn answer(self, mut request: Request<Incoming>) -> Response<Leaving> {
        let Self { entrance, connection, pages } = self;
        let has_body = !request.body().is_end_stream();
        connection.enter(if has_body { Phase::Body } else { Phase::Serving });
        entrance.turn(&connection.address).await;
        let rules = entrance.rules();
        if let Some((refusal, answer)) = judge(&entrance, &rules, &connection, &request) {
            if let Some(refusal) = refusal {
                entrance.refuse(refusal, connection.peer, &"");
            }
            return Leaving::of(answer, &connection);
        }
        let mut place = None;
        if *request.method() == Method::POST {
            // Who posts begins once the body is there: until then it is the client that takes its time.
            let visitor = Visitor { entrance: entrance.clone(), connection: Arc::clone(&connection) };
            request.extensions_mut().insert(visitor);
        } else if !health::is_health(request.uri().path()) {
            // Health is answered at once whatever takes long: else what supervises would end a program for being busy.
            place = entrance.begin(&connection).await;
            if place.is_none() {
                entrance.refuse(Refusal::Requests, connection.peer, &"");
                return Leaving::of(no_room(Refusal::Requests), &connection);
            }
        }
        let request = request.map(|body| Arriving { body, connection: Arc::clone(&connection) });
        let Ok(answer) = TowerToHyperService::new(warp::service(pages)).call(request).await;
        drop(place);
        let bytes = usize::try_from(answer.body().size_hint().lower()).unwrap_or(usize::MAX);
        if !entrance.take_memory(bytes, 0) {
            entrance.refuse(Refusal::Memory, connection.peer, &"");
            return Leaving::of(no_room(Refusal::Memory), &connection);
        }
        connection.answer_bytes.fetch_add(bytes, Ordering::Relaxed);
        Leaving::of(answer, &connection)
    }
}

fn no_room(refusal: Refusal) -> Answer {
    let mut answer = answer::text(503, format!("Try again later: {}.\n", refusal.in_words()));
    answer.headers_mut().insert(RETRY_AFTER, RETRY);
    answer
}

/// The answer of a request that is not let in; without a refusal where there just is no such page.
fn judge<B>(
    entrance: &Entrance,
    rules: &Rules,
    connection: &Connection,
    request: &Request<B>,
) -> Option<(Option<Refusal>, Answer)> {
    let refused = |refusal: Refusal, status: u16| {
        Some((Some(refusal), answer::text(status, format!("Refused: {}.\n", refusal.in_words()))))
    };
    // `CONNECT host:1` and `GET host` name no path, and warp panics where there is none.
    let Some(path) = request.uri().path_and_query() else {
        return Some((Some(Refusal::Malformed), answer::text(400, "The request names no path.\n")));
    };
    if path.as_str().len() > rules.limits.url_bytes {
        return refused(Refusal::Url, 414);
    }
    let headers = request.headers();
    // As they stand in the request: with colon, space and the end of the line.
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size > rules.limits.header_bytes {
        return refused(Refusal::Headers, 431);
    }
    let access = &rules.access;
    let asks_health = health::is_health(path.path());
    if connection.for_health {
        return (!asks_health).then(|| (None, answer::not_found()));
    }
    // Of those who came in before these rules held, too.
    let may = access.allows(connection.peer);
    if asks_health && access.health_port.is_none() && (may || connection.own) {
        return None;
    }
    if !may {
        return closing(refused(Refusal::Address, 403));
    }
    if access.tls.is_some() && !connection.encrypted.load(Ordering::Relaxed) {
        let answer = answer::text(403, "Refused: only TLS is spoken here from now on.\n");
        return closing(Some((Some(Refusal::Handshake), answer)));
    }
    if access.certificates && !connection.certified.load(Ordering::Relaxed) {
        return closing(refused(Refusal::Certificate, 403));
    }
    if let Some(accepted) = &access.tokens {
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        if !given.and_then(bearer).is_some_and(|token| accepted.takes(token)) {
            let mut answer = answer::text(401, "Refused: a bearer token is needed that is in tokens_file.\n");
            let challenge = if given.is_some() {
                "Bearer realm=\"pattoo\", error=\"invalid_token\""
            } else {
                "Bearer realm=\"pattoo\""
            };
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            return Some((Some(Refusal::Token), answer));
        }
    }
    // A request that names a host in its first line means that one.
    let host = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| headers.get(HOST).map(HeaderValue::as_bytes));
    if let Some(host) = host
        && !entrance.with_own_names(|own| access.hosts.take(host, headers, own))
    {
        return refused(Refusal::Host, 403);
    }
    None
}

fn closing(refused: Option<(Option<Refusal>, Answer)>) -> Option<(Option<Refusal>, Answer)> {
    refused.map(|(refusal, mut answer)| {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        (refusal, answer)
    })
}

/// The token of `Bearer token`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}
