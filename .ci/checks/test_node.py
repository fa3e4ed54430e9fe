"""The node's numbers without privileges: a spoke mounted and restricted as the DaemonSet does it, beside what the machine says."""

import contextlib
import html
import json
import re

import pytest

from support import kubernetes, mounting, nobody, node, waiting
from support.kubernetes import feature
from test_containers import images  # noqa: F401 (a fixture)

# What is left out where nothing of the host's first process and of other users' processes is to be seen.
OF_OTHERS = {"collector process", "collector filesystem", "collector network"}
GROUP = 1500


@pytest.fixture
def pods(images, tmp_path):  # noqa: F811
    """Starts pods of the spoke, and ends them."""
    with contextlib.ExitStack() as stack:
        numbers = iter(range(100))

        def start(rendering, **options):
            return stack.enter_context(node.Pod(rendering, images["spoke"], tmp_path / str(next(numbers)), **options))

        yield start


@pytest.fixture
def mounts(tmp_path):
    """Two more mounts of the machine's, one of them behind a folder that nobody but root may enter."""
    with nobody.folder() as area, mounting.through(node.ON_THE_HOST), mounting.btrfs(tmp_path, "@a", "@b") as device:
        (area / "closed").mkdir(mode=0o700)
        with (
            mounting.mounted(area / "open to all", "-o", "subvol=@a", device) as reached,
            mounting.mounted(area / "closed/within", "-o", "subvol=@b", device) as hidden,
        ):
            yield {str(reached): True, str(hidden): False}


@pytest.fixture
def hidden_proc():
    """The machine's /proc once more, mounted so that it hides other users' processes from all but a group."""
    with nobody.folder() as area, mounting.through(node.ON_THE_HOST):
        with mounting.mounted(area / "proc", "-t", "proc", "-o", f"hidepid=invisible,gid={GROUP}", "proc") as folder:
            yield folder


def left_out(pod):
    """What the page names, with the reason."""
    _, _, section = pod.get("/").body.decode().partition("What is left out")
    items = re.findall(r"<li>(.*?)</li>", section.partition("<h2>")[0])
    return dict(re.match(r"((?:collector|partition) .*?): (.*)", html.unescape(item)).groups() for item in items)


def assert_named(pod, reasons):
    """On the page, in the log once each, in the metric: all of these, for these reasons, and nothing else."""
    said = left_out(pod)
    assert set(said) == set(reasons), said
    counts = {}
    lines = [json.loads(line) for line in pod.log().splitlines()]
    told = [line.get("fields", line) for line in lines]
    for what, reason in reasons.items():
        assert said[what].startswith(reason) or f": {reason}: " in said[what], said
        logged = [line["reason"] for line in told if line.get("what") == what]
        assert logged == [said[what]], (what, lines)
        collector = what.removeprefix("collector ") if what.startswith("collector ") else "filesystem"
        counts[collector, reason] = counts.get((collector, reason), 0) + 1
    found = {(dict(labels)["collector"], dict(labels)["reason"]): value for (name, labels), value in pod.metrics().items() if name == "pattoo_spoke_left_out"}
    assert found == counts


def values_of(post, key):
    return {point.instance: point.value for point in post.points if point.key == key}


def assert_interfaces(pod):
    """The machine's interfaces, each count between two readings of the machine's own."""

    def compared():
        before = node.interfaces(pod.settings["network_exclude"])
        post = pod.post()
        after = node.interfaces(pod.settings["network_exclude"])
        keys = ("network_io_bytes_recv", "network_io_packets_recv", "network_io_bytes_sent", "network_io_packets_sent")
        columns = [values_of(post, key) for key in keys]
        found = {instance[0]: tuple(column[instance] for column in columns) for instance in columns[0]}
        # One that comes or goes meanwhile gives another round.
        if not before.keys() == after.keys() == found.keys():
            compared.said = (before.keys(), found.keys(), after.keys())
            return False
        for name, counts in found.items():
            assert all(low <= count <= high for low, count, high in zip(before[name], counts, after[name])), (name, before, found, after)
        return True

    waiting.until(compared, 20, lambda: f"the machine's interfaces: {compared.said}")


def assert_processes(pod):
    def compared():
        counts = (node.processes(), pod.post().values()["process_count", ()], node.processes())
        compared.said = counts
        return counts[0] == counts[1] == counts[2]

    waiting.until(compared, 20, lambda: f"the machine's processes: {compared.said}")


