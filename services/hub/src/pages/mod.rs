//! The pages for people. Each is written here, whole; one small script of ours keeps it up to date, and draws what is
//! drawn in the browser. Without it a page says all the same.

mod configuration;
mod delivery;
mod fleet;
mod host;
mod words;

use agent::http::answer::{self, Answer};
use agent::http::assets::{Asset, Assets, SCRIPT, STYLE, UPLOT, UPLOT_STYLE};
use agent::http::html::{Frame, escape};
use warp::http::{HeaderMap, Method};

use crate::PROGRAM;
use crate::api::Api;
use crate::api::ask::Ask;
use crate::targets::Targets;

/// Our script.
const HUB: Asset = Asset { name: "hub.js", kind: SCRIPT, body: include_bytes!("../../assets/hub.js") };

/// The pages that every page leads to.
const LINKS: [(&str, &str); 3] =
    [("/", "Fleet"), ("/delivery", "Delivery"), ("/configuration", "Configuration")];

/// The pages, and the API behind them.
#[derive(Debug)]
pub(crate) struct Pages {
    api: Api,
    agent_id: String,
    assets: Assets,
}

fn no_host() -> (u16, Page) {
    let main = "<h1>No such host</h1>\n<p>Neither a target nor a source gives posts of this agent now. \
                The <a href=\"/\">fleet</a> lists those that do.</p>\n";
    (404, Page { title: "No such host".to_owned(), here: "", main: main.to_owned(), charts: false })
}

/// What a page has of its own.
struct Page {
    title: String,
    here: &'static str,
    main: String,
    /// Whether it has charts.
    charts: bool,
}

impl Pages {
    pub(crate) fn new(api: Api, agent_id: String) -> Self {
        Self { api, agent_id, assets: Assets::new([STYLE, UPLOT, UPLOT_STYLE, HUB]) }
    }

    /// What is polled.
    pub(crate) fn targets(&self) -> &Targets {
        &self.api.fleet.targets
    }

    /// Answers what is a page, belongs to one, or to the API; `None` for another path.
    pub(crate) async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Option<Answer> {
        if let Some(answer) = self.assets.answer(method, path, headers) {
            return Some(answer);
        }
        if let Some(answer) = self.api.answer(method, path, query).await {
            return Some(answer);
        }
        let host = path.strip_prefix("/host/");
        if host.is_none() && !LINKS.iter().any(|(link, _)| *link == path) {
            return None;
        }
        let ask = Ask::read(query);
        let page = async {
            let (status, page) = match (host, path) {
                (Some(agent_id), _) => self.host(agent_id, &ask).map_or_else(no_host, |page| (200, page)),
                (None, "/delivery") => (200, self.delivery(&ask)),
                (None, "/configuration") => (200, self.configuration().await),
                _ => (200, self.fleet(&ask)),
            };
            answer::page(status, self.framed(&page))
        };
        Some(answer::reading_later(method, page).await)
    }

    fn framed(&self, page: &Page) -> String {
        let node = self.api.fleet.settings.borrow().node.clone();
        let url = |name| self.assets.url(name);
        let (mut styles, mut scripts) = (vec![url("pattoo.css")], vec![]);
        if page.charts {
            styles.push(url("uPlot.min.css"));
            scripts.push(url("uPlot.iife.min.js"));
        }
        scripts.push(url("hub.js"));
        let foot = format!(
            "<p><span data-live=\"now\">{}</span> <span id=\"fresh\" role=\"status\"></span></p>\n\
             <p>{} {}, agent id <code>{}</code>. \
             See also <a href=\"/api/v1\">the API</a>, <a href=\"/metrics\">metrics</a>, \
             <a href=\"/livez\">livez</a>, <a href=\"/readyz\">readyz</a>.</p>",
            words::as_of(self.api.fleet.recorder.now_ms()),
            PROGRAM.name,
            PROGRAM.version,
            escape(&self.agent_id)
        );
        Frame {
            title: &format!("{}: pattoo hub {node}", page.title),
            name: &format!("pattoo hub on {node}"),
            links: &LINKS,
            here: page.here,
            styles: &styles,
            scripts: &scripts,
            foot: &foot,
        }
        .around(&page.main)
    }
}
