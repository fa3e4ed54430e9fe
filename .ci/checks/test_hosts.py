"""Made-up hosts: psutil agrees with every value, golden answers stand beside them, and the captured series continue."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from support import by_psutil, golden, hosts, mounting, requests, waiting
from support.compose import docker
from support.judge import LOST_BY_THE_ORIGINAL, judge
from support.paths import ORIGINAL, SPOKE
from support.programs import Program
from test_containers import ENGINE_HOST, images  # noqa: F401 (a fixture)
from test_psutil import asked, different

AGENT_ID = "0123456789abcdef" * 4
PERCENTAGES = "cpu_times_percent_"


@pytest.fixture
def folder(tmp_path):
    with mounting.memory(tmp_path / "host") as made:
        yield made


def started(rig, host, **settings):
    identity = {"agent_id": AGENT_ID, "hostname": "made-up.example.com"}
    return rig.spoke(environment=host.environment(), **(identity | settings))


each_host = pytest.mark.parametrize("name", hosts.MADE)


@each_host
def test_psutil_equals_every_value(rig, folder, name):
    host = hosts.made(name, folder)
    post = asked(started(rig, host))
    wanted = by_psutil.values(host.proc) | host.usage()
    wanted = {found: value for found, value in wanted.items() if not found[0].startswith(host.lacks or "-")}
    if host.frequency is not None:
        # psutil reads it below /sys alone.
        wanted["cpu_frequency", ()] = pytest.approx(host.frequency)
    values = {found: value for found, value in post.values().items() if not found[0].startswith(PERCENTAGES)}
    assert different(values, wanted) == {}, "(the spoke's, psutil's)"
    assert values.keys() - wanted.keys() == set(), "not in psutil"
    assert {point.by_name["cpus"] for point in post.points} == {host.cpus}


@each_host
def test_answers_as_the_golden_answer(rig, folder, name, request):
    post = asked(started(rig, hosts.made(name, folder)))
    if request.config.option.write_golden:
        golden.write(name, post)
    assert golden.text_of(post).splitlines() == golden.path(name).read_text().splitlines()


def test_every_golden_answer_has_its_host():
    assert sorted(path.stem for path in golden.FOLDER.iterdir()) == sorted(hosts.MADE)


@each_host
def test_names_what_is_left_out_and_nothing_else(rig, folder, name):
    """On the page and in the log, once; nothing else of this process takes its place."""
    host = hosts.made(name, folder)
    spoke = started(rig, host)
    for _ in range(3):
        asked(spoke)
    page = spoke.get("/").body.decode()
    _, _, left_out = page.partition("What is left out")
    assert left_out.count("<li>") == len(host.left_out), left_out
    warned = [line for line in list(spoke.lines) if "left out of the post" in line]
    assert len(warned) == len(host.left_out), warned
    for what in host.left_out:
        assert f"<li>{what}: " in left_out, left_out
        assert [line for line in warned if what in line], warned


def test_partitions_of_odd_names_are_told_apart(rig, folder):
    """What is on the wire for bytes that cannot be sent, written out here once more by hand."""
    host = hosts.made("odd_names", folder)
    found = {point.by_name["disk_partition_mountpoint"] for point in asked(started(rig, host)).points if point.kind == "partition"}
    assert {"/mnt/a\nnewline", "/mnt/a\ttab", "/mnt/\\040", "/mnt/\\134", "/mnt/odd\\xff\\xc3", "/mnt/tail\\xe4"} <= found


# What the process may use of its machine, and what it may see.


def sums(answer):
    post = judge(answer.body)
    return {point.checksum: (point.key, point.instance, point.by_name["cpus"]) for point in post.points}


def same_series(one, other):
    """Both are asked in one moment; an interface or a mount that just comes or goes gives them another."""

    def compared():
        found = [sums(asked_for()) for asked_for in (one, other)]
        different = [found[0][name] for name in found[0].keys() ^ found[1].keys() if name in found[0]]
        different += [found[1][name] for name in found[0].keys() ^ found[1].keys() if name in found[1]]
        compared.said = different
        return not different and found[0]

    return waiting.until(compared, 30, lambda: f"the same series: {compared.said}")


def online():
    """The cpus that the kernel has online, whatever this process may use."""
    return str(sum(1 for line in Path("/proc/stat").read_text().splitlines() if re.match(r"cpu\d", line)))


IDENTITY = {"agent_id": AGENT_ID, "hostname": "host.example.com"}
POST = "/pattoo-agent-os/300"


def configured(rig, name):
    """The folder of a spoke of that identity."""
    folder = rig.folder(name)
    folder.write("pattoo", pattoo=folder.directories())
    folder.write(SPOKE, **{SPOKE: IDENTITY | {"ip_listen_address": "127.0.0.1", "ip_bind_port": 0}})
    return folder


def test_taskset_changes_no_checksum(rig):
    spoke = rig.spoke(**IDENTITY)
    narrow = Program("taskset", configured(rig, "narrow"), arguments=["-c", "0", str(rig.binaries[SPOKE]), "--start", "--foreground"])
    rig.programs.append(narrow)
    found = same_series(lambda: spoke.get(POST), lambda: narrow.get(POST))
    assert {cpus for _, _, cpus in found.values()} == {online()}
    assert os.sched_getaffinity(narrow.process.pid) == {0}


def test_a_container_with_one_cpu_changes_no_checksum(rig, images):
    # Where the engine runs outside of this root, the bare spoke is shown the engine's host.
    host = {f"HOST_{name.upper()}": f"{ENGINE_HOST}/{name}" for name in ("proc", "root") if ENGINE_HOST}
    spoke = rig.spoke(environment=host, **IDENTITY)
    container = docker(
        "run", "--detach", "--cpus", "1", "--cpuset-cpus", "0", "--read-only", "--cap-drop", "ALL", "--publish", "127.0.0.1::5000",
        *(f"--volume={place}:/host{name}:ro" for place, name in (("/proc", "/proc"), ("/sys", "/sys"), ("/", "/root"))),
        *(f"--env=HOST_{name}=/host/{name.lower()}" for name in ("PROC", "SYS", "ROOT")),
        *(f"--env={SPOKE.upper()}__{key.upper()}={value}" for key, value in IDENTITY.items()),
        images["spoke"],
    ).stdout.strip()  # fmt: skip
    try:
        port = int(docker("port", container, "5000").stdout.rpartition(":")[2])
        waiting.until(lambda: requests.answers(port), 20, lambda: docker("logs", container).stdout)
        found = same_series(lambda: spoke.get(POST), lambda: requests.send("GET", port, POST))
        assert {cpus for _, _, cpus in found.values()} == {online()}
        kinds = {key.partition("_")[0] for key, _, _ in found.values()}
        assert {"network", "disk"} <= kinds
    finally:
        docker("rm", "--force", container)


@pytest.mark.parametrize("place", ["bare", "given"])
def test_hidepid_of_a_real_proc(rig, place):
    """A bare host's spoke sees in its own process what the first would say; one with a host root must not look there."""
    script = 'mount -t proc -o hidepid=invisible proc /proc\nAS="setpriv --regid=65534 --clear-groups --bounding-set=-all --"'
    hidden = mounting.in_namespace(rig, configured(rig, "hidden"), script, environment={} if place == "bare" else {"HOST_PROC": "/proc"})
    spoke = rig.spoke(**IDENTITY)
    keys = {key.partition("_io_")[0] for key, _, _ in sums(hidden.get(POST)).values()}
    page = hidden.get("/").body.decode()
    if place == "bare":
        same_series(lambda: spoke.get(POST), lambda: hidden.get(POST))
        processes = [asked(one).values()["process_count", ()] for one in (hidden, spoke)]
        assert processes[0] < processes[1], "the first process is hidden"
        assert "network" in keys and "left out of the post" not in hidden.log()
    else:
        assert "network" not in keys and "disk_partition_disk_usage_total" not in keys and "disk" in keys
        for what in ("collector network", "collector filesystem"):
            assert f"<li>{what}: " in page
            assert len([line for line in hidden.lines if "left out of the post" in line and what in line]) == 1


