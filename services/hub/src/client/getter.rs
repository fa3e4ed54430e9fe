//! Asking the targets.
//!
//! A target is asked once an interval, which outlives any connection that would be worth keeping; a kept one
//! would pin an address besides, and its reset says nothing about the host. So each question has a connection of
//! its own, driven by the task that asks, with none of the options that watch over a long life.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::Builder;
use hyper::header::{ACCEPT, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::capped::Capped;
use super::{Answer, Fault, fault, user_agent, whole, within};
use crate::resolve::Resolver;

/// What is read at once: a usual post, headers and all, so that its body is handed on as it was read.
const READ_BYTES: usize = 64 * 1024;

/// Gets. Clones share nothing that changes.
#[derive(Clone, Debug)]
pub struct Getter {
    connector: HttpConnector<Resolver>,
    http: Builder,
    user_agent: HeaderValue,
}

impl Getter {
    /// One that gives each address of a name its share of `limit` to connect.
    pub fn new(limit: Duration) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver);
        connector.set_connect_timeout(Some(limit));
        let mut http = Builder::new();
        http.read_buf_exact_size(Some(READ_BYTES));
        let user_agent = HeaderValue::from_str(&user_agent());
        Self { connector, http, user_agent: user_agent.unwrap_or(HeaderValue::from_static("pattoo")) }
    }

    /// Gets `url` (plain HTTP) within `limit`, a body of at most `most` bytes.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn get(&self, url: Uri, limit: Duration, most: usize) -> Result<Answer, Fault> {
        within(limit, self.ask(url, most)).await
    }

    async fn ask(&self, url: Uri, most: usize) -> Result<Answer, Fault> {
        let request = self.request(&url)?;
        let stream = self.connector.clone().call(url).await.map_err(|error| fault(&error))?;
        // Chunks of 20 bytes have a quarter more than their content.
        let stream = TokioIo::new(Capped::new(stream.into_inner(), most + most / 4 + READ_BYTES));
        let (mut sender, connection) = self.http.handshake(stream).await.map_err(|error| fault(&error))?;
        let asked = async {
            let answer = sender.send_request(request).await.map_err(|error| fault(&error))?;
            whole(answer, most).await
        };
        let mut asked = std::pin::pin!(asked);
        tokio::select! {
            biased;
            // It moves the bytes; ended, it has handed on what there was.
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "the connection ended");
                }
                asked.await
            }
            answer = &mut asked => answer,
        }
    }

    fn request(&self, url: &Uri) -> Result<Request<Empty<Bytes>>, Fault> {
        let host = url.authority().map_or("", |authority| authority.as_str());
        Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, host)
            .header(USER_AGENT, &self.user_agent)
            .header(ACCEPT, "*/*")
            .body(Empty::new())
            .map_err(|_| Fault::Protocol)
    }
}
