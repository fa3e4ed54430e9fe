//! Asking over HTTP, the same way for polling and delivering: one deadline over connecting, headers and body,
//! a cap on the body, no redirects, no proxy from the environment. Polling keeps no connection; delivering
//! keeps some for a moment ([`Sender`]).

use std::error::Error;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};

use crate::PROGRAM;
use crate::resolve::Resolver;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody listens there.
    Refused,
    /// No whole answer in time.
    Timeout,
    /// The host name has no address.
    Dns,
    /// The connection ended before the answer did.
    Reset,
    /// There is no way to the host.
    Unreachable,
    /// The body is larger than it may be.
    TooLarge,
    /// What came is no HTTP.
    Protocol,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 7] = [
        Self::Refused,
        Self::Timeout,
        Self::Dns,
        Self::Reset,
        Self::Unreachable,
        Self::TooLarge,
        Self::Protocol,
    ];

    /// The fault as one word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
        }
    }
}

/// A whole answer. Only that of a 200 has its body read.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body of a 200.
    pub body: Bytes,
    /// How long the server wants to be left alone (`Retry-After`), unbounded.
    pub retry_after: Option<Duration>,
}

/// Asks.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// A client.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new() -> reqwest::Result<Self> {
        // A kept connection pins an address, and its reset says nothing about the host. One that carries a single
        // small question within a time limit wants none of the options that watch over a long life.
        builder()
            .pool_max_idle_per_host(0)
            .tcp_keepalive(None)
            .tcp_keepalive_interval(None)
            .tcp_keepalive_retries(None)
            .tcp_user_timeout(None)
            .tcp_nodelay(false)
            .build()
            .map(Self)
    }

    /// Gets `url` within `limit`, a body of at most `most` bytes.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn get(&self, url: Url, limit: Duration, most: usize) -> Result<Answer, Fault> {
        within(limit, ask(self.0.get(url), most)).await
    }
}

/// How long a connection may idle before it is closed: shorter than servers keep theirs (gunicorn: 2 s), so
/// that it is seldom the server that closes.
const IDLE: Duration = Duration::from_secs(1);

/// How old the connections may be, so that a server that has moved is found at its new address.
const OLDEST: Duration = Duration::from_secs(60);

/// Posts to one server over kept connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Sender {
    fresh: Client,
    kept: Arc<Mutex<(reqwest::Client, Instant)>>,
    connections: usize,
}

impl Sender {
    /// A sender that keeps at most that many connections.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new(connections: usize) -> reqwest::Result<Self> {
        let kept = Arc::new(Mutex::new((keeping(connections)?, Instant::now())));
        Ok(Self { fresh: Client::new()?, kept, connections })
    }

    /// Posts `body`, which is JSON, to `url` within `limit`. Where no byte of an answer came, a kept connection
    /// may have been stale: then it is posted once more, on a new one.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn post(&self, url: Url, body: Bytes, limit: Duration, most: usize) -> Result<Answer, Fault> {
        let json = HeaderValue::from_static("application/json");
        let request = |client: &reqwest::Client| {
            client.post(url.clone()).header(CONTENT_TYPE, json.clone()).body(body.clone())
        };
        let asked = async {
            match request(&self.kept()).send().await {
                Ok(answer) => whole(answer, most).await,
                Err(error) => match fault(&error) {
                    Fault::Reset => ask(request(&self.fresh.0), most).await,
                    fault => Err(fault),
                },
            }
        };
        within(limit, asked).await
    }

    /// The client with the kept connections. Those of the one before end with what is under way on them.
    fn kept(&self) -> reqwest::Client {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1.elapsed() > OLDEST
            && let Ok(client) = keeping(self.connections)
        {
            *kept = (client, Instant::now());
        }
        kept.0.clone()
    }
}

fn keeping(connections: usize) -> reqwest::Result<reqwest::Client> {
    builder().pool_max_idle_per_host(connections).pool_idle_timeout(IDLE).build()
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(format!("{}/{}", PROGRAM.name, PROGRAM.version))
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(Resolver)
        .http1_only()
}

async fn within(
    limit: Duration,
    asked: impl Future<Output = Result<Answer, Fault>>,
) -> Result<Answer, Fault> {
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(Fault::Timeout))
}

async fn ask(request: RequestBuilder, most: usize) -> Result<Answer, Fault> {
    whole(request.send().await.map_err(|error| fault(&error))?, most).await
}

async fn whole(answer: Response, most: usize) -> Result<Answer, Fault> {
    let status = answer.status().as_u16();
    let retry_after = retry_after(answer.headers(), SystemTime::now());
    let body = if status == 200 { read(answer, most).await? } else { Bytes::new() };
    Ok(Answer { status, body, retry_after })
}

/// What `Retry-After` says: seconds, or a date. A date is measured from the server's own `Date` where it gives
/// one, since its clock and ours may differ; one that is over means now.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok();
    let after = text(RETRY_AFTER)?;
    if after.bytes().all(|byte| byte.is_ascii_digit()) {
        return after.parse().ok().map(Duration::from_secs);
    }
    let now = text(DATE).and_then(date).unwrap_or(now);
    Some(date(after)?.duration_since(now).unwrap_or_default())
}

async fn read(mut answer: Response, most: usize) -> Result<Bytes, Fault> {
    let announced = answer.content_length().and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > most) {
        return Err(Fault::TooLarge);
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or(0));
    while let Some(part) = answer.chunk().await.map_err(|error| fault(&error))? {
        if body.len() + part.len() > most {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

/// What kind of fault an error is. The cause is at the end of the chain.
fn fault(error: &reqwest::Error) -> Fault {
    tracing::debug!(error = ?error, "no answer");
    if error.is_dns() {
        return Fault::Dns;
    }
    let mut found = Fault::Protocol;
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            found = of_kind(io.kind()).unwrap_or(found);
        } else if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled())
        {
            found = Fault::Reset;
        }
        next = cause.source();
    }
    found
}

fn of_kind(kind: ErrorKind) -> Option<Fault> {
    match kind {
        ErrorKind::ConnectionRefused => Some(Fault::Refused),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        | ErrorKind::UnexpectedEof => Some(Fault::Reset),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
            Some(Fault::Unreachable)
        }
        ErrorKind::TimedOut => Some(Fault::Timeout),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 12:00:00 GMT").unwrap();
        let said = |pairs: &[(HeaderName, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            retry_after(&HeaderMap::from_iter(pairs), now).map(|time| time.as_secs())
        };
        assert_eq!(said(&[(RETRY_AFTER, "120")]), Some(120));
        assert_eq!(said(&[(RETRY_AFTER, " 0 ")]), Some(0));
        assert_eq!(said(&[(RETRY_AFTER, "Sun, 22 Nov 2026 12:01:30 GMT")]), Some(90));
        assert_eq!(said(&[(RETRY_AFTER, "Sun, 22 Nov 2026 11:00:00 GMT")]), Some(0));
        let theirs = (DATE, "Sun, 22 Nov 2026 10:00:00 GMT");
        assert_eq!(said(&[(RETRY_AFTER, "Sun, 22 Nov 2026 10:00:05 GMT"), theirs]), Some(5));
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(said(&[(RETRY_AFTER, nonsense)]), None, "{nonsense:?}");
        }
        assert_eq!(said(&[]), None);
    }
}
