//! Receiving: the pattoo server's own agent API, so that any pattoo agent, also another hub, can post here.
//!
//! | body | answer |
//! |---|---|
//! | a post, plain or with `Content-Encoding: gzip` or `zstd` | 200, once it is safe on disk |
//! | a post that the server would take to its own harm | 200, once it is safe in quarantine |
//! | a post without a datapoint that the server takes | 200; it is counted and goes nowhere |
//! | other keys, no JSON, another content type | 500 |
//! | compressed without the header, of another encoding, broken | 500 |
//! | JSON that is no object | 404 |
//! | larger than `max_post_bytes`, decompressed | 413 |
//! | a good one, but the disk does not take it, or there is no room for it | 503 with `Retry-After` |
//! | one that takes longer than `body_timeout` | 408 |

mod decode;

use std::pin::pin;

use agent::http::answer::{self, Answer};
use agent::http::packing::header;
use agent::http::{Refusal, Reservation, Visitor};
use agent::identity::is_agent_id;
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use warp::http::Method;
use warp::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

use self::decode::{Decoder, Fault};
use crate::check::{Reason, ServerSays, check_with};
use crate::history::Recorder;
use crate::intake::Intake;
use crate::metrics::From;
use crate::settings::InForce;
use crate::sources::Sources;

/// How much larger than `max_post_bytes` a compressed body may be: what cannot be made smaller gets larger.
const COMPRESSED_MORE: usize = 64 * 1024;

/// When a sender may try again after the disk did not take its post, in seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("30");

const API: &str = "/pattoo/api/v1/agent/";

/// Receives posts.
#[derive(Clone, Debug)]
pub struct Receiver {
    intake: Intake,
    recorder: Recorder,
    sources: Sources,
    settings: InForce,
}

impl Receiver {
    /// Receives posts where the settings want that.
    pub(crate) fn new(intake: Intake, recorder: Recorder, sources: Sources, settings: InForce) -> Self {
        Self { intake, recorder, sources, settings }
    }

    /// Answers what belongs to the agent API, `None` for another path, and for every one where nothing is received.
    pub async fn answer<B: Buf>(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        visitor: Option<Visitor>,
        body: impl Stream<Item = Result<B, warp::Error>>,
    ) -> Option<Answer> {
        let rest = path.strip_prefix(API).filter(|_| self.settings.borrow().receive)?;
        if rest == "status" {
            let page = || answer::text(200, "The Pattoo Agent API is Operational.\n");
            return Some(answer::reading(method, page));
        }
        // The source must be one and is used for nothing: the body says whose post it is.
        rest.strip_prefix("receive/").filter(|source| is_agent_id(source))?;
        if method != Method::POST {
            return Some(answer::method_not_allowed("POST"));
        }
        // Every request that posts has one.
        let visitor = visitor?;
        Some(self.receive(headers, &visitor, body).await)
    }

    async fn receive<B: Buf>(
        &self,
        headers: &HeaderMap,
        visitor: &Visitor,
        body: impl Stream<Item = Result<B, warp::Error>>,
    ) -> Answer {
        if !is_json(headers) {
            return answer::text(500, "The content type must be application/json.\n");
        }
        let most = self.settings.borrow().max_post_bytes;
        let mut memory = visitor.reservation();
        let read = read(headers, body, most, &mut memory);
        let body = match tokio::time::timeout(visitor.body_timeout(), read).await {
            Ok(Ok(body)) => body,
            Ok(Err(unread)) => return unread.answer(most, visitor),
            Err(_) => {
                visitor.refuse(Refusal::SlowBody);
                return answer::text(408, "The body took too long.\n");
            }
        };
        let _place = match visitor.begin().await {
            Ok(place) => place,
            Err(answer) => return *answer,
        };
        let mut listening = self.recorder.listen();
        let kept = match check_with(&body, |seen| listening.hear(seen)) {
            Ok(post) => {
                let bytes = body.len();
                let kept = self.intake.keep(&post, body, From::Receive).await;
                if kept.is_ok() {
                    self.sources.heard(&post, bytes);
                    self.recorder.take(listening, &post);
                }
                kept
            }
            Err(reason) => match refusal(reason) {
                Some(answer) => return answer,
                None => self.intake.set_aside(body, reason, From::Receive).await,
            },
        };
        match kept {
            Ok(()) => answer::text(200, "OK"),
            Err(_) => {
                let mut answer = answer::text(503, "The post could not be kept; try again later.\n");
                answer.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
                answer
            }
        }
    }
}

/// What the server itself would answer to a body that it refuses.
fn refusal(reason: Reason) -> Option<Answer> {
    match reason.server_says() {
        ServerSays::Error => Some(answer::text(500, format!("{reason}.\n"))),
        ServerSays::NotFound => Some(answer::text(404, format!("{reason}.\n"))),
        ServerSays::Ok => None,
    }
}

/// Why a body was not read to its end.
enum Unread {
    Fault(Fault),
    /// There is no room for it now.
    Memory,
    BrokeOff,
}

impl std::convert::From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Unread {
    fn answer(self, most: usize, visitor: &Visitor) -> Answer {
        match self {
            Self::Fault(Fault::TooLarge) => {
                visitor.refuse(Refusal::Body);
                answer::text(413, format!("The body may have at most {most} bytes.\n"))
            }
            Self::Fault(Fault::Broken) => {
                answer::text(500, "The body is not what its content encoding says.\n")
            }
            Self::Fault(Fault::Unknown) => {
                answer::text(500, "The content encoding must be gzip or zstd, or none.\n")
            }
            Self::Memory => visitor.refuse(Refusal::Memory),
            Self::BrokeOff => answer::text(400, "The body broke off.\n"),
        }
    }
}

async fn read<B: Buf>(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
    most: usize,
    memory: &mut Reservation,
) -> Result<Bytes, Unread> {
    let mut decoder = Decoder::new(headers, most)?;
    // Before it is decompressed, a body may be a little larger than afterwards.
    let mut left = most.saturating_add(COMPRESSED_MORE);
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > left) {
        return Err(Fault::TooLarge.into());
    }
    let mut body = pin!(body);
    let mut kept = 0;
    while let Some(part) = body.next().await {
        let Ok(mut part) = part else { return Err(Unread::BrokeOff) };
        left = left.checked_sub(part.remaining()).ok_or(Fault::TooLarge)?;
        while part.has_remaining() {
            let length = part.chunk().len();
            decoder.write(part.chunk())?;
            part.advance(length);
        }
        let keeps = decoder.capacity();
        if keeps > kept && !memory.grow(keeps - kept) {
            return Err(Unread::Memory);
        }
        kept = keeps;
    }
    Ok(decoder.finish()?)
}

/// Whether the body claims to be JSON, as the server judges it: `application/json` or `application/...+json`,
/// whatever parameters follow.
fn is_json(headers: &HeaderMap) -> bool {
    let kind =
        header(headers, CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_judged_as_the_server_does() {
        let judged = |text: &'static str| {
            is_json(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]))
        };
        for text in ["application/json", "Application/JSON; charset=utf-8", "application/x.y+json"] {
            assert!(judged(text), "{text}");
        }
        for text in ["", "text/json", "application/jsonx", "text/plain+json", "json"] {
            assert!(!judged(text), "{text}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
