//! The answer to `GET /metrics`: in the form and the packing that the asker can read.

use std::sync::Arc;
use std::time::Duration;

use agent::http::answer::{self, Answer};
use agent::http::packing::{gzip, header, ranges, takes_gzip};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use warp::http::HeaderMap;
use warp::http::header::{ACCEPT, CONTENT_ENCODING, HeaderValue, RETRY_AFTER, VARY};

use crate::exporter::{Format, no_collector};
use crate::spoke::Spoke;

/// How long an asker waits. A sensor behind a slow bus takes tens of milliseconds; what takes longer than this is
/// stuck, and its reading goes on for who asks next.
const LIMIT: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) format: Format,
    gzip: bool,
    /// The collectors that are to run; none means all.
    pub(crate) collectors: Vec<String>,
}

impl Wish {
    /// Reads the headers, and a query such as `collect[]=cpu&collect[]=meminfo`.
    ///
    /// # Errors
    /// The name that is no collector's, in words.
    pub(crate) fn read(headers: &HeaderMap, query: &str) -> Result<Self, String> {
        let decoded =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let mut collectors = Vec::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decoded(name) == "collect[]" {
                let value = decoded(value);
                if !crate::exporter::names().any(|name| name == value) {
                    return Err(no_collector(&value));
                }
                // Not as often as somebody writes it.
                if !collectors.contains(&value) {
                    collectors.push(value);
                }
            }
        }
        Ok(Self { format: format(header(headers, ACCEPT)), gzip: takes_gzip(headers), collectors })
    }

    fn content_type(&self) -> &'static str {
        match self.format {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// OpenMetrics for who names it and does not like plain text better.
fn format(accept: &str) -> Format {
    let (mut open_metrics, mut plain) = (0, 0);
    for (name, parameters, quality) in ranges(accept) {
        let version = parameters.iter().find_map(|part| part.strip_prefix("version="));
        let known = match (name.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => &mut open_metrics,
            ("text/plain", None | Some("0.0.4")) => &mut plain,
            _ => continue,
        };
        *known = quality.max(*known);
    }
    if open_metrics > 0 && open_metrics >= plain { Format::OpenMetrics } else { Format::Text }
}

/// A page as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    packed: bool,
    body: Bytes,
}

/// The page, one for all who ask for it at the same time.
async fn page(spoke: &Arc<Spoke>, wish: &Wish) -> anyhow::Result<Written> {
    let (reader, wanted) = (Arc::clone(spoke), wish.clone());
    let write = move || {
        let text = reader.metrics_page(&wanted)?;
        let packed = if wanted.gzip { gzip(text.as_bytes())? } else { None };
        Ok(Written { packed: packed.is_some(), body: packed.unwrap_or(text.into_bytes()).into() })
    };
    spoke.scrapes.get(wish.clone(), write).await
}

/// The answer.
pub(crate) async fn answer(spoke: &Arc<Spoke>, headers: &HeaderMap, query: &str) -> Answer {
    let wish = match Wish::read(headers, query) {
        Ok(wish) => wish,
        Err(fault) => return answer::text(400, format!("{fault}\n")),
    };
    match tokio::time::timeout(LIMIT, page(spoke, &wish)).await {
        Ok(Ok(Written { packed, body })) => {
            let mut answer = answer::with_type(200, wish.content_type(), body);
            answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
            if packed {
                answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            answer
        }
        Ok(Err(error)) => {
            tracing::error!(error = format!("{error:#}"), "failed to answer with metrics");
            answer::text(500, format!("{error:#}\n"))
        }
        Err(_) => {
            let mut answer = answer::text(503, "the host's metrics take longer than 10 s to read\n");
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
            answer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_that_is_liked_best() {
        // What Prometheus 2.42 and 2.53 send.
        let both = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(format(both), Format::OpenMetrics);
        for accept in [
            "application/openmetrics-text",
            "text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0; q=0.5",
        ] {
            assert_eq!(format(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/plain;q=0.6,application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=x",
        ] {
            assert_eq!(format(accept), Format::Text, "{accept}");
        }
    }

    #[test]
    fn collectors_can_be_chosen() {
        let wish = |query| Wish::read(&HeaderMap::new(), query).map(|wish| wish.collectors);
        assert_eq!(wish(""), Ok(vec![]));
        assert_eq!(
            wish("x=1&collect%5B%5D=cpu&collect[]=stat&collect[]=cpu"),
            Ok(vec!["cpu".into(), "stat".into()])
        );
        assert!(wish("collect[]=cpus").unwrap_err().contains("did you mean cpu?"));
    }
}
