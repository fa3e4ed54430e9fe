//! What `/metrics` says of each target: a series of each family for every target that was polled.
//!
//! Written by hand, not through the registry: a fleet of thousands costs a scrape milliseconds so, and nothing is
//! kept for it between scrapes. Who leaves the targets leaves the page, and the reason for a failure is a label of a
//! family of its own, which has a series only while a target fails: reasons do not multiply the series.

use std::fmt::Write;
use std::time::Duration;

use agent::metrics::{write_help, write_label};
use tokio::time::Instant;

use crate::targets::Told;

/// A family.
struct Family {
    name: &'static str,
    help: &'static str,
    /// Whether the reason for the failure is a label.
    says_why: bool,
    /// The number for a target; none where it has no series in the family.
    number: fn(&Told, Instant) -> Option<f64>,
}

const UP: Family = Family {
    name: "pattoo_hub_target_up",
    help: "Whether the last poll of a target brought a post; a target that was not polled yet has none.",
    says_why: false,
    number: |told, _| Some(f64::from(told.failure.is_none())),
};

const FAILING: Family = Family {
    name: "pattoo_hub_target_failing",
    help: "1 while a target fails, and why.",
    says_why: true,
    number: |told, _| told.failure.map(|_| 1.0),
};

const AGE: Family = Family {
    name: "pattoo_hub_target_last_poll_age_seconds",
    help: "How long ago the last poll of a target ended.",
    says_why: false,
    number: |told, now| Some(seconds(now.saturating_duration_since(told.last.ended))),
};

const DURATION: Family = Family {
    name: "pattoo_hub_target_last_poll_duration_seconds",
    help: "How long the last poll of a target took, a failed one too.",
    says_why: false,
    number: |told, _| Some(seconds(told.last.took)),
};

/// To the millisecond: more says nothing, and is three times as long.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// What a series takes on the page, roughly.
const SERIES_BYTES: usize = 80;

/// Writes the families at the end of `page`, each in the order of the targets' names.
pub(crate) fn write(page: &mut String, told: &[Told], now: Instant) {
    let mut targets: Vec<_> = told.iter().map(|told| (label(told), told)).collect();
    targets.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    page.reserve(3 * SERIES_BYTES * targets.len());
    for Family { name, help, says_why, number } in [UP, FAILING, AGE, DURATION] {
        // Writing to a text cannot fail.
        let _ = write!(page, "# HELP {name} ");
        write_help(page, help);
        let _ = writeln!(page, "\n# TYPE {name} gauge");
        for (label, told) in &targets {
            let Some(number) = number(told, now) else { continue };
            for part in [name, "{target=\"", label, "\""] {
                page.push_str(part);
            }
            if let Some(failure) = told.failure.filter(|_| says_why) {
                // A word of a closed list, with nothing to escape.
                let _ = write!(page, ",reason=\"{}\"", failure.label());
            }
            let _ = writeln!(page, "}} {number}");
        }
    }
}

