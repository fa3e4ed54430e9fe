"""The spoke's half: the spoke beside node_exporter, the original's way, and the floor."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import host
from processes import Program
from support.ports import free_port
from table import Table, middle

POST = "/pattoo-agent-os/300"
METRICS = "/metrics"
COLD_PAUSE_S = 0.5
MATCHING = "cpu stat meminfo vmstat loadavg diskstats netdev filesystem".split()
# What /metrics runs.
EXPORTED = (
    "conntrack cpu cpufreq diskstats entropy filefd filesystem hwmon loadavg meminfo netclass netdev netstat os pressure sockstat "
    "stat thermal_zone time timex uname vmstat"
).split()

# Twice what was reached, roughly: in the images' build and in the unoptimised one that the checks measure.
SHORT_RATIO = {"image": 3.5, "dev": 8}

SCRAPED, EXPORTED_TOO = "spoke's /metrics", "node_exporter, the same collectors"
SPOKE, EXPORTER, MATCHED, ORIGINAL, FLOOR = (
    "spoke",
    "node_exporter, default",
    "node_exporter, matching collectors",
    "the original's way",
    "floor",
)


class Subjects:
    """Makes the programs, each with a folder of its own below one."""

    def __init__(self, tools, folder):
        self.tools, self.folder = tools, Path(folder)

    def directory(self, name, program):
        """A configuration directory for a spoke, ours or the original; the port in it."""
        config, port = self.folder / name / "config", free_port()
        config.mkdir(parents=True, exist_ok=True)
        directories = {}
        for key in ("log_directory", "cache_directory", "daemon_directory", "system_daemon_directory"):
            directories[key] = str(self.folder / name / key)
            os.makedirs(directories[key], exist_ok=True)
        shared = {"pattoo": directories | {"log_level": "info"}, "pattoo_agent_api": {"ip_address": "127.0.0.1", "ip_bind_port": 9}}
        # PattooShared wants the second file too.
        for file in ("pattoo.yaml", "pattoo_agent.yaml"):
            (config / file).write_text(json.dumps(shared))
        (config / f"{program}.yaml").write_text(json.dumps({program: {"ip_listen_address": "127.0.0.1", "ip_bind_port": port}}))
        return {"PATTOO_CONFIGDIR": str(config)}, port

    def spoke(self, name="spoke", more=None):
        environment, port = self.directory(name, "pattoo_agent_os_spoked")
        command = [self.tools["spoke"], "--start", "--foreground"]
        return Program(command, port, POST, environment | (more or {}))

    def floor(self, body):
        file, port = self.folder / "body", free_port()
        file.write_bytes(body)
        return Program([self.tools["floor_spoke"], port, file, *host.partitions()], port, "/")

    def exporter(self, collectors):
        port = free_port()
        only = ["--collector.disable-defaults", *(f"--collector.{name}" for name in collectors)] if collectors else []
        command = [self.tools["prometheus-node-exporter"], f"--web.listen-address=127.0.0.1:{port}", *only]
        return Program(command, port, "/metrics")

    def original(self):
        environment, port = self.directory("original", "pattoo_agent_os_spoked")
        identity = self.folder / "original/daemon_directory/agent_id/pattoo_agent_os_spoked.agent_id"
        identity.parent.mkdir(exist_ok=True)
        identity.write_text("0" * 64)
        workers = 2 * os.cpu_count() + 1
        command = [self.tools["python"], "-m", "gunicorn", "--workers", workers, "--bind", f"127.0.0.1:{port}", "original:app"]
        return Program(command, port, POST, environment, folder=Path(__file__).parent)

    def all(self, short=False):
        """Name and program of each; the floor answers the spoke's own body."""
        with self.spoke("first") as spoke:
            body = _fetch(spoke)
        found = {SPOKE: self.spoke(), FLOOR: self.floor(body)}
        if not short:
            found |= {MATCHED: self.exporter(MATCHING), EXPORTER: self.exporter([]), ORIGINAL: self.original()}
        return found


