"""What the spoke answers, and what the receiving hub answers: the tables of the contract over bare HTTP."""

import gzip
import json
import socket

import pytest

from support import requests
from support.judge import judge
from support.paths import ORIGINAL
from support.programs import AGENT_API

RECEIVE = f"{AGENT_API}/receive"
JSON = {"Content-Type": "application/json"}
YEAR = 31_536_000


@pytest.fixture(scope="module")
def programs(binaries, tmp_path_factory):
    from support.programs import Rig

    with Rig(binaries, tmp_path_factory.mktemp("http")) as rig:
        yield {"spoke": rig.spoke(), "server": rig.server()}


@pytest.fixture
def spoke(programs):
    return programs["spoke"]


@pytest.fixture
def server(programs):
    return programs["server"]


@pytest.mark.parametrize("path", ["300", "0300", "300?x=1", "%33%30%30"])
def test_spoke_answers_300_with_a_post(spoke, path):
    answer = spoke.get(f"/pattoo-agent-os/{path}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert judge(answer.body).interval == 300_000


def test_spoke_answers_0_without_datapoints(spoke):
    answer = spoke.get("/pattoo-agent-os/0")
    post = judge(answer.body)
    assert (answer.status, post.interval, post.points) == (200, 0, [])


def test_spoke_answers_up_to_a_year(spoke):
    assert judge(spoke.get(f"/pattoo-agent-os/{YEAR}").body).interval == YEAR * 1000
    assert spoke.get(f"/pattoo-agent-os/{YEAR + 1}").status == 404
    assert spoke.get("/pattoo-agent-os/99999999999999999999999999").status == 404


@pytest.mark.parametrize("path", ["", "/", "/abc", "/-5", "/300.5", "/300/", "/+300", "/%20300", "/0x12c", "/3_0"])
def test_spoke_answers_404(spoke, path):
    assert spoke.get(f"/pattoo-agent-os{path}").status == 404


def test_spoke_answers_head_without_a_body(spoke):
    # On the wire itself: a client would hide a body.
    received = requests.raw(spoke.port, b"HEAD /pattoo-agent-os/300 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b""


def test_spoke_answers_options(spoke):
    assert requests.send("OPTIONS", spoke.port, "/pattoo-agent-os/300").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_spoke_answers_405_to_other_methods(spoke, method):
    answer = requests.send(method, spoke.port, "/pattoo-agent-os/300", body=b"")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_spoke_and_hub_answer_health(spoke, server, path):
    assert spoke.get(path).status == 200
    assert server.get(path).status == 200


def test_spoke_says_in_words_what_it_serves(spoke):
    answer = spoke.get("/")
    assert answer.status == 200
    assert b"/pattoo-agent-os/" in answer.body


def test_metrics_can_be_read(spoke, server):
    spoke.get("/pattoo-agent-os/300")
    assert any(name.startswith("pattoo_spoke_") for name in spoke.metrics().names())
    assert any(name.startswith("pattoo_hub_") for name in server.metrics().names())


def test_five_idle_connections_do_not_keep_the_sixth_client_waiting(spoke):
    idle = [socket.create_connection(("127.0.0.1", spoke.port)) for _ in range(5)]
    try:
        assert spoke.get("/pattoo-agent-os/300", timeout=3).status == 200
    finally:
        for connection in idle:
            connection.close()


# The receiving table.

GOOD = ORIGINAL.read_bytes()


def with_change(change):
    data = json.loads(GOOD)
    change(data)
    return json.dumps(data).encode()


def post(server, body, headers=JSON, path=f"{RECEIVE}/source-1", method="POST"):
    return requests.send(method, server.port, path, body=body, headers=headers)


def test_server_takes_a_good_post(server):
    answer = post(server, GOOD)
    assert (answer.status, answer.body.strip(b'"\n')) == (200, b"OK")


def test_server_takes_a_post_with_a_charset(server):
    assert post(server, GOOD, {"Content-Type": "application/json; charset=utf-8"}).status == 200


REFUSED = {
    "another_key": with_change(lambda data: data.update(more=1)),
    "a_missing_key": with_change(lambda data: data.pop("pattoo_agent_timestamp")),
    "a_wrong_key": with_change(lambda data: data.update(stamp=data.pop("pattoo_agent_timestamp"))),
    "no_keys": b"{}",
    "no_json": b"hello",
    "half_a_post": GOOD[: len(GOOD) // 2],
    "nothing": b"",
    "a_gzip_body": gzip.compress(GOOD),
}


@pytest.mark.parametrize("what", REFUSED)
def test_server_answers_500(server, what):
    assert post(server, REFUSED[what]).status == 500


def test_server_takes_a_gzip_body_with_its_header(server):
    assert post(server, gzip.compress(GOOD), JSON | {"Content-Encoding": "gzip"}).status == 200


def test_server_answers_500_to_an_encoding_that_it_has_not(server):
    assert post(server, GOOD, JSON | {"Content-Encoding": "br"}).status == 500
    assert post(server, GOOD, JSON | {"Content-Encoding": "gzip"}).status == 500


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}], ids=["none", "another"])
def test_server_answers_500_to_a_content_type(server, headers):
    assert post(server, GOOD, headers).status == 500


@pytest.mark.parametrize("body", [b"[]", b'[{"a":1}]', b'"text"', b"7", b"null", b"true"])
def test_server_answers_404_to_json_that_is_no_object(server, body):
    assert post(server, body).status == 404


@pytest.mark.parametrize("path", [RECEIVE, f"{RECEIVE}/"], ids=["nothing", "a_slash"])
def test_server_answers_404_without_a_source(server, path):
    assert post(server, GOOD, path=path).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_server_answers_405_to_other_methods(server, method):
    assert post(server, GOOD, method=method).status == 405


def test_server_tells_its_status(server):
    answer = server.get(f"{AGENT_API}/status")
    assert (answer.status, answer.body) == (200, b"The Pattoo Agent API is Operational.\n")


def test_server_counts_what_it_takes_and_keeps(rig):
    server = rig.server("counting")
    bodies = [with_change(lambda data, n=n: data.update(pattoo_agent_timestamp=1795349433125 + n)) for n in range(5)]
    for body in bodies:
        assert post(server, body).status == 200
    assert post(server, b"{}").status == 500
    found = server.metrics()
    assert found.sum("pattoo_hub_posts_taken_total") == 5
    assert found.sum("pattoo_hub_posts_waiting") == 5
    assert found.sum("pattoo_hub_posts_delivered_total") == 0


def test_a_hub_receives_only_if_told(rig):
    hub = rig.hub(devices=[1])
    assert requests.send("POST", hub.port, f"{RECEIVE}/a", body=GOOD, headers=JSON).status == 404
