//! The accept loop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use warp::Filter;

use super::answer::{self, Answer};
use crate::shutdown::Stop;

/// What a listener puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Time for the headers of a request, also the longest that a connection may idle.
    pub header_timeout: Duration,
    /// Time that requests under way have to end once the program stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, header_timeout: Duration::from_secs(10), drain: Duration::from_secs(2) }
    }
}

/// Time until accepting is tried again after the system refused (no descriptors left, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` until `stop`, then lets requests under way end within `limits.drain`.
pub async fn serve<F>(listener: TcpListener, routes: F, limits: Limits, mut stop: Stop)
where
    F: Filter<Extract = (Answer,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service(routes.clone())));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = limits.drain.as_secs_f32(), "requests still under way were given up");
    }
}

/// What answers the requests of one connection.
pub fn service<F>(
    routes: F,
) -> impl Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send>
where
    F: Filter<Extract = (Answer,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let pages = TowerToHyperService::new(warp::service(routes));
    service_fn(move |request: Request<Incoming>| {
        // `CONNECT host:1` and `GET host` name no path, and warp panics where there is none.
        let pages = request.uri().path_and_query().is_some().then(|| pages.call(request));
        async move {
            match pages {
                Some(page) => page.await,
                None => Ok(answer::text(400, "The request names no path.\n")),
            }
        }
    })
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, Place)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_request_without_a_path_is_a_bad_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = Stop::by_hand();
        let page =
            warp::path::full().map(|path: warp::path::FullPath| answer::text(200, path.as_str().to_owned()));
        tokio::spawn(serve(listener, page, Limits::default(), stopped));
        for (line, status) in [
            ("GET h", 400),
            ("CONNECT h:1", 400),
            ("OPTIONS *", 200),
            ("GET /a", 200),
            ("GET http://h/a", 200),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answered = String::new();
            stream.read_to_string(&mut answered).await.unwrap();
            assert!(answered.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answered:?}");
        }
    }
}
