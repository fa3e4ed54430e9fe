//! Names and addresses, by the files and DNS servers that the system names.
//!
//! A static program has no NSS, so this reads `/etc/hosts` and `/etc/resolv.conf` itself. Nothing is cached:
//! a container that comes back has another address under the same name. Where `resolv.conf` names no server,
//! this host's own is asked, as the C library does; addresses and `localhost` resolve without any.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, Query};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::net::UdpSocket;

/// A name that has no address, or an address without a name.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// `/etc/resolv.conf` cannot be understood, and no file has the name.
    #[error("{name}: failed to resolve: /etc/resolv.conf: {reason}")]
    NoServer {
        /// The name.
        name: String,
        /// What is wrong with the file.
        reason: String,
    },
    /// The servers do not know it, or do not answer.
    #[error("{name}: failed to resolve: {reason}")]
    NoAnswer {
        /// The name.
        name: String,
        /// What the servers said.
        reason: String,
    },
}

/// Asks files and servers. It belongs to the runtime in which it was made.
#[derive(Clone)]
pub struct Resolver {
    servers: Result<Servers, String>,
    limit: Duration,
}

#[derive(Clone)]
struct Servers {
    resolver: TokioResolver,
    addresses: Vec<IpAddr>,
    /// What is put behind a name that is not whole, in this order.
    search: Vec<Name>,
    /// A name with so many dots is tried as it stands first.
    dots: usize,
}

/// All addresses of a name: of each family those that there are, which may be none, or why they cannot be told.
#[derive(Debug)]
pub struct Every {
    /// The A records.
    pub v4: Result<Vec<IpAddr>, ResolveError>,
    /// The AAAA records.
    pub v6: Result<Vec<IpAddr>, ResolveError>,
}

impl Every {
    /// These addresses and no others.
    pub fn of(addresses: Vec<IpAddr>) -> Self {
        let (v4, v6) = addresses.into_iter().partition(IpAddr::is_ipv4);
        Self { v4: Ok(v4), v6: Ok(v6) }
    }

    /// Whether there is an address of either family.
    fn any(&self) -> bool {
        let any =
            |family: &Result<Vec<IpAddr>, ResolveError>| family.as_ref().is_ok_and(|all| !all.is_empty());
        any(&self.v4) || any(&self.v6)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers.as_ref().map(|servers| &servers.addresses);
        out.debug_struct("Resolver").field("servers", &servers).field("limit", &self.limit).finish()
    }
}

const CONFIGURATION: &str = "/etc/resolv.conf";

/// Where the C library asks if nothing names a server.
const OWN_SERVER: &str = "\nnameserver 127.0.0.1\n";

impl Resolver {
    /// Reads the system's configuration as it is now; a server that does not answer is waited for no longer
    /// than `limit`.
    pub fn system(limit: Duration) -> Self {
        let text = std::fs::read_to_string(CONFIGURATION).unwrap_or_default();
        let parsed =
            parse_resolv_conf(text.as_bytes()).or_else(|_| parse_resolv_conf((text + OWN_SERVER).as_bytes()));
        let servers = parsed.and_then(|(config, options)| {
            let addresses = config.name_servers.iter().map(|server| server.ip).collect();
            let search = config.domain.iter().chain(&config.search).cloned().collect();
            let dots = options.ndots;
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            *builder.options_mut() = options;
            let options = builder.options_mut();
            options.timeout = limit;
            options.attempts = 1;
            options.cache_size = 0;
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.use_hosts_file = ResolveHosts::Always;
            Ok(Servers { resolver: builder.build()?, addresses, search, dots })
        });
        Self { servers: servers.map_err(|error| error.to_string()), limit }
    }

