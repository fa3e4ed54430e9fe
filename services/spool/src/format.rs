//! What stands on disk, byte for byte. All numbers are little-endian.
//!
//! A segment: a head of 40 bytes, then records, each on a multiple of 8 bytes, the first of them a
//! snapshot of all cursors. A sealed segment ends in a footer record and a trailer that points to it.
//!
//! A record: a head of 40 bytes, then the body, padded with zeros to a multiple of 8. The head has its own
//! checksum, so that a record with a damaged body is passed over by its length and costs nothing else. That
//! checksum covers the segment's number and the record's offset as well: bytes that look like a record but
//! were not written at this place (a body that contains one, a block of another file) are none.

/// Bytes of a segment's head.
pub(crate) const SEGMENT_HEAD: u64 = 40;
/// Bytes of a record's head.
pub(crate) const RECORD_HEAD: u64 = 40;
/// Bytes of the trailer that ends a sealed segment.
pub(crate) const TRAILER: u64 = 24;
/// Bytes of one cursor in a snapshot or an acknowledgement.
pub(crate) const CURSOR: u64 = 12;
/// Bytes of one record's entry in a footer.
pub(crate) const ENTRY: u64 = 20;
/// The version of the format, in every segment's head and in the head of the lanes' names.
pub(crate) const VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"\xC5spool\r\n";
const RECORD_MAGIC: [u8; 4] = *b"\xC5Rec";
const TRAILER_MAGIC: [u8; 8] = *b"\xC5foot\r\n\x00";

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A body that waits in a lane.
    Data = 1,
    /// Cursors that moved: pairs of lane and sequence.
    Acknowledgement = 2,
    /// All cursors, at the beginning of a segment.
    Snapshot = 3,
    /// What a sealed segment holds.
    Footer = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        [Kind::Data, Kind::Acknowledgement, Kind::Snapshot, Kind::Footer]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }
}

/// Where bytes stand: a segment's number and an offset in it. Eight bytes, which is all the index keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// A record's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) kind: Kind,
    pub(crate) length: u32,
    pub(crate) lane: u32,
    pub(crate) sequence: u64,
    pub(crate) taken_ms: u64,
    body_crc: u32,
}

/// A segment's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentHead {
    /// Of this version; the next sequence when the segment was begun.
    Known { next_sequence: u64 },
    /// Intact, and of a version that this program does not know.
    Foreign { version: u32 },
}

/// One record as a footer lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) lane: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// The next multiple of 8.
pub(crate) fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(8)
}

/// What a record with a body of `length` bytes takes in a segment.
pub(crate) fn record_size(length: u64) -> u64 {
    RECORD_HEAD.saturating_add(aligned(length))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn head_crc(place: Place, head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&place.segment.to_le_bytes());
    crc.update(&place.offset.to_le_bytes());
    crc.update(head);
    crc.finalize()
}

/// What a record's head says beside its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) kind: Kind,
    pub(crate) lane: u32,
    pub(crate) sequence: u64,
    pub(crate) taken_ms: u64,
}

/// Appends a record to `out`; `place` is where its first byte will stand.
pub(crate) fn encode_record(out: &mut Vec<u8>, place: Place, label: Label, body: &[u8]) -> RecordHead {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let body_crc = crc32fast::hash(body);
    let mut head = Vec::with_capacity(40);
    head.extend_from_slice(&RECORD_MAGIC);
    head.extend_from_slice(&[label.kind as u8, 0, 0, 0]);
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&label.lane.to_le_bytes());
    head.extend_from_slice(&label.sequence.to_le_bytes());
    head.extend_from_slice(&label.taken_ms.to_le_bytes());
    head.extend_from_slice(&body_crc.to_le_bytes());
    let crc = head_crc(place, &head);
    head.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    let padding = body.len().next_multiple_of(8) - body.len();
    out.resize(out.len() + padding, 0);
    let Label { kind, lane, sequence, taken_ms } = label;
    RecordHead { kind, length, lane, sequence, taken_ms, body_crc }
}

/// Reads a record's head at the beginning of `bytes`, if one was written for this place.
pub(crate) fn decode_head(bytes: &[u8], place: Place) -> Option<RecordHead> {
    if !bytes.starts_with(&RECORD_MAGIC) {
        return None;
    }
    let head = bytes.get(..36)?;
    if u32_at(bytes, 36)? != head_crc(place, head) {
        return None;
    }
    Some(RecordHead {
        kind: Kind::of(*head.get(4)?)?,
        length: u32_at(head, 8)?,
        lane: u32_at(head, 12)?,
        sequence: u64_at(head, 16)?,
        taken_ms: u64_at(head, 24)?,
        body_crc: u32_at(head, 32)?,
    })
}

impl RecordHead {
    /// Whether this is the body that was written under this head.
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        u32::try_from(body.len()) == Ok(self.length) && crc32fast::hash(body) == self.body_crc
    }

    /// What the record takes in its segment.
    pub(crate) fn size(&self) -> u64 {
        record_size(u64::from(self.length))
    }
}

