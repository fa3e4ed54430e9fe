//! The program's own metrics, in Prometheus' text form.

use prometheus::{IntGauge, Opts, Registry, TextEncoder};

use crate::Program;
use crate::http::answer::{self, Answer};

/// A registry that already tells version and start time, under `prefix` (`pattoo_spoke`, `pattoo_hub`).
///
/// # Errors
/// A name that Prometheus refuses.
pub fn registry(program: &'static Program, prefix: &str) -> prometheus::Result<Registry> {
    let registry = Registry::new_custom(Some(prefix.to_owned()), None)?;
    let build = Opts::new("build_info", "The version of the program; always 1.")
        .const_label("version", program.version)
        .const_label("program", program.name);
    let build = IntGauge::with_opts(build)?;
    build.set(1);
    registry.register(Box::new(build))?;
    let started = IntGauge::new("start_time_seconds", "When the program started, in seconds since 1970.")?;
    started.set(i64::try_from(crate::clock::Clock::system().now_ms() / 1000).unwrap_or(i64::MAX));
    registry.register(Box::new(started))?;
    Ok(registry)
}

/// The page `/metrics`, with what `more` writes at its end: families of which the registry has none.
pub fn page(registry: &Registry, more: impl FnOnce(&mut String)) -> Answer {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(mut text) => {
            more(&mut text);
            answer::with_type(200, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        Err(error) => answer::text(500, format!("failed to write the metrics: {error}\n")),
    }
}

/// Writes the value of a label, without the quotes around it.
pub fn write_label(out: &mut String, value: &str) {
    escape(out, value, &['\\', '\n', '"']);
}

/// Writes the text of a help line in Prometheus' text form; OpenMetrics has it as [`write_label`] does.
pub fn write_help(out: &mut String, text: &str) {
    escape(out, text, &['\\', '\n']);
}

fn escape(out: &mut String, text: &str, special: &[char]) {
    let mut rest = text;
    while let Some(at) = rest.find(special) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let mut letters = from.chars();
        out.push_str(match letters.next() {
            Some('\n') => "\\n",
            Some('"') => "\\\"",
            _ => "\\\\",
        });
        rest = letters.as_str();
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        let written = |write: fn(&mut String, &str), text| {
            let mut out = String::new();
            write(&mut out, text);
            out
        };
        let odd = "a\\b\"c\nd \u{e9}";
        assert_eq!(written(write_label, odd), "a\\\\b\\\"c\\nd \u{e9}");
        assert_eq!(written(write_help, odd), "a\\\\b\"c\\nd \u{e9}");
        assert_eq!(written(write_label, ""), "");
    }
}
