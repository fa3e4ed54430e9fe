//! The page `/`: says in words what the spoke serves.

use std::collections::BTreeMap;

use agent::http::html::escape;
use sysinfo::System;

use crate::PROGRAM;
use crate::cgroup::{self, Use};
use crate::spoke::{NO_HOST, Spoke};

/// The page.
pub(crate) fn render(spoke: &Spoke) -> String {
    let name = escape(&spoke.hostname());
    let version = PROGRAM.version;
    let agent_id = escape(&spoke.agent_id.id);
    let system = escape(&System::long_os_version().unwrap_or_else(|_| "Linux".to_owned()));
    let no_host =
        if spoke.host_is_seen { String::new() } else { format!("<p><strong>{NO_HOST}.</strong></p>\n") };
    let left_out = left_out(spoke);
    let own = own(&cgroup::own());
    let missing = missing(spoke);
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: pattoo spoke</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }}
code {{ overflow-wrap: anywhere; }}
th, td {{ padding: 0 1rem 0 0; text-align: left; }}
</style>
</head>
<body>
<main>
<h1>{name}</h1>
<p>This is a pattoo spoke (pattoo_agent_os_spoked {version}) on {system}. It tells how its host is doing.
Its agent_id is <code>{agent_id}</code>.</p>
{no_host}<h2>What is served here</h2>
<ul>
<li><a href="/pattoo-agent-os/300">/pattoo-agent-os/300</a>: the host's performance data as JSON, for a hub
that polls every 300 seconds. Any other number of seconds will do.</li>
<li><a href="/metrics">/metrics</a>: the host, in node_exporter's words, and how the spoke itself is doing, for
Prometheus.</li>
<li><a href="/livez">/livez</a>: whether the program lives;
<a href="/readyz">/readyz</a> and <a href="/healthz">/healthz</a>: whether it is ready to be asked.</li>
</ul>
{missing}<h2>What is left out</h2>
{left_out}
<h2>What the spoke itself uses</h2>
{own}
</main>
</body>
</html>
"#
    )
}

fn left_out(spoke: &Spoke) -> String {
    let failing = spoke.notices.now();
    if failing.is_empty() {
        return "<p>Nothing that was looked for was out of reach when the host was last read.</p>".to_owned();
    }
    list(&failing)
}

/// What is missing from `/metrics`, where anything is.
fn missing(spoke: &Spoke) -> String {
    let failing = spoke.missing.now();
    if failing.is_empty() {
        return String::new();
    }
    format!("<h2>What is missing from /metrics</h2>\n{}\n", list(&failing))
}

fn list(failing: &BTreeMap<String, String>) -> String {
    let item =
        |(what, reason): (&String, &String)| format!("<li>{}: {}</li>\n", escape(what), escape(reason));
    format!("<ul>\n{}</ul>", failing.iter().map(item).collect::<String>())
}

/// Use and limits of the own control group.
fn own(own: &Use) -> String {
    let item = |what: &str, used: Option<String>, limit: Option<String>| {
        let limit = limit.unwrap_or_else(|| "no limit".to_owned());
        used.map_or_else(String::new, |used| {
            format!("<tr><th scope=\"row\">{what}</th><td>{used}</td><td>{limit}</td></tr>\n")
        })
    };
    let mib = |bytes: Option<f64>| bytes.map(|bytes| format!("{:.1} MiB", bytes / 1_048_576.0));
    let count = |number: Option<f64>| number.map(|number| number.to_string());
    let rows = [
        item("memory, with cached files", mib(own.memory), mib(own.memory_limit)),
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
    format!(
        "<table><thead><tr><th></th><th>used</th><th>limit</th></tr></thead>\n<tbody>\n{rows}</tbody></table>\n\
        <p>Its own control group, apart from the host's numbers.</p>"
    )
}
