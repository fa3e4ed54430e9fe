//! The API and the pages: what they say of a real hub, and what nobody can make them say.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop, and say where"
)]

mod common;

use common::{HUB, NO_API, api_at, folder, give};
use serde_json::Value;
use testkit::http::{Answer, get, post_json, send};
use testkit::post::now_ms;
use testkit::{LIMIT, Port, Program, Spoke, SpokeManner, wait_until};

/// A real post, whose stamps begin with [`STAMP`].
const CAPTURED: &str = include_str!("../../../.ci/checks/fixtures/original-spoke-300.json");
const STAMP: &str = "1795349433";
const AGENT: &str = "4e4021a8230f7961f2840b2b7c79f1cac44da2421a1bb6a8c1fc0a6ebd7bd3ca";

fn json(hub: &Program, path: &str) -> Value {
    let answer = get(hub.address, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type").as_deref(), Some("application/json"), "{path}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// Posts the captured post as if it were made so many seconds ago, on a host of that name.
fn give_captured(hub: &Program, seconds_ago: u64, host: &str) {
    give_text(hub, seconds_ago, &CAPTURED.replace("\"localhost\"", &Value::from(host).to_string()));
}

/// Posts the captured post as a test has changed it.
fn give_text(hub: &Program, seconds_ago: u64, text: &str) {
    let body = text.replace(STAMP, &(now_ms() / 1000 - seconds_ago).to_string());
    let answer = post_json(hub.address, "/pattoo/api/v1/agent/receive/captured", body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The hosts that a question finds, by their names.
fn hosts(hub: &Program, query: &str) -> Vec<String> {
    let found = json(hub, &format!("/api/v1/fleet?{query}"));
    let hosts = found["hosts"].as_array().unwrap();
    hosts.iter().map(|host| host["target"].as_str().or(host["host"].as_str()).unwrap().to_owned()).collect()
}

#[test]
fn the_fleet_is_listed_found_sorted_and_paged() {
    let spokes: Vec<_> =
        ["a", "b", "c"].into_iter().map(|id| Spoke::start(id, SpokeManner::Answer)).collect();
    spokes[2].set(SpokeManner::Error);
    let folder = folder(NO_API, &spokes.iter().collect::<Vec<_>>(), 1, &["receive: true"]);
    let hub = folder.start(HUB);
    give(&hub, "posts-here", now_ms());
    wait_until("all were polled", LIMIT, || {
        let states = &json(&hub, "/api/v1/fleet")["states"];
        states["up"] == 3 && states["failing"] == 1
    });
    let fleet = json(&hub, "/api/v1/fleet");
    assert_eq!(
        (&fleet["matched"], &fleet["interval_seconds"], &fleet["history"]),
        (&4.into(), &1.into(), &true.into())
    );
    let addresses: Vec<String> = spokes.iter().map(|spoke| spoke.address().to_string()).collect();
    let failing = &fleet["hosts"][2];
    assert_eq!((&failing["state"], &failing["reason"]), (&"failing".into(), &"status 500".into()));
    assert!(failing["since_seconds"].is_u64() && failing["duration_ms"].is_f64(), "{failing}");
    let posts_here = &fleet["hosts"][3];
    assert_eq!((&posts_here["source"], &posts_here["target"]), (&"receive".into(), &Value::Null));
    assert!(fleet["hosts"][0]["agent_id"] == "a" && fleet["hosts"][0]["post_bytes"].is_u64());

    assert_eq!(hosts(&hub, "state=failing"), addresses[2..]);
    assert_eq!(hosts(&hub, "q=POSTS-h"), ["posts-here"]);
    let port = spokes[1].address().port();
    assert_eq!(hosts(&hub, &format!("q=:{port}")), addresses[1..2]);
    assert_eq!(hosts(&hub, "limit=2&offset=1"), addresses[1..3]);
    let mut sorted = addresses.clone();
    sorted.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(hosts(&hub, "sort=target&order=desc&limit=3"), sorted);
    assert_eq!(hosts(&hub, "sort=state&limit=1"), addresses[2..]);
    assert_eq!(get(hub.address, "/api/v1/fleet?state=happy").status, 400);

    // Who fails is still who it was.
    spokes[0].set(SpokeManner::Error);
    wait_until("it is seen to fail", LIMIT, || json(&hub, "/api/v1/fleet")["hosts"][0]["state"] == "failing");
    assert_eq!(json(&hub, "/api/v1/fleet")["hosts"][0]["agent_id"], "a");
    spokes[0].set(SpokeManner::Answer);
    wait_until("it is back", LIMIT, || json(&hub, "/api/v1/fleet")["hosts"][0]["state"] == "up");

    let csv = get(hub.address, "/api/v1/fleet?format=csv&state=failing");
    assert_eq!(csv.header("content-type").as_deref(), Some("text/csv; charset=utf-8; header=present"));
    let lines: Vec<_> = csv.text().split("\r\n").map(str::to_owned).collect();
    assert!(lines[0].starts_with("host,target,agent_id,source,state,reason,"), "{lines:?}");
    assert!(lines[1].contains(&format!("127.0.0.1,{},,poll,failing,status 500,", addresses[2])), "{lines:?}");
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_hosts_history_is_what_its_posts_said_and_outlives_a_restart() {
    let folder = folder(NO_API, &[], 1, &["receive: true"]);
    let hub = folder.start(HUB);
    for seconds_ago in [30, 20, 10] {
        give_captured(&hub, seconds_ago, "web-1");
    }
    let path = format!("/api/v1/hosts/{AGENT}/history");
    let values = |hub: &Program, name: &str| -> Vec<f64> {
        let answer = get(hub.address, &path);
        let Ok(history) = serde_json::from_slice::<Value>(&answer.body) else { return Vec::new() };
        let all = history["series"].as_array().cloned().unwrap_or_default();
        let series = all.iter().find(|series| series["name"] == name);
        series.map_or_else(Vec::new, |series| {
            series["values"].as_array().unwrap().iter().filter_map(Value::as_f64).collect()
        })
    };
    wait_until("three samples are known", LIMIT, || values(&hub, "cpu_used_percent").len() == 3);
    // 32.6 idle, 1.0 iowait, as the captured post says.
    let post: Value = serde_json::from_str(CAPTURED).unwrap();
    let pairs = &post["pattoo_datapoints"]["key_value_pairs"];
    let value = |key: &str| {
        let rows = post["pattoo_datapoints"]["datapoint_pairs"].as_array().unwrap();
        let pair = |id: &Value| pairs[id.to_string()].as_array().unwrap();
        let row =
            rows.iter().find(|row| row.as_array().unwrap().iter().any(|id| pair(id)[1] == key)).unwrap();
        let value = row.as_array().unwrap().iter().find(|id| pair(id)[0] == "pattoo_value").unwrap();
        pair(value)[1].as_f64().unwrap()
    };
    let cpu = 100.0 - value("cpu_times_percent_idle") - value("cpu_times_percent_iowait");
    let near = |values: &[f64], wanted: f64| values.iter().all(|value| (value - wanted).abs() < 0.1);
    assert!(near(&values(&hub, "cpu_used_percent"), cpu), "{cpu}");
    assert!(near(&values(&hub, "memory_used_percent"), value("memory_percent")));
    // The counters stood still.
    assert_eq!(values(&hub, "disk_read_bytes"), [0.0, 0.0]);
    assert_eq!(json(&hub, &format!("/api/v1/hosts/{AGENT}"))["host"], "web-1");
    let csv = get(hub.address, &format!("{path}?range=24h&format=csv")).text();
    assert!(csv.starts_with("time_ms,cpu_used_percent,"), "{csv}");
    for (path, status) in [("?range=2h", 400), ("?range=7d", 200)] {
        assert_eq!(get(hub.address, &format!("/api/v1/hosts/{AGENT}/history{path}")).status, status);
    }
    assert_eq!(get(hub.address, "/api/v1/hosts/nobody/history").status, 404);

    // The newest post, as it came.
    let newest = get(hub.address, &format!("/api/v1/hosts/{AGENT}/posts/newest"));
    let posts = json(&hub, &format!("/api/v1/hosts/{AGENT}/posts"));
    assert_eq!(posts["posts"][0]["post"], serde_json::from_slice::<Value>(&newest.body).unwrap());
    assert_eq!(posts["waiting"], 3);

    hub.terminate();
    let mut hub = hub;
    hub.wait();
    let hub = folder.start(HUB);
    wait_until("they are known again", LIMIT, || values(&hub, "cpu_used_percent").len() == 3);
    assert_eq!(get(hub.address, &format!("/host/{AGENT}")).status, 200);
}

#[test]
fn a_partition_that_cannot_be_written_to_is_not_the_fullest() {
    let folder = folder(NO_API, &[], 1, &["receive: true"]);
    let hub = folder.start(HUB);
    give_captured(&hub, 10, "writable");
    give_text(&hub, 10, &CAPTURED.replace("\"rw,relatime", "\"relatime,ro").replace(AGENT, "snap"));
    let series = |agent: &str| {
        let answer = get(hub.address, &format!("/api/v1/hosts/{agent}/history"));
        let history: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let all = history["series"].as_array().cloned().unwrap_or_default();
        all.iter().map(|series| series["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let has = |agent: &str, name: &str| series(agent).iter().any(|other| other == name);
    for agent in [AGENT, "snap"] {
        wait_until("its sample is known", LIMIT, || has(agent, "memory_used_percent"));
    }
    for name in ["fullest_partition_percent", "partition_used_percent"] {
        assert!(has(AGENT, name), "{:?}", series(AGENT));
        assert!(!has("snap", name), "{:?}", series("snap"));
    }
}

#[test]
fn delivery_quarantine_and_configuration_are_told() {
    let port = Port::reserve();
    let nobody = ([127, 0, 0, 1], port.number()).into();
    let folder = folder(&api_at(nobody), &[], 1, &["receive: true"]);
    let hub = folder.start(HUB);
    give(&hub, "waits", now_ms());
    let bad = b"{\"pattoo_agent_id\":\"../x\",\"pattoo_agent_polling_interval\":1000,\
        \"pattoo_agent_timestamp\":1,\"pattoo_datapoints\":{\"datapoint_pairs\":[],\"key_value_pairs\":{}}}";
    assert_eq!(post_json(hub.address, "/pattoo/api/v1/agent/receive/bad", bad).status, 200);
    wait_until("the server is seen to be down", LIMIT, || {
        json(&hub, "/api/v1/delivery")["upstream"]["state"] == "down"
    });
    let delivery = json(&hub, "/api/v1/delivery");
    assert_eq!(delivery["upstream"]["reason"], "refused");
    assert_eq!(
        (&delivery["waiting"]["posts"], &delivery["lanes"][0]["agent_id"]),
        (&1.into(), &"waits".into())
    );
    assert_eq!(delivery["quarantined"][0]["reason"], "agent_id");
    let body = &json(&hub, "/api/v1/quarantine")["bodies"][0];
    assert_eq!(body["reason"], "agent_id");
    let name = body["name"].as_str().unwrap();
    let read = get(hub.address, &format!("/api/v1/quarantine/{name}"));
    assert_eq!((read.body.as_slice(), read.status), (bad.as_slice(), 200));
    assert_eq!(read.header("content-type").as_deref(), Some("text/plain; charset=utf-8"));
    for name in ["..%2fclaims", "../claims", "x.body", ""] {
        assert_eq!(get(hub.address, &format!("/api/v1/quarantine/{name}")).status, 404, "{name}");
    }
    let configuration = json(&hub, "/api/v1/configuration");
    let checked = String::from_utf8(folder.run(HUB, &["--check"]).stdout).unwrap();
    assert_eq!(configuration["report"].as_str().unwrap().trim(), checked.trim());
    let receive = |setting: &&Value| setting["key"] == "receive";
    assert_eq!(configuration["settings"].as_array().unwrap().iter().find(receive).unwrap()["value"], "true");
    let page = get(hub.address, "/delivery").text();
    assert!(page.contains("is down (refused)") && page.contains(name), "{page}");
    wait_until("the hub's own history begins", LIMIT, || {
        let history = get(hub.address, "/api/v1/delivery/history").text();
        history.contains("\"waiting_posts\"") && history.contains("\"upstream_up\"")
    });
}

/// That a page may run nothing but the hub's own script.
fn assert_guarded(answer: &Answer, path: &str) {
    let header = |name| answer.header(name).unwrap_or_default();
    assert!(
        header("content-security-policy").starts_with("default-src 'none'; script-src 'self'; "),
        "{path}"
    );
    assert_eq!(
        (header("x-content-type-options"), header("referrer-policy")),
        ("nosniff".into(), "no-referrer".into())
    );
}

#[test]
fn what_others_say_is_text_and_nothing_can_be_changed() {
    let evil = "<script>alert(1)</script>\"'&";
    let folder = folder(NO_API, &[], 1, &["receive: true", &format!("hostname: {}", Value::from(evil))]);
    let hub = folder.start(HUB);
    give_captured(&hub, 10, evil);
    let path = format!("/host/{AGENT}");
    wait_until("the name is known", LIMIT, || {
        get(hub.address, "/").text().contains("&lt;script&gt;alert(1)&lt;")
    });
    for path in
        ["/", path.as_str(), "/delivery", "/configuration", "/?q=<script>alert(1)</script>", "/host/<script>"]
    {
        let answer = get(hub.address, &path.replace('<', "%3C").replace('>', "%3E"));
        assert_guarded(&answer, path);
        let page = answer.text();
        assert!(!page.contains("<script>") && !page.contains("style="), "{path}: {page}");
    }
    for path in ["/", "/delivery", "/api/v1/fleet", "/api/v1/quarantine", path.as_str()] {
        for method in ["POST", "PUT", "DELETE"] {
            assert_eq!(send(hub.address, method, path, &[], b"").status, 405, "{method} {path}");
        }
        assert_eq!(send(hub.address, "HEAD", path, &[], b"").status, 200, "{path}");
    }
    for (path, status) in
        [("/api/v1", 200), ("/api/v1/", 200), ("/api/v1/x", 404), ("/api/v2", 404), ("/api/v1x", 404)]
    {
        assert_eq!(get(hub.address, path).status, status, "{path}");
    }
    assert_eq!(get(hub.address, "/host/nobody").status, 404);
    // Each file that a page names is there, for ever.
    let page = get(hub.address, &path).text();
    let files: Vec<_> = page.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let answer = get(hub.address, file);
        assert!(
            answer.status == 200 && answer.header("cache-control").unwrap().contains("immutable"),
            "{file}"
        );
        let etag = answer.header("etag").unwrap();
        assert_eq!(send(hub.address, "GET", file, &[("If-None-Match", &etag)], b"").status, 304);
    }
}
