//! How long work has waited for cpu, memory and disks, from `<proc>/pressure`. Kernels before 4.20, and many that
//! are built without it, have none.

use super::page::Kind;
use super::{Done, Round, absent_if_missing};
use crate::collect::text;

/// File, the line's first word, family, and what it says.
const LINES: [(&str, &str, &str, &str); 5] = [
    (
        "pressure/cpu",
        "some",
        "node_pressure_cpu_waiting_seconds_total",
        "Seconds in which some waited for a cpu.",
    ),
    (
        "pressure/io",
        "some",
        "node_pressure_io_waiting_seconds_total",
        "Seconds in which some waited for a disk.",
    ),
    (
        "pressure/io",
        "full",
        "node_pressure_io_stalled_seconds_total",
        "Seconds in which all waited for a disk.",
    ),
    (
        "pressure/memory",
        "some",
        "node_pressure_memory_waiting_seconds_total",
        "Seconds in which some waited for memory.",
    ),
    (
        "pressure/memory",
        "full",
        "node_pressure_memory_stalled_seconds_total",
        "Seconds in which all waited for memory.",
    ),
];

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    for (file, line, name, help) in LINES {
        let bytes = absent_if_missing(round.files.proc(file))?;
        let seconds = parse(&bytes, line).ok_or_else(|| round.files.host().lacks(file, "total"))?;
        round.page.one(name, Kind::Counter, help, seconds);
    }
    Ok(())
}

/// The seconds that the line `some` or `full` counts.
#[allow(clippy::cast_precision_loss, reason = "microseconds since boot are far below 2 to the 53rd")]
fn parse(bytes: &[u8], line: &str) -> Option<f64> {
    let found = text::lines(bytes).find(|found| text::words(found).next() == Some(line.as_bytes()))?;
    let total = text::words(found).find_map(|word| text::number(word.strip_prefix(b"total=")?))?;
    Some(total as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_microseconds() {
        let text = b"some avg10=1.53 avg60=0.87 avg300=0.73 total=1234567\nfull avg10=0.00 total=5\n";
        assert_eq!((parse(text, "some"), parse(text, "full")), (Some(1.234_567), Some(0.000_005)));
        assert_eq!((parse(b"some avg10=0\n", "some"), parse(b"", "full")), (None, None));
    }
}
