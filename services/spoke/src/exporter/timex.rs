//! How well the kernel's clock is kept, as `adjtimex` tells; nothing is adjusted. The clock is one for the whole
//! machine, containers too.

use std::path::PathBuf;

use rtime_clock::adjtime::{Timex, adjtimex};

use super::page::{Kind, Number, Page};
use super::{Done, Round};
use crate::host::HostError;

/// What adjtimex returns where nobody keeps the clock.
const TIME_ERROR: i32 = 5;

/// The bit of the status that says that offset and jitter are nanoseconds.
const STA_NANO: i32 = 0x2000;

/// A frequency is parts of a million, with 16 bits behind the point.
const SCALED_PPM: f64 = 1_000_000.0 * 65_536.0;

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    // All zero: only asked.
    let mut timex = Timex::new();
    let state =
        adjtimex(&mut timex).map_err(|source| HostError::Read { path: PathBuf::from("adjtimex"), source })?;
    write(state, &timex, round.page);
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "node_exporter's own arithmetic, in floats")]
fn write(state: i32, Timex(timex): &Timex, page: &mut Page) {
    let fine = if timex.status & STA_NANO == 0 { 1e6 } else { 1e9 };
    let mut gauge = |name: &str, help: &str, number: Number| {
        page.one(&format!("node_timex_{name}"), Kind::Gauge, help, number);
    };
    let float = |number: i64, divisor: f64| Number::Float(number as f64 / divisor);
    gauge("sync_status", "Whether the clock is kept by a server.", Number::from(state != TIME_ERROR));
    gauge("offset_seconds", "Seconds by which the clock is off.", float(timex.offset, fine));
    let ratio = Number::Float(1.0 + timex.freq as f64 / SCALED_PPM);
    gauge("frequency_adjustment_ratio", "How much faster the clock is made.", ratio);
    gauge("maxerror_seconds", "Seconds by which the clock may be off.", float(timex.maxerror, 1e6));
    gauge("estimated_error_seconds", "Seconds by which it is thought to be off.", float(timex.esterror, 1e6));
    gauge("status", "The bits of the status.", i64::from(timex.status).into());
    gauge("loop_time_constant", "How slowly the clock is corrected.", timex.constant.into());
    gauge("tick_seconds", "Seconds between two ticks.", float(timex.tick, 1e6));
    gauge(
        "pps_frequency_hertz",
        "The frequency of the pulse of each second.",
        float(timex.ppsfreq, SCALED_PPM),
    );
    gauge("pps_jitter_seconds", "How much that pulse trembles.", float(timex.jitter, fine));
    gauge("pps_shift_seconds", "Over how long that pulse is watched.", i64::from(timex.shift).into());
    gauge("pps_stability_hertz", "How much its frequency changes.", float(timex.stabil, SCALED_PPM));
    gauge("tai_offset_seconds", "Seconds by which atomic time is ahead.", i64::from(timex.tai).into());
    for (name, help, count) in [
        ("pps_jitter_total", "How often the pulse trembled too much.", timex.jitcnt),
        ("pps_calibration_total", "How often the pulse was watched.", timex.calcnt),
        ("pps_error_total", "How often watching it failed.", timex.errcnt),
        ("pps_stability_exceeded_total", "How often its frequency changed too much.", timex.stbcnt),
    ] {
        page.one(&format!("node_timex_{name}"), Kind::Counter, help, count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::Format;
    use super::*;

    #[test]
    fn units_are_seconds_whatever_the_kernel_counts_in() {
        let mut timex = Timex::new();
        timex.0.offset = 1500;
        timex.0.freq = 65_536;
        let page = |state, timex: &Timex| {
            let mut page = Page::new(Format::Text, 9, 0);
            write(state, timex, &mut page);
            page.finish("")
        };
        let text = page(0, &timex);
        assert!(text.contains("\nnode_timex_offset_seconds 0.0015\n"), "{text}");
        assert!(text.contains("\nnode_timex_frequency_adjustment_ratio 1.000001\n"), "{text}");
        assert!(text.contains("\nnode_timex_sync_status 1\n"), "{text}");
        timex.0.status = STA_NANO;
        let text = page(TIME_ERROR, &timex);
        assert!(text.contains("\nnode_timex_offset_seconds 0.0000015\n"), "{text}");
        assert!(text.contains("\nnode_timex_sync_status 0\n"), "{text}");
    }
}
