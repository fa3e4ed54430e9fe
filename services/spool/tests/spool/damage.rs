//! Damage of every kind: it always opens, no bad body is handed out, and what is lost is what was hit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use spool::{Disk, Report, Spool, verify};
use tempfile::TempDir;

use crate::support::{Chance, SOON, body, folder, long, read_body, small};

/// A spool that was left behind, by a crash or closed, and where each waiting record stands in it.
struct Sound {
    folder: TempDir,
    waiting: BTreeMap<(String, u64), (String, Range<usize>)>,
    acknowledged: BTreeSet<(String, u64)>,
}

fn sound(seed: u64, crashed: bool) -> Sound {
    let (folder, place) = (folder(), folder());
    let mut chance = Chance(seed);
    let (spool, _) = Spool::open(place.path(), small()).unwrap();
    let (mut waiting, mut acknowledged) = (BTreeMap::new(), BTreeSet::new());
    let mut order: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for number in 0..200 {
        let lane = format!("lane-{}", chance.below(5));
        let length = 200 + chance.below(2500) as usize;
        spool.append(&lane, number, body(&lane, number, length)).unwrap();
        order.entry(lane).or_default().push(number);
    }
    for lane in ["lane-0", "lane-1"] {
        for _ in 0..chance.below(20) {
            let record = spool.oldest(lane).unwrap().unwrap();
            spool.acknowledge(lane, record.sequence).unwrap();
            acknowledged.insert((lane.to_owned(), order.get_mut(lane).unwrap().remove(0)));
        }
    }
    spool.flush(SOON).unwrap();
    if !crashed {
        spool.close(SOON).unwrap();
    }
    for file in std::fs::read_dir(place.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        let (name, bytes) = (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap());
        // A record of data: its magic, its kind; its length stands at 8, its body at 40.
        for at in (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"\xC5Rec\x01")) {
            let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
            let told = read_body(&bytes[at + 40..at + 40 + length]).unwrap();
            if order[&told.0].contains(&told.1) {
                waiting.insert(told, (name.clone(), at..(at + 40 + length).next_multiple_of(8)));
            }
        }
    }
    assert_eq!(waiting.len(), order.values().map(Vec::len).sum::<usize>());
    Sound { folder, waiting, acknowledged }
}

/// What was done to one file: bytes that are not as they were.
type Hit = (String, Range<usize>);