/// A segment's first 40 bytes.
pub(crate) fn encode_segment_head(segment: u32, next_sequence: u64, begun_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(&SEGMENT_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&segment.to_le_bytes());
    out.extend_from_slice(&next_sequence.to_le_bytes());
    out.extend_from_slice(&begun_ms.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Reads a segment's head, if it is intact and that of this segment.
pub(crate) fn decode_segment_head(bytes: &[u8], segment: u32) -> Option<SegmentHead> {
    let head = bytes.get(..36)?;
    if !head.starts_with(&SEGMENT_MAGIC) || u32_at(bytes, 36)? != crc32fast::hash(head) {
        return None;
    }
    let version = u32_at(head, 8)?;
    if version != VERSION {
        return Some(SegmentHead::Foreign { version });
    }
    (u32_at(head, 12)? == segment).then_some(SegmentHead::Known { next_sequence: u64_at(head, 16)? })
}

/// Pairs of lane and cursor, as snapshots and acknowledgements hold them.
pub(crate) fn encode_cursors(cursors: &[(u32, u64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(cursors.len() * 12);
    for (lane, sequence) in cursors {
        out.extend_from_slice(&lane.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
    }
    out
}

/// The pairs of a snapshot or an acknowledgement.
pub(crate) fn decode_cursors(body: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    body.chunks_exact(12).filter_map(|pair| Some((u32_at(pair, 0)?, u64_at(pair, 4)?)))
}

/// Appends one record's entry to the body of a footer.
pub(crate) fn encode_entry(out: &mut Vec<u8>, entry: Entry) {
    out.extend_from_slice(&entry.sequence.to_le_bytes());
    out.extend_from_slice(&entry.lane.to_le_bytes());
    out.extend_from_slice(&entry.offset.to_le_bytes());
    out.extend_from_slice(&entry.length.to_le_bytes());
}

/// The entries of a footer.
pub(crate) fn decode_entries(body: &[u8]) -> impl Iterator<Item = Entry> {
    body.chunks_exact(20).filter_map(|bytes| {
        Some(Entry {
            sequence: u64_at(bytes, 0)?,
            lane: u32_at(bytes, 8)?,
            offset: u32_at(bytes, 12)?,
            length: u32_at(bytes, 16)?,
        })
    })
}

/// Appends the trailer; `footer` is the offset of the footer's record.
pub(crate) fn encode_trailer(out: &mut Vec<u8>, segment: u32, footer: u32) {
    let mut trailer = Vec::with_capacity(24);
    trailer.extend_from_slice(&TRAILER_MAGIC);
    trailer.extend_from_slice(&segment.to_le_bytes());
    trailer.extend_from_slice(&footer.to_le_bytes());
    trailer.extend_from_slice(&[0; 4]);
    let crc = crc32fast::hash(&trailer);
    out.extend_from_slice(&trailer);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The offset of the footer's record, if these are the bytes of this segment's trailer.
pub(crate) fn decode_trailer(bytes: &[u8], segment: u32) -> Option<u32> {
    if !bytes.starts_with(&TRAILER_MAGIC) {
        return None;
    }
    let trailer = bytes.get(..20)?;
    let whole = u32_at(bytes, 20)? == crc32fast::hash(trailer) && u32_at(trailer, 8)? == segment;
    if whole { u32_at(trailer, 12) } else { None }
}

/// The name of a segment's file.
pub(crate) fn segment_name(segment: u32) -> String {
    format!("{segment:08x}.seg")
}

/// The number of the segment that this file name is of.
pub(crate) fn segment_of(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".seg")?;
    (number.len() == 8).then(|| u32::from_str_radix(number, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { segment: 7, offset: 80 };
    const LABEL: Label = Label { kind: Kind::Data, lane: 3, sequence: 99, taken_ms: 1_700_000_000_000 };

    #[test]
    fn a_record_is_read_back_at_its_place_and_nowhere_else() {
        let mut out = Vec::new();
        encode_record(&mut out, PLACE, LABEL, b"body of a post");
        assert_eq!(out.len() as u64, record_size(14));
        let head = decode_head(&out, PLACE).unwrap();
        assert_eq!((head.lane, head.sequence, head.taken_ms), (3, 99, 1_700_000_000_000));
        assert!(head.matches(&out[40..54]));
        assert_eq!(decode_head(&out, Place { segment: 8, ..PLACE }), None);
        assert_eq!(decode_head(&out, Place { offset: 88, ..PLACE }), None);
    }

    #[test]
    fn every_flipped_bit_of_a_head_is_noticed() {
        let mut out = Vec::new();
        encode_record(&mut out, PLACE, LABEL, b"x");
        for bit in 0..320 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_head(&bad, PLACE), None, "bit {bit}");
        }
    }

    #[test]
    fn segment_heads_tell_their_version() {
        let head = encode_segment_head(5, 1234, 0);
        assert_eq!(decode_segment_head(&head, 5), Some(SegmentHead::Known { next_sequence: 1234 }));
        assert_eq!(decode_segment_head(&head, 6), None);
        let mut newer = head[..36].to_vec();
        newer[8] = 2;
        let crc = crc32fast::hash(&newer);
        newer.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(decode_segment_head(&newer, 5), Some(SegmentHead::Foreign { version: 2 }));
    }

    #[test]
    fn names_of_segments() {
        assert_eq!(segment_of(&segment_name(0xabc)), Some(0xabc));
        assert_eq!(segment_of("abc.seg"), None);
        assert_eq!(segment_of("lanes"), None);
    }
}
