"""Which mounts count, and those that hang: real file systems, mount namespaces, a FUSE that does not answer."""

import html
import threading
import time
from pathlib import Path

import pytest

from support import by_psutil, hanging, hosts, mounting, passing, waiting
from test_psutil import asked, different

# How long one mount that newly hangs may cost, and what a machine under load may add to it.
LIMIT = 0.5
SLACK = 1.0
ANSWERS = 100


@pytest.fixture
def area(tmp_path):
    """A file system of our own, whose mounts reach the namespaces made below it as on a usual host."""
    with mounting.memory(tmp_path / "area") as area:
        mounting.run("mount", "--make-shared", area)
        yield area


def partitions(post):
    return {point.by_name["disk_partition_mountpoint"] for point in post.points if point.kind == "partition"}


def left_out(spoke):
    """What the page names as left out."""
    _, _, section = spoke.get("/").body.decode().partition("What is left out")
    return {html.unescape(line.partition("<li>")[2].partition("</li>")[0]) for line in section.splitlines() if "<li>" in line}


def logged(spoke, *words):
    return [line for line in list(spoke.lines) if all(word in line for word in words)]


# Real mounts.


def test_a_real_btrfs_subvolume_on_a_loop_device(rig, tmp_path, area):
    with (
        mounting.btrfs(tmp_path, "@home", "@srv") as device,
        mounting.mounted(area / "home", "-o", "subvol=@home,noatime", device),
        mounting.mounted(area / "srv", "-o", "subvol=@srv,ro", device),
    ):
        host = hosts.made("no_psi", tmp_path / "host")
        host.write_mounts(Path("/proc/self/mounts").read_bytes())
        spoke = rig.spoke(environment=host.environment() | {"HOST_ROOT": "/"})

        def compared():
            """Both numbers of one moment: the machine's other partitions are written to."""
            with by_psutil.reading(host.proc):
                before = by_psutil.usage()
                post = asked(spoke)
                wanted = by_psutil.usage()
            found = {name: value for name, value in post.values().items() if name[0].startswith("disk_partition_")}
            assert found.keys() == wanted.keys()
            return before == wanted and different(found, wanted) == {} and wanted

        wanted = waiting.until(compared, 20, "the spoke's numbers are psutil's")
        for name, mode in (("home", "rw,noatime"), ("srv", "ro,relatime")):
            [options] = {instance[3] for _, instance in wanted if instance[1] == str(area / name)}
            assert options.startswith(mode) and options.endswith(f"subvol=/@{name}")
            assert wanted["disk_partition_disk_usage_total", (device, str(area / name), "btrfs", options)] == mounting.IMAGE_BYTES


VIEW = """
mount --rbind / "$1"
mount --make-rslave "$1"
mount -o remount,bind,ro "$1"
"""


def test_in_a_container_a_mount_counts_where_it_is_as_on_the_host(rig, tmp_path, area):
    """Below a host root, as a container mounts it; each way to hide one of the host's mounts is found out."""
    assert f" {area} " in Path("/proc/1/mounts").read_text(), "the checks run where the first process does"
    shown, hidden, covered, other = names = [area / name for name in ("shown", "hidden", "covered", "other subvolume")]
    view = tmp_path / "view"
    view.mkdir()
    script = VIEW + 'umount "$1$3"\nmount -t tmpfs none "$1$4"\numount "$1$5"\nmount -o subvol=@b "$2" "$1$5"\n'
    with mounting.btrfs(tmp_path, "@a", "@b") as device:
        with (
            mounting.mounted(shown, "-o", "subvol=@a", device),
            mounting.mounted(hidden, "-o", "subvol=@a", device),
            mounting.mounted(covered, "-o", "subvol=@a", device),
            mounting.mounted(other, "-o", "subvol=@a", device),
        ):
            folder = rig.folder("spoke")
            folder.write("pattoo", pattoo=folder.directories())
            folder.write("pattoo_agent_os_spoked", pattoo_agent_os_spoked={"ip_listen_address": "127.0.0.1", "ip_bind_port": 0})
            environment = {"HOST_ROOT": str(view), "HOST_PROC": f"{view}/proc", "HOST_SYS": f"{view}/sys"}
            spoke = mounting.in_namespace(rig, folder, script, view, device, hidden, covered, other, environment=environment)
            with by_psutil.reading(None):
                of_the_host = {by_psutil.visible(point) for point in by_psutil.partitions().values()}
            assert set(map(str, names)) <= of_the_host
            for _ in range(3):
                assert partitions(asked(spoke)) == of_the_host - set(map(str, names[1:]))
            reason = f"the host's mount is not seen below {view}"
            assert left_out(spoke) == {f"partition {name}: {reason}" for name in names[1:]}
            for name in names[1:]:
                assert len(logged(spoke, "left out of the post", str(name))) == 1
            # What the host mounts and unmounts while the container runs.
            with mounting.mounted(area / "later", "-o", "subvol=@b", device):
                waiting.until(lambda: str(area / "later") in partitions(asked(spoke)), 5, spoke.log)
            waiting.until(lambda: str(area / "later") not in partitions(asked(spoke)), 5, spoke.log)
            mounting.run("mount", "-o", "remount,bind,ro", shown)
            options = {p.by_name["disk_partition_opts"] for p in asked(spoke).points if p.instance[1:2] == (str(shown),)}
            assert [text.partition(",")[0] for text in options] == ["ro"], "the option string is the host's"


