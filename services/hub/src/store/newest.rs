//! The newest post of each source, packed as it stands in the spool, for a person to read: a delivered one is gone from
//! there. Those that came last are kept, as many as there is room for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::Lane;

/// What is kept at most, in bytes: the packed posts of some 800 hosts.
const MOST_BYTES: usize = 8 << 20;

/// The posts.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_lane: HashMap<Lane, Packed>,
    /// Which came when.
    order: BTreeMap<u64, Lane>,
    next: u64,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Packed {
    at: u64,
    taken_ms: u64,
    bytes: Vec<u8>,
}

impl Newest {
    /// Keeps a post in the place of the lane's one before; those that came first give way.
    pub(super) fn put(&self, lane: &str, taken_ms: u64, bytes: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.next;
        kept.next += 1;
        kept.bytes += bytes.len();
        let packed = Packed { at, taken_ms, bytes };
        let lane = match kept.by_lane.get_key_value(lane) {
            Some((known, _)) => known.clone(),
            None => lane.into(),
        };
        if let Some(before) = kept.by_lane.insert(lane.clone(), packed) {
            kept.bytes -= before.bytes.len();
            kept.order.remove(&before.at);
        }
        kept.order.insert(at, lane);
        while kept.bytes > MOST_BYTES
            && let Some((_, lane)) = kept.order.pop_first()
        {
            let gone = kept.by_lane.remove(&lane).map_or(0, |packed| packed.bytes.len());
            kept.bytes -= gone;
        }
    }

    /// The newest post of a lane, packed, and when it was taken.
    pub(super) fn get(&self, lane: &str) -> Option<(u64, Vec<u8>)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_lane.get(lane).map(|packed| (packed.taken_ms, packed.bytes.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_is_kept_and_who_came_first_gives_way() {
        let newest = Newest::default();
        newest.put("a", 1, vec![1]);
        newest.put("a", 2, vec![2]);
        newest.put("b", 3, vec![3; MOST_BYTES / 2]);
        assert_eq!(newest.get("a"), Some((2, vec![2])));
        newest.put("c", 4, vec![4; MOST_BYTES / 2]);
        assert_eq!(newest.get("a"), None);
        assert!(newest.get("b").is_some() && newest.get("c").is_some());
        newest.put("d", 5, vec![5; MOST_BYTES + 1]);
        assert!(newest.get("c").is_none() && newest.get("d").is_none());
        newest.put("a", 6, vec![6]);
        assert_eq!(newest.get("a"), Some((6, vec![6])));
    }
}
