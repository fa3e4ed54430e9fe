//! The operation guide and the hub name the same metrics.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{HUB, api, folder};
use hub::poll::Failure;
use testkit::http::get;
use testkit::{Server, ServerManner, Spoke, SpokeManner};

/// How the hub's metrics begin.
const PREFIX: &str = "pattoo_hub_";

/// Every name of a metric of the hub in a text.
fn names(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| {
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        format!("{PREFIX}{}", &rest[..end.unwrap_or(rest.len())])
    };
    let found = text.split(PREFIX).skip(1).map(name);
    // `pattoo_hub_*` means all of them.
    found.filter(|name| name != PREFIX).collect()
}

#[test]
fn every_metric_is_in_the_operation_guide_and_none_that_does_not_exist() {
    let server = Server::start(ServerManner::Take);
    // With a certificate, since its metrics are there only with one.
    let spoke = Spoke::start("a", SpokeManner::Answer);
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/fixtures/tls");
    let file = |key: &str, name: &str| format!("{key}: {}", tls.join(name).display());
    let certificate = [
        "receive: true".to_owned(),
        "poll_tls: true".to_owned(),
        file("poll_ca_file", "authority.pem"),
        file("poll_certificate_file", "chain.pem"),
        file("poll_key_file", "own.pkcs8.key"),
    ];
    let folder = folder(&api(&server), &[&spoke], 300, &certificate.each_ref().map(String::as_str));
    let hub = folder.start(HUB);
    let page = get(hub.address, "/metrics").text();
    let shown: String = page.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let shown = names(&shown);
    assert!(shown.contains("pattoo_hub_spool_sync_duration_seconds") && shown.len() > 25, "{shown:?}");

    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = names(&std::fs::read_to_string(project.join("docs/operation.md")).unwrap());
    assert_eq!(guide, shown, "left: docs/operation.md, right: what the hub shows");
    let documents = std::fs::read_dir(project.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for document in documents.chain([project.join("README.md")]) {
        if document.extension().is_some_and(|kind| kind == "md") {
            let named = names(&std::fs::read_to_string(&document).unwrap());
            let unknown: Vec<_> = named.difference(&shown).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", document.display());
        }
    }
}

#[test]
fn every_reason_for_which_a_target_fails_is_in_the_monitoring_guide() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, rest) = guide.split_once("\n## Why a target fails\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let named = rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split(','));
    let named: BTreeSet<&str> = named.map(|word| word.trim().trim_matches('`')).collect();
    let known: BTreeSet<&str> = Failure::all().map(Failure::label).collect();
    assert_eq!(named, known, "left: docs/monitoring.md, right: what a poll can end as");
}
