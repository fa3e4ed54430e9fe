"""Made-up hosts: folders with proc, sys and root, each made by a function of its name in `MADE`."""

import contextlib
import os
import random
from pathlib import Path

import psutil

from support import by_psutil, devices as of_sysfs, frozen

# A device that every machine has: whoever looks for the device of `/` wants to see it in /dev.
ROOT_DEVICE = "null"

NETWORK_HEAD = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast"
    "|bytes    packets errs drop fifo colls carrier compressed\n"
)
FILESYSTEMS = (
    "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\toverlay\n\text3\n\text4\n\tvfat\n\tsquashfs\n"
    "\tbtrfs\n\txfs\n\tiso9660\n\tfuseblk\nnodev\tfuse\nnodev\tnfs4\nnodev\tzfs\n"
)


class Host(frozen.Frozen):
    """A made-up host, and what its post must say of it that psutil does not read below /proc."""

    def __init__(self, path, name):
        super().__init__(path)
        self.name, self.root = name, Path(path) / "root"
        self.random = random.Random(name)
        self.mounts = []
        self.cpus = "2"
        self.frequency = None
        # What the spoke leaves out and must name, and the families of which it then has nothing.
        self.left_out, self.lacks = [], ()
        self.root.mkdir(parents=True)
        self.sys.mkdir()

    def environment(self):
        return super().environment() | {"HOST_ROOT": str(self.root)}

    def write_sys(self, name, content):
        self._write(self.sys / name, content)

    def write_root(self, name, content):
        self._write(self.root / name, content)

    @staticmethod
    def _write(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def processes(self, *pids):
        for pid in pids:
            (self.proc / str(pid)).mkdir(parents=True, exist_ok=True)

    def numbers(self, count, bits=40):
        return [self.random.getrandbits(bits) for _ in range(count)]

    def stat(self, cpus):
        """`stat` for cpus of these numbers; the first line is their sum."""
        rows = [[self.random.randrange(1_000_000) for _ in range(10)] for _ in cpus]
        lines = [f"cpu  {' '.join(str(sum(column)) for column in zip(*rows))}\n"]
        lines += [f"cpu{cpu} {' '.join(map(str, row))}\n" for cpu, row in zip(cpus, rows)]
        lines.append(f"intr {' '.join(map(str, self.numbers(2 + 4 * len(cpus))))}\n")
        lines.append(f"ctxt {self.random.getrandbits(50)}\nbtime 1700000000\nprocesses 4711\nprocs_running 2\nprocs_blocked 0\n")
        lines.append(f"softirq {' '.join(map(str, self.numbers(11)))}\n")
        self.write("stat", "".join(lines))

    def interfaces(self, names):
        rows = [f"{name:>6}: {' '.join(map(str, self.numbers(16)))}\n" for name in names]
        self.write_network((NETWORK_HEAD + "".join(rows)).encode("utf-8", "surrogateescape"))

    def disks(self, rows):
        """`diskstats`; a row is a name and how many fields stand behind it."""
        lines = [f"{8:4} {at:7} {name} {' '.join(map(str, self.numbers(count, 31)))}\n" for at, (name, count) in enumerate(rows)]
        self.write("diskstats", "".join(lines))

    def mount(self, device, point, fstype="ext4", options="rw,relatime", folder=True):
        """One line of `mounts`, escaped as the kernel does it, and the folder below root."""
        if folder:
            os.makedirs(os.fsencode(self.root) + os.fsencode(point), exist_ok=True)
        fields = (escaped(device, b" \t\n\\#"), escaped(point), escaped(fstype, b" \t\n\\#"), escaped(options))
        self.mounts.append(b" ".join(fields) + b" 0 0\n")
        self.write_mounts(b"".join(self.mounts))

    def usage(self):
        """What psutil takes from statvfs on each partition below root; none of those that cannot be read."""
        found = {}
        with by_psutil.reading(self.proc):
            for instance, point in by_psutil.partitions().items():
                instance = tuple(text.strip() for text in instance)
                with contextlib.suppress(OSError):
                    for name, value in psutil.disk_usage(f"{self.root}{point}")._asdict().items():
                        found[f"disk_partition_disk_usage_{name}", instance] = value
        return found


def escaped(text, which=b" \t\n\\"):
    """As the kernel writes it: blank, tab, newline and backslash in octal; of devices and types the number sign too."""
    return b"".join(b"\\%03o" % byte if byte in which else bytes([byte]) for byte in os.fsencode(text))


def plain(host):
    """A small host of two cpus; nothing about it is odd."""
    host.stat([0, 1])
    host.write(
        "meminfo",
        "MemTotal:        4039496 kB\nMemFree:          612340 kB\nMemAvailable:    2871236 kB\nBuffers:          104208 kB\n"
        "Cached:          2183400 kB\nSwapCached:         1024 kB\nActive:          1804416 kB\nInactive:        1190312 kB\n"
        "Active(anon):     480120 kB\nInactive(anon):   230016 kB\nActive(file):    1324296 kB\nInactive(file):   960296 kB\n"
        "SwapTotal:       2097148 kB\nSwapFree:        1572860 kB\nShmem:             12340 kB\nSlab:             210432 kB\n"
        "SReclaimable:     150020 kB\nSUnreclaim:        60412 kB\n",
    )
    host.write("vmstat", "nr_free_pages 153085\npgpgin 11\npgpgout 12\npswpin 4242\npswpout 123456\n")
    host.write("loadavg", "0.42 0.36 1.10 2/231 4711\n")
    host.write("filesystems", FILESYSTEMS)
    host.write("cpuinfo", "processor\t: 0\nBogoMIPS\t: 50.00\n\nprocessor\t: 1\nBogoMIPS\t: 50.00\n")
    host.write("uptime", "12345.67 20000.00\n")
    host.write("partitions", "major minor  #blocks  name\n\n   8        0   41943040 sda\n")
    host.write("zoneinfo", "Node 0, zone   Normal\n  pages free     153085\n        min      8048\n        low      10060\n        high     12072\n")
    host.write("sys/kernel/osrelease", "6.1.0-18-amd64\n")
    host.write("sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)\n")
    host.write("sys/kernel/hostname", "made-up\n")
    host.write_sys("devices/system/cpu/online", "0-1\n")
    host.interfaces(["lo", "eth0"])
    host.disks([("sda", 17), ("sda1", 17)])
    host.mount("sysfs", "/sys", "sysfs")
    host.mount("/dev/sda1", "/")
    host.processes(1, 2, 42, 4711)
    of_sysfs.add(host)


def like(host, post):
    """A host of which an original spoke would say what `post` says."""
    plain(host)
    named = post.points[0].by_name
    host.cpus = named["cpus"]
    host.stat(range(int(host.cpus)))
    host.write("sys/kernel/osrelease", named["release"] + "\n")
    host.write("sys/kernel/version", named["version"] + "\n")
    host.write_sys("devices/system/cpu/online", f"0-{int(host.cpus) - 1}\n")

    def instances(kind):
        return list(dict.fromkeys(point.instance for point in post.points if point.kind == kind))

    host.interfaces([name for name, in instances("network")])
    host.disks([(name, 17) for name, in instances("disk")])
    host.mounts.clear()
    for device, point, fstype, options in instances("partition"):
        host.mount(device, point, fstype, options)


def odd_names(host):
    """Mount points and devices with blanks, tabs, newlines, backslashes and bytes that are no UTF-8."""
    plain(host)
    points = (
        "/mnt/a blank", "/mnt/a\ttab", "/mnt/a\nnewline", "/mnt/a\\backslash", "/mnt/\\040", "/mnt/\\134", "/mnt/ends\\",
        "/mnt/odd\udcff\udcc3", "/mnt/b\u00e4h \u4e16", "/mnt/tail\udce4", "/mnt/\"quoted\" <b>&amp;", "/mnt/\\043",
        "/mnt/control\x01\x7f", "/mnt/a blank at the end ", "/mnt/#sharp",
    )
    for at, point in enumerate(points):
        host.mount(f"/dev/sdb{at}", point)
    host.mount("/dev/mapper/a blank", "/mnt/device")
    host.mount("/dev/odd\udcfe#1", "/mnt/odd device")
    host.interfaces(["lo", "b\u00e4h0", "odd\udcff0"])


def options(host):
    """Option strings that mountinfo would give in another order, and long ones."""
    plain(host)
    for at, text in enumerate((
        "rw,sync,lazytime,nosuid", "rw,seclabel,relatime", "ro,nosuid,nodev,noexec,relatime,seclabel,data=ordered",
        "rw,dirsync,lazytime", "rw,opt=a b\tc\\d", "rw," + ",".join(f"option{number}" for number in range(90)), "rw", "rw,uid=0,name=b\u00e4h",
    )):
        host.mount(f"/dev/sdc{at}", f"/options/{at}", options=text)


def one_over_another(host):
    """Mounts over mounts, the same one twice, a mount point that is gone, and paths of Docker's."""
    plain(host)
    host.mount("/dev/sdd1", "/data")
    host.mount("/dev/sdd2", "/data")
    host.mount("/dev/sdd2", "/data")
    host.mount("/dev/sdd2", "/data", options="ro,relatime")
    host.mount("tmpfs", "/data", "tmpfs")
    host.mount("/dev/sda1", "/")
    host.mount("/dev/sdd3", "/gone", folder=False)
    host.mount("/dev/sdd4", "/var/lib/docker")
    host.mount("/dev/sdd4", "/srv/mydockerfiles")
    host.mount("/dev/sdd4", "/srv/Docker")
    host.left_out = ["partition /gone"]


def devices(host):
    """zfs, none, /dev/root and rootfs, bind mounts, and types that live on no device."""
    plain(host)
    roots = {os.stat(place).st_dev for place in ("/", host.root)}
    lines = [f"{os.major(device):4} {os.minor(device):8}   41943040 {ROOT_DEVICE}\n" for device in roots]
    host.write("partitions", "major minor  #blocks  name\n\n 250        9   41943040 other\n" + "".join(lines))
    host.mounts.clear()
    for name in (ROOT_DEVICE, "other"):
        os.makedirs(host.root / "dev", exist_ok=True)
        (host.root / "dev" / name).touch()
    host.mount("rootfs", "/", "rootfs")
    host.mount("/dev/root", "/")
    host.mount("rootfs", "/first", "ext4")
    host.mount("tank/home", "/tank/home", "zfs", "rw,xattr,noacl")
    host.mount("none", "/none", "ext4")
    host.mount("none", "/run", "tmpfs")
    host.mount("nonesuch", "/nonesuch", "ext4")
    host.mount("overlay", "/merged", "overlay", "rw,lowerdir=/l,upperdir=/u")
    host.mount("server:/export", "/nfs", "nfs4")
    host.mount("sshfs", "/fuse", "fuse")
    host.mount("/dev/sdz1", "/ntfs", "fuseblk", "rw,nosuid,user_id=0")
    host.mount("/dev/loop3", "/snap/core/1", "squashfs", "ro,nodev,relatime")
    host.mount("/dev/sda1", "/boot/efi", "vfat")
    host.mount("/dev/sda2", "/unlisted", "reiserfs")
    host.mount("/dev/sda3", "/pool", "btrfs", "rw,ssd,subvolid=257,subvol=/@pool")
    host.mount("/dev/sda3", "/home", "btrfs", "rw,ssd,subvolid=258,subvol=/@home")


def disks(host):
    """Lines of 7, 14, 18 and 20 fields, memory and loop devices, and names that begin like them."""
    plain(host)
    host.disks([
        ("ram0", 17), ("ram15", 17), ("ramdisk", 17), ("ram", 11), ("loop0", 17), ("loop12p1", 17), ("sdloop", 17),
        ("hda1", 4), ("sda", 11), ("sdb", 15), ("nvme0n1", 17), ("nvme0n1p1", 17), ("dm-0", 17), ("md127", 11),
        ("zram0", 17), ("mmcblk0boot0", 17), ("cciss!c0d0", 11), ("sr0", 17), ("nbd0", 15),
    ])  # fmt: skip


def cpus_offline(host):
    """Five cpus, of which two are offline; `stat` shows fewer, as a container's own does."""
    plain(host)
    host.stat([0, 1])
    host.write_sys("devices/system/cpu/online", "0-1,4\n")
    host.write_sys("devices/system/cpu/offline", "2-3\n")
    host.write("cpuinfo", "".join(f"processor\t: {cpu}\ncpu MHz\t\t: {mhz}\n\n" for cpu, mhz in ((0, "1200.5"), (1, "2400.000"), (4, "3600.25"))))
    host.cpus, host.frequency = "3", (1200.5 + 2400 + 3600.25) / 3


def cpus_256(host):
    """256 cpus with a policy each."""
    plain(host)
    host.stat(range(256))
    host.write_sys("devices/system/cpu/online", "0-255\n")
    for cpu in range(256):
        host.write_sys(f"devices/system/cpu/cpufreq/policy{cpu}/scaling_cur_freq", f"{1000000 + 1000 * cpu}\n")
    # Without a cpu MHz line, as on ARM.
    host.write("cpuinfo", "".join(f"processor\t: {cpu}\nBogoMIPS\t: 50.00\n\n" for cpu in range(256)))
    host.cpus, host.frequency = "256", 1000 + 255 / 2
    host.write("loadavg", "311.07 298.88 260.01 12/98765 4194303\n")
    host.processes(*range(100, 1100))


def interfaces_500(host):
    """500 interfaces, most of them of containers, with names of every width."""
    plain(host)
    host.interfaces(["lo", "eth0", "eth0.100", "br-0a1b2c3d4e5f", "wg0", "eth0:1"] + [f"veth{at:x}" for at in range(494)])


def no_available(host):
    """A kernel that does not tell MemAvailable, and of which nobody has seen the online cpus."""
    plain(host)
    host.edit("meminfo", r"^MemAvailable:.*\n", "")
    (host.sys / "devices/system/cpu/online").unlink()
    host.stat([0, 1, 2])
    host.cpus = "3"


def pressure(host):
    """A kernel with pressure stall information; the other hosts have none."""
    plain(host)
    for name in ("cpu", "memory", "io"):
        host.write(f"pressure/{name}", "some avg10=1.53 avg60=0.87 avg300=0.73 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")


def hidepid(host):
    """A /proc mounted with hidepid: no process but the reader's own is to be seen, so nothing of the first one."""
    plain(host)
    for pid in ("1", "2", "42"):
        _remove(host.proc / pid)
    host.left_out, host.lacks = ["collector filesystem", "collector network"], ("disk_partition_disk_usage_", "network_io_")


def init_unreadable(host):
    """The first process is there, and its files cannot be read."""
    plain(host)
    for name in ("mounts", "net/dev"):
        (host.proc / "1" / name).unlink()
        (host.proc / "1" / name).mkdir()
    host.left_out, host.lacks = ["collector filesystem", "collector network"], ("disk_partition_disk_usage_", "network_io_")


def _remove(folder):
    for found in sorted(folder.rglob("*"), reverse=True):
        found.rmdir() if found.is_dir() else found.unlink()
    folder.rmdir()


MADE = {
    "no_psi": plain,
    "odd_names": odd_names,
    "options": options,
    "one_over_another": one_over_another,
    "devices": devices,
    "disks": disks,
    "cpus_offline": cpus_offline,
    "cpus_256": cpus_256,
    "interfaces_500": interfaces_500,
    "no_available": no_available,
    "pressure": pressure,
    "hidepid": hidepid,
    "init_unreadable": init_unreadable,
}


def made(name, path):
    host = Host(path, name)
    MADE[name](host)
    return host
