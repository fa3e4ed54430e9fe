"""Agents of the original post to the hub as to the pattoo server, with PattooShared's own `phttp`, and are content."""

import json

import pytest

from support import ingest, made_up, originals, waiting
from support.programs import api

AGENT = "a" * 64


@pytest.fixture
def server():
    with made_up.Server(lambda *_: 200) as server:
        yield server


class Agent:
    """A configuration directory of an original agent, whose pattoo server is at `port`."""

    def __init__(self, rig, port):
        self.folder = rig.folder("agent")
        self.folder.write("pattoo", pattoo=self.folder.directories())
        self.move(port)

    def move(self, port):
        self.folder.write("pattoo_agent", pattoo_agent_api=api(port))

    def cached(self):
        """What it has kept since it was not taken."""
        return [json.loads(path.read_bytes()) for path in sorted(self.folder.path.glob("cache/*/*.json"))]


def arrived(server, posts, hub):
    waiting.until(lambda: len(server.posts()) >= posts, 20, lambda: hub.log())
    assert len(server.posts()) == posts
    return server.asked[-1]


def test_post_is_content_and_its_bytes_arrive(rig, server):
    hub = rig.hub(receive=True, api=api(server.port))
    agent, data = Agent(rig, hub.port), json.loads(made_up.post(AGENT))
    assert originals.phttp(agent.folder, "Post", [AGENT, data], "post") == [AGENT, [True]]
    one = arrived(server, 1, hub)
    assert one.body == json.dumps(data).encode(), "as requests writes it: spaces, keys in the order of the data"
    assert one.path == f"/pattoo/api/v1/agent/receive/{AGENT}"
    assert agent.cached() == []


def test_an_agent_that_polls_posts_what_it_found(rig, server, tmp_path):
    hub = rig.hub(receive=True, api=api(server.port))
    agent, points = Agent(rig, hub.port), [["ifInOctets", 1234], ["temperature", 21.5]]
    made = ["pattoo_agent_snmpd", 20, "switch.example.com", points]
    identifier, told = originals.phttp(agent.folder, "PostAgent", made, "post", "purge")
    assert told == [True, None]
    body = arrived(server, 1, hub).body
    assert json.loads(body)["pattoo_agent_id"] == identifier
    assert ingest.fates([body], tmp_path / "judge") == [{"kept": len(points)}]
    assert hub.metrics().sum("pattoo_hub_datapoints_taken_total") == len(points)


def test_a_passive_agent_is_relayed_as_the_original_hub_does(rig, server):
    hub, spoke = rig.hub(receive=True, api=api(server.port)), rig.spoke()
    agent = Agent(rig, hub.port)
    url = f"http://127.0.0.1:{spoke.port}/pattoo-agent-os/300"
    originals.phttp(agent.folder, "PassiveAgent", ["pattoo_agent_os_hubd", AGENT, url], "relay")
    one = arrived(server, 1, hub)
    # The source in the path is the original hub's; ours sends each spoke's own.
    assert one.path.endswith("/" + json.loads(one.body)["pattoo_agent_id"]) and AGENT not in one.path
    assert agent.cached() == []


def test_a_post_that_the_hub_cannot_take_stays_in_the_agents_cache(rig, server):
    hub = rig.hub(receive=True, api=api(server.port), max_sources=1)
    agent, data = Agent(rig, hub.port), json.loads(made_up.post(AGENT))
    other = "b" * 64
    assert originals.phttp(agent.folder, "Post", [other, json.loads(made_up.post(other))], "post") == [other, [True]]
    # 503: no place for another source.
    assert originals.phttp(agent.folder, "Post", [AGENT, data], "post") == [AGENT, [False]]
    assert agent.cached() == [data]
    assert hub.metrics().sum("pattoo_hub_store_errors_total") == 1
    arrived(server, 1, hub)
    # The hub is back, with room; its address is another one.
    assert hub.stop() == 0
    hub = rig.hub("larger", receive=True, api=api(server.port))
    agent.move(hub.port)
    later = json.loads(made_up.post(AGENT))
    assert originals.phttp(agent.folder, "Post", [AGENT, later], "post", "purge") == [AGENT, [True, None]]
    arrived(server, 3, hub)
    assert [json.loads(body) for body in server.posts()[1:]] == [later, data], "as they were posted"
    assert agent.cached() == []
