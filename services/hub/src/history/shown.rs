//! How history is doing, as metrics.

use std::sync::{Arc, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

use super::{Inner, Recorder};

/// Shows history's own counts at each scrape, as long as there is a recorder.
#[derive(Debug)]
pub(super) struct Shown {
    recorder: Weak<Inner>,
    on: IntGauge,
    works: IntGauge,
    hosts: IntGauge,
    bytes: IntGauge,
    oldest: IntGauge,
    samples: IntCounter,
    dropped: IntCounterVec,
    set_aside: IntCounter,
}

impl Shown {
    /// Shows it from now on.
    pub(super) fn show(recorder: &Recorder) {
        let made =
            Self::new(recorder).and_then(|shown| recorder.0.metrics.registry.register(Box::new(shown)));
        if let Err(error) = made {
            tracing::error!(%error, "failed to show how the history is doing");
        }
    }

    fn new(recorder: &Recorder) -> prometheus::Result<Self> {
        let gauge = IntGauge::new;
        let dropped = Opts::new("history_dropped_total", "Samples that the history left out.");
        let this = Self {
            recorder: Arc::downgrade(&recorder.0),
            on: gauge("history_on", "1 while samples are kept for the pages.")?,
            works: gauge("history_works", "0 while the history's file cannot be used.")?,
            hosts: gauge("history_hosts", "Hosts that the history knows.")?,
            bytes: gauge("history_bytes", "Bytes of the history's file, which history_max_bytes bounds.")?,
            oldest: gauge("history_oldest_seconds", "How far the history reaches back.")?,
            samples: IntCounter::new("history_samples_total", "Samples that the history took.")?,
            dropped: IntCounterVec::new(dropped, &["reason"])?,
            set_aside: IntCounter::new("history_set_aside_total", "Damaged files that were set aside.")?,
        };
        for (reason, _) in history::Stats::default().drops.each() {
            this.dropped.with_label_values(&[reason]);
        }
        Ok(this)
    }

    fn parts(&self) -> [&dyn Collector; 8] {
        [
            &self.on,
            &self.works,
            &self.hosts,
            &self.bytes,
            &self.oldest,
            &self.samples,
            &self.dropped,
            &self.set_aside,
        ]
    }
}

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(recorder) = self.recorder.upgrade().map(Recorder) else { return Vec::new() };
        let stats = recorder.history().map(|history| history.stats());
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.on.set(i64::from(recorder.is_on()));
        // Where there is none, nothing is broken.
        self.works.set(i64::from(stats.is_none_or(|stats| stats.works)));
        let stats = stats.unwrap_or_default();
        self.hosts.set(i64::try_from(stats.hosts).unwrap_or(i64::MAX));
        self.bytes.set(number(stats.bytes));
        let oldest =
            if stats.oldest_ms == 0 { 0 } else { recorder.now_ms().saturating_sub(stats.oldest_ms) / 1000 };
        self.oldest.set(number(oldest));
        let grow = |shown: &IntCounter, now: u64| shown.inc_by(now.saturating_sub(shown.get()));
        grow(&self.samples, stats.samples);
        grow(&self.set_aside, stats.set_aside);
        for (reason, count) in stats.drops.each() {
            grow(&self.dropped.with_label_values(&[reason]), count);
        }
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}
