//! A small disk that a foreign file fills up, while the server is down: the hub serves and polls on, refuses what
//! it cannot keep or drops the oldest, and goes on by itself once there is room.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use testkit::http::{get, metric, post_json};
use testkit::post::post;
use testkit::{Folder, Mount, SpokeManner, wait_until};

use crate::books::BOUNDED;
use crate::common::{HUB, assert_balanced, configure};
use crate::sources::{Agents, LONG, Sent, Spokes};
use crate::upstream::{Manner, Upstream};

const SIZE: u64 = 56 << 20;

fn full_and_freed(disk: &Mount) {
    let upstream = Upstream::start(Manner::Refuse);
    let folder = Folder::with_cache(&disk.path().join("cache"), &upstream.api());
    let mut spokes = Spokes::start((0..3).map(|number| format!("spoke-{number}")));
    configure(&folder, &spokes.listed(), 1, &[&["receive: true", "backoff_max: 1"][..], &BOUNDED].concat());
    let mut hub = folder.start(HUB);
    let mut agents = Agents::start((0..3).map(|number| format!("big-{number}")));
    agents.door(Some(hub.address));
    let mut sent = Sent::default();
    wait_until("some are taken", LONG, || agents.taken() >= 60);

    let mut filler = File::create(disk.path().join("filler")).unwrap();
    for chunk in [1 << 20, 4096] {
        while filler.write_all(&vec![1; chunk]).is_ok() {}
    }
    let dropped = || metric(hub.address, "pattoo_hub_posts_dropped_total", "\"no_space\"");
    wait_until("the disk is full", LONG, || {
        sent.extend(agents.news());
        sent.unavailable + dropped() as usize > 20
    });
    // Full as it is: nothing that was answered so far is at stake, and all else goes on.
    let polls = || metric(hub.address, "pattoo_hub_polls_total", "");
    let before = polls();
    wait_until("polls go on", LONG, || polls() >= before + 6.0);
    assert_eq!((get(hub.address, "/livez").status, get(hub.address, "/readyz").status), (200, 200));
    assert_eq!(get(hub.address, "/").status, 200);
    let harmful = String::from_utf8(post("x", 1, 5000)).unwrap().replacen("1.5", "NaN", 1);
    let answer = post_json(hub.address, "/pattoo/api/v1/agent/receive/x", harmful.as_bytes());
    let set_aside = Folder::files(&folder.cache().join("quarantine"));
    match answer.status {
        200 => assert!(set_aside.len() == 1 && set_aside[0].1 == harmful.as_bytes(), "answered and not safe"),
        status => assert!(status == 503 && answer.header("retry-after").is_some(), "{}", answer.head),
    }

    drop(filler);
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    let taken = agents.taken();
    wait_until("posts are taken again", LONG, || agents.taken() >= taken + 60);
    agents.stop();
    sent.extend(agents.news());
    assert!(sent.odd.is_empty(), "{:?}", sent.odd);
    upstream.set(Manner::Take);
    wait_until("polled posts are taken again", LONG, || {
        metric(hub.address, "pattoo_hub_targets_up", "") == 3.0
    });
    spokes.set(SpokeManner::Error);
    wait_until("nothing is polled any more", LONG, || {
        metric(hub.address, "pattoo_hub_targets_up", "") == 0.0
    });
    wait_until("nothing waits", LONG, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(&hub);
    let (lost, delivered) = (dropped(), metric(hub.address, "pattoo_hub_posts_delivered_total", ""));
    hub.terminate();
    hub.wait();
    let polled = spokes.run_ended(&hub.whole_log());
    upstream.settle();

    upstream.look(|kept| {
        kept.assert_sound();
        assert_eq!(kept.posts() as f64, delivered, "what was delivered, and nothing twice");
        let mut missing = BTreeMap::<&str, u64>::new();
        for key in sent.taken.iter().filter(|key| !kept.has(key)) {
            let newest = missing.entry(&key.0).or_default();
            *newest = key.1.max(*newest);
        }
        for (id, newest) in &missing {
            let older = kept.series[*id].iter().filter(|number| *number < newest).count();
            assert_eq!(older, 0, "{id}: the oldest go first");
        }
        let missing = sent.taken.iter().filter(|key| !kept.has(key)).count();
        assert!(missing as f64 <= lost, "{missing} are missing, {lost} were dropped");
        for polled in &polled {
            let here = polled.given.iter().filter(|key| kept.has(key)).count();
            assert!(here >= polled.taken, "the largest lanes pay, not this one: {polled:?}");
        }
        println!(
            "{}: {} taken, {} refused, {lost} dropped, {delivered} delivered",
            disk.path().display(),
            sent.taken.len(),
            sent.unavailable
        );
    });
}

#[test]
fn a_full_tmpfs_stops_nothing_and_recovers_by_itself() {
    full_and_freed(&Mount::tmpfs(SIZE));
}

#[test]
fn a_full_ext4_stops_nothing_and_recovers_by_itself() {
    full_and_freed(&Mount::image("ext4", SIZE));
}
