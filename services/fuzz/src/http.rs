//! HTTP as the hub receives it: its routes behind hyper, over a connection in memory.
//!
//! Whatever a peer sends, each answer is well formed: a known status, and as long as it says. A request that is whole and
//! carries a body, however that is packed and cut, gets the one answer that its body deserves.

use std::io::Write;
use std::pin::pin;

use agent::config::{Configuration, Mode};
use flate2::Compression;
use flate2::write::GzEncoder;
use hub::check::{ServerSays, check};
use hub::settings::Settings;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

/// The largest post, in bytes: small, so that it is soon reached.
const MOST: usize = 2048;

/// No answer has a longer body; `/metrics` has the longest.
const MOST_BODY: usize = 256 << 10;

/// All answers to what fits into one case, which may be a hundred requests one after the other.
const MOST_ANSWERED: usize = 32 << 20;

/// The status codes of hyper, of the way in and of the routes.
const STATUSES: [u16; 15] = [100, 200, 304, 400, 403, 404, 405, 408, 413, 414, 431, 500, 501, 503, 505];

type Connection = Box<dyn Fn(tokio::io::DuplexStream) -> std::pin::Pin<Box<dyn Future<Output = ()>>>>;

struct World {
    runtime: Runtime,
    serve: Connection,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().display();
        let shared = format!(
            "pattoo: {{cache_directory: {path}, daemon_directory: {path}, system_daemon_directory: {path}}}"
        );
        let own = format!(
            "{}: {{receive: true, max_post_bytes: {MOST}, quarantine_max_bytes: 65536, max_sources: 64, max_bytes: 1048576}}",
            hub::PROGRAM.name
        );
        let texts = [("pattoo.yaml", shared.as_str()), ("own.yaml", &own)];
        let configuration = Configuration::of_texts(&hub::PROGRAM, Mode::Foreground, &texts, |_| None);
        let settings = Settings::read(&configuration.unwrap()).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (routes, entrance) = runtime.block_on(async { hub::fuzzing::routes(settings).unwrap() });
        let serve: Connection = Box::new(move |stream| {
            let (routes, entrance) = (routes.clone(), entrance.clone());
            Box::pin(async move { agent::http::serve_one(stream, routes, &entrance).await })
        });
        Self { runtime, serve, _folder: folder }
    }

    /// What is answered to these bytes; with `hangs_up`, no more come after them.
    fn answer(&self, sent: &[u8], hangs_up: bool) -> Vec<u8> {
        // Room for all answers: behind a request that is none, hyper waits for no reader who is slow, and cuts its own.
        let (mut client, server) = tokio::io::duplex(MOST_ANSWERED);
        let talk = async move {
            // Whoever does not listen any longer has answered.
            let _ = client.write_all(sent).await;
            if hangs_up {
                let _ = client.shutdown().await;
            }
            let mut answered = Vec::new();
            client.take(MOST_ANSWERED as u64 + 1).read_to_end(&mut answered).await.unwrap();
            answered
        };
        self.runtime.block_on(async {
            let mut talk = pin!(talk);
            tokio::select! {
                answered = &mut talk => answered,
                () = (self.serve)(server) => talk.await,
            }
        })
    }
}

thread_local! {
    static WORLD: World = World::new();
}

/// Sends `data`: an even first byte, and the rest goes as it is; an odd one, and the rest is a body, packed and cut as that byte
/// and the next one say.
pub fn run(data: &[u8]) {
    let [choice, cut, rest @ ..] = data else { return };
    WORLD.with(|world| {
        if choice & 1 == 0 {
            assert_well_formed(&world.answer(rest, true));
        } else {
            deserved(world, *choice, *cut, rest);
        }
    });
}

fn deserved(world: &World, choice: u8, cut: u8, body: &[u8]) {
    let (encoding, sent, whole) = match choice >> 1 & 7 {
        0..=2 => ("identity", body.to_vec(), Some(body)),
        3 => ("gzip", gzip(body), Some(body)),
        4 => ("zstd", zstd::encode_all(body, 1).unwrap(), Some(body)),
        // As it is: mostly nothing that can be unpacked.
        5 => ("gzip", body.to_vec(), None),
        6 => ("zstd", body.to_vec(), None),
        _ => ("br", body.to_vec(), None),
    };
    let mut request = format!(
        "POST /pattoo/api/v1/agent/receive/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Encoding: {encoding}\r\n"
    )
    .into_bytes();
    if cut == 0 {
        request.extend(format!("Content-Length: {}\r\n\r\n", sent.len()).bytes());
        request.extend_from_slice(&sent);
    } else {
        request.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in sent.chunks(cut.into()) {
            request.extend(format!("{:x}\r\n", chunk.len()).bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
    }
    let answered = world.answer(&request, false);
    let [status] = assert_well_formed(&answered)[..] else { panic!("one answer: {}", shown(&answered)) };
    let wanted = match whole {
        _ if encoding == "br" => 500,
        // Whatever it unpacks to, it may not be more.
        None => return assert!([200, 404, 413, 500].contains(&status), "{}", shown(&answered)),
        Some(body) if body.len() > MOST => 413,
        Some(body) => match check(body).map_err(|reason| reason.server_says()) {
            // More sources than may be kept: nobody takes what waits.
            Ok(_) if status == 503 => 503,
            Ok(_) | Err(ServerSays::Ok) => 200,
            Err(ServerSays::NotFound) => 404,
            Err(ServerSays::Error) => 500,
        },
    };
    assert_eq!(status, wanted, "{}", shown(&answered));
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body).unwrap();
    packed.finish().unwrap()
}

fn shown(answered: &[u8]) -> String {
    String::from_utf8_lossy(answered).into_owned()
}

/// The status of each answer. An answer has as many bytes as it says, or, to HEAD, none.
fn assert_well_formed(answered: &[u8]) -> Vec<u16> {
    assert!(answered.len() <= MOST_ANSWERED);
    let mut found = Vec::new();
    let mut rest = answered;
    while !rest.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(length)) = head.parse(rest) else { panic!("{}", shown(rest)) };
        let status = head.code.unwrap();
        assert!(STATUSES.contains(&status), "{status}");
        let of = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        let body = of("content-length")
            .map_or(0, |length| std::str::from_utf8(length.value).unwrap().parse::<usize>().unwrap());
        assert!(body <= MOST_BODY, "{body}");
        assert!(of("transfer-encoding").is_none());
        assert!(status == 100 || of("date").is_some());
        rest = &rest[length..];
        let is_head = rest.len() < body || !(rest.len() == body || rest[body..].starts_with(b"HTTP/1."));
        if !is_head {
            rest = &rest[body..];
        }
        found.push(status);
    }
    found
}