/// The target as the value of a label.
fn label(told: &Told) -> String {
    let mut escaped = String::new();
    write_label(&mut escaped, &told.polled.target.to_string());
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agent::http::health::Health;

    use super::*;
    use crate::claims::Claims;
    use crate::client::Fault;
    use crate::metrics::Metrics;
    use crate::poll::{Failure, State};
    use crate::target::{Device, Host, Resolve, Target};
    use crate::targets::{Last, Polled, Targets};

    fn device(host: &str) -> Device {
        Device {
            target: Target { host: Host::parse(host).unwrap(), port: 5000, tls: None },
            resolve: Resolve::One,
        }
    }

    fn targets(devices: &[Device]) -> (Targets, Vec<Arc<Polled>>) {
        let (metrics, health) = (Metrics::new(false).unwrap(), Health::starting());
        let targets = Targets::new(Claims::of_a_test(metrics.clone(), health.clone()), metrics, health);
        let begun = targets.configure(devices, 10).targets;
        (targets, begun)
    }

    fn up() -> State {
        State::Up { agent_id: "a".to_owned(), bytes: 1, took: Duration::ZERO }
    }

    /// The series on a page that is written at that moment.
    fn series(targets: &Targets, now: Instant) -> Vec<String> {
        let mut page = String::new();
        write(&mut page, &targets.told(), now);
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn each_target_that_was_polled_has_its_series_and_a_reason_while_it_fails() {
        let listed = [device("b.example"), device("::1"), device("a.example")];
        let (targets, begun) = targets(&listed);
        let ended = Instant::now();
        let now = ended + Duration::from_millis(1500);
        let last = Last { ended, took: Duration::from_micros(12_345) };
        assert_eq!(series(&targets, now), Vec::<String>::new());
        let of = |host: &str| begun.iter().find(|polled| polled.target == device(host).target).unwrap();
        targets.polled(of("b.example"), up(), last);
        targets.polled(of("::1"), State::Failing(Failure::Transport(Fault::Timeout)), last);
        let first = device("b.example").target;
        let contested =
            |goes_up| State::Contested { agent_id: "a".to_owned(), first: first.clone(), goes_up };
        targets.polled(of("a.example"), contested(true), last);
        assert_eq!(
            series(&targets, now),
            [
                "pattoo_hub_target_up{target=\"[::1]:5000\"} 0",
                "pattoo_hub_target_up{target=\"a.example:5000\"} 1",
                "pattoo_hub_target_up{target=\"b.example:5000\"} 1",
                "pattoo_hub_target_failing{target=\"[::1]:5000\",reason=\"timeout\"} 1",
                "pattoo_hub_target_last_poll_age_seconds{target=\"[::1]:5000\"} 1.5",
                "pattoo_hub_target_last_poll_age_seconds{target=\"a.example:5000\"} 1.5",
                "pattoo_hub_target_last_poll_age_seconds{target=\"b.example:5000\"} 1.5",
                "pattoo_hub_target_last_poll_duration_seconds{target=\"[::1]:5000\"} 0.012",
                "pattoo_hub_target_last_poll_duration_seconds{target=\"a.example:5000\"} 0.012",
                "pattoo_hub_target_last_poll_duration_seconds{target=\"b.example:5000\"} 0.012",
            ]
        );
        targets.polled(of("a.example"), contested(false), last);
        let failing = |found: &[String]| found.iter().filter(|line| line.contains("_failing{")).count();
        let found = series(&targets, now);
        assert!(found.contains(
            &"pattoo_hub_target_failing{target=\"a.example:5000\",reason=\"identity\"} 1".to_owned()
        ));
        // Another reason takes the place of the one before, and who is well has none.
        targets.polled(of("a.example"), State::Failing(Failure::Status(500)), last);
        targets.polled(of("::1"), up(), last);
        let found = series(&targets, now);
        assert_eq!(failing(&found), 1);
        assert!(found.contains(
            &"pattoo_hub_target_failing{target=\"a.example:5000\",reason=\"status\"} 1".to_owned()
        ));
    }

    #[test]
    fn who_leaves_leaves_the_page_and_who_is_wanted_twice_is_there_once() {
        let (one, other) = (device("10.0.0.1"), device("10.0.0.2"));
        let mut twice = device("name.example");
        twice.resolve = Resolve::All;
        let (targets, begun) = targets(&[one.clone(), other.clone(), twice.clone()]);
        let found = agent::resolve::Every { v4: Ok(vec!["10.0.0.1".parse().unwrap()]), v6: Ok(Vec::new()) };
        assert!(targets.looked_up(&twice.target, found).0.is_empty());
        let last = Last { ended: Instant::now(), took: Duration::ZERO };
        begun.iter().for_each(|polled| targets.polled(polled, up(), last));
        let shown = || series(&targets, Instant::now()).iter().filter(|line| line.contains("_up{")).count();
        assert_eq!(shown(), 2);
        targets.configure(std::slice::from_ref(&other), 10);
        assert_eq!(shown(), 1);
        // It is back, and was not polled since.
        targets.configure(&[one, other], 10);
        assert_eq!(shown(), 1);
    }

    #[test]
    fn a_page_of_ten_thousand_targets_costs_milliseconds() {
        let devices: Vec<_> =
            (0..10_000).map(|number| device(&format!("10.0.{}.{}", number / 250, number % 250))).collect();
        let (targets, begun) = targets(&devices);
        let last = Last { ended: Instant::now(), took: Duration::from_millis(3) };
        for (at, polled) in begun.iter().enumerate() {
            let fails = at % 10 == 0;
            let state = if fails { State::Failing(Failure::Transport(Fault::Refused)) } else { up() };
            targets.polled(polled, state, last);
        }
        let mut page = String::new();
        let started = std::time::Instant::now();
        write(&mut page, &targets.told(), Instant::now());
        let took = started.elapsed();
        println!("{} targets: {} bytes in {took:?}", begun.len(), page.len());
        assert_eq!(page.lines().count(), 31_000 + 2 * 4);
        // Five milliseconds in a release build, forty in this one; a loop within a loop takes minutes.
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}
