//! The load averages, from `<proc>/loadavg`.

use agent::post::DataType;

use super::{Context, Points, text};
use crate::files::Files;
use crate::host::HostError;

const FILE: &str = "loadavg";
const KEYS: [&str; 3] = ["load_average_01min", "load_average_05min", "load_average_15min"];

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    for (key, average) in KEYS.into_iter().zip(read(context.files)?) {
        points.host(key, DataType::Gauge, average);
    }
    Ok(())
}

/// The averages of 1, 5 and 15 minutes.
pub(crate) fn read(files: &Files) -> Result<[f64; 3], HostError> {
    parse(&files.proc(FILE)?).ok_or_else(|| files.host().lacks(FILE, "three load averages"))
}

fn parse(bytes: &[u8]) -> Option<[f64; 3]> {
    let mut averages = text::words(bytes).map(|word| text::decimal(std::str::from_utf8(word).ok()?));
    Some([averages.next()??, averages.next()??, averages.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_averages_or_none() {
        assert_eq!(parse(b"0.10 12.00 3.5 1/200 4321\n"), Some([0.1, 12.0, 3.5]));
        for odd in [&b""[..], b"1 2", b"1 x 3", b"nan inf 1", b"-1 0 0", b"1 2 \xff", b"1 2 4e101"] {
            assert_eq!(parse(odd), None);
        }
    }
}
