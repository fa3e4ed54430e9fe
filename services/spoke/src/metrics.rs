//! The spoke's own metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::reason::AllLeftOut;
use crate::{PROGRAM, cgroup};

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
    left_out: IntGaugeVec,
    /// What `left_out` says, by its labels.
    left_out_now: Arc<Mutex<BTreeMap<[&'static str; 2], i64>>>,
    /// Series that the cap left out of `/metrics`, by family.
    cut: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new(host_is_seen: bool) -> prometheus::Result<Self> {
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
        let left_out =
            Opts::new("left_out", "What the last reading left out of the post, by collector and reason.");
        let left_out = register(&registry, IntGaugeVec::new(left_out, &["collector", "reason"])?)?;
        let host_seen = IntGauge::new(
            "host_seen",
            "0: in a container that was given no host; it tells of the container.",
        )?;
        register(&registry, host_seen)?.set(i64::from(host_is_seen));
        registry.register(Box::new(cgroup::Metrics::new()?))?;
        let cut = Opts::new("metrics_series_cut_total", "Series left out since their family had too many.");
        let cut = register(&registry, IntCounterVec::new(cut, &["family"])?)?;
        Ok(Self {
            left_out,
            left_out_now: Arc::default(),
            cut,
            samples: register(&registry, samples)?,
            success,
            duration,
            answers,
            collections: register(&registry, collections)?,
            datapoints: register(&registry, datapoints)?,
            registry,
        })
    }

    /// Takes over what is left out now. What did not change stays as it is: a reader sees no moment without it.
    pub(crate) fn left_out(&self, all: &AllLeftOut) {
        let mut counts = BTreeMap::<_, i64>::new();
        for one in all.values() {
            *counts.entry([one.collector, one.reason.word()]).or_default() += 1;
        }
        let mut known = self.left_out_now.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.keys().filter(|labels| !counts.contains_key(*labels)) {
            // It is there, since it was set here.
            let _ = self.left_out.remove_label_values(gone);
        }
        for (labels, count) in &counts {
            self.left_out.with_label_values(labels).set(*count);
        }
        *known = counts;
    }

    /// Notes what the cap left out of a page.
    pub(crate) fn cut(&self, families: &BTreeMap<String, u64>) {
        for (family, series) in families {
            self.cut.with_label_values(&[family]).inc_by(*series);
        }
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
