//! The page `/`: says in words what the spoke serves.

use agent::http::html::escape;
use sysinfo::System;

use crate::PROGRAM;
use crate::spoke::Spoke;

/// The page.
pub(crate) fn render(spoke: &Spoke) -> String {
    let name = escape(&spoke.hostname());
    let version = PROGRAM.version;
    let agent_id = escape(&spoke.agent_id.id);
    let system = escape(&System::long_os_version().unwrap_or_else(|_| "Linux".to_owned()));
    let left_out = left_out(spoke);
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
</style>
</head>
<body>
<main>
<h1>{name}</h1>
<p>This is a pattoo spoke (pattoo_agent_os_spoked {version}) on {system}. It tells how its host is doing.
Its agent_id is <code>{agent_id}</code>.</p>
<h2>What is served here</h2>
<ul>
<li><a href="/pattoo-agent-os/300">/pattoo-agent-os/300</a>: the host's performance data as JSON, for a hub
that polls every 300 seconds. Any other number of seconds will do.</li>
<li><a href="/metrics">/metrics</a>: how the spoke itself is doing, for Prometheus.</li>
<li><a href="/livez">/livez</a>: whether the program lives;
<a href="/readyz">/readyz</a> and <a href="/healthz">/healthz</a>: whether it is ready to be asked.</li>
</ul>
<h2>What is left out</h2>
{left_out}
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
    let item =
        |(what, reason): (&String, &String)| format!("<li>{}: {}</li>\n", escape(what), escape(reason));
    format!("<ul>\n{}</ul>", failing.iter().map(item).collect::<String>())
}
