//! Which series there are, and from which keys of a post they come.

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 100.
    Percent,
    /// A plain number.
    Number,
    /// Bytes in a second.
    BytesPerSecond,
    /// Events in a second.
    PerSecond,
}

impl Unit {
    /// The unit as one word of the API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Percent => "percent",
            Self::Number => "number",
            Self::BytesPerSecond => "bytes_per_second",
            Self::PerSecond => "per_second",
        }
    }
}

/// A series that every host has.
#[derive(Clone, Copy, Debug)]
pub struct Headline {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
}

const fn headline(name: &'static str, unit: Unit) -> Headline {
    Headline { name, unit }
}

pub(crate) const CPU: usize = 0;
pub(crate) const IOWAIT: usize = 1;
pub(crate) const LOAD: usize = 2;
pub(crate) const MEMORY: usize = 3;
pub(crate) const SWAP: usize = 4;
pub(crate) const PARTITION: usize = 5;
pub(crate) const DISK_READ: usize = 6;
pub(crate) const DISK_WRITE: usize = 7;
pub(crate) const DISK_BUSY: usize = 8;
pub(crate) const RECEIVED: usize = 9;
pub(crate) const SENT: usize = 10;
pub(crate) const NETWORK_ERRORS: usize = 11;

/// The series that every host has, in the order of a row's first columns.
pub const HEADLINE: [Headline; 12] = [
    headline("cpu_used_percent", Unit::Percent),
    headline("cpu_iowait_percent", Unit::Percent),
    headline("load_1m", Unit::Number),
    headline("memory_used_percent", Unit::Percent),
    headline("swap_used_percent", Unit::Percent),
    headline("fullest_partition_percent", Unit::Percent),
    headline("disk_read_bytes", Unit::BytesPerSecond),
    headline("disk_written_bytes", Unit::BytesPerSecond),
    headline("disk_busy_percent", Unit::Percent),
    headline("network_received_bytes", Unit::BytesPerSecond),
    headline("network_sent_bytes", Unit::BytesPerSecond),
    headline("network_errors", Unit::PerSecond),
];

/// The columns of which a short line is kept in memory.
pub const SPARKS: [usize; 5] = [CPU, MEMORY, PARTITION, RECEIVED, SENT];

/// The name of the series of one partition.
pub(crate) const OF_PARTITION: &str = "partition_used_percent";

/// A series, as the API names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its name: one of [`HEADLINE`], `partition_used_percent`, or a key of the posts.
    pub name: String,
    /// Which partition, disk or interface; empty where there is only one.
    pub instance: String,
    /// What it counts.
    pub unit: Unit,
}

/// What a datapoint of a post is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Share of the time that the processors had nothing to do.
    Idle,
    /// Share of the time that they waited for a disk.
    Iowait,
    /// Load over one minute.
    Load,
    /// Memory in use.
    Memory,
    /// Swap in use.
    Swap,
    /// How full a partition is.
    Partition,
    /// Bytes read from a disk, a counter.
    DiskRead,
    /// Bytes written to a disk, a counter.
    DiskWrite,
    /// Milliseconds that a disk was busy, a counter.
    DiskBusy,
    /// Bytes that an interface received, a counter.
    Received,
    /// Bytes that it sent, a counter.
    Sent,
    /// Errors and drops of an interface, counters.
    NetworkErrors,
    /// Another key that is wanted: an amount.
    OtherAmount,
    /// Another key that is wanted: a counter.
    OtherCounter,
}

impl Source {
    pub(crate) fn is_counter(self) -> bool {
        matches!(
            self,
            Self::DiskRead
                | Self::DiskWrite
                | Self::DiskBusy
                | Self::Received
                | Self::Sent
                | Self::NetworkErrors
                | Self::OtherCounter
        )
    }

    pub(crate) fn is_disk(self) -> bool {
        matches!(self, Self::DiskRead | Self::DiskWrite | Self::DiskBusy)
    }

    pub(crate) fn is_network(self) -> bool {
        matches!(self, Self::Received | Self::Sent | Self::NetworkErrors)
    }
}

/// What a headline series needs this key of a post for, if any does.
pub fn wanted(key: &str) -> Option<Source> {
    Some(match key {
        "cpu_times_percent_idle" => Source::Idle,
        "cpu_times_percent_iowait" => Source::Iowait,
        "load_average_01min" => Source::Load,
        "memory_percent" => Source::Memory,
        "swap_memory_percent" => Source::Swap,
        "disk_partition_disk_usage_percent" => Source::Partition,
        "disk_io_read_bytes" => Source::DiskRead,
        "disk_io_write_bytes" => Source::DiskWrite,
        "disk_io_busy_time" => Source::DiskBusy,
        "network_io_bytes_recv" => Source::Received,
        "network_io_bytes_sent" => Source::Sent,
        "network_io_errin" | "network_io_errout" | "network_io_dropin" | "network_io_dropout" => {
            Source::NetworkErrors
        }
        _ => return None,
    })
}

/// Whether what an interface carries is carried by no other one as well: the loopback, bridges, bonds, VLANs and the
/// ends of containers' pairs would count bytes a second time.
pub(crate) fn interface_counts(name: &str) -> bool {
    const OTHERS: [&str; 17] = [
        "veth", "docker", "br", "virbr", "vnet", "cni", "flannel", "cali", "cilium", "lxc", "tunl", "ifb",
        "dummy", "bond", "team", "kube-", "nerdctl",
    ];
    name != "lo" && !name.contains('.') && !OTHERS.iter().any(|other| name.starts_with(other))
}

/// Whether a disk is one, and no partition or device over other ones, whose bytes would count a second time.
pub(crate) fn disk_counts(name: &str, mut is_there: impl FnMut(&str) -> bool) -> bool {
    if ["dm-", "md", "zram", "loop", "ram", "sr", "fd"].iter().any(|other| name.starts_with(other)) {
        return false;
    }
    let whole = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if whole.len() == name.len() || whole.is_empty() {
        return true;
    }
    // sda1 is a part of sda, nvme0n1p1 of nvme0n1.
    let before_p = whole.strip_suffix('p').filter(|rest| rest.ends_with(|end: char| end.is_ascii_digit()));
    !is_there(before_p.unwrap_or(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_another_does_not_count_twice() {
        let disks = ["sda", "sda1", "nvme0n1", "nvme0n1p2", "vdb1", "dm-0", "md127", "mmcblk0", "mmcblk0p1"];
        let counting: Vec<_> =
            disks.into_iter().filter(|disk| disk_counts(disk, |whole| disks.contains(&whole))).collect();
        assert_eq!(counting, ["sda", "nvme0n1", "vdb1", "mmcblk0"]);
        let interfaces = ["lo", "eth0", "eth0.100", "bond0", "br-1a", "veth12", "enp3s0", "wlan0", "docker0"];
        let counting: Vec<_> = interfaces.into_iter().filter(|name| interface_counts(name)).collect();
        assert_eq!(counting, ["eth0", "enp3s0", "wlan0"]);
    }
}
