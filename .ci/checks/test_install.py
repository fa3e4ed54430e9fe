"""deploy/install, deploy/uninstall and the systemd units, in a folder and on a machine of the checks' own."""

import re
import shutil
import socket
import subprocess

import pytest

from support import judge, nobody, waiting
from support.machine import Machine
from support.paths import HUB, PROJECT, SPOKE
from support.programs import Folder, Program

PROGRAMS = (SPOKE, HUB)
both = pytest.mark.parametrize("program", PROGRAMS, ids=["spoke", "hub"])
INSTALL, UNINSTALL = PROJECT / "deploy/install", PROJECT / "deploy/uninstall"
LINKS = "/usr/local/lib/pattoo/bin"
PAGE = "http://127.0.0.1:5000/pattoo-agent-os/300"


def unit(program):
    return PROJECT / "deploy/systemd" / f"{program}.service"


# Into a folder, as for a package.


@pytest.fixture
def stage(binaries, tmp_path):
    """Runs either script with DESTDIR; the folder is `stage.root`."""

    def run(script, *arguments, **environment):
        source = ["--from", str(binaries[SPOKE].parent)] if script == INSTALL else []
        return subprocess.run(
            ["bash", str(script), *source, *arguments],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DESTDIR": str(run.root)} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    run.root = tmp_path / "stage"
    return run


def tree(root):
    """{path: permissions} of all files and links, and of the folders that are not for everybody."""
    found = {}
    for path in root.rglob("*"):
        mode = path.lstat().st_mode & 0o7777
        if not path.is_dir() or mode != 0o755:
            found[f"/{path.relative_to(root)}"] = "link" if path.is_symlink() else f"{mode:04o}"
    return found


WHOLE = {
    "/etc/logrotate.d/pattoo": "0644",
    "/etc/pattoo": "0750",
    "/etc/pattoo/pattoo.yaml": "0640",
    "/etc/tmpfiles.d/pattoo.conf": "0644",
    "/run/pattoo": "0750",
    "/usr/local/lib/pattoo/installed": "0644",
    "/var/lib/pattoo": "0750",
    "/var/lib/pattoo/cache": "0750",
    "/var/lib/pattoo/daemon": "0750",
    "/var/log/pattoo": "0750",
}
for _program in PROGRAMS:
    WHOLE |= {
        f"/etc/pattoo/{_program}.yaml": "0640",
        f"/etc/systemd/system/{_program}.service": "0644",
        f"/usr/local/bin/{_program}": "0755",
        f"{LINKS}/{_program}.py": "link",
    }


def test_install_into_a_folder(stage):
    done = stage(INSTALL)
    assert done.returncode == 0, done
    assert tree(stage.root) == WHOLE
    for program in PROGRAMS:
        link = stage.root / LINKS.strip("/") / f"{program}.py"
        assert link.resolve() == stage.root / "usr/local/bin" / program, "it leads to the program below DESTDIR too"
        shown = subprocess.run([link, "--version"], capture_output=True, text=True)
        assert program in shown.stdout
    assert stage(INSTALL).returncode == 0
    assert tree(stage.root) == WHOLE
    lines = (stage.root / "usr/local/lib/pattoo/installed").read_text().splitlines()
    assert len(lines) == len(set(lines)), lines


def test_install_one_program_elsewhere(stage):
    done = stage(INSTALL, "spoke", PREFIX="/opt/pattoo", PATTOO_CONFIGDIR="/opt/pattoo/etc")
    assert done.returncode == 0, done
    found = tree(stage.root)
    assert found.keys() >= {f"/opt/pattoo/bin/{SPOKE}", f"/opt/pattoo/lib/pattoo/bin/{SPOKE}.py", "/opt/pattoo/etc/pattoo.yaml"}
    assert not [path for path in found if HUB in path or path.startswith(("/usr", "/etc/pattoo"))], found
    service = (stage.root / f"etc/systemd/system/{SPOKE}.service").read_text()
    assert f"ExecStart=/opt/pattoo/bin/{SPOKE} --start --foreground\n" in service
    assert "Environment=PATTOO_CONFIGDIR=/opt/pattoo/etc\n" in service


def test_an_upgrade_keeps_what_is_not_of_the_program(stage):
    assert stage(INSTALL).returncode == 0
    kept = {
        f"etc/pattoo/{SPOKE}.yaml": f"{SPOKE}:\n    ip_bind_port: 5999\n",
        "etc/pattoo/pattoo_server.yaml": "pattoo_db:\n    db_hostname: localhost\n",
        f"var/lib/pattoo/daemon/agent_id/{SPOKE}.agent_id": "a" * 64,
        "var/lib/pattoo/cache/post": "1",
        "etc/logrotate.d/pattoo": "# changed by hand\n",
    }
    for name, text in kept.items():
        path = stage.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    program = stage.root / "usr/local/bin" / SPOKE
    program.write_text("an old program")
    for script in (INSTALL, UNINSTALL, INSTALL):
        done = stage(script)
        assert done.returncode == 0, done
        assert {name: (stage.root / name).read_text() for name in kept} == kept
    assert program.stat().st_size > 1_000_000, "the program was renewed"


def test_directories_elsewhere_are_opened_for_the_unit(stage):
    config = stage.root / "etc/pattoo"
    config.mkdir(parents=True)
    (config / "pattoo.yaml").write_text(
        "pattoo:\n    log_directory: /srv/log\n    cache_directory: /srv/a cache\n    daemon_directory: /srv/daemon\n"
        "    system_daemon_directory: /run/pattoo\n"
    )
    assert stage(INSTALL).returncode == 0
    folder = stage.root / "etc/systemd/system"
    assert 'ReadWritePaths="-/srv/daemon"' in (folder / f"{SPOKE}.service.d/directories.conf").read_text()
    hub = (folder / f"{HUB}.service.d/directories.conf").read_text()
    assert 'ReadWritePaths="-/srv/a cache"' in hub and 'ReadWritePaths="-/srv/daemon"' in hub and "/run/pattoo" not in hub
    # When they are the usual ones again, nothing is left over.
    shutil.copy(PROJECT / "deploy/examples/pattoo.yaml", config)
    assert stage(INSTALL).returncode == 0
    assert not list(folder.glob("*.d/*"))


def test_a_faulty_configuration_is_told_and_the_rest_is_installed(stage):
    (stage.root / "etc/pattoo").mkdir(parents=True)
    (stage.root / f"etc/pattoo/{HUB}.yaml").write_text(f"{HUB}:\n    polling_intervall: 60\n")
    done = stage(INSTALL)
    assert done.returncode == 1
    assert "polling_intervall" in done.stderr and "polling_interval?" in done.stderr, done.stderr
    assert tree(stage.root).keys() >= WHOLE.keys() - {"/etc/pattoo"}


def test_uninstall_removes_what_install_made(stage):
    assert stage(INSTALL).returncode == 0
    assert stage(UNINSTALL).returncode == 0
    left = {path for path in WHOLE if path.startswith(("/etc/pattoo", "/var", "/run"))} | {"/usr/local/lib/pattoo/installed"}
    assert tree(stage.root).keys() == left
    (stage.root / "etc/pattoo/pattoo_server.yaml").write_text("pattoo_db: {}\n")
    assert stage(UNINSTALL, "--purge").returncode == 0
    assert tree(stage.root).keys() == {"/etc/pattoo", "/etc/pattoo/pattoo_server.yaml"}


def test_purge_keeps_the_identities_of_other_agents(stage):
    assert stage(INSTALL).returncode == 0
    other = stage.root / "var/lib/pattoo/daemon/agent_id/pattoo_agent_snmpd.agent_id"
    other.parent.mkdir()
    other.write_text("b" * 64)
    done = stage(UNINSTALL, "--purge")
    assert done.returncode == 0 and str(other) in done.stdout, done
    assert other.read_text() == "b" * 64


def test_says_first_that_it_needs_root(binaries):
    with nobody.folder() as tools:
        # All that it may call; sudo is not among it.
        for name in ("bash", "dirname", "realpath", "id", "sed", "env"):
            (tools / name).symlink_to(shutil.which(name))
        # The checkout may stand where this user cannot look.
        deploy = shutil.copytree(INSTALL.parent, tools / "deploy")
        scripts = ((deploy / INSTALL.name, ["--from", str(binaries[SPOKE].parent)]), (deploy / UNINSTALL.name, []))
        for script, arguments in scripts:
            done = subprocess.run(
                [shutil.which("setpriv"), *nobody.PREFIX[1:], tools / "bash", str(script), *arguments],
                env={"PATH": str(tools)},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 1, done
            assert done.stdout.startswith("Needs root: "), done
            assert "sudo is not installed" in done.stderr


# The units.


@both
def test_unit_is_good(program):
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit(program))], capture_output=True, text=True)
    # Every word of it is a fault, but that the program is not installed here.
    said = [line for line in done.stderr.splitlines() if "is not executable: No such file" not in line]
    assert not said, "\n".join(said)


