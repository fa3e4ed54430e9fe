use std::path::Path;
use std::time::Duration;

use super::*;

const BOUNDS: Bounds = Bounds { max_bytes: 4 << 20, max_age: Duration::from_secs(86_400), max_sources: 100 };

async fn open(folder: &Path) -> (Store, Filled, Metrics) {
    let metrics = Metrics::new(true).unwrap();
    let (store, filled) = Store::open(folder.to_owned(), BOUNDS, metrics.clone()).await.unwrap();
    (store, filled, metrics)
}

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn lane(name: &str) -> Lane {
    name.into()
}

/// The value of a metric as the page shows it.
fn shown(metrics: &Metrics, name: &str) -> f64 {
    let page = prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
    let line = page.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Takes all posts of a lane out, oldest first.
async fn drain(store: &Store, name: &str) -> Vec<Bytes> {
    let mut all = Vec::new();
    while let Some(post) = store.oldest(&lane(name)).await.unwrap() {
        assert!(store.acknowledge(&lane(name), post.sequence).await.unwrap());
        all.push(post.body);
    }
    all
}

/// The next lane that is announced.
async fn heard(filled: &mut Filled) -> Lane {
    tokio::time::timeout(testkit::LIMIT, filled.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn posts_come_out_in_order_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _filled, _) = open(folder.path()).await;
    for text in ["1", "2", "3"] {
        store.append("a", body(text)).await.unwrap();
        store.append("b", body(&text.repeat(2))).await.unwrap();
    }
    let last = store.head(&lane("b")).unwrap();
    drop(store);
    let (store, mut filled, metrics) = open(folder.path()).await;
    assert_eq!(metrics.posts_found.get(), 6);
    assert_eq!(shown(&metrics, "pattoo_hub_posts_waiting"), 6.0);
    let mut lanes = [filled.recv().await.unwrap(), filled.recv().await.unwrap()];
    lanes.sort();
    assert_eq!(lanes, [lane("a"), lane("b")]);
    assert!(store.append("a", body("4")).await.unwrap() > last);
    assert_eq!(drain(&store, "a").await, ["1", "2", "3", "4"]);
    assert_eq!(drain(&store, "b").await, ["11", "22", "33"]);
    assert_eq!(store.waiting(), (0, 0));
}

#[tokio::test]
async fn what_is_acknowledged_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ..) = open(folder.path()).await;
    store.append("a", body("1")).await.unwrap();
    let second = store.append("a", body("2")).await.unwrap();
    let first = store.oldest(&lane("a")).await.unwrap().unwrap();
    assert!(store.acknowledge(&lane("a"), first.sequence).await.unwrap());
    assert!(!store.acknowledge(&lane("a"), first.sequence).await.unwrap());
    store.close(Duration::from_secs(5)).await.unwrap();
    drop(store);
    let (store, ..) = open(folder.path()).await;
    assert_eq!(store.lanes(), [(lane("a"), second)]);
}

#[tokio::test]
async fn the_largest_lane_pays_when_the_store_is_full_and_the_metrics_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _filled, metrics) = open(folder.path()).await;
    store.append("small", body("kept")).await.unwrap();
    for _ in 0..400 {
        // What cannot be packed: 20 KiB of noise a post.
        let noise: Vec<u8> = (0..20_480).map(|_| rand::random()).collect();
        store.append("large", noise.into()).await.unwrap();
    }
    assert_eq!(drain(&store, "small").await, ["kept"]);
    let dropped = shown(&metrics, "pattoo_hub_posts_dropped_total{reason=\"max_bytes\"}");
    assert!(dropped > 100.0);
    assert_eq!(dropped + shown(&metrics, "pattoo_hub_posts_waiting"), 400.0);
    assert!(shown(&metrics, "pattoo_hub_spool_allocated_bytes") <= BOUNDS.max_bytes as f64);
    assert!(shown(&metrics, "pattoo_hub_spool_sync_duration_seconds_count") > 0.0);
}

#[tokio::test]
async fn a_second_hub_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, ..) = open(folder.path()).await;
    let refused = Store::open(folder.path().to_owned(), BOUNDS, Metrics::new(true).unwrap()).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains(&folder.path().display().to_string()) && text.contains("in use"), "{text}");
}

#[tokio::test]
async fn a_lane_is_announced_when_it_was_empty() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut filled, _) = open(folder.path()).await;
    for text in ["1", "2", "3"] {
        store.append("a", body(text)).await.unwrap();
    }
    assert_eq!(heard(&mut filled).await, lane("a"));
    store.append("a", body("4")).await.unwrap();
    assert_eq!(filled.receiver.len(), 0);
    for text in ["5", "6"] {
        drain(&store, "a").await;
        store.append("a", body(text)).await.unwrap();
    }
    assert_eq!(filled.receiver.len(), 1, "once until it is heard of");
    assert_eq!(heard(&mut filled).await, lane("a"));
}

#[tokio::test]
async fn a_lane_is_announced_though_whoever_appended_has_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut filled, _) = open(folder.path()).await;
    // Asked once, and dropped: as by a sender that hangs up before it has its answer.
    let given_up = tokio::time::timeout(Duration::ZERO, store.append("a", body("1"))).await;
    assert!(given_up.is_err(), "it was synced before it was dropped");
    assert_eq!(heard(&mut filled).await, lane("a"));
    assert_eq!(drain(&store, "a").await, ["1"]);
}

#[tokio::test]
async fn damage_is_counted_and_the_rest_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let (store, filled, metrics) = open(folder.path()).await;
    // Too short to be packed: they can be found in the file.
    for text in ["first", "second", "third"] {
        store.append("a", body(text)).await.unwrap();
    }
    assert_eq!(shown(&metrics, "pattoo_hub_spool_damage_total{kind=\"stretch\"}"), 0.0);
    drop((store, filled));
    let find = |bytes: &[u8]| bytes.windows(6).position(|six| six == b"second");
    let mut struck = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = find(&bytes) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            struck += 1;
        }
    }
    assert_eq!(struck, 1);
    let (store, _filled, metrics) = open(folder.path()).await;
    let left = drain(&store, "a").await;
    assert_eq!(left, ["first", "third"].map(body));
    assert!(shown(&metrics, "pattoo_hub_spool_damage_total{kind=\"stretch\"}") > 0.0);
}
