//! The receiving side: each row of the agent API's table, and the stand-in for a server.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{HUB, NO_API, api, assert_balanced, folder};
use testkit::http::{get, metric, post_json, send, try_send};
use testkit::post::post;
use testkit::{Folder, LIMIT, Program, Server, ServerManner, Spoke, SpokeManner, wait_until};

const RECEIVE: &str = "/pattoo/api/v1/agent/receive";

fn stand_in(more: &[&str]) -> (Folder, Program) {
    let folder = folder(NO_API, &[], 300, &[&["receive: true"], more].concat());
    let hub = folder.start(HUB);
    (folder, hub)
}

fn answer(hub: &Program, body: &[u8]) -> u16 {
    post_json(hub.address, &format!("{RECEIVE}/source"), body).status
}

fn changed(from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(&post("a", 1, 0)).replacen(from, to, 1).into_bytes()
}

#[test]
fn a_post_is_answered_200_ok_once_it_is_on_disk() {
    let server = Server::start(ServerManner::Error);
    let folder = folder(&api(&server), &[], 300, &["receive: true", "backoff_max: 1"]);
    let hub = folder.start(HUB);
    let bodies: Vec<_> = (0..20).map(|number| post("a.b", number, 1000)).collect();
    for body in &bodies {
        let answer = post_json(hub.address, &format!("{RECEIVE}/another"), body);
        assert_eq!((answer.status, answer.text().as_str()), (200, "OK"));
    }
    assert_eq!(metric(hub.address, "pattoo_hub_posts_taken_total", "from=\"receive\""), 20.0);
    assert_eq!(metric(hub.address, "pattoo_hub_posts_waiting", ""), 20.0);
    assert_balanced(&hub);
    hub.kill();
    // It was there at the answer, byte for byte, and not a moment later.
    server.set(ServerManner::Take);
    let hub = folder.start(HUB);
    assert_eq!(metric(hub.address, "pattoo_hub_posts_found_total", ""), 20.0);
    wait_until("all arrived in order", LIMIT, || server.taken_by_agent().get("a.b") == Some(&bodies));
}

#[test]
fn a_body_that_the_server_refuses_is_answered_500() {
    let (folder, hub) = stand_in(&[]);
    let good = post("a", 1, 0);
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0C\xbf\xa6\xa3\x02\0\0\0";
    for body in [
        &changed("{", "{\"more\":1,"),
        &changed("pattoo_agent_timestamp", "stamp"),
        b"{}".as_slice(),
        b"hello",
        b"",
        &good[..good.len() / 2],
        gzip,
    ] {
        assert_eq!(answer(&hub, body), 500, "{}", String::from_utf8_lossy(body));
    }
    let path = format!("{RECEIVE}/a");
    let kind = |kind: &str| send(hub.address, "POST", &path, &[("Content-Type", kind)], &good).status;
    assert_eq!(send(hub.address, "POST", &path, &[], &good).status, 500);
    assert_eq!((kind("text/plain"), kind("application/xml")), (500, 500));
    assert_eq!((kind("application/json; charset=utf-8"), kind("application/pattoo+json")), (200, 200));
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    assert_eq!(send(hub.address, "POST", &path, &headers, gzip).status, 500, "an empty object, compressed");
    let nothing = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    assert_eq!(send(hub.address, "POST", &path, &headers, nothing).status, 500, "nothing, compressed");
    assert!(Folder::files(&folder.cache().join("quarantine")).is_empty());
    assert_eq!(metric(hub.address, "pattoo_hub_posts_taken_total", ""), 2.0);
    assert_balanced(&hub);
}

#[test]
fn json_that_is_no_object_and_a_missing_source_are_answered_404() {
    let (_folder, hub) = stand_in(&[]);
    for body in ["[]", "[{\"a\":1}]", "\"text\"", "7", "null", "true", "NaN"] {
        assert_eq!(answer(&hub, body.as_bytes()), 404, "{body}");
    }
    let good = post("a", 1, 0);
    let long = "a".repeat(128);
    for source in ["", "/", "/a/b", "/.a", "/a%2Fb", "/a%20b", "/a+b", "/\u{e4}", &format!("/{long}a")] {
        assert_eq!(post_json(hub.address, &format!("{RECEIVE}{source}"), &good).status, 404, "{source}");
    }
    for source in ["a", "-_A.9", &long] {
        assert_eq!(post_json(hub.address, &format!("{RECEIVE}/{source}"), &good).status, 200, "{source}");
    }
    assert_eq!(post_json(hub.address, "/pattoo", &good).status, 404);
}

