"""node_exporter as a judge of the spoke's `/metrics`, and how two pages are compared."""

import math
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from support import metrics, requests, waiting
from support.ports import free_port

TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pattoo-hub-and-spoke" / "prometheus" / "bin"
NODE_EXPORTER = TOOLS / "prometheus-node-exporter"
PROMETHEUS = TOOLS / "prometheus"

# Every collector that /metrics has. node_exporter 1.5 has all of them.
COLLECTORS = (
    "conntrack cpu cpufreq diskstats entropy filefd filesystem hwmon loadavg meminfo netclass netdev netstat os pressure "
    "sockstat stat thermal_zone time timex uname vmstat"
).split()


@dataclass
class Page:
    """What one page of metrics says."""

    series: metrics.Metrics
    types: dict = field(default_factory=dict)

    def of_the_host(self):
        """The series of collectors, without what is told about collecting."""
        own = ("node_scrape_", "node_exporter_", "pattoo_")
        return {key: value for key, value in self.series.items() if key[0].startswith("node_") and not key[0].startswith(own)}

    def success(self, collector):
        return self.series.get(("node_scrape_collector_success", (("collector", collector),)))


def read(body):
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", body.decode(), flags=re.MULTILINE))
    return Page(metrics.read(body), types)


def asked(port, *collectors):
    """The page of these collectors, or the whole."""
    query = "&".join(f"collect[]={collector}" for collector in collectors)
    answer = requests.send("GET", port, "/metrics" + (f"?{query}" if query else ""))
    assert answer.status == 200, answer.body[:2000]
    return read(answer.body)


class NodeExporter:
    """Debian's node_exporter on a free port, for this machine or for a made-up host."""

    def __init__(self, host=None, *options):
        self.port = free_port()
        if host is not None:
            options = (f"--path.procfs={host.proc}", f"--path.sysfs={host.sys}", f"--path.rootfs={host.root}",
                       f"--path.udev.data={host.root}/run/udev/data", "--no-collector.netdev.netlink", *options)  # fmt: skip
        self.process = subprocess.Popen(
            [NODE_EXPORTER, f"--web.listen-address=127.0.0.1:{self.port}", "--web.disable-exporter-metrics", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self):
        waiting.until(lambda: requests.answers(self.port, "/"), 20, "node_exporter answers")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


def near(one, other):
    """Equal but for the last digit: both are worked out in floats, in another order."""
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)


def only_grows(name, kind):
    """What node_exporter takes over from the kernel by name has no type there; of it, one number alone goes down too."""
    return kind == "counter" or kind == "untyped" and name != "node_netstat_Tcp_CurrEstab"


def faults(before, ours, after):
    """What in our page is not as node_exporter's two readings, one before and one after it, want it."""
    found, wanted, later = [], before.of_the_host(), after.of_the_host()
    shown = ours.of_the_host()
    for key in wanted.keys() & later.keys():
        name, labels = key
        if key not in shown:
            found.append(f"missing: {name}{dict(labels)}")
            continue
        low, high = wanted[key], later[key]
        if before.types[name] != ours.types.get(name):
            found.append(f"{name} is a {ours.types.get(name)}, not a {before.types[name]}")
        if near(low, high):
            if not near(shown[key], low):
                found.append(f"{name}{dict(labels)} is {shown[key]}, not {low}")
        elif only_grows(name, before.types[name]) and not low * (1 - 1e-12) <= shown[key] <= high * (1 + 1e-12):
            found.append(f"{name}{dict(labels)} is {shown[key]}, not between {low} and {high}")
    return found