@both
def test_unit_is_hardened(program):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=22", "--no-pager", str(unit(program))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


@both
def test_notify_says_ready_when_it_listens_and_when_it_stops(binaries, tmp_path, program):
    path = tmp_path / "notify"
    folder = Folder(tmp_path / "folder")
    folder.write("pattoo", pattoo=folder.directories(), pattoo_agent_api={"enabled": False})
    own = {"ip_listen_address": "127.0.0.1", "ip_bind_port": 0} | ({"receive": True} if program == HUB else {})
    folder.write(program, **{program: own})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(10)
        it = Program(binaries[program], folder, {"NOTIFY_SOCKET": str(path)})
        try:
            assert told.recv(4096).decode().split() == ["READY=1"]
            with socket.create_connection(("127.0.0.1", it.port)):
                pass
            assert it.stop() == 0
            assert told.recv(4096).decode().split() == ["STOPPING=1"]
        finally:
            if it.process.poll() is None:
                it.kill()


# On a machine, under its systemd.


@pytest.fixture(scope="module")
def booted(binaries, tmp_path_factory):
    with Machine(tmp_path_factory.mktemp("machine") / "m", shown=[binaries[SPOKE].parent]) as machine:
        yield machine


@pytest.fixture
def machine(booted, binaries):
    """A machine on which both programs were just installed; purged afterwards."""
    booted.install = lambda: booted.run("bash", str(INSTALL), "--from", str(binaries[SPOKE].parent))
    booted.install()
    yield booted
    booted.run("bash", str(UNINSTALL), "--purge")
    assert booted.run("getent", "passwd", "pattoo", check=False).returncode == 2, "purge removes the user"
    for path in ("/etc/pattoo", "/var/lib/pattoo", "/var/log/pattoo", "/usr/local/lib/pattoo"):
        assert booted.run("test", "-e", path, check=False).returncode == 1, f"{path} is left"


