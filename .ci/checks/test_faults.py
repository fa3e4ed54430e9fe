"""Faults between hub and server, with the programs as plain processes and relays between them."""

import signal
import socket
import time

import pytest

from support import waiting
from support.judge import judge
from support.programs import api
from support.relay import Relay, assert_all_arrived, posts_asked, posts_taken, wait_all_arrived

SPOKES = 8
STOP = 5.0


class Chain:
    """Spokes, a relay before each, a hub, a relay, and the stand-in for the server."""

    def __init__(self, rig, spokes, **settings):
        self.rig = rig
        self.spokes = [rig.spoke(f"spoke-{number}") for number in range(spokes)]
        self.polls = [Relay(("127.0.0.1", spoke.port)) for spoke in self.spokes]
        self.server = rig.server()
        self.to_server = Relay(lambda: ("127.0.0.1", self.server.port))
        self.hub = rig.hub(
            devices=[relay.port for relay in self.polls], api=api(self.to_server.port), backoff_max=2, **settings
        )

    def asked(self):
        return [exchange for relay in self.polls for exchange in posts_asked(relay)]

    def taken(self):
        return posts_taken(self.to_server)

    def set_polls(self, mode):
        for relay in self.polls:
            relay.set(mode)

    def hold_polls(self):
        """Stops new answers and waits until those under way are over: what was handed over stands still then."""
        self.set_polls("hold")
        waiting.until(lambda: not any(relay.under_way for relay in self.polls), 10, "polls under way are over")

    def wait_asked(self, more):
        wanted = len(self.asked()) + more
        waiting.until(lambda: len(self.asked()) >= wanted, 60, lambda: f"{wanted} polls: {len(self.asked())}")

    def wait_taken(self, count):
        waiting.until(
            lambda: len(self.taken()) >= count, 60, lambda: f"{count} posts: {len(self.taken())}\n{self.hub.log()}"
        )

    def wait_all_taken(self):
        wait_all_arrived(self.asked, self.taken, 60, self.hub.log)

    def close(self):
        for relay in [*self.polls, self.to_server]:
            relay.close()


