//! Which distribution the host runs, from its `os-release`.

use std::collections::HashMap;

use super::attribute::Slowly;
use super::page::Kind;
use super::{Done, Nothing, Round};
use crate::collect::text;
use crate::host::{HostError, HostRoot};

/// The label and the variable whose value it is.
const LABELS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];

#[derive(Debug, Default)]
pub(super) struct Known(Slowly<Release>);

type Release = HashMap<String, String>;

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, .. } = round;
    let release = known.os.0.get(known.keeper.kernels, || find(files.host()))?;
    let value = |variable: &str| release.get(variable).map_or("", String::as_str);
    let labels = LABELS.map(|(label, variable)| (label, value(variable)));
    page.family("node_os_info", Kind::Gauge, "What os-release says.").add(&labels, 1_u64);
    if let Some(version) = major_minor(value("VERSION_ID")) {
        let labels = [("id", value("ID")), ("id_like", value("ID_LIKE")), ("name", value("NAME"))];
        let help = "The first two numbers of the version.";
        page.family("node_os_version", Kind::Gauge, help).add(&labels, version);
    }
    Ok(())
}

/// The distribution's name with its version, as people write it.
pub(crate) fn pretty_name(host: &HostRoot) -> Option<String> {
    find(host).ok()?.remove("PRETTY_NAME").filter(|name| !name.trim().is_empty())
}

fn find(host: &HostRoot) -> Result<Release, Nothing> {
    for file in ["etc/os-release", "usr/lib/os-release"] {
        let path = host.root.join(file);
        match std::fs::read(&path) {
            Ok(bytes) => return Ok(parse(&text::printable(&bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(HostError::Read { path, source }.into()),
        }
    }
    Err(Nothing::Absent)
}

/// Lines of `NAME=value`, as a shell reads them, but for what is put in.
fn parse(release: &str) -> Release {
    let pair = |line: &str| {
        let (name, value) = line.trim().split_once('=')?;
        (!name.starts_with('#')).then(|| (name.to_owned(), unquoted(value)))
    };
    release.lines().filter_map(pair).collect()
}

fn unquoted(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let mut out = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        let letter = if letter == '\\' { letters.next() } else { Some(letter) };
        out.extend(letter);
    }
    out
}

/// `12.4.1` is 12.4; what begins with no number has none.
fn major_minor(version: &str) -> Option<f64> {
    let digits = |text: &str| text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (major, rest) = version.split_at(digits(version));
    let minor = rest.strip_prefix('.').map_or("", |rest| rest.get(..digits(rest)).unwrap_or_default());
    if major.is_empty() {
        return None;
    }
    let number = if minor.is_empty() { major.parse() } else { format!("{major}.{minor}").parse() };
    number.ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        let found = parse("# NAME=no\nNAME=\"Debian \\\"GNU\\\"\"\nID=debian\n\nVARIANT='a \\ b'\nodd\nX=\n");
        assert_eq!((found["NAME"].as_str(), found["ID"].as_str()), ("Debian \"GNU\"", "debian"));
        assert_eq!((found["VARIANT"].as_str(), found["X"].as_str(), found.len()), ("a \\ b", "", 4));
    }

    #[test]
    fn a_version_is_two_numbers() {
        for (version, number) in
            [("12", Some(12.0)), ("22.04", Some(22.04)), ("12.4.1", Some(12.4)), ("3.", Some(3.0))]
        {
            assert_eq!(major_minor(version), number, "{version:?}");
        }
        assert_eq!((major_minor(""), major_minor("rolling"), major_minor(".5")), (None, None, None));
    }
}
