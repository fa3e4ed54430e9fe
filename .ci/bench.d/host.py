"""The machine that measures, and a host that is made up and large."""

import os
import platform
import random
import re
import subprocess
from pathlib import Path

CPUS, MOUNTS, INTERFACES = 256, 200, 500


def described():
    """What a reader must know of the machine to place the figures."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    release = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    name = re.search(r"model name\s*: (.*)", cpuinfo)
    return {
        "processor": name[1] if name else platform.machine(),
        "cores": os.cpu_count(),
        "memory": f"{memory / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "system": release[1] if release else "unknown",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "mounts": len(Path("/proc/1/mounts").read_text().splitlines()),
        "Rust": subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout.strip(),
        "Python": platform.python_version(),
    }


def partitions():
    """The mount points that a spoke shows of this machine."""
    types = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines() if not line.startswith("nodev")}
    mounts = [line.split() for line in Path("/proc/1/mounts").read_text().splitlines()]
    return [point for device, point, fstype, *_ in mounts if fstype in types and device != "none" and "docker" not in point]


def make_large(folder):
    """A made-up host of 256 cpus, 200 mounts and 500 interfaces; the environment of a spoke that tells of it."""
    dice = random.Random(1)

    def numbers(count):
        return " ".join(str(dice.getrandbits(40)) for _ in range(count))

    cpus = "".join(f"cpu{cpu} {numbers(10)}\n" for cpu in range(CPUS))
    disks = "".join(f" 8 {at} sd{at} {numbers(17)}\n" for at in range(16))
    files = {
        "proc/stat": f"cpu  {numbers(10)}\n{cpus}intr {numbers(2000)}\nctxt 1\nbtime 1700000000\nprocesses 9\nsoftirq {numbers(11)}\n",
        "proc/loadavg": "0.10 0.20 0.30 1/100 4321\n",
        "proc/cpuinfo": "".join(f"processor\t: {cpu}\nmodel name\t: made up\ncpu MHz\t\t: 2000.{cpu}\nflags\t\t: {'flag ' * 100}\n\n" for cpu in range(CPUS)),
        "proc/meminfo": Path("/proc/meminfo").read_text(),
        "proc/vmstat": Path("/proc/vmstat").read_text(),
        "proc/filesystems": "nodev\tsysfs\n\text4\n",
        "proc/diskstats": disks,
        "proc/1/mounts": "".join(f"/dev/sd{at} /mnt/{at} ext4 rw,relatime 0 0\n" for at in range(MOUNTS)),
        "proc/1/net/dev": "a head\na head\n" + "".join(f"  eth{at}: {numbers(16)}\n" for at in range(INTERFACES)),
        "proc/sys/kernel/osrelease": "6.1.0\n",
        "proc/sys/kernel/version": "#1 SMP\n",
        "sys/devices/system/cpu/online": f"0-{CPUS - 1}\n",
    }
    for name, text in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for at in range(MOUNTS):
        (Path(folder) / f"root/mnt/{at}").mkdir(parents=True)
    for pid in range(1000):
        (Path(folder) / f"proc/{pid + 1}").mkdir(exist_ok=True)
    return {"HOST_PROC": f"{folder}/proc", "HOST_SYS": f"{folder}/sys", "HOST_ROOT": f"{folder}/root"}
