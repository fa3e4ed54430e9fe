"""HTTP requests as bytes, so that nothing is added or followed unasked."""

import http.client
import socket
from dataclasses import dataclass


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes


def send(method, port, path, body=None, headers=None, host="127.0.0.1", timeout=10, context=None):
    """One request on a connection of its own, with a `context` over TLS; the path goes out as it stands."""
    if context:
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        )
    finally:
        connection.close()


def answers(port, path="/livez", host="127.0.0.1", timeout=2):
    """Whether anything answers there with 200."""
    try:
        return send("GET", port, path, host=host, timeout=timeout).status == 200
    except (OSError, http.client.HTTPException):
        return False


def raw(port, sent, host="127.0.0.1", timeout=10):
    """All that comes back for these bytes until the connection ends."""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received
