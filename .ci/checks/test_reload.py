"""The configuration of running programs, changed under load: what is good comes into force, what is not changes nothing."""

import json
import os
import re
import signal
from datetime import datetime

import pytest

from support import exporter, hosts, metrics, mounting, requests, waiting
from support.compose import IMAGES, docker
from support.judge import judge
from support.paths import HUB, SPOKE
from support.programs import api
from test_commands import daemon  # noqa: F401 (a fixture)
from test_containers import images  # noqa: F401 (a fixture)

both = pytest.mark.parametrize("program", (SPOKE, HUB), ids=["spoke", "hub"])
LOOKED_AT = 4
# Believed half a second later; the rest is for a machine under load.
WATCHED = LOOKED_AT + 0.5 + 3
POLLED = re.compile(r"^(?P<when>\S+Z) +DEBUG .*polled target=\S+:(?P<port>\d+) state=(?P<state>\w+)")
NOT_TAKEN = "the configuration is not taken; what was in force stays"
RESTART = "where it takes a restart"


class Edited:
    """A program whose folder is edited; sections are kept, so that an edit says what it changes."""

    def __init__(self, running, name, own, pattoo, upstream=None):
        self.running, self.name, self.prefix = running, name, "pattoo_spoke_" if name == SPOKE else "pattoo_hub_"
        self.own, self.pattoo, self.upstream = own, pattoo, upstream
        self.config = running.folder.path / "config"

    def metric(self, name, **labels):
        return self.running.metrics().sum(self.prefix + name, **labels)

    def readings(self):
        return {result: self.metric("config_reloads_total", result=result) for result in ("taken", "refused")}

    def pace(self):
        """Edits come while polls go on."""

    def write(self, file=None, text=None):
        """In one step, as editors do; by itself, all that is kept."""
        sections = {"pattoo": {"pattoo": self.pattoo}, self.name: {self.name: self.own}}
        if self.upstream is not None:
            sections["pattoo"]["pattoo_agent_api"] = self.upstream
        for name, content in sections.items():
            content = text if name == file else json.dumps(content)
            (self.config / f"{name}.yaml.new").write_text(content)
            os.replace(self.config / f"{name}.yaml.new", self.config / f"{name}.yaml")

    def hang_up(self, result):
        before = self.readings()
        self.running.send_signal(signal.SIGHUP)
        waiting.until(lambda: sum(self.readings().values()) > sum(before.values()), 10, self.running.log)
        assert self.readings()[result] == before[result] + 1, self.running.log()

    def good(self, **own):
        self.pace()
        self.own |= own
        self.write()
        self.hang_up("taken")
        assert self.metric("config_last_reload_success") == 1

    def bad(self, file, text, *words):
        """Told once in the log, and on the page as long as it lasts; twice read, once told."""
        told = self.said(NOT_TAKEN)
        self.write(file, text)
        self.hang_up("refused")
        self.hang_up("refused")
        ready = self.running.get("/readyz")
        assert ready.status == 200 and self.metric("config_last_reload_success") == 0
        (line,) = [line for line in ready.body.decode().splitlines() if "is not taken" in line]
        (logged,) = self.said(NOT_TAKEN)[len(told) :]
        for word in words:
            assert word in line and word.replace('"', '\\"') in logged, (word, line, logged)
        assert "ERROR" in logged

    def said(self, text):
        return [line for line in list(self.running.lines) if text in line]


