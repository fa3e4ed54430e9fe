//! Damage in what a stopped hub left behind: it always starts, what is lost is what was hit, the rest is delivered
//! in order, nothing altered goes up, and what is damaged is set aside under a dated name.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::http::{metric, post_json};
use testkit::post::post;
use testkit::{Chance, Folder, wait_until};

use crate::books::{BOUNDED, waiting};
use crate::common::{HUB, assert_balanced, configure, give};
use crate::sources::{Agents, LONG};
use crate::upstream::{Key, Manner, Upstream};
use crate::{chance, told};

/// A record of data: its magic and its kind. Its length stands at 8, its body at 40.
const DATA: &[u8] = b"\xC5Rec\x01";
const HEAD: usize = 40;

/// What a hub left behind when it was stopped or killed: lanes that wait, a canary, a body that was set aside.
struct Left {
    cache: TempDir,
    waiting: HashSet<Key>,
    killed: bool,
}

fn left(killed: bool) -> Left {
    let upstream = Upstream::start(Manner::Take);
    let folder = Folder::in_memory(&upstream.api());
    configure(&folder, &[], 300, &[&["receive: true", "backoff_max: 1"][..], &BOUNDED].concat());
    let mut hub = folder.start(HUB);
    give(&hub, "first", 1);
    wait_until("there is a canary", LONG, || {
        folder.cache().join("canary").exists() && metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0
    });
    upstream.set(Manner::Refuse);
    let harmful = String::from_utf8(post("x", 1, 0)).unwrap().replacen("1.5", "NaN", 1);
    assert_eq!(post_json(hub.address, "/pattoo/api/v1/agent/receive/x", harmful.as_bytes()).status, 200);
    let mut agents = Agents::start((0..5).map(|number| format!("big-{number}")));
    agents.limit(120);
    agents.door(Some(hub.address));
    wait_until("all wait", LONG, || agents.taken() >= 120);
    agents.stop();
    if !killed {
        hub.terminate();
        hub.wait();
    }
    hub.kill();
    let cache = tempfile::tempdir_in("/dev/shm").unwrap();
    copy(&folder.cache(), cache.path());
    let waiting: HashSet<Key> = waiting(cache.path()).into_iter().collect();
    assert!(waiting.len() >= 120 && segments(cache.path()).len() >= 3);
    Left { cache, waiting, killed }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The files of a folder whose names contain `part`, but for empty ones and spares.
fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let used = |path: &PathBuf| {
        path.to_string_lossy().contains(part)
            && path.is_file()
            && std::fs::read(path).unwrap().iter().any(|byte| *byte != 0)
    };
    let mut files: Vec<PathBuf> = files.filter(used).collect();
    files.sort();
    files
}

fn segments(cache: &Path) -> Vec<PathBuf> {
    files(&cache.join("spool"), ".seg")
}

/// Where the records of a segment stand, whose bodies are at `HEAD` and later in them.
fn records(bytes: &[u8]) -> Vec<Range<usize>> {
    let at = (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(DATA));
    at.map(|at| {
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        at..(at + HEAD + length).next_multiple_of(8)
    })
    .collect()
}

/// One thing that happens to a file: where, and to which bytes of it (`None`: it is cut there).
#[derive(Debug)]
struct Hit {
    what: String,
    file: PathBuf,
    at: usize,
    cut: bool,
}

impl Hit {
    fn new(what: &str, file: &Path, at: usize, cut: bool) -> Self {
        Self { what: what.to_owned(), file: file.to_owned(), at, cut }
    }

    /// Does it. How many records it may cost, and whether it may look as a write that a kill has cut short: then
    /// nobody knows that there is damage.
    fn strike(&self, cache: &Path, killed: bool) -> (usize, bool) {
        let newest = segments(cache).last() == Some(&self.file);
        let mut bytes = std::fs::read(&self.file).unwrap();
        let hit = if self.cut { self.at..bytes.len() } else { self.at..self.at + 1 };
        let is_segment = self.file.extension().is_some_and(|end| end == "seg");
        let records = if is_segment { records(&bytes) } else { Vec::new() };
        if self.cut {
            bytes.truncate(self.at);
        } else {
            bytes[self.at] ^= 0x10;
        }
        std::fs::write(&self.file, bytes).unwrap();
        let cost = records.iter().filter(|record| record.start < hit.end && hit.start < record.end).count();
        let at_the_end = records.last().is_some_and(|last| hit.end > last.start);
        (cost, newest && at_the_end && (self.cut || killed))
    }
}

