//! Reading a segment: by its footer, or record by record where that is missing or bad.

use std::io;
use std::ops::Range;

use crate::files::{Handle, read_exact_at};
use crate::format::{
    Entry, Kind, Place, RECORD_HEAD, RecordHead, SEGMENT_HEAD, SegmentHead, TRAILER, decode_cursors,
    decode_entries, decode_head, decode_segment_head, decode_trailer, record_size,
};

/// What is read in one call; where it fails, it is read again in pages.
const BLOCK: usize = 256 << 10;
const PAGE: usize = 4096;

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) head: Option<SegmentHead>,
    pub(crate) entries: Vec<Entry>,
    /// Cursors of the snapshot and of the acknowledgements, in order.
    pub(crate) cursors: Vec<(u32, u64)>,
    /// Whether the snapshot is whole.
    pub(crate) snapshot: bool,
    /// Whether it ends in a trailer: it was sealed.
    pub(crate) sealed: bool,
    /// Whether a footer is whole.
    pub(crate) footer: bool,
    /// Stretches before something readable that hold nothing readable.
    pub(crate) damage: Vec<Range<u64>>,
    /// After the last readable record there is something unreadable, up to here.
    pub(crate) tail: Option<Range<u64>>,
    /// Records and trailers that were read.
    pub(crate) readable: u64,
}

impl Scan {
    /// Nothing but zeros, or nothing at all: a spare.
    pub(crate) fn is_blank(&self) -> bool {
        self.head.is_none() && self.readable == 0 && self.damage.is_empty() && self.tail.is_none()
    }
}

/// Reads a whole file into `out`. Pages that cannot be read are filled with zeros; how many those were.
pub(crate) fn read_whole(file: &dyn Handle, length: u64, out: &mut Vec<u8>) -> u64 {
    out.clear();
    out.resize(usize::try_from(length).unwrap_or(0), 0);
    let mut bad = 0;
    let mut at = 0;
    for block in out.chunks_mut(BLOCK) {
        if read_exact_at(file, block, at).is_err() {
            let mut page_at = at;
            for page in block.chunks_mut(PAGE) {
                if read_exact_at(file, page, page_at).is_err() {
                    page.fill(0);
                    bad += 1;
                }
                page_at += page.len() as u64;
            }
        }
        at += block.len() as u64;
    }
    bad
}

/// The next sequence and the entries of a sealed segment, if its head, trailer and footer are whole.
///
/// # Errors
/// What the file system says.
pub(crate) fn read_footer(
    file: &dyn Handle,
    segment: u32,
    length: u64,
) -> io::Result<Option<(u64, Vec<Entry>)>> {
    if length < SEGMENT_HEAD + RECORD_HEAD + TRAILER {
        return Ok(None);
    }
    let mut head = [0; SEGMENT_HEAD as usize];
    read_exact_at(file, &mut head, 0)?;
    let mut trailer = [0; TRAILER as usize];
    read_exact_at(file, &mut trailer, length - TRAILER)?;
    let (Some(SegmentHead::Known { next_sequence }), Some(offset)) =
        (decode_segment_head(&head, segment), decode_trailer(&trailer, segment))
    else {
        return Ok(None);
    };
    let Some(space) = (length - TRAILER).checked_sub(offset.into()) else { return Ok(None) };
    let mut footer = vec![0; usize::try_from(space).map_err(io::Error::other)?];
    read_exact_at(file, &mut footer, offset.into())?;
    let Some(head) = decode_head(&footer, Place { segment, offset }) else { return Ok(None) };
    let whole = |body: &&[u8]| head.kind == Kind::Footer && head.matches(body);
    let Some(body) = body_of(&footer, 0, head.length).filter(whole) else { return Ok(None) };
    let entries: Vec<Entry> = decode_entries(body).collect();
    let inside = |entry: &Entry| {
        let start = u64::from(entry.offset);
        start >= SEGMENT_HEAD && start + record_size(entry.length.into()) <= u64::from(offset)
    };
    Ok(entries.iter().all(inside).then_some((next_sequence, entries)))
}

