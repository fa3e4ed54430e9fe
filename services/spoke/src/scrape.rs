//! The answer to `GET /metrics`: in the form and the packing that the asker can read.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use agent::http::answer::{self, Answer};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use percent_encoding::percent_decode_str;
use warp::http::HeaderMap;
use warp::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, RETRY_AFTER, VARY};

use crate::exporter::{Format, no_collector};
use crate::spoke::Spoke;

/// How long an asker waits. A sensor behind a slow bus takes tens of milliseconds; what takes longer than this is
/// stuck, and its reading goes on for who asks next.
const LIMIT: Duration = Duration::from_secs(10);

/// Below this, packing saves nothing.
const WORTH_PACKING: usize = 1024;

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
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("");
        Ok(Self { format: format(text(ACCEPT)), gzip: takes_gzip(text(ACCEPT_ENCODING)), collectors })
    }

    fn content_type(&self) -> &'static str {
        match self.format {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The words of a header such as `a;q=0.5, b`, each with its parameters and its worth in thousandths.
fn ranges(header: &str) -> impl Iterator<Item = (String, Vec<&str>, u32)> {
    header.split(',').map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<_> = parts.collect();
        let quality = parameters.iter().find_map(|part| part.strip_prefix("q="));
        (name, parameters, quality.map_or(1000, thousandths))
    })
}

/// `0.5` is 500; what is no number is worth nothing.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
fn thousandths(quality: &str) -> u32 {
    quality.parse::<f64>().map_or(0, |quality| (quality.clamp(0.0, 1.0) * 1000.0) as u32)
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

fn takes_gzip(accept: &str) -> bool {
    let worth = |wanted: &str| ranges(accept).find(|(name, ..)| name == wanted).map(|(.., quality)| quality);
    worth("gzip").or_else(|| worth("*")).is_some_and(|quality| quality > 0)
}

/// The page, one for all who ask for it at the same time.
async fn page(spoke: &Arc<Spoke>, wish: &Wish) -> anyhow::Result<Bytes> {
    let (reader, wanted) = (Arc::clone(spoke), wish.clone());
    let write = move || Ok(Bytes::from(packed(reader.metrics_page(&wanted)?, wanted.gzip)?));
    spoke.scrapes.get(wish.clone(), write).await
}

fn packed(page: String, gzip: bool) -> anyhow::Result<Vec<u8>> {
    if !gzip || page.len() < WORTH_PACKING {
        return Ok(page.into_bytes());
    }
    // The page is some tenth as long even so; packing it better costs more than reading the host.
    let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 8), Compression::fast());
    encoder.write_all(page.as_bytes())?;
    Ok(encoder.finish()?)
}

/// The answer.
pub(crate) async fn answer(spoke: &Arc<Spoke>, headers: &HeaderMap, query: &str) -> Answer {
    let wish = match Wish::read(headers, query) {
        Ok(wish) => wish,
        Err(fault) => return answer::text(400, format!("{fault}\n")),
    };
    match tokio::time::timeout(LIMIT, page(spoke, &wish)).await {
        Ok(Ok(body)) => {
            let packed = body.starts_with(&GZIP);
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

/// How packed bytes begin; no page of metrics does.
const GZIP: [u8; 2] = [0x1f, 0x8b];

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
    fn gzip_is_for_who_takes_it() {
        for accept in ["gzip", "deflate, GZIP;q=0.1", "*", "br;q=1.0, *;q=0.5"] {
            assert!(takes_gzip(accept), "{accept}");
        }
        for accept in ["", "identity", "gzip;q=0", "*;q=0", "*, gzip;q=0", "xgzip"] {
            assert!(!takes_gzip(accept), "{accept}");
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

    #[test]
    fn a_long_page_is_packed_and_a_short_one_is_not() {
        let long = "node_load1 1\n".repeat(1000);
        let packed_page = packed(long.clone(), true).unwrap();
        assert!(packed_page.starts_with(&GZIP) && packed_page.len() < 1000);
        let mut unpacked = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed_page[..]), &mut unpacked)
            .unwrap();
        assert_eq!(unpacked, long);
        assert_eq!(packed(long.clone(), false).unwrap(), long.as_bytes());
        assert_eq!(packed("short".to_owned(), true).unwrap(), b"short");
    }
}
