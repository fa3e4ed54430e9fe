//! Each cpu's time by mode, from `<proc>/stat`, and how often cpus were slowed down for heat, from sysfs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use super::attribute::{Attribute, Keeper, Slowly, entries, number, numbered};
use super::page::{Kind, Page};
use super::{Done, Round};
use crate::collect::text;

const FILE: &str = "stat";

/// The modes, in the kernel's order; the last two are contained in the first two.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST: [&str; 2] = ["user", "nice"];
const IDLE: usize = 3;

/// A jump back of idle by so many seconds is no inaccuracy: the cpu was taken out and put back.
const JUMP_S: f64 = 3.0;

/// Ticks since boot in each mode.
type Ticks = [u64; MODES.len() + GUEST.len()];

#[derive(Debug, Default)]
pub(super) struct Known {
    shown: BTreeMap<u64, Ticks>,
    throttles: Slowly<Throttles>,
}

impl Known {
    /// What was told, without the files that are kept.
    pub(super) fn told(self) -> Self {
        Self { shown: self.shown, ..Self::default() }
    }
}

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, .. } = round;
    let now = parse(&files.proc(FILE)?);
    if now.is_empty() {
        return Err(files.host().lacks(FILE, "line of a cpu").into());
    }
    let hertz = ticks_a_second();
    known.cpu.shown = forward(&known.cpu.shown, now, hertz);
    write(&known.cpu.shown, hertz, page);

    let isolated = files.sys("devices/system/cpu/isolated").unwrap_or_default();
    let mut family = page.family(
        "node_cpu_isolated",
        Kind::Gauge,
        "Whether the cpu is kept free of the scheduler's work.",
    );
    for cpu in ranges(&isolated) {
        family.add(&[("cpu", &cpu.to_string())], 1_u64);
    }
    drop(family);
    let folder = files.host().sys.join("devices/system/cpu");
    let find = || Ok::<_, Infallible>(Throttles::find(&folder, &known.keeper));
    let Ok(throttles) = known.cpu.throttles.get(known.keeper.kernels, find);
    throttles.write(&known.keeper, page);
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a hundred")]
fn ticks_a_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

fn parse(bytes: &[u8]) -> BTreeMap<u64, Ticks> {
    let cpu = |line| {
        let (name, rest) = text::first_word(line)?;
        let number = text::number(name.strip_prefix(b"cpu")?)?;
        // Old kernels know fewer modes.
        text::numbers(rest).filter(|(_, count)| *count >= 4).map(|(ticks, _)| (number, ticks))
    };
    text::lines(bytes).filter_map(cpu).collect()
}

/// Times that never run backwards, which iowait and others do in the kernel: Prometheus would take that for a
/// new start and count everything once more.
#[allow(clippy::cast_precision_loss, reason = "ticks are far below 2 to the 53rd")]
fn forward(shown: &BTreeMap<u64, Ticks>, mut now: BTreeMap<u64, Ticks>, hertz: f64) -> BTreeMap<u64, Ticks> {
    for (cpu, ticks) in &mut now {
        let Some(before) = shown.get(cpu) else { continue };
        let back = before.get(IDLE).zip(ticks.get(IDLE)).map_or(0, |(then, now)| then.saturating_sub(*now));
        if back as f64 / hertz >= JUMP_S {
            continue;
        }
        for (now, then) in ticks.iter_mut().zip(before) {
            *now = (*now).max(*then);
        }
    }
    now
}

#[allow(clippy::cast_precision_loss, reason = "ticks are far below 2 to the 53rd")]
fn write(cpus: &BTreeMap<u64, Ticks>, hertz: f64, page: &mut Page) {
    let cpus: Vec<_> = cpus.iter().map(|(cpu, ticks)| (cpu.to_string(), ticks)).collect();
    let mut family =
        page.family("node_cpu_seconds_total", Kind::Counter, "Seconds the cpus spent in each mode.");
    for (cpu, ticks) in &cpus {
        for (mode, ticks) in MODES.into_iter().zip(*ticks) {
            family.add(&[("cpu", cpu), ("mode", mode)], *ticks as f64 / hertz);
        }
    }
    drop(family);
    let help = "Seconds the cpus spent in guests (virtual machines) in each mode.";
    let mut family = page.family("node_cpu_guest_seconds_total", Kind::Counter, help);
    for (cpu, ticks) in &cpus {
        for (mode, ticks) in GUEST.into_iter().zip(ticks.iter().skip(MODES.len())) {
            family.add(&[("cpu", cpu), ("mode", mode)], *ticks as f64 / hertz);
        }
    }
}

