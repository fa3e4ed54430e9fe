"""The images, and hub and spokes in containers as docker-compose.yml has them, with relays on the bridge between."""

import json
import os
import subprocess
import tarfile

import pytest

from support import compose as compose_module
from support import requests, waiting
from support.compose import IMAGES, SERVICES, SPOKES, Compose, docker, program
from support.judge import judge
from support.relay import Relay, assert_all_arrived, posts_asked, posts_taken, wait_all_arrived

# Where the engine's host is seen, with `proc` and `root`: .ci/fresh-root has a root of its own, and the engine outside.
ENGINE_HOST = os.environ.get("CHECKS_ENGINE_HOST")

STOP = 5.0
BODIES = 100
INTERVAL = 1


@pytest.fixture(scope="session")
def images():
    """Both images, built once."""
    compose_module.build()
    return IMAGES


@pytest.fixture(scope="module")
def plain(images, tmp_path_factory):
    """The project as its file has it, but for the ports."""
    made = Compose(tmp_path_factory.mktemp("plain"))
    try:
        made.up()
        for service in SERVICES:
            made.wait_healthy(service)
        yield made
    finally:
        made.close()


# The images.


@pytest.mark.parametrize("image", IMAGES)
def test_image_is_from_scratch(images, image, tmp_path):
    """Nothing in it but one static program and empty folders: no shell, no library."""
    made = docker("create", images[image]).stdout.strip()
    try:
        with (tmp_path / "image.tar").open("wb") as file:
            subprocess.run(["docker", "export", made], stdout=file, check=True, timeout=60)
    finally:
        docker("rm", "--force", made)
    with tarfile.open(tmp_path / "image.tar") as archive:
        members = {member.name.rstrip("/"): member for member in archive}
    files = {name: member for name, member in members.items() if not member.isdir()}
    # What the engine itself puts into every container.
    engine = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}
    name = program(SPOKES[0] if image == "spoke" else "hub")[1:]
    assert files.keys() - engine == {name}
    assert files[name].mode & 0o7777 == 0o755 and files[name].uid == 0
    for folder in ("var/lib/pattoo/daemon", "run/pattoo"):
        assert (members[folder].uid, members[folder].gid) == (65532, 65532), folder
    with tarfile.open(tmp_path / "image.tar") as archive:
        binary = archive.extractfile(name).read()
    assert binary[:4] == b"\x7fELF"
    assert b"/ld-linux" not in binary[:4096], "a static program names no loader"


@pytest.mark.parametrize("image", IMAGES)
def test_image_configuration(images, image):
    config = json.loads(docker("inspect", images[image]).stdout)[0]["Config"]
    assert config["User"] == "65532:65532"
    assert "PATTOO_CONFIGDIR=/etc/pattoo" in config["Env"]
    assert config["Healthcheck"]["Test"][-1] == "--health"
    assert config["Entrypoint"][0].startswith("/pattoo_agent_os_")


# The project as it stands.


