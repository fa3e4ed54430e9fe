//! The mean frequency of the cpus in MHz, from `<sys>/devices/system/cpu` and `<proc>/cpuinfo`, as psutil
//! works it out. A host that has neither, as most virtual ones of other architectures, sends none.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent::post::DataType;

use super::{Context, Points, text};
use crate::files::Files;
use crate::host::HostError;

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let cpuinfo = parse_cpuinfo(&context.files.proc("cpuinfo")?);
    let mut policies = context.known.policies.borrow_mut();
    let policies = policies.now(context.files, cpuinfo.len());
    let frequencies = if policies.is_empty() {
        cpuinfo
    } else if policies.len() == cpuinfo.len() {
        // The kernel's own average is as good and costs no walk; psutil counts it in whole kHz.
        cpuinfo.into_iter().map(|mhz| (mhz * 1000.0).trunc() / 1000.0).collect()
    } else {
        policies.iter().filter_map(|policy| policy_mhz(policy)).collect()
    };
    if let Some(mean) = mean(&frequencies) {
        points.host("cpu_frequency", DataType::Float, mean);
    }
    Ok(())
}

/// The folders of the frequency policies, looked for once a minute: they come with a driver and with cpus, and
/// looking costs more than reading cpuinfo.
#[derive(Debug, Default)]
pub(super) struct Policies {
    found: Vec<PathBuf>,
    /// When, and how many frequencies cpuinfo had then.
    looked: Option<(Instant, usize)>,
}

impl Policies {
    const FOR: Duration = Duration::from_secs(60);

    fn now(&mut self, files: &Files, cpus: usize) -> &[PathBuf] {
        let fresh = self.looked.is_some_and(|(when, then)| when.elapsed() < Self::FOR && then == cpus);
        if !fresh || !files.sys_is_kernels() {
            self.found = policies(&files.host().sys);
            self.looked = Some((Instant::now(), cpus));
        }
        &self.found
    }
}

/// The `cpu MHz` lines.
fn parse_cpuinfo(bytes: &[u8]) -> Vec<f64> {
    const KEY: &[u8] = b"cpu mhz";
    let value = |line: &[u8]| {
        let is_it = line.get(..KEY.len()).is_some_and(|start| start.eq_ignore_ascii_case(KEY));
        let (_, value) = if is_it { std::str::from_utf8(line).ok()?.split_once(':')? } else { return None };
        text::decimal(value.trim())
    };
    text::lines(bytes).filter_map(value).collect()
}

/// The folders of the cpus' frequency policies, else those of the single cpus.
fn policies(sys: &Path) -> Vec<PathBuf> {
    let cpu = sys.join("devices/system/cpu");
    let policies = numbered(&cpu.join("cpufreq"), "policy");
    if !policies.is_empty() {
        return policies;
    }
    numbered(&cpu, "cpu").into_iter().map(|path| path.join("cpufreq")).filter(|path| path.is_dir()).collect()
}

/// The entries of `folder` that are `prefix` and a number.
fn numbered(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let fits = |name: &str| {
        let number = name.strip_prefix(prefix).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let paths = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(fits));
    paths.map(|entry| entry.path()).collect()
}

/// The current frequency of a policy: sysfs counts kHz.
#[allow(clippy::cast_precision_loss, reason = "kHz of a cpu are far below 2 to the 53rd")]
fn policy_mhz(policy: &Path) -> Option<f64> {
    ["scaling_cur_freq", "cpuinfo_cur_freq"].iter().find_map(|file| {
        let bytes = std::fs::read(policy.join(file)).ok()?;
        Some(text::number(bytes.trim_ascii())? as f64 / 1000.0)
    })
}

#[allow(clippy::cast_precision_loss, reason = "a count of cpus")]
fn mean(frequencies: &[f64]) -> Option<f64> {
    (!frequencies.is_empty()).then(|| frequencies.iter().sum::<f64>() / frequencies.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mhz_lines_are_found() {
        let text = b"processor\t: 0\ncpu MHz\t\t: 2596.128\nCPU MHz : 1000\ncpu MHz : x\nbogomips: 1\n";
        assert_eq!(parse_cpuinfo(text), [2596.128, 1000.0]);
        assert_eq!(mean(&parse_cpuinfo(b"")), None);
    }
}
