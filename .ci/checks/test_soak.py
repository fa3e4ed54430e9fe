"""The short form of .ci/soak: half a minute, with the programs of the checks' own build."""

import os
import subprocess

from support.paths import PROJECT


def test_nothing_grows_and_the_books_balance():
    done = subprocess.run(
        [PROJECT / ".ci/soak", "--minutes", "0.4"],
        env=os.environ | {"SOAK_PROFILE": "dev"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    lines = done.stdout.splitlines()
    assert sum(line.startswith("flat  ") for line in lines) == 13, done.stdout
    assert lines[-1].startswith("books balance: "), done.stdout
