//! The spool's files: what a directory holds that is damaged, made up, or as it should be.
//!
//! Opening is never refused. What is handed out stands in the files under checksums that are right at its place, or, where the
//! damage cannot have made checksums right, was written; in a lane the sequences grow; without damage all comes back. The
//! spool is of use afterwards, and within its bounds.
//!
//! The format is written here a second time, from what the crate `spool` says of it.

mod build;
mod memory;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spool::fuzzing::read;
use spool::{Error, Options, Record, Spool, verify};
use tempfile::TempDir;

use build::{Built, Input};
use memory::Memory;

/// The smallest segment that there is.
const SEGMENT: u64 = 4096;
const MAX_BYTES: u64 = 16 * SEGMENT;

thread_local! {
    /// The lock is taken on a real folder, whatever the files are.
    static FOLDER: TempDir = TempDir::new().unwrap();
}

fn options(files: &Memory) -> Options {
    Options {
        segment_bytes: SEGMENT,
        max_bytes: MAX_BYTES,
        max_lanes: 64,
        set_aside_max_bytes: SEGMENT,
        gather: Duration::ZERO,
        gather_cursors: Duration::ZERO,
        max_age: Duration::from_secs(1 << 40),
        clock: Arc::new(|| 1_700_000_000_000),
        files: Arc::new(files.clone()),
        ..Options::default()
    }
}

/// Reads `data`: a byte of choices; then segments as they stand on disk, or what is written into some and how they are damaged.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let built =
        if choice & 1 == 0 { Built::raw(&mut input, choice & 2 != 0) } else { Built::written(&mut input) };
    let files = Memory::of(&built.files);
    let verified = verify(Path::new("/"), &files).expect("a folder that can be listed");
    // A spool that is at work has a thread, which costs more than all else: most cases do without.
    let (given, report, allocated) = if choice & 0xc0 == 0xc0 {
        let opened = FOLDER.with(|folder| Spool::open(folder.path(), options(&files)));
        let (spool, report) = opened.expect("no damage refuses opening");
        let given = all(&spool);
        is_of_use(&spool);
        (given, report, spool.stats().allocated_bytes)
    } else {
        read(Path::new("/"), &options(&files)).expect("no damage refuses opening")
    };
    assert!(given.values().map(|records| records.len() as u64).sum::<u64>() <= report.found.records);
    assert!(report.found.records <= verified.waiting.records + built.unverified(), "{report:?} {verified:?}");
    for (lane, records) in &given {
        assert!(records.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
        for record in records {
            built.knows(lane, record);
        }
    }
    built.has_all(&given);
    assert!(allocated <= MAX_BYTES + built.bytes());
}

/// Everything that a spool hands out, acknowledged one by one.
fn all(spool: &Spool) -> BTreeMap<String, Vec<Record>> {
    let mut found = BTreeMap::new();
    for lane in spool.lanes() {
        let mut records = Vec::new();
        while let Some(record) = spool.oldest(&lane.name).expect("memory can be read") {
            assert_eq!(spool.acknowledge(&lane.name, record.sequence).unwrap(), 1);
            records.push(record);
        }
        found.insert(lane.name.to_string(), records);
    }
    found
}

fn is_of_use(spool: &Spool) {
    match spool.append("fresh", 7, b"a fresh one".to_vec()) {
        Ok(sequence) => {
            let record = spool.oldest("fresh").unwrap().expect("what was just kept");
            assert_eq!((record.sequence, record.taken_ms, &*record.body), (sequence, 7, &b"a fresh one"[..]));
        }
        // As many lanes as there may be, and each holds something; no room but for what waits; numbers that are used up.
        Err(Error::TooManyLanes { .. } | Error::Full | Error::Sequences) => {}
        Err(error) => panic!("{error}"),
    }
}