@pytest.mark.parametrize("service", SERVICES)
def test_container_is_locked_down_and_healthy(plain, service):
    found = plain.inspect(service)
    host = found["HostConfig"]
    assert found["Config"]["User"] == "65532:65532"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert host["RestartPolicy"]["Name"] == "on-failure"
    assert host["PidMode"] == "" and host["NetworkMode"] != "host"
    for mount in found["Mounts"]:
        if mount["Type"] == "bind":
            assert mount["RW"] is False and mount["Destination"] == "/etc/pattoo", mount
    # As the kernel has it, not as it was asked for.
    process = open(f"{ENGINE_HOST or ''}/proc/{found['State']['Pid']}/status").read()
    status = dict(line.split(":\t", 1) for line in process.splitlines() if ":\t" in line)
    assert set(status["Uid"].split()) == {"65532"} and set(status["Gid"].split()) == {"65532"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    for command in ("/bin/sh", "/bin/bash", "sh"):
        assert plain.exec(service, command, "-c", "true").returncode != 0, command


def test_ports_are_published_on_loopback_alone(plain):
    for service in SERVICES:
        for bindings in plain.inspect(service)["NetworkSettings"]["Ports"].values():
            assert {binding["HostIp"] for binding in bindings or []} <= {"127.0.0.1"}


def agent_ids(project):
    return {
        spoke: judge(requests.send("GET", project.published(spoke, 5000), "/pattoo-agent-os/10").body).agent_id
        for spoke in SPOKES
    }


def test_posts_of_three_spokes_are_taken(plain):
    waiting.until(
        lambda: plain.metrics("server").sum("pattoo_hub_posts_taken_total") >= 3, 60, lambda: plain.logs("hub")
    )
    assert plain.metrics("hub").sum("pattoo_hub_posts_delivered_total") >= 3


@pytest.mark.parametrize("service", ["hub", "spoke-a"])
def test_status_in_a_container(plain, service):
    done = plain.exec(service, program(service), "--status")
    assert done.returncode == 0, done
    assert f"Daemon is running - {program(service)[1:]}" in done.stdout
    assert plain.exec(service, program(service), "--health").returncode == 0
    restart = plain.exec(service, program(service), "--restart")
    assert restart.returncode != 0 and "docker" in (restart.stdout + restart.stderr).lower(), restart
    assert plain.state(service)["Running"], "a refused --restart leaves it running"


@pytest.mark.parametrize("service", ["hub", "spoke-a"])
def test_stop_in_a_container_ends_it_and_it_stays_down(plain, service):
    before = plain.inspect(service)["RestartCount"]
    done = plain.exec(service, program(service), "--stop")
    assert done.returncode == 0, done
    plain.wait_state(service, 10, Status="exited", ExitCode=0)
    waiting.holds(lambda: plain.state(service)["Status"] == "exited", 2, "it stays down")
    assert plain.inspect(service)["RestartCount"] == before
    plain.up(service)
    plain.wait_healthy(service)


def test_three_identities_outlive_the_containers(plain):
    before = agent_ids(plain)
    assert len(set(before.values())) == 3
    plain("down", "--timeout", "10")
    plain.up()
    for service in SERVICES:
        plain.wait_healthy(service)
    assert agent_ids(plain) == before


# The project with relays between.


class Relayed:
    """The project with a relay on the bridge before each spoke and before the stand-in."""

    def __init__(self, folder):
        config = folder / "config"
        config.mkdir()
        self.compose = Compose(
            folder, {"hub": {"volumes": [{"type": "bind", "source": str(config), "target": "/etc/pattoo", "read_only": True}]}}
        )
        self.compose.up(*SPOKES, "server")
        gateway = self.compose.gateway()
        self.polls = {spoke: self._relay(gateway, spoke, 5000) for spoke in SPOKES}
        self.to_server = self._relay(gateway, "server", 20201)
        devices = [{"ip_address": gateway, "ip_bind_port": relay.port} for relay in self.polls.values()]
        files = {
            "pattoo.yaml": {
                "pattoo": {"log_level": "debug"},
                "pattoo_agent_api": {"ip_address": gateway, "ip_bind_port": self.to_server.port},
            },
            "pattoo_agent_os_hubd.yaml": {
                "pattoo_agent_os_hubd": {"polling_interval": INTERVAL, "ip_devices": devices, "backoff_max": 2}
            },
        }
        for name, content in files.items():
            (config / name).write_text(json.dumps(content))
            (config / name).chmod(0o644)
        config.chmod(0o755)
        self.compose.up("hub")

    def _relay(self, gateway, service, port):
        return Relay(lambda: self.compose.address(service, port), listen=gateway)

    def asked(self, spoke=None):
        relays = self.polls.values() if spoke is None else [self.polls[spoke]]
        return [exchange for relay in relays for exchange in posts_asked(relay)]

    def taken(self):
        return posts_taken(self.to_server)

    def wait_asked(self, spoke, more, seconds=20):
        wanted = len(self.asked(spoke)) + more
        waiting.until(
            lambda: len(self.asked(spoke)) >= wanted, seconds, lambda: f"{spoke} is asked:\n{self.compose.logs('hub')}"
        )

    def hold_polls(self):
        for relay in self.polls.values():
            relay.set("hold")
        waiting.until(lambda: not any(relay.under_way for relay in self.polls.values()), 40, "polls are over")

    def close(self):
        for relay in [*getattr(self, "polls", {}).values(), getattr(self, "to_server", None)]:
            if relay:
                relay.close()
        self.compose.close()


@pytest.fixture(scope="module")
def relayed(images, tmp_path_factory):
    made = object.__new__(Relayed)
    try:
        made.__init__(tmp_path_factory.mktemp("relayed"))
        for spoke in SPOKES:
            made.wait_asked(spoke, 1, 40)
        yield made
    finally:
        if hasattr(made, "compose"):
            made.close()


def cut_off(relayed, spoke):
    docker("network", "disconnect", "--force", relayed.compose.network(), relayed.compose.container(spoke))


def join_again(relayed, spoke):
    docker("network", "connect", "--alias", spoke, relayed.compose.network(), relayed.compose.container(spoke))
    relayed.compose.moved(spoke)


def killed(relayed, spoke):
    docker("kill", relayed.compose.container(spoke))
    relayed.compose.wait_state(spoke, 10, Running=False)


def started_again(relayed, spoke):
    docker("start", relayed.compose.container(spoke))
    relayed.compose.moved(spoke)


FAULTS = {
    "killed": (killed, started_again),
    "paused": (
        lambda relayed, spoke: docker("pause", relayed.compose.container(spoke)),
        lambda relayed, spoke: docker("unpause", relayed.compose.container(spoke)),
    ),
    "cut_off": (cut_off, join_again),
}


@pytest.mark.parametrize("fault, spoke", list(zip(FAULTS, SPOKES)), ids=list(FAULTS))
def test_a_spoke_in_trouble_costs_the_others_nothing(relayed, fault, spoke):
    break_it, mend_it = FAULTS[fault]
    others = [name for name in SPOKES if name != spoke]
    starts = {name: len(relayed.asked(name)) for name in others}
    break_it(relayed, spoke)
    alone = len(relayed.asked(spoke))
    waiting.until(
        lambda: all(len(relayed.asked(name)) >= starts[name] + 6 for name in others), 20, "six posts of each other"
    )
    assert len(relayed.asked(spoke)) <= alone + 1, "the one in trouble says nothing"
    for name in others:
        times = [exchange.when for exchange in relayed.asked(name)[max(0, starts[name] - 1) :]]
        gaps = [round(late - early, 2) for early, late in zip(times, times[1:])]
        assert max(gaps) < 1.9 * INTERVAL, f"{name} was asked late: {gaps}"
    mend_it(relayed, spoke)
    relayed.wait_asked(spoke, 3)
    # Its new posts reach the server too.
    last = relayed.asked(spoke)[-1].answer
    waiting.until(lambda: any(exchange.sent == last for exchange in relayed.taken()), 10, f"{spoke}'s posts go up again")


def test_a_hundred_bodies_are_equal_byte_for_byte(relayed):
    """After the faults above: what each spoke answered is what reached the server, none less, none more."""
    waiting.until(lambda: len(relayed.asked()) >= BODIES, 90, lambda: f"{BODIES} posts: {len(relayed.asked())}")
    relayed.hold_polls()
    try:
        wait_all_arrived(relayed.asked, relayed.taken, 60, lambda: relayed.compose.metrics("hub"))
        compared = assert_all_arrived(relayed.asked(), relayed.taken())
    finally:
        for relay in relayed.polls.values():
            relay.set("pass")
    print(f"{compared} bodies compared")
    assert compared >= BODIES


def test_docker_stop_is_quick_and_clean(relayed):
    took = {service: relayed.compose.stop_time(service) for service in ("hub", "spoke-a")}
    print(took)
    assert max(took.values()) < STOP, took
    relayed.compose.up("spoke-a", "hub")
    relayed.compose.moved("spoke-a")
    relayed.wait_asked("spoke-a", 2, 30)


def test_docker_stop_is_quick_and_clean_while_the_server_hangs(relayed):
    docker("pause", relayed.compose.container("server"))
    try:
        waiting.until(
            lambda: relayed.compose.metrics("hub").sum("pattoo_hub_posts_waiting") >= 3, 20, "posts wait at the hub"
        )
        took = {service: relayed.compose.stop_time(service) for service in ("hub", "spoke-b")}
    finally:
        docker("unpause", relayed.compose.container("server"))
    print(took)
    assert max(took.values()) < STOP, took
