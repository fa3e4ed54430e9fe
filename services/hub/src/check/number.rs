//! Numbers as they are written, read as the server reads them, and bounded.

use super::Reason;

/// From here on a value does not fit into the server's column, NUMERIC(40, 10), and stops its ingester.
const TOO_LARGE: f64 = 1e30;

/// A whole number from 0 to 2^63 - 1. What has a fraction or an exponent is no integer to Python, whatever
/// its value.
pub(super) fn natural(number: &str) -> Option<u64> {
    number.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok())
}

/// An id: digits, no zero before them, below 2^32. The server looks it up as text.
pub(super) fn id(text: &str) -> Option<u32> {
    let canonical = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// Whether a number is beyond what 64 bits of floating point hold. Short ones without exponent cannot be.
pub(super) fn overflows(number: &str) -> bool {
    let plain = number.len() < 300 && !number.bytes().any(|byte| matches!(byte, b'e' | b'E'));
    !plain && number.parse::<f64>().is_ok_and(f64::is_infinite)
}

/// A value that is a number, where the server can keep it.
pub(super) fn value(number: &str) -> Result<f64, Reason> {
    let number = number.parse().unwrap_or_default();
    bounded(number).map(|()| number)
}

/// Whether the server survives a value that is a text: it makes a number of it, `" NaN"` and `"1_0"` included,
/// and leaves out what is none.
pub(super) fn value_of_text(text: &str) -> Result<(), Reason> {
    let space = |letter: char| letter.is_whitespace() || ('\x1c'..='\x1f').contains(&letter);
    let plain: String = text.trim_matches(space).chars().filter(|letter| *letter != '_').collect();
    match plain.parse() {
        Ok(number) => bounded(number),
        // Python knows the digits of every script; nobody sends values in them.
        Err(_) => {
            let numeric = |letter: char| letter.is_numeric() || matches!(letter, '+' | '-' | '.' | 'e' | 'E');
            if !plain.is_ascii() && plain.chars().all(numeric) { Err(Reason::OutOfRange) } else { Ok(()) }
        }
    }
}

fn bounded(number: f64) -> Result<(), Reason> {
    if number.is_nan() {
        Err(Reason::Nan)
    } else if number.is_infinite() {
        Err(Reason::Infinite)
    } else if number.abs() >= TOO_LARGE {
        Err(Reason::OutOfRange)
    } else {
        Ok(())
    }
}