/// The table.
fn named(cache: &Path) -> Vec<Hit> {
    let segments = segments(cache);
    let (sealed, newest) = (&segments[0], &segments[segments.len() - 1]);
    let bytes = std::fs::read(sealed).unwrap();
    let (length, records) = (bytes.len(), records(&bytes));
    let (first, middle) = (&records[0], &records[records.len() / 2]);
    let last = self::records(&std::fs::read(newest).unwrap()).pop().unwrap();
    let names = &files(&cache.join("spool"), "lanes")[0];
    let aside = &files(&cache.join("quarantine"), ".body")[0];
    let canary = cache.join("canary");
    let half = |path: &Path| std::fs::metadata(path).unwrap().len() as usize / 2;
    vec![
        Hit::new("the magic of a segment", sealed, 0, false),
        Hit::new("the version of a segment", sealed, 8, false),
        Hit::new("the snapshot of a segment", sealed, HEAD + HEAD + 4, false),
        Hit::new("the magic of a record", sealed, middle.start, false),
        Hit::new("the length of a record", sealed, middle.start + 8, false),
        Hit::new("the lane of a record", sealed, middle.start + 16, false),
        Hit::new("the body of a record", sealed, middle.start + HEAD + 1000, false),
        Hit::new("the body of the first record", sealed, first.start + HEAD, false),
        Hit::new("the body of the last record of all", newest, last.start + HEAD + 10, false),
        Hit::new("the footer of a segment", sealed, length - 200, false),
        Hit::new("the trailer of a segment", sealed, length - 4, false),
        Hit::new("a segment cut in a record", sealed, middle.start + HEAD + 100, true),
        Hit::new("a segment cut in its head", sealed, 20, true),
        Hit::new("a segment cut to nothing", sealed, 0, true),
        Hit::new("the newest segment cut in its last record", newest, last.end - 100, true),
        Hit::new("the head of the names", names, 2, false),
        Hit::new("the names", names, half(names), false),
        Hit::new("the names cut", names, half(names), true),
        Hit::new("the names cut to nothing", names, 0, true),
        Hit::new("the canary", &canary, half(&canary), false),
        Hit::new("the canary cut", &canary, half(&canary), true),
        Hit::new("a body that was set aside", aside, half(aside), false),
        Hit::new("a body that was set aside, cut to nothing", aside, 0, true),
    ]
}

/// Something that chance does to one of the files.
fn random(cache: &Path, chance: &mut Chance) -> Hit {
    let mut all = files(&cache.join("spool"), "");
    all.extend(files(cache, ""));
    let file = &all[chance.below(all.len() as u64) as usize];
    let length = std::fs::metadata(file).unwrap().len();
    let (at, cut) = (chance.below(length) as usize, chance.below(3) == 0);
    Hit::new(&format!("{} at {at}, cut: {cut}", file.display()), file, at, cut)
}

/// Lets a hub find a copy of what was left, damaged. How many posts were lost.
fn survive(left: &Left, choose: impl FnOnce(&Path) -> Hit) -> usize {
    let upstream = Upstream::start(Manner::Take);
    let folder = Folder::in_memory(&upstream.api());
    configure(&folder, &[], 300, &[&["receive: true", "delivery_rate: 0"][..], &BOUNDED].concat());
    copy(left.cache.path(), &folder.cache());
    let hit = choose(&folder.cache());
    let (what, (most, torn)) = (&hit.what, hit.strike(&folder.cache(), left.killed));
    let hub = folder.start(HUB);
    wait_until(what, LONG, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(&hub);
    give(&hub, "fresh", 1);
    wait_until("a fresh one flows", LONG, || upstream.look(|kept| kept.series.contains_key("fresh")));
    wait_until("nothing waits", LONG, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    let log = hub.kill();
    upstream.settle();
    upstream.look(|kept| {
        kept.assert_sound();
        let lost = left.waiting.iter().filter(|key| !kept.has(key)).count();
        let known = |key: &Key| left.waiting.contains(key) || ["fresh", "first"].contains(&&*key.0);
        assert!(kept.arrivals.iter().all(|arrival| known(&arrival.key)), "{what}");
        assert!(lost <= most, "{what}: {lost} posts are lost, and {most} were hit\n{log}");
        if lost > 0 && !torn {
            let told = log.contains("damage");
            let mut aside: Vec<String> =
                Folder::files(&folder.cache().join("spool")).into_iter().map(|(name, _)| name).collect();
            aside.retain(|name| name.starts_with("damaged-"));
            assert!(told && !aside.is_empty(), "{what}: {lost} lost, and set aside is {aside:?}\n{log}");
        }
        lost
    })
}

#[test]
fn each_damage_of_the_table_costs_no_more_than_what_it_hit() {
    let left = left(false);
    let mut lost = Vec::new();
    for at in 0..named(left.cache.path()).len() {
        lost.push(survive(&left, |cache| named(cache).swap_remove(at)));
    }
    println!("lost: {lost:?}");
    assert!(lost.contains(&0) && lost.contains(&1));
}

#[test]
fn damage_at_random_costs_no_more_than_what_it_hit() {
    let (left, mut chance) = (left(true), chance());
    let damages = told("ORACLE_DAMAGES", 6);
    let lost: usize = (0..damages).map(|_| survive(&left, |cache| random(cache, &mut chance))).sum();
    println!("{damages} damages: {lost} posts lost of {} each", left.waiting.len());
}
