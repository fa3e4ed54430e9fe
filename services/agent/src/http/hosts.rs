//! By which names this program may be asked: the guard against DNS rebinding.
//!
//! A page that a person's browser has loaded from elsewhere can have its own name point to an address of this
//! network, and then reads from here as if it were from there. The browser still says that name, in `Host`. So what a
//! browser asks is answered only where the name is none that a stranger can own: an address, a name without a dot
//! (Compose, a short name), `localhost`, this host's own name, a name of a zone that public DNS never gives away
//! (`*.internal`, `*.local`, a Kubernetes Service), or one that `allowed_hosts` lists.
//!
//! Programs are no way in: they go where they were told to. A hub, Prometheus or a kubelet that asks by any name is
//! answered, unless `allowed_hosts` is given: then it counts for everybody. Health is answered by any name.

use std::net::IpAddr;

use warp::http::HeaderMap;
use warp::http::header::{ACCEPT_LANGUAGE, ORIGIN, REFERER, USER_AGENT};

/// Zones whose names nobody can get in public DNS: RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`, and what
/// Kubernetes calls its Services.
const PRIVATE_ZONES: [&str; 7] =
    [".localhost", ".local", ".internal", ".home.arpa", ".localdomain", ".svc", ".test"];

/// The names of `allowed_hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// In lower case; one that begins with a dot is all names below it.
    names: Vec<String>,
    /// `*` was given.
    any: bool,
}

impl Hosts {
    /// Reads names, with commas between them; `*.example.com` is all names below, `*` any.
    ///
    /// # Errors
    /// The entry that is none, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut hosts = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry == "*" {
                hosts.any = true;
                continue;
            }
            let name = entry.strip_prefix('*').unwrap_or(entry);
            let bare = name.strip_prefix('.').unwrap_or(name);
            let address = bare.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
            let letters = bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if bare.is_empty() || !(address || letters) || (entry.starts_with('*') && !name.starts_with('.'))
            {
                return Err(format!(
                    "host names and addresses without a port are expected, with commas, *.example.com for all below; found {entry:?}"
                ));
            }
            hosts.names.push(name.to_ascii_lowercase());
        }
        Ok(hosts)
    }

    /// Whether a request with this `Host` and these headers may be answered; `own` are this host's own names.
    pub(super) fn take(&self, host: &[u8], headers: &HeaderMap, own: &[String]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let name = without_port(host);
        if self.any || cannot_be_a_strangers(name) || own.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return true;
        }
        if self.names.is_empty() {
            return !is_from_a_browser(headers);
        }
        let name = name.to_ascii_lowercase();
        self.names.iter().any(|known| match known.strip_prefix('.') {
            Some(zone) => name.ends_with(known) || name == zone,
            None => name == *known,
        })
    }

    /// As configuration writes them.
    pub(super) fn written(&self) -> String {
        let any = self.any.then(|| "*".to_owned());
        self.names.iter().cloned().chain(any).collect::<Vec<_>>().join(", ")
    }
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
    .trim_end_matches('.')
}

fn cannot_be_a_strangers(name: &str) -> bool {
    if !name.contains('.') || name.parse::<IpAddr>().is_ok() {
        // An IPv6 address has no dot, but for the mapped ones.
        return true;
    }
    PRIVATE_ZONES.iter().any(|zone| {
        name.len()
            .checked_sub(zone.len())
            .and_then(|at| name.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(zone))
    })
}

/// Browsers say in which languages they want to read, whatever a page's script asks for; each of the others is said
/// by some of them. Programs that scrape and poll say none of it.
fn is_from_a_browser(headers: &HeaderMap) -> bool {
    [ACCEPT_LANGUAGE, ORIGIN, REFERER].iter().any(|name| headers.contains_key(name))
        || headers.contains_key("sec-fetch-mode")
        || headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
}

#[cfg(test)]
mod tests {
    use warp::http::header::HeaderValue;

    use super::*;

    fn takes(listed: &str, host: &str, browser: bool) -> bool {
        let mut headers = HeaderMap::new();
        if browser {
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
        }
        Hosts::parse(listed).unwrap().take(host.as_bytes(), &headers, &["node1.example.net".to_owned()])
    }

    #[test]
    fn a_browser_comes_by_names_that_no_stranger_can_own() {
        for host in [
            "127.0.0.1:5000",
            "10.1.2.3",
            "[::1]:5000",
            "[fd00::1]",
            "[::ffff:10.0.0.1]:1",
            "localhost:5001",
            "hub",
            "hub:5001",
            "Node1.example.net:5000",
            "pattoo-hub.monitoring.svc:5001",
            "a.b.svc.cluster.local.",
            "x.INTERNAL",
            "h.home.arpa",
        ] {
            assert!(takes("", host, true), "{host}");
            assert!(takes("listed.example.com", host, false), "{host}");
        }
        for host in [
            "evil.example.com:5000",
            "node1.example.net.evil.com",
            "127.0.0.1.evil.com",
            "svc.evil.com",
            "xlocal.com",
        ] {
            assert!(!takes("", host, true), "{host}");
            assert!(takes("", host, false), "{host}: programs go where they were told to");
            assert!(!takes("listed.example.com", host, false), "{host}");
            assert!(takes("*", host, true), "{host}");
        }
    }

    #[test]
    fn listed_names_are_taken() {
        for (listed, host, taken) in [
            ("a.example.com", "A.example.com:80", true),
            ("a.example.com", "b.a.example.com", false),
            ("b.org, *.example.com", "b.a.example.com", true),
            (".example.com", "example.com", true),
            ("*.example.com", "badexample.com", false),
        ] {
            assert_eq!(takes(listed, host, true), taken, "{listed}: {host}");
        }
        for wrong in ["http://a", "a:80", "*a.com", "*.", "a b", "ä.com"] {
            assert!(Hosts::parse(wrong).is_err(), "{wrong}");
        }
    }
}
