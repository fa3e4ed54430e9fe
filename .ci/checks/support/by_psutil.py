"""What psutil says, under the keys of the wire: {(key, instance): value}."""

import contextlib
import os
import re
import warnings

import psutil


@contextlib.contextmanager
def reading(proc):
    """psutil over another /proc; the real one is `None`."""
    psutil.PROCFS_PATH = str(proc or "/proc")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        psutil.PROCFS_PATH = "/proc"


def _named(prefix, values, instance=()):
    return {(f"{prefix}_{name}", instance): value for name, value in values._asdict().items()}


def visible(text):
    """Bytes that are no UTF-8, as the wire writes them; psutil has lone surrogates for them."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def partitions():
    """The partitions that are shown: one mounted over itself counts once, paths with `docker` not at all."""
    found = {}
    for part in psutil.disk_partitions(all=False):
        if "docker" not in part.mountpoint:
            instance = tuple(visible(text) for text in (part.device, part.mountpoint, part.fstype, part.opts))
            found.setdefault(instance, part.mountpoint)
    return found


def disks():
    counters = psutil.disk_io_counters(perdisk=True, nowrap=False)
    return {name: c for name, c in counters.items() if not re.fullmatch(r"ram\d+|loop.*", name)}


def cpu():
    return _named("cpu_times", psutil.cpu_times()) | _named("cpu_stats", psutil.cpu_stats())


def memory():
    return _named("memory", psutil.virtual_memory())


def swap():
    return _named("swap_memory", psutil.swap_memory())


def load(proc):
    with open(f"{proc or '/proc'}/loadavg") as file:
        one, five, fifteen = file.read().split()[:3]
    return {
        ("process_count", ()): len(psutil.pids()),
        ("load_average_01min", ()): float(one),
        ("load_average_05min", ()): float(five),
        ("load_average_15min", ()): float(fifteen),
    }


def disk_io():
    found = {}
    for name, counters in disks().items():
        found |= _named("disk_io", counters, (name,))
    return found


def network_io():
    found = {}
    for name, counters in psutil.net_io_counters(pernic=True, nowrap=False).items():
        found |= _named("network_io", counters, (visible(name),))
    return found


def usage():
    """Sizes of the partitions that can be read."""
    found = {}
    for instance, path in partitions().items():
        with contextlib.suppress(OSError):
            found |= _named("disk_partition_disk_usage", psutil.disk_usage(path), instance)
    return found


def values(proc=None):
    """Everything but the percentages of the cpu, which are of two readings."""
    with reading(proc):
        return load(proc) | cpu() | memory() | swap() | disk_io() | network_io()


def frequency():
    """The host's frequency in MHz, None where it has none."""
    with contextlib.suppress(NotImplementedError, OSError):
        now = psutil.cpu_freq()
        return now and now.current
    return None


def percentages(before, after):
    """cpu_times_percent between two texts of /proc/stat: clamped differences over their sum, one decimal."""
    fields = "user nice system idle iowait irq softirq steal guest guest_nice".split()

    def ticks(text):
        return [int(number) for number in text.splitlines()[0].split()[1:11]]

    spent = [max(0, late - early) for early, late in zip(ticks(before), ticks(after))]
    # user and nice contain the time of guests.
    total = sum(spent[:8])
    return {(f"cpu_times_percent_{name}", ()): round(100 * s / total, 1) if total else 0.0 for name, s in zip(fields, spent)}
