"""The commands that the README gives: deploy/up in both forms, deploy/down."""

import os
import re
import subprocess

import pytest

from support import metrics, requests, waiting
from support.compose import PORTS, docker, environment
from support.paths import PROJECT
from support.ports import free_port


# The processes are built for release; that takes minutes with all optimisation, and shows nothing more here.
BUILT_FAST = {
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
}


def processes_below(folder):
    """The processes whose program lies in `folder`."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                program = os.readlink(f"/proc/{entry}/exe")
            except OSError:
                continue
            if program.startswith(str(folder)):
                found.append(int(entry))
    return found


@pytest.mark.parametrize("form", ["containers", "processes"])
def test_up_ends_when_posts_were_taken_and_down_ends_all(form, tmp_path):
    name = f"checks-{os.urandom(4).hex()}"
    ports = dict(zip(PORTS, (str(free_port()) for _ in PORTS)))
    surroundings = environment(name) | ports | {"PATTOO_STATE": str(tmp_path / "state")} | BUILT_FAST

    def run(*command):
        return subprocess.run(
            command,
            cwd=PROJECT,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
        )

    try:
        up = run("deploy/up", *(["--processes"] if form == "processes" else []))
        assert up.returncode == 0, up.stdout[-4000:]
        said = re.search(r"has taken ([0-9]+) posts", up.stdout)
        assert said, f"it says how many posts were taken:\n{up.stdout[-3000:]}"
        assert int(said[1]) > 0
        hub, server = (int(ports[f"PATTOO_{one}_PORT"]) for one in ("HUB", "SERVER"))
        assert f"http://127.0.0.1:{hub}/" in up.stdout, "it says where to look"
        counted = metrics.read(requests.send("GET", server, "/metrics").body)
        assert counted.sum("pattoo_hub_posts_taken_total") > 0
        assert requests.answers(hub)
        if form == "processes":
            assert len(processes_below(tmp_path)) == 5
    finally:
        down = run("deploy/down", "--volumes")
    assert down.returncode == 0, down.stdout[-4000:]
    assert not requests.answers(hub)
    waiting.until(lambda: not processes_below(tmp_path), 5, "no process is left")
    left = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={name}").stdout
    volumes = docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={name}").stdout
    assert (left, volumes) == ("", ""), "no container and no volume is left"