fn body_of(data: &[u8], record: usize, length: u32) -> Option<&[u8]> {
    let start = record.checked_add(RECORD_HEAD as usize)?;
    data.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

/// Reads a segment record by record; after something unreadable it goes on at the next good head.
pub(crate) fn scan(data: &[u8], segment: u32) -> Scan {
    let mut found = Scan { head: decode_segment_head(data, segment), ..Scan::default() };
    let mut at = if found.head.is_some() { SEGMENT_HEAD as usize } else { 0 };
    // The beginning of what is unreadable, once there is anything.
    let mut bad: Option<usize> = None;
    while at < data.len() {
        let rest = data.get(at..).unwrap_or_default();
        let place = Place { segment, offset: u32::try_from(at).unwrap_or(u32::MAX) };
        let step = match decode_head(rest, place) {
            Some(head) => take_record(&mut found, data, at, &head, &mut bad),
            None if decode_trailer(rest, segment).is_some() => {
                found.sealed = true;
                found.readable += 1;
                close(&mut found, data, bad.take(), at);
                Some(TRAILER as usize)
            }
            None => None,
        };
        if step.is_none() {
            bad.get_or_insert(at);
        }
        at += step.unwrap_or(8);
    }
    found.tail = bad.and_then(|from| not_zero(data, from, data.len()));
    found
}

/// Takes the record at `at`. Its length in the segment, if it is whole.
fn take_record(
    found: &mut Scan,
    data: &[u8],
    at: usize,
    head: &RecordHead,
    bad: &mut Option<usize>,
) -> Option<usize> {
    let body = body_of(data, at, head.length)?;
    let size = usize::try_from(head.size()).ok()?;
    if !head.matches(body) {
        // The head says how long it is: what follows is not touched by this.
        bad.get_or_insert(at);
        return Some(size);
    }
    close(found, data, bad.take(), at);
    found.readable += 1;
    match head.kind {
        Kind::Data => found.entries.push(Entry {
            sequence: head.sequence,
            lane: head.lane,
            offset: u32::try_from(at).ok()?,
            length: head.length,
        }),
        Kind::Acknowledgement => found.cursors.extend(decode_cursors(body)),
        Kind::Snapshot => {
            found.snapshot = true;
            found.cursors.extend(decode_cursors(body));
        }
        Kind::Footer => found.footer = true,
    }
    Some(size)
}

/// Something readable stands at `to`: what was unreadable before it is damage.
fn close(found: &mut Scan, data: &[u8], from: Option<usize>, to: usize) {
    // A hole of zeros between records is damage as well: something was written there once.
    if let Some(from) = from {
        found.damage.push(not_zero(data, from, to).unwrap_or(from as u64..to as u64));
    }
}

/// The part of `from..to` from its beginning to its last byte that is not zero.
fn not_zero(data: &[u8], from: usize, to: usize) -> Option<Range<u64>> {
    let last = data.get(from..to)?.iter().rposition(|byte| *byte != 0)?;
    Some(from as u64..(from + last + 1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Label, encode_record, encode_segment_head};

    fn segment(bodies: &[&[u8]]) -> Vec<u8> {
        let mut data = encode_segment_head(1, 10, 0);
        for (n, body) in bodies.iter().enumerate() {
            let place = Place { segment: 1, offset: data.len() as u32 };
            let label = Label { kind: Kind::Data, lane: 1, sequence: 10 + n as u64, taken_ms: 0 };
            encode_record(&mut data, place, label, body);
        }
        data
    }

    #[test]
    fn one_bad_body_costs_one_record() {
        let mut data = segment(&[b"one", b"two", b"three"]);
        data[40 + 48 + 41] ^= 1;
        let found = scan(&data, 1);
        assert_eq!(found.entries.iter().map(|e| e.sequence).collect::<Vec<_>>(), [10, 12]);
        assert_eq!(found.damage.len(), 1);
    }

    #[test]
    fn one_bad_head_costs_one_record_even_where_its_body_looks_like_a_record() {
        let inner = segment(&[b"from elsewhere"]);
        let mut data = segment(&[b"one", &inner, b"three"]);
        data[40 + 48 + 9] ^= 1;
        let found = scan(&data, 1);
        assert_eq!(found.entries.iter().map(|e| e.sequence).collect::<Vec<_>>(), [10, 12]);
    }

    #[test]
    fn zeros_at_the_end_are_no_tail() {
        let mut data = segment(&[b"one"]);
        data.resize(4096, 0);
        let found = scan(&data, 1);
        assert_eq!((found.entries.len(), found.tail.clone(), found.damage.len()), (1, None, 0));
        assert!(scan(&[0; 4096], 1).is_blank());
    }
}
