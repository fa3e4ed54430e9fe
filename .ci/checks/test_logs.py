"""Logs: three files of a daemon, standard output in the foreground, bounded, followed, and a change once."""

import json
import re

import pytest

from support import frozen, passing, waiting
from support.paths import HUB, SPOKE
from support.ports import free_port
from support.programs import Program, api
from test_commands import Daemon, both
from test_install import LINKS, booted, machine

NAMES = ("pattoo.log", "pattoo-api.log", "pattoo-daemon.log")
LEVELS = ("ERROR", "WARN", "INFO", "DEBUG")


class Logged(Daemon):
    """A daemon with settings of its own in section pattoo."""

    def __init__(self, binary, path, pattoo=None, **settings):
        super().__init__(binary, path, **settings)
        self.configure(**(pattoo or {}))

    def configure(self, **pattoo):
        self.folder.write("pattoo", pattoo=self.folder.directories() | pattoo, pattoo_agent_api={"enabled": False})

    def logs(self):
        return self.folder.path / "log"

    def lines(self, *names):
        return [line for name in names or NAMES for line in (self.logs() / name).read_text().splitlines()]


@pytest.fixture
def logged(binaries, tmp_path):
    made = []

    def make(program, name=None, **settings):
        made.append(Logged(binaries[program], tmp_path / (name or program), **settings))
        return made[-1]

    yield make
    for one in made:
        one.end()


def level_of(line):
    return line.split()[1]


@both
def test_a_daemon_writes_three_files_and_nothing_else(logged, program):
    it = logged(program)
    started = it.command("--start")
    assert started.stdout == f"Daemon started - {program}\n" and started.stderr == ""
    assert it.command("--stop").returncode == 0
    assert {path.name for path in it.logs().iterdir()} == set(NAMES)
    assert {path.stat().st_mode & 0o777 for path in it.logs().iterdir()} == {0o640}
    for name, word in (("pattoo-daemon.log", "starting"), ("pattoo-daemon.log", "stopped"), ("pattoo-api.log", "listening")):
        assert any(word in line for line in it.lines(name)), f"{name}: {it.lines(name)}"
    assert it.lines("pattoo.log")
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z +(ERROR|WARN|INFO|DEBUG) ", line) for line in it.lines()), it.lines()


@both
def test_the_foreground_writes_to_standard_output(logged, program):
    it = logged(program)
    running = Program(it.binary, it.folder)
    waiting.until(lambda: running.get("/readyz").status == 200, 10, running.log)
    assert running.stop() == 0
    assert any("starting" in line for line in running.lines) and any("stopped" in line for line in running.lines)
    assert list(it.logs().iterdir()) == []


@both
@pytest.mark.parametrize("how", ["daemon", "foreground"])
def test_json_is_one_object_a_line(logged, program, how):
    it = logged(program, pattoo={"log_format": "json"})
    if how == "daemon":
        assert it.command("--start").returncode == 0
        assert it.command("--stop").returncode == 0
        lines = it.lines()
    else:
        # The address of a JSON line is read otherwise; its end is what counts here.
        process = JsonProgram(it.binary, it.folder)
        waiting.until(lambda: process.get("/readyz").status == 200, 10, process.log)
        assert process.stop() == 0
        lines = process.lines
    assert len(lines) >= 4
    for line in map(json.loads, lines):
        assert isinstance(line, dict) and {"timestamp", "level", "message", "target"} <= line.keys(), line
        assert line["level"] in LEVELS


class JsonProgram(Program):
    def _address(self):
        for line in list(self.lines):
            found = re.search(r'"listening".*"address":"[0-9.]+:(\d+)"', line)
            if found:
                return int(found[1])
        assert self.process.poll() is None, self.log()
        return None


