//! Posts that were kept a moment ago, as they came: a delivery that follows at once neither reads nor unpacks nor
//! judges them again. What is not here any more is read from disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Post;

/// What is kept at most, in bytes of posts: about what comes within a tenth of a second.
const MOST_BYTES: usize = 4 << 20;

/// The posts, by their sequence.
#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    posts: BTreeMap<u64, Post>,
    bytes: usize,
}

impl Fresh {
    /// Keeps a post that is safe on disk; the oldest give way.
    pub(super) fn put(&self, post: Post) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += post.body.len();
        kept.posts.insert(post.sequence, post);
        while kept.bytes > MOST_BYTES
            && let Some((_, oldest)) = kept.posts.pop_first()
        {
            kept.bytes -= oldest.body.len();
        }
    }

    /// Takes a post out, if it is here.
    pub(super) fn take(&self, sequence: u64) -> Option<Post> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let post = kept.posts.remove(&sequence)?;
        kept.bytes -= post.body.len();
        Some(post)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(sequence: u64, bytes: usize) -> Post {
        Post { sequence, body: vec![0; bytes].into(), stamp: None }
    }

    #[test]
    fn a_post_is_taken_once_and_the_oldest_give_way() {
        let fresh = Fresh::default();
        fresh.put(post(7, 10));
        assert_eq!(fresh.take(7).map(|post| post.sequence), Some(7));
        assert!(fresh.take(7).is_none());
        (1..=5).for_each(|sequence| fresh.put(post(sequence, MOST_BYTES / 4)));
        assert!(fresh.take(1).is_none());
        assert!((2..=5).all(|sequence| fresh.take(sequence).is_some()));
        fresh.put(post(9, MOST_BYTES + 1));
        assert!(fresh.take(9).is_none());
    }
}
