"""The soak: a site that works for long while all around it changes. Called by .ci/soak, which says how."""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from hub_site import Site
from processes import Program
from support import passing
from support.ports import free_port

TARGETS = 16
SPOKES = 2
# By how much each may grow over the measured time. The spool's segments are of 1 MiB here, and two of them are spare.
MAY_GROW = {"memory_kib": 4096, "descriptors": 4, "threads": 2, "disk_kib": 4096}
# Threads named "disk" wait for the disk, come when several things do at once and go ten seconds later: they have a bound instead.
AT_MOST = {"disk_threads": 16}


class Soaked(Site):
    """A hub, with two real spokes beside its fleet, and the server as a process of its own, that it can go alone."""

    def __init__(self, tools, folder):
        super().__init__(tools, folder, "site", TARGETS, 1)
        self.fleet = Program([tools["fleet"], self.spokes_port, free_port()], self.spokes_port, "/")
        self.server = Program([tools["fleet"], free_port(), self.server_port], self.server_port, "/books")
        self.spokes = [self._spoke(tools["spoke"], number) for number in range(SPOKES)]
        self.hub()
        self.own = json.loads((self.folder / "config/pattoo_agent_os_hubd.yaml").read_text())["pattoo_agent_os_hubd"]
        self.own |= {"max_bytes": 64 << 20, "max_sources": 200, "backoff_max": 1, "delivery_timeout": 2, "receive": True}
        self.own["ip_devices"] += [{"ip_address": "127.0.0.1", "ip_bind_port": spoke.port} for spoke in self.spokes]
        self._write(self.own)

    def _spoke(self, binary, number):
        config = self.folder / f"spoke-{number}"
        config.mkdir()
        (config / "pattoo.yaml").write_text(json.dumps({"pattoo": {"log_level": "info"} | {
            key: str(config) for key in ("log_directory", "cache_directory", "daemon_directory", "system_daemon_directory")
        }}))
        port = free_port()
        self._spoke_says(config, port, "")
        return Program([binary, "--start", "--foreground"], port, "/livez", {"PATTOO_CONFIGDIR": str(config)})

    @staticmethod
    def _spoke_says(config, port, exclude):
        own = {"ip_bind_port": port, "agent_id": config.name, "hostname": config.name, "network_exclude": exclude}
        (config / "pattoo_agent_os_spoked.yaml").write_text(json.dumps({"pattoo_agent_os_spoked": own}))

    def _write(self, own):
        file = self.folder / "config/pattoo_agent_os_hubd.yaml"
        file.with_suffix(".new").write_text(own if isinstance(own, str) else json.dumps({"pattoo_agent_os_hubd": own}))
        file.with_suffix(".new").rename(file)

    def programs(self):
        return {"hub": self.program} | {f"spoke-{number}": spoke for number, spoke in enumerate(self.spokes)}

    def __enter__(self):
        try:
            for program in (self.server, *self.spokes):
                program.start()
            # Which answers on no path but a spoke's own.
            self.fleet.path = "/pattoo-agent-os/1"
            return super().__enter__()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for program in (*self.spokes, self.server):
            program.stop()
        super().__exit__()

    def reload(self, own, targets):
        self._write(own)
        self.program.process.send_signal(signal.SIGHUP)
        self.until(lambda: self.metric("pattoo_hub_targets") == targets, f"{targets} targets")

    def waiting(self):
        return self.metric("pattoo_hub_posts_waiting")

    def cycle(self, number):
        """Everything once that can change."""
        delivered = self.metric("pattoo_hub_posts_delivered_total")
        self.until(lambda: self.metric("pattoo_hub_posts_delivered_total") > delivered + TARGETS, "deliveries")
        self.server.stop()
        self.until(lambda: self.waiting() > 2 * TARGETS, "a backlog while nobody listens")
        self.server.start()
        self.until(lambda: self.waiting() < TARGETS / 2, "the backlog gone")
        self.server.process.send_signal(signal.SIGSTOP)
        self.until(lambda: self.waiting() > 2 * TARGETS, "a backlog while the server hangs")
        self.server.process.send_signal(signal.SIGCONT)
        devices = self.own["ip_devices"]
        # Another half each time; and what is nobody's.
        half = devices[number % 2 :: 2] + [{"ip_address": "127.0.0.1", "ip_bind_port": free_port()}]
        self.reload(self.own | {"ip_devices": half, "max_attempts": 5 + number % 3}, len(half))
        self._write("pattoo_agent_os_hubd: [no, such, thing")
        self.program.process.send_signal(signal.SIGHUP)
        for at, spoke in enumerate(self.spokes):
            self._spoke_says(self.folder / f"spoke-{at}", spoke.port, "veth.*" if number % 2 else "")
            spoke.process.send_signal(signal.SIGHUP)
            spoke.path = "/metrics"
            spoke.ask()
        self.program.path = "/metrics"
        self.program.ask_often(3)
        self.reload(self.own, len(devices))
        self.until(lambda: self.waiting() < TARGETS / 2, "all delivered")

    def disk_kib(self):
        return sum(status.st_blocks for status in passing.below(self.folder / "cache_directory").values()) // 2

    def looked_at(self):
        """What each program has in hand now."""
        found = {}
        for name, program in self.programs().items():
            process = Path(f"/proc/{program.process.pid}")
            status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
            found[name, "memory_kib"] = int(status["VmRSS"].split()[0])
            threads = passing.of_threads(program.process.pid, "comm")
            found[name, "disk_threads"] = threads.count("disk")
            found[name, "threads"] = len(threads) - threads.count("disk")
            found[name, "descriptors"] = len(list((process / "fd").iterdir()))
        found["hub", "disk_kib"] = self.disk_kib()
        return found

    def books(self):
        """What came and what became of it. Nothing is in motion once polling has ended."""
        self.reload(self.own | {"ip_devices": []}, 0)

        def read():
            names = ("taken", "found", "delivered", "quarantined", "dropped")
            counts = {name: int(self.metric(f"pattoo_hub_posts_{name}_total")) for name in names}
            return counts | {"waiting": int(self.waiting())}

        def balanced():
            now = read()
            return now["waiting"] == 0 and now["taken"] + now["found"] == sum(
                now[name] for name in ("delivered", "waiting", "quarantined", "dropped")
            )

        try:
            self.until(balanced, "balance")
        except AssertionError:
            return read(), False
        return read(), True


