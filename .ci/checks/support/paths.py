"""Where things are, and the one build of the programs."""

import os
import subprocess
from pathlib import Path

CI = Path(__file__).resolve().parents[2]
PROJECT = CI.parent
ORIGINAL = CI / "checks" / "fixtures" / "original-spoke-300.json"

SPOKE = "pattoo_agent_os_spoked"
HUB = "pattoo_agent_os_hubd"


def target():
    """Cargo's output folder."""
    return Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target")).absolute()


def cargo(*arguments, timeout=1200, check=False):
    """Runs cargo in the project; standard output and error as one text."""
    done = subprocess.run(
        ["cargo", *arguments],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    if check:
        assert done.returncode == 0, f"cargo {' '.join(arguments)}:\n{done.stdout[-8000:]}"
    return done


def build():
    cargo("build", "--workspace", "--bins", "--locked", check=True)
    return {name: target() / "debug" / name for name in (SPOKE, HUB)}