    /// The addresses of a name; of an address, itself.
    ///
    /// # Errors
    /// It has none, or nobody answered.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        if name.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let servers = self.servers(name)?;
        // Relaxed: hosts are called my_host, whatever the rules for names on the internet are.
        let asked = Name::from_str_relaxed(name).map_err(|error| no_answer(name, &error))?;
        let found = servers.resolver.lookup_ip(asked).await.map_err(|error| no_answer(name, &error))?;
        Ok(found.iter().collect())
    }

    /// Every address of a name. That there is none is told apart from a question that failed, and the two families
    /// from each other: who keeps what he knows where asking fails must not take silence for an answer.
    pub async fn every(&self, name: &str) -> Every {
        let whole = |name: &str| Name::from_str_relaxed(name).map_err(|error| error.to_string());
        let (servers, asked) = match (self.servers(name), whole(name)) {
            (Ok(servers), Ok(asked)) => (servers, asked),
            (Err(error), _) => return Every { v4: Err(error.clone()), v6: Err(error) },
            (_, Err(reason)) => {
                let error = ResolveError::NoAnswer { name: name.to_owned(), reason };
                return Every { v4: Err(error.clone()), v6: Err(error) };
            }
        };
        let (mut all, mut answered) = (Every::of(Vec::new()), false);
        for candidate in servers.candidates(&asked) {
            let (v4, v6) = tokio::join!(
                servers.records(name, &candidate, RecordType::A),
                servers.records(name, &candidate, RecordType::AAAA)
            );
            let found = Every { v4, v6 };
            if found.any() {
                return found;
            }
            // As the C library: the next name may still be known. But then "there is none" is not the whole truth. Only
            // that somebody will not ask the root for a single label says nothing, where a domain has answered.
            if candidate.num_labels() > 1 || !answered {
                all = Every { v4: all.v4.and(found.v4), v6: all.v6.and(found.v6) };
            }
            answered = true;
        }
        all
    }

    /// The first name of an address.
    ///
    /// # Errors
    /// It has none, or nobody answered.
    pub async fn name(&self, address: IpAddr) -> Result<String, ResolveError> {
        let shown = address.to_string();
        let servers = self.servers(&shown)?;
        let answers = if address.is_loopback() {
            self.ask_about(address, servers).await.map_err(|error| no_answer(&shown, &*error))?
        } else {
            let found = servers.resolver.reverse_lookup(address).await;
            found.map_err(|error| no_answer(&shown, &error))?.answers().to_vec()
        };
        let name = answers.iter().find_map(|record| match &record.data {
            RData::PTR(name) => Some(name.to_utf8().trim_end_matches('.').to_owned()),
            _ => None,
        });
        name.ok_or_else(|| ResolveError::NoAnswer { name: shown, reason: "it has no name".to_owned() })
    }

    /// Asks the first server for the names of an address. The library answers every loopback address by
    /// itself, with `localhost`; the servers of a host may know better.
    async fn ask_about(
        &self,
        address: IpAddr,
        servers: &Servers,
    ) -> Result<Vec<Record>, Box<dyn std::error::Error + Send + Sync>> {
        let server = servers.addresses.first().ok_or("no server")?;
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(Name::from(address), RecordType::PTR));
        let any: IpAddr =
            if server.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect((*server, 53)).await?;
        socket.send(&question.to_vec()?).await?;
        let mut answer = vec![0; 4096];
        let length = tokio::time::timeout(self.limit, socket.recv(&mut answer)).await??;
        let answer = Message::from_vec(answer.get(..length).unwrap_or_default())?;
        if answer.metadata.id != question.metadata.id {
            return Err("an answer to another question".into());
        }
        Ok(answer.answers)
    }

    fn servers(&self, name: &str) -> Result<&Servers, ResolveError> {
        self.servers
            .as_ref()
            .map_err(|reason| ResolveError::NoServer { name: name.to_owned(), reason: reason.clone() })
    }
}

impl Servers {
    /// The names that are asked for one after the other.
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut itself = name.clone();
        itself.set_fqdn(true);
        if name.is_fqdn() {
            return vec![itself];
        }
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut all: Vec<Name> = if usize::from(name.num_labels()) > self.dots {
            std::iter::once(itself).chain(searched).collect()
        } else {
            searched.chain([itself]).collect()
        };
        all.dedup();
        all
    }

    /// The addresses of one family; none where the server says that there are none.
    async fn records(&self, name: &str, asked: &Name, kind: RecordType) -> Result<Vec<IpAddr>, ResolveError> {
        match self.resolver.lookup(asked.clone(), kind).await {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(no_answer(name, &error)),
        }
    }
}

fn no_answer(name: &str, reason: &dyn std::error::Error) -> ResolveError {
    ResolveError::NoAnswer { name: name.to_owned(), reason: reason.to_string() }
}

/// The lines of a hosts file, in their order: address, canonical name, aliases.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<(IpAddr, Vec<String>)>);

impl Hosts {
    /// Reads `/etc/hosts`; one that cannot be read is empty.
    pub fn system() -> Self {
        Self::read(Path::new("/etc/hosts"))
    }

    fn read(path: &Path) -> Self {
        Self::parse(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()))
    }

    /// Reads the text of a hosts file; lines that are none are passed over.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            let names: Vec<String> = words.map(str::to_owned).collect();
            (!names.is_empty()).then_some((address, names))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The addresses of a name, in the order of the file.
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let has = |names: &[String]| names.iter().any(|other| other.eq_ignore_ascii_case(name));
        self.0.iter().filter(|(_, names)| has(names)).map(|(address, _)| *address).collect()
    }

    /// The names of the first line of that address, the canonical one first.
    pub fn names(&self, address: IpAddr) -> Vec<String> {
        self.0.iter().find(|(other, _)| *other == address).map(|(_, names)| names.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hosts_file_is_read_as_the_system_reads_it() {
        let hosts = Hosts::parse(
            "# c\n127.0.0.1 localhost\n\n10.0.0.1\tA.example a # b\n::1 localhost ip6\nx y\n10.0.0.2 #z\n10.0.0.9\n2001:db8::1 a\n",
        );
        let found = |name| hosts.addresses(name).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(found("a"), ["10.0.0.1", "2001:db8::1"]);
        assert_eq!(found("a.EXAMPLE"), ["10.0.0.1"]);
        assert_eq!(found("localhost"), ["127.0.0.1", "::1"]);
        assert!(found("b").is_empty() && found("y").is_empty() && found("z").is_empty());
        assert_eq!(hosts.names("10.0.0.1".parse().unwrap()), ["A.example", "a"]);
        assert!(hosts.names("10.0.0.9".parse().unwrap()).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_the_hosts_file_holds_every_name_leads_to_its_address(text in "([0-9a-f.:]{0,12}[ \t#]{0,2}[a-z. ]{0,12}\n?){0,20}|\\PC*") {
            let hosts = Hosts::parse(&text);
            for (address, names) in &hosts.0 {
                prop_assert!(names.iter().all(|name| hosts.addresses(name).contains(address)));
            }
        }
    }
}
