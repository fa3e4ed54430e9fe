//! Two targets, one spoke: whose posts are taken, and what becomes of the others.

mod common;

use common::{HUB, NO_API, api, assert_balanced, folder, give};
use testkit::http::{get, metric};
use testkit::{Folder, LIMIT, Program, Server, ServerManner, Spoke, SpokeManner, wait_until};

const TOLD: &str = "two targets, one spoke";

/// Waits until the spoke gave so many posts more.
fn more_of(spoke: &Spoke, posts: usize) {
    let wanted = spoke.given().len() + posts;
    wait_until("the spoke gave more", LIMIT, || spoke.given().len() >= wanted);
}

/// Waits until the hub has seen that the spoke gives nothing any more.
fn silence(hub: &Program, spoke: &Spoke) {
    spoke.set(SpokeManner::Error);
    let row = format!("{}</td><td><span class=\"state failing\">failing: status 500<", spoke.address());
    wait_until("the target is seen to fail", LIMIT, || get(hub.address, "/").text().contains(&row));
}

/// Whether the server took this post.
fn is_up(server: &Server, body: &[u8]) -> bool {
    server.taken().iter().any(|request| request.body == body)
}

/// Waits until the newest post of the spoke went up.
fn newest_goes_up(server: &Server, spoke: &Spoke) {
    wait_until("it goes up", LIMIT, || spoke.given().last().is_some_and(|body| is_up(server, body)));
}

/// The bodies in quarantine; what is being written has another ending.
fn set_aside(folder: &Folder) -> Vec<Vec<u8>> {
    let files = Folder::files(&folder.cache().join("quarantine"));
    let identity = |name: &str| name.contains("-identity-") && name.ends_with(".body");
    files.into_iter().filter(|(name, _)| identity(name)).map(|(_, body)| body).collect()
}

fn count(hub: &Program, name: &str, label: &str) -> usize {
    metric(hub.address, &format!("pattoo_hub_{name}"), label) as usize
}

#[test]
fn of_the_second_target_the_newest_post_is_kept_in_quarantine() {
    let first = Spoke::start("twin", SpokeManner::Answer);
    let second = first.twin(SpokeManner::Error);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[&first, &second], 1, &[]);
    let hub = folder.start(HUB);
    newest_goes_up(&server, &first);
    second.set(SpokeManner::Answer);
    more_of(&second, 3);
    more_of(&first, 1);

    // Shown wherever the hub shows its targets.
    let page = get(hub.address, "/").text();
    let state = "<span class=\"state failing\">failing";
    let shown =
        format!("{}</td><td>{state}: {TOLD}: twin is taken from {}", second.address(), first.address());
    assert!(page.contains(&shown) && page.contains("1 of them answered"), "{page}");
    let ready = get(hub.address, "/readyz");
    assert!(ready.status == 200 && ready.text().contains(&format!("{TOLD}: 1 targets")), "{}", ready.text());
    assert_eq!((count(&hub, "targets_contested", ""), count(&hub, "targets_up", "")), (1, 1));

    // Counted, and told once, with both names.
    silence(&hub, &second);
    assert_eq!(count(&hub, "targets_contested", ""), 0);
    assert_eq!(get(hub.address, "/readyz").text(), "ready\n");
    silence(&hub, &first);
    let posts = second.given();
    assert_eq!(count(&hub, "posts_contested_total", ""), posts.len());
    assert_eq!(count(&hub, "posts_quarantined_total", "reason=\"identity\""), posts.len());
    assert_eq!(count(&hub, "polls_total", "result=\"identity\""), posts.len());
    let told = format!("first={} second={} agent_id=twin", first.address(), second.address());
    assert_eq!((hub.logged(TOLD), hub.logged(&told)), (1, 1), "{}", hub.log());

    // Of the first nothing is lost, of the second the newest is kept.
    wait_until("all of the first went up", LIMIT, || server.taken().len() == first.given().len());
    assert_eq!(server.taken_by_agent()["twin"], first.given());
    assert_eq!(set_aside(&folder), posts[posts.len() - 1..]);
    assert_balanced(&hub);
}

#[test]
fn with_warn_the_posts_of_both_go_up_and_it_is_told() {
    let first = Spoke::start("twin", SpokeManner::Answer);
    let second = first.twin(SpokeManner::Error);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[&first, &second], 1, &["identity: warn"]);
    let hub = folder.start(HUB);
    newest_goes_up(&server, &first);
    second.set(SpokeManner::Answer);
    more_of(&second, 3);
    let page = get(hub.address, "/").text();
    assert!(page.contains(&format!("{TOLD}: twin is taken from {}", first.address())), "{page}");
    assert_eq!((count(&hub, "targets_contested", ""), count(&hub, "targets_up", "")), (1, 2));
    silence(&hub, &second);
    silence(&hub, &first);
    let all = first.given().len() + second.given().len();
    wait_until("all went up", LIMIT, || server.taken().len() == all);
    for body in first.given().iter().chain(&second.given()) {
        assert!(is_up(&server, body));
    }
    assert_eq!(count(&hub, "posts_contested_total", ""), second.given().len());
    assert_eq!((hub.logged(TOLD), set_aside(&folder).len()), (1, 0), "{}", hub.log());
    assert_balanced(&hub);
}