def test_twenty_edits_under_load(rig):
    spokes = [rig.spoke(f"spoke-{number}") for number in range(6)]
    servers = [rig.server("server-0"), rig.server("server-1")]
    hub = rig.hub(devices=[spoke.port for spoke in spokes[:5]], api=api(servers[0].port))
    device = {str(spoke.port): {"ip_address": "127.0.0.1", "ip_bind_port": spoke.port} for spoke in spokes}
    devices = list(device.values())
    own = {"ip_devices": devices[:5], "polling_interval": 1, "ip_bind_port": 0}
    it = Edited(hub, HUB, own, hub.folder.directories(), api(servers[0].port))

    def served(spoke):
        return spoke.metrics().sum("pattoo_spoke_posts_served_total", code="200")

    def all_arrives(server):
        before = server.metrics().sum("pattoo_hub_posts_taken_total")
        waiting.until(lambda: server.metrics().sum("pattoo_hub_posts_taken_total") >= before + 5, 10, hub.log)

    def pace():
        before = served(spokes[0])
        waiting.until(lambda: served(spokes[0]) > before, 5, hub.log)

    waiting.until(lambda: all(served(spoke) >= 2 for spoke in spokes[:5]), 20, hub.log)
    it.pace = pace
    # 1 and 2: a target more, a target less.
    it.good(ip_devices=devices)
    waiting.until(lambda: served(spokes[5]) >= 1 and it.metric("targets") == 6, 4, hub.log)
    it.good(ip_devices=devices[:5])
    assert it.metric("targets") == 5
    # 3 to 6: numbers.
    it.good(poll_timeout=1, max_post_bytes=3_000_000)
    it.good(delivery_concurrency=2, delivery_timeout=5, delivery_rate=500, backoff_max=3)
    it.good(max_attempts=3, allowed_clock_skew=30, max_future=600, quarantine_max_bytes=10_000_000)
    it.good(identity="warn", max_addresses=10)
    # 7 and 8: who may post here.
    status = "/pattoo/api/v1/agent/status"
    assert hub.get(status).status == 404
    it.good(receive=True)
    assert hub.get(status).status == 200
    it.good(receive=False)
    assert hub.get(status).status == 404
    # 9 to 14: what is no configuration, and what nothing comes of.
    it.bad(HUB, json.dumps({HUB: own | {"poling_interval": 5}}), f"config/{HUB}.yaml", HUB, "poling_interval", "did you mean polling_interval?")
    it.bad(HUB, f"{HUB}: [", f"config/{HUB}.yaml", "not a YAML mapping")
    it.bad(HUB, json.dumps({HUB: own | {"ip_devices": []}}), "key ip_devices", "nothing to do")
    it.bad(HUB, json.dumps({HUB: own})[:-40], f"config/{HUB}.yaml")
    it.bad("pattoo", json.dumps({"pattoo": it.pattoo | {"log_level": "loud"}}), "config/pattoo.yaml", "section pattoo", "key log_level")
    it.bad(HUB, json.dumps({HUB: own | {"delivery_rate": -1}}), "key delivery_rate", "-1")
    assert it.metric("targets") == 5
    # 15: as it was.
    it.good()
    assert hub.get("/readyz").body == b"ready\n" and it.said("the configuration is good again")
    # 16 and 17: what takes a restart is told once, and taken back.
    it.good(max_bytes=2 << 30, max_age=86400)
    assert not it.said(RESTART)
    it.good(ip_bind_port=1, max_bytes=1 << 30)
    it.hang_up("taken")
    assert len(it.said(RESTART)) == 1 and f"{HUB}.ip_bind_port" in it.said(RESTART)[0] and it.metric("config_restart_needed") == 1
    assert f"a restart is needed to bring into force: {HUB}.ip_bind_port {HUB}.max_bytes\n" in hub.get("/readyz").body.decode()
    it.good(ip_bind_port=0, max_bytes=2 << 30)
    assert it.metric("config_restart_needed") == 0 and hub.get("/readyz").body == b"ready\n"
    # 18 to 20: another server, none, and the first again, which gets all that waited.
    all_arrives(servers[0])
    it.upstream = api(servers[1].port)
    it.good()
    all_arrives(servers[1])
    it.upstream = {"enabled": False}
    it.good()
    waiting.until(lambda: it.metric("posts_waiting") >= 5, 10, hub.log)
    assert "pattoo_hub_upstream_up" not in hub.metrics().names()
    it.upstream = api(servers[0].port)
    it.good()
    waiting.until(lambda: it.metric("posts_waiting") < 5, 10, hub.log)

    # No poll was missed: each was due a second after the one before, at the offset of its target, whatever was edited.
    assert it.metric("polls_missed_total") == 0
    times = {spoke.port: [] for spoke in spokes[:5]}
    for line in list(hub.lines):
        if (match := POLLED.match(line)) and int(match["port"]) in times:
            assert match["state"] == "Up", line
            times[int(match["port"])].append(datetime.fromisoformat(match["when"]).timestamp())
    for port, polled in times.items():
        gaps = [late - early for early, late in zip(polled, polled[1:])]
        assert len(gaps) > 10 and 0.1 < min(gaps) and max(gaps) < 1.9, (port, sorted(gaps)[:3], sorted(gaps)[-3:])
        assert abs((polled[-1] - polled[0]) - len(gaps)) < 0.9, "the offset stays"
    it.pace = lambda: None
    # 21 and 22: the interval, last since it moves every poll.
    it.good(polling_interval=2)
    before = served(spokes[0])
    waiting.until(lambda: served(spokes[0]) >= before + 2, 8, hub.log)
    it.good(ip_devices=devices[5:])
    waiting.until(lambda: it.metric("targets") == 1, 5, hub.log)
    # The books: what the spokes gave was taken, and all of it delivered.
    it.good(receive=True, ip_devices=[])
    waiting.until(lambda: it.metric("targets") == 0 and it.metric("posts_waiting") == 0, 10, hub.log)
    assert sum(map(served, spokes)) == it.metric("posts_taken_total") == it.metric("posts_delivered_total")
    print(f"{it.metric('posts_taken_total'):.0f} posts, {it.readings()}")
    assert not it.said("panicked")


