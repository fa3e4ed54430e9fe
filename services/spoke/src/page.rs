//! The page `/`: the host at a glance. Written anew for each look; `assets/live.js` takes the parts that have `data-part`
//! from a fresh one, so that what is written here is written here alone.

mod charts;

use std::fmt::Write;
use std::sync::LazyLock;

use agent::clock::Millis;
use agent::http::assets::{Assets, LIVE, STYLE, UPLOT, UPLOT_STYLE};
use agent::http::draw::bar;
use agent::http::html::{Frame, escape};
use agent::http::words::{self, NONE, bytes, percent, rate};
use tz::UtcDateTime;

use crate::cgroup::Use;
use crate::glance::{
    Disk, Hour, Interface, LeftOut, MODES, Many, Now, Partition, Pressure, Seen, Space, float,
};
use crate::spoke::NO_HOST;
use charts::CHARTS;

/// The files that the page is made of.
pub(crate) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets::new([STYLE, UPLOT, UPLOT_STYLE, LIVE]));

/// Where the charts' numbers are.
pub(crate) const HOUR: &str = "/api/v1/hour";

/// The page.
pub(crate) fn render(now: &Now, hour: &Hour) -> String {
    let name = escape(&now.name);
    let seen = &now.seen;
    let numbers = &seen.numbers;
    let main = [
        format!(
            "<div data-live=\"5\" data-points=\"{HOUR}\">\n<h1>{name}</h1>\n\
             <p>This is a pattoo spoke (pattoo_agent_os_spoked {version}). It tells how its host is doing.\n\
             Its agent_id is <code>{agent_id}</code>.</p>\n\
             <p class=\"quiet\">As of <span id=\"at\" data-part>{at}</span>. <span id=\"live\"></span></p>\n\
             <p class=\"notice bad\" id=\"silent\" role=\"status\" hidden></p>\n{no_host}{blind}",
            version = now.program_version,
            agent_id = escape(&now.agent_id),
            at = utc(now.at_ms),
            no_host = no_host(now),
            blind = part("div", "blind", "", &blind(seen)),
        ),
        part("dl", "facts", "facts", &facts(seen)),
        "<h2>The last hour</h2>\n<div class=\"charts\">\n".to_owned(),
        CHARTS.iter().map(|chart| chart.draw(hour)).collect(),
        "</div>\n<h2>CPU by mode</h2>\n".to_owned(),
        part("dl", "modes", "facts", &modes(seen)),
        pressure(seen),
        table(
            "Partitions",
            "partitions",
            &numbers.partitions,
            "fullest",
            &[
                ("Mount point", ""),
                ("Device", "minor"),
                ("Type", "minor"),
                ("Size", "number minor"),
                ("Free", "number"),
                ("Used", "number"),
                ("", ""),
            ],
            partition,
        ),
        table(
            "Disks",
            "disks",
            &numbers.disks,
            "busiest",
            &[("Disk", ""), ("Reads", "number"), ("Writes", "number"), ("Busy", "number")],
            disk,
        ),
        table(
            "Interfaces",
            "interfaces",
            &numbers.interfaces,
            "busiest",
            &[
                ("Interface", ""),
                ("Receives", "number"),
                ("Sends", "number"),
                ("Errors and drops", "number"),
                ("Received", "number minor"),
                ("Sent", "number minor"),
            ],
            interface,
        ),
        SERVED.to_owned(),
        part("div", "missing", "", &missing(&now.missing_from_metrics)),
        "<h2>What is left out</h2>\n".to_owned(),
        part("div", "left-out", "", &left_out(&seen.left_out)),
        "<h2>What the spoke itself uses</h2>\n".to_owned(),
        part("div", "own", "", &own(&now.own)),
        "</div>\n".to_owned(),
    ]
    .concat();
    let assets = |files: [&str; 2]| files.map(|file| ASSETS.url(file));
    let frame = Frame {
        title: &format!("{}: pattoo spoke", now.name),
        name: "pattoo spoke",
        links: &[("/", "Host"), ("/pattoo-agent-os/300", "Post"), ("/metrics", "Metrics")],
        here: "/",
        styles: &assets([UPLOT_STYLE.name, STYLE.name]),
        scripts: &assets([UPLOT.name, LIVE.name]),
        foot: "",
    };
    frame.around(&main)
}

