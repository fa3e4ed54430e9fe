"""A relay of HTTP requests between two programs: it passes bytes on unchanged and writes down what it handed over.

Only Python's standard library; one thread a connection. A test changes `mode` while it runs:
`pass`, `refuse` (the port is closed), `hold` (requests are read and wait, neither forwarded nor answered),
`hang` (connections are accepted and nothing is read).
"""

import http.client
import json
import select
import socket
import threading
import time
from dataclasses import dataclass

from support import waiting

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass
class Exchange:
    """One request that was answered, as it went over."""

    when: float
    method: str
    path: str
    sent: bytes
    status: int
    answer: bytes


class Relay:
    """Listens on a port of this host and forwards to `upstream()`, an (address, port)."""

    def __init__(self, upstream, listen="127.0.0.1", timeout=30):
        self.upstream = upstream if callable(upstream) else lambda: upstream
        self.listen, self.timeout = listen, timeout
        self.exchanges, self.mode, self.port, self.under_way = [], "pass", 0, 0
        self.lock = threading.Condition()
        self.connections = set()
        self.listener = None
        self._open()

    def _open(self):
        self.listener = socket.create_server((self.listen, self.port), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def set(self, mode):
        """Changes the mode; connections that are idle or held are ended, so that the new one holds at once."""
        assert mode in ("pass", "refuse", "hold", "hang")
        with self.lock:
            before, self.mode = self.mode, mode
            if mode == "refuse" and self.listener:
                self._close_listener()
            if before == "refuse" and mode != "refuse":
                self._open()
            self.lock.notify_all()
        if before in ("hang",) or mode in ("refuse", "hang"):
            self._end_connections()

    def close(self):
        with self.lock:
            self.mode = "refuse"
            if self.listener:
                self._close_listener()
            self.lock.notify_all()
        self._end_connections()

    def _close_listener(self):
        # shutdown wakes the thread in accept; close alone would leave the port open until it returns.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None

    def _end_connections(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def done(self):
        """The exchanges so far that were answered in full."""
        with self.lock:
            return list(self.exchanges)

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.settimeout(self.timeout)
            stream = connection.makefile("rb")
            while self.mode != "hang":
                request = read_request(stream)
                if request is None or not self._hand_over(connection, *request):
                    return
            connection.recv(1, socket.MSG_PEEK)
            with self.lock:
                self.lock.wait_for(lambda: self.mode != "hang")
        except OSError:
            pass
        finally:
            self.connections.discard(connection)
            connection.close()

    def _hand_over(self, connection, method, path, headers, body):
        with self.lock:
            self.lock.wait_for(lambda: self.mode != "hold")
            if self.mode != "pass":
                return False
            self.under_way += 1
        try:
            host, port = self.upstream()
            onward = http.client.HTTPConnection(host, port, timeout=self.timeout)
            try:
                onward.putrequest(method, path, skip_accept_encoding=True)
                for name, value in headers:
                    if name.lower() not in HOP_BY_HOP:
                        onward.putheader(name, value)
                if body is not None:
                    onward.putheader("Content-Length", str(len(body)))
                onward.endheaders(body)
                answer = onward.getresponse()
                payload = answer.read()
            except (OSError, http.client.HTTPException):
                return False
            finally:
                onward.close()
            head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n"
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    head += f"{name}: {value}\r\n"
            head += f"Content-Length: {len(payload)}\r\n\r\n"
            if has_left(connection):
                return False
            # Written down before it is sent: whoever has the answer can be found here.
            with self.lock:
                entry = Exchange(time.time(), method, path, body or b"", answer.status, payload)
                self.exchanges.append(entry)
            try:
                connection.sendall(head.encode("latin-1") + payload)
            except OSError:
                with self.lock:
                    self.exchanges.remove(entry)
                return False
            return True
        finally:
            with self.lock:
                self.under_way -= 1
                self.lock.notify_all()


def has_left(connection):
    """Whether the client gave up waiting: an answer sent to it then would look as if it had arrived."""
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""


def read_request(stream):
    """(method, path, headers, body) of the next request, None at the end of the connection."""
    line = stream.readline(65537)
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split()
    headers, length = [], None
    while (line := stream.readline(65537)) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
        if name.lower() == "content-length":
            length = int(value)
        # The hub knows its bodies' length; a chunked request would be a surprise worth a failure.
        assert name.lower() != "transfer-encoding", line
    body = stream.read(length) if length is not None else None
    return method, path, headers, body


def stamp(body):
    """The agent id and the stamp of a post."""
    data = json.loads(body)
    return data["pattoo_agent_id"], data["pattoo_agent_timestamp"]


def posts_asked(relay):
    """The bodies that spokes answered to the hub, in order."""
    return [e for e in relay.done() if e.status == 200 and e.path.startswith("/pattoo-agent-os/")]


def posts_taken(relay):
    """The posts that the server answered with 200, in order."""
    return [e for e in relay.done() if e.status == 200 and e.method == "POST"]


def by_agent(bodies):
    """{agent id: its bodies in order}; a body that comes again right behind itself counts once."""
    found = {}
    for body in bodies:
        lane = found.setdefault(stamp(body)[0], [])
        if not lane or lane[-1] != body:
            lane.append(body)
    return found


def wait_all_arrived(asked, taken, seconds, about):
    """Waits until each body that a spoke answered has reached the server. A count would not do: a post may be sent
    twice, and one that the hub was just handed waits only once it is synced."""
    bodies = {exchange.answer for exchange in asked()}
    waiting.until(lambda: bodies <= {exchange.sent for exchange in taken()}, seconds, lambda: f"all arrive:\n{about()}")


def assert_all_arrived(asked, taken):
    """Each body that a spoke answered reached the server, byte for byte, in each spoke's order; no other did."""
    for exchange in taken:
        agent = stamp(exchange.sent)[0]
        assert exchange.path == f"/pattoo/api/v1/agent/receive/{agent}", exchange.path
    wanted, found = by_agent(e.answer for e in asked), by_agent(e.sent for e in taken)
    assert found.keys() == wanted.keys()
    for agent, lane in wanted.items():
        stamps, arrived = [stamp(body)[1] for body in lane], [stamp(body)[1] for body in found[agent]]
        assert arrived == stamps, f"of {agent}: lost {sorted(set(stamps) - set(arrived))}, arrived {arrived}"
        assert arrived == sorted(set(arrived)), f"{agent}: out of order"
        assert found[agent] == lane, f"{agent}: a body was changed on its way"
    return sum(len(lane) for lane in wanted.values())
