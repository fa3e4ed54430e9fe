"""Ports for those that have to be told theirs."""

import contextlib
import random
import socket

GIVEN = set()


def free_port():
    """One that nobody has on any address, given once, and below those that the kernel hands out: so it stays free until it is
    used, whatever else the machine does."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("0.0.0.0", port))
            if port not in GIVEN:
                GIVEN.add(port)
                return port