const SERVED: &str = r#"<h2>What is served here</h2>
<ul>
<li><a href="/pattoo-agent-os/300">/pattoo-agent-os/300</a>: the host's performance data as JSON, for a hub
that polls every 300 seconds. Any other number of seconds will do.</li>
<li><a href="/metrics">/metrics</a>: the host, in node_exporter's words, and how the spoke itself is doing, for
Prometheus.</li>
<li><a href="/api/v1/host">/api/v1/host</a> and <a href="/api/v1/hour">/api/v1/hour</a>: what this page shows, as
JSON.</li>
<li><a href="/livez">/livez</a>: whether the program lives;
<a href="/readyz">/readyz</a> and <a href="/healthz">/healthz</a>: whether it is ready to be asked.</li>
</ul>
"#;

/// An element that is taken anew from a fresh page.
fn part(element: &str, id: &str, class: &str, inner: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<{element} id=\"{id}\"{class} data-part>{inner}</{element}>\n")
}

fn no_host(now: &Now) -> String {
    if now.host_seen {
        return String::new();
    }
    format!("<p class=\"notice bad\"><strong>{NO_HOST}.</strong></p>\n")
}

/// Says at the head that something at the foot is worth reading.
fn blind(seen: &Seen) -> String {
    match seen.left_out.count {
        0 => String::new(),
        1 => "<p class=\"notice\">One thing cannot be seen: <a href=\"#left-out\">which, and why</a>.</p>"
            .to_owned(),
        count => format!(
            "<p class=\"notice\">{count} things cannot be seen: <a href=\"#left-out\">which, and why</a>.</p>"
        ),
    }
}

fn facts(seen: &Seen) -> String {
    let numbers = &seen.numbers;
    let space = |space: &Option<Space>| match space {
        Some(space) if float(space.total_bytes) > 0.0 => format!(
            "{} ({} of {})",
            percent(float(space.used_percent)),
            bytes(float(space.used_bytes)),
            bytes(float(space.total_bytes))
        ),
        Some(_) => "none".to_owned(),
        None => NONE.to_owned(),
    };
    let busy = |modes: &std::collections::BTreeMap<&str, f64>| {
        let idle = ["idle", "iowait"].iter().filter_map(|mode| modes.get(mode)).sum::<f64>();
        percent((100.0 - idle).max(0.0))
    };
    let load = |[one, five, fifteen]: [f64; 3]| format!("{one:.2}, {five:.2}, {fifteen:.2}");
    let text = |known: Option<String>| known.unwrap_or_else(|| NONE.to_owned());
    [
        ("System", seen.system.clone().unwrap_or_else(|| "Linux".to_owned())),
        ("Kernel", text(seen.kernel.clone())),
        ("Up for", text(seen.uptime_s.map(words::duration))),
        ("Load over 1, 5, 15 min", text(numbers.load.map(load))),
        ("CPU used", text(numbers.cpu_percent.as_ref().map(busy))),
        ("CPUs", seen.cpus.clone()),
        ("Memory used", space(&numbers.memory)),
        ("Swap used", space(&numbers.swap)),
        ("Processes", text(numbers.processes.map(|count| format!("{:.0}", float(count))))),
    ]
    .iter()
    .map(|(what, value)| fact(what, value))
    .collect()
}

fn fact(what: &str, value: &str) -> String {
    format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(what), escape(value))
}

fn modes(seen: &Seen) -> String {
    let Some(known) = &seen.numbers.cpu_percent else { return fact("CPU", NONE) };
    let each = MODES.iter().filter_map(|(mode, _)| Some(fact(mode, &percent(*known.get(mode)?))));
    each.collect()
}

