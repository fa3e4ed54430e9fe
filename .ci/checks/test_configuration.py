"""Bad configurations, each told in one line with nothing half started; and what stands beside ours does no harm."""

import os
import signal
import subprocess

import pytest

from support import nobody, requests, waiting
from support.judge import judge
from support.network import Network
from support.paths import HUB, SPOKE
from support.ports import free_port
from support.programs import Folder, Program, api
from test_commands import PROGRAMS, Daemon, both, daemon

PATTOO, API = "pattoo", "pattoo_agent_api"
DEVICE = {"ip_address": "127.0.0.1", "ip_bind_port": 5000}


class Case:
    """What is wrong, with which of the programs, and what the one line names."""

    def __init__(self, name, change, *words, programs=PROGRAMS, modes=("daemon", "foreground"), nobody=False, environment=None):
        self.name, self.change, self.words, self.programs, self.modes = name, change, words, programs, modes
        self.nobody, self.environment = nobody, environment or {}

    def __str__(self):
        return self.name


def own(**settings):
    """Adds to the program's own section, under its name as this file writes it."""
    return lambda it: it.rewrite(it.program, {it.program: it.section | settings})


def pattoo(**settings):
    return lambda it: it.rewrite("pattoo", {PATTOO: it.folder.directories() | settings, API: {"enabled": False}})


def pattoo_api(**settings):
    return lambda it: it.rewrite("pattoo", {PATTOO: it.folder.directories(), API: settings})


def text(name, content):
    """Replaces a file, `own` for the program's."""

    def change(it):
        data = content.replace("OWN", it.program)
        it.file(name).write_bytes(data.encode("latin-1"))

    return change


def remove(name):
    return lambda it: it.file(name).unlink()


def folder_instead(name):
    def change(it):
        it.file(name).unlink()
        it.file(name).mkdir()

    return change


def mode(name, bits):
    return lambda it: (it.folder.path / name).chmod(bits)


def below(name, make):
    """Makes `name` of the program's folder a file or a folder."""

    def change(it):
        path = it.folder.path / name.replace("OWN", it.program)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            path.rmdir()
        path.mkdir() if make == "folder" else path.write_text("")

    return change


def unreadable_agent_id(it):
    path = it.folder.path / "daemon/agent_id" / f"{it.program}.agent_id"
    path.parent.mkdir(mode=0o777)
    path.write_text("a" * 64)
    path.chmod(0o600)


def nothing(_):
    pass


DAEMON = {"modes": ("daemon",)}
AS_HUB = {"programs": (HUB,)}
AS_SPOKE = {"programs": (SPOKE,)}
OWN = "OWN"  # the program's name, in words and texts