def assert_cpus_and_memory(pod):
    post = pod.post()
    assert {point.by_name["cpus"] for point in post.points} == {str(node.cpus())}
    assert post.values()["memory_total", ()] == node.memory_total()
    # The container's own limit is elsewhere.
    own = pod.metrics()
    limit = kubernetes.bytes_of(pod.container["resources"]["limits"]["memory"])
    assert own.sum("pattoo_spoke_cgroup_memory_limit_bytes") == limit != node.memory_total()
    assert own.sum("pattoo_spoke_cgroup_cpu_limit_cores") == 0.5 and own.sum("pattoo_spoke_cgroup_tasks_limit") == 64
    assert 0 < own.sum("pattoo_spoke_cgroup_memory_bytes") < limit and own.sum("pattoo_spoke_cgroup_cpu_seconds_total") > 0
    assert f"{limit / node.MIB:.1f} MiB" in pod.get("/").body.decode()


def points_of(post):
    return {point.by_name["disk_partition_mountpoint"] for point in post.points if point.kind == "partition"}


def unreachable(pod, mounts):
    """The partitions that are left out, with their reason; the others are told, and no more."""
    known = node.partitions(pod.settings["partition_exclude"])
    assert mounts.items() <= known.items(), "the machine has them, and its user may reach just these"
    assert points_of(pod.post()) == {point for point, reached in known.items() if reached}
    return {f"partition {point}": "permission" for point, reached in known.items() if not reached}


def assert_nothing_of_its_own(pod):
    body = pod.get("/pattoo-agent-os/300").body.decode()
    assert pod.id[:12] not in body and pod.address() not in body
    assert {point.by_name["hostname"] for point in pod.post().points} == {"node-1.example.com"}
    assert "overlay" not in body and "/etc/hosts" not in body


def test_it_tells_what_the_machine_tells(pods, mounts):
    pod = pods(feature("defaults"))
    assert_interfaces(pod)
    assert_processes(pod)
    assert_cpus_and_memory(pod)
    reasons = unreachable(pod, mounts)
    assert_named(pod, reasons)
    assert_nothing_of_its_own(pod)
    assert pod.metrics().sum("pattoo_spoke_host_seen") == 1 and "no host root" not in pod.log()


def test_with_hidepid_what_is_hidden_is_left_out_and_named(pods, mounts, hidden_proc):
    pod = pods(feature("defaults"), paths={"/host/proc": hidden_proc})
    assert_cpus_and_memory(pod)
    post = pod.post()
    assert not [point for point in post.points if point.kind in ("partition", "network")] and ("process_count", ()) not in post.values()
    assert_named(pod, dict.fromkeys(OF_OTHERS, "hidepid"))
    assert_nothing_of_its_own(pod)


def test_with_hidepid_and_its_group_nothing_is_hidden(pods, mounts, hidden_proc):
    assert feature("hidepid").pods()["spoke"]["spec"]["securityContext"]["supplementalGroups"] == [GROUP]
    pod = pods(feature("hidepid"), paths={"/host/proc": hidden_proc})
    assert_interfaces(pod)
    assert_processes(pod)
    assert_cpus_and_memory(pod)
    assert_named(pod, unreachable(pod, mounts))


def test_without_the_machines_root_no_partition_is_told(pods, mounts):
    pod = pods(feature("no-root"))
    assert_interfaces(pod)
    assert_processes(pod)
    assert_cpus_and_memory(pod)
    assert points_of(pod.post()) == set()
    known = node.partitions(pod.settings["partition_exclude"])
    assert_named(pod, {f"partition {point}": "no host root" for point in known})
    assert_nothing_of_its_own(pod)


def test_without_the_machines_proc_what_it_alone_tells_is_left_out(pods):
    pod = pods(kubernetes.render("--set", "spoke.host.proc.enabled=false"))
    assert_cpus_and_memory(pod)
    assert_named(pod, dict.fromkeys(OF_OTHERS, "no host root"))
    assert_nothing_of_its_own(pod)


def test_without_anything_of_the_machine_it_warns_loudly(pods):
    pod = pods(feature("no-host"))
    pod.post()
    warned = [json.loads(line) for line in pod.log().splitlines() if "no host root" in line]
    assert len(warned) == 1 and warned[0]["level"] == "WARN" and "HOST_PROC" in str(warned[0]), pod.log()
    assert pod.metrics().sum("pattoo_spoke_host_seen") == 0
    assert "<strong>no host root: this is a container" in pod.get("/").body.decode()


def test_another_container_of_the_node_continues_its_series(pods):
    """Name, address and file system are others; what names the series is not."""
    one, other = (pods(feature("defaults"), options=(f"--hostname=pod-{name}",)) for name in ("a", "b"))
    assert one.id != other.id and one.address() != other.address()

    def sums(post):
        return {point.checksum: point.key for point in post.points}

    def compared():
        posts = one.post(), other.post()
        assert posts[0].agent_id == posts[1].agent_id
        return sums(posts[0]) == sums(posts[1]) and posts[0]

    post = waiting.until(compared, 20, "the same series")
    assert len(post.points) > 50
    elsewhere = pods(feature("defaults"), node="node-2.example.com")
    assert elsewhere.post().agent_id != post.agent_id, "another node of the same machine-id is another agent"