# The captured original.


@pytest.fixture(scope="module")
def original():
    return judge(ORIGINAL.read_bytes())


@pytest.fixture
def captured(folder, original):
    host = hosts.Host(folder, "captured")
    hosts.like(host, original)
    return host


def identity_of(original):
    return {"agent_id": original.agent_id, "hostname": original.points[0].by_name["hostname"]}


def test_captured_checksums_are_given_all_103(rig, captured, original):
    post = asked(started(rig, captured, **identity_of(original)))
    ours = [point.checksum for point in post.points if (point.key, point.data_type) not in LOST_BY_THE_ORIGINAL]
    assert ours == [point.checksum for point in original.points]
    assert len(ours) == 103


def compare(rig, host, place, **settings):
    """Runs `--compare` as a program of its own."""
    folder = rig.folder("compare")
    folder.write("pattoo", pattoo=folder.directories())
    folder.write(SPOKE, **{SPOKE: settings})
    return subprocess.run(
        [str(rig.binaries[SPOKE]), "--compare", str(place)],
        env=folder.environment(**host.environment()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_compare_says_that_all_continue(rig, captured, original):
    done = compare(rig, captured, ORIGINAL, **identity_of(original))
    assert done.returncode == 0, done
    *lines, summary = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("continues ")]) == 103
    assert {line.split()[0] for line in lines} == {"continues", "new"}
    assert summary.startswith("103 continue, 0 would be renamed, 0 are not found here"), summary


