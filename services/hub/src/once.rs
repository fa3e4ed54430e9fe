//! `--once`: one poll of each target, a line for each, nothing kept.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::check::check;
use crate::poll::{Asker, Failure};
use crate::settings::{IdentityRule, Settings};
use crate::target::Target;

/// Polls at the same time.
const SIDE_BY_SIDE: usize = 64;

/// Polls every target once and prints how it went, in the order of the configuration.
///
/// # Errors
/// Not every target gave a post that would be taken.
#[allow(clippy::print_stdout, reason = "the lines are what was asked for")]
pub async fn once(settings: &Settings) -> anyhow::Result<()> {
    let asker = Asker::new(settings);
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
    let mut given = HashMap::<String, &Target>::new();
    for (poll, target) in polls.into_iter().zip(&settings.targets) {
        match poll.await? {
            Ok((agent_id, line)) => {
                println!("{line}");
                if let Some(first) = given.get(&agent_id) {
                    println!("two targets, one spoke: {first} and {target} give agent_id={agent_id}");
                    failed += usize::from(settings.identity_rule == IdentityRule::Pin);
                } else {
                    given.insert(agent_id, target);
                }
            }
            Err(line) => {
                failed += 1;
                println!("{line}");
            }
        }
    }
    let all = settings.targets.len();
    anyhow::ensure!(failed == 0, "{failed} of {all} targets gave no post that is taken");
    Ok(())
}

/// Polls a target; the agent id and the line about it.
async fn poll(asker: &Asker, target: &Target) -> Result<(String, String), String> {
    let began = Instant::now();
    let asked = asker.ask(target).await;
    let judged = asked.and_then(|body| check(&body).map(|post| (post, body.len())).map_err(Failure::Body));
    match judged {
        Ok((post, bytes)) => {
            let ms = began.elapsed().as_millis();
            let line = format!("{target} ok agent_id={} bytes={bytes} ms={ms}", post.agent_id);
            Ok((post.agent_id, line))
        }
        Err(failure) => Err(format!("{target} failed {failure}")),
    }
}
