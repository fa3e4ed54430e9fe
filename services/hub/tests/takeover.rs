//! What the original hub left behind goes up before anything fresh, oldest first; half-written files are set
//! aside.

mod common;

use common::{HUB, api, assert_balanced, folder};
use testkit::{Folder, LIMIT, Server, ServerManner, Spoke, SpokeManner, post, wait_until};

const HUB_ID: &str = "4e4021a8230f7961f2840b2b7c79f1cac44da2421a1bb6a8c1fc0a6ebd7bd3ca";

#[test]
fn the_backlog_of_the_original_goes_up_first_and_in_order() {
    let spoke = Spoke::start("a", SpokeManner::Answer);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[&spoke], 1, &[]);
    let ids = folder.daemon().join("agent_id");
    std::fs::create_dir_all(&ids).unwrap();
    std::fs::write(ids.join("pattoo_agent_os_hubd.agent_id"), HUB_ID).unwrap();
    let cache = folder.cache().join(HUB_ID);
    std::fs::create_dir_all(&cache).unwrap();
    let left: Vec<Vec<u8>> = (1..=20).map(|stamp| post::post("a", stamp, 100)).collect();
    // Written in another order than that of their stamps, which have not all as many digits.
    for (at, body) in left.iter().enumerate().rev() {
        std::fs::write(cache.join(format!("{}_{HUB_ID}.json", 95 + at)), body).unwrap();
    }
    std::fs::write(cache.join(format!("200_{HUB_ID}.json")), &left[0][..left[0].len() / 2]).unwrap();

    let hub = folder.start(HUB);
    wait_until("the backlog and a fresh post arrive", LIMIT, || server.taken().len() > left.len());
    let taken: Vec<Vec<u8>> = server.taken().into_iter().map(|request| request.body).collect();
    assert_eq!(taken[..left.len()], left);
    assert!(post::stamp(&taken[left.len()]) > 20);
    assert!(!cache.exists());
    let aside = Folder::files(&folder.cache().join("quarantine"));
    assert_eq!(aside.len(), 1);
    assert!(aside[0].0.ends_with("-not_json.body") && aside[0].1 == left[0][..left[0].len() / 2]);
    spoke.set(SpokeManner::Error);
    assert_balanced(&hub);
    drop(hub);

    // A second start finds nothing to take over.
    let hub = folder.start(HUB);
    assert_eq!(hub.logged("took over"), 0);
}
