//! Bodies as they were before their sender compressed them. Decompressed bytes are what is bounded, so a small
//! body that would unfold to a large one costs no more than a large one.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use warp::http::header::{CONTENT_ENCODING, HeaderMap};
use zstd::stream::raw::{DParameter, Decoder as RawZstd, InBuffer, Operation, OutBuffer};

/// The largest window of a zstd frame, as a power of two: the 8 MiB that every decoder must have. What asks
/// for more is refused before any memory is taken.
const WINDOW_LOG_MAX: u32 = 23;

/// Decompressed so many bytes at a time.
const ROOM: usize = 16 * 1024;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has more bytes than it may.
    TooLarge,
    /// It is not what its `Content-Encoding` says, or it ends too early.
    Broken,
    /// Its `Content-Encoding` is none that is read here.
    Unknown,
}

/// Takes a body part by part.
pub(super) enum Decoder {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Zstd(Box<Zstd>),
}

impl Decoder {
    /// A decoder of what `headers` announce, to at most `most` bytes.
    pub(super) fn new(headers: &HeaderMap, most: usize) -> Result<Self, Fault> {
        let body = Bounded { body: Vec::new(), most };
        let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
        let (Some(encoding), None) = (encodings.next(), encodings.next()) else {
            let none = !headers.contains_key(CONTENT_ENCODING);
            return if none { Ok(Self::Plain(body)) } else { Err(Fault::Unknown) };
        };
        match encoding.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "identity" => Ok(Self::Plain(body)),
            "gzip" | "x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(body)))),
            "zstd" => Zstd::new(body).map(|zstd| Self::Zstd(Box::new(zstd))).map_err(|_| Fault::Broken),
            _ => Err(Fault::Unknown),
        }
    }

    /// The next part of the body.
    pub(super) fn write(&mut self, part: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Plain(body) => body.write_all(part),
            Self::Gzip(gzip) => gzip.write_all(part),
            Self::Zstd(zstd) => zstd.write_all(part),
        }
        .map_err(|error| fault(&error))
    }

    /// The memory that is in use for what came so far, in bytes.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Plain(body) => body,
            Self::Gzip(gzip) => gzip.get_ref(),
            Self::Zstd(zstd) => &zstd.body,
        }
        .body
        .capacity()
    }

    /// The whole body.
    pub(super) fn finish(self) -> Result<Bytes, Fault> {
        let body = match self {
            Self::Plain(body) => body,
            Self::Gzip(gzip) => gzip.finish().map_err(|error| fault(&error))?,
            Self::Zstd(zstd) if zstd.complete => zstd.body,
            Self::Zstd(_) => return Err(Fault::Broken),
        };
        Ok(body.body.into())
    }
}

fn fault(error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::FileTooLarge { Fault::TooLarge } else { Fault::Broken }
}

/// Takes `most` bytes and not one more.
#[derive(Debug)]
pub(super) struct Bounded {
    body: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if part.len() > self.most - self.body.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.body.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Frames of zstd, one after the other.
pub(super) struct Zstd {
    frames: RawZstd<'static>,
    room: Vec<u8>,
    body: Bounded,
    /// Whether what came so far ends with a frame.
    complete: bool,
}

impl Zstd {
    fn new(body: Bounded) -> io::Result<Self> {
        let mut frames = RawZstd::new()?;
        frames.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        Ok(Self { frames, room: vec![0; ROOM], body, complete: false })
    }

