//! The spool's bounds, and what it counts, as metrics.

use std::sync::{Arc, Weak};
use std::time::Duration;

use agent::clock::Clock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, MetricFamily, MetricType};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};
use spool::{DropReason, Options, SYNC_BUCKETS_US, Stats};

use super::{Inner, Store};

/// What bounds the spool.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes on disk.
    pub max_bytes: u64,
    /// Age of a post since it was taken.
    pub max_age: Duration,
    /// Lanes.
    pub max_sources: u32,
}

/// A segment of the spool where the bounds leave room for it.
const SEGMENT_BYTES: u64 = 8 << 20;

/// A lane's cursor in a segment's snapshot, doubled for what stands beside them.
const SNAPSHOT_BYTES: u64 = 24;

impl Bounds {
    /// The smallest `max_bytes` for that many sources: the spool wants four segments, and of each at least half for
    /// records.
    pub fn least_max_bytes(max_sources: u32) -> u64 {
        4 * Self::segment(0, max_sources)
    }

    /// The longest post that surely fits, packed or not.
    pub fn most_post_bytes(&self) -> u64 {
        self.options().max_body().saturating_sub(1)
    }

    fn segment(max_bytes: u64, max_sources: u32) -> u64 {
        let least = (2 * SNAPSHOT_BYTES * u64::from(max_sources)).max(64 << 10).next_multiple_of(4096);
        // Space is given back a segment at a time: a small bound wants small ones.
        (max_bytes / 64).next_multiple_of(4096).clamp(least, SEGMENT_BYTES.max(least))
    }

    pub(crate) fn options(&self) -> Options {
        let segment_bytes = Self::segment(self.max_bytes, self.max_sources);
        Options {
            segment_bytes,
            max_bytes: self.max_bytes,
            max_age: self.max_age,
            max_lanes: self.max_sources,
            set_aside_max_bytes: (self.max_bytes / 16).max(segment_bytes),
            ..Options::default()
        }
    }
}

/// Shows the spool's own books at each scrape, as long as there is a store.
#[derive(Debug)]
pub(super) struct Shown {
    store: Weak<Inner>,
    clock: Clock,
    posts_waiting: IntGauge,
    waiting_bytes: IntGauge,
    oldest_seconds: IntGauge,
    lanes: IntGauge,
    allocated_bytes: IntGauge,
    max_bytes: IntGauge,
    max_age: IntGauge,
    set_aside_bytes: IntGauge,
    write_errors: IntCounter,
    dropped: IntCounterVec,
    syncs: Desc,
}

/// Microseconds of a second.
const MICROS: f64 = 1e6;

impl Shown {
    pub(super) fn new(store: &Store) -> prometheus::Result<Self> {
        let gauge = IntGauge::new;
        let dropped = Opts::new("posts_dropped_total", "Posts that were taken and are lost.");
        let this = Self {
            store: Arc::downgrade(&store.0),
            clock: store.0.clock,
            posts_waiting: gauge("posts_waiting", "Posts that wait for delivery.")?,
            waiting_bytes: gauge("waiting_bytes", "Bytes on disk of the posts that wait for delivery.")?,
            oldest_seconds: gauge(
                "oldest_waiting_seconds",
                "Age of the oldest post that waits; 0 where none does.",
            )?,
            lanes: gauge("spool_lanes", "Sources that the spool knows.")?,
            allocated_bytes: gauge(
                "spool_allocated_bytes",
                "Bytes that the spool takes on disk, which max_bytes bounds.",
            )?,
            max_bytes: gauge("spool_max_bytes", "Bytes that the spool may take on disk: max_bytes.")?,
            max_age: gauge("spool_max_age_seconds", "How long a post may wait: max_age.")?,
            write_errors: IntCounter::new(
                "spool_write_errors_total",
                "Writes and syncs of the spool that the disk refused.",
            )?,
            set_aside_bytes: gauge("spool_set_aside_bytes", "Bytes of damaged files that were set aside.")?,
            dropped: IntCounterVec::new(dropped, &["reason"])?,
            syncs: Desc::new(
                "spool_sync_duration_seconds".to_owned(),
                "How long a group commit takes: one write and one sync.".to_owned(),
                Vec::new(),
                Default::default(),
            )?,
        };
        for reason in DropReason::ALL {
            this.dropped.with_label_values(&[reason.word()]);
        }
        Ok(this)
    }

    fn update(&self, store: &Store, stats: &Stats) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.posts_waiting.set(number(stats.waiting.records));
        self.waiting_bytes.set(number(stats.waiting.bytes));
        let oldest = store.oldest_ms().map_or(0, |taken| self.clock.now_ms().saturating_sub(taken) / 1000);
        self.oldest_seconds.set(number(oldest));
        self.lanes.set(number(stats.lanes));
        self.allocated_bytes.set(number(stats.allocated_bytes));
        self.set_aside_bytes.set(number(stats.set_aside_bytes));
        let (max_bytes, max_age) = store.0.spool.bounds();
        self.max_bytes.set(number(max_bytes));
        self.max_age.set(number(max_age.as_secs()));
        self.write_errors.inc_by(stats.write_errors.saturating_sub(self.write_errors.get()));
        for reason in DropReason::ALL {
            let shown = self.dropped.with_label_values(&[reason.word()]);
            shown.inc_by(stats.dropped_for(reason).records.saturating_sub(shown.get()));
        }
    }

    fn syncs(&self, stats: &Stats) -> MetricFamily {
        let syncs = &stats.syncs;
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(SYNC_BUCKETS_US.len());
        for (bound, count) in SYNC_BUCKETS_US.iter().zip(syncs.buckets) {
            cumulative += count;
            let mut bucket = Bucket::default();
            #[allow(clippy::cast_precision_loss, reason = "the bounds are small round numbers")]
            bucket.set_upper_bound(*bound as f64 / MICROS);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_sample_count(syncs.count);
        histogram.set_sample_sum(syncs.total.as_secs_f64());
        histogram.set_bucket(buckets);
        let mut metric = prometheus::proto::Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(self.syncs.fq_name.clone());
        family.set_help(self.syncs.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        family
    }

    fn parts(&self) -> [&dyn Collector; 10] {
        [
            &self.posts_waiting,
            &self.waiting_bytes,
            &self.oldest_seconds,
            &self.lanes,
            &self.allocated_bytes,
            &self.max_bytes,
            &self.max_age,
            &self.set_aside_bytes,
            &self.write_errors,
            &self.dropped,
        ]
    }
}

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).chain([&self.syncs]).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(store) = self.store.upgrade().map(Store) else { return Vec::new() };
        let stats = store.stats();
        self.update(&store, &stats);
        self.parts().into_iter().flat_map(Collector::collect).chain([self.syncs(&stats)]).collect()
    }
}