def slope(times, values):
    """The median of the slopes between any two points: a few odd ones do not move it."""
    pairs = [(i, j) for j in range(len(times)) for i in range(j)]
    return statistics.median((values[j] - values[i]) / (times[j] - times[i]) for i, j in pairs) if pairs else 0.0


def told(times, looks):
    """A line for each quantity of each program; whether all stay flat."""
    flat = True
    warm = max(1, len(looks) // 4)
    measured = times[warm:]
    print(f"{len(looks)} cycles in {times[-1] / 60:.1f} minutes, the first {warm} to warm up")
    for key in looks[0]:
        values = [look[key] for look in looks[warm:]]
        a_second = slope(measured, values)
        grown = a_second * (measured[-1] - measured[0])
        if most := AT_MOST.get(key[1]):
            good, bound = max(values) <= most, f"never more than {most}"
        else:
            good, bound = grown <= MAY_GROW[key[1]], f"at most {MAY_GROW[key[1]]}"
        flat &= good
        step = max(1, len(values) // 10)
        print(
            f"{'flat ' if good else 'GROWS'} {key[0]:8} {key[1]:12} {' '.join(map(str, values[::step]))}; "
            f"slope {a_second * 3600:+.1f} an hour, {grown:+.1f} over the measured time, {bound}"
        )
    return flat


def main():
    parser = argparse.ArgumentParser(prog=".ci/soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--built", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    tools = {"hub": asked.built / "pattoo_agent_os_hubd", "spoke": asked.built / "pattoo_agent_os_spoked"}
    tools["fleet"] = asked.built / "examples/fleet"
    # Not on a tmpfs: what is on disk is what is looked at.
    with tempfile.TemporaryDirectory(prefix="pattoo-soak.", dir="/var/tmp") as folder, Soaked(tools, folder) as site:
        began, times, looks = time.monotonic(), [], []
        # A slope wants a few points.
        while time.monotonic() - began < asked.minutes * 60 or len(looks) < 5:
            site.cycle(len(looks))
            looks.append(site.looked_at())
            times.append(time.monotonic() - began)
        flat = told(times, looks)
        books, balanced = site.books()
        print(f"{'books balance' if balanced else 'BOOKS DO NOT BALANCE'}: {json.dumps(books)}")
    sys.exit(0 if flat and balanced else 1)


if __name__ == "__main__":
    main()
