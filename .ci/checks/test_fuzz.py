"""The short form of .ci/fuzz: each target replays its corpus and goes on from there for a few seconds."""

import os
import re
import subprocess

import pytest

from support.paths import PROJECT

CORPUS = PROJECT / "services/fuzz/corpus"
TARGETS = ["check", "configuration", "http", "mounts", "proc", "spool"]
SAID = re.compile(
    r"^(?P<target>\w+): (?P<executions>\d+) executions, (?P<rate>\d+) a second, (?P<peak>\d+) MiB at most, "
    r"(?P<grown>\d+) of it since the first tenth, (?P<places>\d+) places covered, (?P<cases>\d+) cases$",
    re.M,
)


def fuzz(*arguments):
    return subprocess.run(
        [PROJECT / ".ci/fuzz", *arguments],
        env=os.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=900,
    )


def test_every_target_has_a_corpus_and_a_program():
    assert sorted(folder.name for folder in CORPUS.iterdir()) == TARGETS
    assert sorted(folder.name for folder in (PROJECT / "services/fuzz/src/bin").iterdir()) == TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(target):
    done = fuzz("--seconds", "3", target)
    assert done.returncode == 0, done.stdout[-8000:]
    said = SAID.search(done.stdout)
    assert said and said["target"] == target, done.stdout[-4000:]
    # The corpus and what came of it; a target that does nothing covers next to nothing.
    assert int(said["executions"]) >= len(list((CORPUS / target).iterdir()))
    assert int(said["places"]) > 300, done.stdout
