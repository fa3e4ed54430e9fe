//! The spoke's own metrics.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::PROGRAM;

/// The spoke's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    success: IntGaugeVec,
    duration: GaugeVec,
    /// Posts served, by status.
    pub(crate) answers: IntCounterVec,
    /// Collections made.
    pub(crate) collections: IntCounter,
    /// Datapoints in the last post.
    pub(crate) datapoints: IntGauge,
    /// Samples taken for the percentages.
    pub(crate) samples: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = agent::metrics::registry(&PROGRAM, "pattoo_spoke")?;
        let collector = |name, help| (Opts::new(name, help), ["collector"]);
        let (opts, labels) =
            collector("collector_success", "Whether the last reading of a collector succeeded.");
        let success = register(&registry, IntGaugeVec::new(opts, &labels)?)?;
        let (opts, labels) =
            collector("collector_duration_seconds", "How long the last reading of a collector took.");
        let duration = register(&registry, GaugeVec::new(opts, &labels)?)?;
        let answers = Opts::new("posts_served_total", "Answers under /pattoo-agent-os/, by HTTP status.");
        let answers = register(&registry, IntCounterVec::new(answers, &["code"])?)?;
        let collections = IntCounter::new("collections_total", "How often the host was read.")?;
        let datapoints = IntGauge::new("post_datapoints", "Datapoints in the last post.")?;
        let samples =
            IntCounter::new("ring_samples_total", "Samples of the cpu times taken for the percentages.")?;
        Ok(Self {
            samples: register(&registry, samples)?,
            success,
            duration,
            answers,
            collections: register(&registry, collections)?,
            datapoints: register(&registry, datapoints)?,
            registry,
        })
    }

    /// Notes one reading of a collector.
    pub(crate) fn collected(&self, collector: &str, success: bool, duration: Duration) {
        self.success.with_label_values(&[collector]).set(i64::from(success));
        self.duration.with_label_values(&[collector]).set(duration.as_secs_f64());
    }
}

fn register<T: Collector + Clone + 'static>(registry: &Registry, metric: T) -> prometheus::Result<T> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