#[test]
fn other_methods_are_answered_405_and_the_status_page_200() {
    let (_folder, hub) = stand_in(&[]);
    for method in ["GET", "PUT", "DELETE", "PATCH", "HEAD"] {
        let answer = send(hub.address, method, &format!("{RECEIVE}/a"), &[], b"");
        assert_eq!((answer.status, answer.header("allow").as_deref()), (405, Some("POST")), "{method}");
    }
    let status = get(hub.address, "/pattoo/api/v1/agent/status");
    assert_eq!((status.status, status.text().as_str()), (200, "The Pattoo Agent API is Operational.\n"));
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/"] {
        assert_eq!(get(hub.address, path).status, 200, "{path}");
        assert_eq!(send(hub.address, "DELETE", path, &[], b"").status, 405, "{path}");
    }
}

#[test]
fn what_would_harm_the_server_is_answered_200_and_set_aside() {
    let (folder, hub) = stand_in(&[]);
    let harmful = [
        ("nan", changed("1.5", "NaN")),
        ("infinite", changed("1.5", "-Infinity")),
        ("infinite", changed("1.5", "1e999")),
        ("agent_id", changed("\"a\"", "\"../../a\"")),
        ("agent_id", changed("\"a\"", "7")),
        ("agent_timestamp", changed("_timestamp\":1", "_timestamp\":\"../1\"")),
        ("interval", changed("\"1000\"", "\"soon\"")),
        ("timestamp", changed("[\"pattoo_timestamp\",1]", "[\"pattoo_timestamp\",\"1\"]")),
        ("datapoints", changed("\"key_value_pairs\"", "\"pairs\"")),
        ("entry", changed("[[0,", "[0,[0,")),
        ("id", changed("[[0,", "[[0.5,")),
        ("unknown_id", changed("[[0,", "[[11,")),
        ("pair", changed("[\"filler\",\"\"]", "[\"filler\"]")),
        ("key", changed("[\"filler\"", "[7")),
        ("surrogate", changed("[\"filler\",\"\"]", "[\"filler\",\"\\ud800\"]")),
        ("name", changed("\"memory_used\"", "null")),
        ("too_long", changed("memory_used", &"x".repeat(600))),
        ("out_of_range", changed("1.5", "1e30")),
    ];
    for (reason, body) in &harmful {
        assert_eq!(answer(&hub, body), 200);
        let aside = Folder::files(&folder.cache().join("quarantine"));
        let (name, kept) = aside.last().unwrap();
        assert!(name.ends_with(&format!("-{reason}.body")), "{name}");
        assert_eq!(kept, body);
    }
    assert_eq!(metric(hub.address, "pattoo_hub_posts_quarantined_total", "reason=\"infinite\""), 2.0);
    assert_eq!(metric(hub.address, "pattoo_hub_posts_waiting", ""), 0.0);
    assert_balanced(&hub);
}

#[test]
fn a_post_without_a_valid_datapoint_is_answered_200_and_goes_nowhere() {
    let (folder, hub) = stand_in(&[]);
    for body in
        [changed("[[0,1,2,3,4,5,6,7,8,9,10]]", "[]"), changed("[0,1,2", "[0,2"), changed(",99]", ",98]")]
    {
        assert_eq!(answer(&hub, &body), 200, "{}", String::from_utf8_lossy(&body));
    }
    assert!(Folder::files(&folder.cache().join("quarantine")).is_empty());
    assert_eq!(metric(hub.address, "pattoo_hub_posts_empty_total", ""), 3.0);
    assert_eq!(metric(hub.address, "pattoo_hub_posts_taken_total", ""), 0.0);
    assert_eq!(metric(hub.address, "pattoo_hub_posts_waiting", ""), 0.0);
    assert_eq!(metric(hub.address, "pattoo_hub_datapoints_ignored_total", "reason=\"keys\""), 1.0);
    assert_eq!(metric(hub.address, "pattoo_hub_datapoints_ignored_total", "reason=\"data_type\""), 1.0);
    assert_eq!(metric(hub.address, "pattoo_hub_datapoints_taken_total", ""), 0.0);
    assert_balanced(&hub);
}

