//! States in words, and numbers that may not be known; how a number is written is the same for both programs.

use std::time::Duration;

use agent::http::html::escape;
use agent::http::words;
pub(super) use agent::http::words::{NONE, bytes};

use crate::fleet::Member;

/// A percentage.
pub(super) fn percent(value: Option<f32>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.0} %"))
}

/// Bytes in a second.
pub(super) fn rate(value: Option<f32>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| words::rate(f64::from(value)))
}

/// A time that passed, where it is known.
pub(super) fn since(time: Option<Duration>) -> String {
    time.map_or_else(|| NONE.to_owned(), |time| words::duration(time.as_secs()))
}

/// A state's word, which the style sheet marks, and why it is so.
pub(super) fn state(member: &Member) -> String {
    let label = member.standing.label();
    let why = if member.reason.is_empty() { String::new() } else { format!(": {}", escape(&member.reason)) };
    format!("<span class=\"state {label}\">{label}{why}</span>")
}

/// A name and its value, for a list of facts.
pub(super) fn fact(name: &str, value: &str) -> String {
    format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value))
}

/// A time of the clock, which the script writes in the reader's own zone.
pub(super) fn time(ms: u64) -> String {
    let text = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_millis(ms));
    format!("<time data-ms=\"{ms}\">{text}</time>")
}

/// When the page was made.
pub(super) fn as_of(ms: u64) -> String {
    format!("As of {}.", time(ms))
}

/// So many of them, with the right word.
pub(super) fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        assert_eq!((percent(Some(12.5)), percent(None)), ("12 %".to_owned(), NONE.to_owned()));
        assert_eq!((rate(Some(2048.0)), rate(None)), ("2.0 KiB/s".to_owned(), NONE.to_owned()));
        let times = [Some(Duration::from_secs(90_061)), None];
        assert_eq!(times.map(since), ["1 d 1 h".to_owned(), NONE.to_owned()]);
    }
}
