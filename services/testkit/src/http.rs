//! Plain HTTP for tests: a request on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::LIMIT;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// Gets `path`.
///
/// # Panics
/// There is no answer.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, "GET", path, &[], b"")
}

/// Posts JSON to `path`.
///
/// # Panics
/// There is no answer.
pub fn post_json(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    send(address, "POST", path, &[("Content-Type", "application/json")], body)
}

/// Sends a request and reads the answer to its end.
///
/// # Panics
/// There is no answer.
pub fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_send(address, method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// As [`send`], for programs that may not answer.
///
/// # Errors
/// The connection fails.
pub fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    // A server may answer before it has read a body that it does not want.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer)
        && answer.is_empty()
    {
        return Err(error);
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| std::io::Error::other("no whole answer"))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status: {head}")))?;
    Ok(Answer { status, head, body: answer[end + 4..].to_vec() })
}

/// The sum of a metric over all its labels, or over those that contain `label` (`reason="nan"`).
///
/// # Panics
/// There is no such page.
pub fn metric(address: SocketAddr, name: &str, label: &str) -> f64 {
    let page = get(address, "/metrics").text();
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let ours = labels.is_empty() || labels.starts_with('{');
        (ours && labels.contains(label)).then(|| value.parse::<f64>().unwrap())
    });
    values.sum()
}
