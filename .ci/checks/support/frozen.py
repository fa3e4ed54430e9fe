"""Copies of /proc that stand still, and made-up variants of them."""

import os
import re
from pathlib import Path

FILES = [
    "stat",
    "meminfo",
    "vmstat",
    "loadavg",
    "diskstats",
    "filesystems",
    "cpuinfo",
    "uptime",
    "partitions",
    "version",
    "zoneinfo",
    "sys/kernel/osrelease",
    "sys/kernel/version",
    "sys/kernel/hostname",
]
# Where the host's own process, 1, and the reader's, self, differ, the host's is copied to both: psutil reads the
# one, a spoke with a host root the other.
OF_THE_HOST = ["mounts", "mountinfo", "net/dev"]


class Frozen:
    """A folder that looks like /proc (and one like /sys beside it)."""

    def __init__(self, path):
        self.proc = Path(path) / "proc"
        self.sys = Path(path) / "sys"

    def write(self, name, content):
        """Replaces a file in one step, so that a reader sees the old one or the new one."""
        path = self.proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        beside.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.replace(beside, path)

    def read(self, name):
        return (self.proc / name).read_text()

    def edit(self, name, pattern, replacement, count=0):
        text, changes = re.subn(pattern, replacement, self.read(name), count=count, flags=re.MULTILINE)
        assert changes, f"{name} has no {pattern!r}"
        self.write(name, text)

    def write_mounts(self, content):
        for name in ("self/mounts", "1/mounts", "mounts"):
            self.write(name, content)

    def write_network(self, content):
        for name in ("self/net/dev", "1/net/dev", "net/dev"):
            self.write(name, content)

    def environment(self):
        return {"HOST_PROC": str(self.proc), "HOST_SYS": str(self.sys), "HOST_ROOT": "/"}


def of_this_machine(path):
    """What psutil and the spoke read of this machine, copied once."""
    frozen = Frozen(path)
    for name in FILES:
        source = Path("/proc") / name
        if source.exists():
            frozen.write(name, source.read_bytes())
    for name in OF_THE_HOST:
        source = Path("/proc/1") / name
        content = (source if os.access(source, os.R_OK) else Path("/proc/self") / name).read_bytes()
        frozen.write(f"1/{name}", content)
        frozen.write(f"self/{name}", content)
    frozen.write("net/dev", frozen.read("1/net/dev"))
    frozen.write("mounts", frozen.read("1/mounts"))
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            (frozen.proc / entry).mkdir(exist_ok=True)
    online = frozen.sys / "devices" / "system" / "cpu" / "online"
    online.parent.mkdir(parents=True)
    online.write_bytes(Path("/sys/devices/system/cpu/online").read_bytes())
    return frozen


def large_counters(frozen):
    """A host that is up for years: counters beyond 32 and 53 bits, and several kinds of disks and interfaces."""
    frozen.write(
        "stat",
        "cpu  922337203685 101 202020202 18446744073709 303 0 404040404 505 606 707\n"
        "cpu0 461168601842 50 101010101 9223372036854 151 0 202020202 252 303 353\n"
        "cpu1 461168601843 51 101010101 9223372036855 152 0 202020202 253 303 354\n"
        "intr 9007199254740995 1 2 3 0 0 0\n"
        "ctxt 18446744073709551615\n"
        "btime 1700000000\nprocesses 4294967296\nprocs_running 3\nprocs_blocked 1\n"
        "softirq 12345678901234 5 6 7 8 9 10 11 12 13 14\n",
    )
    rows = [
        (1, 0, "ram0", [9] * 17),
        (7, 0, "loop0", [8] * 17),
        (8, 0, "sda", [4294967297, 11, 98765432109876, 12, 4294967298, 13, 87654321098765, 14, 0, 4294967299, 15] + [0] * 6),
        (8, 1, "sda1", [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 10]),
        (259, 0, "nvme0n1", [21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37]),
        (259, 1, "nvme0n1p1", [41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55]),
        (253, 0, "dm-0", [61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71] + [0] * 6),
        (11, 0, "sr0", [0] * 17),
        (254, 0, "ramdisk", [5] * 17),
    ]
    lines = [f"{major:4} {minor:7} {name} {' '.join(map(str, numbers))}\n" for major, minor, name, numbers in rows]
    frozen.write("diskstats", "".join(lines))
    frozen.write_network(
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
        "  eth1: 18446744073709551615 2 3 4 5 6 7 8 9007199254740993 10 11 12 13 14 15 16\n"
        "    lo:     100      20    0    0    0     0          0         0      100      20    0    0    0     0       0          0\n"
        "eth0.7:1234567890123 21 22 23 24 25 26 27 9876543210987 29 30 31 32 33 34 35\n"
    )
    frozen.edit("vmstat", r"^pswpin \d+", "pswpin 4503599627370")
    frozen.edit("vmstat", r"^pswpout \d+", "pswpout 4294967297")
    frozen.write(
        "meminfo",
        "MemTotal:       4294967296 kB\nMemFree:        1073741825 kB\nMemAvailable:   3221225471 kB\n"
        "Buffers:          123456 kB\nCached:         987654321 kB\nSwapCached:            7 kB\n"
        "Active:         555555555 kB\nInactive:       444444444 kB\nActive(anon):   11 kB\nInactive(anon): 12 kB\n"
        "Active(file):   333333333 kB\nInactive(file): 222222222 kB\nSwapTotal:      33554431 kB\n"
        "SwapFree:       11184811 kB\nShmem:          7654321 kB\nSlab:           8765432 kB\n"
        "SReclaimable:   6543210 kB\nSUnreclaim:     2222222 kB\nHugePages_Total:       0\n",
    )
    frozen.write("loadavg", "1234.56 789.01 0.07 99/123456 4194303\n")
    for pid in ("100001", "100002", "4194303"):
        (frozen.proc / pid).mkdir(exist_ok=True)