def test_compare_takes_the_answer_of_a_running_spoke(rig, captured, original):
    spoke = started(rig, captured, **identity_of(original))
    done = compare(rig, captured, f"http://127.0.0.1:{spoke.port}/pattoo-agent-os/300", **identity_of(original))
    assert done.returncode == 0, done
    assert {line.split()[0] for line in done.stdout.splitlines()[:-1]} == {"continues"}


RENAMED = {"hostname": "other.example.com", "agent_id": "f" * 64, "cpus": 3, "processor": "x86_64", "type": "Hurd"}


@pytest.mark.parametrize("key", RENAMED)
def test_compare_names_what_renames(rig, captured, original, key):
    done = compare(rig, captured, ORIGINAL, **(identity_of(original) | {key: RENAMED[key]}))
    assert done.returncode == 1, done
    renamed = [line for line in done.stdout.splitlines() if line.startswith("renamed ")]
    assert len(renamed) == 103
    was = original.points[0].by_name[{"agent_id": "pattoo_agent_id"}.get(key, key)]
    named = {"agent_id": ["pattoo_agent_id"], "hostname": ["hostname", "pattoo_agent_hostname", "pattoo_agent_polled_target"]}
    for line in renamed:
        for name in named.get(key, [key]):
            assert f'{name} was "{was}", is "{RENAMED[key]}"' in line, line
        assert line.count(" was ") == len(named.get(key, [key])), line
    assert done.stdout.splitlines()[-1].startswith("0 continue, 103 would be renamed")


def test_compare_tells_what_is_gone(rig, captured, original):
    captured.interfaces(["lo", "ifb0", "ifb1", "eth0", "eth1"])
    done = compare(rig, captured, ORIGINAL, **identity_of(original))
    assert done.returncode == 1, done
    gone = [line for line in done.stdout.splitlines() if line.startswith("gone ")]
    assert len(gone) == 8 and all("docker0" in line for line in gone)
    assert len([line for line in done.stdout.splitlines() if line.startswith("new ") and "eth1" in line]) == 8


NO_POSTS = {
    "empty": b"",
    "not_json": b"<html>404</html>",
    "another_json": b"[1, 2]",
    "no_datapoints": b'{"pattoo_agent_id": "x"}',
    "half": None,
}


@pytest.mark.parametrize("content", NO_POSTS)
def test_compare_refuses_what_is_no_post(rig, captured, original, tmp_path, content):
    file = tmp_path / "answer.json"
    body = NO_POSTS[content]
    file.write_bytes(ORIGINAL.read_bytes()[:5000] if body is None else body)
    done = compare(rig, captured, file, **identity_of(original))
    assert done.returncode != 0 and done.stdout == "", done
    said = done.stderr.strip().splitlines()
    assert len(said) == 1 and "no post" in said[0] and "panicked" not in said[0], done


PLACES = {
    "missing": "/no/such/file",
    "folder": "/",
    "refused": "http://127.0.0.1:1/pattoo-agent-os/300",
    "status": "http://127.0.0.1:{port}/pattoo-agent-os",
}


@pytest.mark.parametrize("place", PLACES)
def test_compare_names_what_it_cannot_read(rig, captured, original, place):
    port = started(rig, captured).port if place == "status" else 0
    place = PLACES[place].format(port=port)
    done = compare(rig, captured, place, **identity_of(original))
    assert done.returncode != 0 and done.stdout == "", done
    said = done.stderr.strip().splitlines()
    assert len(said) == 1 and place in said[0], done
