//! `--once`: one poll of each target, a line for each, nothing kept.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::check::check;
use crate::poll::{Asker, Failure};
use crate::settings::Settings;
use crate::target::Target;

/// Polls at the same time.
const SIDE_BY_SIDE: usize = 64;

/// Polls every target once and prints how it went, in the order of the configuration.
///
/// # Errors
/// Not every target gave a post.
#[allow(clippy::print_stdout, reason = "the lines are what was asked for")]
pub async fn once(settings: &Settings) -> anyhow::Result<()> {
    let asker = Asker::new(settings)?;
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let polls = settings.targets.iter().cloned().map(|target| {
        let (asker, places) = (asker.clone(), places.clone());
        tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            poll(&asker, &target).await
        })
    });
    let polls = polls.collect::<Vec<_>>();
    let mut failed = 0_usize;
    let all = polls.len();
    for poll in polls {
        match poll.await? {
            Ok(line) => println!("{line}"),
            Err(line) => {
                failed += 1;
                println!("{line}");
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} of {all} targets gave no post");
    Ok(())
}

async fn poll(asker: &Asker, target: &Target) -> Result<String, String> {
    let began = Instant::now();
    let asked = asker.ask(target).await;
    let judged = asked.and_then(|body| check(&body).map(|post| (post, body.len())).map_err(Failure::Body));
    match judged {
        Ok((post, bytes)) => Ok(format!(
            "{target} ok agent_id={} bytes={bytes} ms={}",
            post.agent_id,
            began.elapsed().as_millis()
        )),
        Err(failure) => Err(format!("{target} failed {failure}")),
    }
}
