//! The text of a page of metrics, written family by family: Prometheus' text form, or OpenMetrics.
//!
//! Whatever a collector found in the host's files, a page is sound: no family and no series stands in it twice, a
//! name has no letter that Prometheus refuses, and no family has more series than the cap.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};

use agent::metrics::{write_help, write_label};

/// The form of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text form, 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Grows until the host starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Nobody knows: node_exporter leaves it open for what it takes over from the kernel by name.
    Untyped,
}

/// A number of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    /// A whole number as the kernel writes it.
    pub(crate) fn parse(word: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(word).ok()?;
        text.parse().map(Self::Whole).or_else(|_| text.parse().map(Self::Signed)).ok()
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self::Signed(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Number {
    fn from(yes: bool) -> Self {
        Self::Whole(u64::from(yes))
    }
}

/// A page that is being written.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    format: Format,
    most_series: usize,
    families: HashSet<String>,
    /// The series of the family that is being written, by the hash of their labels.
    series: HashSet<u64>,
    hasher: RandomState,
    /// How many series were left out by the cap, by family.
    pub(crate) cut: BTreeMap<String, u64>,
    /// What is left out, and why.
    pub(crate) left_out: BTreeMap<String, String>,
}

impl Page {
    pub(crate) fn new(format: Format, most_series: usize, room: usize) -> Self {
        Self {
            text: String::with_capacity(room),
            format,
            most_series,
            families: HashSet::new(),
            series: HashSet::new(),
            hasher: RandomState::new(),
            cut: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Begins a family. One that is begun a second time is not written again.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let name = sound_name(name);
        let is_new = self.families.insert(name.clone());
        self.series.clear();
        Family { page: self, name, kind, help: help.to_owned(), written: 0, cut: 0, is_new }
    }

    /// A family of one series without labels.
    pub(crate) fn one(&mut self, name: &str, kind: Kind, help: &str, number: impl Into<Number>) {
        self.family(name, kind, help).add(&[], number);
    }

    /// Notes an instance that cannot be read.
    pub(crate) fn leave_out(&mut self, what: String, reason: String) {
        self.left_out.insert(what, reason);
    }

    /// How long the page is now: for [`Page::back_to`].
    pub(crate) fn place(&self) -> usize {
        self.text.len()
    }

    /// Takes back what was written since [`Page::place`].
    pub(crate) fn back_to(&mut self, place: usize) {
        self.text.truncate(place);
    }

    /// The page with the program's own metrics, which come in Prometheus' text form, at its end.
    pub(crate) fn finish(mut self, own: &str) -> String {
        match self.format {
            Format::Text => self.text.push_str(own),
            Format::OpenMetrics => {
                own.lines().for_each(|line| self.text.push_str(&as_open_metrics(line)));
                self.text.push_str("# EOF\n");
            }
        }
        self.text
    }

    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let (name, kind) = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => match name.strip_suffix("_total") {
                Some(family) => (family, "counter"),
                // OpenMetrics knows no counter of another name.
                None => (name, "unknown"),
            },
            (Format::Text, Kind::Counter) => (name, "counter"),
            (_, Kind::Gauge) => (name, "gauge"),
            (Format::Text, Kind::Untyped) => (name, "untyped"),
            (Format::OpenMetrics, Kind::Untyped) => (name, "unknown"),
        };
        for part in ["# HELP ", name, " "] {
            self.text.push_str(part);
        }
        match self.format {
            Format::Text => write_help(&mut self.text, help),
            Format::OpenMetrics => write_label(&mut self.text, help),
        }
        for part in ["\n# TYPE ", name, " ", kind, "\n"] {
            self.text.push_str(part);
        }
    }
}

/// A family that is being written; its head is written with its first series.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    page: &'a mut Page,
    name: String,
    kind: Kind,
    help: String,
    written: usize,
    cut: u64,
    is_new: bool,
}

impl Family<'_> {
    /// Adds a series. One with labels that the family has already is left out: the first counts.
    pub(crate) fn add(&mut self, labels: &[(&str, &str)], number: impl Into<Number>) {
        if !self.is_new {
            return;
        }
        if self.written >= self.page.most_series {
            self.cut += 1;
            return;
        }
        let before = self.page.text.len();
        if self.written == 0 {
            self.page.head(&self.name, self.kind, &self.help);
        }
        let page = &mut *self.page;
        page.text.push_str(&self.name);
        let start = page.text.len();
        for (at, (label, value)) in labels.iter().enumerate() {
            for part in [if at == 0 { "{" } else { "," }, label, "=\""] {
                page.text.push_str(part);
            }
            write_label(&mut page.text, value);
            page.text.push('"');
        }
        if !labels.is_empty() {
            page.text.push('}');
        }
        let hash = page.hasher.hash_one(page.text.get(start..).unwrap_or_default());
        if !page.series.insert(hash) {
            page.text.truncate(before);
            return;
        }
        page.text.push(' ');
        write_number(&mut page.text, number.into());
        page.text.push('\n');
        self.written += 1;
    }
}

impl Drop for Family<'_> {
    fn drop(&mut self) {
        if self.cut > 0 {
            *self.page.cut.entry(std::mem::take(&mut self.name)).or_default() += self.cut;
        }
    }
}

/// The name with `_` for every letter that a name may not have.
fn sound_name(name: &str) -> String {
    let sound = |letter: char| if letter.is_ascii_alphanumeric() || letter == ':' { letter } else { '_' };
    name.chars().map(sound).collect()
}