@pytest.fixture
def chain(rig):
    made = []

    def make(spokes, **settings):
        made.append(Chain(rig, spokes, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_posts_go_up_byte_for_byte(chain):
    it = chain(2)
    it.wait_taken(6)
    it.hold_polls()
    it.wait_all_taken()
    assert assert_all_arrived(it.asked(), it.taken()) >= 6
    for exchange in it.taken():
        judge(exchange.sent)
    # Every poll names the interval that the hub has.
    assert {exchange.path for exchange in it.asked()} == {"/pattoo-agent-os/1"}


def test_nothing_is_lost_while_the_server_fails_twice_and_the_hub_is_killed(chain):
    it = chain(SPOKES)
    it.wait_taken(3 * SPOKES)

    # The server is down a first time: its process ends, and posts collect.
    assert it.server.stop() == 0
    it.wait_asked(6 * SPOKES)
    waiting.until(
        lambda: it.hub.metrics().sum("pattoo_hub_posts_waiting") >= 4 * SPOKES, 60, lambda: f"posts collect: {it.hub.metrics()}"
    )
    it.server.start()

    # The hub is killed while it still drains what it kept. What was handed to it then stands still: an answer that
    # it gets in the instant of its death would be in nobody's hands.
    it.hold_polls()
    handed = len(it.asked())
    waiting.until(
        lambda: it.hub.metrics().sum("pattoo_hub_posts_taken_total") == handed,
        60,
        lambda: f"taken are all {handed}: {it.hub.metrics()}",
    )
    assert it.hub.kill() == -signal.SIGKILL
    it.set_polls("refuse")
    it.set_polls("pass")
    it.hub.start()
    it.wait_asked(6 * SPOKES)

    # The server is down a second time: connections are refused at first, then taken and not answered.
    it.to_server.set("refuse")
    it.wait_asked(4 * SPOKES)
    it.to_server.set("hang")
    it.wait_asked(4 * SPOKES)
    it.to_server.set("pass")
    it.wait_asked(4 * SPOKES)

    it.hold_polls()
    it.wait_all_taken()
    compared = assert_all_arrived(it.asked(), it.taken())
    print(f"{compared} posts of {SPOKES} spokes, {len(it.taken()) - compared} of them sent twice")
    assert compared >= 200
    counted = it.hub.metrics()
    assert counted.sum("pattoo_hub_posts_quarantined_total") == 0
    assert counted.sum("pattoo_hub_posts_dropped_total") == 0


def test_a_backlog_goes_up_before_what_is_fresh(chain):
    it = chain(1)
    it.wait_taken(1)
    it.to_server.set("refuse")
    it.wait_asked(4)
    it.to_server.set("pass")
    it.wait_asked(2)
    it.hold_polls()
    it.wait_all_taken()
    assert assert_all_arrived(it.asked(), it.taken()) >= 7


def test_the_books_balance(chain):
    it = chain(2)
    it.wait_taken(4)
    it.to_server.set("refuse")
    it.wait_asked(4)
    it.hold_polls()
    handed = len(it.asked())

    def balanced():
        found = it.hub.metrics()
        names = ("delivered_total", "waiting", "quarantined_total", "dropped_total")
        taken = found.sum("pattoo_hub_posts_taken_total")
        return taken == handed and taken == sum(found.sum(f"pattoo_hub_posts_{name}") for name in names)

    waiting.until(balanced, 10, lambda: f"handed {handed}: {it.hub.metrics()}")
    found = it.hub.metrics()
    assert found.sum("pattoo_hub_posts_waiting") >= 4
    assert found.sum("pattoo_hub_polls_total") >= handed


@pytest.mark.parametrize("upstream", ["answers", "hangs"])
def test_a_hub_stops_within_five_seconds(chain, upstream):
    it = chain(1)
    it.wait_taken(1)
    if upstream == "hangs":
        it.to_server.set("hang")
        it.wait_asked(2)
    before = time.monotonic()
    assert it.hub.stop() == 0, it.hub.log()
    assert time.monotonic() - before < STOP


@pytest.mark.parametrize("clients", ["none", "half_a_request"])
def test_a_spoke_stops_within_five_seconds(rig, clients):
    spoke = rig.spoke()
    connection = socket.create_connection(("127.0.0.1", spoke.port))
    if clients == "half_a_request":
        connection.sendall(b"GET /pattoo-agent-os/300 HTTP/1.1\r\nHost: h\r\n")
    before = time.monotonic()
    assert spoke.stop() == 0, spoke.log()
    assert time.monotonic() - before < STOP
    connection.close()


def test_a_spoke_that_hangs_costs_the_others_nothing(chain):
    it = chain(3)
    it.wait_taken(3)
    hung, others = it.spokes[0], it.polls[1:]
    hung.send_signal(signal.SIGSTOP)
    began = time.time()
    counts = [len(posts_asked(relay)) for relay in others]
    waiting.until(
        lambda: all(len(posts_asked(r)) >= count + 6 for r, count in zip(others, counts)), 20, "six more of each other"
    )
    ended = time.time()
    for relay in others:
        times = [exchange.when for exchange in posts_asked(relay) if exchange.when > began - 1]
        gaps = [late - early for early, late in zip(times, times[1:])]
        assert max(gaps) < 1.9, gaps
    assert ended - began < 8
    failed = {labels for (name, labels), value in it.hub.metrics().items() if name == "pattoo_hub_polls_total" and value}
    assert len(failed) >= 2, f"a failed poll is counted under its reason: {failed}"
    before = len(posts_asked(it.polls[0]))
    hung.send_signal(signal.SIGCONT)
    waiting.until(lambda: len(posts_asked(it.polls[0])) >= before + 2, 10, "it is asked again")

