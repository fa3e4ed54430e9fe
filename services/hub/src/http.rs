//! What the hub answers over HTTP: health, metrics, a page for people, and the agent API where it receives.

use std::convert::Infallible;
use std::sync::Arc;

use agent::http::Visitor;
use agent::http::answer::{self, Answer};
use agent::http::health::{self, Health};
use agent::http::packing::packed;
use bytes::Buf;
use futures_util::Stream;
use tokio::time::Instant;
use warp::Filter;
use warp::http::{HeaderMap, Method};

use crate::exposition;
use crate::metrics::Metrics;
use crate::pages::Pages;
use crate::receive::Receiver;

/// What the routes answer from.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) pages: Pages,
    pub(crate) receiver: Receiver,
}

/// Every route of the hub.
pub(crate) fn routes(
    served: Arc<Served>,
) -> impl Filter<Extract = (Answer,), Error = Infallible, Future: Send> + Clone + Send + Sync + 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional())
        .and(warp::body::stream())
        .then(
            move |method: Method,
                  path: warp::path::FullPath,
                  query: String,
                  headers: HeaderMap,
                  visitor,
                  body| {
                let served = served.clone();
                async move { served.answer(&method, path.as_str(), &query, &headers, visitor, body).await }
            },
        )
        .or_else(|_| async { Ok((answer::text(500, "failed to read the request\n"),)) })
}

impl Served {
    async fn answer<B: Buf>(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        visitor: Option<Visitor>,
        body: impl Stream<Item = Result<B, warp::Error>>,
    ) -> Answer {
        if path == "/metrics" {
            let targets = &self.pages.targets();
            let more = |page: &mut String| exposition::write(page, &targets.told(), Instant::now());
            let page = answer::reading(method, || agent::metrics::page(&self.metrics.registry, more));
            return packed(page, headers).await;
        }
        if let Some(page) = health::common_page(method, path, &self.health) {
            return page;
        }
        if let Some(page) = self.pages.answer(method, path, query, headers).await {
            return packed(page, headers).await;
        }
        self.receiver.answer(method, path, headers, visitor, body).await.unwrap_or_else(answer::not_found)
    }
}
