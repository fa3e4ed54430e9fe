//! History beside delivery: what it takes, how it is switched, and that nobody notices when it cannot work.

mod common;

use common::{HUB, NO_API, api, assert_balanced, folder, give};
use testkit::http::{get, metric};
use testkit::post::now_ms;
use testkit::{LIMIT, Server, ServerManner, Spoke, SpokeManner, wait_until};

/// The made-up posts have one key, which is none of the usual ones.
const SERIES: &str = "history_series: [{key: memory_used}]";

#[test]
fn polled_and_received_posts_are_samples_and_their_file_outlives_a_kill() {
    let spoke = Spoke::start("polled", SpokeManner::Answer);
    let folder = folder(NO_API, &[&spoke], 1, &["receive: true", SERIES]);
    let hub = folder.start(HUB);
    assert_eq!(metric(hub.address, "pattoo_hub_history_on", ""), 1.0);
    give(&hub, "received", now_ms());
    // Its own, the polled one and the received one.
    wait_until("three hosts are known", LIMIT, || metric(hub.address, "pattoo_hub_history_hosts", "") == 3.0);
    wait_until("the file is there", LIMIT, || metric(hub.address, "pattoo_hub_history_bytes", "") > 0.0);
    hub.kill();
    let hub = folder.start(HUB);
    wait_until("the file is used again", LIMIT, || {
        metric(hub.address, "pattoo_hub_history_works", "") == 1.0
    });
    assert_eq!(metric(hub.address, "pattoo_hub_history_set_aside_total", ""), 0.0);
}

#[test]
fn it_is_off_by_one_key_and_on_again_without_a_restart() {
    let spoke = Spoke::start("a", SpokeManner::Answer);
    let folder = folder(NO_API, &[&spoke], 1, &["history: false", SERIES]);
    let hub = folder.start(HUB);
    wait_until("polled", LIMIT, || metric(hub.address, "pattoo_hub_posts_taken_total", "") >= 2.0);
    assert_eq!(metric(hub.address, "pattoo_hub_history_on", ""), 0.0);
    assert!(!folder.cache().join("history").exists());
    common::configure(&folder, &[&spoke], 1, &["history: true", SERIES]);
    wait_until("it is on", LIMIT, || metric(hub.address, "pattoo_hub_history_samples_total", "") >= 1.0);
    assert!(folder.cache().join("history/history.sqlite").exists());
}

#[test]
fn above_2000_targets_it_is_off_unless_it_is_asked_for() {
    let targets = |number: usize| {
        let each = (0..number)
            .map(|at| format!("{{ip_address: 127.1.{}.{}, ip_bind_port: 9}}, ", at >> 8, at & 255));
        format!("ip_devices: [{}]", each.collect::<String>())
    };
    let folder = folder(NO_API, &[], 3600, &[&targets(2001)]);
    let hub = folder.start(HUB);
    let on = |wanted: f64| {
        wait_until("it is as wanted", LIMIT, || metric(hub.address, "pattoo_hub_history_on", "") == wanted);
    };
    on(0.0);
    let said = "there are more hosts than history is kept of; history: true keeps it";
    wait_until("it is said", LIMIT, || hub.logged(said) == 1);
    let page = get(hub.address, "/").text();
    assert!(page.contains("there are more than 2000 hosts; history: true switches it on"), "{page}");
    common::configure(&folder, &[], 3600, &[&targets(2001), "history: true"]);
    on(1.0);
    common::configure(&folder, &[], 3600, &[&targets(2001)]);
    on(0.0);
    common::configure(&folder, &[], 3600, &[&targets(2000)]);
    on(1.0);
    assert_eq!(hub.logged(said), 2, "{}", hub.log());
}

#[test]
fn delivery_does_not_notice_that_it_cannot_work() {
    let spoke = Spoke::start("a", SpokeManner::Answer);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[&spoke], 1, &[SERIES]);
    std::fs::create_dir_all(folder.cache()).unwrap();
    std::fs::write(folder.cache().join("history"), "a file where a folder is wanted").unwrap();
    let hub = folder.start(HUB);
    wait_until("posts arrive", LIMIT, || server.taken().len() >= 3);
    assert_eq!(metric(hub.address, "pattoo_hub_history_works", ""), 0.0);
    assert_eq!(hub.logged("the history cannot be written"), 1, "{}", hub.log());
    assert_balanced(&hub);
}
