"""The fourteen faults of the original daemons, in the order in which the contract lists them: each is right here."""

import os
import re
import signal
import socket
import stat
import time
from contextlib import ExitStack

import pytest

from support import by_psutil, frozen, made_up, passing, requests, waiting
from support.judge import judge
from support.paths import SPOKE
from support.programs import AGENT_API, api
from support.relay import stamp
from test_commands import both, daemon, wait_gone
from test_faults import chain

JSON = {"Content-Type": "application/json"}


# Of both daemons.


@both
def test_fault_01_restart_force_leaves_it_up(daemon, program):
    it = daemon(program)
    assert it.command("--start").returncode == 0
    for _ in range(8):
        before = it.pid()
        assert it.command("--restart", "--force").returncode == 0
        assert it.is_running() and it.pid() != before and requests.answers(it.port)


@both
def test_fault_02_status_does_not_believe_the_pid_file(daemon, program):
    it = daemon(program)
    assert it.command("--start").returncode == 0
    pid = it.pid()
    it.pid_file.unlink()
    assert it.is_running(), "the pid file vanished while the service runs"
    assert it.command("--start").returncode == 2
    it.pid_file.write_text(f"{os.getpid()}\n")
    assert it.is_running(), "the pid file names another process"
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    it.pid_file.write_text(f"{pid}\n")
    assert not it.is_running(), "the pid file outlived its process"
    assert it.command("--start").returncode == 0
    assert it.is_running() and it.pid() != pid


@both
def test_fault_03_start_fails_where_the_port_is_taken(daemon, program):
    it = daemon(program)
    with socket.create_server(("127.0.0.1", it.port)):
        done = it.command("--start")
        assert done.returncode == 1 and f"127.0.0.1:{it.port}" in done.stderr, done
        assert not it.is_running() and not it.pid_file.exists()
    assert it.command("--start").returncode == 0, "and starts once it is free"


def test_fault_04_idle_connections_block_nobody(rig):
    spoke = rig.spoke()
    with ExitStack() as idle:
        for number in range(50):
            connection = idle.enter_context(socket.create_connection(("127.0.0.1", spoke.port)))
            if number % 2:
                connection.sendall(b"GET /pattoo-agent-os/300 HTTP/1.1\r\nHost:")
        assert spoke.get("/pattoo-agent-os/300", timeout=2).status == 200


def test_fault_05_what_cannot_be_read_is_left_out_and_the_rest_is_served(rig, tmp_path):
    host = frozen.of_this_machine(tmp_path / "host")
    host.write_mounts("/dev/vda / ext4 rw 0 0\n/dev/vdb /no/such/place ext4 rw 0 0\n")
    if "cpu MHz" in host.read("cpuinfo"):
        host.edit("cpuinfo", r"^cpu MHz.*\n", "")
    (host.proc / "diskstats").unlink()
    spoke = rig.spoke(environment=host.environment())
    answer = spoke.get("/pattoo-agent-os/300")
    assert answer.status == 200
    keys = {key for key, _ in judge(answer.body).values()}
    assert {"memory_total", "cpu_times_user", "swap_memory_total", "network_io_bytes_sent"} <= keys
    assert not {key for key in keys if key.startswith("disk_io") or key == "cpu_frequency"}
    mounts = {point.by_name.get("disk_partition_mountpoint") for point in judge(answer.body).points}
    assert "/no/such/place" not in mounts
    assert "/no/such/place" in spoke.get("/").body.decode(), "it is named on the page"


@pytest.mark.parametrize("content", ["", "\n"], ids=["empty", "a_newline"])
def test_fault_06_an_empty_agent_id_file_is_no_identity(rig, content):
    kept = rig.folder("spoke").path / "daemon/agent_id" / f"{SPOKE}.agent_id"
    kept.parent.mkdir()
    kept.write_text(content)
    spoke = rig.spoke()
    post = judge(spoke.get("/pattoo-agent-os/300").body)
    assert post.points and re.fullmatch("[0-9a-f]{64}", post.agent_id)
    assert spoke.stop() == 0
    assert kept.read_text() == post.agent_id
    spoke.start()
    assert judge(spoke.get("/pattoo-agent-os/300").body).agent_id == post.agent_id


# Of the hub.