#[test]
fn a_post_that_loses_single_datapoints_is_kept_unchanged_and_they_are_counted() {
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &["receive: true"]);
    let hub = folder.start(HUB);
    let bodies = vec![changed("[[0,1", "[[1],[0,1"), changed("[\"filler\",\"\"]", "[\"filler\",7]")];
    for body in &bodies {
        assert_eq!(answer(&hub, body), 200);
    }
    wait_until("they went up", LIMIT, || server.taken_by_agent().get("a") == Some(&bodies));
    assert_eq!(metric(hub.address, "pattoo_hub_datapoints_taken_total", ""), 2.0);
    assert_eq!(metric(hub.address, "pattoo_hub_datapoints_ignored_total", "reason=\"keys\""), 1.0);
    assert_eq!(metric(hub.address, "pattoo_hub_datapoints_ignored_total", "reason=\"metadata\""), 1.0);
    assert_balanced(&hub);
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(body, flate2::Compression::best());
    let mut packed = Vec::new();
    let _ = encoder.read_to_end(&mut packed); // from memory to memory
    packed
}

fn send_encoded(hub: &Program, encoding: &str, body: &[u8]) -> u16 {
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", encoding)];
    send(hub.address, "POST", &format!("{RECEIVE}/a"), &headers, body).status
}

#[test]
fn compressed_posts_go_up_plain() {
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &["receive: true"]);
    let hub = folder.start(HUB);
    let bodies: Vec<_> = (0..4).map(|number| post("leaf", number, 50_000)).collect();
    assert_eq!(send_encoded(&hub, "gzip", &gzip(&bodies[0])), 200);
    assert_eq!(send_encoded(&hub, "zstd", &zstd::encode_all(&bodies[1][..], 3).unwrap()), 200);
    assert_eq!(send_encoded(&hub, "X-GZip", &gzip(&bodies[2])), 200);
    assert_eq!(send_encoded(&hub, "identity", &bodies[3]), 200);
    wait_until("all arrived in order", LIMIT, || server.taken_by_agent().get("leaf") == Some(&bodies));
    assert_balanced(&hub);
}

#[test]
fn a_body_that_is_not_what_its_encoding_says_is_answered_500() {
    let (folder, hub) = stand_in(&["max_post_bytes: 65536"]);
    let good = post("a", 1, 1000);
    for encoding in ["br", "deflate", "gzip, gzip", ""] {
        assert_eq!(send_encoded(&hub, encoding, &good), 500, "{encoding}");
    }
    let zstd = zstd::encode_all(&good[..], 3).unwrap();
    for (encoding, whole) in [("gzip", gzip(&good)), ("zstd", zstd.clone())] {
        assert_eq!(answer(&hub, &whole), 500, "{encoding} without its header");
        assert_eq!(send_encoded(&hub, encoding, &good), 500, "not {encoding}");
        assert_eq!(send_encoded(&hub, encoding, &whole[..whole.len() / 2]), 500, "half of {encoding}");
    }
    assert_eq!(send_encoded(&hub, "gzip", &zstd), 500);
    // A bomb is as large as what comes out of it.
    let bomb = vec![b' '; 32 << 20];
    assert_eq!(send_encoded(&hub, "gzip", &gzip(&bomb)), 413);
    assert_eq!(send_encoded(&hub, "zstd", &zstd::encode_all(&bomb[..], 3).unwrap()), 413);
    assert!(Folder::files(&folder.cache().join("quarantine")).is_empty());
    assert_eq!(metric(hub.address, "pattoo_hub_posts_taken_total", ""), 0.0);
}

#[test]
fn a_hub_receives_only_if_it_is_told_to() {
    let spoke = Spoke::start("a", SpokeManner::Answer);
    let folder = folder(NO_API, &[&spoke], 300, &[]);
    let hub = folder.start(HUB);
    assert_eq!(answer(&hub, &post("a", 1, 0)), 404);
    assert_eq!(get(hub.address, "/pattoo/api/v1/agent/status").status, 404);
}

