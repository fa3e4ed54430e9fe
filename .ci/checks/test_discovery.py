"""A name of which every address is a target: with Docker's own DNS between containers, and with dnsmasq, which can fail."""

import json
import re
import secrets
import time
from datetime import datetime
from pathlib import Path

import pytest

from support import metrics, names, requests, waiting
from support.compose import IMAGES, docker
from support.network import Network
from support.paths import HUB, SPOKE
from support.programs import Program
from test_containers import images  # noqa: F401 (a fixture)

IPV6 = Path("/proc/net/if_inet6").exists()
NAME = "spokes"
INTERVAL = 3
# What a busy machine may add to a promise.
LATE = 1.5
POLLED = re.compile(r"^(?P<when>\S+Z) +DEBUG .*polled target=(?P<target>\S+) state=(?P<state>\w+)")
TWO = "two targets, one spoke"


# In containers.


class Site:
    """A hub, a server and spokes in containers; the spokes share an alias in the hub's network, and are watched in another."""

    def __init__(self, folder):
        self.folder, self.id = folder, f"checks-{secrets.token_hex(4)}"
        self.networks, self.containers, self.hosts = [], [], {}
        self.polled, self.side = self._network("polled"), self._network("side")
        address = json.loads(docker("network", "inspect", self.polled).stdout)[0]["IPAM"]["Config"][0]["Subnet"]
        self.prefix = address.rpartition(".")[0]
        server = {"ip_listen_address": "0.0.0.0", "ip_bind_port": 20201, "receive": True}
        self.server = self._run("hub", "server", self.polled, self._folder("server", {HUB: server}, {"enabled": False}))
        hub = {"polling_interval": INTERVAL, "ip_devices": [{"ip_address": NAME, "ip_bind_port": 5000, "resolve": "all"}]}
        self.spokes = [self._spoke(number) for number in range(6)]
        for spoke in self.spokes[:3]:
            self.join(spoke)
        self.hub = self._run("hub", "hub", self.polled, self._folder("hub", {HUB: hub}, {"ip_address": f"{self.id}-server"}))

    def _network(self, name):
        self.networks.append(f"{self.id}-{name}")
        # With a subnet of its own, so that addresses may be chosen: the first that nobody has.
        for number in range(200, 250):
            subnet = f"10.213.{number}.0/24"
            if docker("network", "create", "--subnet", subnet, self.networks[-1], check=False).returncode == 0:
                return self.networks[-1]
        raise AssertionError("no subnet is free")

    def _folder(self, name, own, api):
        folder = self.folder / name
        folder.mkdir()
        files = {"pattoo": {"pattoo": {"log_level": "debug"}, "pattoo_agent_api": api}, HUB: own}
        for file, content in files.items():
            (folder / f"{file}.yaml").write_text(json.dumps(content))
            (folder / f"{file}.yaml").chmod(0o644)
        folder.chmod(0o755)
        return ["--volume", f"{folder}:/etc/pattoo:ro"]

    def _run(self, image, name, network, options):
        container = f"{self.id}-{name}"
        self.containers.append(container)
        tmpfs = "--tmpfs=/run/pattoo:uid=65532,gid=65532,mode=0750,size=1m"
        docker("run", "--detach", "--name", container, "--read-only", tmpfs, "--network", network, *options, *self._writable(image), IMAGES[image])
        found = json.loads(docker("inspect", container).stdout)[0]["NetworkSettings"]["Networks"]
        self.hosts[container] = found[network]["IPAddress"]
        return container

    @staticmethod
    def _writable(image):
        folders = ["daemon", "cache"] if image == "hub" else ["daemon"]
        return [f"--tmpfs=/var/lib/pattoo/{folder}:uid=65532,gid=65532,mode=0750,size=100m" for folder in folders]

    def _spoke(self, number):
        name = f"spoke-{number}"
        told = {"HOSTNAME": name, "AGENT_ID": name}
        return self._run("spoke", name, self.side, [f"--env={SPOKE.upper()}__{key}={value}" for key, value in told.items()])

    def join(self, spoke, *options):
        docker("network", "connect", "--alias", NAME, *options, self.polled, spoke)

    def part(self, spoke):
        """Out of the network, and so out of DNS, right after a poll, so that none is cut off."""
        before = self.served(spoke)
        waiting.until(lambda: self.served(spoke) > before, INTERVAL + 10, f"{spoke} is polled")
        docker("network", "disconnect", "--force", self.polled, spoke)

    def metrics(self, container, port):
        return metrics.read(requests.send("GET", port, "/metrics", host=self.hosts[container]).body)

    def served(self, spoke):
        return self.metrics(spoke, 5000).sum("pattoo_spoke_posts_served_total", code="200")

    def of_hub(self, name, **labels):
        return self.metrics(self.hub, 5001).sum(f"pattoo_hub_{name}", **labels)

    def listens(self):
        """Whether the hub answers yet."""
        try:
            return bool(self.metrics(self.hub, 5001))
        except ConnectionError:
            return False

    def log(self):
        return docker("logs", self.hub).stdout.splitlines()

    def follows(self, what, spokes, come=()):
        """The hub polls these and no others within one interval; returns after how long."""
        began = time.monotonic()
        before = {spoke: self.served(spoke) for spoke in come}
        reached = lambda: (  # noqa: E731
            self.of_hub("targets") == spokes and all(self.served(spoke) > before[spoke] for spoke in come)
        )
        waiting.until(reached, INTERVAL + LATE, lambda: f"{what}: {self.of_hub('targets')}\n" + "\n".join(self.log()[-30:]))
        print(f"{what}: followed after {time.monotonic() - began:.2f} s of {INTERVAL} s")

    def close(self):
        if self.containers:
            docker("rm", "--force", "--volumes", *self.containers, check=False)
        for network in self.networks:
            docker("network", "rm", network, check=False)