CASES = [
    # Directory and files.
    Case("missing_directory", nothing, "/nowhere/at/all", "PATTOO_CONFIGDIR", environment={"PATTOO_CONFIGDIR": "/nowhere/at/all"}),
    Case("a_file_as_directory", nothing, "/etc/hostname", environment={"PATTOO_CONFIGDIR": "/etc/hostname"}),
    Case("missing_file", remove("pattoo"), "/config/pattoo.yaml", **DAEMON),
    Case("missing_own_file", remove("own"), "/config/OWN.yaml", **DAEMON),
    Case("a_directory_as_file", folder_instead("pattoo"), "/config/pattoo.yaml"),
    Case("a_directory_as_own_file", folder_instead("own"), "/config/OWN.yaml"),
    Case("unreadable_directory", mode("config", 0o700), "/config", "ermission denied", nobody=True),
    Case("unreadable_file", mode("config/pattoo.yaml", 0o600), "/config/pattoo.yaml", "ermission denied", nobody=True),
    # No YAML.
    Case("bad_yaml", text("own", "OWN:\n  ip_bind_port: [5000\n"), "/config/OWN.yaml", "line"),
    Case("a_tab", text("own", "OWN:\n\tip_bind_port: 5000\n"), "/config/OWN.yaml", "line 2"),
    Case("a_key_twice", text("own", "OWN:\n  ip_bind_port: 5000\n  ip_bind_port: 5001\n"), "/config/OWN.yaml", "ip_bind_port"),
    Case("a_list_at_the_top", text("own", "- OWN\n"), "/config/OWN.yaml"),
    Case("no_utf_8", text("own", "OWN:\n  hostname: \xff\n"), "/config/OWN.yaml"),
    Case("a_section_that_is_a_list", text("own", "OWN:\n  - ip_bind_port\n"), "/config/OWN.yaml", "OWN"),
    Case("a_section_that_is_a_value", text("pattoo", "pattoo: here\n"), "/config/pattoo.yaml", "pattoo"),
    # Keys.
    Case("unknown_key", own(ip_bind_prt=5000), "/config/OWN.yaml", "section OWN", "ip_bind_prt", "did you mean ip_bind_port?"),
    Case("unknown_key_of_the_spoke", own(partition_excludes="x"), "/config/OWN.yaml", "did you mean partition_exclude?", **AS_SPOKE),
    Case("unknown_key_of_the_hub", own(ip_device=[DEVICE]), "/config/OWN.yaml", "did you mean ip_devices?", **AS_HUB),
    Case("a_key_of_the_other_program", own(polling_interval=60), "/config/OWN.yaml", "polling_interval", **AS_SPOKE),
    Case("unknown_key_of_a_target", own(ip_devices=[DEVICE | {"port": 1}]), "/config/OWN.yaml", "ip_devices", "port", **AS_HUB),
    Case("a_key_under_both_names", own(bind_port=5000), "/config/OWN.yaml", "section OWN", "bind_port", "twice", **AS_SPOKE),
    Case("a_directory_not_named", text("pattoo", "pattoo:\n  log_level: info\n"), "/config/pattoo.yaml", "section pattoo", "_directory", **DAEMON),
    # Values.
    Case("port_of_the_wrong_type", own(ip_bind_port="five"), "/config/OWN.yaml", "section OWN", "key ip_bind_port"),
    Case("port_above_the_range", own(ip_bind_port=65536), "/config/OWN.yaml", "section OWN", "key ip_bind_port", "65536"),
    Case("port_below_the_range", own(ip_bind_port=-1), "/config/OWN.yaml", "section OWN", "key ip_bind_port", "-1"),
    Case("port_in_the_environment", nothing, "IP_BIND_PORT", "section OWN", "key ip_bind_port", environment={"OWN__IP_BIND_PORT": "x"}),
    Case("port_out_of_range_in_the_environment", nothing, "environment", "section OWN", "key ip_bind_port", environment={"OWN__IP_BIND_PORT": "70000"}),
    Case("address_that_is_none", own(ip_listen_address="300.1.1.1"), "/config/OWN.yaml", "section OWN", "key ip_listen_address", "300.1.1.1"),
    Case("address_of_the_wrong_type", own(ip_listen_address=[]), "/config/OWN.yaml", "section OWN", "key ip_listen_address"),
    Case("log_level_that_is_none", pattoo(log_level="loud"), "/config/pattoo.yaml", "section pattoo", "key log_level", "loud"),
    Case("log_size_of_the_wrong_type", pattoo(log_max_bytes="big"), "/config/pattoo.yaml", "section pattoo", "key log_max_bytes"),
    Case("directory_of_the_wrong_type", pattoo(daemon_directory=[1]), "/config/pattoo.yaml", "section pattoo", "key daemon_directory"),
    Case("agent_id_with_a_slash", own(agent_id="../x"), "/config/OWN.yaml", "section OWN", "key agent_id"),
    Case("no_cpus", own(cpus=0), "/config/OWN.yaml", "section OWN", "key cpus", **AS_SPOKE),
    Case("no_regular_expression", own(network_exclude="("), "/config/OWN.yaml", "section OWN", "key network_exclude", **AS_SPOKE),
    Case("no_regular_expression_for_metrics", own(metrics_disk_exclude="("), "/config/OWN.yaml", "section OWN", "key metrics_disk_exclude", **AS_SPOKE),
    Case("no_collector", own(metrics_off="cpu, hwmn"), "/config/OWN.yaml", "section OWN", "key metrics_off", "did you mean hwmon?", **AS_SPOKE),
    Case("no_series", own(metrics_max_series=0), "/config/OWN.yaml", "section OWN", "key metrics_max_series", "at least 1", **AS_SPOKE),
    Case("empty_list", own(ip_devices=[]), "/config/OWN.yaml", "section OWN", "key ip_devices", **AS_HUB),
    Case("no_list", own(ip_devices="127.0.0.1"), "/config/OWN.yaml", "section OWN", "key ip_devices", **AS_HUB),
    Case("duplicate_target", own(ip_devices=[DEVICE, DEVICE]), "/config/OWN.yaml", "section OWN", "key ip_devices.1", "127.0.0.1:5000", **AS_HUB),
    Case("target_without_a_port", own(ip_devices=[{"ip_address": "h"}]), "/config/OWN.yaml", "section OWN", "ip_devices", "ip_bind_port", **AS_HUB),
    Case("target_port_0", own(ip_devices=[DEVICE | {"ip_bind_port": 0}]), "/config/OWN.yaml", "key ip_devices.0.ip_bind_port", **AS_HUB),
    Case("target_port_above_the_range", own(ip_devices=[DEVICE | {"ip_bind_port": 65536}]), "/config/OWN.yaml", "ip_devices", "65536", **AS_HUB),
    Case("target_that_is_none", own(ip_devices=[DEVICE | {"ip_address": "a b"}]), "/config/OWN.yaml", "key ip_devices.0.ip_address", "a b", **AS_HUB),
    Case("interval_of_the_wrong_type", own(polling_interval="5m"), "/config/OWN.yaml", "section OWN", "key polling_interval", **AS_HUB),
    Case("interval_below_0", own(polling_interval=-5), "/config/OWN.yaml", "section OWN", "key polling_interval", "-5", **AS_HUB),
    Case("switch_of_the_wrong_type", own(receive="maybe"), "/config/OWN.yaml", "section OWN", "key receive", **AS_HUB),
    Case("server_port_0", pattoo_api(ip_bind_port=0), "/config/pattoo.yaml", "section pattoo_agent_api", "key ip_bind_port", **AS_HUB),
    Case("server_port_above_the_range", pattoo_api(ip_bind_port=65536), "/config/pattoo.yaml", "section pattoo_agent_api", "key ip_bind_port", **AS_HUB),
    Case("server_that_is_none", pattoo_api(ip_address="a b"), "/config/pattoo.yaml", "section pattoo_agent_api", "key ip_address", **AS_HUB),
    # Directories that cannot be written, and things of the wrong kind.
    *(
        Case(f"unwritable_{key}", pattoo(**{key: "/usr/share"}), "/config/pattoo.yaml", "section pattoo", f"key {key}", "/usr/share", nobody=True, **DAEMON)
        for key in ("daemon_directory", "system_daemon_directory", "cache_directory", "log_directory")
    ),
    *(
        Case(f"a_file_as_{key}", pattoo(**{key: "/etc/hostname"}), "/config/pattoo.yaml", "section pattoo", f"key {key}", "/etc/hostname", **DAEMON)
        for key in ("daemon_directory", "system_daemon_directory", "cache_directory", "log_directory")
    ),
    Case("unwritable_cache", pattoo(cache_directory="/usr/share"), "/config/pattoo.yaml", "section pattoo", "key cache_directory", nobody=True, modes=("foreground",), **AS_HUB),
    Case("a_directory_as_log_file", below("log/pattoo.log", "folder"), "/log/pattoo.log", **DAEMON),
    Case("a_directory_as_agent_id_file", below("daemon/agent_id/OWN.agent_id", "folder"), "/daemon/agent_id/OWN.agent_id"),
    Case("a_directory_as_lock_file", below("run/lock/OWN.lock", "folder"), "/run/lock/OWN.lock", **DAEMON),
    Case("a_directory_as_pid_file", below("run/pid/OWN.pid", "folder"), "/run/pid/OWN.pid", **DAEMON),
    # Another id in its place would rename every series.
    Case("unreadable_agent_id_file", unreadable_agent_id, "/daemon/agent_id/OWN.agent_id", nobody=True),
    Case("a_file_as_agent_id_folder", below("daemon/agent_id", "file"), "/daemon/agent_id"),
]
TABLE = [(case, program, how) for case in CASES for program in case.programs for how in case.modes]


