"""The backlog that an original hub left, written by PattooShared itself, is taken over at the first start."""

import json
import signal

import pytest

from support import made_up, originals, passing, waiting
from support.paths import HUB
from support.programs import api
from support.relay import stamp

AGENTS = [f"{number:064x}" for number in (1, 2, 3)]
POSTS = 60


class Backlog:
    """What an original hub had not delivered, in the folder that `rig.hub` will use."""

    def __init__(self, rig, name="hub"):
        self.folder = rig.folder(name)
        self.folder.write("pattoo", pattoo=self.folder.directories())
        self.folder.write("pattoo_agent", pattoo_agent_api={})
        begin = made_up.now_ms() - 1_000_000
        # Stamps in the names of twelve and thirteen digits: as text, the oldest would be the newest.
        self.stamps = [10**12 - POSTS // 2 + at for at in range(POSTS)]
        self.bodies = [made_up.post(AGENTS[at % 3], begin + at) for at in range(POSTS)]
        # Not written in the order of their stamps.
        posts = list(zip(self.stamps, map(json.loads, self.bodies)))
        self.hub_id = originals.cache(self.folder, HUB, posts[1::2] + posts[0::2])
        self.cache = self.folder.path / "cache" / self.hub_id
        assert len(list(self.cache.iterdir())) == POSTS

    def file(self, at):
        return self.cache / f"{self.stamps[at]}_{self.hub_id}.json"

    def arrived(self, server):
        """The backlog's posts as the server took them, each once, by agent; their bytes are the file's."""
        found = {}
        for body in dict.fromkeys(server.posts()):
            agent, when = stamp(body)
            found.setdefault(agent, []).append(when)
        return found

    def expected(self, without=()):
        found = {}
        for at, body in enumerate(self.bodies):
            if at not in without:
                agent, when = stamp(body)
                found.setdefault(agent, []).append(when)
        return found


@pytest.fixture
def server():
    with made_up.Server(lambda *_: 200) as server:
        yield server


def test_the_originals_backlog_is_delivered_oldest_first(rig, server):
    backlog = Backlog(rig)
    # Two that it was writing when it ended; another agent's cache and a note beside them.
    damaged = {7: backlog.file(7).read_bytes()[:1000], 20: b""}
    for at, content in damaged.items():
        backlog.file(at).write_bytes(content)
    other = backlog.folder.path / "cache" / ("f" * 64) / "1_f.json"
    other.parent.mkdir()
    other.write_text("another agent's")
    left = {stamp(path.read_bytes()): path.read_bytes() for at, path in enumerate(map(backlog.file, range(POSTS))) if at not in damaged}
    with made_up.spoke(AGENTS[0]) as spoke:
        hub = rig.hub(devices=[spoke.port], api=api(server.port))
        waiting.until(lambda: len(set(server.posts())) >= POSTS - 2 + 2, 30, lambda: f"{len(server.posts())}\n{hub.log()}")
        expected, arrived = backlog.expected(without=damaged), backlog.arrived(server)
        for agent in AGENTS:
            assert arrived[agent][: len(expected[agent])] == expected[agent], "oldest first, before what is fresh"
        for body in server.posts():
            assert left.get(stamp(body), body) == body, "byte for byte as the original wrote it"
        assert not list(backlog.cache.parent.glob(f"{backlog.hub_id}/*")), "nothing is left to be taken again"
        aside = [path.read_bytes() for path in (backlog.folder.path / "cache/quarantine").rglob("*") if path.is_file()]
        assert all(content in aside for content in damaged.values()), "what was half written is set aside, not lost"
        assert other.read_text() == "another agent's"
        # It is the hub that the original was.
        assert hub.stop() == 0
        count = len(server.posts())
        hub.start()
        waiting.until(lambda: len(server.posts()) >= count + 2, 10, "it goes on")
        assert all(stamp(body)[0] == AGENTS[0] for body in server.posts()[count:]), "and takes nothing over twice"


def test_a_hub_that_is_killed_while_it_takes_over_loses_nothing(rig, server):
    backlog = Backlog(rig)
    with made_up.spoke("e" * 64) as spoke, made_up.Server(lambda *_: 503) as away:
        hub = rig.hub(devices=[spoke.port], api=api(away.port))
        assert hub.kill() == -signal.SIGKILL
        hub.folder.write("pattoo", pattoo=hub.folder.directories(), pattoo_agent_api=api(server.port))
        hub.start()
        wanted = sum(map(len, backlog.expected().values()))

        def all_arrived():
            arrived = backlog.arrived(server)
            return sum(len(arrived.get(agent, ())) for agent in AGENTS) >= wanted

        waiting.until(all_arrived, 30, lambda: f"{len(server.posts())} of {wanted}\n{hub.log()}")
        arrived = backlog.arrived(server)
        assert {agent: arrived[agent] for agent in AGENTS} == backlog.expected()


def test_a_full_server_keeps_the_backlog_in_the_hub(rig):
    backlog = Backlog(rig)
    with made_up.spoke("e" * 64) as spoke, made_up.Server(lambda *_: 503) as away:
        hub = rig.hub(devices=[spoke.port], api=api(away.port))
        waiting.until(lambda: hub.metrics().sum("pattoo_hub_posts_waiting") >= POSTS, 20, lambda: hub.log())
        found = hub.metrics()
        assert found.sum("pattoo_hub_posts_taken_total") == found.sum("pattoo_hub_posts_waiting") >= POSTS
        assert not passing.below(backlog.cache)
