//! Small questions: a program's own `/livez`, and a page that a command compares with. No redirects, no
//! proxy, no kept connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::resolve::Resolver;
use crate::tls;

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
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    ask_on(connect(&addresses, port).await?, authority.as_str(), path, most_bytes).await
}

/// Asks on a connection that there is.
async fn ask_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: &str,
    path: &str,
    most_bytes: usize,
) -> anyhow::Result<Fetched> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", authority).body(Empty::<Bytes>::new())?;
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

/// Asks `/livez` of the program that listens on `address`; `over_tls` is what its configuration says, which may not be
/// in force yet, so that the other way is tried as well.
///
/// # Errors
/// Nothing listens, the answer is not 200, or it took longer than two seconds.
pub async fn check_alive(address: SocketAddr, over_tls: bool) -> anyhow::Result<()> {
    let address = reachable(address);
    let asked = async {
        match alive(address, over_tls).await {
            Err(error) => alive(address, !over_tls).await.map_err(|_| error),
            alive => alive,
        }
    };
    let status = tokio::time::timeout(ALIVE_LIMIT, asked)
        .await
        .with_context(|| format!("{address}/livez: no answer within {} s", ALIVE_LIMIT.as_secs()))?
        .with_context(|| format!("{address}/livez: failed to ask"))?;
    anyhow::ensure!(status == 200, "{address}/livez: status {status}");
    Ok(())
}

async fn alive(address: SocketAddr, over_tls: bool) -> anyhow::Result<u16> {
    let stream = TcpStream::connect(address).await?;
    let host = address.to_string();
    let fetched = if over_tls {
        let stream = tls::own::connector()?.connect(address.ip().into(), stream).await?;
        ask_on(stream, &host, "/livez", ALIVE_BYTES).await?
    } else {
        ask_on(stream, &host, "/livez", ALIVE_BYTES).await?
    };
    Ok(fetched.status)
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