def in_words(case, program, how):
    return f"{case}-{'spoke' if program == SPOKE else 'hub'}-{how}"


class Sabotaged:
    """A good folder of a program's, with what the cases change in it."""

    def __init__(self, daemon):
        self.daemon, self.folder, self.program = daemon, daemon.folder, daemon.binary.name
        self.section = daemon.section

    def file(self, name):
        return self.folder.path / "config" / f"{self.program if name == 'own' else name}.yaml"

    def rewrite(self, name, sections):
        self.folder.write(name, **sections)


def everything_below(path):
    return {str(one.relative_to(path)) for one in path.rglob("*")}


def processes_with(path):
    """The processes that were given this folder as PATTOO_CONFIGDIR."""
    wanted = f"PATTOO_CONFIGDIR={path}".encode()
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(entry))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("case, program, how", TABLE, ids=[in_words(*row) for row in TABLE])
def test_bad(binaries, case, program, how):
    with nobody.folder() as path:
        it = Daemon(binaries[program], path / "its", nobody.PREFIX if case.nobody else ())
        try:
            try_bad(it, case, program, how)
        finally:
            it.prefix = []
            it.folder.path.joinpath("config").chmod(0o755)
            end(it)


def end(it):
    """Ends what should never have been started; its configuration may be beyond asking it."""
    for pid in processes_with(it.folder.path / "config"):
        os.kill(pid, signal.SIGKILL)


