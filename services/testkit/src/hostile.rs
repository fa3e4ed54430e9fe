use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::peer::{head, whole};
use crate::post::{now_ms, post};

/// What a hostile peer answers, whatever it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// Bytes that are no HTTP.
    Garbage,
    /// Headers without an end, as fast as they are taken.
    EndlessHeaders,
    /// A header now and then, without an end.
    SlowHeaders,
    /// `100 Continue` again and again, as fast as it is taken.
    EndlessInterim,
    /// A body without an end, as fast as it is taken.
    EndlessBody,
    /// A body without an end in chunks of one byte.
    EndlessChunks,
    /// A byte of the body now and then, without an end.
    SlowBody,
    /// Announces a gigabyte, and begins to send it.
    Gigabyte,
    /// 100 MB of spaces, packed by gzip to 100 KB.
    GzipBomb,
    /// A post with lists in lists in it, 100,000 levels.
    Deep,
    /// Redirects to another address.
    RedirectTo(SocketAddr),
    /// Announces a body and ends the connection in the middle of it.
    CloseInBody,
}

/// How often one that is slow sends something.
const NOW_AND_THEN: Duration = Duration::from_millis(100);

/// What the bomb becomes.
const BOMB_BYTES: usize = 100_000_000;

const LEVELS: usize = 100_000;

static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let part = [b' '; 100_000];
    for _ in 0..BOMB_BYTES / part.len() {
        packed.write_all(&part).unwrap();
    }
    packed.finish().unwrap()
});

impl Hostile {
    /// Answers so.
    ///
    /// # Errors
    /// The other side is gone, which ends what has no end.
    pub(crate) fn answer(self, stream: &mut TcpStream) -> std::io::Result<()> {
        match self {
            Self::Garbage => stream.write_all(&[0xff; 4096]),
            Self::EndlessHeaders => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                over_and_over(stream, &b"X-More: of the same\r\n".repeat(1000))
            }
            Self::SlowHeaders => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                now_and_then(stream, b"X-More: of the same\r\n")
            }
            Self::EndlessInterim => over_and_over(stream, &b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000)),
            Self::EndlessBody => {
                head(stream, "200 OK", "Connection: close\r\n")?;
                over_and_over(stream, &[b' '; 65536])
            }
            Self::EndlessChunks => {
                head(stream, "200 OK", "Transfer-Encoding: chunked\r\n")?;
                over_and_over(stream, &b"1\r\n \r\n".repeat(1000))
            }
            Self::SlowBody => {
                head(stream, "200 OK", "Connection: close\r\n")?;
                now_and_then(stream, b" ")
            }
            Self::Gigabyte => {
                head(stream, "200 OK", "Content-Length: 1000000000\r\n")?;
                over_and_over(stream, &[b' '; 65536])
            }
            Self::GzipBomb => whole(stream, "200 OK", "Content-Encoding: gzip\r\n", &BOMB),
            Self::Deep => {
                let post = String::from_utf8(post("deep", now_ms(), 0)).unwrap();
                let deep = post.replace("1.5", &format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS)));
                whole(stream, "200 OK", "", deep.as_bytes())
            }
            Self::RedirectTo(elsewhere) => {
                // 307: whoever follows it asks the same there.
                let location = format!("Location: http://{elsewhere}/\r\n");
                whole(stream, "307 Temporary Redirect", &location, b"")
            }
            Self::CloseInBody => {
                head(stream, "200 OK", "Content-Length: 100\r\n")?;
                stream.write_all(b"{\"pattoo_agent_id\":")
            }
        }
    }
}

fn over_and_over(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
    }
}

fn now_and_then(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        std::thread::sleep(NOW_AND_THEN);
    }
}