/// The numbers of a list such as `0-3,6`. What is no such list names none.
fn ranges(list: &[u8]) -> impl Iterator<Item = u64> + '_ {
    /// No machine has more; a list that says so is not one of cpus.
    const MOST: u64 = 65_536;
    let range = |part: &[u8]| {
        let (first, last) = match part.iter().position(|byte| *byte == b'-') {
            Some(at) => part.split_at(at),
            None => (part, part),
        };
        let last = last.strip_prefix(b"-").unwrap_or(last);
        Some(text::number(first)?..=text::number(last).filter(|last| *last < MOST)?)
    };
    list.trim_ascii().split(|byte| *byte == b',').filter_map(range).flatten()
}

/// Where the kernel counts throttling: for each core, and for each package, once.
#[derive(Debug, Default)]
struct Throttles {
    cores: BTreeMap<(i64, i64), Attribute>,
    packages: BTreeMap<i64, Attribute>,
}

impl Throttles {
    fn find(folder: &Path, keeper: &Keeper) -> Self {
        let mut found = Self::default();
        for cpu in numbered(&entries(folder).unwrap_or_default(), b"cpu") {
            let cpu = folder.join(format!("cpu{cpu}"));
            let file = |name: &str| number(std::fs::read(cpu.join(name)).ok()?.trim_ascii());
            let package = file("topology/physical_package_id");
            let (Some(package), Some(core)) = (package, file("topology/core_id")) else { continue };
            let counted = |name: &str| {
                let mut attribute = Attribute::new(cpu.join("thermal_throttle").join(name));
                attribute.read(keeper).map(|_| attribute)
            };
            if !found.cores.contains_key(&(package, core))
                && let Some(attribute) = counted("core_throttle_count")
            {
                found.cores.insert((package, core), attribute);
            }
            if !found.packages.contains_key(&package)
                && let Some(attribute) = counted("package_throttle_count")
            {
                found.packages.insert(package, attribute);
            }
        }
        found
    }

    fn write(&mut self, keeper: &Keeper, page: &mut Page) {
        let help = "How often the core was slowed down for its heat.";
        let mut family = page.family("node_cpu_core_throttles_total", Kind::Counter, help);
        for ((package, core), attribute) in &mut self.cores {
            if let Some(count) = attribute.number(keeper) {
                family.add(&[("package", &package.to_string()), ("core", &core.to_string())], count);
            }
        }
        drop(family);
        let help = "How often the package was slowed down for its heat.";
        let mut family = page.family("node_cpu_package_throttles_total", Kind::Counter, help);
        for (package, attribute) in &mut self.packages {
            if let Some(count) = attribute.number(keeper) {
                family.add(&[("package", &package.to_string())], count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_single_cpus_are_read() {
        let text =
            b"cpu  9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu12 1 2 3 4\ncpux 1 2 3 4\ncpu3 1 2\nintr 1\n";
        let found = parse(text);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 12]);
        assert_eq!(found[&0], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(found[&12], [1, 2, 3, 4, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn nothing_runs_backwards_but_for_a_cpu_that_was_put_back() {
        let ticks = |idle, iowait| BTreeMap::from([(0, [1, 1, 1, idle, iowait, 0, 0, 0, 0, 0])]);
        assert_eq!(forward(&ticks(1000, 50), ticks(900, 60), 100.0), ticks(1000, 60));
        assert_eq!(forward(&ticks(1000, 50), ticks(10, 5), 100.0), ticks(10, 5));
        assert_eq!(forward(&BTreeMap::new(), ticks(10, 5), 100.0), ticks(10, 5));
        assert_eq!(forward(&ticks(1, 1), BTreeMap::new(), 100.0), BTreeMap::new(), "a cpu that is gone");
    }

    #[test]
    fn a_list_of_cpus_is_read() {
        let cpus = |list: &str| ranges(list.as_bytes()).collect::<Vec<_>>();
        assert_eq!(cpus("0-2,6\n"), [0, 1, 2, 6]);
        assert_eq!(
            (cpus("\n"), cpus("x-3"), cpus("3-1"), cpus("0-99999999999")),
            (vec![], vec![], vec![], vec![])
        );
    }
}
