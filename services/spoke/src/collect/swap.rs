//! Swap space, from `<proc>/meminfo`, and what was swapped since boot, from `<proc>/vmstat`.

use agent::post::DataType;

use super::memory::{FILE, Meminfo};
use super::{Context, Points, text};
use crate::files::Files;
use crate::host::HostError;

/// The original counts pages of 4 KiB, whatever the host's are.
const PAGE: u64 = 4096;

/// Swap space, in bytes but for `percent`.
pub(crate) struct Swap {
    total: u64,
    used: u64,
    free: u64,
    pub(crate) percent: f64,
}

/// Swap space now.
pub(crate) fn read(files: &Files) -> Result<Swap, HostError> {
    let meminfo = Meminfo::read(files)?;
    let field = |name: &'static str| meminfo.bytes(name).ok_or_else(|| files.host().lacks(FILE, name));
    let (total, free) = (field("SwapTotal:")?, field("SwapFree:")?);
    let used = total.saturating_sub(free);
    Ok(Swap { total, used, free, percent: text::percent(used, total) })
}

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let Swap { total, used, free, percent } = read(context.files)?;
    let vmstat = context.files.proc("vmstat")?;
    // A kernel without swap has no such lines, and swapped nothing.
    let swapped = |name: &[u8]| text::value_of(&vmstat, name).unwrap_or(0).saturating_mul(PAGE);
    points.host("swap_memory_total", DataType::Gauge, total);
    points.host("swap_memory_used", DataType::Gauge, used);
    points.host("swap_memory_free", DataType::Gauge, free);
    points.host("swap_memory_percent", DataType::Gauge, percent);
    points.host("swap_memory_sin", DataType::Counter, swapped(b"pswpin"));
    points.host("swap_memory_sout", DataType::Counter, swapped(b"pswpout"));
    Ok(())
}
