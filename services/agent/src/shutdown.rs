//! When to stop: SIGTERM or SIGINT begins the drain, a second one ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit status of a program that a second signal ended: 128 + SIGTERM, as a shell reports it.
const ENDED_BY_SIGNAL: i32 = 143;

/// Tells everybody who holds a clone that the program is to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// A stop that the returned sender gives, for tests and for stopping in an order.
    pub fn by_hand() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until it is time to stop.
    pub async fn wait(&mut self) {
        // A sender that is gone means the same: nobody is left who could ask for more.
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether it is time to stop.
    pub fn is_now(&self) -> bool {
        *self.0.borrow()
    }
}

/// Listens for the signals, from now on.
///
/// # Errors
/// The signals cannot be listened for.
pub fn on_signals() -> std::io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, stop) = Stop::by_hand();
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if stopping {
                tracing::warn!(signal = name, "second signal, ending at once");
                std::process::exit(ENDED_BY_SIGNAL);
            }
            stopping = true;
            tracing::info!(signal = name, "stopping");
            let _ = sender.send(true);
        }
    });
    Ok(stop)
}
