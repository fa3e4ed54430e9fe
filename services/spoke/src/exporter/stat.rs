//! Events and processes, from `<proc>/stat`.

use super::page::Kind;
use super::{Done, Round};
use crate::collect::text;

const FILE: &str = "stat";

/// Line, family, kind, and what it says.
const LINES: [(&str, &str, Kind, &str); 6] = [
    ("intr", "node_intr_total", Kind::Counter, "Interrupts serviced."),
    ("ctxt", "node_context_switches_total", Kind::Counter, "Context switches."),
    ("processes", "node_forks_total", Kind::Counter, "Forks."),
    ("btime", "node_boot_time_seconds", Kind::Gauge, "When the host started, in seconds since 1970."),
    ("procs_running", "node_procs_running", Kind::Gauge, "Processes that run or could run."),
    ("procs_blocked", "node_procs_blocked", Kind::Gauge, "Processes that wait for a disk."),
];

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, .. } = round;
    let bytes = files.proc(FILE)?;
    let mut numbers = LINES.map(|_| None);
    // The lines are long and many on a large host: each is looked at once.
    for line in text::lines(&bytes) {
        let Some((name, rest)) = text::first_word(line) else { continue };
        let known = LINES.iter().position(|(line, ..)| line.as_bytes() == name);
        if let Some(place) = known.and_then(|at| numbers.get_mut(at)) {
            *place = text::first_word(rest).and_then(|(number, _)| text::number(number));
        }
    }
    for ((line, name, kind, help), number) in LINES.into_iter().zip(numbers) {
        page.one(name, kind, help, number.ok_or_else(|| files.host().lacks(FILE, line))?);
    }
    Ok(())
}
