//! What the spoke serves.

use std::convert::Infallible;
use std::sync::Arc;

use agent::http::answer::{self, Answer};
use agent::http::health::common_page;
use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::http::header::{CACHE_CONTROL, HeaderValue};
use warp::http::{HeaderMap, Method};
use warp::path::FullPath;

use crate::page;
use crate::scrape;
use crate::spoke::{LONGEST_INTERVAL_S, Spoke};

/// The path of the post, as far as the interval.
const POST: &str = "/pattoo-agent-os/";

/// All pages of the spoke.
pub fn routes(
    spoke: Arc<Spoke>,
) -> impl Filter<Extract = (Answer,), Error = Infallible, Future: Send> + Clone + Send + Sync + 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method().and(warp::path::full()).and(warp::header::headers_cloned()).and(query).then(
        move |method: Method, path: FullPath, headers: HeaderMap, query: String| {
            let spoke = Arc::clone(&spoke);
            async move { page_of(spoke, &method, &path, &headers, &query).await }
        },
    )
}

async fn page_of(
    spoke: Arc<Spoke>,
    method: &Method,
    path: &FullPath,
    headers: &HeaderMap,
    query: &str,
) -> Answer {
    // The original's framework compares paths decoded: /pattoo-agent-os/%33%30%30 is 300.
    let Ok(path) = percent_decode_str(path.as_str()).decode_utf8() else { return answer::not_found() };
    if path == "/metrics" {
        return answer::reading_later(method, scrape::answer(&spoke, headers, query)).await;
    }
    if let Some(answer) = common_page(method, &path, &spoke.health) {
        return answer;
    }
    if let Some(answer) = page::ASSETS.answer(method, &path, headers) {
        return answer;
    }
    match &*path {
        "/" => return answer::reading_later(method, page(&spoke)).await,
        "/api/v1/host" => return answer::reading_later(method, host(&spoke)).await,
        page::HOUR => return answer::reading(method, || hour(&spoke, query)),
        _ => {}
    }
    match path.strip_prefix(POST).and_then(interval) {
        Some(interval_s) => answer::reading_later(method, post(spoke, interval_s)).await,
        None => answer::not_found(),
    }
}

/// The seconds that the rest of the path names: decimal digits, a year at most.
fn interval(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let significant = text.trim_start_matches('0');
    let seconds = if significant.is_empty() { 0 } else { significant.parse().ok()? };
    (digits && seconds <= LONGEST_INTERVAL_S).then_some(seconds)
}

async fn post(spoke: Arc<Spoke>, interval_s: u64) -> Answer {
    let answer = match spoke.shared_post(interval_s).await {
        Ok(body) => answer::json(200, body),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "failed to answer with a post");
            answer::text(500, format!("{error:#}\n"))
        }
    };
    spoke.metrics.answers.with_label_values(&[answer.status().as_str()]).inc();
    answer
}

/// The page for people.
async fn page(spoke: &Arc<Spoke>) -> Answer {
    match spoke.look().await {
        Ok(now) => answer::page(200, spoke.glance.with_hour(|hour| page::render(&now, hour))),
        Err(error) => failed(&error),
    }
}

/// The host now, as JSON.
async fn host(spoke: &Arc<Spoke>) -> Answer {
    match spoke.look().await {
        Ok(now) => fresh_json(&*now),
        Err(error) => failed(&error),
    }
}

/// The last hour, as JSON; `since=` leaves out what is known already.
fn hour(spoke: &Spoke, query: &str) -> Answer {
    let since = query.split('&').find_map(|pair| pair.strip_prefix("since="));
    match since.map_or(Ok(0), str::parse) {
        Ok(since_ms) => fresh_json(&spoke.glance.with_hour(|hour| hour.since(since_ms))),
        Err(_) => answer::text(400, "since is a time in milliseconds since 1970\n"),
    }
}

/// What is true now, and not for whoever asks later.
fn fresh_json(what: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(what) {
        Ok(body) => {
            let mut answer = answer::json(200, body);
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            answer::guard(&mut answer);
            answer
        }
        Err(error) => failed(&error.into()),
    }
}

fn failed(error: &anyhow::Error) -> Answer {
    tracing::error!(error = format!("{error:#}"), "failed to show the host");
    answer::text(500, format!("{error:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_decimal_digits_up_to_a_year() {
        for (text, seconds) in [("300", 300), ("0300", 300), ("0", 0), ("00", 0), ("31536000", 31_536_000)] {
            assert_eq!(interval(text), Some(seconds), "{text:?}");
        }
        let digits = "9".repeat(1000);
        for text in ["", "abc", "-5", "+5", "300.5", "300/", " 300", "31536001", "٣٠٠", &digits] {
            assert_eq!(interval(text), None, "{text:?}");
        }
        assert_eq!(interval(&format!("{}300", "0".repeat(1000))), Some(300));
    }
}
