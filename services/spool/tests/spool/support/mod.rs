//! What the tests share: bodies that can be told right from wrong, a source of chance, a wait that ends.

pub(crate) mod kill;

use std::sync::Arc;
use std::time::Duration;

use spool::Options;
pub(crate) use testkit::Chance;

/// Longer than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A body of a lane: its name, its number, and bytes that follow from both.
pub(crate) fn body(lane: &str, number: u64, length: usize) -> Vec<u8> {
    let mut out = format!("{lane} {number} ").into_bytes();
    let mut chance = Chance(number ^ 0xABCD);
    while out.len() < length {
        out.extend_from_slice(&chance.next().to_le_bytes());
    }
    out.truncate(length.max(format!("{lane} {number} ").len()));
    out
}

/// The lane and the number of a body, if it is one, whole and unchanged.
pub(crate) fn read_body(bytes: &[u8]) -> Option<(String, u64)> {
    let mut parts = bytes.splitn(3, |byte| *byte == b' ');
    let lane = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let number: u64 = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    (body(&lane, number, bytes.len()) == bytes).then_some((lane, number))
}

/// Small segments, no gathering, nothing done by the clock: `taken_ms` is free for the tests' own numbers.
pub(crate) fn small() -> Options {
    Options {
        segment_bytes: 64 << 10,
        max_bytes: 64 << 20,
        max_age: Duration::MAX,
        max_lanes: 1200,
        gather: Duration::ZERO,
        tend_every: Duration::from_secs(3600),
        unreadable_after: Duration::ZERO,
        name_of: Arc::new(|bytes| read_body(bytes).map(|(lane, _)| lane)),
        ..Options::default()
    }
}

/// A folder in memory, where there is one: for tests that are not about disks.
pub(crate) fn folder() -> tempfile::TempDir {
    let shm = std::path::Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Whether the long forms are asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("SPOOL_LONG").is_some()
}
