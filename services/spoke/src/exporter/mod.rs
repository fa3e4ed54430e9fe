//! `/metrics` as node_exporter 1.5 has it: one file a collector, the file named as the collector.
//!
//! A collector reads what it needs through [`Files`], whose rounds are the page's own, parses it purely, and writes
//! its families. One that fails takes back what it wrote; its success is 0, and the rest of the page is served. What
//! the host does not have at all (no sensors, say) is no fault: the success is 0 as node_exporter's is, and nobody
//! is told of it.
//!
//! To add a collector, add its file and a line to [`COLLECTORS`], and its families to `docs/metrics.md`.

mod attribute;
mod conntrack;
mod cpu;
mod cpufreq;
mod diskstats;
mod entropy;
mod filefd;
mod filesystem;
mod hwmon;
mod loadavg;
mod meminfo;
mod names;
mod netclass;
mod netdev;
mod netstat;
pub(crate) mod os;
mod page;
pub(crate) mod pressure;
mod settings;
mod sockstat;
mod stat;
mod thermal_zone;
mod time;
mod timex;
mod udev;
mod uname;
mod vmstat;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::collect::{Askers, why};
use crate::files::Files;
use crate::host::{HostError, HostRoot};
use attribute::Keeper;
use page::Kind;
pub(crate) use page::{Format, Page};
pub(crate) use settings::Settings;
pub(crate) use settings::{keys, no_collector};

/// Why a collector has nothing to say.
#[derive(Debug)]
enum Nothing {
    /// The host has nothing of the kind.
    Absent,
    /// It cannot be read.
    Failed(HostError),
}

impl From<HostError> for Nothing {
    fn from(error: HostError) -> Self {
        Self::Failed(error)
    }
}

/// Where a missing file means that the host has nothing of the kind.
fn absent_if_missing<T>(result: Result<T, HostError>) -> Result<T, Nothing> {
    result.map_err(|error| if error.is_not_found() { Nothing::Absent } else { Nothing::Failed(error) })
}

type Done = Result<(), Nothing>;

/// What a collector works with.
struct Round<'a> {
    files: &'a Files,
    settings: &'a Settings,
    askers: &'a Askers,
    /// The host's name as the spoke knows it.
    hostname: &'a str,
    known: &'a mut Known,
    page: &'a mut Page,
}

/// What collectors keep from one round to the next.
#[derive(Debug, Default)]
struct Known {
    keeper: Keeper,
    cpu: cpu::Known,
    cpufreq: cpufreq::Known,
    disks: diskstats::Known,
    filesystem: filesystem::Known,
    hwmon: hwmon::Known,
    interfaces: names::Names,
    netclass: netclass::Known,
    netstat: names::Names,
    os: os::Known,
    thermal_zone: thermal_zone::Known,
    time: time::Known,
    vmstat: names::Names,
}

struct Collector {
    /// Of its file, in configuration and in metrics; node_exporter's.
    name: &'static str,
    collect: fn(&mut Round<'_>) -> Done,
}

/// All collectors, in the order of the page.
const COLLECTORS: [Collector; 22] = [
    Collector { name: "conntrack", collect: conntrack::collect },
    Collector { name: "cpu", collect: cpu::collect },
    Collector { name: "cpufreq", collect: cpufreq::collect },
    Collector { name: "diskstats", collect: diskstats::collect },
    Collector { name: "entropy", collect: entropy::collect },
    Collector { name: "filefd", collect: filefd::collect },
    Collector { name: "filesystem", collect: filesystem::collect },
    Collector { name: "hwmon", collect: hwmon::collect },
    Collector { name: "loadavg", collect: loadavg::collect },
    Collector { name: "meminfo", collect: meminfo::collect },
    Collector { name: "netclass", collect: netclass::collect },
    Collector { name: "netdev", collect: netdev::collect },
    Collector { name: "netstat", collect: netstat::collect },
    Collector { name: "os", collect: os::collect },
    Collector { name: "pressure", collect: pressure::collect },
    Collector { name: "sockstat", collect: sockstat::collect },
    Collector { name: "stat", collect: stat::collect },
    Collector { name: "thermal_zone", collect: thermal_zone::collect },
    Collector { name: "time", collect: time::collect },
    Collector { name: "timex", collect: timex::collect },
    Collector { name: "uname", collect: uname::collect },
    Collector { name: "vmstat", collect: vmstat::collect },
];

/// The names of all collectors.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COLLECTORS.iter().map(|collector| collector.name)
}