# Mounts that hang.


class Stuck:
    """A made-up host of four partitions, of which those named are FUSE mounts that hang on request."""

    def __init__(self, rig, area, *names):
        self.host = hosts.made("no_psi", area / "host")
        for number, name in enumerate(("first", "hang", "between", "hang too", "last")):
            self.host.mount(f"/dev/sdx{number}", f"/{name}")
        self.mounts = [hanging.Hanging(self.host.root / name) for name in names]
        self.names = {f"/{name}" for name in names}
        self.all = {"/", "/first", "/hang", "/between", "/hang too", "/last"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for mount in self.mounts:
            mount.__exit__()

    def hang(self):
        for mount in self.mounts:
            mount.hang()


@pytest.fixture
def stuck(rig, area):
    """The host, with the first of both hanging, and a spoke that has asked it once."""
    with Stuck(rig, area, "hang") as stuck:
        stuck.spoke = rig.spoke(environment=stuck.host.environment())
        assert partitions(asked(stuck.spoke)) == stuck.all
        yield stuck


def threads(spoke):
    """All, as the kernel counts them, and those that ask for partitions."""
    pid = spoke.process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    [count] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:")]
    return count, passing.of_threads(pid, "comm").count("statvfs")


def timed(spoke):
    before = time.monotonic()
    post = asked(spoke)
    return time.monotonic() - before, post


def test_a_mount_that_hangs_costs_nobody_else_more_than_the_limit(stuck):
    spoke, [mount] = stuck.spoke, stuck.mounts
    usage = {name: value for name, value in asked(spoke).values().items() if name[1][1:2] == ("/hang",)}
    assert {name[0].rpartition("_")[2]: value for name, value in usage.items()} == {
        "total": hanging.BLOCKS * hanging.BLOCK,
        "used": (hanging.BLOCKS - hanging.FREE) * hanging.BLOCK,
        "free": hanging.AVAILABLE * hanging.BLOCK,
        "percent": 44.4,
    }
    everything = asked(spoke).values().keys()
    before, _ = threads(spoke)

    stuck.hang()
    first, post = timed(spoke)
    assert first < LIMIT + SLACK, "the one that finds out"
    assert post.values().keys() == everything - usage.keys(), "all else is there"
    assert mount.held() == 1
    held = threads(spoke)
    print(f"{first:.2f} s for the first answer; threads: {before} before, {held} then")
    assert held[1] == 2, "one hangs, one asks for the others"

    took, seen = [], set()
    for _ in range(ANSWERS):
        seconds, post = timed(spoke)
        took.append(seconds)
        seen.add(threads(spoke))
        assert partitions(post) == stuck.all - stuck.names
    print(f"slowest of {ANSWERS} answers {max(took):.3f} s; threads seen: {seen}")
    assert max(took) < LIMIT, "and nobody after it waits"
    assert {asking for _, asking in seen} == {2}
    # The runtime's own threads come and go; one may read the host while another takes the sample of every ten seconds.
    assert max(count for count, _ in seen) <= held[0] + 1
    assert mount.held() == 1, "no second call hangs"

    assert left_out(spoke) == {"partition /hang: does not answer"}
    assert len(logged(spoke, "left out of the post", "/hang")) == 1

    assert mount.release() == 1
    waiting.until(lambda: partitions(asked(spoke)) == stuck.all, 10, spoke.log)
    assert usage.items() <= asked(spoke).values().items()
    assert len(logged(spoke, "no longer missing from the post", "/hang")) == 1
    assert left_out(spoke) == set()
    assert threads(spoke)[1] <= 2


def test_a_mount_that_hangs_again_is_noticed_again(stuck):
    spoke, [mount] = stuck.spoke, stuck.mounts
    for number in range(1, 4):
        stuck.hang()
        assert partitions(asked(spoke)) == stuck.all - stuck.names
        mount.release()
        waiting.until(lambda: partitions(asked(spoke)) == stuck.all, 10, spoke.log)
        assert len(logged(spoke, "left out of the post", "/hang")) == number
        assert threads(spoke)[1] == 2


def test_posts_asked_for_at_once_lose_one_thread_to_a_mount_that_hangs(stuck):
    """Several hubs and a person ask in the moment in which it begins to hang."""
    spoke, [mount] = stuck.spoke, stuck.mounts
    stuck.hang()
    found = []
    asking = [threading.Thread(target=lambda: found.append(timed(spoke))) for _ in range(8)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(20)
    print(f"slowest {max(seconds for seconds, _ in found):.2f} s; held: {mount.held()}; threads: {threads(spoke)}")
    assert [partitions(post) for _, post in found] == [stuck.all - stuck.names] * 8
    assert mount.held() == 1, "a second thread hangs on it"
    assert max(seconds for seconds, _ in found) < LIMIT + SLACK
    mount.release()
    waiting.until(lambda: partitions(asked(spoke)) == stuck.all, 10, spoke.log)


def test_two_mounts_that_hang_cost_the_limit_each_and_the_pages_nothing(rig, area):
    with Stuck(rig, area, "hang", "hang too") as stuck:
        spoke = rig.spoke(environment=stuck.host.environment())
        assert partitions(asked(spoke)) == stuck.all
        stuck.hang()
        post = {}
        asking = threading.Thread(target=lambda: post.update(answer=timed(spoke)))
        asking.start()
        waiting.until(lambda: any(mount.held() for mount in stuck.mounts), 5, "it is asked for")
        before = time.monotonic()
        for page in ("/livez", "/readyz", "/metrics", "/"):
            assert spoke.get(page).status == 200
        assert time.monotonic() - before < LIMIT, "the pages do not wait"
        asking.join(20)
        seconds, answer = post["answer"]
        assert seconds < 2 * LIMIT + SLACK
        assert partitions(answer) == stuck.all - stuck.names
        assert left_out(spoke) == {f"partition {name}: does not answer" for name in stuck.names}
        # One of both comes back, and does not wait for the other.
        stuck.mounts[1].release()
        waiting.until(lambda: partitions(asked(spoke)) == stuck.all - {"/hang"}, 10, spoke.log)
        assert [mount.held() for mount in stuck.mounts] == [1, 0]


def test_a_spoke_stops_while_a_mount_hangs(stuck):
    stuck.hang()
    asked(stuck.spoke)
    before = time.monotonic()
    assert stuck.spoke.stop() == 0
    assert time.monotonic() - before < 5


def test_a_spoke_starts_while_a_mount_hangs(rig, area):
    with Stuck(rig, area, "hang") as stuck:
        stuck.hang()
        before = time.monotonic()
        spoke = rig.spoke(environment=stuck.host.environment())
        assert partitions(asked(spoke)) == stuck.all - stuck.names
        assert time.monotonic() - before < LIMIT + 2 * SLACK


# What is left out on purpose.

INTERFACES = ["lo", "eth0", "veth0a1b", "myveth0", "cali12", "calico", "cni-podman0", "docker0", "v"]
DISKS = ["sda", "sda1", "nbd0", "nbd15", "mynbd0", "zram0"]
POINTS = ["/", "/home", "/var/lib/kubelet/pods/1/volume", "/var/lib/kubelet", "/srv/var/lib/kubelet/x", "/mnt/a b"]

EXCLUDED = {
    "nothing": ({}, set()),
    "empty": ({"network_exclude": "", "partition_exclude": "", "disk_exclude": ""}, set()),
    "network": ({"network_exclude": "veth.*|cali[0-9]+|cni.*"}, {"veth0a1b", "cali12", "cni-podman0"}),
    "network_by_its_whole_name": ({"network_exclude": "v|eth"}, {"v"}),
    "partition": ({"partition_exclude": "/var/lib/kubelet/.*"}, {"/var/lib/kubelet/pods/1/volume"}),
    "partition_with_a_blank": ({"partition_exclude": "/mnt/a b"}, {"/mnt/a b"}),
    "partition_root_alone": ({"partition_exclude": "/"}, {"/"}),
    "disk": ({"disk_exclude": r"nbd\d+"}, {"nbd0", "nbd15"}),
    "all_three": (
        {"network_exclude": ".*", "partition_exclude": "/.+", "disk_exclude": "sda1?"},
        {*INTERFACES, *POINTS[1:], "sda", "sda1"},
    ),
    "one_for_another_kind": ({"network_exclude": "sda|/home", "partition_exclude": "lo|sda", "disk_exclude": "eth0|/"}, set()),
}


@pytest.mark.parametrize("case", EXCLUDED)
def test_leaves_out_what_is_excluded_and_nothing_else(rig, area, case):
    settings, excluded = EXCLUDED[case]
    host = hosts.made("no_psi", area)
    host.interfaces(INTERFACES)
    host.disks([(name, 17) for name in DISKS])
    host.mounts.clear()
    for number, point in enumerate(POINTS):
        host.mount(f"/dev/sda{number}", point)
    spoke = rig.spoke(environment=host.environment(), **settings)
    values = asked(spoke).values()
    wanted = by_psutil.values(host.proc) | host.usage()
    kept = {name: value for name, value in wanted.items() if not (set(name[1][:2]) | set(name[1][:1])) & excluded}
    shown = {name: value for name, value in values.items() if not name[0].startswith("cpu_times_percent_")}
    assert shown == kept
    assert left_out(spoke) == set(), "what is left out on purpose is no fault"
    assert not logged(spoke, "left out of the post")
    assert len(values) - len(shown) == 10
