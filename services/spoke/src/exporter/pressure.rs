//! How long work has waited for cpu, memory and disks, from `<proc>/pressure`. Kernels before 4.20, and many that
//! are built without it, have none.

use super::page::Kind;
use super::{Done, Round, absent_if_missing};
use crate::collect::text;
use crate::files::Files;
use crate::host::HostError;

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

/// How long something was waited for, as the kernel sums it up.
#[derive(Debug)]
pub(crate) struct Share {
    /// `cpu`, `io` or `memory`.
    pub(crate) on: &'static str,
    /// `some` or `full`: whether some waited, or all.
    pub(crate) who: &'static str,
    /// Of the last 10, 60 and 300 seconds, in percent.
    pub(crate) of: [f64; 3],
}

/// What is waited for now; nothing where the kernel tells nothing of the kind.
///
/// # Errors
/// A file cannot be read, or lacks its line.
pub(crate) fn shares(files: &Files) -> Result<Vec<Share>, HostError> {
    let mut found = Vec::with_capacity(LINES.len());
    for (file, line, ..) in LINES {
        let bytes = match files.proc(file) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let of = averages(&bytes, line).ok_or_else(|| files.host().lacks(file, "avg10, avg60 and avg300"))?;
        found.push(Share { on: file.strip_prefix("pressure/").unwrap_or(file), who: line, of });
    }
    Ok(found)
}

/// The shares that the line `some` or `full` tells.
fn averages(bytes: &[u8], line: &str) -> Option<[f64; 3]> {
    let found = text::lines(bytes).find(|found| text::words(found).next() == Some(line.as_bytes()))?;
    let average = |name: &str| {
        let word = text::words(found).find_map(|word| word.strip_prefix(name.as_bytes()))?;
        std::str::from_utf8(word).ok()?.parse().ok().filter(|share: &f64| (0.0..=100.0).contains(share))
    };
    Some([average("avg10=")?, average("avg60=")?, average("avg300=")?])
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
        assert_eq!(averages(text, "some"), Some([1.53, 0.87, 0.73]));
        let odd = b"some avg10=nan avg60=0 avg300=0\nfull avg10=101 avg60=0 avg300=0\n";
        assert_eq!(
            (averages(text, "full"), averages(odd, "some"), averages(odd, "full")),
            (None, None, None)
        );
    }
}