    fn write_all(&mut self, part: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(part);
        loop {
            let before = input.pos();
            let mut output = OutBuffer::around(self.room.as_mut_slice());
            let wanted = self.frames.run(&mut input, &mut output)?;
            let written = output.as_slice().len();
            if input.pos() > before || written > 0 {
                self.complete = wanted == 0;
            }
            self.body.write_all(output.as_slice())?;
            // Where the room was filled, more may have been left inside.
            if input.pos() == part.len() && written < ROOM {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use warp::http::header::HeaderValue;

    use super::*;

    const MOST: usize = 100_000;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        zstd::encode_all(body, 19).unwrap()
    }

    fn decode(encoding: &str, body: &[u8], piece: usize) -> Result<Vec<u8>, Fault> {
        let encoding = HeaderValue::from_str(encoding).unwrap();
        let mut decoder = Decoder::new(&HeaderMap::from_iter([(CONTENT_ENCODING, encoding)]), MOST)?;
        for part in body.chunks(piece) {
            decoder.write(part)?;
        }
        decoder.finish().map(Into::into)
    }

    #[test]
    fn each_encoding_comes_out_as_it_went_in() {
        for length in [0, 1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, MOST] {
            let body: Vec<u8> = (0..length).map(|at| (at * at % 251) as u8).collect();
            for piece in [1, 7, MOST] {
                for name in ["identity", "Identity"] {
                    assert_eq!(decode(name, &body, piece).as_ref(), Ok(&body));
                }
                for name in ["gzip", "x-gzip", " GZIP "] {
                    assert_eq!(decode(name, &gzip(&body), piece).as_ref(), Ok(&body), "{length} {piece}");
                }
                assert_eq!(decode("zstd", &zstd(&body), piece).as_ref(), Ok(&body), "{length} {piece}");
            }
            let (one, two) = body.split_at(length / 2);
            assert_eq!(decode("gzip", &[gzip(one), gzip(two)].concat(), 11).as_ref(), Ok(&body));
            assert_eq!(decode("zstd", &[zstd(one), zstd(two)].concat(), 11).as_ref(), Ok(&body));
        }
        assert_eq!(Decoder::new(&HeaderMap::new(), 3).unwrap().finish(), Ok(Bytes::new()));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let one_more = vec![b' '; MOST + 1];
        let bomb = vec![b' '; 64 << 20];
        for body in [&one_more, &bomb] {
            assert_eq!(decode("identity", body, 4096), Err(Fault::TooLarge));
            assert_eq!(decode("gzip", &gzip(body), 4096), Err(Fault::TooLarge));
            assert_eq!(decode("zstd", &zstd(body), 4096), Err(Fault::TooLarge));
        }
    }

    #[test]
    fn a_window_beyond_8_mib_is_refused() {
        // A frame header that asks for a window of 16 MiB, without content size; then an empty last block.
        let frame = |window_log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3, 1, 0, 0];
        assert_eq!(decode("zstd", &frame(23), 100), Ok(Vec::new()));
        assert_eq!(decode("zstd", &frame(24), 100), Err(Fault::Broken));
    }

    #[test]
    fn what_is_cut_off_changed_or_of_another_kind_is_broken() {
        let body = b"{\"a\": [1, 2, 3, 4, 5, 6, 7, 8, 9]}".repeat(20);
        for (name, whole) in [("gzip", gzip(&body)), ("zstd", zstd(&body))] {
            for length in 0..whole.len() {
                assert_eq!(decode(name, &whole[..length], 5), Err(Fault::Broken), "{name} {length}");
            }
            assert_eq!(decode(name, &body, 5), Err(Fault::Broken));
            assert_eq!(decode(name, &[&whole[..], b"and more"].concat(), 5), Err(Fault::Broken), "{name}");
        }
        let mut changed = gzip(&body);
        let at = changed.len() - 6; // in the checksum
        changed[at] ^= 1;
        assert_eq!(decode("gzip", &changed, 5), Err(Fault::Broken));
    }

    #[test]
    fn other_encodings_are_unknown() {
        for name in ["", "br", "deflate", "compress", "gzip, zstd", "gzip,gzip", "zstd;q=1", "*"] {
            assert_eq!(decode(name, b"", 1), Err(Fault::Unknown), "{name:?}");
        }
        let two = HeaderValue::from_static("gzip");
        let two = HeaderMap::from_iter([(CONTENT_ENCODING, two.clone())]).iter().fold(
            HeaderMap::from_iter([(CONTENT_ENCODING, two)]),
            |mut all, (name, value)| {
                all.append(name, value.clone());
                all
            },
        );
        assert_eq!(Decoder::new(&two, 3).err(), Some(Fault::Unknown));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for name in ["gzip", "zstd"] {
                let _ = decode(name, &body, 3);
                let _ = decode(name, &[&b"\x1f\x8b\x08\0"[..], &body].concat(), 3);
                let _ = decode(name, &[&b"\x28\xb5\x2f\xfd"[..], &body].concat(), 3);
            }
        }
    }
}
