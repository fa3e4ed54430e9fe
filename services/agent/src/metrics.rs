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

/// The page `/metrics`.
pub fn page(registry: &Registry) -> Answer {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => answer::with_type(200, "text/plain; version=0.0.4; charset=utf-8", text),
        Err(error) => answer::text(500, format!("failed to write the metrics: {error}\n")),
    }
}
