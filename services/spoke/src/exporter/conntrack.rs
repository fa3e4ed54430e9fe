//! How many connections the kernel tracks, from `<proc>/1/net/stat/nf_conntrack`.
//!
//! `<proc>/sys/net` answers for the reader's network, whichever `/proc` it stands in; only the limit is one for all
//! networks. So the entries are those of the host's first process.

use super::page::Kind;
use super::{Done, Nothing, Round, absent_if_missing};
use crate::collect::text;

const FILE: &str = "net/stat/nf_conntrack";

/// What is summed up over the cpus: the kernel's name, and what it says.
const STATS: [(&str, &str); 8] = [
    ("found", "Searched entries which were found."),
    ("invalid", "Packets which can not be tracked."),
    ("ignore", "Packets seen which are already connected to an entry."),
    ("insert", "Entries inserted into the list."),
    ("insert_failed", "Entries for which insertion was attempted and failed."),
    ("drop", "Packets dropped since tracking failed."),
    ("early_drop", "Entries dropped to make room for new ones, where the table was full."),
    ("search_restart", "Look-ups which had to be restarted since the table was resized."),
];

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, .. } = round;
    let tracked = match files.of_init(FILE) {
        Ok(bytes) => parse(&bytes).ok_or_else(|| files.host().lacks(FILE, "row of numbers"))?,
        // A kernel without connection tracking, or a first process that may not be looked at?
        Err(error) if error.is_not_found() => {
            files.of_init("net/dev")?;
            return Err(Nothing::Absent);
        }
        Err(error) => return Err(error.into()),
    };
    let limit = absent_if_missing(files.proc("sys/net/netfilter/nf_conntrack_max"))?;
    let limit = text::number(limit.trim_ascii())
        .ok_or_else(|| files.host().lacks("sys/net/netfilter/nf_conntrack_max", "number"))?;
    page.one(
        "node_nf_conntrack_entries",
        Kind::Gauge,
        "Entries in the table of tracked connections.",
        tracked.entries,
    );
    page.one("node_nf_conntrack_entries_limit", Kind::Gauge, "Entries that the table may have.", limit);
    for ((name, help), sum) in STATS.into_iter().zip(tracked.sums) {
        page.one(&format!("node_nf_conntrack_stat_{name}"), Kind::Gauge, help, sum);
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Tracked {
    entries: u64,
    sums: [u64; STATS.len()],
}

/// A line of names, then one of hexadecimal numbers for each cpu. Kernels differ in which names there are.
fn parse(bytes: &[u8]) -> Option<Tracked> {
    let mut lines = text::lines(bytes);
    let names: Vec<_> = text::words(lines.next()?).collect();
    let mut tracked = None;
    for line in lines {
        let hex = |word| u64::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok();
        let numbers = text::words(line).map(hex).collect::<Option<Vec<_>>>()?;
        let of = |name: &str| {
            let at = names.iter().position(|found| *found == name.as_bytes())?;
            numbers.get(at).copied()
        };
        // The entries are those of all cpus, told in each line.
        let known = tracked.get_or_insert(Tracked { entries: of("entries")?, sums: [0; STATS.len()] });
        for ((name, _), sum) in STATS.into_iter().zip(&mut known.sums) {
            *sum = sum.saturating_add(of(name).unwrap_or(0));
        }
    }
    tracked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpus_are_summed_up_and_the_entries_are_not() {
        let text = b"entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop search_restart\n\
            000000aa  00000000 00000001 0 00000002 3 0 0 4 5 6 7 00000008\n000000aa 0 00000010 0 2 3 0 0 4 5 6 7 8\n";
        assert_eq!(parse(text), Some(Tracked { entries: 0xaa, sums: [0x11, 4, 6, 8, 10, 12, 14, 16] }));
        assert_eq!(parse(b"entries found\n1 2\n").map(|tracked| tracked.sums[0]), Some(2));
        for odd in [&b""[..], b"entries\n", b"found\n1\n", b"entries\nx\n"] {
            assert_eq!(parse(odd), None);
        }
    }
}