/// How long work waited, where the kernel tells.
fn pressure(seen: &Seen) -> String {
    let row = |pressure: &Pressure| {
        let Pressure { on, who, last_10s_percent, last_60s_percent, last_300s_percent } = pressure;
        let cells: String = [last_10s_percent, last_60s_percent, last_300s_percent]
            .iter()
            .map(|share| format!("<td class=\"number\">{share:.2} %</td>"))
            .collect();
        let who = if *who == "full" { "all" } else { who };
        format!("<tr><th scope=\"row\">{who} waited for {on}</th>{cells}</tr>\n")
    };
    let inner = if seen.pressure.is_empty() {
        let why =
            seen.pressure_failed.as_ref().map_or("This kernel does not tell.".to_owned(), |why| escape(why));
        format!("<p class=\"quiet\">{why}</p>")
    } else {
        let rows: String = seen.pressure.iter().map(row).collect();
        let heads = [
            ("Share of the time in which", ""),
            ("10 s", "number"),
            ("1 min", "number"),
            ("5 min", "number"),
        ];
        framed("Pressure", &head(&heads), &format!("<tbody>\n{rows}</tbody>"))
    };
    format!("<h2>Pressure</h2>\n{}", part("div", "pressure", "", &inner))
}

fn head(heads: &[(&str, &str)]) -> String {
    let cell = |(name, class): &(&str, &str)| match (*name, *class) {
        ("", _) => "<td></td>".to_owned(),
        (name, "") => format!("<th scope=\"col\">{name}</th>"),
        (name, class) => format!("<th scope=\"col\" class=\"{class}\">{name}</th>"),
    };
    format!("<thead><tr>{}</tr></thead>\n", heads.iter().map(cell).collect::<String>())
}

fn framed(label: &str, head: &str, body: &str) -> String {
    format!(
        "<div class=\"table-frame\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\"><table>\n{head}{body}</table></div>\n"
    )
}

/// A table of some of many, which says so where it does not show all.
fn table<T>(
    heading: &str,
    id: &str,
    many: &Many<T>,
    chosen: &str,
    heads: &[(&str, &str)],
    row: impl Fn(&T) -> String,
) -> String {
    let (count, shown) = (many.count, many.shown.len());
    let note = if count > shown {
        format!("The {shown} {chosen} of {count}. The post and /metrics have all.")
    } else {
        String::new()
    };
    let mut rows: String = many.shown.iter().map(row).collect();
    if rows.is_empty() {
        rows = format!("<tr><td colspan=\"{}\">None.</td></tr>\n", heads.len());
    }
    format!(
        "<h2>{heading}</h2>\n{}{}",
        part("p", &format!("{id}-note"), "quiet", &note),
        framed(heading, &head(heads), &part("tbody", id, "", &rows)),
    )
}

/// A row: the name, then cells with their class.
fn row(name: &str, cells: &[(&str, String)]) -> String {
    let mut out = format!("<tr><th scope=\"row\">{}</th>", escape(name));
    for (class, value) in cells {
        // Writing to a text cannot fail.
        let _ = write!(out, "<td class=\"{class}\">{value}</td>");
    }
    out.push_str("</tr>\n");
    out
}

fn partition(partition: &Partition) -> String {
    let used = float(partition.used_percent);
    let kind = if partition.read_only { ", read-only" } else { "" };
    row(
        &partition.mountpoint,
        &[
            ("minor", format!("<code>{}</code>", escape(&partition.device))),
            ("minor", format!("{}{kind}", escape(&partition.fstype))),
            ("number minor", bytes(float(partition.total_bytes))),
            ("number", bytes(float(partition.free_bytes))),
            ("number", percent(used)),
            // What cannot be written to is full from the start.
            ("", if partition.read_only { String::new() } else { bar(used as f32) }),
        ],
    )
}

fn disk(disk: &Disk) -> String {
    row(
        &disk.name,
        &[
            ("number", known(disk.read_bytes_per_second, rate)),
            ("number", known(disk.written_bytes_per_second, rate)),
            ("number", known(disk.busy_percent, percent)),
        ],
    )
}

#[allow(clippy::cast_precision_loss, reason = "a page shows three digits")]
fn interface(interface: &Interface) -> String {
    row(
        &interface.name,
        &[
            ("number", known(interface.received_bytes_per_second, rate)),
            ("number", known(interface.sent_bytes_per_second, rate)),
            ("number", known(interface.faults_per_second, |faults| format!("{faults:.1}/s"))),
            ("number minor", bytes(interface.received_bytes as f64)),
            ("number minor", bytes(interface.sent_bytes as f64)),
        ],
    )
}

