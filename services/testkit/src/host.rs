//! A host that is made up: a folder with `proc`, `sys` and `root` in it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The files of a small host that is in good order, below its folder.
const FILES: [(&str, &str); 46] = [
    (
        "proc/stat",
        "cpu  1000 20 300 9000 40 5 6 7 80 9\ncpu0 500 10 150 4500 20 2 3 3 40 4\ncpu1 500 10 150 4500 20 3 3 4 40 5\n\
         intr 12345 1 2 3\nctxt 67890\nbtime 1700000000\nprocesses 4321\nprocs_running 2\nprocs_blocked 1\nsoftirq 2468 1 2 3\n",
    ),
    ("proc/loadavg", "0.10 0.20 0.30 1/100 4321\n"),
    (
        "proc/meminfo",
        "MemTotal: 1000000 kB\nMemFree: 100000 kB\nMemAvailable: 600000 kB\nBuffers: 1000 kB\nCached: 200000 kB\n\
         Active: 300000 kB\nInactive: 250000 kB\nShmem: 500 kB\nSlab: 40000 kB\nSReclaimable: 30000 kB\n\
         SwapTotal: 50000 kB\nSwapFree: 40000 kB\n",
    ),
    ("proc/vmstat", "nr_free_pages 1\npswpin 11\npswpout 22\n"),
    (
        "proc/diskstats",
        " 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n   7 0 loop0 1 2 3 4 5 6 7 8 9 10 11\n",
    ),
    ("proc/filesystems", "nodev\tsysfs\n\text4\n\txfs\nnodev\ttmpfs\n"),
    ("proc/cpuinfo", "processor\t: 0\ncpu MHz\t\t: 2000.000\nprocessor\t: 1\ncpu MHz\t\t: 3000.000\n"),
    ("proc/zoneinfo", "Node 0, zone Normal\n  pages free 1\n        low      10\n"),
    ("proc/partitions", "major minor  #blocks  name\n\n 254 0 1000 vda\n"),
    ("proc/sys/kernel/osrelease", "6.1.0\n"),
    ("proc/sys/kernel/version", "#1 SMP\n"),
    (
        "proc/1/mounts",
        "/dev/vda / ext4 rw,relatime 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/vdb /data xfs rw 0 0\n",
    ),
    (
        "proc/1/net/dev",
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
         lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36\n",
    ),
    (
        "proc/1/net/netstat",
        "TcpExt: SyncookiesSent ListenDrops PruneCalled\nTcpExt: 1 2 3\nIpExt: InOctets OutOctets\nIpExt: 4 5\n",
    ),
    (
        "proc/1/net/snmp",
        "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn CurrEstab InErrs\nTcp: -1 6 7\nUdp: InErrors\nUdp: 8\n",
    ),
    ("proc/1/net/snmp6", "Ip6InOctets                     \t9\nUdp6NoPorts                     \t10\n"),
    (
        "proc/1/net/sockstat",
        "sockets: used 41\nTCP: inuse 5 orphan 0 tw 7 alloc 5 mem 104\nUDP: inuse 0 mem 1\n",
    ),
    ("proc/1/net/sockstat6", "TCP6: inuse 3\nFRAG6: inuse 0 memory 0\n"),
    (
        "proc/1/net/stat/nf_conntrack",
        "entries clashres found invalid insert\n000000aa 00000000 00000001 00000002 00000003\n\
         000000aa 00000000 00000010 00000020 00000030\n",
    ),
    ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
    ("proc/sys/fs/file-nr", "735\t0\t2466186\n"),
    ("proc/sys/kernel/random/entropy_avail", "256\n"),
    ("proc/sys/kernel/random/poolsize", "256\n"),
    ("proc/pressure/cpu", "some avg10=1.53 avg60=0.87 avg300=0.73 total=1234567\n"),
    ("proc/pressure/io", "some avg10=0 total=2000000\nfull avg10=0 total=1000000\n"),
    ("proc/pressure/memory", "some avg10=0 total=0\nfull avg10=0 total=0\n"),
    ("sys/class/net/eth0/address", "02:fc:00:00:00:01\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/flags", "0x1003\n"),
    ("sys/class/net/eth0/mtu", "1500\n"),
    ("sys/class/net/eth0/speed", "-1\n"),
    ("sys/class/net/eth0/statistics/rx_nohandler", "3\n"),
    ("sys/class/hwmon/hwmon0/name", "coretemp\n"),
    ("sys/class/hwmon/hwmon0/temp1_input", "42000\n"),
    ("sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n"),
    ("sys/class/hwmon/hwmon0/fan1_input", "1200\n"),
    ("sys/class/thermal/thermal_zone0/type", "acpitz\n"),
    ("sys/class/thermal/thermal_zone0/temp", "27800\n"),
    ("sys/class/thermal/cooling_device0/type", "Processor\n"),
    ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
    ("sys/class/thermal/cooling_device0/max_state", "10\n"),
    ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet \n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("root/run/udev/data/b254:0", "S:disk/x\nE:ID_MODEL=Made up\nE:ID_FS_TYPE=ext4\n"),
    ("sys/devices/system/cpu/online", "0-1\n"),
    ("root/etc/os-release", "ID=debian\n"),
];

/// A made-up host; its folder is removed with it.
#[derive(Debug)]
pub struct MadeUpHost {
    folder: TempDir,
}

impl MadeUpHost {
    /// A small host in good order: 2 cpus, 2 interfaces, 1 disk, 2 partitions, 3 processes.
    ///
    /// # Panics
    /// The folder cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let host = Self { folder: TempDir::new().expect("a temporary folder") };
        for (file, text) in FILES {
            host.write(file, text.as_bytes());
        }
        for folder in ["proc/1", "proc/2", "proc/30", "root/data"] {
            std::fs::create_dir_all(host.path(folder)).expect("a folder of the made-up host");
        }
        host
    }

    /// The files that such a host has.
    pub fn files() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(file, _)| *file)
    }

    /// What the file holds at first.
    #[must_use]
    pub fn at_first(file: &str) -> &'static str {
        FILES.iter().find(|(name, _)| *name == file).map_or("", |(_, text)| text)
    }

    /// The place of a file or folder of the host, `proc/stat` say.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a file of the host.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, file: &str, content: &[u8]) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
            .expect("a folder of the made-up host");
        std::fs::write(path, content).expect("a file of the made-up host");
    }

    /// Removes a file of the host.
    ///
    /// # Panics
    /// It cannot be removed.
    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.path(file)).expect("a file of the made-up host");
    }
}

impl Default for MadeUpHost {
    fn default() -> Self {
        Self::new()
    }
}
