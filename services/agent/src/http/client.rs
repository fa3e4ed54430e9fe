//! Small questions: a program's own `/livez`, and a page that a command compares with. No redirects, no
//! proxy, no kept connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::resolve::Resolver;

/// How long the own `/livez` may take.
const ALIVE_LIMIT: Duration = Duration::from_secs(2);

/// `/livez` answers a word.
const ALIVE_BYTES: usize = 64 * 1024;

/// An answer, read whole.
#[derive(Debug)]
pub struct Fetched {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Asks for `url` (plain HTTP), waiting at most `limit` for all of it and reading at most `most_bytes`.
///
/// # Errors
/// The address is none, nobody answers there in time, or the answer is longer.
pub async fn get(url: &str, limit: Duration, most_bytes: usize) -> anyhow::Result<Fetched> {
    tokio::time::timeout(limit, ask(url, limit, most_bytes))
        .await
        .with_context(|| format!("{url}: no answer within {} s", limit.as_secs_f32()))?
        .with_context(|| format!("{url}: failed to ask"))
}

async fn ask(url: &str, limit: Duration, most_bytes: usize) -> anyhow::Result<Fetched> {
    let url: Uri = url.parse()?;
    let authority = url.authority().context("an address such as http://host:5000/path is expected")?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(80);
    let addresses = Resolver::system(limit).addresses(host).await?;
    let stream = connect(&addresses, port).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header("host", authority.as_str()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body =
        Limited::new(answer.into_body(), most_bytes).collect().await.map_err(|error| anyhow!(error))?;
    Ok(Fetched { status, body: body.to_bytes().to_vec() })
}

async fn connect(addresses: &[IpAddr], port: u16) -> anyhow::Result<TcpStream> {
    let mut last = anyhow!("the name has no address");
    for address in addresses {
        match TcpStream::connect((*address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Asks `/livez` of the program that listens on `address`.
///
/// # Errors
/// Nothing listens, the answer is not 200, or it took longer than two seconds.
pub async fn check_alive(address: SocketAddr) -> anyhow::Result<()> {
    let url = format!("http://{}/livez", reachable(address));
    let status = get(&url, ALIVE_LIMIT, ALIVE_BYTES).await?.status;
    anyhow::ensure!(status == 200, "{url}: status {status}");
    Ok(())
}

/// Where a listener on "all addresses" is reached from this host.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