@both
@pytest.mark.parametrize("level", ["error", "warning", "info", "debug"])
def test_a_level_keeps_what_is_below_it_out(logged, program, level):
    it = logged(program, pattoo={"log_level": level})
    assert it.command("--start").returncode == 0
    if program == HUB:
        # Its only target is not there: a warning, and a line at debug for each poll.
        wanted = {"error": (), "warning": ("WARN",), "info": ("WARN", "INFO"), "debug": ("WARN", "INFO", "DEBUG")}[level]
    else:
        wanted = {"error": (), "warning": (), "info": ("INFO",), "debug": ("INFO",)}[level]
    if program == HUB and level != "error":
        it.folder.write(HUB, **{HUB: {"ip_devices": [{"ip_address": "127.0.0.1", "ip_bind_port": free_port()}], "polling_interval": 1, "ip_bind_port": 0}})
        assert it.command("--restart").returncode == 0
        waiting.until(lambda: any(level_of(line) == wanted[-1] for line in it.lines()), 10, lambda: str(it.lines()))
        waiting.until(lambda: any(level_of(line) == "WARN" for line in it.lines()), 10, lambda: str(it.lines()))
    assert it.command("--stop").returncode == 0
    found = {level_of(line) for line in it.lines()}
    allowed = LEVELS[: {"error": 1, "warning": 2, "info": 3, "debug": 4}[level]]
    assert set(wanted) <= found <= set(allowed), it.lines()


def test_files_stay_below_their_bound(logged):
    bound = 3000
    devices = [{"ip_address": "127.0.0.1", "ip_bind_port": free_port()} for _ in range(20)]
    it = logged(HUB, pattoo={"log_max_bytes": bound}, ip_devices=devices, polling_interval=1)
    assert it.command("--start").returncode == 0
    old = it.logs() / "pattoo.log.1"
    waiting.until(old.exists, 15, "the file is moved")
    first = old.stat().st_ino
    waiting.until(lambda: old.stat().st_ino != first, 15, "and again")
    sizes = {path.name: status.st_size for path, status in passing.below(it.logs()).items()}
    assert max(sizes.values()) <= bound, sizes
    assert sizes.keys() <= {*NAMES, *(f"{name}.1" for name in NAMES)}, sizes
    assert all(level_of(line) in LEVELS for line in old.read_text().splitlines()), "no line is cut"


def test_a_file_that_was_moved_or_removed_is_opened_anew(logged):
    it = logged(HUB, polling_interval=1)
    assert it.command("--start").returncode == 0
    log = it.logs() / "pattoo.log"
    for away in (log.rename, lambda _: log.unlink()):
        waiting.until(lambda: log.exists() and log.stat().st_size, 10, "it is written")
        away(it.logs() / "moved")
        waiting.until(log.exists, 10, "it is there again")
    moved = (it.logs() / "moved").read_text().splitlines()
    assert all(level_of(line) in LEVELS for line in moved)


def test_two_programs_share_the_files(logged):
    hub = logged(HUB, pattoo={"log_format": "json", "log_max_bytes": 20_000}, polling_interval=1)
    spoke = logged(SPOKE)
    devices = [{"ip_address": "127.0.0.1", "ip_bind_port": free_port()} for _ in range(20)]
    # One directory of configuration for both, as on a pattoo host.
    spoke.folder.path.joinpath("config", f"{SPOKE}.yaml").rename(hub.folder.path / "config" / f"{SPOKE}.yaml")
    spoke.folder = hub.folder
    hub.folder.write(HUB, **{HUB: {"ip_devices": devices, "polling_interval": 1, "ip_bind_port": 0}})
    for one in (hub, spoke):
        assert one.command("--start").returncode == 0
    waiting.until((hub.logs() / "pattoo.log.1").exists, 20, "the shared file is moved")
    for _ in range(5):
        assert spoke.command("--restart").returncode == 0
    # So that no file is moved while it is read.
    for one in (hub, spoke):
        assert one.command("--stop").returncode == 0
    files = list(hub.logs().iterdir())
    targets = {json.loads(line)["target"].partition("::")[0] for path in files for line in path.read_text().splitlines()}
    assert {"hub", "spoke", "agent"} <= targets
    assert all(path.stat().st_size <= 20_000 for path in files)


