//! Configuration: what is wrong is named with file, section and key; every way to write a target works.

mod common;

use common::{HUB, NO_API, api, folder, given};
use testkit::{Folder, LIMIT, Server, ServerManner, Spoke, SpokeManner, wait_until};

/// The documentation's own sample.
const SAMPLE: &str = "pattoo_agent_os_hubd:
    ip_devices:
      - ip_address: 127.0.0.1
        ip_bind_port: 5000
      - ip_address: 127.0.0.2
        ip_bind_port: 5000
";

fn check(own: &str, api: &str) -> (Option<i32>, String) {
    let folder = Folder::new(api);
    folder.write("pattoo_agent_os_hubd.yaml", own);
    let output = folder.run(HUB, &["--check"]);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_documentations_sample_is_in_force_with_the_defaults() {
    let (status, text) = check(SAMPLE, "");
    assert_eq!(status, Some(0), "{text}");
    for line in [
        "  - ip_address: \"127.0.0.1\"",
        "  - ip_address: \"127.0.0.2\"",
        "    polling_interval: 300",
        "    poll_timeout: 10",
        "    ip_listen_address: \"127.0.0.1\"",
        "    ip_bind_port: 5001",
        "    receive: false",
        "    identity: pin",
        "    max_post_bytes: 4194304",
        "    max_bytes: 1073741824",
        "    delivery_concurrency: 8",
        "    delivery_timeout: 10",
        "    backoff_max: 30",
        "    graceful_timeout: 4",
        "    ip_address: \"localhost\"",
        "    ip_bind_port: 20201",
        "    enabled: true",
        "    agent_id: ",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

#[test]
fn later_and_odd_spellings_mean_the_same() {
    let later = SAMPLE.replace("ip_devices", "ip_targets").replace("ip_bind_port", "bind_port");
    let zero = format!("{SAMPLE}    polling_interval: 0\n");
    let texts = [SAMPLE, &later, &zero].map(|own| check(own, ""));
    assert!(texts.iter().all(|(status, _)| *status == Some(0)), "{texts:?}");
    let plain = |text: &str| {
        text.lines()
            .filter(|line| !line.contains('/') && !line.contains("agent_id"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(plain(&texts[0].1), plain(&texts[1].1));
    assert_eq!(plain(&texts[0].1), plain(&texts[2].1));
}

#[test]
fn a_limit_follows_a_short_interval() {
    let (status, text) = check(&format!("{SAMPLE}    polling_interval: 3\n"), "");
    assert!(status == Some(0) && text.contains("poll_timeout: 3\n"), "{text}");
}

#[test]
fn what_is_wrong_is_named_with_file_section_and_key() {
    let with = |line: &str| format!("{SAMPLE}    {line}\n");
    let device = |item: &str| format!("pattoo_agent_os_hubd:\n    ip_devices:\n      - {item}\n");
    let cases = [
        (String::new(), "ip_devices"),
        ("pattoo_agent_os_hubd:\n    ip_devices: []\n".to_owned(), "ip_devices"),
        (with("poling_interval: 5"), "did you mean polling_interval?"),
        (with("polling_interval: -1"), "polling_interval"),
        (with("polling_interval: 40000000"), "polling_interval"),
        (with("polling_interval: often"), "polling_interval"),
        (with("poll_timeout: 301"), "poll_timeout"),
        (with("poll_timeout: 0"), "poll_timeout"),
        (with("max_post_bytes: 0"), "max_post_bytes"),
        (with("max_bytes: 10"), "max_bytes"),
        (with("delivery_concurrency: 0"), "delivery_concurrency"),
        (with("delivery_timeout: 0"), "delivery_timeout"),
        (with("backoff_max: 0"), "backoff_max"),
        (with("graceful_timeout: 0"), "graceful_timeout"),
        (with("receive: maybe"), "receive"),
        (with("identity: pinn"), "one of pin, warn is expected, found \"pinn\"; did you mean pin?"),
        (with("agent_id: ../a"), "agent_id"),
        (with("ip_listen_address: here"), "ip_listen_address"),
        (device("{ip_address: 10.0.0.256, ip_bind_port: 5000}"), "ip_devices.0.ip_address"),
        (device("{ip_address: \"a b\", ip_bind_port: 5000}"), "ip_devices.0.ip_address"),
        (device("{ip_address: \"\", ip_bind_port: 5000}"), "ip_devices.0.ip_address"),
        (device("{ip_address: a, ip_bind_port: 0}"), "ip_devices.0.ip_bind_port"),
        (device("{ip_address: a, ip_bind_port: 70000}"), "ip_devices.0.ip_bind_port"),
        (device("{ip_address: a}"), "ip_bind_port"),
        (device("{ip_address: a, ip_bind_port: 1, port: 2}"), "port"),
        (
            device("{ip_address: a, ip_bind_port: 1}\n      - {ip_address: A, ip_bind_port: 1}"),
            "listed twice",
        ),
    ];
    for (own, wanted) in cases {
        let (status, text) = check(&own, "");
        assert_eq!(status, Some(2), "{own}{text}");
        assert!(text.contains(wanted) && text.contains("section pattoo_agent_os_hubd"), "{own}{text}");
        assert!(
            own.is_empty() || own.ends_with("[]\n") || text.contains("pattoo_agent_os_hubd.yaml"),
            "{own}{text}"
        );
    }
    for api in [
        "pattoo_agent_api: {ip_address: \"a b\"}\n",
        "pattoo_agent_api: {ip_bind_port: 0}\n",
        "pattoo_agent_api: {ip_bind_port: x}\n",
    ] {
        let (status, text) = check(SAMPLE, api);
        assert!(
            status == Some(2) && text.contains("section pattoo_agent_api") && text.contains("key ip_"),
            "{api}{text}"
        );
    }
}

#[test]
fn an_ipv6_target_and_a_host_name_are_polled() {
    let six = Spoke::start_on_ipv6("six", SpokeManner::Answer);
    let named = Spoke::start("named", SpokeManner::Answer);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server).replace("127.0.0.1", "localhost"), &[&six], 1, &[]);
    let own = std::fs::read_to_string(folder.config().join("pattoo_agent_os_hubd.yaml")).unwrap();
    let port = named.address().port();
    folder.write(
        "pattoo_agent_os_hubd.yaml",
        &format!("{own}    - {{ip_address: LocalHost, ip_bind_port: {port}}}\n"),
    );
    let _hub = folder.start(HUB);
    wait_until("posts of both arrive", LIMIT, || server.taken_by_agent().len() == 2);
    let host =
        six.asked()[0].headers.iter().find(|header| header.to_lowercase().starts_with("host:")).cloned();
    assert_eq!(host.unwrap().to_lowercase(), format!("host: [::1]:{}", six.address().port()));
    let given = given(&[("six", &six), ("named", &named)]);
    assert!(server.taken().iter().all(|request| given.values().flatten().any(|body| *body == request.body)));
}

#[test]
fn once_polls_each_target_and_keeps_nothing() {
    let good = Spoke::start("a", SpokeManner::Answer);
    let bad = Spoke::start("b", SpokeManner::Nan);
    let folder = folder(NO_API, &[&good, &bad], 300, &[]);
    let output = folder.run(HUB, &["--once"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(output.status.code(), Some(1));
    assert!(lines[0].starts_with(&format!("{} ok agent_id=a bytes=", good.address())), "{text}");
    assert_eq!(lines[1], format!("{} failed nan", bad.address()));
    assert!(!folder.cache().exists());
    bad.set(SpokeManner::Answer);
    assert_eq!(folder.run(HUB, &["--once"]).status.code(), Some(0));
}

#[test]
fn the_agent_id_is_kept_over_restarts() {
    let folder = folder(NO_API, &[], 300, &["receive: true", "agent_id: hub-1"]);
    let hub = folder.start(HUB);
    assert_eq!(hub.logged("identity agent_id=hub-1 origin=configuration"), 1, "{}", hub.log());
    drop(hub);
    std::fs::create_dir_all(folder.daemon().join("agent_id")).unwrap();
    let kept = "0123456789abcdef".repeat(4);
    let file = folder.daemon().join("agent_id/pattoo_agent_os_hubd.agent_id");
    std::fs::write(file, format!("{kept}\n")).unwrap();
    let hub = folder.start(HUB);
    assert_eq!(hub.logged(&format!("identity agent_id={kept} origin=file")), 1, "{}", hub.log());
}