def shown(machine, program, name):
    return machine.run("systemctl", "show", "--value", "--property", name, program).stdout.strip()


def fetch(machine, url=PAGE):
    code = f"import sys, urllib.request; sys.stdout.write(urllib.request.urlopen({url!r}, timeout=10).read().decode())"
    return machine.run("python3", "-c", code).stdout.encode()


def user_of(machine, pid):
    return machine.run("stat", "--format", "%U:%G", f"/proc/{pid}").stdout.strip()


@both
def test_service_starts_and_stops(machine, program):
    started = machine.run("systemctl", "start", program, check=False)
    assert started.returncode == 0, machine.run("journalctl", "--no-pager", "-u", program).stdout
    assert shown(machine, program, "ActiveState") == "active"
    assert user_of(machine, shown(machine, program, "MainPID")) == "pattoo:pattoo"
    status = machine.run(f"{LINKS}/{program}.py", "--status")
    assert status.stdout == f"Daemon is running - {program}\n"
    kept = f"/var/lib/pattoo/daemon/agent_id/{program}.agent_id"
    assert re.fullmatch("[0-9a-f]{64}", machine.run("cat", kept).stdout)
    machine.run("systemctl", "stop", program)
    assert shown(machine, program, "Result") == "success"
    assert machine.run(f"{LINKS}/{program}.py", "--status", check=False).returncode == 3


@both
def test_service_follows_its_configuration(machine, program):
    machine.run("systemctl", "start", program)
    pid = shown(machine, program, "MainPID")
    machine.run("sed", "-i", "s/log_level: .*/log_level: debug/", "/etc/pattoo/pattoo.yaml")
    machine.run("systemctl", "reload", program)
    followed = "the configuration has changed and is in force"
    waiting.until(lambda: followed in machine.run("journalctl", "--no-pager", "-u", program).stdout, 10, "it is in force")
    assert shown(machine, program, "MainPID") == pid and shown(machine, program, "ActiveState") == "active"


