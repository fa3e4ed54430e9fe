//! Taking a port.

use std::net::SocketAddr;

use anyhow::Context;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::TcpListener;

/// Connections that wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 1024;

/// Where a program listens.
#[derive(Debug)]
pub struct Sockets {
    pub(super) pages: TcpListener,
    pub(super) health: Option<TcpListener>,
    /// Where it is asked for everything; a port of 0 has become a free one.
    pub address: SocketAddr,
    /// Where it is asked for its health alone.
    pub health_address: Option<SocketAddr>,
}

impl Sockets {
    /// Listens on `address`, and on the same address's `health_port`.
    ///
    /// # Errors
    /// A port is taken, or the address is not this host's.
    pub fn bind(address: SocketAddr, health_port: Option<u16>) -> anyhow::Result<Self> {
        let (pages, bound) = bind(address)?;
        let health = health_port.map(|port| bind(SocketAddr::new(address.ip(), port))).transpose()?;
        let (health, health_address) = health.unzip();
        Ok(Self { pages, health, address: bound, health_address })
    }
}

/// Listens on `address` and tells where (a port of 0 becomes a free one). `::` listens on IPv6 alone, as the
/// documentation says.
///
/// # Errors
/// The address is taken or not this host's.
fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = open(address)
        .with_context(|| format!("failed to listen on {address}; is another program using the port?"))?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let (_held, address) = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let message = bind(address).unwrap_err().to_string();
        assert!(message.contains(&address.to_string()), "{message}");
    }

    #[tokio::test]
    async fn all_of_ipv6_leaves_ipv4_free() {
        let (_held, address) = bind("[::]:0".parse().unwrap()).unwrap();
        bind(SocketAddr::from(([0, 0, 0, 0], address.port()))).unwrap();
    }
}
