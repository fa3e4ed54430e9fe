//! Asking the targets.
//!
//! A target is asked once an interval, which outlives any connection that would be worth keeping; a kept one
//! would pin an address besides, and its reset says nothing about the host. So each question has a connection of
//! its own, driven by the task that asks, with none of the options that watch over a long life.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::Builder;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::capped::Capped;
use super::{Answer, Fault, Tls, TlsFault, bearer, fault, user_agent, whole, within};
use crate::resolve::Resolver;
use crate::settings::Outward;

/// What is read at once: a usual post, headers and all, so that its body is handed on as it was read.
const READ_BYTES: usize = 64 * 1024;

/// Gets. Clones share nothing that changes.
#[derive(Clone, Debug)]
pub struct Getter {
    connector: HttpConnector<Resolver>,
    http: Builder,
    user_agent: HeaderValue,
    tls: Option<Tls>,
    authorization: Option<HeaderValue>,
}

impl Getter {
    /// One that gives each address of a name its share of `limit` to connect.
    pub fn new(limit: Duration, polls: &Outward) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver::default());
        connector.set_connect_timeout(Some(limit));
        let mut http = Builder::new();
        http.read_buf_exact_size(Some(READ_BYTES));
        let user_agent = HeaderValue::from_str(&user_agent());
        Self {
            connector,
            http,
            user_agent: user_agent.unwrap_or(HeaderValue::from_static("pattoo")),
            tls: polls.tls.clone(),
            authorization: polls.token.as_ref().and_then(bearer),
        }
    }

    /// Gets `url` (of scheme http) within `limit`, a body of at most `most` bytes; over TLS where `tls` says which name
    /// the certificate has to have.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn get(
        &self,
        url: Uri,
        tls: Option<&ServerName<'static>>,
        limit: Duration,
        most: usize,
    ) -> Result<Answer, Fault> {
        // On the heap: the task of each target would be larger by it all the time, and a poll is short.
        within(limit, Box::pin(self.ask(url, tls, most))).await
    }

    async fn ask(&self, url: Uri, tls: Option<&ServerName<'static>>, most: usize) -> Result<Answer, Fault> {
        let request = self.request(&url)?;
        let stream = self.connector.clone().call(url).await.map_err(|error| fault(&error))?;
        // Chunks of 20 bytes have a quarter more than their content.
        let stream = Capped::new(stream.into_inner(), most + most / 4 + READ_BYTES);
        let Some(name) = tls else { return self.ask_over(TokioIo::new(stream), request, most).await };
        // The settings have TLS where a target has a name.
        let Some(tls) = &self.tls else { return Err(Fault::Tls(TlsFault::Handshake)) };
        let connecting = TlsConnector::from(tls.config()).connect(name.clone(), stream);
        let stream = connecting.await.map_err(|error| fault(&error))?;
        self.ask_over(TokioIo::new(stream), request, most).await
    }

    async fn ask_over(
        &self,
        stream: impl Read + Write + Unpin,
        request: Request<Empty<Bytes>>,
        most: usize,
    ) -> Result<Answer, Fault> {
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
        let mut request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, host)
            .header(USER_AGENT, &self.user_agent)
            .header(ACCEPT, "*/*")
            .body(Empty::new())
            .map_err(|_| Fault::Protocol)?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_small_since_each_target_has_one() {
        let getter = Getter::new(Duration::from_secs(1), &Outward::PLAIN);
        let asked = getter.get(Uri::from_static("http://a/"), None, Duration::from_secs(1), 1);
        let bytes = size_of_val(&asked);
        assert!(bytes <= 1 << 10, "{bytes} bytes");
    }
}
