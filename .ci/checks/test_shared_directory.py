"""PattooShared's own agents and ours over one PATTOO_CONFIGDIR and one daemon_directory."""

import os
import re

import pytest

from support import requests, waiting
from support.judge import judge
from support.originals import Original, say
from support.paths import HUB, SPOKE
from test_commands import both, daemon, is_gone, wait_gone

OTHER = "pattoo_agent_snmpd"


@pytest.fixture
def shared(daemon):
    """A program of ours in a folder that PattooShared accepts as well."""

    def make(program):
        it = daemon(program)
        it.folder.write("pattoo_agent", pattoo_agent_api={"enabled": False, "ip_address": "127.0.0.1", "ip_bind_port": 20201})
        return it

    return make


@pytest.fixture
def original(shared):
    made = []

    def make(it, name=OTHER):
        made.append(Original(it.folder, name))
        return made[-1]

    yield make
    for one in made:
        one.end()


def kept_id(it):
    return (it.folder.path / "daemon/agent_id" / f"{it.binary.name}.agent_id").read_text()


@both
def test_pattooshared_reads_our_identity(shared, program):
    it = shared(program)
    assert it.command("--start").returncode == 0
    told = say(it.folder, f"files.get_agent_id({program!r}, config)")
    assert told == kept_id(it) and re.fullmatch("[0-9a-f]{64}", told)


@both
def test_an_identity_that_pattooshared_wrote_is_kept(shared, program):
    it = shared(program)
    told = say(it.folder, f"files.get_agent_id({program!r}, config)")
    assert re.fullmatch("[0-9a-f]{64}", told)
    assert it.command("--start").returncode == 0
    assert it.command("--restart").returncode == 0
    assert kept_id(it) == told
    if program == SPOKE:
        assert judge(requests.send("GET", it.port, "/pattoo-agent-os/300").body).agent_id == told
    else:
        assert told in it.command("--check").stdout


def test_pattooshared_reads_the_shared_configuration(shared):
    it = shared(HUB)
    ours = it.folder.directories()
    it.folder.write("pattoo", pattoo=ours | {"log_format": "json", "log_max_bytes": 1000, "language": "en"})
    for method in ("log_directory", "cache_directory", "daemon_directory", "system_daemon_directory", "log_level"):
        assert say(it.folder, f"config.{method}()") == ours[method], method
    for method, name in (("log_file", "pattoo.log"), ("log_file_api", "pattoo-api.log"), ("log_file_daemon", "pattoo-daemon.log")):
        assert say(it.folder, f"config.{method}()") == f"{ours['log_directory']}/{name}"
    assert say(it.folder, "config.agent_api_ip_address(), config.agent_api_ip_bind_port()") == "127.0.0.1 20201"
    said = it.command("--check").stdout
    for key in ("cache_directory", "daemon_directory", "system_daemon_directory"):
        assert f"{key}: {ours[key]}\n" in said + "\n"


@both
def test_paths_are_the_same(shared, program):
    it = shared(program)
    assert it.command("--start").returncode == 0
    for what, name in (("pid_file", "pid"), ("lock_file", "lock"), ("agent_id_file", "agent_id")):
        path = say(it.folder, f"files.{what}({program!r}, config)")
        assert os.path.isfile(path), f"{name}: {path}"


def test_another_agent_and_ours_leave_each_other_alone(shared, original):
    ours = shared(SPOKE)
    theirs = original(ours)
    assert theirs.command("--start").returncode == 0
    pid_file, id_file = theirs.files
    waiting.until(lambda: id_file.exists() and id_file.read_text(), 10, "the other agent polls")
    pid = int(pid_file.read_text())
    before = [(path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) for path in theirs.files]
    for options in (("--start",), ("--restart",), ("--restart", "--force"), ("--stop",), ("--start",), ("--stop", "--force"), ("--start",)):
        assert ours.command(*options).returncode == 0, options
    assert [(path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) for path in theirs.files] == before
    assert not is_gone(pid) and theirs.command("--status").stdout == f"Daemon is running - {OTHER}\n"
    # Both write to pattoo.log, line by line.
    log = ours.folder.path / "log/pattoo.log"
    lines = log.read_text().splitlines()
    assert any(f"{OTHER} polls" in line for line in lines) and any("INFO spoke::" in line for line in lines)
    assert all(re.match(r"\d{4}-\d\d-\d\d[ T]", line) for line in lines)
    assert theirs.command("--stop").returncode == 0
    wait_gone(pid)
    assert ours.is_running()


@both
def test_the_originals_control_finds_and_ends_ours(shared, original, program):
    it = shared(program)
    control = original(it, program)
    assert control.command("--status").stdout == f"Daemon is stopped - {program}\n"
    assert it.command("--start").returncode == 0
    pid = it.pid()
    assert control.command("--status").stdout == f"Daemon is running - {program}\n"
    assert control.command("--start").returncode != 0, "the original does not start beside it"
    assert control.command("--stop").returncode == 0
    wait_gone(pid)
    assert not it.is_running()
    assert it.command("--start").returncode == 0


@both
def test_an_original_that_still_runs_is_not_replaced_unasked(shared, original, program):
    it = shared(program)
    theirs = original(it, program)
    assert theirs.command("--start").returncode == 0
    pid = int(waiting.until(lambda: theirs.files[0].exists() and theirs.files[0].read_text(), 10, "it runs"))
    assert it.command("--status").stdout == f"Daemon is running - {program}\n"
    started = it.command("--start")
    assert started.returncode == 2 and str(pid) in started.stderr, started
    for options in (("--stop",), ("--stop", "--force"), ("--restart",)):
        done = it.command(*options)
        assert done.returncode == 1 and str(pid) in done.stderr, done
    assert not is_gone(pid)
    assert theirs.command("--stop").returncode == 0
    wait_gone(pid)
    assert it.command("--start").returncode == 0
