"""Made-up spokes and pattoo servers: HTTP servers that answer what a check tells them, and write down what they were asked."""

import http.server
import json
import ssl
import threading
import time
from dataclasses import dataclass

from support.paths import ORIGINAL


@dataclass
class Asked:
    """One request and what it was answered."""

    when: float
    method: str
    path: str
    body: bytes
    status: int
    headers: dict
    # What the client's certificate says it is for, where it showed one.
    client: str | None = None
    # Whether the TLS session was one of before.
    resumed: bool = False


class Server:
    """Answers each request with `answer(asked so far, path, body)`: a status, or (status, headers, body). Meanwhile
    `heard` has the request's headers.

    With a `context` over TLS; another one counts from the next connection on."""

    def __init__(self, answer, context=None):
        self.answer, self.asked, self.lock, self.context, self.heard = answer, [], threading.Lock(), context, {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                heard = {name.lower(): value for name, value in self.headers.items()}
                # One at a time, so that an answer can depend on all before it.
                with outer.lock:
                    outer.heard = heard
                    answer = outer.answer(outer.asked, self.path, body)
                    status, headers, content = answer if isinstance(answer, tuple) else (answer, {}, b"OK")
                    asked = Asked(time.monotonic(), self.command, self.path, body, status, heard, *self.over_tls())
                    outer.asked.append(asked)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do

            def over_tls(self):
                if not isinstance(self.connection, ssl.SSLSocket):
                    return None, False
                shown = self.connection.getpeercert()
                client = dict(pair for (pair,) in shown["subject"])["commonName"] if shown else None
                return client, bool(self.connection.session_reused)

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self):
                connection, address = super().get_request()
                if outer.context:
                    # The handshake is the first that the connection's own thread does.
                    wrap = outer.context.wrap_socket
                    connection = wrap(connection, server_side=True, do_handshake_on_connect=False)
                return connection, address

            def handle_error(self, *_):
                """A client that goes away, or cannot agree on TLS, is its own business."""

        self.server = Listener(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def posts(self, status=200):
        """The bodies that were answered with this status, in order."""
        with self.lock:
            return [one.body for one in self.asked if one.method == "POST" and one.status == status]

    def times(self):
        with self.lock:
            return [one.when for one in self.asked]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def now_ms():
    return time.time_ns() // 1_000_000


def post(agent_id, stamp=None):
    """A post with the datapoints of the captured one, of this agent and time."""
    data, stamp = json.loads(ORIGINAL.read_bytes()), stamp or now_ms()
    data["pattoo_agent_id"], data["pattoo_agent_timestamp"] = agent_id, stamp
    for pair in data["pattoo_datapoints"]["key_value_pairs"].values():
        if pair[0] == "pattoo_agent_id":
            pair[1] = agent_id
        if pair[0] == "pattoo_timestamp":
            pair[1] = stamp
    return json.dumps(data, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def spoke(agent_id, context=None):
    """A spoke that answers with a fresh post each time."""
    stamps = []

    def answer(_, path, __):
        # Two answers of one millisecond would be one to the server.
        stamps.append(max(now_ms(), stamps[-1] + 1 if stamps else 0))
        return 200, {"Content-Type": "application/json"}, post(agent_id, stamps[-1])

    return Server(answer, context)
