//! What of `/metrics` can be configured, in section `pattoo_agent_os_spoked`.

use agent::config::keys::{Key, Kind, nearest};
use agent::config::{ConfigError, Configuration};
use regex_lite::Regex;
use serde::Deserialize;

/// What node_exporter 1.5 leaves out if it is not told otherwise. It gives no interface away.
const MOUNT_POINTS: &str =
    r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";
const TYPES: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|\
    nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs)$";
const DISKS: &str = r"^(ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";

const MOST_SERIES: usize = 5000;

/// The keys.
pub(crate) mod keys {
    use super::{Key, Kind};

    pub(crate) const OFF: Key = Key::new(
        "metrics_off",
        Kind::Text,
        "collectors that `/metrics` does not run, with commas between, or `all` (none)",
    );
    pub(crate) const PARTITION_EXCLUDE: Key = Key::new(
        "metrics_partition_exclude",
        Kind::Text,
        "regular expression; mount points in which it is found are not in `/metrics` (node_exporter's)",
    );
    pub(crate) const FSTYPE_EXCLUDE: Key = Key::new(
        "metrics_fstype_exclude",
        Kind::Text,
        "regular expression; file systems in whose type it is found are not in `/metrics` (node_exporter's)",
    );
    pub(crate) const DISK_EXCLUDE: Key = Key::new(
        "metrics_disk_exclude",
        Kind::Text,
        "regular expression; disks in whose name it is found are not in `/metrics` (node_exporter's)",
    );
    pub(crate) const NETWORK_EXCLUDE: Key = Key::new(
        "metrics_network_exclude",
        Kind::Text,
        "regular expression; interfaces in whose name it is found are not in `/metrics` (none)",
    );
    pub(crate) const MAX_SERIES: Key =
        Key::new("metrics_max_series", Kind::Integer, "series of one family in `/metrics` at most (`5000`)");
}

/// The keys as they are written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    metrics_off: Option<String>,
    metrics_partition_exclude: Option<String>,
    metrics_fstype_exclude: Option<String>,
    metrics_disk_exclude: Option<String>,
    metrics_network_exclude: Option<String>,
    metrics_max_series: Option<usize>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) off: Vec<&'static str>,
    pub(super) partitions: Filter,
    pub(super) types: Filter,
    pub(super) disks: Filter,
    pub(super) interfaces: Filter,
    pub(super) most_series: usize,
}

/// A regular expression that is found anywhere in a name, as node_exporter's are.
#[derive(Clone, Debug)]
pub(super) struct Filter(Option<Regex>);

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().map(Regex::as_str) == other.0.as_ref().map(Regex::as_str)
    }
}

impl Eq for Filter {}

impl Filter {
    pub(super) fn new(written: &str) -> Result<Self, regex_lite::Error> {
        // Everything would match an empty one; whoever writes it means nothing.
        Ok(Self(if written.is_empty() { None } else { Some(Regex::new(written)?) }))
    }

    pub(super) fn leaves_out(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(name))
    }

    fn written(&self) -> &str {
        self.0.as_ref().map_or("none", Regex::as_str)
    }
}

impl Settings {
    pub(crate) fn read(configuration: &Configuration) -> Result<Self, ConfigError> {
        let written: Written = configuration.own()?;
        let filter = |key: &str, written: &Option<String>, default: &str| {
            let fault = |error| configuration.fault(key, format!("not a regular expression: {error}"));
            Filter::new(written.as_deref().unwrap_or(default)).map_err(fault)
        };
        let most_series = written.metrics_max_series.unwrap_or(MOST_SERIES);
        if most_series == 0 {
            return Err(configuration.fault("metrics_max_series", "at least 1 is expected"));
        }
        let fault = |name: &str| configuration.fault("metrics_off", no_collector(name));
        Ok(Self {
            off: off(written.metrics_off.as_deref().unwrap_or_default()).map_err(fault)?,
            partitions: filter(
                "metrics_partition_exclude",
                &written.metrics_partition_exclude,
                MOUNT_POINTS,
            )?,
            types: filter("metrics_fstype_exclude", &written.metrics_fstype_exclude, TYPES)?,
            disks: filter("metrics_disk_exclude", &written.metrics_disk_exclude, DISKS)?,
            interfaces: filter("metrics_network_exclude", &written.metrics_network_exclude, "")?,
            most_series,
        })
    }