def test_a_folder_is_watched_without_a_signal(rig):
    """An editor that writes in place and leaves half of it for a moment, links that are swapped, and an editor that renames."""
    spoke = rig.spoke()
    own = {"ip_listen_address": "127.0.0.1", "ip_bind_port": 0, "hostname": "one.example.com"}
    it = Edited(spoke, SPOKE, own, spoke.folder.directories())

    def hostname():
        (name,) = {point.by_name["hostname"] for point in judge(spoke.get("/pattoo-agent-os/300").body).points}
        return name

    def becomes(name):
        waiting.until(lambda: hostname() == name, WATCHED, lambda: f"{name}: {spoke.log()}")

    # What is half written would be the defaults; it is looked at while more is being written.
    path = it.config / f"{SPOKE}.yaml"
    with path.open("w") as file:
        file.write(f"{SPOKE}:\n")
        waiting.holds(lambda: (file.write("#\n"), file.flush()), LOOKED_AT + 1, "it is written on")
        file.write("  hostname: three.example.com\n  ip_listen_address: 127.0.0.1\n  ip_bind_port: 0\n")
    becomes("three.example.com")
    swap(it.config, "1", {SPOKE: own | {"hostname": "four.example.com"}, "pattoo": {"pattoo": it.pattoo}})
    becomes("four.example.com")
    swap(it.config, "2", {SPOKE: own | {"hostname": ""}})
    waiting.until(lambda: b"key hostname" in spoke.get("/readyz").body, WATCHED, spoke.log)
    assert hostname() == "four.example.com"
    it.own["hostname"] = "five.example.com"
    it.write()
    becomes("five.example.com")
    assert spoke.get("/readyz").body == b"ready\n"
    assert len(it.said(NOT_TAKEN)) == 1 and len(it.said("the host's name changed")) == 3


