//! Segments made of an input, and what may come back of them.

use std::collections::BTreeMap;

use spool::Record;

/// Room for all records of a segment.
const MOST: usize = 3000;

/// Bytes to choose by; zeros once it has ended.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self, below: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % below.max(1)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A directory, and what is known of it.
pub(super) struct Built {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// What was written: by sequence, the lane and the body. None where nobody knows.
    written: Option<BTreeMap<u64, (u32, Vec<u8>)>>,
    /// Up to which sequence each lane was acknowledged.
    acknowledged: BTreeMap<u32, u64>,
    damaged: bool,
}

impl Built {
    /// Segments, and perhaps the names of lanes, as they stand in the input; with checksums that are right, if `mend`.
    pub(super) fn raw(input: &mut Input<'_>, mend: bool) -> Self {
        let mut files = BTreeMap::from([("lanes".to_owned(), names(&[0, 1, 2, 3]))]);
        let (first, raw_names) = (input.number(MOST), input.byte() & 1 == 1);
        let mut parts = vec![(1, input.take(first).to_vec())];
        if raw_names {
            let length = input.number(512);
            let mut bytes = input.take(length).to_vec();
            if mend {
                mend_names(&mut bytes);
            }
            files.insert("lanes".to_owned(), bytes);
        }
        parts.push((2, input.take(MOST).to_vec()));
        for (segment, mut bytes) in parts {
            if mend {
                mend_segment(&mut bytes, segment);
            }
            files.insert(format!("{segment:08x}.seg"), bytes);
        }
        Self { files, written: None, acknowledged: BTreeMap::new(), damaged: true }
    }

    /// Segments that were written as they should be, and then perhaps damaged, in ways that make no checksum right.
    pub(super) fn written(input: &mut Input<'_>) -> Self {
        let mut written = BTreeMap::new();
        let mut acknowledged = BTreeMap::new();
        let mut files = BTreeMap::from([("lanes".to_owned(), names(&[0, 1, 2, 3]))]);
        let mut sequence = 1;
        let segments = u32::from(input.byte() % 3) + 1;
        for segment in 1..=segments {
            let mut bytes = segment_head(segment, sequence);
            let cursors: Vec<_> = acknowledged.iter().map(|(lane, up_to)| (*lane, *up_to)).collect();
            let mut entries = Vec::new();
            record(&mut bytes, segment, 3, 0, 0, &encoded(&cursors));
            for _ in 0..input.byte() % 16 {
                let choice = input.byte();
                let lane = u32::from(choice & 3);
                if choice & 0x70 == 0x70 {
                    acknowledged.insert(lane, sequence - 1);
                    record(&mut bytes, segment, 2, 0, 0, &encoded(&[(lane, sequence - 1)]));
                    continue;
                }
                let body = input.take(usize::from(choice >> 2)).to_vec();
                if bytes.len() + body.len() + 200 > MOST {
                    break;
                }
                entries.extend_from_slice(&sequence.to_le_bytes());
                for number in [lane, bytes.len() as u32, body.len() as u32] {
                    entries.extend_from_slice(&number.to_le_bytes());
                }
                record(&mut bytes, segment, 1, lane, sequence, &body);
                written.insert(sequence, (lane, body));
                sequence += 1;
            }
            // The last one may be open still, or have been lost before it was sealed.
            let is_sealed = segment < segments || input.byte() & 1 == 0;
            if is_sealed {
                let footer = bytes.len() as u32;
                record(&mut bytes, segment, 4, 0, 0, &entries);
                trailer(&mut bytes, segment, footer);
            }
            // One that is open has room for more; where one is sealed, its trailer is its end.
            if input.byte() & 1 == 0 && !is_sealed {
                bytes.resize(4096, 0);
            }
            files.insert(format!("{segment:08x}.seg"), bytes);
        }
        let mut built = Self { files, written: Some(written), acknowledged, damaged: false };
        for _ in 0..input.byte() % 5 {
            built.damage(input);
        }
        built
    }

