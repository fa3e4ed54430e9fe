//! The floor of `.ci/bench`: what it costs merely to read the files that a spoke reads, through descriptors that
//! are kept and without looking at what is in them, and to answer a body that is always the same.
//!
//! `floor_spoke <port> <body file> <mount point>...`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a tool of the bench, which must stop where something is odd"
)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::fs::{SeekFrom, seek};

/// What a spoke on a bare host reads for one post.
const FILES: [&str; 10] = [
    "/proc/stat",
    "/proc/loadavg",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/vmstat",
    "/proc/filesystems",
    "/proc/1/mounts",
    "/proc/diskstats",
    "/proc/1/net/dev",
    "/sys/devices/system/cpu/online",
];

/// Far more than any of the files has.
const BUFFER: usize = 1 << 20;

struct Floor {
    files: Vec<File>,
    processes: File,
    mounts: Vec<String>,
    buffer: Vec<u8>,
}

impl Floor {
    fn new(mounts: Vec<String>) -> Self {
        let open = |path| File::open(path).expect(path);
        Self { files: FILES.map(open).into(), processes: open("/proc"), mounts, buffer: vec![0; BUFFER] }
    }

    /// Reads everything; how much there was, so that nothing can be left out as unused.
    fn read(&mut self) -> usize {
        let mut sum = 0;
        for file in &self.files {
            sum += file.read_at(&mut self.buffer, 0).unwrap();
        }
        seek(&self.processes, SeekFrom::Start(0)).unwrap();
        let mut listing = [std::mem::MaybeUninit::uninit(); 32 * 1024];
        let mut entries = rustix::fs::RawDir::new(&self.processes, &mut listing);
        while let Some(entry) = entries.next() {
            sum += usize::from(entry.unwrap().file_name().to_bytes().first().is_some_and(u8::is_ascii_digit));
        }
        for mount in &self.mounts {
            // One that was unmounted meanwhile costs as much.
            sum += rustix::fs::statvfs(mount).map_or(0, |found| usize::try_from(found.f_bfree).unwrap_or(0));
        }
        sum
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().expect("a port").parse().expect("a port");
    let body = Bytes::from(std::fs::read(arguments.next().expect("a body's file")).expect("the body's file"));
    let floor = Rc::new(RefCell::new(Floor::new(arguments.collect())));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = tokio::net::TcpListener::bind(address).await.expect("the port");
    tokio::task::LocalSet::new()
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (floor, body) = (Rc::clone(&floor), body.clone());
                let answer = service_fn(move |_: Request<Incoming>| {
                    assert!(floor.borrow_mut().read() > 0, "nothing was read");
                    let answer = Response::new(Full::new(body.clone()));
                    async { Ok::<_, Infallible>(answer) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                // A client that goes away is no fault of the floor.
                tokio::task::spawn_local(async { drop(connection.await) });
            }
        })
        .await;
}
