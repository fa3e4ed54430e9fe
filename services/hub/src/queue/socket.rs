//! The way to a running hub: one line of JSON there (the words), one digit and a text back.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::shutdown::Stop;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Queue;
use super::command::Command;

/// Words are short.
const MOST_BYTES: u64 = 64 * 1024;

/// Who connects has something to say.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Verifying reads the whole spool.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);

/// The same place by a name that is short: the kernel takes no more than 107 bytes for the name of a socket. It
/// holds as long as the folder is open.
fn short(path: &Path) -> io::Result<(File, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("a socket's path names a folder and a file"));
    };
    let folder = File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, short))
}

/// Listens for commands; the socket is removed with it.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`; only the hub's own user may connect.
    ///
    /// # Errors
    /// The folder cannot be written to, or a hub listens there.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        // Left behind by a hub that was killed: this one holds the program's lock.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (_folder, short) = short(path)?;
        let listener = UnixListener::bind(short)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers, one after the other, until `stop`.
    pub(crate) async fn serve(self, queue: Queue, mut stop: Stop) {
        loop {
            let stream = tokio::select! {
                () = stop.wait() => return,
                accepted = self.listener.accept() => accepted,
            };
            let answered = match stream {
                Ok((stream, _)) => answer(stream, &queue).await,
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "failed to answer a command");
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It is of no use without us, and the next start removes it as well.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, queue: &Queue) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(MOST_BYTES));
    tokio::time::timeout(READ_LIMIT, reader.read_line(&mut line)).await.map_err(io::Error::other)??;
    let words: Vec<String> = serde_json::from_str(&line)?;
    let result = match Command::parse(&words) {
        Ok(command) => command.run(queue).await,
        Err(error) => Err(error.to_string()),
    };
    let (digit, text) = match result {
        Ok(text) => ('0', text),
        Err(reason) => ('1', reason),
    };
    stream.write_all(format!("{digit}\n{text}").as_bytes()).await
}

/// Asks the hub that listens at `path`. The outer error: nobody can be asked; the inner one: it refused.
pub(super) async fn ask(path: &Path, words: &[String]) -> io::Result<Result<String, String>> {
    let (_folder, short) = short(path)?;
    let mut stream = UnixStream::connect(short).await?;
    let mut line = serde_json::to_vec(words)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut said = String::new();
    tokio::time::timeout(ANSWER_LIMIT, stream.read_to_string(&mut said))
        .await
        .map_err(io::Error::other)??;
    match said.split_once('\n') {
        Some(("0", text)) => Ok(Ok(text.to_owned())),
        Some(("1", reason)) => Ok(Err(reason.to_owned())),
        _ => Err(io::Error::other("the hub did not answer as this version expects")),
    }
}