fn rewrite(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = folder.join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn segments(folder: &Path) -> Vec<String> {
    let used = |name: &String| {
        name.ends_with(".seg") && std::fs::read(folder.join(name)).unwrap().iter().any(|byte| *byte != 0)
    };
    names(folder).into_iter().filter(used).collect()
}

/// One damage of a kind that the seed chooses.
fn hit(folder: &Path, chance: &mut Chance) -> (&'static str, Vec<Hit>) {
    let segments = segments(folder);
    let name = segments[chance.below(segments.len() as u64) as usize].clone();
    let length = std::fs::metadata(folder.join(&name)).unwrap().len() as usize;
    let at = chance.below(length as u64) as usize;
    let block = at..(at + 1 + chance.below(4096) as usize).min(length);
    let flip = |at: usize, bit: u64| rewrite(folder, &name, |bytes| bytes[at] ^= 1 << bit);
    match chance.below(14) {
        0 => {
            flip(at, chance.below(8));
            ("a flipped bit", vec![(name, at..at + 1)])
        }
        1 => {
            let at = chance.below(40) as usize;
            flip(at, chance.below(8));
            ("a flipped bit in a segment's head", vec![(name, at..at + 1)])
        }
        2 => {
            let at = 40 + chance.below(100) as usize;
            flip(at, chance.below(8));
            ("a flipped bit in a snapshot", vec![(name, at..at + 1)])
        }
        3 => {
            let at = length - 1 - chance.below(300.min(length as u64)) as usize;
            flip(at, chance.below(8));
            ("a flipped bit in a footer or a trailer", vec![(name, at..at + 1)])
        }
        4 => {
            rewrite(folder, &name, |bytes| bytes[block.clone()].fill(0));
            ("a zeroed stretch", vec![(name, block)])
        }
        5 => {
            rewrite(folder, &name, |bytes| bytes[block.clone()].fill_with(|| chance.next() as u8));
            ("a stretch of garbage", vec![(name, block)])
        }
        6 => {
            rewrite(folder, &name, |bytes| bytes.truncate(at));
            ("a truncated segment", vec![(name, at..length)])
        }
        7 => {
            std::fs::remove_file(folder.join(&name)).unwrap();
            ("a removed segment", vec![(name, 0..length)])
        }
        8 => {
            rewrite(folder, &name, |bytes| bytes.extend((0..5000).map(|_| chance.next() as u8)));
            ("garbage at the end", vec![])
        }
        9 => {
            let other = segments[chance.below(segments.len() as u64) as usize].clone();
            let bytes = std::fs::read(folder.join(&other)).unwrap();
            std::fs::write(folder.join(&name), bytes).unwrap();
            let hits = if other == name { vec![] } else { vec![(name, 0..length)] };
            ("another segment's bytes", hits)
        }
        10 => {
            let length = std::fs::metadata(folder.join("lanes")).unwrap().len();
            let at = chance.below(length) as usize;
            rewrite(folder, "lanes", |bytes| bytes[at] ^= 1 << chance.below(8));
            ("a flipped bit in the lanes' names", vec![])
        }
        11 => {
            let length = std::fs::metadata(folder.join("lanes")).unwrap().len();
            let at = chance.below(length) as usize;
            rewrite(folder, "lanes", |bytes| bytes.truncate(at));
            ("truncated names of the lanes", vec![])
        }
        12 => {
            std::fs::remove_file(folder.join("lanes")).unwrap();
            ("removed names of the lanes", vec![])
        }
        _ => {
            rewrite(folder, &name, |bytes| bytes.clear());
            ("an emptied segment", vec![(name, 0..length)])
        }
    }
}

/// Reads everything out of a damaged spool. What was there.
fn drain(folder: &Path) -> (Report, BTreeSet<(String, u64)>) {
    let (spool, report) = Spool::open(folder, small()).unwrap();
    let mut there = BTreeSet::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(lane) = spool.next_lane(|_| true) {
        // The rest of a lane may turn out to be damaged.
        let Some(record) = spool.oldest(&lane).unwrap() else { continue };
        let told = read_body(&record.body).expect("a bad body was handed out");
        assert_eq!(&*lane, told.0);
        assert_eq!(record.taken_ms, told.1);
        assert!(last.insert(told.0.clone(), told.1).is_none_or(|before| before < told.1), "out of order");
        assert!(there.insert(told));
        spool.acknowledge(&lane, record.sequence).unwrap();
    }
    assert!(spool.stats().balances(), "{:?}", spool.stats());
    spool.append("fresh", 1, b"fresh 1 ".to_vec()).unwrap();
    spool.close(SOON).unwrap();
    drop(spool);
    let (spool, _) = Spool::open(folder, small()).unwrap();
    assert_eq!(spool.stats().waiting.records, 1);
    (report, there)
}

fn judge(sound: &Sound, told: &str, hits: &[Hit]) -> Report {
    let verified = verify(sound.folder.path(), &Disk).unwrap();
    let (report, there) = drain(sound.folder.path());
    for (record, (file, range)) in &sound.waiting {
        let touched =
            hits.iter().any(|(name, hit)| name == file && hit.start < range.end && range.start < hit.end);
        assert!(there.contains(record) || touched, "{told}: lost {record:?} without need: {report:?}");
    }
    for record in &there {
        let known = sound.waiting.contains_key(record) || sound.acknowledged.contains(record);
        assert!(known, "{told}: unknown {record:?}");
    }
    assert!(verified.records.records >= there.len() as u64, "{told}: {verified:?}");
    report
}

#[test]
fn a_hundred_seeded_damages() {
    let first = u64::from(std::process::id()) * 1000;
    let cases = if long() { 2000 } else { 100 };
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in first..first + cases {
        let mut chance = Chance(seed);
        let sound = sound(seed, chance.below(2) == 0);
        let (kind, hits) = hit(sound.folder.path(), &mut chance);
        let told = format!("seed {seed}, {kind}");
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&sound, &told, &hits)));
        assert!(judged.is_ok(), "{told}: {hits:?}");
        *kinds.entry(kind).or_default() += 1;
    }
    println!("seeds from {first}: {kinds:?}");
}

