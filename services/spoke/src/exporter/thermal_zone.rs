//! Temperatures of the host's zones and the states of what cools them, from `<sys>/class/thermal`.

use std::convert::Infallible;
use std::path::Path;

use super::attribute::{Attribute, Slowly, entries, numbered};
use super::page::Kind;
use super::{Done, Round};

#[derive(Debug, Default)]
pub(super) struct Known(Slowly<Found>);

#[derive(Debug)]
struct Found {
    zones: Vec<Thing<1>>,
    coolers: Vec<Thing<2>>,
}

/// A zone or a cooler, with its files.
#[derive(Debug)]
struct Thing<const N: usize> {
    number: String,
    kind: Attribute,
    files: [Attribute; N],
}

impl<const N: usize> Thing<N> {
    fn find(folder: &Path, prefix: &str, files: [&str; N]) -> Vec<Self> {
        let all = numbered(&entries(folder).unwrap_or_default(), prefix.as_bytes()).into_iter();
        all.map(|number| {
            let folder = folder.join(format!("{prefix}{number}"));
            let attribute = |file: &str| Attribute::new(folder.join(file));
            Self { number: number.to_string(), kind: attribute("type"), files: files.map(attribute) }
        })
        .collect()
    }
}

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, .. } = round;
    let folder = files.host().sys.join("class/thermal");
    let find = || {
        Ok::<_, Infallible>(Found {
            zones: Thing::find(&folder, "thermal_zone", ["temp"]),
            coolers: Thing::find(&folder, "cooling_device", ["cur_state", "max_state"]),
        })
    };
    let keeper = &known.keeper;
    let Ok(Found { zones, coolers }) = known.thermal_zone.0.get(keeper.kernels, find);
    let mut family = page.family("node_thermal_zone_temp", Kind::Gauge, "The zone's temperature in Celsius.");
    for Thing { number, kind, files: [temperature] } in zones {
        if let (Some(kind), Some(degrees)) = (kind.text(keeper), temperature.number(keeper)) {
            family.add(&[("type", &kind), ("zone", number)], celsius(degrees));
        }
    }
    drop(family);
    for (at, name, help) in [
        (0, "node_cooling_device_cur_state", "How hard the device cools."),
        (1, "node_cooling_device_max_state", "How hard the device can cool."),
    ] {
        let mut family = page.family(name, Kind::Gauge, help);
        for Thing { number, kind, files } in &mut *coolers {
            let state = files.get_mut(at).and_then(|file| file.number(keeper));
            if let (Some(kind), Some(state)) = (kind.text(keeper), state) {
                family.add(&[("name", number), ("type", &kind)], state);
            }
        }
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "thousandths of a degree are far below 2 to the 53rd")]
fn celsius(thousandths: i64) -> f64 {
    thousandths as f64 / 1000.0
}