@pytest.fixture
def site(images, tmp_path):  # noqa: F811
    made = object.__new__(Site)
    try:
        made.__init__(tmp_path)
        yield made
    finally:
        made.close()


def polls(log):
    """{target: times of its polls}"""
    found = {}
    for line in log:
        if match := POLLED.match(line):
            found.setdefault(match["target"], []).append(datetime.fromisoformat(match["when"]).timestamp())
    return found


def test_containers_that_share_an_alias_are_followed(site):
    waiting.until(site.listens, 20, lambda: "\n".join(site.log()))
    waiting.until(lambda: site.of_hub("targets") == 3, 20, lambda: "\n".join(site.log()))
    waiting.until(lambda: all(site.served(spoke) for spoke in site.spokes[:3]), INTERVAL + LATE, "each of three is polled")
    for spoke in site.spokes[3:]:
        site.join(spoke)
    site.follows("3 to 6", 6, site.spokes[3:])
    for spoke in site.spokes[2:]:
        site.part(spoke)
    site.follows("6 to 2", 2)
    # One that stayed away for long, and one that is gone for a moment: both come back under other addresses.
    site.join(site.spokes[2], "--ip", f"{site.prefix}.200")
    site.follows("2 to 3", 3, site.spokes[2:3])
    site.part(site.spokes[0])
    site.join(site.spokes[0], "--ip", f"{site.prefix}.201")
    site.follows("another address", 3, site.spokes[:1])
    for spoke in site.spokes[3:]:
        site.join(spoke)
    site.follows("3 to 6 again", 6, site.spokes[3:])
    assert f"polled target={site.prefix}.201:5000 state=Up" in "\n".join(site.log()), "it is taken from its new address"

    # What each spoke gave has reached the server: nothing is lost, whoever has left.
    for spoke in site.spokes:
        site.part(spoke)
    waiting.until(lambda: site.of_hub("posts_waiting") == 0, 20, "all lanes drain")
    served = sum(site.served(spoke) for spoke in site.spokes)
    assert served == site.of_hub("posts_taken_total") == site.of_hub("posts_delivered_total")
    assert served == site.metrics(site.server, 20201).sum("pattoo_hub_posts_taken_total")
    print(f"{served:.0f} posts served, taken and delivered")
    log = site.log()
    assert not [line for line in log if TWO in line]
    # Nothing is polled twice: two polls of one address are half an interval apart at the least.
    gaps = [late - early for times in polls(log).values() for early, late in zip(times, times[1:])]
    assert gaps and min(gaps) > 0.4 * INTERVAL, sorted(gaps)[:5]


# With a server that fails on request.


