//! Memory, from `<proc>/meminfo`, in bytes as psutil works them out.

use agent::post::DataType;

use super::{Context, Points, text};
use crate::files::{Content, Files};
use crate::host::HostError;

pub(super) const FILE: &str = "meminfo";

/// `<proc>/meminfo`, in bytes.
pub(super) struct Meminfo(Content);

impl Meminfo {
    pub(super) fn read(files: &Files) -> Result<Self, HostError> {
        Ok(Self(files.proc(FILE)?))
    }

    /// The field of that name, `MemTotal:` say, in bytes: the kernel counts KiB.
    pub(super) fn bytes(&self, field: &str) -> Option<u64> {
        text::value_of(&self.0, field.as_bytes())?.checked_mul(1024)
    }
}

/// What is sent, in bytes but for `percent`.
#[derive(Debug, PartialEq)]
pub(crate) struct Memory {
    total: u64,
    available: u64,
    pub(crate) percent: f64,
    used: u64,
    free: u64,
    active: u64,
    inactive: u64,
    buffers: u64,
    cached: u64,
    shared: u64,
    slab: u64,
}

pub(super) fn collect(context: &Context<'_>, points: &mut Points) -> Result<(), HostError> {
    let memory = read(context.files)?;
    points.host("memory_total", DataType::Gauge, memory.total);
    points.host("memory_available", DataType::Gauge, memory.available);
    points.host("memory_percent", DataType::Gauge, memory.percent);
    points.host("memory_used", DataType::Gauge, memory.used);
    points.host("memory_free", DataType::Gauge, memory.free);
    points.host("memory_active", DataType::Gauge, memory.active);
    points.host("memory_inactive", DataType::Gauge, memory.inactive);
    points.host("memory_buffers", DataType::Gauge, memory.buffers);
    points.host("memory_cached", DataType::Gauge, memory.cached);
    points.host("memory_shared", DataType::Gauge, memory.shared);
    points.host("memory_slab", DataType::Gauge, memory.slab);
    Ok(())
}

/// Memory now.
pub(crate) fn read(files: &Files) -> Result<Memory, HostError> {
    let meminfo = Meminfo::read(files)?;
    // Only very old kernels want it, so that a file more is read only there.
    let zoneinfo = || files.proc("zoneinfo").ok();
    work_out(&meminfo, zoneinfo).ok_or_else(|| files.host().lacks(FILE, "MemTotal and MemFree"))
}

fn work_out(meminfo: &Meminfo, zoneinfo: impl FnOnce() -> Option<Content>) -> Option<Memory> {
    let total = meminfo.bytes("MemTotal:")?;
    let free = meminfo.bytes("MemFree:")?;
    let field = |name: &str| meminfo.bytes(name);
    let reclaimable = field("SReclaimable:").unwrap_or(0);
    // Some kernels write 0 by mistake; psutil estimates there too.
    let told = field("MemAvailable:").filter(|available| *available > 0);
    let available = told.unwrap_or_else(|| estimate_available(meminfo, free, zoneinfo));
    // More than there is: a container whose meminfo is made up.
    let available = if available > total { free } else { available };
    let used = total.saturating_sub(available);
    let old_inactive =
        || ["Inact_dirty:", "Inact_clean:", "Inact_laundry:"].into_iter().map(field).sum::<Option<u64>>();
    Some(Memory {
        total,
        available,
        percent: text::percent(used, total),
        used,
        free,
        active: field("Active:").unwrap_or(0),
        inactive: field("Inactive:").or_else(old_inactive).unwrap_or(0),
        buffers: field("Buffers:").unwrap_or(0),
        cached: field("Cached:").map_or(0, |cached| cached.saturating_add(reclaimable)),
        shared: field("Shmem:").or_else(|| field("MemShared:")).unwrap_or(0),
        slab: field("Slab:").unwrap_or(0),
    })
}

/// What the kernel would call available, for kernels before 3.14 that do not say: free pages above the low
/// watermark, the page cache and reclaimable slab but for what is kept back.
fn estimate_available(meminfo: &Meminfo, free: u64, zoneinfo: impl FnOnce() -> Option<Content>) -> u64 {
    let simple = free.saturating_add(meminfo.bytes("Cached:").unwrap_or(0));
    let fields = ["Active(file):", "Inactive(file):", "SReclaimable:"].map(|name| meminfo.bytes(name));
    let [Some(active), Some(inactive), Some(reclaimable)] = fields else { return simple };
    let Some(zoneinfo) = zoneinfo() else { return simple };
    let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let low = text::lines(&zoneinfo)
        .filter(|line| line.trim_ascii().starts_with(b"low"))
        .filter_map(|line| text::words(line).nth(1).and_then(text::number))
        .fold(0_u64, u64::saturating_add)
        .saturating_mul(page_size);
    let kept_back = |bytes: u64| bytes - (bytes / 2).min(low);
    let cache = active.saturating_add(inactive);
    // The watermark may be above what is free; the sum is not negative then either, but may reach 0.
    kept_back(cache).saturating_add(kept_back(reclaimable)).saturating_add(free).saturating_sub(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(text: &str, zoneinfo: Option<&str>) -> Option<Memory> {
        let content = |text: &str| Content::new(text.as_bytes().to_vec());
        work_out(&Meminfo(content(text)), || zoneinfo.map(content))
    }

    #[test]
    fn used_is_what_is_not_available_and_cached_holds_reclaimable_slab() {
        let found = memory(
            "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 750 kB\nCached: 50 kB\nSReclaimable: 7 kB\n",
            None,
        )
        .unwrap();
        assert_eq!((found.used, found.percent), (250 * 1024, 25.0));
        assert_eq!(found.cached, 57 * 1024);
        assert_eq!(found.buffers, 0);
    }

    #[test]
    fn without_memavailable_it_is_estimated() {
        let text = "MemTotal: 1000 kB\nMemFree: 100 kB\nCached: 50 kB\n";
        assert_eq!(memory(text, None).unwrap().available, 150 * 1024);
        let text = format!("{text}Active(file): 40 kB\nInactive(file): 20 kB\nSReclaimable: 10 kB\n");
        assert_eq!(memory(&text, None).unwrap().available, 150 * 1024);
        let estimated = memory(&text, Some("  low 1\n  pages free 9\n  low      1\n")).unwrap();
        // 100 - 8, 60 - 8, 10 - 5 KiB
        assert_eq!(estimated.available, (92 + 52 + 5) * 1024);
    }

    #[test]
    fn a_file_without_the_total_is_refused() {
        assert_eq!(memory("MemFree: 1 kB\n", None), None);
        assert_eq!(memory("", None), None);
    }
}
