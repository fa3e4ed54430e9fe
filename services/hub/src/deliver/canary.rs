//! The newest post that the server has acknowledged, kept in a file of its own, so that it tells a bad post
//! from a bad server after a restart too, and at a site with a single spoke.
//!
//! The file: a version byte, the sha256 of what follows, the length of the agent id in a byte, the agent id,
//! the body. It is replaced atomically, at most once a minute; an older canary is as good. A file that is not
//! exactly that is not used: a damaged body could be refused, or harm the server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent::file;
use agent::identity::is_agent_id;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::store::Lane;

/// The format that is written.
const VERSION: u8 = 1;

/// The length of a sha256.
const DIGEST: usize = 32;

/// How long a written canary is good enough.
const PAUSE: Duration = Duration::from_secs(60);

/// A post that the server took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) lane: Lane,
    pub(super) body: Bytes,
}

/// The canary, in memory and on disk.
#[derive(Debug)]
pub(super) struct Canary {
    path: Arc<Path>,
    post: Option<Post>,
    written: Option<Instant>,
}

impl Canary {
    /// The canary that an earlier run left at `path`, if it left one.
    pub(super) fn open(path: PathBuf) -> Self {
        let post = match std::fs::read(&path) {
            Ok(content) => {
                let post = decode(&content);
                if post.is_none() {
                    tracing::warn!(path = %path.display(), "damaged, or of another version; not used");
                }
                post
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "failed to read; not used");
                None
            }
        };
        Self { path: path.into(), post, written: None }
    }

    /// The post to send, if one was ever acknowledged.
    pub(super) fn post(&self) -> Option<&Post> {
        self.post.as_ref()
    }

    /// The server has acknowledged a post. Returns what is to be written to disk, where it is time for that.
    pub(super) fn acknowledged(&mut self, post: Post, now: Instant) -> Option<Writing> {
        let post = self.post.insert(post);
        if self.written.is_some_and(|at| now.duration_since(at) < PAUSE) {
            return None;
        }
        self.written = Some(now);
        Some(Writing { path: self.path.clone(), post: post.clone() })
    }
}

/// A canary that is to be written.
#[derive(Debug)]
pub(super) struct Writing {
    path: Arc<Path>,
    post: Post,
}

impl Writing {
    /// Writes it. That it fails costs nothing but a canary after a restart.
    pub(super) fn write(&self) {
        if let Err(error) = file::write_atomic(&self.path, &encode(&self.post)) {
            tracing::warn!(path = %self.path.display(), %error, "failed to keep the newest acknowledged post");
        }
    }
}

fn encode(post: &Post) -> Vec<u8> {
    let length = u8::try_from(post.lane.len()).unwrap_or(0); // an agent id has 128 letters at most
    let parts = [&[length], post.lane.as_bytes(), &post.body];
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    let mut content = vec![VERSION];
    content.extend_from_slice(&digest.finalize());
    parts.iter().for_each(|part| content.extend_from_slice(part));
    content
}

fn decode(content: &[u8]) -> Option<Post> {
    let (digest, rest) = content.strip_prefix(&[VERSION])?.split_at_checked(DIGEST)?;
    if Sha256::digest(rest).as_slice() != digest {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    let (lane, body) = rest.split_at_checked(usize::from(*length))?;
    let lane = std::str::from_utf8(lane).ok().filter(|lane| is_agent_id(lane))?;
    Some(Post { lane: lane.into(), body: Bytes::copy_from_slice(body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(body: &'static str) -> Post {
        Post { lane: "agent.1".into(), body: body.into() }
    }

    #[test]
    fn it_outlives_a_restart_and_is_written_once_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("canary");
        let mut canary = Canary::open(path.clone());
        assert_eq!(canary.post(), None);
        let now = Instant::now();
        canary.acknowledged(post("{\"first\":1}"), now).unwrap().write();
        assert!(canary.acknowledged(post("{\"second\":1}"), now + PAUSE / 2).is_none());
        assert_eq!(canary.post(), Some(&post("{\"second\":1}")));
        assert_eq!(Canary::open(path.clone()).post(), Some(&post("{\"first\":1}")));
        canary.acknowledged(post("{\"third\":1}"), now + PAUSE).unwrap().write();
        assert_eq!(Canary::open(path).post(), Some(&post("{\"third\":1}")));
    }

    #[test]
    fn a_damaged_file_is_not_used() {
        let whole = encode(&post("{\"a\":1}"));
        assert_eq!(decode(&whole), Some(post("{\"a\":1}")));
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "cut to {end} bytes");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            assert_eq!(decode(&flipped), None, "byte {at} flipped");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Canary::open(folder.path().to_owned()).post(), None, "a folder in its place");
    }

    #[test]
    fn an_empty_body_and_the_longest_id_fit() {
        let post = Post { lane: "x".repeat(128).as_str().into(), body: Bytes::new() };
        assert_eq!(decode(&encode(&post)), Some(post));
    }
}
