"""The tools of the checks themselves: the relay passes on bytes unchanged, the list misses nothing."""

import http.server
import threading

import pytest

import conftest
from support import listed, requests, waiting
from support.relay import Relay


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it got, and some bytes of its own."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 3))
        self.end_headers()
        self.wfile.write(b"\x00\xff\n" + body)

    def log_message(self, *_):
        pass


@pytest.fixture
def relay():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    relay = Relay(server.server_address)
    yield relay
    relay.close()
    server.shutdown()
    server.server_close()


BODY = bytes(range(256)) * 200


def test_relay_passes_bytes_unchanged_and_writes_them_down(relay):
    assert requests.send("POST", relay.port, "/a?b=%20c", BODY).body == b"\x00\xff\n" + BODY
    (exchange,) = relay.done()
    assert (exchange.path, exchange.sent, exchange.answer) == ("/a?b=%20c", BODY, b"\x00\xff\n" + BODY)


def test_relay_holds_hangs_and_refuses(relay):
    relay.set("refuse")
    with pytest.raises(ConnectionRefusedError):
        requests.send("POST", relay.port, "/", b"1")
    for mode in ("hold", "hang"):
        relay.set(mode)
        with pytest.raises(TimeoutError):
            requests.send("POST", relay.port, "/", b"1", timeout=0.3)
    relay.set("pass")
    assert requests.send("POST", relay.port, "/", b"2").status == 200
    # What was held and let go afterwards found its client gone, or was answered: it is no other request.
    assert {exchange.sent for exchange in relay.done()} <= {b"1", b"2"}


def test_relay_lets_go_what_it_held(relay):
    relay.set("hold")
    answers = []
    asking = threading.Thread(target=lambda: answers.append(requests.send("POST", relay.port, "/", b"held").status))
    asking.start()
    waiting.holds(lambda: not answers, 0.3, "nothing is answered while it holds")
    relay.set("pass")
    asking.join(5)
    assert answers == [200]


def test_account_finds_missing_and_unlisted_checks(monkeypatch):
    monkeypatch.setattr(listed, "names", lambda: ["a::one", "a::two", "rust:x::lib::three"])
    account = conftest.Account()
    account.note("a::one", "passed")
    account.note("a::four", "passed")
    account.selected = ["a::one", "a::four"]
    assert account.faults_of_the_list(complete=False) == ["ran, but is not in .ci/checks.txt: a::four"]
    assert account.faults_of_the_list(complete=True) == [
        "in .ci/checks.txt, but did not run: a::two",
        "in .ci/checks.txt, but did not run: rust:x::lib::three",
        "ran, but is not in .ci/checks.txt: a::four",
    ]


def test_account_keeps_the_worst_of_a_check():
    account = conftest.Account()
    for outcome in ("passed", "failed", "passed"):
        account.note("a::one", outcome)
    assert account.outcomes == {"a::one": "failed"}


def test_waiting_fails_at_its_deadline():
    with pytest.raises(AssertionError, match="not within 0.1 s: a thing"):
        waiting.until(lambda: False, 0.1, "a thing")
