"""The limits of both programs' listeners, and those who abuse them: each prints its figure."""

import contextlib
import gzip
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from support import hosts, pki, requests, waiting
from support.judge import judge
from support.paths import HUB, SPOKE, cargo, target
from support.programs import AGENT_API
from test_access import start
from test_commands import both

JSON = {"Content-Type": "application/json"}
RECEIVE = AGENT_API + "/receive/abuse"
# How long a flood lasts; the documented long run sets 60.
SECONDS = int(os.environ.get("ABUSE_SECONDS", 10))
# What an honest client may wait longer than without abuse, and what a program may take more than before, in bytes. Below 0.3
# ms it is the kernel that is measured.
TIMES, AT_LEAST_US = 3, 300
BOUND = 48 << 20
SOURCES = 5_000


@pytest.fixture(scope="module")
def abuser(binaries):
    # Of the whole workspace, so that it stands on the dependencies that the Rust tests are built with as well.
    cargo("build", "--locked", "--workspace", "--example", "abuse", check=True)
    return target() / "debug/examples/abuse"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return pki.Authority(tmp_path_factory.mktemp("pki"), "own")


def start_with_tls(rig, program, authority, **settings):
    certificate, key = authority.issue(program)
    it = start(rig, program, tls_certificate_file=str(certificate), tls_key_file=str(key), **settings)
    it.context = ssl.create_default_context(cafile=authority.file)
    return it


def ahead(pid=None):
    """The program and the honest client run before all else on this machine: abusers and other work are, as it were, on
    others, and no figure is that of a core which somebody else had. It takes root; without, the figures are less steady."""
    for task in os.listdir(f"/proc/{pid}/task") if pid else [0]:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(int(task), os.SCHED_RR, os.sched_param(1))


class Abused:
    """A program that is measured before, while and after somebody abuses it; with an authority, over TLS."""

    def __init__(self, running, program, abuser, path="/livez", authority=None):
        self.running, self.abuser, self.path = running, abuser, path
        self.over_tls = [f"ca={authority.file}"] if authority else []
        self.prefix = "pattoo_spoke_" if program == SPOKE else "pattoo_hub_"
        self.process = Path(f"/proc/{running.process.pid}")
        ahead(running.process.pid)
        self.honest(50)
        self.quiet = self.honest(400)
        self.sockets, self.memory = self.open_sockets(), self.resident()

    def open_sockets(self):
        count = 0
        for path in (self.process / "fd").iterdir():
            # One that is closed meanwhile is none.
            with contextlib.suppress(OSError):
                count += os.readlink(path).startswith("socket:")
        return count

    def resident(self, what="VmRSS"):
        return int(re.search(rf"^{what}:\s+(\d+) kB", (self.process / "status").read_text(), re.MULTILINE)[1]) * 1024

    def call(self, *arguments):
        command = [self.abuser, *map(str, arguments), *self.over_tls]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=ahead)
        assert done.returncode == 0, done
        return done.stdout

    def address(self):
        return f"127.0.0.1:{self.running.port}"

    def honest(self, samples):
        """The median of an honest client's requests, each on a connection of its own, in microseconds."""
        said = self.call("honest", self.address(), samples, self.path)
        median, p95, failed = map(int, re.fullmatch(r"median (\d+) p95 (\d+) failed (\d+)\n", said).groups())
        assert failed == 0, (said, self.running.log())
        return median

    @contextlib.contextmanager
    def abuse(self, what, *arguments):
        """While somebody does it; what he saw is in the list that is yielded, afterwards."""
        # Before other work on this machine: a flood has to be one.
        command = ["nice", "-n", "-20", self.abuser, what, self.address(), *map(str, arguments), *self.over_tls]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            seen = []
            yield seen
            said, _ = process.communicate(timeout=60)
            seen += said.splitlines()

    def metric(self, name, **labels):
        return self.running.metrics().sum(self.prefix + name, **labels)

    def refused(self):
        found = self.running.metrics()
        return {dict(labels)["reason"]: int(value) for (name, labels), value in found.items() if name.endswith("http_refused_total") and value}

    def judge(self, what, abused, peak=None):
        """Nobody else had to wait, memory stayed, and afterwards all is as before."""
        peak = peak or self.resident("VmHWM")
        # The one that asks for the metric is the one connection.
        waiting.until(lambda: self.metric("http_connections") <= 1, 20, self.running.log)
        waiting.until(lambda: self.open_sockets() <= self.sockets, 20, lambda: f"{self.open_sockets()} sockets, {self.sockets} before")
        assert self.metric("http_in_flight_bytes") == 0 and self.metric("http_requests") <= 1
        grown = peak - self.memory
        print(f"{what}: honest median {abused} us, quiet {self.quiet} us; memory at most {grown >> 20} MiB more; refused {self.refused()}")
        assert abused <= max(TIMES * self.quiet, AT_LEAST_US), what
        assert grown <= BOUND, (what, grown)


