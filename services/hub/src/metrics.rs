//! What the hub counts.
//!
//! The books, once nothing is in motion: posts_taken_total + posts_found_total = posts_delivered_total +
//! posts_waiting + posts_quarantined_total + posts_dropped_total. A body that is set aside counts as taken as
//! well: from then on the hub answers for it. What does not enter the books: a body that a sender was refused,
//! and a post without any datapoint that the server takes (posts_empty_total), which goes nowhere.

use agent::metrics;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, Result};

use crate::PROGRAM;
use crate::check::Post;
use crate::deliver::Failure as DeliveryFailure;
use crate::lookup::Said;
use crate::poll::Failure as PollFailure;
use crate::quarantine::Why;

/// How a post came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The hub asked a target.
    Poll,
    /// An agent posted it.
    Receive,
    /// The original hub had left it behind.
    Takeover,
}

/// What became of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canaries {
    /// The server took it: it is well.
    Taken,
    /// The server refused it too: it is down.
    Refused,
    /// The server was not there.
    Unanswered,
}

impl Canaries {
    const ALL: [Self; 3] = [Self::Taken, Self::Refused, Self::Unanswered];

    fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// The hub's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// What `/metrics` shows.
    pub registry: Registry,
    /// Posts that an earlier run had left in the store.
    pub posts_found: IntCounter,
    /// Posts that the server took.
    pub posts_delivered: IntCounter,
    /// Posts that were kept and cannot be unpacked, a fault of the program.
    pub unpackable: IntCounter,
    /// Damage of the spool that was found when it was opened, by kind.
    pub spool_damage: IntCounterVec,
    /// Posts without a datapoint that the server takes: they are not taken.
    pub posts_empty: IntCounter,
    /// Datapoints of the posts that were taken, as the server sees them.
    pub datapoints_taken: IntCounter,
    /// Posts that could not be written to disk.
    pub store_errors: IntCounter,
    /// 1 while the server takes posts, 0 after it failed to.
    pub upstream_up: IntGauge,
    /// Polls that were due while the one before was still running.
    pub polls_missed: IntCounter,
    /// Deliveries of posts whose delivery before had failed.
    pub deliveries_retried: IntCounter,
    /// How long the server takes for a post.
    pub delivery_duration: Histogram,
    /// Lanes whose oldest post is ahead of the hub's clock.
    pub lanes_ahead: IntGauge,
    /// 1 while the hub's own clock seems to be behind.
    pub clock_suspect: IntGauge,
    /// How long polls take.
    pub poll_duration: Histogram,
    /// Seconds between two polls of a target.
    pub polling_interval: IntGauge,
    /// Targets that are polled.
    pub targets: IntGauge,
    /// Addresses of names beyond `max_addresses`.
    pub addresses_left_out: IntGauge,
    /// Targets whose last poll succeeded.
    pub targets_up: IntGauge,
    /// Targets whose last post was of a spoke that is taken from another target.
    pub targets_contested: IntGauge,
    /// Posts of a spoke that is taken from another target than the one that gave them.
    pub posts_contested: IntCounter,
    taken: IntCounterVec,
    quarantined: IntCounterVec,
    datapoints_ignored: IntCounterVec,
    delivery_failures: IntCounterVec,
    canaries: IntCounterVec,
    polls: IntCounterVec,
    lookups: IntCounterVec,
}