def old_kernel(frozen):
    """A small old host: neither swap nor MemAvailable, short lines in diskstats, no softirq time in guests."""
    frozen.write(
        "meminfo",
        "MemTotal:        1020300 kB\nMemFree:          204060 kB\nBuffers:           10203 kB\n"
        "Cached:           304050 kB\nSwapCached:            0 kB\nActive:           405060 kB\n"
        "Inactive:         203040 kB\nActive(anon):     105060 kB\nInactive(anon):    50607 kB\n"
        "Active(file):     300000 kB\nInactive(file):   152433 kB\nSwapTotal:             0 kB\n"
        "SwapFree:              0 kB\nShmem:             20304 kB\nSlab:              60708 kB\n"
        "SReclaimable:      40506 kB\nSUnreclaim:        20202 kB\n",
    )
    frozen.write("zoneinfo", "Node 0, zone   Normal\n  pages free     51015\n        min      2048\n        low      2560\n        high     3072\n")
    frozen.write(
        "stat",
        "cpu  4705 150 1120 1636200 290 17 45 12 3 1\n"
        "cpu0 2352 75 560 818100 145 8 22 6 2 0\n"
        "cpu1 2353 75 560 818100 145 9 23 6 1 1\n"
        "intr 114930548 113199788 3 0 5\nctxt 1990473\nbtime 1062191376\nprocesses 2915\n"
        "procs_running 1\nprocs_blocked 0\nsoftirq 183433 0 21755 12 39 1137 231 21459 2263 0 0\n",
    )
    frozen.write(
        "diskstats",
        "   1    0 ram0 0 0 0 0 0 0 0 0 0 0 0\n   7    3 loop3 1 2 3 4 5 6 7 8 9 10 11\n"
        "   3    0 hda 446216 784926 9550688 4382310 424847 312726 5922052 19310380 0 3376340 23705160\n"
        "   3    1 hda1 35486 38030 38030 0\n",
    )
    frozen.write("vmstat", "nr_free_pages 51015\npgpgin 11\npgpgout 12\n")
    frozen.write("loadavg", "0.00 0.01 0.05 1/80 2915\n")
    frozen.write_mounts(
        "rootfs / rootfs rw 0 0\n/dev/hda1 / ext3 rw,data=ordered 0 0\nproc /proc proc rw 0 0\n"
        "none /dev/shm tmpfs rw 0 0\n/dev/hda1 /var/lib/docker ext3 rw,data=ordered 0 0\n"
        "/dev/hda1 / ext3 rw,data=ordered 0 0\nserver:/home /home nfs rw 0 0\n"
    )
    frozen.write("filesystems", "nodev\tsysfs\nnodev\trootfs\nnodev\tproc\nnodev\ttmpfs\n\text3\n\text2\nnodev\tnfs\n\tiso9660\n")


def edges(frozen):
    """Numbers at the edges: swap all but used up, available above the total, interfaces without a blank."""
    frozen.edit("meminfo", r"^MemAvailable: +\d+ kB", "MemAvailable:   999999999999 kB")
    frozen.edit("meminfo", r"^SwapTotal: +\d+ kB", "SwapTotal:       1000001 kB")
    frozen.edit("meminfo", r"^SwapFree: +\d+ kB", "SwapFree:              3 kB")
    frozen.write_network(
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
        "veth0a1b:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
        "    lo:0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
    frozen.write("diskstats", " 254       0 vda 1 2 3 4 5 6 7 8 9 10 11\n 254      16 vdb 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n")
    frozen.write("cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2400.000\n\nprocessor\t: 1\ncpu MHz\t\t: 3000.500\n\n")
    frozen.write("loadavg", "0.10 12.00 3.14 2/300 77\n")
    with_mounts = "/dev/vda / ext4 rw,relatime 0 0\n/dev/vda /tmp ext4 rw,relatime,opt=a\\040b 0 0\ntmpfs /run tmpfs rw 0 0\n"
    frozen.write_mounts(with_mounts)


VARIANTS = {"as_it_is": lambda _: None, "large_counters": large_counters, "old_kernel": old_kernel, "edges": edges}