def test_hardening_hides_nothing_of_the_host(machine):
    machine.run("systemctl", "start", SPOKE)
    post = judge.judge(fetch(machine))
    mounts = {point.by_name["disk_partition_mountpoint"] for point in post.points if point.kind == "partition"}
    assert {"/home/disk", "/tmp/disk"} <= mounts, mounts
    free = ["setpriv", "--reuid", "pattoo", "--regid", "pattoo", "--init-groups", f"/usr/local/bin/{SPOKE}", "--once"]
    unhardened = judge.judge(machine.run(*free).stdout.encode())
    sums = [{(p.key, p.instance, p.checksum) for p in one.points} for one in (post, unhardened)]
    assert sums[0] == sums[1]
    totals = [{k: v for k, v in one.values().items() if k[0].endswith("_usage_total")} for one in (post, unhardened)]
    assert totals[0] == totals[1]


def test_services_do_not_take_each_others_files(machine):
    machine.run("systemctl", "start", *PROGRAMS)
    machine.run("systemctl", "stop", SPOKE)
    assert machine.run(f"{LINKS}/{HUB}.py", "--status").stdout == f"Daemon is running - {HUB}\n"
    machine.run("systemctl", "restart", HUB)
    assert shown(machine, HUB, "ActiveState") == "active"


def test_service_does_not_try_a_faulty_configuration_again(machine):
    machine.run("sh", "-c", f"printf '{SPOKE}:\\n    ip_bind_port: 99999\\n' >/etc/pattoo/{SPOKE}.yaml")
    assert machine.run("systemctl", "start", SPOKE, check=False).returncode != 0
    assert shown(machine, SPOKE, "ExecMainStatus") == "2"
    assert (shown(machine, SPOKE, "ActiveState"), shown(machine, SPOKE, "NRestarts")) == ("failed", "0")
    journal = machine.run("journalctl", "--no-pager", "--output", "cat", "-u", SPOKE).stdout
    assert f"/etc/pattoo/{SPOKE}.yaml: section {SPOKE}: key ip_bind_port" in journal
    machine.run("systemctl", "reset-failed", SPOKE)


def test_an_upgrade_restarts_what_runs_and_keeps_its_identity(machine):
    machine.run("systemctl", "start", SPOKE)
    before = shown(machine, SPOKE, "MainPID"), judge.judge(fetch(machine)).agent_id
    machine.install()
    assert shown(machine, SPOKE, "ActiveState") == "active"
    after = shown(machine, SPOKE, "MainPID"), judge.judge(fetch(machine)).agent_id
    assert after[0] != before[0] and after[1] == before[1]
    assert shown(machine, HUB, "ActiveState") == "inactive", "what did not run is not started"


MOVE_THE_CACHE = """
mkdir -p '/srv/a cache'
chown pattoo: '/srv/a cache'
sed -i 's|/var/lib/pattoo/cache|/srv/a cache|' /etc/pattoo/pattoo.yaml
"""


def test_a_cache_elsewhere_can_be_written_by_the_service(machine):
    machine.run("sh", "-c", MOVE_THE_CACHE)
    machine.install()
    started = machine.run("systemctl", "start", HUB, check=False)
    assert started.returncode == 0, machine.run("journalctl", "--no-pager", "-u", HUB).stdout
    assert machine.run("ls", "/srv/a cache").stdout.split()


def test_a_daemon_by_hand_as_the_own_user(machine):
    as_user = ["setpriv", "--reuid", "pattoo", "--regid", "pattoo", "--init-groups", f"{LINKS}/{SPOKE}.py"]
    machine.run(*as_user, "--start")
    pid = machine.run("cat", f"/run/pattoo/pid/{SPOKE}.pid").stdout.strip()
    assert user_of(machine, pid) == "pattoo:pattoo"
    assert judge.judge(fetch(machine)).points
    logs = machine.run("ls", "/var/log/pattoo").stdout.split()
    assert {"pattoo.log", "pattoo-api.log", "pattoo-daemon.log"} <= set(logs)
    # It is left running: uninstalling ends it.
    machine.run("bash", str(UNINSTALL))
    waiting.until(lambda: machine.run("test", "-e", f"/proc/{pid}", check=False).returncode, 5, "it has ended")
    assert machine.run("test", "-e", f"/etc/pattoo/{SPOKE}.yaml").returncode == 0


def test_a_boot_makes_the_folder_below_run(machine):
    machine.run("rmdir", "/run/pattoo")
    machine.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/pattoo.conf")
    assert machine.run("stat", "--format", "%U:%G %a", "/run/pattoo").stdout.strip() == "pattoo:pattoo 750"
