//! Numbers and states in words.

use std::time::Duration;

use agent::http::html::escape;

use crate::fleet::Member;

/// What is not known.
pub(super) const NONE: &str = "\u{2013}";

/// A percentage.
pub(super) fn percent(value: Option<f32>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.0} %"))
}

/// Bytes in a second.
pub(super) fn rate(value: Option<f32>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{}/s", bytes(f64::from(value))))
}

/// Bytes, with three figures.
pub(super) fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            let decimals = usize::from(value < 9.95 && unit != "B");
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.0} PB")
}

/// A time that passed, in its two largest units.
pub(super) fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    let (one, of, other) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => ((seconds / 60, "min"), seconds % 60, "s"),
        3600..86_400 => ((seconds / 3600, "h"), seconds % 3600 / 60, "min"),
        _ => ((seconds / 86_400, "d"), seconds % 86_400 / 3600, "h"),
    };
    match of {
        0 => format!("{} {}", one.0, one.1),
        of => format!("{} {} {of} {other}", one.0, one.1),
    }
}

/// A time that passed, where it is known.
pub(super) fn since(time: Option<Duration>) -> String {
    time.map_or_else(|| NONE.to_owned(), lasting)
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
    fn numbers_are_short() {
        let texts = [0.0, 999.0, 1000.0, 9_940.0, 12_345_678.0, 5e15].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "9.9 kB", "12 MB", "5 PB"]);
        let texts = [5, 60, 61, 3600, 90_061].map(|seconds| lasting(Duration::from_secs(seconds)));
        assert_eq!(texts, ["5 s", "1 min", "1 min 1 s", "1 h", "1 d 1 h"]);
        assert_eq!((percent(Some(12.5)), percent(None)), ("12 %".to_owned(), NONE.to_owned()));
    }
}
