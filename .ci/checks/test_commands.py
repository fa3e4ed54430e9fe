"""The command line of both programs, as daemons and in the foreground."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support import requests, waiting
from support.judge import judge
from support.network import Network
from support.paths import HUB, SPOKE
from support.ports import free_port
from support.programs import Folder, Program

PROGRAMS = (SPOKE, HUB)
both = pytest.mark.parametrize("program", PROGRAMS, ids=["spoke", "hub"])

SAMPLES = {
    SPOKE: """\
pattoo_agent_os_spoked:
    ip_listen_address: 0.0.0.0
    ip_bind_port: 5000
""",
    HUB: """\
pattoo_agent_os_hubd:
    ip_devices:
      - ip_address: 127.0.0.1
        ip_bind_port: 5000
      - ip_address: 127.0.0.2
        ip_bind_port: 5000
""",
}


class Daemon:
    """A program with a folder of its own; `command` runs it with arguments and waits for its end."""

    def __init__(self, binary, path, prefix=(), **settings):
        self.binary, self.folder, self.prefix = Path(binary), Folder(path), list(prefix)
        self.folder.write("pattoo", pattoo=self.folder.directories(), pattoo_agent_api={"enabled": False})
        section = {"ip_listen_address": "127.0.0.1", "ip_bind_port": free_port()} | settings
        if self.binary.name == HUB:
            section.setdefault("ip_devices", [{"ip_address": "127.0.0.1", "ip_bind_port": free_port()}])
        self.folder.write(self.binary.name, **{self.binary.name: section})
        self.port = section["ip_bind_port"]

    def command(self, *arguments, **environment):
        # A daemon that kept our pipes open would make the wait here last for ever: that is part of the check.
        return subprocess.run(
            [*self.prefix, str(self.binary), *arguments],
            env=self.folder.environment(**environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )

    @property
    def pid_file(self):
        return self.folder.path / "run" / "pid" / f"{self.binary.name}.pid"

    def pid(self):
        return int(self.pid_file.read_text())

    def is_running(self):
        done = self.command("--status")
        said = done.stdout.strip()
        assert (done.returncode, said) in (
            (0, f"Daemon is running - {self.binary.name}"),
            (3, f"Daemon is stopped - {self.binary.name}"),
        ), done
        return done.returncode == 0

    def end(self):
        if self.pid_file.exists() and self.is_running():
            pid = self.pid()
            assert os.readlink(f"/proc/{pid}/exe").startswith(str(self.binary)), pid
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)


def is_gone(pid):
    # A process that ended may stay as a zombie where the machine's first process does not collect it. One of its threads may
    # still wait for the disk, and hold the lock until it comes back.
    try:
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return ended and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_gone(pid):
    # The lock is free, and so --stop may return, a moment before the process has left the table.
    waiting.until(lambda: is_gone(pid), 10, f"process {pid} is gone")


@pytest.fixture
def daemon(binaries, tmp_path):
    made = []

    def make(program, name=None, **settings):
        made.append(Daemon(binaries[program], tmp_path / (name or program), **settings))
        return made[-1]

    yield make
    for one in made:
        one.end()


@both
def test_start_status_stop(daemon, program):
    it = daemon(program)
    assert not it.is_running()
    started = it.command("--start")
    assert started.returncode == 0, started
    # Already there when --start has returned, not a moment later.
    assert requests.answers(it.port)
    assert it.is_running()
    pid = it.pid()
    assert it.pid_file.read_text() == f"{pid}\n"
    assert os.getsid(pid) != os.getsid(0), "a daemon has a session of its own"
    stopped = it.command("--stop")
    assert stopped.returncode == 0, stopped
    wait_gone(pid)
    assert not it.is_running()
    assert not requests.answers(it.port)


@both
def test_stop_of_a_stopped_one_is_no_fault(daemon, program):
    assert daemon(program).command("--stop").returncode == 0


@both
def test_start_while_running_says_so_and_exits_2(daemon, program):
    it = daemon(program)
    assert it.command("--start").returncode == 0
    pid = it.pid()
    again = it.command("--start")
    assert again.returncode == 2
    assert "running" in (again.stdout + again.stderr).lower()
    assert it.pid() == pid and it.is_running()


@both
@pytest.mark.parametrize("force", [(), ("--force",)], ids=["graceful", "force"])
def test_restart_replaces_the_process(daemon, program, force):
    it = daemon(program)
    assert it.command("--start").returncode == 0
    # The original fails at this three times in four.
    for _ in range(4):
        before = it.pid()
        done = it.command("--restart", *force)
        assert done.returncode == 0, done
        assert it.is_running() and it.pid() != before
        wait_gone(before)
        assert requests.answers(it.port)


@both
def test_restart_starts_a_stopped_one(daemon, program):
    it = daemon(program)
    assert it.command("--restart").returncode == 0
    assert it.is_running() and requests.answers(it.port)


@both
def test_stop_force_ends_one_that_hangs(daemon, program):
    it = daemon(program)
    assert it.command("--start").returncode == 0
    pid = it.pid()
    os.kill(pid, signal.SIGSTOP)
    assert it.is_running(), "a hung process holds its lock"
    assert it.command("--stop", "--force").returncode == 0
    wait_gone(pid)
    assert not it.is_running()


@both
def test_status_tells_the_truth_after_a_kill_or_a_lost_pid_file(daemon, program):
    it = daemon(program)
    assert it.command("--start").returncode == 0
    it.pid_file.unlink()
    assert it.is_running(), "the pid file vanished"
    assert it.command("--restart").returncode == 0
    pid = it.pid()
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    assert not it.is_running(), "the pid file outlived its process"
    assert it.command("--start").returncode == 0
    assert it.is_running()


@both
def test_start_fails_where_the_port_is_taken(daemon, program):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        it = daemon(program, ip_bind_port=taken.getsockname()[1])
        done = it.command("--start")
        assert done.returncode not in (0, 2, 3), done
        assert str(taken.getsockname()[1]) in done.stdout + done.stderr, done
        assert not it.is_running()


@both
def test_health(daemon, program):
    it = daemon(program)
    assert it.command("--health").returncode != 0
    assert it.command("--start").returncode == 0
    assert it.command("--health").returncode == 0
    pid = it.pid()
    os.kill(pid, signal.SIGSTOP)
    assert it.command("--health").returncode != 0, "a hung process is not healthy"
    os.kill(pid, signal.SIGCONT)
    assert it.command("--health").returncode == 0


@both
def test_help_version_and_mistakes(daemon, program):
    it = daemon(program)
    for flag in ("-h", "--help", "--h"):
        shown = it.command(flag)
        assert shown.returncode == 0, flag
        text = " ".join(shown.stdout.split())
        for line in (
            "Start the agent daemon.",
            "Stop the agent daemon.",
            "Restart the agent daemon.",
            "Stops or restarts the agent daemon ungracefully when used with --stop or --restart.",
        ):
            assert line in text, line
    nothing = it.command()
    assert nothing.returncode == 2
    assert "--restart" in nothing.stdout + nothing.stderr
    assert it.command("--nonsense").returncode == 2
    assert it.command("--stat").returncode == 3, "the original's options may be shortened"
    assert it.command("--vers").returncode == 2, "the others may not"
    version = it.command("--version")
    assert version.returncode == 0 and program in version.stdout


@both
def test_check_judges_the_configuration(daemon, program):
    it = daemon(program)
    assert it.command("--check").returncode == 0
    it = daemon(program, name="misspelt", ip_bind_prt=7)
    done = it.command("--check")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert all(word in said for word in ("ip_bind_prt", "ip_bind_port", program, f"{program}.yaml")), said


def test_once_prints_a_post(daemon):
    done = daemon(SPOKE).command("--once")
    assert done.returncode == 0, done
    assert judge(done.stdout.encode()).interval == 300_000


def test_once_prints_a_line_a_target(daemon, rig):
    spoke = rig.spoke()
    devices = [{"ip_address": "127.0.0.1", "ip_bind_port": port} for port in (spoke.port, free_port())]
    done = daemon(HUB, ip_devices=devices).command("--once")
    lines = [line for line in done.stdout.splitlines() if "127.0.0.1" in line]
    assert len(lines) == 2, done
    assert all(any(str(device["ip_bind_port"]) in line for line in lines) for device in devices), done


@both
def test_an_override_in_the_environment_wins(daemon, program):
    it = daemon(program)
    port = free_port()
    name = f"{program.upper()}__IP_BIND_PORT"
    assert it.command("--start", **{name: str(port)}).returncode == 0
    assert requests.answers(port) and not requests.answers(it.port)


@both
def test_foreground_wants_the_directory_alone(binaries, tmp_path, program):
    folder = Folder(tmp_path)
    directories = {f"PATTOO__{name.upper()}": path for name, path in folder.directories().items()}
    directories |= {f"{program.upper()}__IP_BIND_PORT": "0", "PATTOO_AGENT_API__ENABLED": "false"}
    if program == HUB:
        # Targets can only come from a file; without them a hub needs another thing to do.
        directories[f"{HUB.upper()}__RECEIVE"] = "true"
    it = Program(binaries[program], folder, directories | {"PATTOO_FOREGROUND": "true"}, ["--start"])
    try:
        assert requests.answers(it.port)
        it.send_signal(signal.SIGTERM)
        assert it.wait() == 0, it.log()
    finally:
        if it.process.poll() is None:
            it.kill()


@both
def test_a_daemon_wants_its_files(daemon, program):
    it = daemon(program)
    (it.folder.path / "config" / f"{program}.yaml").unlink()
    done = it.command("--start")
    assert done.returncode != 0
    assert f"{program}.yaml" in done.stdout + done.stderr, done


def test_samples_of_the_documentation_start_as_they_stand(binaries, tmp_path):
    with Network() as network:
        daemons = []
        for program in PROGRAMS:
            one = Daemon(binaries[program], tmp_path / program, network.prefix)
            (one.folder.path / "config" / f"{program}.yaml").write_text(SAMPLES[program])
            daemons.append(one)
        # One directory serves both, as on a pattoo host, and other programs' files stand beside.
        spoke, hub = daemons
        config = hub.folder.path / "config"
        (config / f"{SPOKE}.yaml").write_text(SAMPLES[SPOKE])
        (config / "pattoo_server.yaml").write_text("pattoo_db:\n    db_hostname: localhost\n")
        spoke.folder = hub.folder
        try:
            for one in daemons:
                started = one.command("--start")
                assert started.returncode == 0, started
                assert one.is_running()
            post = judge(network.get("http://127.0.0.1:5000/pattoo-agent-os/300"))
            assert post.interval == 300_000 and post.points
            assert network.get("http://127.0.0.1:5001/livez") is not None
            for one in daemons:
                assert one.command("--stop").returncode == 0
                assert not one.is_running()
        finally:
            for one in daemons:
                one.end()
