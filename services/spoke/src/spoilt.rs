//! For tests: a made-up host's files that hold anything, for whatever reads them.

use proptest::prelude::*;
use testkit::MadeUpHost;

/// Anything at all, or the right text with a piece of it replaced by anything.
fn content(file: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let right = MadeUpHost::at_first(file).as_bytes();
    let anything = prop::collection::vec(any::<u8>(), 0..200);
    let odd = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::sample::select(vec![
            &b"18446744073709551616"[..],
            b"18446744073709551615",
            b"-1",
            b"nan",
            b"1e999",
            b"inf",
            b"\"",
            b"\\040",
            b"\\",
            b":",
            b" ",
            b"\n",
            b"\0",
            b"eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n",
            b"MemTotal: 1 kB\n",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    let spoilt = (0..=right.len(), 0..=right.len(), odd).prop_map(move |(from, to, odd)| {
        let (from, to) = (from.min(to), from.max(to));
        [&right[..from], &odd, &right[to..]].concat()
    });
    prop_oneof![1 => anything, 4 => spoilt]
}

/// A file of the made-up host, with such a content.
pub(crate) fn any_file() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let files: Vec<_> = MadeUpHost::files().collect();
    prop::sample::select(files).prop_flat_map(|file| content(file).prop_map(move |bytes| (file, bytes)))
}
