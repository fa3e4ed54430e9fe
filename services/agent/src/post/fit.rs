//! Texts as the pattoo server can hold them.

use sha2::{Digest, Sha256};

use crate::identity::hex;

/// The server cuts metadata to so many characters and puts it into a column of as many bytes.
const MOST: usize = 512;

/// How many bytes of the digest tell two long texts apart.
const DIGEST: usize = 8;

/// The text as metadata that the server takes. One that does not fit into its column stops it, and the whole post with it:
/// such a one is cut, and what is cut off is told apart by a digest of the whole. All others stay as they are.
pub fn fitting(text: String) -> String {
    if text.len() <= MOST || text.chars().take(MOST).all(|letter| letter.is_ascii()) {
        return text;
    }
    let digest = Sha256::digest(text.as_bytes());
    let end = format!("~{}", hex(digest.get(..DIGEST).unwrap_or_default()));
    let mut kept = text;
    kept.truncate(kept.floor_char_boundary(MOST - end.len()));
    kept + &end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_cannot_hold_is_cut() {
        for text in
            ["/data".to_owned(), "\u{e4}".repeat(256), "x".repeat(4096), format!("{}\u{e4}", "x".repeat(512))]
        {
            assert_eq!(fitting(text.clone()), text);
        }
    }

    #[test]
    fn what_is_cut_fits_and_stays_apart_from_others() {
        let long = |end: &str| fitting(format!("/mnt/{}{end}", "\u{1f980}".repeat(200)));
        assert!(long("a").len() <= MOST && long("a").starts_with("/mnt/\u{1f980}"));
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
    }
}
