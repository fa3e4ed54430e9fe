"""A machine of one's own: this one's files under an overlay, in namespaces of its own, with systemd as its first process.

What is installed, written or removed in it is gone with it, and this machine's files, network, processes and users stay as
they are. Needs root.
"""

import os
import secrets
import signal
import subprocess
from pathlib import Path

from support import waiting
from support.paths import PROJECT

BOOT = 60

# $1 is a folder on disk, the rest are folders that are shown read-only. Nothing of this machine's that could be changed from
# within is mounted: /proc is of the own processes, its sys read-only, /sys read-only, /dev has no disk.
BEGIN = r"""
set -euo pipefail
scratch=$1; shift
mount --make-rprivate /
mkdir "$scratch"/{disk,over}
mount -t tmpfs -o mode=755 tmpfs "$scratch/over"
mkdir "$scratch"/over/{up,work,root}
r=$scratch/over/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/over/up,workdir=$scratch/over/work" "$r"
mount -t proc proc "$r/proc"
mount --bind "$r/proc/sys" "$r/proc/sys"
mount -o remount,bind,ro "$r/proc/sys"
mount -t sysfs -o ro sysfs "$r/sys"
mount -t tmpfs -o mode=755 tmpfs "$r/run"
mount -t tmpfs -o mode=1777 tmpfs "$r/tmp"
mount -t tmpfs -o mode=755 tmpfs "$r/dev"
for node in null zero full random urandom tty; do
    touch "$r/dev/$node"
    mount --bind "/dev/$node" "$r/dev/$node"
done
ln -s /proc/self/fd "$r/dev/fd"
mkdir "$r"/dev/{shm,pts}
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$r/dev/pts"
ln -s pts/ptmx "$r/dev/ptmx"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$r/sys/fs/cgroup"
    mkdir "$r"/sys/fs/cgroup/{unified,systemd}
    mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$r/sys/fs/cgroup/systemd"
fi
for shown; do
    mkdir -p "$r$shown"
    mount --bind "$shown" "$r$shown"
    mount -o remount,bind,ro "$r$shown"
done
# Two partitions where hardening likes to hide things.
for place in home tmp; do
    mkdir "$r/$place/disk"
    mount --bind "$scratch/disk" "$r/$place/disk"
done
# What else is installed on this machine is not started in this one.
rm -rf "$r"/etc/systemd/system/*.wants
cd "$r"
pivot_root . mnt
cd /
umount -l /mnt
ip link set lo up
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin container=checks /lib/systemd/systemd --system
"""


class Machine:
    """`run` runs a command in it, as root."""

    def __init__(self, scratch, shown=()):
        assert os.geteuid() == 0, "a machine of one's own wants root"
        Path(scratch).mkdir()
        self.disk = Path(scratch) / "disk"
        self.groups = self._make_groups()
        self.log = open(Path(scratch) / "boot.log", "wb")
        shown = dict.fromkeys(str(path) for path in (PROJECT, *shown))
        self.process = subprocess.Popen(
            ["unshare", "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--fork", "bash", "-c", BEGIN, "-", str(scratch), *shown],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=self._enter_groups,
        )
        self.first = None
        try:
            self.first = waiting.until(self._first_process, BOOT, self._boot_log)
            waiting.until(self._is_up, BOOT, self._boot_log)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _make_groups():
        """Control groups below which its systemd makes its own, in each hierarchy that it uses."""
        root = Path("/sys/fs/cgroup")
        places = [root] if (root / "cgroup.controllers").exists() else [root / "unified", root / "systemd"]
        groups = [place / f"checks-{secrets.token_hex(4)}" for place in places if place.is_dir()]
        for group in groups:
            group.mkdir()
        return groups

    def _enter_groups(self):
        for group in self.groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def _first_process(self):
        assert self.process.poll() is None, self._boot_log()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return children and Path(f"/proc/{children[0]}/exe").resolve().name == "systemd" and int(children[0])

    def _is_up(self):
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def _boot_log(self):
        return (Path(self.log.name)).read_text(errors="replace")[-3000:]

    @property
    def prefix(self):
        return ["nsenter", "--target", str(self.first), "--mount", "--pid", "--net", "--uts", "--ipc", "--wd=/"]

    def run(self, *command, check=True, timeout=60, environment=None):
        done = subprocess.run(
            [*self.prefix, *command],
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"} | (environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    def close(self):
        # With its first process, the kernel ends all that run in it.
        if self.first:
            os.kill(self.first, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait(20)
        self.log.close()
        for group in self.groups:
            for folder in sorted((path for path in [group, *group.rglob("*")] if path.is_dir()), reverse=True):
                waiting.until(lambda: self._removed(folder), 10, f"{folder} is removed")

    @staticmethod
    def _removed(group):
        try:
            group.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