#[test]
fn nothing_is_lost_by_bad_footers_snapshots_and_names_alone() {
    let sound = sound(1, false);
    for name in segments(sound.folder.path()) {
        rewrite(sound.folder.path(), &name, |bytes| {
            let end = bytes.len() - 4;
            bytes[end] ^= 1;
            bytes[85] ^= 1;
        });
    }
    rewrite(sound.folder.path(), "lanes", |bytes| bytes[..].fill(0xAA));
    let report = judge(&sound, "all at once", &[]);
    assert!(report.damage.names && report.damage.renamed_lanes == 5, "{report:?}");
    assert_eq!(report.damage.unnamed_lanes, 0);
    assert!(
        names(sound.folder.path())
            .iter()
            .any(|name| name.starts_with("damaged-") && name.ends_with("-lanes"))
    );
}

#[test]
fn lanes_that_cannot_be_named_are_kept_under_a_made_up_name() {
    let sound = sound(2, true);
    std::fs::remove_file(sound.folder.path().join("lanes")).unwrap();
    let options = spool::Options { name_of: std::sync::Arc::new(|_| None), ..small() };
    let (spool, report) = Spool::open(sound.folder.path(), options).unwrap();
    assert_eq!((report.damage.unnamed_lanes, report.found.records), (5, sound.waiting.len() as u64));
    assert!(spool.lanes().iter().all(|lane| lane.name.starts_with("unnamed-")));
}

#[test]
fn a_file_of_another_format_version_is_set_aside_whole() {
    let sound = sound(3, false);
    let name = segments(sound.folder.path())[1].clone();
    rewrite(sound.folder.path(), &name, |bytes| {
        bytes[8] = 9;
        let crc = crc32(&bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    });
    let length = std::fs::metadata(sound.folder.path().join(&name)).unwrap().len() as usize;
    let report = judge(&sound, "a newer version", &[(name.clone(), 0..length)]);
    assert_eq!(report.damage.files, 1);
    assert!(names(sound.folder.path()).iter().any(|n| n.starts_with("damaged-") && n.ends_with(&name)));
}

/// CRC-32 as the format has it, worked out once more.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

#[test]
fn an_emptied_segment_is_told_and_not_taken_for_a_spare() {
    for length in [0, small().segment_bytes] {
        let sound = sound(5, false);
        let name = segments(sound.folder.path())[1].clone();
        rewrite(sound.folder.path(), &name, |bytes| {
            bytes.clear();
            bytes.resize(usize::try_from(length).unwrap(), 0);
        });
        assert_eq!(verify(sound.folder.path(), &Disk).unwrap().damage.files, 1);
        let report = judge(&sound, "emptied", &[(name.clone(), 0..usize::MAX)]);
        assert_eq!(report.damage.files, 1, "{report:?}");
        let aside = |n: &String| n.starts_with("damaged-") && n.ends_with(&name);
        assert!(names(sound.folder.path()).iter().any(aside));
    }
}

#[test]
fn a_segment_with_damage_in_it_is_set_aside_when_it_is_empty_and_within_its_bound() {
    let sound = sound(4, false);
    for name in segments(sound.folder.path()) {
        // Down to the footer, so that opening reads the segment whole, whatever records stood there. The last one
        // may have been sealed almost empty.
        rewrite(sound.folder.path(), &name, |bytes| {
            if let Some(rest) = bytes.get_mut(2000..) {
                rest.fill(0x55);
            }
        });
    }
    let options = spool::Options { set_aside_max_bytes: 150 << 10, ..small() };
    let (spool, report) = Spool::open(sound.folder.path(), options).unwrap();
    assert!(report.damage.any());
    while let Some(lane) = spool.next_lane(|_| true) {
        spool.acknowledge(&lane, u64::MAX).unwrap();
    }
    spool.append("a", 0, vec![0; 100]).unwrap();
    spool.tend(SOON).unwrap();
    let kept: Vec<PathBuf> = names(sound.folder.path())
        .iter()
        .filter(|name| name.starts_with("damaged-"))
        .map(|name| sound.folder.path().join(name))
        .collect();
    let bytes: u64 = kept.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(spool.stats().set_aside_bytes, bytes);
    assert!(!kept.is_empty() && bytes <= 150 << 10, "{kept:?} {bytes}");
}
