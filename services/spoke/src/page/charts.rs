//! The charts of the last hour, in words and as lines, for whoever has no JavaScript; with it, `live.js` draws them.

use agent::http::draw::sparkline;
use agent::http::words::{NONE, percent, rate};

use super::part;
use crate::glance::Hour;

/// Points of a line that the server draws.
const POINTS: usize = 60;

/// What a chart's numbers are, as `live.js` knows it, and as it is written here.
#[derive(Clone, Copy)]
enum Unit {
    Percent,
    Rate,
    Number,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Percent => "percent",
            Self::Rate => "rate",
            Self::Number => "number",
        }
    }

    fn write(self, number: f32) -> String {
        match self {
            Self::Percent => percent(number.into()),
            Self::Rate => rate(number.into()),
            Self::Number => format!("{number:.2}"),
        }
    }

    /// Up to where a chart reaches at least.
    fn most(self) -> f32 {
        if matches!(self, Self::Percent) { 100.0 } else { 0.0 }
    }
}

pub(super) struct Chart {
    id: &'static str,
    heading: &'static str,
    unit: Unit,
    /// Series and what they are called.
    lines: &'static [(&'static str, &'static str)],
}

pub(super) const CHARTS: [Chart; 6] = [
    Chart {
        id: "chart-cpu",
        heading: "CPU",
        unit: Unit::Percent,
        lines: &[
            ("cpu_user_percent", "user"),
            ("cpu_system_percent", "system"),
            ("cpu_iowait_percent", "iowait"),
            ("cpu_irq_percent", "irq"),
            ("cpu_steal_percent", "steal"),
        ],
    },
    Chart { id: "chart-load", heading: "Load", unit: Unit::Number, lines: &[("load_1m", "1 minute")] },
    Chart {
        id: "chart-memory",
        heading: "Memory and swap",
        unit: Unit::Percent,
        lines: &[("memory_used_percent", "memory"), ("swap_used_percent", "swap")],
    },
    Chart {
        id: "chart-partition",
        heading: "Fullest partition",
        unit: Unit::Percent,
        lines: &[("fullest_partition_percent", "used")],
    },
    Chart {
        id: "chart-disks",
        heading: "Disks",
        unit: Unit::Rate,
        lines: &[("disk_read_bytes", "read"), ("disk_written_bytes", "written")],
    },
    Chart {
        id: "chart-network",
        heading: "Network",
        unit: Unit::Rate,
        lines: &[("network_received_bytes", "received"), ("network_sent_bytes", "sent")],
    },
];

impl Chart {
    pub(super) fn draw(&self, hour: &Hour) -> String {
        let each = |write: &dyn Fn(&str, &str) -> String, between: &str| {
            let lines: Vec<_> = self.lines.iter().map(|(series, label)| write(series, label)).collect();
            lines.join(between)
        };
        let now = |series: &str, label: &str| match hour.now_and_most(series) {
            Some((now, most)) => {
                format!("{label} {} (at most {})", self.unit.write(now), self.unit.write(most))
            }
            None => format!("{label} {NONE}"),
        };
        let line = |series: &str, label: &str| {
            let drawn = sparkline(
                &hour.means(series, POINTS),
                self.unit.most(),
                &format!("{}: {label}", self.heading),
            );
            format!("<p>{drawn} {label}</p>\n")
        };
        format!(
            "<div class=\"chart\"><h3>{}</h3>\n{}<div class=\"plot\" data-unit=\"{}\" data-series=\"{}\" data-labels=\"{}\">\n{}</div></div>\n",
            self.heading,
            part("p", self.id, "quiet", &each(&now, ", ")),
            self.unit.name(),
            each(&|series, _| series.to_owned(), " "),
            each(&|_, label| label.to_owned(), ","),
            each(&line, ""),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_stands_in_words_and_lines_before_any_script_runs() {
        let mut hour = Hour::default();
        for (at_ms, value) in [(3_590_000, 50.0), (3_600_000, 25.0)] {
            hour.push(at_ms, [value; 13]);
        }
        let [cpu, .., network] = &CHARTS;
        let drawn = cpu.draw(&hour);
        assert!(drawn.contains("user 25.0 % (at most 50.0 %), system 25.0 %"), "{drawn}");
        assert_eq!(drawn.matches("<svg class=\"spark\"").count(), cpu.lines.len());
        assert!(network.draw(&hour).contains("received 25 B/s (at most 50 B/s), sent"));
        assert!(network.draw(&Hour::default()).contains("received \u{2013}, sent \u{2013}"));
    }

    #[test]
    fn every_line_of_a_chart_is_a_series_of_the_hour() {
        let mut hour = Hour::default();
        hour.push(1, [1.0; 13]);
        for (series, _) in CHARTS.iter().flat_map(|chart| chart.lines) {
            assert!(hour.now_and_most(series).is_some(), "{series}");
        }
    }
}
