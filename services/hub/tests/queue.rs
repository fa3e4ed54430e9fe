//! `--queue` on a running hub and on a stopped one.

mod common;

use common::{HUB, NO_API, api, assert_balanced, folder};
use testkit::http::{metric, post_json};
use testkit::post::post;
use testkit::{Folder, LIMIT, Server, ServerManner, wait_until};

const RECEIVE: &str = "/pattoo/api/v1/agent/receive/x";

/// Exit status and what it printed.
fn queue(folder: &Folder, words: &[&str]) -> (i32, String) {
    let output = folder.run(HUB, &[&["--queue"], words].concat());
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), said)
}

#[test]
fn a_running_hub_and_a_stopped_one_list_verify_and_purge() {
    let folder = folder(NO_API, &[], 300, &["receive: true"]);
    let mut hub = folder.start(HUB);
    for (id, stamp) in [("a", 1), ("a", 2), ("b", 1)] {
        assert_eq!(post_json(hub.address, RECEIVE, &post(id, stamp, 10)).status, 200);
    }
    let nan = String::from_utf8_lossy(&post("a", 3, 0)).replacen("1.5", "NaN", 1).into_bytes();
    assert_eq!(post_json(hub.address, RECEIVE, &nan).status, 200);
    let socket = folder.run_directory().join("pattoo_agent_os_hubd.queue.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let seen = |(status, said): (i32, String)| {
        assert_eq!(status, 0, "{said}");
        for part in
            ["lane a posts 2 ", "lane b posts 1 ", "-nan.body", "3 posts wait", "1 bodies are set aside"]
        {
            assert!(said.contains(part), "{said}");
        }
    };
    seen(queue(&folder, &["list"]));
    assert!(queue(&folder, &["verify"]).1.contains("no damage"));
    let (status, said) = queue(&folder, &["purge", "c"]);
    assert!(status == 1 && said.contains("c: no such lane"), "{said}");
    assert_eq!(queue(&folder, &["purge", "b"]), (0, "lane b: 1 posts dropped\n".to_owned()));
    assert_eq!(metric(hub.address, "pattoo_hub_posts_dropped_total", "reason=\"purged\""), 1.0);
    assert_balanced(&hub);
    hub.terminate();
    hub.wait();
    assert!(!socket.exists());

    let (status, said) = queue(&folder, &["list"]);
    assert!(status == 0 && said.contains("lane a posts 2 ") && !said.contains("lane b"), "{said}");
    assert_eq!(queue(&folder, &["purge", "a"]).0, 0);
    assert!(queue(&folder, &["list"]).1.contains("0 posts wait"));
    let (status, said) = queue(&folder, &["drop"]);
    assert!(status != 0 && said.contains("list | verify | purge"), "{said}");
}

#[test]
fn a_post_goes_back_unless_its_lane_has_newer_ones() {
    let server = Server::start(ServerManner::ErrorTo("bad"));
    let folder = folder(&api(&server), &[], 300, &["receive: true", "backoff_max: 1", "max_attempts: 1"]);
    let hub = folder.start(HUB);
    assert_eq!(post_json(hub.address, RECEIVE, &post("good", 1, 0)).status, 200);
    assert_eq!(post_json(hub.address, RECEIVE, &post("bad", 1, 0)).status, 200);
    let quarantine = folder.cache().join("quarantine");
    // What is being written has another ending.
    let set_aside = || -> Vec<String> {
        let files = Folder::files(&quarantine).into_iter().map(|(name, _)| name);
        files.filter(|name| name.ends_with(".body")).collect()
    };
    wait_until("the refused post is set aside", LIMIT, || set_aside().len() == 1);
    let name = set_aside().remove(0);
    server.set(ServerManner::Take);

    let (status, said) = queue(&folder, &["requeue", "nothing"]);
    assert!(status == 1 && said.contains("nothing: no such file"), "{said}");
    let (status, said) = queue(&folder, &["requeue", &name]);
    assert!(status == 0 && said.contains("put back at the end of lane bad"), "{said}");
    wait_until("it arrives", LIMIT, || server.taken_by_agent().contains_key("bad"));
    assert!(set_aside().is_empty());

    // Now one whose lane has delivered a newer one. The server is known to take others.
    assert_eq!(post_json(hub.address, RECEIVE, &post("good", 2, 0)).status, 200);
    // The canary is a good one as well, sent once more or not: it is the new one that is waited for.
    let good = post("good", 2, 0);
    wait_until("a good one is taken", LIMIT, || server.taken_by_agent()["good"].contains(&good));
    server.set(ServerManner::ErrorTo("bad"));
    assert_eq!(post_json(hub.address, RECEIVE, &post("bad", 2, 0)).status, 200);
    wait_until("the refused post is set aside", LIMIT, || set_aside().len() == 1);
    let name = set_aside().remove(0);
    server.set(ServerManner::Take);
    assert_eq!(post_json(hub.address, RECEIVE, &post("bad", 3, 0)).status, 200);
    wait_until("the newer one arrives", LIMIT, || server.taken_by_agent()["bad"].len() == 2);
    wait_until("the newer one is acknowledged", LIMIT, || {
        metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0
    });
    let (status, said) = queue(&folder, &["requeue", &name]);
    assert!(status == 1 && said.contains("has delivered newer posts") && said.contains("--anyway"), "{said}");
    assert_eq!(queue(&folder, &["requeue", &name, "--anyway"]).0, 0);
    wait_until("it arrives all the same", LIMIT, || server.taken_by_agent()["bad"].len() == 3);
}
