//! A post as it stands in the spool: one byte that says how it is packed, then the bytes.

use std::cell::RefCell;
use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// Kept as it is.
const PLAIN: u8 = 0;

/// One zstd frame, which names its decompressed size.
const ZSTD: u8 = 1;

/// Halves the disk's work for tens of microseconds a post; higher levels cost more than they save.
const LEVEL: i32 = 1;

/// Tables that fit into a core's first cache: a tenth quicker than this level's own, as small on a post, and they push
/// nothing else out.
const TABLES: [CParameter; 2] = [CParameter::HashLog(12), CParameter::MinMatch(7)];

/// No post is larger: what claims to be is damage.
const MOST_BYTES: u64 = 1 << 30;

/// A longer body's buffer is not kept for the next one.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    /// The compressor with its tables, and a buffer: making them anew costs more than a small post does.
    static KEPT: RefCell<Option<(Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Packs a body.
pub(super) fn pack(body: &[u8]) -> io::Result<Vec<u8>> {
    let (mut compressor, mut frame) = match KEPT.take() {
        Some(kept) => kept,
        None => (compressor()?, Vec::new()),
    };
    frame.clear();
    frame.reserve(zstd::zstd_safe::compress_bound(body.len()));
    compressor.compress_to_buffer(body, &mut frame)?;
    let (kind, bytes) = if frame.len() < body.len() { (ZSTD, frame.as_slice()) } else { (PLAIN, body) };
    let mut packed = Vec::with_capacity(bytes.len() + 1);
    packed.push(kind);
    packed.extend_from_slice(bytes);
    frame.shrink_to(KEPT_BYTES);
    KEPT.set(Some((compressor, frame)));
    Ok(packed)
}

fn compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(LEVEL)?;
    TABLES.into_iter().try_for_each(|parameter| compressor.set_parameter(parameter))?;
    Ok(compressor)
}

/// Undoes [`pack`].
pub(super) fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    match packed.split_first() {
        Some((&PLAIN, body)) => Ok(body.to_vec()),
        Some((&ZSTD, frame)) => {
            let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
            let size = size.filter(|size| *size <= MOST_BYTES).and_then(|size| usize::try_from(size).ok());
            zstd::bulk::decompress(
                frame,
                size.ok_or_else(|| io::Error::other("a zstd frame without a size"))?,
            )
        }
        Some((other, _)) => {
            Err(io::Error::other(format!("packed in an unknown way ({other}), by a later version?")))
        }
        None => Err(io::Error::other("an empty record")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(body in prop::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(unpack(&pack(&body).unwrap()).unwrap(), body);
        }

        #[test]
        fn whatever_the_bytes_are_unpacking_ends(packed in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = unpack(&packed);
        }
    }

    #[test]
    fn a_post_gets_small_and_the_rest_does_not_grow() {
        let post = br#"["pattoo_agent_hostname","localhost"],"#.repeat(1000);
        assert!(pack(&post).unwrap().len() < post.len() / 10);
        assert_eq!(pack(b"").unwrap().len(), 1);
    }
}
