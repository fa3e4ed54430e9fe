//! The commands themselves.

use std::fmt::Write;

use agent::clock::Clock;

use super::Queue;
use crate::check;
use crate::quarantine::Entry;

/// The word that overrules a refusal of `requeue`.
const ANYWAY: &str = "--anyway";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Lists the lanes that hold something, and what was set aside.
    List,
    /// Reads everything on disk and checks every checksum; changes nothing.
    Verify,
    /// Drops all that waits in these lanes.
    Purge(Vec<String>),
    /// Puts what was set aside back at the end of its lane.
    Requeue {
        /// Names of files in quarantine.
        files: Vec<String>,
        /// Even where the server would drop it.
        anyway: bool,
    },
}

/// Words that are no command.
#[derive(Debug, thiserror::Error)]
#[error("--queue: {0}; it takes: list | verify | purge LANE ... | requeue FILE ... [--anyway]")]
pub(super) struct NoCommand(&'static str);

impl Command {
    pub(super) fn parse(words: &[String]) -> Result<Self, NoCommand> {
        let (first, rest) = words.split_first().ok_or(NoCommand("nothing to do"))?;
        let named = |what| if rest.is_empty() { Err(NoCommand(what)) } else { Ok(rest.to_vec()) };
        match first.as_str() {
            "list" if rest.is_empty() => Ok(Self::List),
            "verify" if rest.is_empty() => Ok(Self::Verify),
            "purge" => Ok(Self::Purge(named("purge of which lane? `list` tells them")?)),
            "requeue" => {
                let (anyway, files): (Vec<String>, Vec<String>) =
                    named("requeue of which file? `list` tells them")?
                        .into_iter()
                        .partition(|word| word == ANYWAY);
                Ok(Self::Requeue { files, anyway: !anyway.is_empty() })
            }
            _ => Err(NoCommand("no such command")),
        }
    }

    /// Does it; `Err` holds the reason of a refusal.
    pub(super) async fn run(&self, queue: &Queue) -> Result<String, String> {
        match self {
            Self::List => list(queue),
            Self::Verify => verify(queue).await,
            Self::Purge(lanes) => purge(queue, lanes).await,
            Self::Requeue { files, anyway } => requeue(queue, files, *anyway).await,
        }
    }
}

fn list(queue: &Queue) -> Result<String, String> {
    let now = Clock::system().now_ms();
    let mut out = String::new();
    let lanes = queue.store.in_lanes();
    for lane in lanes.iter().filter(|lane| lane.posts > 0) {
        let age = lane.oldest_ms.map_or(0, |taken| now.saturating_sub(taken) / 1000);
        // Writing to a text cannot fail.
        let _ = writeln!(out, "lane {} posts {} bytes {} oldest {age} s", lane.lane, lane.posts, lane.bytes);
    }
    let aside =
        queue.quarantine.entries().map_err(|error| format!("failed to list the quarantine: {error}"))?;
    for Entry { name, bytes, .. } in &aside {
        let _ = writeln!(out, "quarantine {name} bytes {bytes}");
    }
    let (posts, bytes) = queue.store.waiting();
    let _ = writeln!(out, "{posts} posts wait ({bytes} bytes), {} bodies are set aside", aside.len());
    Ok(out)
}

async fn verify(queue: &Queue) -> Result<String, String> {
    let folder = queue.spool.clone();
    let verified = tokio::task::spawn_blocking(move || spool::verify(&folder, &spool::Disk)).await;
    let verified = verified.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let mut out = format!(
        "{} segments, {} spares, {} records whose checksums are right, {} of them wait in {} lanes\n",
        verified.segments,
        verified.spares,
        verified.records.records,
        verified.waiting.records,
        verified.lanes.len()
    );
    for (name, bytes) in &verified.set_aside {
        let _ = writeln!(out, "set aside: {name} bytes {bytes}");
    }
    if verified.damage.any() {
        let _ = writeln!(out, "damage: {:?}", verified.damage);
        return Err(out);
    }
    out.push_str("no damage\n");
    Ok(out)
}

async fn purge(queue: &Queue, lanes: &[String]) -> Result<String, String> {
    let known = queue.store.in_lanes();
    if let Some(unknown) = lanes.iter().find(|lane| !known.iter().any(|known| *known.lane == ***lane)) {
        return Err(format!("{unknown}: no such lane; `--queue list` tells them"));
    }
    let mut out = String::new();
    for lane in lanes {
        let dropped = queue.store.purge(lane).await.map_err(|error| format!("lane {lane}: {error}"))?;
        tracing::warn!(%lane, posts = dropped, "purged on request");
        let _ = writeln!(out, "lane {lane}: {dropped} posts dropped");
    }
    Ok(out)
}

async fn requeue(queue: &Queue, files: &[String], anyway: bool) -> Result<String, String> {
    let entries =
        queue.quarantine.entries().map_err(|error| format!("failed to list the quarantine: {error}"))?;
    let mut out = String::new();
    for file in files {
        let entry = entries.iter().find(|entry| entry.name == *file);
        let entry = entry
            .ok_or_else(|| format!("{out}{file}: no such file in quarantine; `--queue list` tells them"))?;
        let done =
            requeue_one(queue, entry, anyway).await.map_err(|reason| format!("{out}{file}: {reason}"))?;
        let _ = writeln!(out, "{file}: {done}");
    }
    Ok(out)
}

async fn requeue_one(queue: &Queue, entry: &Entry, anyway: bool) -> Result<String, String> {
    let body = queue.quarantine.read(entry).map_err(|error| format!("failed to read: {error}"))?;
    let post = check::check(&body).map_err(|reason| format!("refused: {reason}, as before"))?;
    if !anyway && let Some(newer) = newer_than(queue, &post.agent_id, entry.sequence) {
        return Err(format!(
            "refused: lane {} {newer}, so the server would drop it; {ANYWAY} puts it back all the same",
            post.agent_id
        ));
    }
    let sequence =
        queue.store.append(&post.agent_id, body.into()).await.map_err(|error| error.to_string())?;
    queue
        .quarantine
        .remove(entry)
        .map_err(|error| format!("put back, but failed to remove the file: {error}"))?;
    tracing::info!(file = %entry.name, lane = %post.agent_id, sequence, "put back on request");
    Ok(format!("put back at the end of lane {}", post.agent_id))
}

/// What the lane has that came after that sequence: the server keeps only what is later than what it has.
fn newer_than(queue: &Queue, lane: &str, sequence: u64) -> Option<&'static str> {
    let lane = queue.store.in_lanes().into_iter().find(|known| *known.lane == *lane)?;
    if lane.done > sequence {
        return Some("has delivered newer posts");
    }
    (lane.posts > 0).then_some("holds newer posts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Command, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Command::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_four_commands_and_no_other() {
        assert_eq!(parse(&["list"]), Ok(Command::List));
        assert_eq!(parse(&["verify"]), Ok(Command::Verify));
        assert_eq!(parse(&["purge", "a", "b"]), Ok(Command::Purge(vec!["a".into(), "b".into()])));
        assert_eq!(
            parse(&["requeue", "x", "--anyway"]),
            Ok(Command::Requeue { files: vec!["x".into()], anyway: true })
        );
        for odd in [&[][..], &["purge"], &["requeue"], &["list", "x"], &["drop"]] {
            assert!(parse(odd).unwrap_err().contains("list | verify | purge"), "{odd:?}");
        }
    }
}