@both
@pytest.mark.parametrize("sources", (1, 20), ids=["from one address", "from twenty"])
@pytest.mark.parametrize("what", ("slow", "silent"))
def test_connections_that_dawdle(rig, abuser, program, what, sources):
    """2,000 that send a byte a second, 1,000 that never send."""
    it = Abused(start(rig, program), program, abuser)
    with it.abuse(what, 2000 if what == "slow" else 1000, sources) as seen:
        abused = it.honest(400)
    it.judge(f"{what}, {sources} addresses: {seen[0]}", abused)
    # Of twenty it is all of them together that are too many; 1,000 are less than may be, and each in its time.
    limits = {(1, "slow"): {"address_connections"}, (1, "silent"): {"address_connections"}, (20, "slow"): {"connections"}}
    assert it.refused().keys() & {"connections", "address_connections"} == limits.get((sources, what), set())


@both
@pytest.mark.parametrize("path", ("/livez", "/metrics"))
def test_a_flood_of_requests(rig, abuser, program, path):
    it = Abused(start(rig, program), program, abuser, path)
    ends = time.monotonic() + SECONDS
    with it.abuse("flood", 128, 2, path) as seen:
        medians = []
        while time.monotonic() < ends:
            medians.append(it.honest(100))
    # One round after the other, each with its median; what counts is the middle one, not the best.
    it.judge(f"flood of {path} for {SECONDS} s: {'; '.join(seen)}", sorted(medians)[len(medians) // 2])
    assert any(line.startswith("200 ") for line in seen)


@both
@pytest.mark.parametrize("what", ("slow", "silent"))
def test_handshakes_that_dawdle(rig, abuser, authority, program, what):
    """1,000 that send a byte of the handshake a second, or nothing: less than may be, so it is their time that ends."""
    running = start_with_tls(rig, program, authority, handshake_timeout=2)
    it = Abused(running, program, abuser, authority=authority)
    with it.abuse(what, 1000, 20) as seen:
        abused = it.honest(400)
        waiting.until(lambda: it.refused().get("slow_handshake", 0) >= 1000, 20, running.log)
    it.judge(f"handshakes that are {what}: {seen[0]}", abused)
    assert it.refused().keys() <= {"slow_handshake", "handshake"}, "those are broken off when the abuser ends"


@both
@pytest.mark.parametrize("what", ("flood", "shake"))
def test_a_flood_over_tls(rig, abuser, authority, program, what):
    """Of requests for the page that costs most, on connections that stay, and of handshakes."""
    it = Abused(start_with_tls(rig, program, authority), program, abuser, authority=authority)
    ends = time.monotonic() + SECONDS
    with it.abuse(what, 128, 2, "/") as seen:
        medians = []
        while time.monotonic() < ends:
            medians.append(it.honest(100))
    it.judge(f"{what} over TLS for {SECONDS} s: {'; '.join(seen)}", sorted(medians)[len(medians) // 2])
    assert any(line.startswith(("200 ", "0 ")) for line in seen)


@both
def test_sizes(rig, program):
    it = start(rig, program, max_url_bytes=1000, max_header_bytes=1000)
    assert it.get("/livez?" + "x" * 990).status == 200
    assert it.get("/livez?" + "x" * 995).status == 414
    assert it.get("/livez", headers={"X": "x" * 900}).status == 200
    assert it.get("/livez", headers={"X": "x" * 1000}).status == 431
    assert requests.raw(it.port, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    assert it.get("/livez", headers={f"X-{number}": "" for number in range(120)}).status == 431
    prefix = "pattoo_spoke_" if program == SPOKE else "pattoo_hub_"
    assert it.metrics().sum(prefix + "http_refused_total", reason="url") == 1
    assert it.metrics().sum(prefix + "http_refused_total", reason="headers") == 3


@both
def test_times(rig, program):
    it = start(rig, program, header_timeout=1, idle_timeout=2)

    def lasts(sent, more=b""):
        """How long a connection lives that has sent this, and then one byte of `more` after the other."""
        with socket.create_connection(("127.0.0.1", it.port), timeout=10) as connection:
            begun = time.monotonic()
            connection.sendall(sent)
            connection.settimeout(0.1)
            for at in range(100):
                with contextlib.suppress(TimeoutError, ConnectionError):
                    while connection.recv(4096):
                        pass
                    return time.monotonic() - begun
                with contextlib.suppress(ConnectionError):
                    connection.sendall(more[at : at + 1])
        raise AssertionError("it lives on")

    assert 0.9 < lasts(b"") < 3
    assert 0.9 < lasts(b"GET /livez HTTP/1.1\r\nX: ", b"x" * 100) < 3, "for all headers, not for each byte"
    assert 1.9 < lasts(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n") < 5
    prefix = "pattoo_spoke_" if program == SPOKE else "pattoo_hub_"
    assert it.metrics().sum(prefix + "http_refused_total", reason="slow_headers") == 2
    assert any('reason="slow_headers"' in line and "header_timeout" in line for line in it.lines)


def test_a_body_has_its_time(rig):
    it = rig.hub(receive=True, body_timeout=1)
    head = f"POST {RECEIVE} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", it.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"{")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert it.metrics().sum("pattoo_hub_http_refused_total", reason="slow_body") == 1


@both
def test_an_answer_has_its_time_to_be_taken(rig, program):
    it = start(rig, program, body_timeout=1)
    prefix = "pattoo_spoke_" if program == SPOKE else "pattoo_hub_"
    with socket.create_connection(("127.0.0.1", it.port), timeout=10) as connection:
        # Answers to requests that come and come fill what the system holds for one who takes none.
        with contextlib.suppress(ConnectionError):
            while True:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n" * 100)
    waiting.until(lambda: it.metrics().sum(prefix + "http_refused_total", reason="slow_reader") == 1, 10, it.log)
    assert it.metrics().sum(prefix + "http_in_flight_bytes") == 0


def test_more_requests_than_may_be_are_503_with_retry_after(rig, tmp_path):
    """While one waits for the host, which stands still."""
    host = hosts.made("no_psi", tmp_path / "host")
    it = rig.spoke(environment=host.environment(), max_requests=1)
    file, away = host.proc / "loadavg", host.proc / "loadavg.away"
    file.rename(away)
    # Who opens it waits until somebody comes to write.
    os.mkfifo(file)
    answers = []
    first = threading.Thread(target=lambda: answers.append(it.get("/pattoo-agent-os/300").status))
    first.start()
    asked = []

    def is_refused():
        asked.append(it.get("/nothing"))
        return asked[-1].status == 503

    waiting.until(is_refused, 10, it.log)
    assert asked[-1].headers["retry-after"] == "5"
    assert asked[-1].body == b"Try again later: as many requests at the same time as max_requests allows.\n"
    assert it.get("/livez").status == 200, "what supervises must not end a program for being busy"
    assert not answers
    still = os.open(file, os.O_RDWR)
    os.replace(away, file)
    os.close(still)
    first.join(10)
    assert answers == [200]
    assert it.metrics().sum("pattoo_spoke_http_refused_total", reason="requests") == 1
    assert any('reason="requests"' in line and "max_requests" in line for line in it.lines)


def test_no_room_is_503_with_retry_after(rig):
    it = rig.hub(receive=True, max_in_flight_bytes=1)
    head = f"POST {RECEIVE} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", it.port), timeout=10) as first:
        first.sendall(head.encode() + b"{")
        # Its byte takes what there is; afterwards there is room again.
        waiting.until(lambda: requests.send("POST", it.port, RECEIVE, b"{}", JSON).status == 503, 10, it.log)
        refused = requests.send("POST", it.port, RECEIVE, b"{}", JSON)
        assert refused.status == 503 and refused.headers["retry-after"] == "5"
    waiting.until(lambda: requests.send("POST", it.port, RECEIVE, b"{}", JSON).status != 503, 10, it.log)
    assert it.metrics().sum("pattoo_hub_http_refused_total", reason="memory") >= 2


def test_bodies_without_measure(rig, abuser):
    """1 GB that is declared, one without an end, a bomb, and JSON of 100,000 levels."""
    it = Abused(start(rig, HUB), HUB, abuser)
    head = f"POST {RECEIVE} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    declared = requests.raw(it.running.port, (head + "Content-Length: 1000000000\r\n\r\n{").encode())
    assert declared.startswith(b"HTTP/1.1 413 "), declared

    def endless():
        with socket.create_connection(("127.0.0.1", it.running.port), timeout=10) as connection:
            connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
            chunk, sent = b"10000\r\n" + b" " * 65536 + b"\r\n", 0
            with contextlib.suppress(ConnectionError):
                while sent < 1 << 30:
                    connection.sendall(chunk)
                    sent += 65536
            return sent

    assert endless() < 64 << 20
    bomb = gzip.compress(b" " * (1 << 28))
    status = requests.send("POST", it.running.port, RECEIVE, bomb, JSON | {"Content-Encoding": "gzip"}).status
    assert status == 413
    for deep in (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000):
        assert requests.send("POST", it.running.port, RECEIVE, deep, JSON).status in (404, 500)
    it.judge(f"bodies without measure: a bomb of {len(bomb)} bytes", it.honest(200))
    assert it.refused()["body"] == 3


def test_invented_sources_touch_nobodys_backlog(rig, abuser):
    """50,000 of them: `max_sources` bounds what is kept, and what waited before waits on."""
    it = Abused(rig.hub(receive=True, max_sources=SOURCES), HUB, abuser)
    spoke = rig.spoke()
    post = spoke.get("/pattoo-agent-os/300").body
    source = json.loads(post)["pattoo_agent_id"]
    assert requests.send("POST", it.running.port, RECEIVE, post, JSON).status == 200
    with it.abuse("sources", 50_000) as seen:
        abused = it.honest(400)
    said = dict(map(int, line.split()) for line in seen)
    assert said.keys() == {200, 503} and said[200] < SOURCES and sum(said.values()) == 50_000, said
    listed = subprocess.run([it.running.binary, "--queue", "list"], env=it.running.environment, capture_output=True, text=True, timeout=30)
    assert source in listed.stdout, listed
    assert it.metric("spool_lanes") <= SOURCES
    assert len([line for line in it.running.lines if "no room for the posts of another source" in line]) < 5
    it.judge(f"50,000 invented sources: {said}", abused)
