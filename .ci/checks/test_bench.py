"""The short form of the bench: fails where a ratio to the floor, or the count of system calls, got clearly worse.

Programs and floor are those of the checks' own build, unoptimised: what a ratio is worth is told by .ci/bench and
docs/performance.md; here it only must not grow.
"""

import json
import os
import subprocess

import pytest

from support.paths import PROJECT


@pytest.fixture(scope="module")
def found():
    """What `.ci/bench --short` says, by what was measured."""
    done = subprocess.run(
        [PROJECT / ".ci/bench", "--short"],
        env=os.environ | {"BENCH_PROFILE": "dev"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout.startswith("{"), done.stdout[-2000:] + done.stderr[-4000:]
    return {bound["what"]: bound for bound in json.loads(done.stdout)["bounds"]}


# How `what` begins, as .ci/bench.d says it.
STARTS = {
    "cpu": "spoke's CPU, back to back, to floor's",
    "system_calls": "spoke's system calls an answer",
    "burst": "collections for a burst",
    "scrape_system_calls": "system calls of spoke's /metrics",
    "hub_cpu": "hub's CPU of a poll to the floor's",
    "hub_system_calls": "hub's system calls a poll",
    "first_page": "CPU of the hub's first page with 10000 targets",
    "page_memory": "hub's RSS with pages of 10000 targets",
}


@pytest.mark.parametrize("what", STARTS)
def test_nothing_got_clearly_worse(found, what):
    (bound,) = [bound for name, bound in found.items() if name.startswith(STARTS[what])]
    assert bound["met"], bound
