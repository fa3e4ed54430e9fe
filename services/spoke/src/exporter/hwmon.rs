//! What sensors say of voltages, temperatures, fans and the like, from `<sys>/class/hwmon`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::attribute::{Attribute, Keeper, Slowly, entries};
use super::page::{Kind, Page};
use super::{Done, Nothing, Round};
use crate::collect::text;
use crate::host::HostError;

/// What a file's name may begin with.
const TYPES: [&str; 13] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
];

#[derive(Debug, Default)]
pub(super) struct Known(Slowly<Vec<Chip>>);

/// One chip with its sensors.
#[derive(Debug)]
struct Chip {
    /// By the path of its device, which stays from start to start as its number does not.
    name: String,
    /// For people.
    readable: Option<String>,
    sensors: BTreeMap<String, Sensor>,
}

#[derive(Debug)]
struct Sensor {
    kind: &'static str,
    label: Option<String>,
    /// By what they tell of the sensor: `input`, `max`, or nothing at all.
    elements: BTreeMap<String, Attribute>,
}

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, .. } = round;
    let folder = files.host().sys.join("class/hwmon");
    let keeper = &known.keeper;
    let chips = known.hwmon.0.get(keeper.kernels, || find(&folder, keeper))?;
    write_names(chips, page);
    write(chips, keeper, page);
    Ok(())
}

fn find(folder: &Path, keeper: &Keeper) -> Result<Vec<Chip>, Nothing> {
    let chips = entries(folder).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Nothing::Absent,
        _ => Nothing::Failed(HostError::Read { path: folder.to_owned(), source }),
    })?;
    Ok(chips.iter().map(|entry| Chip::find(&folder.join(OsStr::from_bytes(&entry.name)), keeper)).collect())
}

impl Chip {
    fn find(folder: &Path, keeper: &Keeper) -> Self {
        let mut sensors = BTreeMap::new();
        // Old drivers have their files at the device.
        for folder in [folder.to_owned(), folder.join("device")] {
            for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = file.file_name();
                let Some((kind, number, element)) = name.to_str().and_then(parse_name) else { continue };
                let mut attribute = Attribute::new(file.path());
                let Some(said) = attribute.text(keeper) else { continue };
                let sensor = sensors.entry(format!("{kind}{number}")).or_insert_with(|| Sensor {
                    kind,
                    label: None,
                    elements: BTreeMap::new(),
                });
                if element == "label" {
                    sensor.label = Some(said);
                } else {
                    sensor.elements.insert(element.to_owned(), attribute);
                }
            }
        }
        Self { name: chip_name(folder), readable: readable_name(folder), sensors }
    }
}

/// Type, number and element of a file's name: `temp1_max` is `temp`, 1, `max`.
fn parse_name(name: &str) -> Option<(&'static str, u64, &str)> {
    // A type has no digit; without one the whole name is a type, `update_interval` say.
    let digits = name.find(|letter: char| letter.is_ascii_digit()).unwrap_or(name.len());
    let (kind, rest) = name.split_at(digits);
    let kind = TYPES.into_iter().find(|known| *known == kind)?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    match rest.strip_prefix('_') {
        Some(element) if !element.is_empty() => Some((kind, number, element)),
        None if rest.is_empty() => Some((kind, number, "")),
        _ => None,
    }
}

/// The name by the device's path, else by the driver, else by the kernel's number.
fn chip_name(folder: &Path) -> String {
    let part = |path: Option<&Path>| {
        clean(&text::printable(path.and_then(Path::file_name).unwrap_or_default().as_bytes()))
    };
    if let Ok(device) = folder.join("device").canonicalize() {
        let (name, kind) = (part(Some(&device)), part(device.parent()));
        if !name.is_empty() {
            return if kind.is_empty() { name } else { format!("{kind}_{name}") };
        }
    }
    readable_name(folder)
        .unwrap_or_else(|| part(Some(&folder.canonicalize().unwrap_or_else(|_| folder.to_owned()))))
}

fn readable_name(folder: &Path) -> Option<String> {
    let name = clean(&text::printable(&std::fs::read(folder.join("name")).ok()?));
    (!name.is_empty()).then_some(name)
}

/// In small letters, with `_` for all that a metric's name may not have.
fn clean(name: &str) -> String {
    let sound = |letter: char| {
        let fits = letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == ':' || letter == '_';
        if fits { letter } else { '_' }
    };
    let name: String = name.to_lowercase().chars().map(sound).collect();
    name.trim_matches('_').to_owned()
}

fn write_names(chips: &[Chip], page: &mut Page) {
    let mut family = page.family("node_hwmon_chip_names", Kind::Gauge, "The chip's name for people.");
    for chip in chips {
        if let Some(name) = &chip.readable {
            family.add(&[("chip", &chip.name), ("chip_name", name)], 1_u64);
        }
    }
    drop(family);
    let mut family = page.family("node_hwmon_sensor_label", Kind::Gauge, "What the sensor is called.");
    for chip in chips {
        for (name, sensor) in &chip.sensors {
            if let Some(label) = &sensor.label {
                family.add(&[("chip", &chip.name), ("label", label), ("sensor", name)], 1_u64);
            }
        }
    }
}

