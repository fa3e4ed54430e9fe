//! Which form of an answer the asker likes best, and answers that are packed with gzip for who takes it.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use hyper::body::Body;
use warp::http::HeaderMap;
use warp::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderName, HeaderValue, VARY};

use super::answer::{self, Answer};

/// Below this many bytes, packing saves nothing.
const WORTH_PACKING: usize = 1024;

/// The text of a header; empty where there is none, or none that is text.
pub fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// The words of a header such as `a;q=0.5, b`, each with its parameters and its worth in thousandths.
pub fn ranges(header: &str) -> impl Iterator<Item = (String, Vec<&str>, u32)> {
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

/// Whether who sends these headers takes gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let accept = header(headers, ACCEPT_ENCODING);
    let worth = |wanted: &str| ranges(accept).find(|(name, ..)| name == wanted).map(|(.., quality)| quality);
    worth("gzip").or_else(|| worth("*")).is_some_and(|quality| quality > 0)
}

/// The text packed with gzip; `None` where that saves nothing.
///
/// # Errors
/// None that memory could bring about.
pub fn gzip(text: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if text.len() < WORTH_PACKING {
        return Ok(None);
    }
    // A page is some tenth as long even so; packing it better costs more than making it.
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish().map(Some)
}

/// The answer, packed where it is long and who sent `headers` takes that. What a browser keeps under a tag stays as it is.
pub async fn packed(mut answer: Answer, headers: &HeaderMap) -> Answer {
    if answer.headers().contains_key(ETAG) {
        return answer;
    }
    answer.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    if !takes_gzip(headers) || answer.body().size_hint().lower() < WORTH_PACKING as u64 {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let Ok(body) = body.collect().await else {
        return answer::text(500, "failed to make the answer\n"); // it is in memory
    };
    let body = body.to_bytes();
    let text = body.clone();
    // It may take milliseconds, in which others would wait.
    match tokio::task::spawn_blocking(move || gzip(&text)).await {
        Ok(Ok(Some(packed))) => {
            head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Answer::from_parts(head, Bytes::from(packed).into())
        }
        _ => Answer::from_parts(head, body.into()),
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    fn accepting(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(encoding))])
    }

    fn unpacked(packed: &[u8]) -> String {
        io::read_to_string(GzDecoder::new(packed)).unwrap()
    }

    #[test]
    fn gzip_is_for_who_takes_it() {
        for accept in ["gzip", "deflate, GZIP;q=0.1", "*", "br;q=1.0, *;q=0.5"] {
            assert!(takes_gzip(&accepting(accept)), "{accept}");
        }
        for accept in ["", "identity", "gzip;q=0", "*;q=0", "*, gzip;q=0", "xgzip"] {
            assert!(!takes_gzip(&accepting(accept)), "{accept}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_long_text_is_packed_and_a_short_one_is_not() {
        let long = "node_load1 1\n".repeat(1000);
        let packed = gzip(long.as_bytes()).unwrap().unwrap();
        assert!(packed.len() < 1000);
        assert_eq!(unpacked(&packed), long);
        assert_eq!(gzip(b"short").unwrap(), None);
    }

    #[tokio::test]
    async fn an_answer_says_that_it_is_packed_and_is_the_same_unpacked() {
        let long = "<td>up</td>\n".repeat(1000);
        let page = || answer::page(200, long.clone());
        for (headers, is_packed) in [(accepting("gzip"), true), (HeaderMap::new(), false)] {
            let answer = packed(page(), &headers).await;
            assert_eq!(answer.headers().get(CONTENT_ENCODING).is_some(), is_packed);
            assert_eq!(answer.headers()[VARY], "Accept-Encoding");
            assert_eq!(answer.headers().len(), page().headers().len() + 1 + usize::from(is_packed));
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(if is_packed { unpacked(&body) } else { String::from_utf8_lossy(&body).into() }, long);
        }
        let mut kept = page();
        kept.headers_mut().insert(ETAG, HeaderValue::from_static("\"1\""));
        let kept = packed(kept, &accepting("gzip")).await;
        assert!(!kept.headers().contains_key(CONTENT_ENCODING) && !kept.headers().contains_key(VARY));
    }
}