def test_fault_07_silence_has_a_limit(chain):
    it = chain(2, poll_timeout=1, delivery_timeout=1)
    silent, good = it.polls
    silent.set("hang")
    it.to_server.set("hang")
    before = len(good.done())
    waiting.until(lambda: len(good.done()) >= before + 4, 15, "the other spoke is polled on")
    # Given up and tried again while both stay silent.
    for name, label in (("pattoo_hub_polls_total", "result"), ("pattoo_hub_delivery_failures_total", "reason")):
        waiting.until(lambda: it.hub.metrics().sum(name, **{label: "timeout"}) >= 2, 15, lambda: str(it.hub.metrics()))
    it.to_server.set("pass")
    silent.set("pass")
    waiting.until(lambda: len(silent.done()) >= 2, 15, "the silent one is polled again")
    it.hold_polls()
    it.wait_all_taken()


def hub_of(rig, stack, server, spokes=1, **settings):
    """A hub over made-up spokes, delivering to `server`, and the spokes."""
    made = [stack.enter_context(made_up.spoke(f"{number:064x}")) for number in range(1, spokes + 1)]
    hub = rig.hub(devices=[one.port for one in made], api=api(server.port), backoff_max=1, **settings)
    return hub, made


def count(hub, name):
    return hub.metrics().sum(f"pattoo_hub_posts_{name}")


def asked(spokes):
    return sum(len(spoke.times()) for spoke in spokes)


def test_fault_08_a_refused_backlog_does_not_double(rig):
    state = {"status": 503}
    with ExitStack() as stack:
        server = stack.enter_context(made_up.Server(lambda *_: state["status"]))
        hub, spokes = hub_of(rig, stack, server, spokes=3)
        waiting.until(lambda: len(server.posts(503)) >= 8 and count(hub, "waiting") >= 12, 30, lambda: hub.log())
        # Each cycle adds what was polled, and nothing else: taken is read first, so polls between the two do not count.
        found = hub.metrics()
        assert found.sum("pattoo_hub_posts_waiting") == found.sum("pattoo_hub_posts_taken_total") <= asked(spokes)
        state["status"] = 200
        waiting.until(lambda: count(hub, "waiting") == 0, 30, lambda: hub.log())
        taken = server.posts()
        assert len(taken) == len(set(taken)) >= 12, "each post is taken once"


def test_fault_09_the_hub_lives_when_the_server_comes_back(chain):
    it = chain(3)
    process = it.hub.process.pid
    for _ in range(3):
        it.wait_taken(len(it.taken()) + 1)
        it.to_server.set("refuse")
        it.wait_asked(6)
        it.to_server.set("pass")
    it.hold_polls()
    it.wait_all_taken()
    assert it.hub.process.pid == process and it.hub.process.poll() is None
    sent = [exchange.sent for exchange in it.taken()]
    assert len(sent) == len(set(sent)), "one worker a source: nothing is sent twice"


def test_fault_10_five_hundred_posts_of_an_outage_are_kept_under_their_own_names(rig):
    with made_up.Server(lambda *_: 503) as away:
        hub = rig.hub(receive=True, api=api(away.port))
        begin = made_up.now_ms() - 1_000_000
        # Fifty agents post in the same ten milliseconds.
        bodies = [made_up.post(f"{agent:064x}", begin + at) for at in range(10) for agent in range(50)]
        for body in bodies:
            path = f"{AGENT_API}/receive/{stamp(body)[0]}"
            assert requests.send("POST", hub.port, path, body, JSON).status == 200
        # What was answered with 200 is on disk: the process dies without a word.
        assert hub.kill() == -signal.SIGKILL
    with made_up.Server(lambda *_: 200) as back:
        section = api(back.port)
        hub.folder.write("pattoo", pattoo=hub.folder.directories(), pattoo_agent_api=section)
        hub.start()
        waiting.until(lambda: len(set(back.posts())) == len(bodies), 60, lambda: f"{len(back.posts())}\n{hub.log()}")
        assert set(back.posts()) == set(bodies)


def test_fault_10_what_is_kept_is_bounded(rig):
    with made_up.Server(lambda *_: 503) as away:
        hub = rig.hub(receive=True, api=api(away.port), max_post_bytes=40_000, max_bytes=1 << 19, max_sources=300)
        begin = made_up.now_ms() - 1_000_000
        for at in range(200):
            # Numbers that do not compress, so that the bound is reached however posts are kept.
            body = made_up.post(os.urandom(32).hex(), begin + at)
            assert requests.send("POST", hub.port, f"{AGENT_API}/receive/a", body, JSON).status == 200
        waiting.until(lambda: count(hub, "dropped_total") > 0, 10, lambda: str(hub.metrics()))
        found = hub.metrics()
        total = sum(found.sum(f"pattoo_hub_posts_{name}") for name in ("delivered_total", "waiting", "quarantined_total", "dropped_total"))
        assert total == found.sum("pattoo_hub_posts_taken_total") == 200
        kept = sum(status.st_size for status in passing.below(hub.folder.path / "cache").values() if stat.S_ISREG(status.st_mode))
        assert kept < 200 * len(body) / 2, f"{kept} bytes on disk"


