//! Posting to the server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Url};

use super::{Answer, Fault, fault, user_agent, whole, within};
use crate::resolve::Resolver;

/// How long a connection may idle before it is closed: shorter than servers keep theirs (gunicorn: 2 s), so
/// that it is seldom the server that closes.
const IDLE: Duration = Duration::from_secs(1);

/// How old the connections may be, so that a server that has moved is found at its new address.
const OLDEST: Duration = Duration::from_secs(60);

/// Posts to one server over kept connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Sender {
    fresh: reqwest::Client,
    kept: Arc<Mutex<(reqwest::Client, Instant)>>,
    connections: usize,
}

impl Sender {
    /// A sender that keeps at most that many connections.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new(connections: usize) -> reqwest::Result<Self> {
        let kept = Arc::new(Mutex::new((keeping(connections)?, Instant::now())));
        Ok(Self { fresh: builder().pool_max_idle_per_host(0).build()?, kept, connections })
    }

    /// Posts `body`, which is JSON, to `url` within `limit`. Where no byte of an answer came, a kept connection
    /// may have been stale: then it is posted once more, on a new one.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn post(&self, url: Url, body: Bytes, limit: Duration, most: usize) -> Result<Answer, Fault> {
        let json = HeaderValue::from_static("application/json");
        let request = |client: &reqwest::Client| {
            client.post(url.clone()).header(CONTENT_TYPE, json.clone()).body(body.clone())
        };
        let asked = async {
            match request(&self.kept()).send().await {
                Ok(answer) => whole(answer.into(), most).await,
                Err(error) => match fault(&error) {
                    Fault::Reset => ask(request(&self.fresh), most).await,
                    fault => Err(fault),
                },
            }
        };
        within(limit, asked).await
    }

    /// The client with the kept connections. Those of the one before end with what is under way on them.
    fn kept(&self) -> reqwest::Client {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1.elapsed() > OLDEST
            && let Ok(client) = keeping(self.connections)
        {
            *kept = (client, Instant::now());
        }
        kept.0.clone()
    }
}

fn keeping(connections: usize) -> reqwest::Result<reqwest::Client> {
    builder().pool_max_idle_per_host(connections).pool_idle_timeout(IDLE).build()
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(user_agent())
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(Resolver)
        .http1_only()
}

async fn ask(request: RequestBuilder, most: usize) -> Result<Answer, Fault> {
    whole(request.send().await.map_err(|error| fault(&error))?.into(), most).await
}
