//! Posting to the server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Url};
use rustls::{ClientConfig, RootCertStore};

use super::{Answer, Fault, Tls, bearer, fault, user_agent, whole, within};
use crate::resolve::Resolver;
use crate::settings::Outward;
use crate::target::Target;

/// How long a connection may idle before it is closed: shorter than servers keep theirs (gunicorn: 2 s), so
/// that it is seldom the server that closes.
const IDLE: Duration = Duration::from_secs(1);

/// How old the connections may be, so that a server that has moved is found at its new address.
const OLDEST: Duration = Duration::from_secs(60);

/// Posts to one server over kept connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Sender {
    way: Arc<Way>,
    clients: Arc<Mutex<(Clients, Instant)>>,
    connections: usize,
}

#[derive(Clone, Debug)]
struct Clients {
    /// Keeps its connections.
    kept: reqwest::Client,
    /// Makes a new one for each post.
    fresh: reqwest::Client,
}

/// How the server is reached.
#[derive(Debug)]
struct Way {
    /// What stands before each path.
    base: String,
    /// What every post has.
    headers: HeaderMap,
    resolver: Resolver,
    tls: Tls,
}

impl Way {
    fn new(server: &Target, deliveries: &Outward) -> anyhow::Result<Self> {
        let tls = match &deliveries.tls {
            Some(tls) => tls.clone(),
            // It trusts nobody. Left alone, reqwest would want the system's authorities, used or not.
            None => Tls::new(RootCertStore::empty(), None)?,
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = deliveries.token.as_ref().and_then(bearer) {
            headers.insert(AUTHORIZATION, authorization);
        }
        let scheme = if server.tls.is_some() { "https" } else { "http" };
        let (mut base, mut resolver) = (format!("{scheme}://{server}"), Resolver::default());
        if let Some(name) = server.other_name() {
            // Wherever that name is, the server is here; and is called as it is configured.
            base = format!("{scheme}://{name}:{}", server.port);
            resolver = Resolver(Some(server.host.clone()));
            headers.extend(HeaderValue::from_str(&server.to_string()).map(|host| (HOST, host)));
        }
        Ok(Self { base, headers, resolver, tls })
    }
}

impl Sender {
    /// A sender to that server that keeps at most that many connections.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn new(server: &Target, deliveries: &Outward, connections: usize) -> anyhow::Result<Self> {
        let way = Arc::new(Way::new(server, deliveries)?);
        let clients = Arc::new(Mutex::new((Clients::new(&way, connections)?, Instant::now())));
        Ok(Self { way, clients, connections })
    }

    /// Posts `body`, which is JSON, to `path` within `limit`. Where no byte of an answer came, a kept connection
    /// may have been stale: then it is posted once more, on a new one.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn post(&self, path: &str, body: Bytes, limit: Duration, most: usize) -> Result<Answer, Fault> {
        // The settings let no host pass that a URL cannot hold.
        let url = Url::parse(&format!("{}{path}", self.way.base)).map_err(|_| Fault::Dns)?;
        let request = |client: &reqwest::Client| {
            client.post(url.clone()).headers(self.way.headers.clone()).body(body.clone())
        };
        let asked = async {
            let clients = self.clients();
            match request(&clients.kept).send().await {
                Ok(answer) => whole(answer.into(), most).await,
                Err(error) => match fault(&error) {
                    Fault::Reset => ask(request(&clients.fresh), most).await,
                    fault => Err(fault),
                },
            }
        };
        within(limit, asked).await
    }

    /// The clients. Connections of the ones before end with what is under way on them.
    fn clients(&self) -> Clients {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.1.elapsed() > OLDEST
            && let Ok(new) = Clients::new(&self.way, self.connections)
        {
            *clients = (new, Instant::now());
        }
        clients.0.clone()
    }
}

impl Clients {
    fn new(way: &Way, connections: usize) -> reqwest::Result<Self> {
        let kept = builder(way).pool_max_idle_per_host(connections).pool_idle_timeout(IDLE).build()?;
        Ok(Self { kept, fresh: builder(way).pool_max_idle_per_host(0).build()? })
    }
}

fn builder(way: &Way) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(user_agent())
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(way.resolver.clone())
        .tls_backend_preconfigured(ClientConfig::clone(&way.tls.config()))
        .http1_only()
}

async fn ask(request: RequestBuilder, most: usize) -> Result<Answer, Fault> {
    whole(request.send().await.map_err(|error| fault(&error))?.into(), most).await
}