#[test]
fn a_body_beyond_max_post_bytes_is_answered_413_announced_or_not() {
    let (_folder, hub) = stand_in(&["max_post_bytes: 4096"]);
    assert_eq!(answer(&hub, &post("a", 1, 4096)), 413);
    assert_eq!(answer(&hub, &post("a", 1, 2048)), 200);
    let mut chunked = TcpStream::connect(hub.address).unwrap();
    let head = format!(
        "POST {RECEIVE}/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    chunked.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    for _ in 0..5 {
        let _ = chunked.write_all(format!("400\r\n{}\r\n", " ".repeat(1024)).as_bytes());
    }
    chunked.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn a_post_that_the_spool_cannot_take_is_answered_503_and_the_hub_goes_on() {
    let (_folder, hub) = stand_in(&["max_sources: 1"]);
    assert_eq!(answer(&hub, &post("a", 1, 0)), 200);
    let refused = post_json(hub.address, &format!("{RECEIVE}/b"), &post("b", 1, 0));
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(metric(hub.address, "pattoo_hub_store_errors_total", ""), 1.0);
    assert_eq!(answer(&hub, &post("a", 2, 0)), 200);
    assert_balanced(&hub);
}

/// A post that cannot be packed: its filler is noise.
fn noisy(agent_id: &str, stamp: u64) -> Vec<u8> {
    let mut seed = stamp.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let noise: String = (0..500)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            format!("{seed:016x}")
        })
        .collect();
    let body = String::from_utf8_lossy(&post(agent_id, stamp, 1)).into_owned();
    body.replacen("[\"filler\",\"x\"]", &format!("[\"filler\",\"{noise}\"]"), 1).into_bytes()
}

#[test]
fn a_stand_in_keeps_the_newest_within_max_bytes() {
    const POSTS: u64 = 400;
    let (folder, hub) = stand_in(&["max_post_bytes: 20000", "max_sources: 100", "max_bytes: 524288"]);
    for number in 0..POSTS {
        let id = if number % 20 == 0 { "small" } else { "large" };
        assert_eq!(answer(&hub, &noisy(id, number)), 200);
    }
    let dropped = metric(hub.address, "pattoo_hub_posts_dropped_total", "reason=\"max_bytes\"") as u64;
    let waiting = metric(hub.address, "pattoo_hub_posts_waiting", "") as u64;
    assert!(dropped > 50 && waiting > 20 && dropped + waiting == POSTS, "{dropped} dropped, {waiting} wait");
    assert!(metric(hub.address, "pattoo_hub_spool_allocated_bytes", "") <= 524_288.0);
    assert_balanced(&hub);
    hub.kill();
    // What is left are the newest of each source, and the smaller one lost nothing.
    let server = Server::start(ServerManner::Take);
    folder.write(
        "pattoo_agent.yaml",
        &format!(
            "pattoo_agent_api:\n  enabled: true\n  ip_address: 127.0.0.1\n  ip_bind_port: {}\n",
            server.address().port()
        ),
    );
    let _hub = folder.start(HUB);
    wait_until("what is left arrives", LIMIT, || server.taken().len() as u64 == waiting);
    let left = server.taken_by_agent();
    let stamps = |id: &str| left[id].iter().map(|body| testkit::post::stamp(body)).collect::<Vec<_>>();
    assert_eq!(stamps("small"), (0..POSTS).step_by(20).collect::<Vec<_>>());
    let large: Vec<u64> = (0..POSTS).filter(|number| number % 20 != 0).collect();
    assert_eq!(stamps("large"), large[large.len() - left["large"].len()..]);
}

#[test]
fn a_hub_that_receives_carries_on_to_its_own_server() {
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[], 300, &["receive: true"]);
    let hub = folder.start(HUB);
    let bodies: Vec<_> = (0..10).map(|number| post("leaf", number, 10)).collect();
    for body in &bodies {
        assert_eq!(
            try_send(
                hub.address,
                "POST",
                &format!("{RECEIVE}/x"),
                &[("Content-Type", "application/json")],
                body
            )
            .unwrap()
            .status,
            200
        );
    }
    wait_until("all arrived in order", LIMIT, || server.taken_by_agent().get("leaf") == Some(&bodies));
    wait_until("nothing waits", LIMIT, || metric(hub.address, "pattoo_hub_posts_waiting", "") == 0.0);
    assert_balanced(&hub);
}
