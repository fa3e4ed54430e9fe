//! Host names of all connections that the hub makes: `/etc/hosts`, then the system's DNS servers.
//!
//! Both are read for each question and nothing is remembered: a container that comes back has another
//! address, and a network that changes has other servers. Where the files are missing, as in an empty image,
//! literal addresses and `localhost` still work.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use agent::resolve::{self, Every, Hosts};
use hyper_util::client::legacy::connect::dns;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tower_service::Service;

use crate::target::Host;

/// How long a name may take.
const LIMIT: Duration = Duration::from_secs(2);

/// How long one DNS server may take: with a search list, several questions fit into the limit.
const SERVER_LIMIT: Duration = Duration::from_millis(900);

/// Resolves by files and DNS. Where it holds a host, that one, whichever name it is asked for: over TLS a server is
/// called by its certificate's name, wherever it is.
#[derive(Clone, Debug, Default)]
pub struct Resolver(pub Option<Host>);

impl Resolver {
    async fn find(self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let found = match self.0 {
            Some(Host::Address(address)) => vec![address],
            Some(Host::Name(name)) => lookup(&name).await?,
            None => lookup(name).await?,
        };
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
    }
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No answer in time.
    #[error("{0}: no answer within {limit} s", limit = LIMIT.as_secs())]
    Late(String),
    /// The servers say no, or none can be asked.
    #[error(transparent)]
    Failed(#[from] resolve::ResolveError),
}

/// For reqwest.
impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses: Addrs = Box::new(this.find(name.as_str()).await?.into_iter());
            Ok(addresses)
        })
    }
}

/// For hyper.
impl Service<dns::Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.find(name.as_str()).await?.into_iter()) })
    }
}

/// The addresses of a host, IPv4 first.
///
/// # Errors
/// There is none, or no answer within two seconds.
pub async fn lookup(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    // A name of the file is known at once, also where no server answers: a resolver that asks for IPv6
    // besides would wait for it.
    let mut found = Hosts::system().addresses(name);
    if found.is_empty() {
        // Made anew each time: it reads resolv.conf as it is now.
        let resolver = resolve::Resolver::system(SERVER_LIMIT);
        let answer = tokio::time::timeout(LIMIT, resolver.addresses(name.trim_end_matches('.'))).await;
        found = answer.map_err(|_| ResolveError::Late(name.to_owned()))??;
    }
    found.sort_by_key(IpAddr::is_ipv6); // stable: the order within a family stays
    Ok(found)
}

/// How long all addresses of a name may take: a list of many comes over TCP, after it did not fit into a datagram.
const EVERY_LIMIT: Duration = Duration::from_secs(5);

/// Every address of a host: of the file, where that names it, else of DNS.
pub async fn every(name: &str) -> Every {
    let found = Hosts::system().addresses(name);
    if !found.is_empty() {
        return Every::of(found);
    }
    if name.eq_ignore_ascii_case("localhost") {
        return Every::of(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let resolver = resolve::Resolver::system(SERVER_LIMIT);
    tokio::time::timeout(EVERY_LIMIT, resolver.every(name)).await.unwrap_or_else(|_| {
        let late = resolve::ResolveError::NoAnswer {
            name: name.to_owned(),
            reason: format!("no answer within {} s", EVERY_LIMIT.as_secs()),
        };
        Every { v4: Err(late.clone()), v6: Err(late) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_this_host() {
        let found = lookup("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_nobody_has_is_an_error_that_names_it() {
        let error = lookup("no-such-host.invalid").await.unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid"), "{error}");
    }
}
