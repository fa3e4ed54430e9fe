//! For `services/fuzz` alone: what of the crate reads the host's files, without the program around it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use agent::clock::Clock;
use agent::post::Datapoint;

use crate::cgroup;
use crate::collect::filesystem::{Mount, seen_alike};
use crate::collect::{Askers, Exclude, Host, cpu};
use crate::exporter::{Exporter, Format};
use crate::host::HostRoot;
use crate::settings::Settings;

/// Both readers of a host, with what they keep from round to round.
#[derive(Debug)]
pub struct Readers {
    host: Host,
    exporter: Exporter,
}

impl Readers {
    /// Readers that have read nothing yet.
    pub fn new(root: &HostRoot, settings: &Settings) -> Self {
        let askers = Arc::<Askers>::default();
        Self {
            host: Host::new(root, Arc::clone(&askers)),
            exporter: Exporter::new(root, &settings.exporter, askers),
        }
    }

    /// The page of these collectors, in Prometheus' text form or in OpenMetrics.
    pub fn page(&self, open_metrics: bool, collectors: &[String]) -> String {
        let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
        self.exporter.page(format, collectors, "made-up.example.com").finish("")
    }

    /// The datapoints of these families, with percentages over the time since `before`.
    pub fn datapoints(&mut self, families: &[&str], before: Option<&cpu::Times>) -> Vec<Datapoint> {
        self.host.collect_only(families, &Exclude::default(), before, Clock::system()).datapoints
    }

    /// The cpus' times now.
    pub fn times(&mut self) -> Option<cpu::Times> {
        self.host.files.next_round();
        cpu::read_times(&self.host.files).ok()
    }
}

/// Device, mount point, type and options of a line of `mounts`, without escapes.
pub fn mount(line: &[u8]) -> Option<[Vec<u8>; 4]> {
    Mount::parse(line).map(|mount| [mount.device, mount.point, mount.fstype, mount.options])
}

/// The mount points of one mountinfo that the other has below `root`.
pub fn mounts_seen_alike(theirs: &[u8], ours: &[u8], root: &Path) -> HashSet<Vec<u8>> {
    seen_alike(theirs, ours, root)
}

/// Looks for the own control groups in a `cgroup` and a mountinfo.
pub fn find_groups(groups: &[u8], mountinfo: &[u8]) {
    cgroup::find(groups, mountinfo);
}