class At(Program):
    """A program in a place that has files of its own, which reads other files than this host's."""

    def __init__(self, rig, place, program, folder):
        self.place = place
        arguments = [*place.prefix[1:], str(rig.binaries[program]), "--start", "--foreground"]
        super().__init__(place.prefix[0], folder, arguments=arguments)
        rig.programs.append(self)

    def text(self, path):
        return self.place.network.get(f"http://{'[::1]' if ':' in self.host else self.host}:{self.port}{path}").decode()

    def metric(self, name, **labels):
        return metrics.read(self.text("/metrics").encode()).sum(name, **labels)

    def said(self, text):
        return [line for line in self.lines if text in line]


@pytest.fixture
def place(tmp_path):
    with Network() as network:
        yield names.Place(network, tmp_path / "place", "h", "127.0.0.1 localhost\n")


def spoke_at(rig, place, address):
    name = "spoke-" + re.sub(r"\W", "-", address)
    folder = rig.folder(name)
    folder.write("pattoo", pattoo=folder.directories())
    folder.write(SPOKE, **{SPOKE: {"ip_listen_address": address, "ip_bind_port": 5000, "hostname": name, "agent_id": name}})
    return At(rig, place, SPOKE, folder)


def hub_at(rig, place, **settings):
    folder = rig.folder("hub")
    folder.write("pattoo", pattoo=folder.directories(), pattoo_agent_api={"enabled": False})
    device = {"ip_address": NAME, "ip_bind_port": 5000, "resolve": "all"}
    folder.write(HUB, **{HUB: {"ip_devices": [device], "polling_interval": 1, "ip_bind_port": 5001} | settings})
    return At(rig, place, HUB, folder)


def record(*addresses):
    return [f"--host-record={NAME}.example.com,{address}" for address in addresses]


def test_what_dns_says_is_followed_and_its_failures_are_not(rig, place):
    addresses = ["127.0.0.11", "127.0.0.12", "::1"]
    spokes = {address: spoke_at(rig, place, address) for address in addresses[:2]}
    spokes["::1"] = spoke_at(rig, place, "::1") if IPV6 else None
    hub = hub_at(rig, place, max_addresses=4)

    def targets():
        return hub.metric("pattoo_hub_targets")

    def lookups(result):
        return hub.metric("pattoo_hub_lookups_total", result=result)

    def becomes(number, seconds=3 + LATE):
        waiting.until(lambda: targets() == number, seconds, lambda: f"{number} targets: {targets()}\n{hub.log()}")

    failing = "failed to look the name up; what is known of its addresses is polled"
    waiting.until(lambda: lookups("failed"), 10, hub.log)
    assert targets() == 0 and "1 names cannot be looked up" in hub.text("/readyz")
    with names.dns(place.network, *record(*addresses)):
        becomes(3)
        assert hub.text("/readyz") == "ready\n"
        page = hub.text("/")
        assert f">{NAME}:5000: a name with 3 addresses, each polled<" in page and ">[::1]:5000<" in page
        waiting.until(lambda: hub.metric("pattoo_hub_targets_up") == len([one for one in spokes.values() if one]), 5, hub.log)
    # The server is gone: what is known is polled on.
    before, failed = hub.metric("pattoo_hub_polls_total", result="ok"), lookups("failed")
    waiting.until(lambda: lookups("failed") > failed, 15, hub.log)
    assert targets() == 3 and hub.metric("pattoo_hub_polls_total", result="ok") > before
    assert "failing to look the name up" in hub.text("/")
    with names.dns(place.network, *record("127.0.0.12")):
        becomes(1)
    # That there is no such name is believed the second time.
    with names.dns(place.network, "--host-record=other.example.com,127.0.0.1"):
        becomes(0)
        assert lookups("empty") >= 2
    # So many do not fit into a datagram, and more than may be polled.
    with names.dns(place.network, *record(*(f"127.0.1.{number}" for number in range(1, 201)))):
        becomes(4)
        assert hub.metric("pattoo_hub_addresses_left_out") == 196
    assert len(hub.said("the name has more addresses than max_addresses")) == 1
    # Each change is told once.
    told = [line.partition("hub::targets: ")[2] for line in hub.lines if "name=spokes:5000" in line and "changed" not in line]
    assert all(one != other for one, other in zip(told, told[1:])) and failing in told[0], told
    assert len(hub.said("the name has no address")) == 1 and not hub.said(TWO)
    once = place.run(str(rig.binaries[HUB]), "--once", env=hub.folder.environment())
    assert once.returncode == 1 and f"{NAME}:5000 failed dns: " in once.stdout, once
