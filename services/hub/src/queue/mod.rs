//! `--queue`: looking at what waits and what was set aside, and operating on it. A running hub is asked
//! through a Unix socket that only its user may use, since nothing over HTTP changes state; a stopped one is
//! opened.

mod command;
mod socket;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use agent::config::Configuration;
use anyhow::Context;
use tokio::runtime::Builder;

use crate::metrics::Metrics;
use crate::quarantine::Quarantine;
use crate::settings::Settings;
use crate::store::Store;
use command::Command;
pub(crate) use socket::Listener;

/// What the commands work on.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) store: Store,
    pub(crate) quarantine: Quarantine,
    pub(crate) spool: PathBuf,
}

/// How long a stopped hub's spool may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// Does what the words after `--queue` say; returns the exit status.
///
/// # Errors
/// The words are no command, or the spool can be neither asked nor opened.
pub fn main(configuration: &Configuration, words: &[String]) -> anyhow::Result<u8> {
    let settings = Settings::read(configuration)?;
    let command = Command::parse(words)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let socket = settings.queue_socket();
        match socket::ask(&socket, words).await {
            Err(error) if is_nobody(&error) => on_a_stopped_hub(&settings, &command).await,
            answer => answer.with_context(|| format!("{}: failed to ask the running hub", socket.display())),
        }
    })?;
    let (status, text) = match answer {
        Ok(text) => (0, text),
        Err(reason) => (1, reason),
    };
    say(&text);
    Ok(status)
}

#[allow(clippy::print_stdout, reason = "this is where the command's answer is told")]
fn say(text: &str) {
    println!("{}", text.trim_end());
}

/// Whether no hub listens there.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn on_a_stopped_hub(settings: &Settings, command: &Command) -> anyhow::Result<Result<String, String>> {
    let spool = settings.spool_folder();
    let opened = Store::open(spool.clone(), settings.bounds, Metrics::new(false)?).await;
    let (store, _filled) =
        opened.with_context(|| format!("{}: failed to open the spool", spool.display()))?;
    let quarantine = Quarantine::open(settings.quarantine_folder(), settings.quarantine_max_bytes)?;
    let queue = Queue { store: store.clone(), quarantine, spool };
    let answer = command.run(&queue).await;
    store.close(CLOSE_LIMIT).await?;
    Ok(answer)
}
