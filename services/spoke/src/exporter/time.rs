//! The host's clock: the time, the time zone, and what the kernel counts time with.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tz::TimeZone;

use super::attribute::{Attribute, Slowly, entries, numbered};
use super::page::Kind;
use super::{Done, Round};
use crate::host::HostRoot;

#[derive(Debug, Default)]
pub(super) struct Known {
    zone: Slowly<TimeZone>,
    sources: Slowly<Vec<Source>>,
}

/// What the kernel counts time with.
#[derive(Debug)]
struct Source {
    device: String,
    available: Attribute,
    current: Attribute,
}

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, .. } = round;
    let keeper = &known.keeper;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    page.one("node_time_seconds", Kind::Gauge, "The time, in seconds since 1970.", now.as_secs_f64());

    let Ok(zone) = known.time.zone.get(keeper.kernels, || Ok::<_, Infallible>(zone(files.host())));
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let (name, offset) = match zone.find_local_time_type(now) {
        // UTC itself goes without a name there.
        Ok(local) if !local.time_zone_designation().is_empty() => {
            (local.time_zone_designation(), local.ut_offset())
        }
        Ok(_) | Err(_) => ("UTC", 0),
    };
    let mut family =
        page.family("node_time_zone_offset_seconds", Kind::Gauge, "Seconds by which the time zone is ahead.");
    family.add(&[("time_zone", name)], i64::from(offset));
    drop(family);

    let folder = files.host().sys.join("devices/system/clocksource");
    let source = |number: u64| {
        let folder = folder.join(format!("clocksource{number}"));
        Source {
            device: number.to_string(),
            available: Attribute::new(folder.join("available_clocksource")),
            current: Attribute::new(folder.join("current_clocksource")),
        }
    };
    let all = || numbered(&entries(&folder).unwrap_or_default(), b"clocksource").into_iter();
    let find = || Ok::<_, Infallible>(all().map(source).collect());
    let Ok(sources) = known.time.sources.get(keeper.kernels, find);
    let name = "node_time_clocksource_available_info";
    let mut family = page.family(name, Kind::Gauge, "What the kernel can count time with.");
    for Source { device, available, .. } in &mut *sources {
        for name in available.text(keeper).unwrap_or_default().split_whitespace() {
            family.add(&[("clocksource", name), ("device", device)], 1_u64);
        }
    }
    drop(family);
    let name = "node_time_clocksource_current_info";
    let mut family = page.family(name, Kind::Gauge, "What the kernel counts time with.");
    for Source { device, current, .. } in sources {
        if let Some(name) = current.text(keeper) {
            family.add(&[("clocksource", &name), ("device", device)], 1_u64);
        }
    }
    Ok(())
}

/// The host's own time zone; a host that names none, or one that nobody understands, has UTC.
fn zone(host: &HostRoot) -> TimeZone {
    let mut path: PathBuf = host.root.join("etc/localtime");
    // Mostly a link, and below a host root an absolute one leads elsewhere.
    if let Ok(target) = std::fs::read_link(&path)
        && target.is_absolute()
    {
        path = host.path(&target);
    }
    std::fs::read(path)
        .ok()
        .and_then(|bytes| TimeZone::from_tz_data(&bytes).ok())
        .unwrap_or_else(TimeZone::utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_below_the_hosts_root() {
        let folder = tempfile::tempdir().unwrap();
        let host = HostRoot::new(None, None, Some(folder.path().to_owned()));
        assert_eq!(zone(&host), TimeZone::utc());
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        // One hour ahead, always: version 1, no transition, one type.
        let mut file = b"TZif\0".to_vec();
        file.resize(20, 0);
        for count in [0_u32, 0, 0, 0, 1, 4] {
            file.extend(count.to_be_bytes());
        }
        file.extend(3600_i32.to_be_bytes());
        file.extend(b"\0\0CET\0");
        std::fs::write(folder.path().join("zone"), &file).unwrap();
        std::os::unix::fs::symlink("/zone", folder.path().join("etc/localtime")).unwrap();
        let zone = zone(&host);
        let local = zone.find_local_time_type(0).unwrap();
        assert_eq!((local.time_zone_designation(), local.ut_offset()), ("CET", 3600));
    }
}