def swap(config, number, files):
    """New content as the kubelet brings it: a folder of its own, and one link that is renamed over the one before."""
    folder = config / f"..2026_{number}"
    folder.mkdir()
    for name, content in files.items():
        content = content if name == "pattoo" else {name: content}
        (folder / f"{name}.yaml").write_text(json.dumps(content))
        (folder / f"{name}.yaml").chmod(0o644)
        path = config / f"{name}.yaml"
        if not path.is_symlink():
            path.unlink(missing_ok=True)
            path.symlink_to(f"..data/{name}.yaml")
    old = config / "..data"
    if old.exists():
        for path in old.iterdir():
            if path.stem not in files:
                (folder / path.name).write_bytes(path.read_bytes())
                (folder / path.name).chmod(0o644)
    folder.chmod(0o755)
    (config / "..data_tmp").symlink_to(folder.name)
    os.replace(config / "..data_tmp", old)


def test_what_a_spoke_says_changes_in_place(rig):
    spoke = rig.spoke()
    own = {"ip_listen_address": "127.0.0.1", "ip_bind_port": 0, "hostname": "spoke.example.com"}
    it = Edited(spoke, SPOKE, own, spoke.folder.directories())

    def post():
        return judge(spoke.get("/pattoo-agent-os/300").body)

    before = post()
    interfaces = {point.by_name["network_io_interface"] for point in before.points if "network_io_interface" in point.by_name}
    assert interfaces
    it.good(network_exclude=".*", partition_exclude=".*", processor="made up", cpus=77)
    after = post()
    assert after.agent_id == before.agent_id
    assert not [point for point in after.points if "network_io_interface" in point.by_name or point.kind == "partition"]
    assert {(point.by_name["processor"], point.by_name["cpus"]) for point in after.points} == {("made up", "77")}
    for key in ("network_exclude", "partition_exclude", "processor", "cpus"):
        del it.own[key]
    it.good()
    assert {point.checksum for point in post().points} >= {point.checksum for point in before.points if point.kind != "partition"}
    # The level of the log.
    it.pattoo = it.pattoo | {"log_level": "error"}
    it.good()
    lines = len(spoke.lines)
    it.good(network_exclude="x")
    it.hang_up("taken")
    assert len(spoke.lines) == lines, spoke.log()
    it.pattoo = it.pattoo | {"log_level": "debug", "log_directory": "/tmp"}
    it.good(agent_id="another", host_sys="/nowhere")
    assert len(it.said(RESTART)) == 1
    for key in ("pattoo.log_directory", f"{SPOKE}.agent_id", f"{SPOKE}.host_sys"):
        assert key in it.said(RESTART)[0] and key in spoke.get("/readyz").body.decode()
    assert post().agent_id == before.agent_id


def test_what_a_spoke_tells_prometheus_changes_in_place(rig, tmp_path):
    with mounting.memory(tmp_path / "host") as folder:
        spoke = rig.spoke(environment=hosts.made("pressure", folder).environment())
        own = {"ip_listen_address": "127.0.0.1", "ip_bind_port": 0, "hostname": "spoke.example.com"}
        it = Edited(spoke, SPOKE, own, spoke.folder.directories())

        def page():
            return exporter.read(spoke.get("/metrics").body)

        def devices(shown):
            return {dict(labels)["device"] for name, labels in shown.series if name == "node_network_receive_bytes_total"}

        def of_the_host(shown):
            return {(name, labels) for name, labels in shown.series if name.startswith("node_")}

        before = page()
        it.good(metrics_off="filesystem, loadavg", metrics_network_exclude="^lo$", metrics_max_series=3)
        after = page()
        assert {name for name in exporter.COLLECTORS if after.success(name) is None} >= {"filesystem", "loadavg"}
        assert not {"node_load1", "node_filesystem_size_bytes"} & after.series.names()
        assert "lo" in devices(before) and devices(after) and "lo" not in devices(after)
        assert sum(name == "node_cpu_seconds_total" for name, _ in after.series) == 3
        it.good(metrics_off="loadavg", metrics_fstype_exclude=".", metrics_max_series=5000)
        after = page()
        assert after.success("loadavg") is None and after.success("filesystem") == 1
        assert "node_filesystem_size_bytes" in before.series.names() - after.series.names()
        it.bad(SPOKE, json.dumps({SPOKE: it.own | {"metrics_off": "hwmn"}}), "key metrics_off", "did you mean hwmon?")
        it.bad(SPOKE, json.dumps({SPOKE: it.own | {"metrics_max_series": 0}}), "key metrics_max_series", "at least 1")
        assert page().success("loadavg") is None
        for key in ("metrics_off", "metrics_fstype_exclude", "metrics_network_exclude", "metrics_max_series"):
            del it.own[key]
        it.good()
        assert of_the_host(page()) == of_the_host(before)
        in_force = it.said("the configuration has changed and is in force")
        assert len(in_force) == 3 and f"{SPOKE}.metrics_off" in in_force[0] and not it.said(RESTART)


