//! Which disks and interfaces count where those of a host are added up: none whose bytes another one has as well.

/// Whether what an interface carries is carried by no other one as well: the loopback, bridges, bonds, VLANs and the
/// ends of containers' pairs would count bytes a second time.
pub fn interface_counts(name: &str) -> bool {
    const OTHERS: [&str; 17] = [
        "veth", "docker", "br", "virbr", "vnet", "cni", "flannel", "cali", "cilium", "lxc", "tunl", "ifb",
        "dummy", "bond", "team", "kube-", "nerdctl",
    ];
    name != "lo" && !name.contains('.') && !OTHERS.iter().any(|other| name.starts_with(other))
}

/// Whether a disk is one, and no partition or device over other ones, whose bytes would count a second time. `is_there`
/// says whether there is a disk of that name.
pub fn disk_counts(name: &str, is_there: impl FnOnce(&str) -> bool) -> bool {
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