    fn damage(&mut self, input: &mut Input<'_>) {
        let names: Vec<_> = self.files.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let (name, other) = (&names[input.number(names.len())], &names[input.number(names.len())]);
        let source = self.files[other].clone();
        let how = input.byte();
        let Some(bytes) = self.files.get_mut(name) else { return };
        let at = input.number(bytes.len());
        self.damaged = true;
        match how % 6 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (input.byte() % 8),
            1 => bytes.truncate(at),
            2 => bytes.iter_mut().skip(at).take(usize::from(input.byte())).for_each(|byte| *byte = 0),
            3 => {
                // A block of another place, which looks like what it was.
                let from = input.number(source.len()) / 8 * 8;
                let moved = source.iter().skip(from).take(usize::from(input.byte()) * 8);
                bytes.iter_mut().skip(at / 8 * 8).zip(moved).for_each(|(byte, moved)| *byte = *moved);
            }
            4 => bytes.extend_from_slice(&source),
            _ => drop(self.files.remove(name)),
        }
    }

    /// How many records `verify`, which looks for damage, may pass over and the opening of a damaged spool not: it trusts footers.
    pub(super) fn unverified(&self) -> u64 {
        if self.damaged { 1 << 20 } else { 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// That the record was written, or stands in the files as it should.
    pub(super) fn knows(&self, lane: &str, record: &Record) {
        let Some(written) = &self.written else {
            let stands =
                (1..=2).any(|segment| stands_in(&self.files[&format!("{segment:08x}.seg")], segment, record));
            assert!(stands, "{record:?}");
            return;
        };
        let (number, body) = written.get(&record.sequence).expect("a sequence that was written");
        assert_eq!(*body, record.body);
        if !self.damaged {
            assert_eq!(lane, format!("lane-{number}"));
            assert!(record.sequence > self.acknowledged.get(number).copied().unwrap_or(0));
        }
    }

    /// That all is there which was written and not acknowledged, where nothing is damaged.
    pub(super) fn has_all(&self, given: &BTreeMap<String, Vec<Record>>) {
        let Some(written) = self.written.as_ref().filter(|_| !self.damaged) else { return };
        let waits = |(sequence, (lane, _)): &(&u64, &(u32, Vec<u8>))| {
            **sequence > self.acknowledged.get(lane).copied().unwrap_or(0)
        };
        assert_eq!(given.values().map(Vec::len).sum::<usize>(), written.iter().filter(waits).count());
    }
}

/// Whether the record stands somewhere in the segment, under checksums that are right at its place.
fn stands_in(bytes: &[u8], segment: u32, record: &Record) -> bool {
    (0..bytes.len()).step_by(8).any(|at| {
        let Some(head) = bytes.get(at..at + 40) else { return false };
        let Some(body) = bytes.get(at + 40..at + 40 + record.body.len()) else { return false };
        let place = [segment.to_le_bytes(), (at as u32).to_le_bytes()].concat();
        head.starts_with(b"\xC5Rec\x01")
            && head[8..12] == (record.body.len() as u32).to_le_bytes()
            && head[16..24] == record.sequence.to_le_bytes()
            && body == record.body
            && head[32..36] == crc32fast::hash(body).to_le_bytes()
            && head[36..40] == crc32fast::hash(&[&place, &head[..36]].concat()).to_le_bytes()
    })
}

fn encoded(cursors: &[(u32, u64)]) -> Vec<u8> {
    cursors
        .iter()
        .flat_map(|(lane, up_to)| [&lane.to_le_bytes()[..], &up_to.to_le_bytes()].concat())
        .collect()
}

fn close(bytes: &mut Vec<u8>, from: usize) {
    let crc = crc32fast::hash(&bytes[from..]);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

fn segment_head(segment: u32, next_sequence: u64) -> Vec<u8> {
    let mut bytes = b"\xC5spool\r\n\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&next_sequence.to_le_bytes());
    bytes.extend_from_slice(&[0; 12]);
    close(&mut bytes, 0);
    bytes
}

fn record(bytes: &mut Vec<u8>, segment: u32, kind: u8, lane: u32, sequence: u64, body: &[u8]) {
    let at = bytes.len();
    bytes.extend_from_slice(&[0xC5, b'R', b'e', b'c', kind, 0, 0, 0]);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&lane.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    mend_record(bytes, segment, at);
}

fn trailer(bytes: &mut Vec<u8>, segment: u32, footer: u32) {
    let at = bytes.len();
    bytes.extend_from_slice(b"\xC5foot\r\n\0");
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&footer.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    close(bytes, at);
}

fn names(lanes: &[u32]) -> Vec<u8> {
    let mut bytes = b"\xC5lanes\r\n\x01\0\0\0".to_vec();
    close(&mut bytes, 0);
    for lane in lanes {
        let name = format!("lane-{lane}");
        bytes.extend_from_slice(b"\xC5Nam\0\0\0\0");
        bytes.extend_from_slice(&lane.to_le_bytes());
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    mend_names(&mut bytes);
    bytes
}

/// Makes the checksums of what begins at `at` right, as far as it goes.
fn mend_record(bytes: &mut [u8], segment: u32, at: usize) {
    let Some(length) = bytes.get(at + 8..at + 12) else { return };
    let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
    if bytes.len() < at + 40 {
        return;
    }
    if let Some(body) = bytes.get(at + 40..(at + 40).saturating_add(length)) {
        let crc = crc32fast::hash(body);
        bytes[at + 32..at + 36].copy_from_slice(&crc.to_le_bytes());
    }
    let place = [segment.to_le_bytes(), (at as u32).to_le_bytes()].concat();
    let crc = crc32fast::hash(&[&place, &bytes[at..at + 36]].concat());
    bytes[at + 36..at + 40].copy_from_slice(&crc.to_le_bytes());
}

fn mend_segment(bytes: &mut [u8], segment: u32) {
    for at in (0..bytes.len()).step_by(8) {
        let rest = &mut bytes[at..];
        if rest.starts_with(b"\xC5Rec") {
            mend_record(bytes, segment, at);
        } else if rest.starts_with(b"\xC5foot") && rest.len() >= 24 {
            let crc = crc32fast::hash(&rest[..20]);
            rest[20..24].copy_from_slice(&crc.to_le_bytes());
        } else if rest.starts_with(b"\xC5spool") && rest.len() >= 40 {
            let crc = crc32fast::hash(&rest[..36]);
            rest[36..40].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

fn mend_names(bytes: &mut [u8]) {
    for at in (0..bytes.len()).step_by(8) {
        let rest = &mut bytes[at..];
        if !rest.starts_with(b"\xC5Nam") || rest.len() < 16 {
            continue;
        }
        let length = u32::from_le_bytes(rest[12..16].try_into().unwrap()) as usize;
        if let Some(checked) = rest.get(8..16_usize.saturating_add(length)) {
            let crc = crc32fast::hash(checked);
            rest[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }
}