def test_a_target_that_stays_down_is_one_line(rig):
    port = free_port()
    hub = rig.hub(devices=[port], api=api(free_port()), receive=True)
    hub.stop()
    hub.folder.write("pattoo", pattoo=hub.folder.directories() | {"log_level": "info"}, pattoo_agent_api=api(free_port()))
    hub.start()

    def polls():
        return hub.metrics().sum("pattoo_hub_polls_total")

    def lines(level):
        return [line for line in hub.lines if level_of(line) == level and f":{port}" in line]

    waiting.until(lambda: polls() >= 10, 20, "ten polls")
    assert len(lines("WARN")) == 1, hub.log()
    assert lines("INFO") == []
    spoke = rig.spoke(ip_bind_port=port)
    waiting.until(lambda: lines("INFO"), 10, "it answers")
    waiting.until(lambda: hub.metrics().sum("pattoo_hub_delivery_failures_total") >= 5, 30, "five deliveries fail")
    waiting.until(lambda: polls() >= 20, 20, "ten polls more")
    assert len(lines("WARN")) == 1 and len(lines("INFO")) == 1, hub.log()
    # That the server is away is one change as well.
    others = [line for line in hub.lines if level_of(line) in ("WARN", "ERROR") and f":{port}" not in line]
    assert len(others) == 1, hub.log()
    assert spoke.stop() == 0
    waiting.until(lambda: len(lines("WARN")) == 2, 10, "it went down: a second change")


def test_a_partition_that_stays_unreadable_is_one_line(rig, tmp_path):
    host = frozen.of_this_machine(tmp_path / "host")
    mounts = "/dev/vda / ext4 rw 0 0\n"
    host.write_mounts(mounts + "/dev/vdb /no/such/place ext4 rw 0 0\n")
    spoke = rig.spoke(environment=host.environment())
    for _ in range(10):
        assert spoke.get("/pattoo-agent-os/300").status == 200

    def lines():
        return [line for line in spoke.lines if "/no/such/place" in line]

    waiting.until(lines, 5, lambda: spoke.log())
    assert [level_of(line) for line in lines()] == ["WARN"], spoke.log()
    host.write_mounts(mounts)

    def told_again():
        spoke.get("/pattoo-agent-os/300")
        return len(lines()) == 2

    waiting.until(told_again, 5, lambda: spoke.log())
    assert level_of(lines()[1]) == "INFO"


def test_logrotate_with_the_sample_on_running_daemons(machine):
    as_user = ["setpriv", "--reuid", "pattoo", "--regid", "pattoo", "--init-groups"]
    script = "sed -i 's/log_level: info/log_level: debug/' /etc/pattoo/pattoo.yaml\nprintf '    polling_interval: 1\\n' >>/etc/pattoo/%s.yaml\n"
    machine.run("sh", "-ec", script % HUB)
    for program in (SPOKE, HUB):
        machine.run(*as_user, f"{LINKS}/{program}.py", "--start")
    log = "/var/log/pattoo/pattoo.log"

    def size(path):
        return int(machine.run("sh", "-c", f"stat --format %s {path} 2>/dev/null || echo 0").stdout)

    waiting.until(lambda: size(log), 10, "something is logged")
    # Not a word: logrotate finds nothing odd in the sample, and nobody is signalled.
    done = machine.run("logrotate", "--force", "/etc/logrotate.d/pattoo")
    assert (done.stdout, done.stderr) == ("", "")
    waiting.until(lambda: size(log), 10, "the hub goes on in a new file")
    listed = machine.run("sh", "-c", "cd /var/log/pattoo && stat --format '%n %U %a' *").stdout.splitlines()
    rotated = [line for line in listed if re.match(r"pattoo\.log-\d{8} ", line)]
    assert len(rotated) == 1, listed
    assert "pattoo.log pattoo 640" in listed, listed
    old = size("/var/log/pattoo/pattoo.log-*")
    before = size(log)
    waiting.until(lambda: size(log) > before, 10, "it is written on")
    assert size("/var/log/pattoo/pattoo.log-*") == old, "nobody writes to the old one"
    for program in (SPOKE, HUB):
        assert machine.run(*as_user, f"{LINKS}/{program}.py", "--status").returncode == 0
