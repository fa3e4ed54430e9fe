//! A tree of hubs: spokes, two hubs that ask them, a hub that these post to, and one above it.

mod common;

use common::{HUB, api, assert_balanced, folder, given};
use testkit::http::metric;
use testkit::{Folder, LIMIT, Port, Program, Server, ServerManner, Spoke, SpokeManner, wait_until};

/// A hub that receives on `port` and posts to what `api` says.
fn above(api: &str, port: &Port) -> Folder {
    let folder = folder(api, &[], 300, &["receive: true", "backoff_max: 1"]);
    let own = format!(
        "pattoo_agent_os_hubd:\n  ip_bind_port: {}\n  receive: true\n  backoff_max: 1\n",
        port.number()
    );
    folder.write("pattoo_agent_os_hubd.yaml", &own);
    folder
}

/// The section that sends posts to `port`.
fn api_at(port: &Port) -> String {
    format!("pattoo_agent_api:\n  ip_address: 127.0.0.1\n  ip_bind_port: {}\n", port.number())
}

fn end(mut hub: Program) {
    hub.terminate();
    hub.wait();
}

fn waiting(hub: &Program) -> f64 {
    metric(hub.address, "pattoo_hub_posts_waiting", "")
}

#[test]
fn a_tree_of_three_levels_delivers_everything_in_order() {
    let spokes = ["a", "b", "c", "d", "e", "f"].map(|id| (id, Spoke::start(id, SpokeManner::Answer)));
    let spokes: Vec<(&str, &Spoke)> = spokes.iter().map(|(id, spoke)| (*id, spoke)).collect();
    let listed: Vec<&Spoke> = spokes.iter().map(|(_, spoke)| *spoke).collect();
    let more = |posts: usize| {
        let before: Vec<usize> = listed.iter().map(|spoke| spoke.given().len()).collect();
        wait_until("each spoke gave more", LIMIT, || {
            listed.iter().zip(&before).all(|(spoke, before)| spoke.given().len() >= before + posts)
        });
    };
    let server = Server::start(ServerManner::Take);
    let ports = [Port::reserve(), Port::reserve()];
    let (top, middle) = (above(&api(&server), &ports[0]), above(&api_at(&ports[0]), &ports[1]));
    let below = listed.chunks(3).map(|spokes| folder(&api_at(&ports[1]), spokes, 1, &["backoff_max: 1"]));
    let below: Vec<Folder> = below.collect();
    let mut at_top = top.start(HUB);
    let mut in_middle = middle.start(HUB);
    let hubs: Vec<Program> = below.iter().map(|folder| folder.start(HUB)).collect();
    wait_until("posts of each arrive", LIMIT, || server.kept_by_agent().len() == spokes.len());

    // The middle dies; what its hubs ask meanwhile waits with them.
    in_middle.kill();
    more(2);
    wait_until("posts wait below", LIMIT, || hubs.iter().all(|hub| waiting(hub) >= 3.0));
    in_middle = middle.start(HUB);
    more(1);

    // The server is away, the top dies and comes back, and the middle is stopped and started meanwhile.
    server.set(ServerManner::Unavailable);
    more(1);
    wait_until("posts wait at the top", LIMIT, || waiting(&at_top) >= 6.0);
    at_top.kill();
    more(1);
    wait_until("posts wait in the middle", LIMIT, || waiting(&in_middle) >= 6.0);
    end(in_middle);
    at_top = top.start(HUB);
    in_middle = middle.start(HUB);
    more(1);
    server.set(ServerManner::Take);
    more(1);

    listed.iter().for_each(|spoke| spoke.set(SpokeManner::Error));
    wait_until("all arrived, of each spoke in order and byte for byte", LIMIT, || {
        server.kept_by_agent() == given(&spokes)
    });
    let all = [&at_top, &in_middle];
    for hub in all.into_iter().chain(&hubs) {
        wait_until("nothing waits", LIMIT, || waiting(hub) == 0.0);
        assert_balanced(hub);
        assert_eq!(metric(hub.address, "pattoo_hub_posts_quarantined_total", ""), 0.0);
    }
}