    /// Whether the collector of that name is switched on.
    pub(crate) fn runs(&self, name: &str) -> bool {
        !self.off.contains(&name)
    }

    /// Each key, and whether it says something else in `other`.
    pub(crate) fn differences(&self, other: &Self) -> [(&'static str, bool); 6] {
        [
            ("metrics_off", self.off != other.off),
            ("metrics_partition_exclude", self.partitions != other.partitions),
            ("metrics_fstype_exclude", self.types != other.types),
            ("metrics_disk_exclude", self.disks != other.disks),
            ("metrics_network_exclude", self.interfaces != other.interfaces),
            ("metrics_max_series", self.most_series != other.most_series),
        ]
    }

    /// What `--check` prints of them.
    pub(crate) fn describe(&self) -> [(&'static str, String); 6] {
        let off = if self.off.is_empty() { "none".to_owned() } else { self.off.join(", ") };
        [
            ("metrics_off", off),
            ("metrics_partition_exclude", self.partitions.written().to_owned()),
            ("metrics_fstype_exclude", self.types.written().to_owned()),
            ("metrics_disk_exclude", self.disks.written().to_owned()),
            ("metrics_network_exclude", self.interfaces.written().to_owned()),
            ("metrics_max_series", self.most_series.to_string()),
        ]
    }
}

/// The collectors of a list such as `hwmon, netclass`, or the word that names none.
fn off(list: &str) -> Result<Vec<&'static str>, &str> {
    let words = list.split([',', ' ']).filter(|word| !word.is_empty());
    let mut found = Vec::new();
    for word in words {
        if word == "all" {
            found.extend(super::names());
        } else {
            found.push(super::names().find(|name| *name == word).ok_or(word)?);
        }
    }
    Ok(found)
}

/// That there is no such collector, with the one that is meant.
pub(crate) fn no_collector(name: &str) -> String {
    let known = super::names().collect::<Vec<_>>().join(", ");
    let meant =
        nearest(name, super::names()).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    format!("{name:?} is none of the collectors {known}{meant}")
}

#[cfg(test)]
impl Default for Settings {
    fn default() -> Self {
        let filter = |written| Filter::new(written).unwrap();
        Self {
            off: Vec::new(),
            partitions: filter(MOUNT_POINTS),
            types: filter(TYPES),
            disks: filter(DISKS),
            interfaces: filter(""),
            most_series: MOST_SERIES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_collectors() {
        assert_eq!(off(""), Ok(vec![]));
        assert_eq!(off(" hwmon,cpu stat "), Ok(vec!["hwmon", "cpu", "stat"]));
        assert_eq!(off("all").unwrap().len(), super::super::names().count());
        assert_eq!(off("cpu, hwmn"), Err("hwmn"));
        assert!(no_collector("hwmn").contains("did you mean hwmon?"), "{}", no_collector("hwmn"));
    }

    #[test]
    fn the_defaults_leave_out_what_node_exporter_leaves_out() {
        let settings = Settings::default();
        let out = |filter: &Filter, names: &[&str]| names.iter().all(|name| filter.leaves_out(name));
        let kept = |filter: &Filter, names: &[&str]| !names.iter().any(|name| filter.leaves_out(name));
        assert!(out(
            &settings.partitions,
            &["/dev", "/dev/shm", "/proc", "/sys/fs/cgroup", "/var/lib/docker/overlay2/x"]
        ));
        assert!(kept(
            &settings.partitions,
            &["/", "/device", "/var/lib/docker", "/run", "/run/lock", "/srv/dev"]
        ));
        assert!(out(&settings.types, &["overlay", "cgroup", "cgroup2", "squashfs"]));
        assert!(kept(&settings.types, &["ext4", "tmpfs", "nfs4", "overlayfs"]));
        assert!(out(&settings.disks, &["ram0", "loop12", "sda1", "xvda1", "nvme0n1p2", "fd0"]));
        assert!(kept(&settings.disks, &["sda", "nvme0n1", "dm-0", "md127", "zram0", "mmcblk0p1"]));
        assert!(kept(&settings.interfaces, &["lo", "veth1", ""]));
    }
}
