//! What interfaces sent and received, from the host's own `net/dev`.
//!
//! `<proc>/net` is a link to the reader's network, so the host's first process is looked at.

use agent::post::DataType;

use super::points::Instance;
use super::{Context, Exclude, Points, text};
use crate::files::Files;
use crate::host::HostError;

const KEYS: [&str; 8] = [
    "network_io_bytes_sent",
    "network_io_bytes_recv",
    "network_io_packets_sent",
    "network_io_packets_recv",
    "network_io_errin",
    "network_io_errout",
    "network_io_dropin",
    "network_io_dropout",
];

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    each(context.files, context.exclude, |name, counts| {
        let interface = Instance::trailing("network_io_interface", name);
        for (key, count) in KEYS.into_iter().zip(counts) {
            points.of(&interface, key, DataType::Counter, count);
        }
    })
}

/// Calls `take` for each interface with its name and its counts, in the order of [`KEYS`].
pub(crate) fn each(
    files: &Files,
    exclude: &Exclude,
    mut take: impl FnMut(String, [u64; 8]),
) -> Result<(), HostError> {
    let bytes = files.of_init("net/dev")?;
    for (name, numbers) in text::lines(&bytes).filter_map(parse) {
        let name = text::printable(name);
        if !exclude.network(&name) {
            take(name, counts(numbers));
        }
    }
    Ok(())
}

/// Name and numbers in the kernel's order; none for the headers and any line of another shape.
pub(crate) fn parse(line: &[u8]) -> Option<(&[u8], [u64; 16])> {
    // A name may hold colons (aliases of old), the counts hold none.
    let colon = line.iter().rposition(|byte| *byte == b':')?;
    let (name, numbers) = line.split_at_checked(colon)?;
    let (numbers, count) = text::numbers(numbers.get(1..)?)?;
    // The last four are sent in no post, and a kernel that lacks them has all that is.
    (count >= 12).then_some((name.trim_ascii(), numbers))
}

/// Counts in the order of [`KEYS`].
fn counts(numbers: [u64; 16]) -> [u64; 8] {
    let [bytes_recv, packets_recv, errin, dropin, _, _, _, _, bytes_sent, packets_sent, errout, dropout, ..] =
        numbers;
    [bytes_sent, bytes_recv, packets_sent, packets_recv, errin, errout, dropin, dropout]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_in_the_order_of_the_keys() {
        let parse = |line| parse(line).map(|(name, numbers)| (name, counts(numbers)));
        let line = b"  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
        assert_eq!(parse(line), Some((&b"eth0"[..], [9, 1, 10, 2, 3, 11, 4, 12])));
        let glued = b"eth0:1:100 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
        assert_eq!(parse(glued).map(|(name, counts)| (name, counts[1])), Some((&b"eth0:1"[..], 100)));
    }

    #[test]
    fn headers_and_odd_lines_are_passed_over() {
        for odd in [
            &b"Inter-|   Receive                                                |  Transmit"[..],
            b" face |bytes    packets errs drop fifo frame compressed multicast|bytes",
            b"eth0: 1 2 3",
            b"eth0: a 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
            b"",
        ] {
            assert_eq!(parse(odd), None);
        }
    }
}
