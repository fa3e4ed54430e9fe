//! Numbers as people read them, in pages. `assets/live.js` writes them alike.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// What stands where there is no number.
pub const NONE: &str = "\u{2013}";

/// Bytes, such as `1.5 GiB`.
pub fn bytes(bytes: f64) -> String {
    let (mut rest, mut units) = (bytes, UNITS.iter());
    let mut unit = units.next().copied().unwrap_or_default();
    // 1023.95 would be written as 1024.0.
    while rest >= 1023.95 {
        let Some(larger) = units.next() else { break };
        (rest, unit) = (rest / 1024.0, larger);
    }
    if unit == "B" { format!("{rest:.0} {unit}") } else { format!("{rest:.1} {unit}") }
}

/// Bytes a second, such as `1.5 MiB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// A share, such as `12.5 %`.
pub fn percent(percent: f64) -> String {
    format!("{percent:.1} %")
}

/// Seconds, in the two largest units, such as `3 d 4 h`.
pub fn duration(seconds: u64) -> String {
    const PARTS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let counts = PARTS.map(|(length, unit)| {
        let count = rest / length;
        rest %= length;
        (count, unit)
    });
    let first = counts.iter().position(|(count, _)| *count > 0).unwrap_or(counts.len() - 1);
    let words: Vec<_> =
        counts.iter().skip(first).take(2).map(|(count, unit)| format!("{count} {unit}")).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, words) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1023.96, "1.0 KiB"),
            (1_572_864.0, "1.5 MiB"),
            (1_048_575.0, "1.0 MiB"),
            (2f64.powi(60), "1.0 EiB"),
            (2f64.powi(72), "4096.0 EiB"),
        ] {
            assert_eq!(bytes(number), words);
        }
        assert_eq!((rate(2048.0), percent(12.55)), ("2.0 KiB/s".to_owned(), "12.6 %".to_owned()));
        for (seconds, words) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7200, "2 h 0 min"), (273_600, "3 d 4 h")]
        {
            assert_eq!(duration(seconds), words);
        }
    }
}