/// How a collector fared.
struct Reading {
    name: &'static str,
    success: bool,
    duration: Duration,
    /// Since it last succeeded; none where it never did.
    age: Option<Duration>,
}

impl Known {
    /// Forgets what other settings chose, descriptors of collectors that run no more among it. What was told stays:
    /// a counter does not run backwards since something else was configured.
    fn forget_choices(&mut self) {
        let Self { keeper, cpu, .. } = std::mem::take(self);
        *self = Self { keeper, cpu: cpu.told(), ..Self::default() };
    }
}

/// Writes pages of the host's metrics.
#[derive(Debug)]
pub(crate) struct Exporter {
    /// In force from the next page on. A lock of its own: who changes them does not wait for a host that hangs.
    settings: Mutex<Arc<Settings>>,
    askers: Arc<Askers>,
    work: Mutex<Work>,
}

/// What writing a page needs, kept from one to the next.
#[derive(Debug)]
struct Work {
    files: Files,
    /// What `known` follows from.
    settings: Arc<Settings>,
    known: Known,
    succeeded: BTreeMap<&'static str, Instant>,
    /// How long the last page was.
    bytes: usize,
}

impl Exporter {
    pub(crate) fn new(root: &HostRoot, settings: &Settings, askers: Arc<Askers>) -> Self {
        let files = Files::new(root);
        let known = Known { keeper: Keeper::new(files.sys_is_kernels()), ..Known::default() };
        let settings = Arc::new(settings.clone());
        let work =
            Work { files, settings: Arc::clone(&settings), known, succeeded: BTreeMap::new(), bytes: 0 };
        Self { settings: Mutex::new(settings), askers, work: Mutex::new(work) }
    }

    /// These settings are in force from the next page on.
    pub(crate) fn take_settings(&self, settings: &Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings.clone());
    }

    /// Runs the collectors that are switched on, and of these only `wanted` where it names any.
    pub(crate) fn page(&self, format: Format, wanted: &[String], hostname: &str) -> Page {
        // What a holder that panicked left is read anew.
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Work { files, settings, known, succeeded, bytes } = &mut *work;
        let in_force = Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner));
        if !Arc::ptr_eq(settings, &in_force) {
            known.forget_choices();
            *settings = in_force;
        }
        files.next_round();
        let mut page = Page::new(format, settings.most_series, *bytes + 4096);
        let mut readings = Vec::with_capacity(COLLECTORS.len());
        for Collector { name, collect } in &COLLECTORS {
            let asked = wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
            if !asked || !settings.runs(name) {
                continue;
            }
            let (started, place) = (Instant::now(), page.place());
            let result = collect(&mut Round {
                files,
                settings,
                askers: &self.askers,
                hostname,
                known,
                page: &mut page,
            });
            if result.is_ok() {
                succeeded.insert(name, started);
            } else {
                page.back_to(place);
            }
            if let Err(Nothing::Failed(error)) = &result {
                page.leave_out(format!("collector {name}"), why(error));
            }
            let age = succeeded.get(name).map(Instant::elapsed);
            readings.push(Reading { name, success: result.is_ok(), duration: started.elapsed(), age });
        }
        tell(&readings, &mut page);
        *bytes = page.place();
        page
    }
}

fn tell(readings: &[Reading], page: &mut Page) {
    let (name, help) = ("node_scrape_collector_duration_seconds", "How long the collector took.");
    let mut family = page.family(name, Kind::Gauge, help);
    for reading in readings {
        family.add(&[("collector", reading.name)], reading.duration.as_secs_f64());
    }
    drop(family);
    let (name, help) = ("node_scrape_collector_success", "Whether the collector succeeded.");
    let mut family = page.family(name, Kind::Gauge, help);
    for reading in readings {
        family.add(&[("collector", reading.name)], reading.success);
    }
    drop(family);
    let name = "pattoo_spoke_metrics_collector_age_seconds";
    let help = "Seconds since the collector last succeeded; it is missing where it never did.";
    let mut family = page.family(name, Kind::Gauge, help);
    for reading in readings {
        if let Some(age) = reading.age {
            family.add(&[("collector", reading.name)], age.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests;