impl Metrics {
    /// All metrics at 0; those of delivery only where something is delivered.
    ///
    /// # Errors
    /// A name that Prometheus refuses.
    pub fn new(delivers: bool) -> Result<Self> {
        let registry = metrics::registry(&PROGRAM, "pattoo_hub")?;
        let counter = |name: &str, help: &str| -> Result<IntCounter> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        // Each label stands there from the start, so that a rate has a beginning.
        let counters = |name: &str, help: &str, label: &str, values: &[&str]| -> Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name, help), &[label])?;
            values.iter().for_each(|value| drop(metric.with_label_values(&[*value])));
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let poll_duration = Histogram::with_opts(
            HistogramOpts::new("poll_duration_seconds", "How long polls take, failed ones too.")
                .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
        )?;
        registry.register(Box::new(poll_duration.clone()))?;
        let reasons: Vec<&str> = Why::all().map(Why::label).collect();
        let results: Vec<&str> = std::iter::once(OK).chain(PollFailure::all().map(|f| f.label())).collect();
        let failures: Vec<&str> = DeliveryFailure::ALL.iter().map(|failure| failure.label()).collect();
        let this = Self {
            posts_found: counter("posts_found_total", "Posts of earlier runs that were found waiting.")?,
            posts_delivered: counter("posts_delivered_total", "Posts that the server took.")?,
            unpackable: counter(
                "posts_unpackable_total",
                "Posts that were kept and cannot be unpacked; they are lost.",
            )?,
            spool_damage: counters(
                "spool_damage_total",
                "Damaged places of the spool, found at start; the posts in them are lost, and not in the books.",
                "kind",
                &spool::Damage::default().kinds().map(|(kind, _)| kind),
            )?,
            posts_empty: counter(
                "posts_empty_total",
                "Posts without a valid datapoint; they are not taken.",
            )?,
            datapoints_taken: counter(
                "datapoints_taken_total",
                "Valid datapoints of the posts that are kept.",
            )?,
            datapoints_ignored: counters(
                "datapoints_ignored_total",
                "Datapoints that the server leaves out, or (metadata) keeps without what is no text.",
                "reason",
                &["keys", "data_type", "metadata"],
            )?,
            store_errors: counter("store_errors_total", "Bodies that could not be written to disk.")?,
            upstream_up: IntGauge::new("upstream_up", "0 while the server is down, else 1.")?,
            polls_missed: counter("polls_missed_total", "Polls left out: the one before was still running.")?,
            poll_duration,
            polling_interval: gauge("polling_interval_seconds", "Seconds between two polls of a target.")?,
            targets: gauge("targets", "Targets that are polled.")?,
            addresses_left_out: gauge(
                "addresses_left_out",
                "Addresses of names beyond max_addresses; they are not polled.",
            )?,
            lookups: counters(
                "lookups_total",
                "Lookups of names of which every address is a target.",
                "result",
                &Said::LABELS,
            )?,
            targets_up: gauge("targets_up", "Targets whose last poll succeeded.")?,
            targets_contested: gauge(
                "targets_contested",
                "Targets whose last post is of a spoke that another target gives.",
            )?,
            posts_contested: counter(
                "posts_contested_total",
                "Polled posts of a spoke that another target gives.",
            )?,
            taken: counters(
                "posts_taken_total",
                "Bodies that are kept, by where they came from.",
                "from",
                &["poll", "receive", "takeover"],
            )?,
            quarantined: counters(
                "posts_quarantined_total",
                "Bodies that were set aside.",
                "reason",
                &reasons,
            )?,
            delivery_failures: IntCounterVec::new(
                Opts::new("delivery_failures_total", "Deliveries that the server did not take."),
                &["reason"],
            )?,
            canaries: IntCounterVec::new(
                Opts::new(
                    "canaries_total",
                    "Times that an acknowledged post was sent again to ask for the server.",
                ),
                &["result"],
            )?,
            deliveries_retried: IntCounter::new(
                "deliveries_retried_total",
                "Deliveries of posts whose delivery before had failed.",
            )?,
            delivery_duration: Histogram::with_opts(
                HistogramOpts::new("delivery_duration_seconds", "How long deliveries take, failed ones too.")
                    .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            )?,
            lanes_ahead: IntGauge::new("lanes_ahead", "Sources whose oldest post is ahead of this clock.")?,
            clock_suspect: IntGauge::new("clock_suspect", "1 while this hub's clock seems to be behind.")?,
            polls: counters("polls_total", "Polls, by what came of them.", "result", &results)?,
            registry,
        };
        failures.iter().for_each(|value| drop(this.delivery_failures.with_label_values(&[*value])));
        Canaries::ALL.iter().for_each(|result| drop(this.canaries.with_label_values(&[result.label()])));
        this.upstream_up.set(1);
        if delivers {
            this.show_delivery(true);
        }
        Ok(this)
    }

    /// Shows the metrics of delivery, or shows them no more: they are there only where there is a server.
    pub(crate) fn show_delivery(&self, shown: bool) {
        let parts: [Box<dyn Collector>; 7] = [
            Box::new(self.delivery_failures.clone()),
            Box::new(self.canaries.clone()),
            Box::new(self.deliveries_retried.clone()),
            Box::new(self.delivery_duration.clone()),
            Box::new(self.lanes_ahead.clone()),
            Box::new(self.clock_suspect.clone()),
            Box::new(self.upstream_up.clone()),
        ];
        for part in parts {
            // One that is shown already, or not shown yet, is as it should be.
            let _ = if shown { self.registry.register(part) } else { self.registry.unregister(part) };
        }
    }

    /// A body is kept, in the store or in quarantine.
    pub fn taken(&self, from: From) {
        let label = match from {
            From::Poll => "poll",
            From::Receive => "receive",
            From::Takeover => "takeover",
        };
        self.taken.with_label_values(&[label]).inc();
    }

    /// Bodies that are kept, wherever they came from.
    pub(crate) fn taken_in_all(&self) -> u64 {
        ["poll", "receive", "takeover"].iter().map(|from| self.taken.with_label_values(&[*from]).get()).sum()
    }

    /// A post was kept: its datapoints.
    pub fn datapoints(&self, post: &Post) {
        self.datapoints_taken.inc_by(count(post.datapoints));
        self.ignored(post);
    }

    /// A post has no datapoint that the server takes.
    pub fn empty(&self, post: &Post) {
        self.posts_empty.inc();
        self.ignored(post);
    }

    fn ignored(&self, post: &Post) {
        let ignored = post.ignored;
        let reasons =
            [("keys", ignored.keys), ("data_type", ignored.data_type), ("metadata", ignored.metadata)];
        for (reason, datapoints) in reasons {
            self.datapoints_ignored.with_label_values(&[reason]).inc_by(count(datapoints));
        }
    }

    /// A body was set aside.
    pub fn quarantined(&self, why: impl Into<Why>) {
        self.quarantined.with_label_values(&[why.into().label()]).inc();
    }

    /// Bodies that were set aside for this reason.
    pub(crate) fn quarantined_for(&self, why: Why) -> u64 {
        self.quarantined.with_label_values(&[why.label()]).get()
    }

    /// A delivery failed.
    pub fn delivery_failed(&self, failure: DeliveryFailure) {
        self.delivery_failures.with_label_values(&[failure.label()]).inc();
    }

    /// The canary was sent.
    pub fn canary(&self, result: Canaries) {
        self.canaries.with_label_values(&[result.label()]).inc();
    }

    /// A name was looked up.
    pub(crate) fn looked_up(&self, said: &Said) {
        self.lookups.with_label_values(&[said.label()]).inc();
    }

    /// A poll ended.
    pub fn polled(&self, failure: Option<PollFailure>) {
        self.polls.with_label_values(&[failure.map_or(OK, PollFailure::label)]).inc();
    }
}

/// The label of a poll that succeeded.
const OK: &str = "ok";

fn count(datapoints: usize) -> u64 {
    u64::try_from(datapoints).unwrap_or(u64::MAX)
}
