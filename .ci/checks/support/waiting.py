"""The only place where checks wait: on a condition, with a deadline."""

import threading
import time

STEP = 0.02


def until(condition, seconds, what, step=STEP):
    """Returns the first true value of `condition()`, asked every `step` seconds; fails, naming `what`, after `seconds`."""
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        tick.wait(step)


def holds(condition, seconds, what):
    """Fails as soon as `condition()` is false within `seconds`."""
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while time.monotonic() < deadline:
        assert condition(), what() if callable(what) else what
        tick.wait(STEP)
