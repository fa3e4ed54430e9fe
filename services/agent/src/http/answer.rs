//! Answers, and the methods that a page takes.

use bytes::Bytes;
use warp::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

/// What a page answers.
pub type Answer = Response;

/// The methods of a page that is only read.
const READING: &str = "GET, HEAD, OPTIONS";

/// An answer of that type.
pub fn with_type(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(body.into().into());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer in plain text.
pub fn text(status: u16, body: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// An answer in JSON.
pub fn json(status: u16, body: impl Into<Bytes>) -> Answer {
    with_type(status, "application/json", body)
}

/// A page for people.
pub fn html(status: u16, body: impl Into<Bytes>) -> Answer {
    with_type(status, "text/html; charset=utf-8", body)
}

/// What a page of ours may do: show what this program serves, and ask it. Nothing inline, nothing of another host.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// A page of the common design: scripts and styles are files of ours alone, and what is shown is as of now.
pub fn page(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = html(status, body);
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    guard(&mut answer);
    answer
}

/// Says to a browser that the type is the type, and that no other page need know where this one was.
pub fn guard(answer: &mut Answer) {
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// There is no such page.
pub fn not_found() -> Answer {
    text(404, "Not found. / says what is served here.\n")
}

/// The page exists, the method does not fit; `allow` lists those that do.
pub fn method_not_allowed(allow: &'static str) -> Answer {
    let mut answer = text(405, format!("Method not allowed; allowed are {allow}.\n"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// Answers for a page that is only read: `GET` and `HEAD` call it (hyper leaves the body of `HEAD` out),
/// `OPTIONS` is 200, everything else 405.
pub fn reading(method: &Method, page: impl FnOnce() -> Answer) -> Answer {
    allowed(method).unwrap_or_else(page)
}

/// As [`reading`], where the page has to be waited for.
pub async fn reading_later(method: &Method, page: impl Future<Output = Answer>) -> Answer {
    match allowed(method) {
        Some(answer) => answer,
        None => page.await,
    }
}

fn allowed(method: &Method) -> Option<Answer> {
    match *method {
        Method::GET | Method::HEAD => None,
        Method::OPTIONS => {
            let mut answer = text(200, "");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(READING));
            Some(answer)
        }
        _ => Some(method_not_allowed(READING)),
    }
}