def try_bad(it, case, program, how):
    if case.nobody:
        for name in ("daemon", "cache", "run", "log"):
            (it.folder.path / name).chmod(0o777)
    it.section = {"ip_listen_address": "127.0.0.1", "ip_bind_port": it.port}
    if program == HUB:
        it.section["ip_devices"] = [{"ip_address": "127.0.0.1", "ip_bind_port": free_port()}]
    case.change(Sabotaged(it))
    before = everything_below(it.folder.path)
    environment = {name.replace("OWN", program.upper()): value for name, value in case.environment.items()}
    try:
        done = it.command("--start", *(["--foreground"] if how == "foreground" else []), **environment)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"it runs: {late.stdout}")
    assert done.returncode == 2, done
    said = done.stderr.splitlines()
    assert len(said) == 1 and said[0].startswith(f"{program}: "), said
    for word in case.words:
        assert word.replace("OWN", program) in said[0], f"{word!r} is not in: {said[0]}"
    assert done.stdout == "", done.stdout
    # Nothing is half started.
    assert not requests.answers(it.port)
    assert not processes_with(it.folder.path / "config")
    made = everything_below(it.folder.path) - before
    assert not {path for path in made if not path.startswith("log")}, made


@both
def test_a_faulty_configuration_does_not_end_what_runs(daemon, program):
    it = daemon(program)
    assert it.command("--start").returncode == 0
    pid = it.pid()
    it.folder.write(program, **{program: {"ip_bind_prt": 1}})
    done = it.command("--restart")
    assert done.returncode == 2 and "ip_bind_prt" in done.stderr, done
    assert it.pid() == pid and requests.answers(it.port)
    # Stopping does not need a good configuration of the program's own.
    it.folder.write(program, **{program: {}})
    assert it.command("--stop").returncode == 0


# What is right.

FOREIGN = {
    "pattoo_server.yaml": "pattoo_db:\n    db_hostname: localhost\npattoo_api_agentd:\n    ip_bind_port: 99999\n",
    "pattoo_agent_snmpd.yaml": "pattoo_agent_snmpd:\n    polling_interval: nonsense\n",
    "pattoo_web.yaml": "a: [\n\tbroken",
    "pattoo_agent_os_autonomousd.yaml": "\x00\x01\x02",
    "notes.txt": "- not for programs",
}


@both
@pytest.mark.parametrize("how", ["daemon", "foreground"])
def test_other_programs_files_and_sections_do_no_harm(daemon, program, how):
    it = daemon(program)
    config = it.folder.path / "config"
    for name, content in FOREIGN.items():
        (config / name).write_text(content)
    (config / "pattoo_agent_ifttt.yaml").mkdir()
    other = {HUB: SPOKE, SPOKE: HUB}[program]
    (config / f"{other}.yaml").write_text(f"{other}:\n    no_such_key: 1\n")
    # Sections of others within the shared file: a list, a value, and the other program's with a key that is wrong.
    sections = {"pattoo_web_api": [1, 2], "pattoo_api_agentd": 7, other: {"no_such_key": 1}, "pattoo_agent_bacnetipd": None}
    it.folder.write("pattoo", pattoo=it.folder.directories(), pattoo_agent_api={"enabled": False}, **sections)
    if how == "daemon":
        assert it.command("--start").returncode == 0
        assert requests.answers(it.port)
    else:
        running = Program(it.binary, it.folder)
        try:
            assert requests.answers(it.port)
            assert running.stop() == 0
        finally:
            if running.process.poll() is None:
                running.kill()


