//! The cpus' frequencies, from sysfs. A virtual host mostly has none.

use std::convert::Infallible;
use std::path::Path;

use super::attribute::{Attribute, Slowly, entries, numbered};
use super::page::Kind;
use super::{Done, Round};

/// File, family, and what it says. The kernel counts kHz.
const FILES: [(&str, &str, &str); 6] = [
    ("cpuinfo_cur_freq", "node_cpu_frequency_hertz", "The cpu's frequency."),
    ("cpuinfo_min_freq", "node_cpu_frequency_min_hertz", "The lowest frequency that the cpu has."),
    ("cpuinfo_max_freq", "node_cpu_frequency_max_hertz", "The highest frequency that the cpu has."),
    (
        "scaling_cur_freq",
        "node_cpu_scaling_frequency_hertz",
        "The cpu's frequency as the kernel last set it.",
    ),
    (
        "scaling_min_freq",
        "node_cpu_scaling_frequency_min_hertz",
        "The lowest frequency that the kernel sets.",
    ),
    (
        "scaling_max_freq",
        "node_cpu_scaling_frequency_max_hertz",
        "The highest frequency that the kernel sets.",
    ),
];

#[derive(Debug, Default)]
pub(super) struct Known(Slowly<Vec<Cpu>>);

#[derive(Debug)]
struct Cpu {
    number: String,
    files: [Attribute; FILES.len()],
}

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, .. } = round;
    let find = || Ok::<_, Infallible>(find(&files.host().sys.join("devices/system/cpu")));
    let Ok(cpus) = known.cpufreq.0.get(known.keeper.kernels, find);
    for (at, (_, name, help)) in FILES.into_iter().enumerate() {
        let mut family = page.family(name, Kind::Gauge, help);
        for cpu in &mut *cpus {
            let khz = cpu.files.get_mut(at).and_then(|file| file.number(&known.keeper));
            if let Some(khz) = khz {
                family.add(&[("cpu", &cpu.number)], khz.saturating_mul(1000));
            }
        }
    }
    Ok(())
}

fn find(folder: &Path) -> Vec<Cpu> {
    let cpus = numbered(&entries(folder).unwrap_or_default(), b"cpu").into_iter();
    let of = |number: u64| (number.to_string(), folder.join(format!("cpu{number}/cpufreq")));
    let there = cpus.map(of).filter(|(_, folder)| folder.is_dir());
    there
        .map(|(number, folder)| Cpu {
            number,
            files: FILES.map(|(file, ..)| Attribute::new(folder.join(file))),
        })
        .collect()
}
