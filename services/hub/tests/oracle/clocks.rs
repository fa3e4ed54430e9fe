//! The hub's clock, set back and forth by an hour while the hub is killed and the server fails: the books balance,
//! nothing is set aside, nothing waits for ever.

use std::time::Duration;
use testkit::http::metric;

use testkit::post::now_ms;
use testkit::{Folder, wait_until};

use crate::books::BOUNDED;
use crate::common::{HUB, assert_balanced, configure, give};
use crate::site::Site;
use crate::sources::LONG;
use crate::upstream::{Manner, Upstream};
use crate::{chance, told};

const HOUR: i64 = 3_600_000;

#[test]
fn a_clock_that_jumps_by_an_hour_costs_nothing_whatever_dies() {
    let (mut site, kills) = (Site::new(chance()), told("ORACLE_KILLS", 20) / 4);
    site.set_clock(&[0, HOUR, -HOUR]);
    let mut found = site.kills(kills);
    // Longer than a lane has to be ahead before something of it may be set aside: two intervals.
    site.set_clock(&[-HOUR]);
    found = site.life(Duration::from_secs(4), found, true);
    println!("{kills} kills: {:?}", site.finish(found));
}

#[test]
fn what_a_jump_makes_older_than_max_age_goes_and_is_counted() {
    let upstream = Upstream::start(Manner::Refuse);
    let folder = Folder::in_memory(&upstream.api());
    let own = ["receive: true", "backoff_max: 1", "max_age: 1800"];
    configure(&folder, &[], 300, &[&own[..], &BOUNDED].concat());
    folder.shift_clock(-HOUR);
    let hub = folder.start_with_shifted_clock(HUB);
    let dropped = || metric(hub.address, "pattoo_hub_posts_dropped_total", "\"max_age\"");
    let mut number = now_ms() - 1000;
    let mut give_some = || {
        for _ in 0..5 {
            number += 1;
            give(&hub, "a", number);
        }
    };
    for (shift, old) in [(-HOUR, 0.0), (0, 5.0), (HOUR, 10.0)] {
        folder.shift_clock(shift);
        wait_until("what is older by this clock is gone", LONG, || dropped() == old);
        give_some();
    }
    // What was taken an hour from now waits no longer than the rest.
    folder.shift_clock(0);
    upstream.set(Manner::Take);
    wait_until("nothing waits", LONG, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(&hub);
    assert_eq!(dropped(), 10.0);
    upstream.look(|kept| {
        kept.assert_sound();
        assert_eq!(kept.posts(), 5);
    });
}
