//! The cpus' time by mode, the same in percent of an interval, and the kernel's event counts, from
//! `<proc>/stat`.

use agent::post::DataType;

use super::{Context, Points, text};
use crate::files::Files;
use crate::host::HostError;

const FILE: &str = "stat";

const TIMES: [&str; 10] = [
    "cpu_times_user",
    "cpu_times_nice",
    "cpu_times_system",
    "cpu_times_idle",
    "cpu_times_iowait",
    "cpu_times_irq",
    "cpu_times_softirq",
    "cpu_times_steal",
    "cpu_times_guest",
    "cpu_times_guest_nice",
];

const PERCENT: [&str; 10] = [
    "cpu_times_percent_user",
    "cpu_times_percent_nice",
    "cpu_times_percent_system",
    "cpu_times_percent_idle",
    "cpu_times_percent_iowait",
    "cpu_times_percent_irq",
    "cpu_times_percent_softirq",
    "cpu_times_percent_steal",
    "cpu_times_percent_guest",
    "cpu_times_percent_guest_nice",
];

/// How many of the modes are time of their own: guest and guest_nice are contained in user and nice.
const OWN_MODES: usize = 8;

/// Ticks since boot in each mode, in the kernel's order; old kernels know fewer modes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times(Vec<u64>);

/// Reads the times now.
///
/// # Errors
/// `<proc>/stat` cannot be read or has no cpu line.
pub(crate) fn read_times(files: &Files) -> Result<Times, HostError> {
    parse_times(&files.proc(FILE)?).ok_or_else(|| files.host().lacks(FILE, "cpu line"))
}

fn parse_times(bytes: &[u8]) -> Option<Times> {
    let line = text::lines(bytes).find(|line| text::words(line).next() == Some(b"cpu"))?;
    let ticks = text::words(line).skip(1).take(TIMES.len()).map(text::number).collect::<Option<Vec<_>>>()?;
    (ticks.len() >= 4).then_some(Times(ticks))
}

impl Times {
    /// Each mode's share of the time since `before`, in percent with one decimal. A mode that went
    /// backwards, as iowait may, counts as 0. None where no time has passed.
    #[allow(clippy::cast_precision_loss, reason = "the original's own arithmetic, in floats")]
    pub(crate) fn percent_since(&self, before: &Times) -> Option<Vec<f64>> {
        let earlier = before.0.iter().copied().chain(std::iter::repeat(0));
        let passed: Vec<u64> =
            self.0.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect();
        let all = passed.iter().take(OWN_MODES).fold(0, |all: u64, ticks| all.saturating_add(*ticks));
        let share = |ticks: &u64| text::one_decimal((*ticks as f64 * 100.0 / all as f64).min(100.0));
        (all > 0).then(|| passed.iter().map(share).collect())
    }

    fn since_boot(&self) -> Vec<f64> {
        self.percent_since(&Times(Vec::new())).unwrap_or_else(|| vec![0.0; self.0.len()])
    }
}

pub(super) fn collect_percent(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let now = read_times(context.files)?;
    let since = context.before.and_then(|before| now.percent_since(before));
    for (key, percent) in PERCENT.into_iter().zip(since.unwrap_or_else(|| now.since_boot())) {
        points.host(key, DataType::Float, percent);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "the original's own arithmetic, in floats")]
pub(super) fn collect_times(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let ticks_a_second = rustix::param::clock_ticks_per_second() as f64;
    for (key, ticks) in TIMES.into_iter().zip(read_times(context.files)?.0) {
        points.host(key, DataType::Counter, ticks as f64 / ticks_a_second);
    }
    Ok(())
}

pub(super) fn collect_stats(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let bytes = context.files.proc(FILE)?;
    let count = |name: &'static str| {
        text::value_of(&bytes, name.as_bytes()).ok_or_else(|| context.files.host().lacks(FILE, name))
    };
    points.host("cpu_stats_ctx_switches", DataType::Counter, count("ctxt")?);
    points.host("cpu_stats_interrupts", DataType::Counter, count("intr")?);
    points.host("cpu_stats_soft_interrupts", DataType::Counter, count("softirq")?);
    // Linux does not count system calls; the original sends the 0 all the same.
    points.host("cpu_stats_syscalls", DataType::Counter, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str) -> Times {
        parse_times(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_sum_of_all_cpus_is_read() {
        assert_eq!(times("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 9 9 9 9\n").0, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(times("cpu 1 2 3 4\n").0.len(), 4);
        for odd in ["", "cpu0 1 2 3 4\n", "cpu 1 2 3\n", "cpu 1 2 3 x\n"] {
            assert_eq!(parse_times(odd.as_bytes()), None, "{odd:?}");
        }
    }

    #[test]
    fn guests_are_not_counted_twice_and_nothing_runs_backwards() {
        let before = times("cpu 100 0 0 1000 50 0 0 0 20 0\n");
        let now = times("cpu 140 0 10 1050 40 0 0 0 60 0\n");
        // 40 user, 10 system, 50 idle make the whole; iowait went back by 10.
        assert_eq!(
            now.percent_since(&before).unwrap(),
            [40.0, 0.0, 10.0, 50.0, 0.0, 0.0, 0.0, 0.0, 40.0, 0.0]
        );
    }

    #[test]
    fn without_time_passed_there_is_no_share() {
        let now = times("cpu 1 2 3 4\n");
        assert_eq!(now.percent_since(&now), None);
        assert_eq!(now.since_boot(), [10.0, 20.0, 30.0, 40.0]);
    }
}