#[test]
fn the_spoke_passes_on_when_its_target_misses_a_poll_and_back_again() {
    let first = Spoke::start("twin", SpokeManner::Answer);
    let second = first.twin(SpokeManner::Error);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[&first, &second], 1, &[]);
    let hub = folder.start(HUB);
    newest_goes_up(&server, &first);
    second.set(SpokeManner::Answer);
    more_of(&second, 2);
    let mut passed = 0;
    for (old, new) in [(&first, &second), (&second, &first), (&first, &second)] {
        silence(&hub, old);
        newest_goes_up(&server, new);
        passed += 1;
        let moved = format!("from={} to={}", old.address(), new.address());
        assert_eq!(hub.logged("the spoke is taken from another target now"), passed, "{}", hub.log());
        assert!(hub.logged(&moved) > 0, "{}", hub.log());
        // The old one comes back, and is the second now.
        let before = old.given().len();
        old.set(SpokeManner::Answer);
        wait_until("its newest is set aside", LIMIT, || {
            let aside = set_aside(&folder);
            old.given()[before..].iter().any(|body| aside.contains(body))
        });
        assert!(old.given()[before..].iter().all(|body| !is_up(&server, body)));
        more_of(new, 1);
        newest_goes_up(&server, new);
    }
    // Of each of the two, and told of once.
    assert_eq!(set_aside(&folder).len(), 2);
    assert_eq!(hub.logged(TOLD), 1, "{}", hub.log());
}

#[test]
fn a_restart_changes_nothing_until_the_first_is_no_target_any_more() {
    let first = Spoke::start("twin", SpokeManner::Answer);
    // Several, so that after a restart one of them is asked before the first nearly always.
    let others = [(); 4].map(|()| first.twin(SpokeManner::Error));
    let server = Server::start(ServerManner::Take);
    let spokes: Vec<&Spoke> = others.iter().chain([&first]).collect();
    let place = folder(&api(&server), &spokes, 1, &[]);
    let mut hub = place.start(HUB);
    newest_goes_up(&server, &first);
    others.iter().for_each(|other| other.set(SpokeManner::Answer));
    let kept = format!("twin {}\n", first.address());
    let claims = place.cache().join("claims");
    wait_until("it is kept on disk", LIMIT, || {
        std::fs::read_to_string(&claims).is_ok_and(|text| text.contains(&kept))
    });
    for kill in [false, true, false] {
        others.iter().for_each(|other| more_of(other, 1));
        if kill {
            hub.kill();
        } else {
            hub.terminate();
            hub.wait();
        }
        hub = place.start(HUB);
        spokes.iter().for_each(|spoke| more_of(spoke, 1));
        newest_goes_up(&server, &first);
    }
    assert!(others.iter().flat_map(Spoke::given).all(|body| !is_up(&server, &body)), "{}", hub.log());
    hub.terminate();
    hub.wait();

    // Now it leaves; what the hub keeps is the same.
    let without = folder(&api(&server), &[&others[0], &others[1]], 1, &[]);
    let own = "pattoo_agent_os_hubd.yaml";
    place.write(own, &std::fs::read_to_string(without.config().join(own)).unwrap());
    let before: Vec<_> = others.iter().flat_map(Spoke::given).collect();
    let _hub = place.start(HUB);
    let fresh =
        |spoke: &Spoke| spoke.given().iter().any(|body| !before.contains(body) && is_up(&server, body));
    wait_until("the posts of another target go up", LIMIT, || fresh(&others[0]) || fresh(&others[1]));
}

#[test]
fn a_spoke_under_two_names_loses_nothing() {
    let spoke = Spoke::start("a", SpokeManner::Answer);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[&spoke], 1, &[]);
    let own = std::fs::read_to_string(folder.config().join("pattoo_agent_os_hubd.yaml")).unwrap();
    let again = format!("    - {{ip_address: localhost, ip_bind_port: {}}}\n", spoke.address().port());
    folder.write("pattoo_agent_os_hubd.yaml", &(own + &again));
    let hub = folder.start(HUB);
    wait_until("both names were asked", LIMIT, || count(&hub, "posts_contested_total", "") >= 3);
    assert_eq!(hub.logged(TOLD), 1, "{}", hub.log());
    assert!(hub.logged(&format!("localhost:{}", spoke.address().port())) > 0, "{}", hub.log());
    spoke.set(SpokeManner::Error);
    wait_until("neither gives anything", LIMIT, || get(hub.address, "/").text().contains("; 0 of them"));
    let (own, contested) = (count(&hub, "polls_total", "\"ok\""), count(&hub, "posts_contested_total", ""));
    assert_eq!(own + contested, spoke.given().len());
    wait_until("every post of one of the names went up", LIMIT, || server.taken().len() == own);
    assert!(own >= 2);
    assert_eq!(server.kept_by_agent()["a"].len(), own, "in order, none twice");
}

#[test]
fn posts_that_are_received_are_not_pinned() {
    let spoke = Spoke::start("a", SpokeManner::Answer);
    let server = Server::start(ServerManner::Take);
    let folder = folder(&api(&server), &[&spoke], 1, &["receive: true"]);
    let hub = folder.start(HUB);
    newest_goes_up(&server, &spoke);
    let body = give(&hub, "a", 1);
    wait_until("the received one goes up", LIMIT, || is_up(&server, &body));
    more_of(&spoke, 1);
    newest_goes_up(&server, &spoke);
    assert_eq!((hub.logged(TOLD), set_aside(&folder).len()), (0, 0));
}

#[test]
fn once_tells_of_two_targets_and_one_spoke() {
    let first = Spoke::start("twin", SpokeManner::Answer);
    let second = first.twin(SpokeManner::Answer);
    for (rule, status) in [("pin", 1), ("warn", 0)] {
        let folder = folder(NO_API, &[&first, &second], 300, &[&format!("identity: {rule}")]);
        let output = folder.run(HUB, &["--once"]);
        let said = String::from_utf8(output.stdout).unwrap();
        let (one, other) = (first.address(), second.address());
        assert!(said.contains(&format!("{TOLD}: {one} and {other} give agent_id=twin\n")), "{said}");
        assert_eq!(output.status.code(), Some(status), "{said}");
    }
}