@both
def test_an_unknown_key_of_a_shared_section_is_warned_of(daemon, program):
    it = daemon(program)
    it.folder.write("pattoo", pattoo=it.folder.directories() | {"log_levle": "x"}, pattoo_agent_api={"enabled": False})
    said = it.command("--check")
    assert said.returncode == 0 and "log_levle" in said.stdout and "log_level?" in said.stdout, said
    assert it.command("--start").returncode == 0
    logged = "".join(path.read_text() for path in (it.folder.path / "log").iterdir())
    assert logged.count("log_levle") == 1


def test_later_versions_keep_the_server_in_pattoo_agent_yaml(daemon, rig):
    server, spoke = rig.server(), rig.spoke()
    it = daemon(HUB, ip_devices=[{"ip_address": "127.0.0.1", "ip_bind_port": spoke.port}], polling_interval=1)
    it.folder.write("pattoo", pattoo=it.folder.directories())
    it.folder.write("pattoo_agent", pattoo_agent_api=api(server.port) | {"pattoo_agent_api_encryption": 1})
    assert it.command("--start").returncode == 0
    waiting.until(lambda: server.metrics().sum("pattoo_hub_posts_taken_total"), 10, "a post is taken")


def test_later_names_of_targets_are_accepted(daemon, rig):
    spoke = rig.spoke()
    it = daemon(HUB)
    targets = [
        {"ip_address": "127.0.0.1", "bind_port": spoke.port},
        {"ip_address": "localhost", "ip_bind_port": spoke.port},
        {"ip_address": "::1", "bind_port": 5000},
    ]
    it.folder.write(HUB, **{HUB: {"ip_targets": targets, "ip_bind_port": 0}})
    said = it.command("--check")
    assert said.returncode == 0, said
    once = it.command("--once").stdout
    asked = [line.split()[:2] for line in once.splitlines()]
    for target in (f"127.0.0.1:{spoke.port}", f"localhost:{spoke.port}"):
        assert [target, "ok"] in asked, once
    assert ["[::1]:5000", "failed"] in asked, once


def test_the_spoke_accepts_bind_port(daemon):
    it = daemon(SPOKE)
    it.folder.write(SPOKE, **{SPOKE: {"ip_listen_address": "127.0.0.1", "bind_port": it.port}})
    assert it.command("--start").returncode == 0
    assert judge(requests.send("GET", it.port, "/pattoo-agent-os/300").body).points


@both
@pytest.mark.parametrize("address", ["0::", "::"])
def test_all_of_ipv6_is_not_ipv4_as_well(daemon, program, address):
    it = daemon(program, ip_listen_address=address)
    assert it.command("--start").returncode == 0
    assert requests.answers(it.port, host="::1")
    assert not requests.answers(it.port, host="127.0.0.1")


def test_a_polling_interval_of_0_means_300(daemon):
    it = daemon(HUB, polling_interval=0)
    assert "polling_interval: 300" in it.command("--check").stdout


def test_defaults_are_the_originals(binaries, tmp_path):
    """With sections that are empty: 0.0.0.0:5000 of the spoke, 127.0.0.1:5001 of the hub."""
    with Network() as network:
        for program, address in ((SPOKE, "0.0.0.0:5000"), (HUB, "127.0.0.1:5001")):
            folder = Folder(tmp_path / program)
            folder.write("pattoo", pattoo=folder.directories())
            section = {"ip_devices": [DEVICE]} if program == HUB else None
            folder.write(program, **{program: section})

            def run(option):
                command = [*network.prefix, str(binaries[program]), option]
                return subprocess.run(command, env=folder.environment(), capture_output=True, text=True, timeout=30)

            started = run("--start")
            assert started.returncode == 0, started
            try:
                lock = (folder.path / "run/lock" / f"{program}.lock").read_text()
                assert f"address={address}\n" in lock
            finally:
                assert run("--stop").returncode == 0
