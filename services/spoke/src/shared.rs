//! One work for all who ask at the same time.

use std::time::Instant;

use anyhow::Context;

/// What was made last, for those who asked before it was begun.
#[derive(Debug)]
pub(crate) struct Shared<K, T>(tokio::sync::Mutex<Option<Last<K, T>>>);

#[derive(Debug)]
struct Last<K, T> {
    key: K,
    begun: Instant,
    made: T,
}

impl<K, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::default())
    }
}

impl<K: PartialEq, T: Clone + Send + 'static> Shared<K, T> {
    /// What `make` brings for `key`. Who waits while it is made for another takes the next together with everybody
    /// who waits for it too; never one that was begun before it was asked for.
    ///
    /// # Errors
    /// Those of `make`; it ended unexpectedly.
    pub(crate) async fn get(
        &self,
        key: K,
        make: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.key == key && last.begun >= asked) {
            // The next one waits until what has arrived was looked at: else all who waited together would be answered
            // together, before anybody who asks for something else.
            tokio::task::yield_now().await;
            return Ok(last.made.clone());
        }
        let begun = Instant::now();
        // Reading the host may wait for a disk; that must not hold the pages that tell whether we live.
        let made = tokio::task::spawn_blocking(make).await;
        let made = made.context("reading the host ended unexpectedly")??;
        *last = Some(Last { key, begun, made: made.clone() });
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn who_waits_takes_the_next_together_and_never_one_begun_before() {
        let (shared, made) = (Shared::<u64, usize>::default(), Arc::new(AtomicUsize::new(0)));
        let (go, wait) = channel::<()>();
        let count = || {
            let made = Arc::clone(&made);
            move || Ok(made.fetch_add(1, Ordering::SeqCst) + 1)
        };
        let first = shared.get(300, {
            let count = count();
            move || wait.recv().map_err(Into::into).and_then(|()| count())
        });
        // They are begun in this order, and the first ends only once all have asked.
        let (first, second, third, sent) =
            tokio::join!(first, shared.get(300, count()), shared.get(300, count()), async { go.send(()) });
        assert!(sent.is_ok());
        assert_eq!((first.unwrap(), second.unwrap(), third.unwrap()), (1, 2, 2));
        assert_eq!(shared.get(300, count()).await.unwrap(), 3, "asked for afterwards");
        assert!(shared.get(300, || anyhow::bail!("no host")).await.is_err());
        let (one, other) = tokio::join!(shared.get(60, count()), shared.get(300, count()));
        assert_eq!((one.unwrap(), other.unwrap()), (4, 5), "other keys");
    }
}
