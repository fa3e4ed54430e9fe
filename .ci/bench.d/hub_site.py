"""What the hub's half of the bench measures: a program that polls a fleet of its own and writes to a server of its own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from processes import Program
from support import waiting
from support.ports import free_port

# What a site takes a moment for; a machine that is busy with other things may need it.
LIMIT_S = 180


class Silent(Program):
    """A program that listens nowhere."""

    def ask(self):
        return 0

    def cpu_ns(self):
        """Of the children that have ended, too."""
        after_name = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        ended = sum(int(ticks) for ticks in after_name[13:15])
        return super().cpu_ns() + ended * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Site:
    """One program that polls, its fleet of spokes, and the server behind it, which counts."""

    def __init__(self, tools, folder, name, targets, interval, **more):
        self.tools, self.folder, self.targets, self.interval = tools, Path(folder) / name, targets, interval
        # Keys of the hub's section beside those that every site has.
        self.more = more
        self.folder.mkdir()
        self.spokes_port, self.server_port, self.own_port = free_port(), free_port(), free_port()
        self.fleet = Program([tools["fleet"], self.spokes_port, self.server_port], self.server_port, "/books")
        self.program = None
        # Which cores program and fleet may use.
        self.cores = self.fleet_cores = None

    def addresses(self):
        return [f"127.1.{number >> 8}.{number & 255}" for number in range(self.targets)]

    def config(self, server_port):
        """A configuration directory for a hub, ours or the original's."""
        directories = {}
        for key in ("log_directory", "cache_directory", "daemon_directory", "system_daemon_directory"):
            directories[key] = str(self.folder / key)
            os.makedirs(directories[key], exist_ok=True)
        shared = {"pattoo": directories | {"log_level": "info"}}
        shared["pattoo_agent_api"] = {"ip_address": "127.0.0.1", "ip_bind_port": server_port}
        devices = [{"ip_address": address, "ip_bind_port": self.spokes_port} for address in self.addresses()]
        own = {"ip_bind_port": self.own_port, "polling_interval": self.interval, "ip_devices": devices}
        # The default of 1000 a second is what 10,000 targets at 10 s bring: what fell behind would never catch up.
        own["delivery_rate"] = max(1000, 2 * self.targets // self.interval)
        config = self.folder / "config"
        config.mkdir(exist_ok=True)
        (config / "pattoo.yaml").write_text(json.dumps(shared))
        (config / "pattoo_agent_os_hubd.yaml").write_text(json.dumps({"pattoo_agent_os_hubd": own | self.more}))
        return config

    def change(self, **more):
        """Other keys, taken up without a restart."""
        self.more |= more
        self.config(self.server_port)
        taken = 'pattoo_hub_config_reloads_total{result="taken"}'
        before = self.metric(taken)
        self.program.process.send_signal(signal.SIGHUP)
        self.until(lambda: self.metric(taken) > before, "another configuration is taken")

    @staticmethod
    def until(condition, what):
        waiting.until(condition, LIMIT_S, what)

    def hub(self, server=True):
        """Ours; without a server posts wait on disk."""
        config = self.config(self.server_port if server else free_port())
        command = [self.tools["hub"], "--start", "--foreground"]
        self.program = Program(command, self.own_port, "/livez", {"PATTOO_CONFIGDIR": str(config)})
        return self

    def floor(self):
        command = [self.tools["floor_hub"], self.spokes_port, self.server_port, self.targets, self.interval * 1000]
        self.program = Silent(command, 0, "")
        return self

    def original(self):
        command = [self.tools["python"], Path(__file__).parent / "original_hub.py", self.config(self.server_port)]
        self.program = Silent(command, 0, "")
        return self

    def _scrape(self):
        targets = [f"{address}:{self.spokes_port}" for address in self.addresses()]
        return {
            "global": {"scrape_interval": f"{self.interval}s"},
            "scrape_configs": [{"job_name": "fleet", "static_configs": [{"targets": targets}]}],
        }

    def vmagent(self):
        (self.folder / "scrape.yml").write_text(json.dumps(self._scrape()))
        command = [
            self.tools["vmagent"], f"-httpListenAddr=127.0.0.1:{self.own_port}", f"-promscrape.config={self.folder}/scrape.yml",
            f"-remoteWrite.url=http://127.0.0.1:{self.server_port}/write", f"-remoteWrite.tmpDataPath={self.folder}/data",
        ]
        self.program = Program(command, self.own_port, "/health")
        return self

    def prometheus(self):
        written = self._scrape() | {"remote_write": [{"url": f"http://127.0.0.1:{self.server_port}/write"}]}
        (self.folder / "prometheus.yml").write_text(json.dumps(written))
        command = [
            self.tools["prometheus"], "--enable-feature=agent", f"--config.file={self.folder}/prometheus.yml",
            f"--storage.agent.path={self.folder}/data", f"--web.listen-address=127.0.0.1:{self.own_port}",
        ]
        self.program = Program(command, self.own_port, "/-/healthy")
        return self

    def __enter__(self):
        try:
            self.fleet.start()
            if self.fleet_cores:
                os.sched_setaffinity(self.fleet.process.pid, self.fleet_cores)
            if self.cores:
                self.program.command = ["taskset", "-c", ",".join(map(str, self.cores)), *self.program.command]
            self.program.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(AttributeError):
            self.program.stop()
        self.fleet.stop()

    def books(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server_port}/books", timeout=30) as answer:
            return json.load(answer)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.own_port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[ {{]", line))

    def system_calls(self, seconds):
        """System calls a poll."""
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-qq", "-o", "/dev/stdout", "-p", str(self.program.process.pid)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        before = self.books()["polls"]
        time.sleep(seconds)
        polls = self.books()["polls"] - before
        tracer.send_signal(signal.SIGINT)
        table, _ = tracer.communicate()
        total = re.search(r"^100\.00\s+[\d.]+\s+(?:\d+\s+)?(\d+)\s.*total$", table, re.MULTILINE)
        return int(total[1]) / polls


def windows(sites, rounds, seconds):
    """CPU seconds of 1000 polls of each site, round by round, all in the same seconds."""
    found = {name: [] for name in sites}
    for _ in range(rounds):
        before = {name: (site.program.cpu_ns(), site.books()["polls"]) for name, site in sites.items()}
        time.sleep(seconds)
        for name, site in sites.items():
            cpu, polls = site.program.cpu_ns() - before[name][0], site.books()["polls"] - before[name][1]
            if not polls:
                raise RuntimeError(f"{name} polled nothing in {seconds} s: is this machine too busy?")
            found[name].append(cpu / polls / 1e6)
    return found
