//! Asking over HTTP, the same way for polling and delivering: one deadline over connecting, headers and body,
//! a cap on the body, no redirects, no proxy from the environment. Polling asks each target over a connection of
//! its own ([`Getter`]); delivering keeps some to the one server for a moment ([`Sender`]).

mod capped;
mod getter;
mod sender;
mod tls;

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use agent::tls::secrets::Secret;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Body;
use hyper::header::{DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::PROGRAM;
use crate::resolve::ResolveError;
pub use getter::Getter;
pub use sender::Sender;
pub use tls::{Tls, TlsFault};

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
    /// The answer is larger than it may be.
    TooLarge,
    /// What came is no HTTP.
    Protocol,
    /// The other side cannot be trusted, or does not trust the hub.
    Tls(TlsFault),
}

impl Fault {
    /// One for each label.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Timeout,
        Self::Dns,
        Self::Reset,
        Self::Unreachable,
        Self::TooLarge,
        Self::Protocol,
        Self::Tls(TlsFault::Handshake),
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
            Self::Tls(_) => "tls",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(fault) => write!(out, "{}: {fault}", self.label()),
            _ => out.write_str(self.label()),
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

/// What both call themselves.
fn user_agent() -> String {
    format!("{}/{}", PROGRAM.name, PROGRAM.version)
}

async fn within(
    limit: Duration,
    asked: impl Future<Output = Result<Answer, Fault>>,
) -> Result<Answer, Fault> {
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(Fault::Timeout))
}

/// Reads the body of a 200, of at most `most` bytes; of any other answer none.
async fn whole<B>(answer: Response<B>, most: usize) -> Result<Answer, Fault>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
{
    let status = answer.status().as_u16();
    let retry_after = retry_after(answer.headers(), SystemTime::now());
    let body = if status == 200 { read(answer.into_body(), most).await? } else { Bytes::new() };
    Ok(Answer { status, body, retry_after })
}

async fn read<B>(body: B, most: usize) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
{
    let announced = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > most) {
        return Err(Fault::TooLarge);
    }
    let mut body = std::pin::pin!(body);
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.map_err(|error| fault(&error))?.into_data() else { continue };
        // Read in one piece, it is handed on as it is.
        if announced == Some(part.len()) {
            return Ok(part);
        }
        if gathered.len() + part.len() > most {
            return Err(Fault::TooLarge);
        }
        if gathered.is_empty() {
            gathered.reserve(announced.unwrap_or(0));
        }
        gathered.extend_from_slice(&part);
    }
    Ok(gathered.freeze())
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

/// What kind of fault an error is. The cause is at the end of the chain.
fn fault(error: &(dyn Error + 'static)) -> Fault {
    tracing::debug!(?error, "no answer");
    let mut found = Fault::Protocol;
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<ResolveError>() {
            return Fault::Dns;
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if let Some(fault) = TlsFault::of(io) {
                return Fault::Tls(fault);
            }
            found = of_kind(io).unwrap_or(found);
        } else if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled())
        {
            found = Fault::Reset;
        }
        next = cause.source();
    }
    found
}

fn of_kind(error: &std::io::Error) -> Option<Fault> {
    match error.kind() {
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
        ErrorKind::FileTooLarge => Some(Fault::TooLarge),
        // One in another hides it: hyper-rustls wraps what happens in a handshake.
        _ => error.get_ref()?.downcast_ref().and_then(of_kind),
    }
}

/// What is sent of a token.
fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
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