fn known(number: Option<f64>, write: impl Fn(f64) -> String) -> String {
    number.map_or_else(|| NONE.to_owned(), write)
}

/// What is missing from `/metrics`, where anything is.
fn missing(missing: &Many<LeftOut>) -> String {
    if missing.count == 0 {
        return String::new();
    }
    format!("<h2>What is missing from /metrics</h2>\n{}", list(missing))
}

fn left_out(left_out: &Many<LeftOut>) -> String {
    if left_out.count == 0 {
        return "<p>Nothing that was looked for is out of reach.</p>".to_owned();
    }
    list(left_out)
}

fn list(failing: &Many<LeftOut>) -> String {
    let item =
        |LeftOut { what, reason }: &LeftOut| format!("<li>{}: {}</li>\n", escape(what), escape(reason));
    let more = match failing.count - failing.shown.len() {
        0 => String::new(),
        more => format!("<p class=\"quiet\">And {more} more.</p>"),
    };
    format!("<ul>\n{}</ul>{more}", failing.shown.iter().map(item).collect::<String>())
}

/// Use and limits of the own control group.
fn own(own: &Use) -> String {
    let item = |what: &str, used: Option<String>, limit: Option<String>| {
        let limit = limit.unwrap_or_else(|| "no limit".to_owned());
        used.map_or_else(String::new, |used| row(what, &[("number", used), ("number", limit)]))
    };
    let count = |number: Option<f64>| number.map(|number| number.to_string());
    let rows = [
        item("memory, with cached files", own.memory.map(bytes), own.memory_limit.map(bytes)),
        item(
            "cpu",
            own.cpu_seconds.map(|seconds| format!("{seconds:.1} s so far")),
            own.cpu_limit.map(|cpus| format!("{cpus} cpus")),
        ),
        item("threads", count(own.tasks), count(own.tasks_limit)),
    ]
    .concat();
    if rows.is_empty() {
        return "<p>No control group tells.</p>".to_owned();
    }
    let heads = [("Its own control group", ""), ("used", "number"), ("limit", "number")];
    format!(
        "{}<p class=\"quiet\">Apart from the host's numbers.</p>",
        framed("What the spoke itself uses", &head(&heads), &format!("<tbody>\n{rows}</tbody>"))
    )
}

/// A time, such as `2026-01-31 23:59:59 UTC`.
fn utc(at_ms: Millis) -> String {
    let seconds = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
    UtcDateTime::from_timespec(seconds, 0).map_or_else(
        |_| NONE.to_owned(),
        |time| {
            format!(
                "{}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
                time.year(),
                time.month(),
                time.month_day(),
                time.hour(),
                time.minute(),
                time.second()
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_the_rest_is_counted_and_what_stands_there_is_a_text() {
        let named = |what: &str| LeftOut { what: what.to_owned(), reason: "<b>".to_owned() };
        let many = Many { count: 7, shown: vec![named("partition /<script>"), named("b")] };
        let shown = left_out(&many);
        assert!(shown.contains("<li>partition /&lt;script&gt;: &lt;b&gt;</li>\n<li>b: "), "{shown}");
        assert!(shown.contains("And 5 more."), "{shown}");
        assert!(left_out(&Many { count: 0, shown: vec![] }).contains("Nothing"));
        assert_eq!(missing(&Many { count: 0, shown: vec![] }), "");
        let cut = table("Things", "things", &many, "best", &[("Thing", "")], |thing| row(&thing.what, &[]));
        assert!(cut.contains("The 2 best of 7.") && !cut.contains("<script"), "{cut}");
        let none = Many::<LeftOut> { count: 0, shown: vec![] };
        assert!(
            table("Things", "things", &none, "best", &[("Thing", "")], |_| String::new()).contains("None.")
        );
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(utc(1_795_596_570_345), "2026-11-25 08:49:30 UTC");
    }
}
