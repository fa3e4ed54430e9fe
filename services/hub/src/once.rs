//! `--once`: one poll of each target, a line for each, nothing kept.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use agent::resolve::Every;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::check::check;
use crate::poll::{Asker, Failure};
use crate::resolve;
use crate::settings::{IdentityRule, Settings};
use crate::target::Target;
use crate::targets;

/// Polls at the same time.
const SIDE_BY_SIDE: usize = 64;

/// Polls every target once and prints how it went, in the order of the configuration; of a name that stands for all of
/// its addresses, each.
///
/// # Errors
/// Not every target gave a post that would be taken.
#[allow(clippy::print_stdout, reason = "the lines are what was asked for")]
pub async fn once(settings: &Settings) -> anyhow::Result<()> {
    let asker = Asker::new(settings);
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let (targets, mut failed) = targets(settings).await;
    let polls = targets.iter().cloned().map(|target| {
        let (asker, places) = (asker.clone(), places.clone());
        tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            poll(&asker, &target).await
        })
    });
    let polls = polls.collect::<Vec<_>>();
    let all = targets.len() + failed;
    let mut given = HashMap::<String, &Target>::new();
    for (poll, target) in polls.into_iter().zip(&targets) {
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
    anyhow::ensure!(failed == 0, "{failed} of {all} targets gave no post that is taken");
    Ok(())
}

/// What is to be polled, and how many names have told no address; a line for each of these.
#[allow(clippy::print_stdout, reason = "the lines are what was asked for")]
async fn targets(settings: &Settings) -> (Vec<Target>, usize) {
    let (mut targets, mut failed) = (Vec::new(), 0);
    let mut listed = HashSet::new();
    let mut add = |target: Target| listed.insert(target.clone()).then(|| targets.push(target));
    for device in &settings.devices {
        let Some(name) = device.name() else {
            add(device.target.clone());
            continue;
        };
        let Every { v4, v6 } = resolve::every(name).await;
        let reason = v4.as_ref().err().or(v6.as_ref().err()).map(ToString::to_string);
        let found: Vec<IpAddr> = [v4, v6].into_iter().filter_map(Result::ok).flatten().collect();
        if found.is_empty() || reason.is_some() {
            failed += 1;
            let reason = reason.unwrap_or_else(|| "it has no address".to_owned());
            println!("{} failed dns: {reason}", device.target);
        }
        for address in found.into_iter().take(settings.max_addresses) {
            add(targets::of(&device.target, address));
        }
    }
    (targets, failed)
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
