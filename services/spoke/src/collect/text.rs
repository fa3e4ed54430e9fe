//! Reading the kernel's text: bytes, since names in it need not be UTF-8.

/// The lines of a file, without their ends.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The words of a line, between blanks.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A whole number in decimal digits; none where there is anything else or it does not fit.
pub fn number(word: &[u8]) -> Option<u64> {
    let digit = |sum: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if word.is_empty() { None } else { word.iter().try_fold(0, digit) }
}

/// The first word of a line, and what stands behind it.
pub fn first_word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    (end > 0).then(|| line.split_at(end))
}

/// The first numbers of a line of numbers, and how many there are; none where there is anything else.
pub fn numbers<const N: usize>(line: &[u8]) -> Option<([u64; N], usize)> {
    let (mut found, mut count, mut current) = ([0; N], 0, None::<u64>);
    // A blank at the end ends the last one.
    for byte in line.iter().chain(b" ") {
        if byte.is_ascii_digit() {
            current = Some(current.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(byte - b'0'))?);
        } else if !byte.is_ascii_whitespace() {
            return None;
        } else if let Some(number) = current.take() {
            if let Some(place) = found.get_mut(count) {
                *place = number;
            }
            count += 1;
        }
    }
    Some((found, count))
}

/// The number behind the first line that begins with the word `key`.
pub fn value_of(bytes: &[u8], key: &[u8]) -> Option<u64> {
    lines(bytes).find_map(|line| {
        let rest = line.trim_ascii_start().strip_prefix(key)?;
        let is_whole = rest.first().is_none_or(u8::is_ascii_whitespace);
        is_whole.then(|| words(rest).next().and_then(number))?
    })
}

/// A number with decimals that something measured can have. More than 64 bits hold is a fault of whoever wrote it, and the
/// server refuses the whole post for it.
pub fn decimal(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number| (0.0..=u64::MAX as f64).contains(number))
}

/// Text that can be sent: bytes that are no UTF-8 are written `\xNN`.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Rounds to one decimal as Python's `round` does: by the exact value, a tie to the even digit.
pub fn one_decimal(value: f64) -> f64 {
    format!("{value:.1}").parse().unwrap_or(value)
}

/// `part` of `whole` in percent with one decimal; 0 where there is no whole.
#[allow(clippy::cast_precision_loss, reason = "the original's own arithmetic, in floats")]
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { one_decimal(part as f64 / whole as f64 * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_are_written_out() {
        assert_eq!(printable(b"/mnt/\xff\xc3\xa4\xc3"), "/mnt/\\xff\u{e4}\\xc3");
    }

    #[test]
    fn rounding_is_pythons() {
        for (value, rounded) in [(6.25, 6.2), (6.35, 6.3), (0.05, 0.1), (99.95, 100.0), (12.0, 12.0)] {
            assert_eq!(one_decimal(value).to_bits(), f64::to_bits(rounded), "{value}");
        }
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        for (word, value) in [("0", Some(0)), ("007", Some(7)), ("18446744073709551615", Some(u64::MAX))] {
            assert_eq!(number(word.as_bytes()), value);
        }
        for odd in ["", "+1", "-1", "1.0", "1x", "18446744073709551616", "99999999999999999999"] {
            assert_eq!(number(odd.as_bytes()), None, "{odd:?}");
        }
        assert_eq!(numbers(b" 1\t2  3 "), Some(([1, 2], 3)));
        assert_eq!(numbers(b"1"), Some(([1, 0], 1)));
        assert_eq!(numbers::<2>(b""), Some(([0, 0], 0)));
        for odd in [&b"1 2 x"[..], b"1 -2", b"1 18446744073709551616"] {
            assert_eq!(numbers::<2>(odd), None);
        }
        assert_eq!(first_word(b"  a bc d"), Some((&b"a"[..], &b" bc d"[..])));
        assert_eq!((first_word(b"a"), first_word(b" ")), (Some((&b"a"[..], &b""[..])), None));
    }

    #[test]
    fn a_key_is_a_whole_word() {
        let bytes = b"intrusive 1\nintr 2 3\n";
        assert_eq!(value_of(bytes, b"intr"), Some(2));
        assert_eq!(value_of(bytes, b"int"), None);
        assert_eq!(value_of(b"intr -4\n", b"intr"), None);
    }
}