/// Of a family: whether it counts, what it says, and its series by chip and sensor.
type Found<'a> = BTreeMap<String, (Kind, String, Vec<(&'a str, &'a str, f64)>)>;

fn write(chips: &mut [Chip], keeper: &Keeper, page: &mut Page) {
    let mut found = Found::new();
    for Chip { name: chip, sensors, .. } in chips {
        for (name, Sensor { kind, elements, .. }) in sensors {
            let has_plain = elements.contains_key("");
            for (element, attribute) in elements {
                let said = attribute.text(keeper);
                let Some(number) = said.and_then(|text| text.parse::<f64>().ok()).filter(|n| n.is_finite())
                else {
                    continue;
                };
                let (family, divisor) = family_of(kind, element, has_plain);
                let counts = if family.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
                let number = if *kind == "beep_enable" { f64::from(number == 1.0) } else { number / divisor };
                let (_, _, series) = found.entry(format!("node_hwmon_{family}")).or_insert_with(|| {
                    (counts, format!("Hardware sensor of the type {kind}: {}.", said_as(element)), Vec::new())
                });
                series.push((chip, name, number));
            }
        }
    }
    for (name, (kind, help, series)) in found {
        let mut family = page.family(&name, kind, &help);
        for (chip, sensor, number) in series {
            family.add(&[("chip", chip), ("sensor", sensor)], number);
        }
    }
}

fn said_as(element: &str) -> &str {
    if element.is_empty() { "its value" } else { element }
}

/// The family, without `node_hwmon_`, of what a sensor of that type says, and by what the kernel's number is divided.
fn family_of(kind: &str, element: &str, has_plain: bool) -> (String, f64) {
    let name = match element {
        "" => kind.to_owned(),
        // The value itself, if there is no other.
        "input" if !has_plain => kind.to_owned(),
        _ => format!("{kind}_{}", clean(element)),
    };
    match (kind, element) {
        ("beep_enable", _) => ("beep_enabled".to_owned(), 1.0),
        ("vrm", _) => ("voltage_regulator_version".to_owned(), 1.0),
        ("update_interval", _) => ("update_interval_seconds".to_owned(), 1e3),
        (_, "fault" | "alarm") => (name, 1.0),
        (_, "beep") => (format!("{name}_enabled"), 1.0),
        ("in" | "cpu", _) => (format!("{name}_volts"), 1e3),
        ("temp", element) if element != "type" => (format!("{name}_celsius"), 1e3),
        ("curr", _) => (format!("{name}_amps"), 1e3),
        ("energy", _) => (format!("{name}_joule_total"), 1e6),
        ("power", "accuracy") => (name, 1e6),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            (format!("{name}_seconds"), 1e3)
        }
        ("power", _) => (format!("{name}_watt"), 1e6),
        ("humidity", _) => (name, 1e6),
        ("fan", "input" | "min" | "max" | "target") => (format!("{name}_rpm"), 1.0),
        _ => (name, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_taken_apart() {
        assert_eq!(parse_name("temp1_max"), Some(("temp", 1, "max")));
        assert_eq!(parse_name("power12_average_interval_min"), Some(("power", 12, "average_interval_min")));
        assert_eq!(parse_name("pwm3"), Some(("pwm", 3, "")));
        assert_eq!(parse_name("update_interval"), Some(("update_interval", 0, "")));
        for odd in ["", "name", "temp1x", "temp1_", "1", "temp99999999999999999999_max", "xtemp1_max", "fan_"]
        {
            assert_eq!(parse_name(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn families_carry_their_units() {
        let family = |kind, element| family_of(kind, element, false);
        assert_eq!(family("temp", "input"), ("temp_celsius".to_owned(), 1e3));
        assert_eq!(family("temp", "crit_alarm"), ("temp_crit_alarm_celsius".to_owned(), 1e3));
        assert_eq!(family("temp", "alarm"), ("temp_alarm".to_owned(), 1.0));
        assert_eq!(family("temp", "type"), ("temp_type".to_owned(), 1.0));
        assert_eq!(family_of("fan", "input", true), ("fan_input_rpm".to_owned(), 1.0));
        assert_eq!(family("energy", "input"), ("energy_joule_total".to_owned(), 1e6));
        assert_eq!(family("pwm", ""), ("pwm".to_owned(), 1.0));
        assert_eq!(family("power", "average_interval"), ("power_average_interval_seconds".to_owned(), 1e3));
    }

    #[test]
    fn names_are_clean() {
        assert_eq!((clean("coretemp.0\n"), clean("_A-b:c_")), ("coretemp_0".to_owned(), "a_b:c".to_owned()));
    }
}
