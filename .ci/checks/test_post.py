"""The post of a live spoke: the server's own reader keeps it, the judge finds it right."""

import json
import os
import subprocess
import sys
import time

import pytest

from support import by_psutil
from support.judge import judge
from support.paths import ORIGINAL

INTERVAL = 300


@pytest.fixture
def body(rig):
    answer = rig.spoke().get(f"/pattoo-agent-os/{INTERVAL}")
    assert answer.status == 200
    return answer.body


# The reader wants a configuration directory when it is imported, so it gets a process of its own.
READER = """
import json, sys
from pattoo_shared import converter
kept = converter.cache_to_keypairs(json.load(sys.stdin))
json.dump([record._asdict() for record in kept], sys.stdout)
"""


def kept_by_the_server(body, folder):
    """What PattooShared's converter keeps of a post."""
    (folder / "log").mkdir(parents=True)
    directories = {f"{name}_directory": str(folder / "log") for name in ("log", "cache", "daemon")}
    (folder / "pattoo.yaml").write_text(json.dumps({"pattoo": {"log_level": "debug", "language": "en"} | directories}))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER],
        input=body,
        capture_output=True,
        env=os.environ | {"PATTOO_CONFIGDIR": str(folder)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def as_the_server_keeps(point):
    """A datapoint as the reader's record, its metadata aside."""
    of_the_record = {name: value for name, value in point.by_name.items() if name.startswith("pattoo_")}
    del of_the_record["pattoo_checksum"]
    return of_the_record


def assert_all_is_kept(body, folder):
    points = judge(body).points
    kept = kept_by_the_server(body, folder)
    assert len(kept) == len(points) > 60
    for record, point in zip(kept, points):
        metadata = dict(record.pop("pattoo_metadata"))
        # The server's own name of the series, not the datapoint's checksum.
        assert len(record.pop("pattoo_checksum")) == 128
        assert record == as_the_server_keeps(point)
        assert metadata == {name: value for name, value in point.by_name.items() if not name.startswith("pattoo_")}


def test_pattooshared_keeps_every_datapoint(body, tmp_path):
    assert_all_is_kept(body, tmp_path / "reader")


def test_pattooshared_keeps_every_datapoint_of_the_original(tmp_path):
    assert_all_is_kept(ORIGINAL.read_bytes(), tmp_path / "reader")


def test_pattooshared_misses_a_datapoint_without_its_key(body, tmp_path):
    """The comparison can fail: one datapoint without a key of the reader's is one record less."""
    data = json.loads(body)
    data["pattoo_datapoints"]["datapoint_pairs"][3].pop()
    kept = kept_by_the_server(json.dumps(data).encode(), tmp_path / "reader")
    assert len(kept) == len(data["pattoo_datapoints"]["datapoint_pairs"]) - 1


def test_judge_finds_every_checksum_and_rule_right(body):
    post = judge(body)
    assert post.interval == INTERVAL * 1000
    keys = {point.key for point in post.points}
    assert {"process_count", "cpu_times_user", "memory_total", "swap_memory_sout", "network_io_dropout"} <= keys
    assert ("cpu_frequency" in keys) == (by_psutil.frequency() is not None)


def test_identity_is_the_same_in_every_post_and_after_a_restart(rig):
    spoke = rig.spoke()

    def identity():
        post = judge(spoke.get("/pattoo-agent-os/60").body)
        return post.agent_id, [(point.key, point.checksum) for point in post.points]

    first = identity()
    assert identity() == first
    assert spoke.stop() == 0
    spoke.start()
    assert identity() == first
    stored = (spoke.folder.path / "daemon" / "agent_id" / "pattoo_agent_os_spoked.agent_id").read_text()
    assert stored.strip() == first[0]


def test_stamps_are_of_now_and_do_not_go_back(rig):
    spoke = rig.spoke()
    before = int(time.time() * 1000)
    posts = [judge(spoke.get("/pattoo-agent-os/1").body) for _ in range(5)]
    after = int(time.time() * 1000)
    stamps = [post.timestamp for post in posts]
    assert stamps == sorted(stamps)
    every = stamps + [point.timestamp for post in posts for point in post.points]
    assert before <= min(every) and max(every) <= after


def test_a_configured_agent_id_and_hostname_are_used(rig):
    agent_id = "ab" * 32
    spoke = rig.spoke(agent_id=agent_id, hostname="db7.example.com")
    point = judge(spoke.get("/pattoo-agent-os/300").body).points[0].by_name
    assert point["pattoo_agent_id"] == agent_id
    names = ("hostname", "pattoo_agent_hostname", "pattoo_agent_polled_target")
    assert {point[name] for name in names} == {"db7.example.com"}
