//! Rows of one host as bytes. The form: a byte with its version, then numbers of variable length (7 bits a byte): how
//! many rows, how many columns, the time of the first and the distance of each further one in ms; then the columns. A
//! column begins with 0 where all of its numbers are the same, else 1; then its first number, and where they differ each
//! further one. At the end four bytes of checksum (CRC-32).
//!
//! A number is the upper 21 bits of its 32-bit float (a precision of 1/4096), exclusive-or'd with the one before it: one
//! byte where nothing changed, two or three else.

/// The first byte.
const VERSION: u8 = 1;

/// The lower bits that are left out.
const LOST: u32 = 11;

/// More rows or columns are not in one chunk.
const MOST: u64 = 100_000;

/// Rows of one host, in the order of time: one stamp and `columns` numbers each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) columns: usize,
    pub(crate) stamps: Vec<u64>,
    /// Row after row. What is not known is not a number.
    pub(crate) values: Vec<f32>,
}

impl Rows {
    pub(crate) fn of(columns: usize) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Takes a row; what it lacks is not known, what it has too much is left out.
    pub(crate) fn push(&mut self, stamp: u64, row: &[f32]) {
        self.stamps.push(stamp);
        let known = row.iter().copied().chain(std::iter::repeat(f32::NAN));
        self.values.extend(known.take(self.columns));
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (u64, &[f32])> {
        self.stamps.iter().copied().zip(self.values.chunks(self.columns.max(1)))
    }

    /// The rows as bytes.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.values.len() * 2);
        out.push(VERSION);
        put(&mut out, self.stamps.len() as u64);
        put(&mut out, self.columns as u64);
        let mut before = 0;
        for stamp in &self.stamps {
            put(&mut out, stamp.wrapping_sub(before));
            before = *stamp;
        }
        for column in 0..self.columns {
            let numbers =
                || self.values.iter().skip(column).step_by(self.columns.max(1)).map(|value| cut(*value));
            let first = numbers().next().unwrap_or(0);
            let differ = numbers().any(|number| number != first);
            out.push(u8::from(differ));
            put(&mut out, u64::from(first));
            if differ {
                let mut before = first;
                for number in numbers().skip(1) {
                    put(&mut out, u64::from(number ^ before));
                    before = number;
                }
            }
        }
        let sum = crc32fast::hash(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Undoes [`Rows::pack`]; `None` where these bytes were never its.
    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return None;
        }
        let (&VERSION, mut rest) = body.split_first()? else { return None };
        let rows = usize::try_from(take(&mut rest).filter(|rows| *rows <= MOST)?).ok()?;
        let columns = usize::try_from(take(&mut rest).filter(|columns| *columns <= MOST)?).ok()?;
        let mut stamps = Vec::with_capacity(rows);
        let mut before = 0_u64;
        for _ in 0..rows {
            before = before.wrapping_add(take(&mut rest)?);
            stamps.push(before);
        }
        let mut values = vec![f32::NAN; rows.checked_mul(columns).filter(|all| *all as u64 <= MOST)?];
        for column in 0..columns {
            let (differ, after) = rest.split_first()?;
            rest = after;
            let mut number = u32::try_from(take(&mut rest)?).ok()?;
            for (at, value) in values.iter_mut().skip(column).step_by(columns).enumerate() {
                if at > 0 && *differ != 0 {
                    number ^= u32::try_from(take(&mut rest)?).ok()?;
                }
                *value = f32::from_bits(number << LOST);
            }
        }
        rest.is_empty().then_some(Self { columns, stamps, values })
    }
}

/// The upper bits of a number, rounded.
fn cut(value: f32) -> u32 {
    if value.is_nan() {
        return f32::NAN.to_bits() >> LOST;
    }
    // Beyond the largest one rounding would give infinity.
    (value.clamp(-f32::MAX / 2.0, f32::MAX / 2.0).to_bits() + (1 << (LOST - 1))) >> LOST
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(one: f32, other: f32) -> bool {
        (one.is_nan() && other.is_nan()) || (one - other).abs() <= one.abs() / 4096.0 + f32::MIN_POSITIVE
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(
            columns in 0_usize..20,
            rows in prop::collection::vec((0_u64..100_000, prop::collection::vec(-1e20_f32..1e20, 20)), 0..30),
        ) {
            let mut packed = Rows::of(columns);
            let mut stamp = 1_795_349_433_125;
            for (distance, row) in &rows {
                stamp += distance;
                packed.push(stamp, row);
            }
            let out = Rows::unpack(&packed.pack()).unwrap();
            prop_assert_eq!(&out.stamps, &packed.stamps);
            prop_assert!(out.values.iter().zip(&packed.values).all(|(one, other)| near(*one, *other)));
        }

        #[test]
        fn whatever_the_bytes_are_unpacking_ends(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Rows::unpack(&bytes);
            if let Some(first) = bytes.first_mut() { *first = VERSION; }
            let sum = crc32fast::hash(&bytes).to_le_bytes();
            bytes.extend_from_slice(&sum);
            let _ = Rows::unpack(&bytes);
        }
    }

    #[test]
    fn what_is_not_known_and_what_is_0_and_100_are_exact() {
        let mut rows = Rows::of(4);
        rows.push(7, &[f32::NAN, 0.0, 100.0]);
        let out = Rows::unpack(&rows.pack()).unwrap();
        assert!(out.values[0].is_nan() && out.values[3].is_nan());
        assert_eq!(out.values[1..3], [0.0, 100.0]);
    }

    #[test]
    fn what_does_not_change_costs_next_to_nothing_and_each_byte_counts() {
        let mut rows = Rows::of(14);
        for at in 0..6_u64 {
            rows.push(1_795_349_433_125 + at * 10_000, &[12.5; 14]);
        }
        let packed = rows.pack();
        assert!(packed.len() < 90, "{}", packed.len());
        for at in 0..packed.len() {
            let mut spoilt = packed.clone();
            spoilt[at] ^= 0x10;
            assert_eq!(Rows::unpack(&spoilt), None);
        }
    }
}