def test_fault_11_the_backlog_goes_before_what_is_fresh(rig):
    state = {"status": 503}
    with ExitStack() as stack:
        server = stack.enter_context(made_up.Server(lambda *_: state["status"]))
        hub, _ = hub_of(rig, stack, server)
        waiting.until(lambda: count(hub, "waiting") >= 4, 30, lambda: hub.log())
        state["status"] = 200
        waiting.until(lambda: len(server.posts()) >= 6, 30, lambda: hub.log())
        stamps = [stamp(body)[1] for body in server.posts()]
        assert stamps == sorted(stamps), "what is older than the newest that it has, the server throws away"


def test_fault_12_a_redirect_is_no_success(rig):
    state = {"away": True}
    with ExitStack() as stack:
        elsewhere = stack.enter_context(made_up.Server(lambda *_: 200))

        def answer(*_):
            return (302, {"Location": f"http://127.0.0.1:{elsewhere.port}/"}, b"") if state["away"] else 200

        server = stack.enter_context(made_up.Server(answer))
        hub, spokes = hub_of(rig, stack, server)
        waiting.until(lambda: len(server.posts(302)) >= 3, 30, lambda: hub.log())
        assert count(hub, "delivered_total") == 0 and count(hub, "waiting") >= 1
        assert elsewhere.asked == [], "it is not followed"
        state["away"] = False
        waiting.until(lambda: len(server.posts()) >= 3, 30, lambda: hub.log())
        first = server.posts(302)[0]
        assert server.posts()[0] == first, "the post that was redirected is not lost"


def test_fault_13_an_overrun_does_not_delay_the_next_poll(rig):
    with ExitStack() as stack:
        server = stack.enter_context(made_up.Server(lambda *_: 200))
        quick = stack.enter_context(made_up.Server(lambda *_: 200))
        # Held longer than the interval: each poll lasts until its limit, which is the interval.
        held = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        hub = rig.hub(devices=[held.getsockname()[1], quick.port], api=api(server.port), poll_timeout=1)
        times = []
        held.settimeout(4)
        for _ in range(7):
            connection, _ = held.accept()
            stack.callback(connection.close)
            times.append(time.monotonic())
        gaps = [after - before for before, after in zip(times, times[1:])]
        assert max(gaps) < 1.7 and times[-1] - times[0] < 8, gaps
        # A hub that was stopped for some intervals goes on at once, and does not make up for them.
        hub.send_signal(signal.SIGSTOP)
        before = len(quick.times())
        waiting.holds(lambda: len(quick.times()) <= before + 1, 2.6, "a stopped hub asks nothing")
        hub.send_signal(signal.SIGCONT)
        resumed, count_then = time.monotonic(), len(quick.times())
        waiting.until(lambda: len(quick.times()) >= count_then + 3, 10, "it asks again")
        after = quick.times()[count_then:]
        assert after[0] - resumed < 1.2, "at once"
        assert after[2] - after[0] > 1.0, "without making up"


# Of the spoke.


def test_fault_14_two_pollers_do_not_disturb_each_other(rig, tmp_path):
    host = frozen.of_this_machine(tmp_path / "host")
    frozen.large_counters(host)
    before = host.read("stat")
    spoke = rig.spoke(environment=host.environment())
    # One reading is in the ring before the counters move.
    waiting.until(lambda: spoke.get("/readyz").status == 200, 5, "it has begun")
    host.edit("stat", r"^cpu  (\d+) (\d+) (\d+) (\d+)", "cpu  922337205685 101 202023202 18446744078709", count=1)
    wanted = by_psutil.percentages(before, host.read("stat"))
    assert sum(wanted.values()) > 99

    def percentages(interval):
        values = judge(spoke.get(f"/pattoo-agent-os/{interval}").body).values()
        return {key: value for key, value in values.items() if key[0].startswith("cpu_times_percent_")}

    assert percentages(300) == wanted
    for _ in range(20):
        percentages(60)
    assert percentages(300) == wanted, "another poller's questions in between change nothing"