fn write_number(out: &mut String, number: Number) {
    // Writing to a String does not fail.
    let _ = match number {
        Number::Whole(number) => write!(out, "{number}"),
        Number::Signed(number) => write!(out, "{number}"),
        Number::Float(number) if number.is_finite() => write!(out, "{number}"),
        Number::Float(number) if number.is_nan() => write!(out, "NaN"),
        Number::Float(number) => write!(out, "{}Inf", if number > 0.0 { '+' } else { '-' }),
    };
}

/// A line of Prometheus' text form as OpenMetrics has it: there a counter's family is named without `_total`.
fn as_open_metrics(line: &str) -> String {
    let family = |rest: &str| {
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let name = name.strip_suffix("_total").unwrap_or(name);
        let rest = if rest == "untyped" { "unknown" } else { rest };
        format!("{name} {}", rest.replace('"', "\\\""))
    };
    for comment in ["# HELP ", "# TYPE "] {
        if let Some(rest) = line.strip_prefix(comment) {
            return format!("{comment}{}\n", family(rest));
        }
    }
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format, most: usize, write: impl FnOnce(&mut Page)) -> (String, BTreeMap<String, u64>) {
        let mut page = Page::new(format, most, 0);
        write(&mut page);
        let cut = page.cut.clone();
        (page.finish(""), cut)
    }

    #[test]
    fn families_are_written_in_both_forms() {
        let write = |page: &mut Page| {
            let mut family = page.family("a_total", Kind::Counter, "Says \"a\"\\b.");
            family.add(&[("x", "1"), ("y", "a\"b\\c\nd")], 3_u64);
            family.add(&[("x", "2"), ("y", "")], 0.1);
            drop(family);
            page.family("empty", Kind::Gauge, "Nothing.");
            page.one("g", Kind::Gauge, "G.", -4_i64);
            page.one("u", Kind::Untyped, "U.", f64::NAN);
            page.one("v", Kind::Gauge, "V.", f64::NEG_INFINITY);
        };
        let series = "{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 3\na_total{x=\"2\",y=\"\"} 0.1\n";
        let rest = "# HELP g G.\n# TYPE g gauge\ng -4\n";
        let last = "# HELP v V.\n# TYPE v gauge\nv -Inf\n";
        assert_eq!(
            page(Format::Text, 9, write).0,
            format!(
                "# HELP a_total Says \"a\"\\\\b.\n# TYPE a_total counter\na_total{series}{rest}\
                 # HELP u U.\n# TYPE u untyped\nu NaN\n{last}"
            )
        );
        assert_eq!(
            page(Format::OpenMetrics, 9, write).0,
            format!(
                "# HELP a Says \\\"a\\\"\\\\b.\n# TYPE a counter\na_total{series}{rest}\
                 # HELP u U.\n# TYPE u unknown\nu NaN\n{last}# EOF\n"
            )
        );
    }

    #[test]
    fn a_counter_of_another_name_is_unknown_to_open_metrics() {
        let write = |page: &mut Page| page.one("a", Kind::Counter, "A.", 1_u64);
        assert_eq!(page(Format::OpenMetrics, 9, write).0, "# HELP a A.\n# TYPE a unknown\na 1\n# EOF\n");
    }

    #[test]
    fn nothing_stands_twice_and_names_are_sound() {
        let (text, _) = page(Format::Text, 9, |page| {
            let mut family = page.family("a", Kind::Gauge, "A.");
            family.add(&[("x", "1")], 1_u64);
            family.add(&[("x", "1")], 2_u64);
            drop(family);
            page.one("a", Kind::Gauge, "A.", 3_u64);
            page.one("b-c d\u{e4}", Kind::Gauge, "B.", 4_u64);
        });
        assert_eq!(
            text,
            "# HELP a A.\n# TYPE a gauge\na{x=\"1\"} 1\n# HELP b_c_d_ B.\n# TYPE b_c_d_ gauge\nb_c_d_ 4\n"
        );
    }

    #[test]
    fn a_family_has_no_more_series_than_the_cap_and_the_rest_is_counted() {
        let (text, cut) = page(Format::Text, 3, |page| {
            let mut family = page.family("a", Kind::Gauge, "A.");
            (0..10).for_each(|at: u64| family.add(&[("x", &at.to_string())], at));
            drop(family);
            page.one("b", Kind::Gauge, "B.", 1_u64);
        });
        assert_eq!(text.lines().filter(|line| line.starts_with("a{")).count(), 3);
        assert!(text.ends_with("\nb 1\n"));
        assert_eq!(cut, BTreeMap::from([("a".to_owned(), 7)]));
    }

    #[test]
    fn what_is_taken_back_is_gone() {
        let (text, _) = page(Format::Text, 3, |page| {
            page.one("a", Kind::Gauge, "A.", 1_u64);
            let place = page.place();
            page.one("b", Kind::Gauge, "B.", 1_u64);
            page.back_to(place);
        });
        assert_eq!(text, "# HELP a A.\n# TYPE a gauge\na 1\n");
    }

    #[test]
    fn the_programs_own_metrics_follow_in_the_same_form() {
        let own = "# HELP p_total P \"q\".\n# TYPE p_total counter\np_total{a=\"# TYPE\"} 1\n# HELP r R.\n# TYPE r untyped\nr 2\n";
        assert_eq!(Page::new(Format::Text, 1, 0).finish(own), own);
        assert_eq!(
            Page::new(Format::OpenMetrics, 1, 0).finish(own),
            "# HELP p P \\\"q\\\".\n# TYPE p counter\np_total{a=\"# TYPE\"} 1\n# HELP r R.\n# TYPE r unknown\nr 2\n# EOF\n"
        );
    }
}