def _fetch(program):
    with socket.create_connection(("127.0.0.1", program.port), 30) as connection:
        connection.sendall(f"GET {program.path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    return answer.partition(b"\r\n\r\n")[2]


def alternating(subjects, at):
    """The subjects in an order that is another one each round."""
    names = list(subjects)
    return names[at % len(names):] + names[:at % len(names)]


def cold(subjects, rounds, answers):
    """CPU ms of one answer at two a second, each over a connection of its own, as a poll comes; all subjects in one window."""
    found = {name: [] for name in subjects}
    for at in range(rounds):
        before = {name: program.cpu_ns() for name, program in subjects.items()}
        for _ in range(answers):
            began = time.monotonic()
            for name in alternating(subjects, at):
                subjects[name].ask()
                time.sleep(COLD_PAUSE_S / 4 / len(subjects))
            time.sleep(max(0, began + COLD_PAUSE_S - time.monotonic()))
        for name, program in subjects.items():
            found[name].append((program.cpu_ns() - before[name]) / answers / 1e6)
    return found


def back_to_back(subjects, rounds, answers):
    """CPU ms of one answer, one after the other over a kept connection."""
    found = {name: [] for name in subjects}
    for at in range(rounds):
        for name in alternating(subjects, at):
            before = subjects[name].cpu_ns()
            subjects[name].ask_often(answers)
            found[name].append((subjects[name].cpu_ns() - before) / answers / 1e6)
    return found


def first_answers(subjects, rounds):
    """Milliseconds from the start of the process to its first answer."""
    found = {name: [] for name in subjects}
    for at in range(rounds):
        for name in alternating(subjects, at):
            try:
                found[name].append(subjects[name].start() * 1000)
            finally:
                subjects[name].stop()
    return found


def memory(subjects, answers):
    """RSS and PSS in MB after so many answers (of peers a tenth), and what RSS grew by since the first tenth of them."""
    found = {}
    for name, program in subjects.items():
        # What peers hold shows much earlier, and they take long.
        many = answers if name in (SPOKE, FLOOR) else answers // 10
        program.ask_often(many // 10)
        early, _ = program.memory_kb()
        program.ask_often(many - many // 10)
        rss, pss = program.memory_kb()
        found[name] = {"rss": rss / 1024, "pss": pss / 1024, "grown": (rss - early) / 1024}
    return found


def idle(subjects, seconds):
    """Percent of a core while nobody asks."""
    before = {name: program.cpu_ns() for name, program in subjects.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = (time.monotonic() - began) * 1e9
    return {name: 100 * (program.cpu_ns() - before[name]) / passed for name, program in subjects.items()}


def burst(spoke, askers):
    """How many collections so many askers at the same time bring about."""
    before = collections(spoke)
    gate = threading.Barrier(askers)
    lengths = []

    def ask(number):
        # From several addresses: one alone may not have so many connections.
        with socket.create_connection(("127.0.0.1", spoke.port), 30, (f"127.0.0.{2 + number % 4}", 0)) as connection:
            gate.wait()
            connection.sendall(f"GET {POST} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            lengths.append(sum(len(part) for part in iter(lambda: connection.recv(1 << 16), b"")))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(askers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(lengths) != askers or min(lengths) < 1000:
        raise RuntimeError(f"of {askers} askers {len(lengths)} were answered, with {min(lengths, default=0)} bytes at least")
    return collections(spoke) - before


def collections(spoke):
    metrics = _fetch(Program(spoke.command, spoke.port, "/metrics")).decode()
    return int(next(line.split()[1] for line in metrics.splitlines() if line.startswith("pattoo_spoke_collections_total ")))


def another(program, path):
    """The running program, asked for another page."""
    found = Program(program.command, program.port, path)
    found.process = program.process
    return found


def scrape_calls(spoke):
    """System calls of one page of metrics, and at most how many: each interface has its files in sysfs, each mount is asked."""
    interfaces, mounts = len(os.listdir("/sys/class/net")), len(Path("/proc/1/mounts").read_text().splitlines())
    return sum(another(spoke, METRICS).system_calls(100).values()) / 100, 140 + 28 * interfaces + mounts


def metrics(subjects, rounds, answers):
    """The spoke's /metrics beside node_exporter with the same collectors: CPU ms cold and back to back."""
    with subjects.spoke("metrics") as spoke, subjects.exporter(EXPORTED) as exporter:
        found = {SCRAPED: another(spoke, METRICS), EXPORTED_TOO: exporter}
        for program in found.values():
            program.ask_often(20)
        return cold(found, rounds, answers), back_to_back(found, rounds, 10 * answers), scrape_calls(spoke)


def large_host(subjects, folder, rounds, answers):
    """CPU ms of one cold answer about a host of 256 cpus, 200 mounts and 500 interfaces."""
    with subjects.spoke("large", host.make_large(folder / "large-host")) as spoke:
        spoke.ask()
        return cold({SPOKE: spoke}, rounds, answers)[SPOKE]


def run(report, tools, folder, effort):
    """Everything, into the report."""
    made = Subjects(tools, folder)
    subjects = made.all()
    started = first_answers(subjects, effort.starts)
    try:
        for program in subjects.values():
            program.start()
            # The first answers work out what later ones find.
            program.ask_often(20)
        chilled = cold(subjects, effort.rounds, effort.cold_answers)
        hot = back_to_back(subjects, effort.rounds, effort.hot_answers)
        calls = {name: program.system_calls(100) for name, program in subjects.items()}
        resting = idle(subjects, effort.idle_s)
        kept = memory(subjects, effort.memory_answers)
        bytes_of = {name: program.ask() for name, program in subjects.items()}
        collected = burst(subjects[SPOKE], 200)
    finally:
        for program in subjects.values():
            program.stop()
    large = large_host(made, Path(folder), effort.rounds, effort.cold_answers // 2)
    scraped_cold, scraped_hot, scraped_calls = metrics(made, effort.rounds, effort.cold_answers)

    rows = []
    for name in subjects:
        per_answer = sum(calls[name].values()) / 100
        rows.append([
            name, middle(chilled[name]), middle(hot[name]), per_answer, bytes_of[name], kept[name]["rss"], kept[name]["pss"],
            kept[name]["grown"], middle(started[name]), resting[name],
        ])
    columns = [
        "CPU ms, cold", "CPU ms, back to back", "system calls", "bytes", "RSS MB", "PSS MB", "RSS grown MB", "first answer ms",
        "idle, % of a core",
    ]
    note = (
        f"One answer each. Cold: two a second, each over a new connection. In brackets the least and the most of {effort.rounds} "
        f"rounds. Memory after {effort.memory_answers} answers (peers: a tenth); grown since the first tenth of them."
    )
    report.tables.append(Table("The spoke: one answer", columns, rows, note))
    for heading, found, bounds in (
        ("cold", chilled, {MATCHED: 1 / 4, EXPORTER: 1 / 12, ORIGINAL: 1 / 10, FLOOR: 2}),
        ("back to back", hot, {MATCHED: 1 / 5, EXPORTER: 1 / 25, ORIGINAL: 1 / 25}),
    ):
        for other, most in bounds.items():
            report.ratio(f"spoke's CPU, {heading}, to {other}", found[SPOKE], found[other], most)
    for heading, found in (("cold", scraped_cold), ("back to back", scraped_hot)):
        report.ratio(f"CPU of spoke's /metrics, {heading}, to {EXPORTED_TOO}", found[SCRAPED], found[EXPORTED_TOO], 1 / 4)
    report.at_most("system calls of spoke's /metrics", *scraped_calls, "")
    mounts = len(host.partitions())
    report.at_most(f"spoke's system calls an answer, {mounts} mounts", sum(calls[SPOKE].values()) / 100, 40 + 2 * mounts, "")
    report.at_most("spoke's RSS", kept[SPOKE]["rss"], 8.0, "MB")
    report.at_most("spoke's RSS, growth", kept[SPOKE]["grown"], 0.3, "MB")
    report.at_most("spoke's first answer after", middle(started[SPOKE])["median"], 20.0, "ms")
    report.at_most("spoke at rest", resting[SPOKE], 0.02, "% of a core")
    report.at_most("spoke's CPU, cold, 256 cpus, 200 mounts, 500 interfaces", middle(large)["median"], 5.0, "ms")
    report.at_most("collections for a burst of 200 askers", collected, 100, "")
    # A post alone had 5; with node_exporter's metrics, TLS and pages in it, it may be larger.
    report.at_most("spoke's program", os.path.getsize(tools["spoke"]) / 1e6, 8.0, "MB")


def short(report, tools, folder):
    """What tells within seconds whether something got clearly worse: ratios to the floor, and system calls."""
    subjects = Subjects(tools, folder).all(short=True)
    try:
        for program in subjects.values():
            program.start()
            program.ask_often(20)
        hot = back_to_back(subjects, 5, 200)
        calls = sum(subjects[SPOKE].system_calls(100).values()) / 100
        collected = burst(subjects[SPOKE], 200)
        scraped_calls = scrape_calls(subjects[SPOKE])
    finally:
        for program in subjects.values():
            program.stop()
    mounts = len(host.partitions())
    report.ratio("spoke's CPU, back to back, to floor's", hot[SPOKE], hot[FLOOR], SHORT_RATIO[tools["profile"]])
    report.at_most(f"spoke's system calls an answer, {mounts} mounts", calls, 40 + 2 * mounts, "")
    report.at_most("collections for a burst of 200 askers", collected, 100, "")
    report.at_most("system calls of spoke's /metrics", *scraped_calls, "")
