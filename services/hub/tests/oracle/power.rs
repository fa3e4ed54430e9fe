//! Power cuts under a whole hub: its `cache_directory` is on an ext4 whose image is a file on a btrfs, and a
//! clone of that file is the disk as it is at one moment. A hub on the clone delivers what was answered with 200,
//! or counted as taken, before cloning began, and was not delivered yet.
//!
//! The second test takes the syncs out, from below the program, and shows that the first would see it.

use std::collections::BTreeSet;
use std::path::Path;

use testkit::http::metric;
use testkit::{Chance, Folder, Mount, clone_at_once, wait_until};

use crate::books::BOUNDED;
use crate::common::{HUB, assert_balanced, configure};
use crate::sources::{Agents, LONG, Spokes};
use crate::upstream::{Key, Manner, Upstream};
use crate::{chance, told};

/// How many posts may wait until the agents pause.
const BACKLOG: usize = 600;

/// What a hub on the clone delivers to a server of its own.
fn after_the_cut(cache: &Path) -> Upstream {
    // Without a sync not even the folder need be there.
    std::fs::create_dir_all(cache).unwrap();
    let upstream = Upstream::start(Manner::Take);
    let folder = Folder::with_cache(cache, &upstream.api());
    configure(&folder, &[], 300, &[&["receive: true", "delivery_rate: 0"][..], &BOUNDED].concat());
    let hub = folder.start(HUB);
    wait_until("nothing waits", LONG, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(&hub);
    drop(hub);
    upstream.settle();
    upstream.look(|kept| kept.assert_sound());
    upstream
}

/// Cuts the power so many times. How many posts were lost, and how many a hub delivered after a cut.
fn cut(cuts: u64, mut chance: Chance, synced: bool) -> (usize, usize) {
    let outer = Mount::image("btrfs", 1 << 30);
    let image = outer.path().join("image");
    let inner = Mount::image_at("ext4", 96 << 20, &image);
    let unsynced = (!synced).then(|| Mount::unsynced(inner.path()));
    let cache = unsynced.as_ref().unwrap_or(&inner).path().join("cache");

    let upstream = Upstream::start(Manner::Take);
    let folder = Folder::with_cache(&cache, &upstream.api());
    let spokes = Spokes::start((0..5).map(|number| format!("spoke-{number}")));
    // Slowly, so that at each cut posts wait, and acknowledgements are under way too.
    let own = ["receive: true", "delivery_rate: 20"];
    configure(&folder, &spokes.listed(), 1, &[&own[..], &BOUNDED].concat());
    let hub = folder.start(HUB);
    let mut agents = Agents::start((0..4).map(|number| format!("agent-{number}")));
    agents.door(Some(hub.address));

    let mut taken = BTreeSet::<Key>::new();
    let (mut lost, mut delivered) = (0, 0);
    for number in 0..cuts {
        let wanted = agents.taken() + 1 + chance.below(150) as usize;
        wait_until("so many more are taken", LONG, || {
            agents.limit(upstream.look(|kept| kept.posts()) + BACKLOG);
            agents.taken() >= wanted
        });
        // Both numbers are of a moment before the cut.
        let polled = metric(hub.address, "pattoo_hub_posts_taken_total", "\"poll\"");
        taken.extend(agents.news().taken);
        let clone = outer.path().join(format!("cut-{number}"));
        clone_at_once(&image, &clone);
        // What had arrived by now may be acknowledged in the clone.
        let before = upstream.look(|kept| kept.series.clone());
        let disk = Mount::open(&clone);
        let place = if synced { "cache" } else { "upper/cache" };
        let after = after_the_cut(&disk.path().join(place));
        after.look(|kept| {
            delivered += kept.posts();
            let had = |(id, number): &Key| before.get(id).is_some_and(|series| series.contains(number));
            let missing = taken.iter().filter(|key| !kept.has(key) && !had(key)).count();
            let mut spokes = BTreeSet::<Key>::new();
            for (id, series) in before.iter().chain(&kept.series).filter(|(id, _)| id.starts_with("spoke")) {
                spokes.extend(series.iter().map(|number| (id.clone(), *number)));
            }
            let unpolled = (polled as usize).saturating_sub(spokes.len());
            if missing + unpolled > 0 {
                println!("cut {number}: {missing} of {} received and {unpolled} of {polled} polled posts are missing", taken.len());
            }
            lost += missing + unpolled;
        });
        drop(disk);
        std::fs::remove_file(clone).unwrap();
    }
    agents.door(None);
    agents.stop();
    drop(hub);
    (lost, delivered)
}

#[test]
fn after_a_power_cut_a_hub_delivers_all_that_was_taken() {
    let cuts = told("ORACLE_CUTS", 4);
    let (lost, delivered) = cut(cuts, chance(), true);
    println!("{cuts} power cuts: {delivered} posts delivered after them, {lost} lost");
    assert!(delivered > 0);
    assert_eq!(lost, 0);
}

#[test]
fn without_syncs_a_power_cut_is_seen_to_lose_posts() {
    // Somebody else's sync(2), as dpkg's, saves everything for once.
    let lost = (1..=5).map(|seed| cut(1, Chance(seed), false).0).find(|lost| *lost > 0);
    assert!(lost.is_some(), "the test of power cuts sees nothing");
}
