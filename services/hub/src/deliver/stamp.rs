//! When a post was made: the latest of `pattoo_agent_timestamp` and its datapoints' `pattoo_timestamp`.

use crate::check::{self, Stamp};

/// The stamp of a post that passed the check when it was taken. One that an earlier version took and this one
/// would not goes up as it is: it was promised.
pub(super) fn stamp(body: &[u8]) -> Stamp {
    match check::check(body) {
        Ok(post) => post.stamp(),
        Err(_) => Stamp::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_tells_the_stamp() {
        let now = testkit::post::now_ms();
        let body = testkit::post::post("a", now, 0);
        assert_eq!(stamp(&body).ms, now);
        assert_eq!(stamp(b"{}"), Stamp::default());
    }
}