@both
def test_a_daemon_follows_too(daemon, program):  # noqa: F811
    it = daemon(program)
    assert it.command("--start").returncode == 0
    pid = it.pid()
    log = it.folder.path / "log/pattoo-daemon.log"

    def edit(text, **changed):
        it.folder.write("pattoo", pattoo=it.folder.directories() | changed, pattoo_agent_api={"enabled": False})
        os.kill(pid, signal.SIGHUP)
        waiting.until(lambda: text in log.read_text(), 10, log.read_text)

    edit("changed=pattoo.log_level" if '"' not in log.read_text() else 'changed="pattoo.log_level"', log_level="info")
    edit("key daemon_directory", daemon_directory="/etc/hostname")
    edit("the configuration is good again", log_level="info")
    assert it.is_running() and it.pid() == pid and requests.answers(it.port)


def test_a_mounted_folder_whose_link_is_swapped(images, tmp_path):  # noqa: F811
    """A ConfigMap in a container: a folder that is mounted read-only, and changed from outside as the kubelet does it."""
    config = tmp_path / "config"
    config.mkdir()
    config.chmod(0o755)
    own = {"ip_devices": [{"ip_address": "127.0.0.1", "ip_bind_port": 5000}], "polling_interval": 60}
    swap(config, "0", {HUB: own, "pattoo": {"pattoo": {"log_level": "info"}, "pattoo_agent_api": {"enabled": False}}})
    folders = [f"--tmpfs=/var/lib/pattoo/{folder}:uid=65532,gid=65532" for folder in ("daemon", "cache")]
    options = ["--read-only", "--tmpfs=/run/pattoo:uid=65532,gid=65532", f"--volume={config}:/etc/pattoo:ro", *folders]
    container = docker("run", "--detach", *options, IMAGES["hub"]).stdout.strip()
    try:
        host = json.loads(docker("inspect", container).stdout)[0]["NetworkSettings"]["IPAddress"]

        def get(path):
            return requests.send("GET", 5001, path, host=host).body.decode()

        def targets():
            return metrics.read(get("/metrics").encode()).sum("pattoo_hub_targets")

        waiting.until(lambda: requests.answers(5001, host=host), 20, "the hub answers")
        assert targets() == 1
        own["ip_devices"] = own["ip_devices"] + [{"ip_address": "127.0.0.2", "ip_bind_port": 5000}]
        swap(config, "1", {HUB: own})
        waiting.until(lambda: targets() == 2, WATCHED, lambda: docker("logs", container).stdout)
        swap(config, "2", {HUB: own | {"polling_intervall": 1}})
        waiting.until(lambda: "did you mean polling_interval?" in get("/readyz"), WATCHED, lambda: get("/readyz"))
        assert targets() == 2
        docker("kill", "--signal", "HUP", container)
        swap(config, "3", {HUB: own})
        waiting.until(lambda: get("/readyz") == "ready\n", WATCHED, lambda: get("/readyz"))
        state = json.loads(docker("inspect", container).stdout)[0]
        assert state["State"]["Running"] and state["RestartCount"] == 0
    finally:
        docker("rm", "--force", "--volumes", container)
