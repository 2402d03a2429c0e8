//! Packed files: their first bytes say by what, and what they unpack to is bounded by their kind.

use super::{Kind, Why};
use flate2::bufread::GzDecoder;
use std::{
    fmt,
    io::{self, Read},
};

/// Memory for a dictionary or window, KiB. `xz -9` and `zstd --ultra -22` have one of 64 and 128
/// MiB.
const MEMORY: u32 = 160 << 10;
/// Longest packed block of the old lz4 format, bytes: of 8 MiB that cannot be made smaller (lz4
/// 1.10, `LZ4_compressBound`).
const LZ4_BLOCK: usize = (8 << 20) + (8 << 20) / 255 + 16;
/// Begins the first block of a bzip2 member, after 4 bytes.
const BZIP2_BLOCK: &[u8] = b"1AY&SY";

/// A program that packs files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
    Xz,
    Lz4,
    /// Linux unpacks this one (Linux 6.1, lib/decompress_unlz4.c), and `lz4 -l` writes it. It has
    /// no end of its own.
    OldLz4,
    Bzip2,
    Lzma,
    /// Known by name only.
    Lzop,
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 | Self::OldLz4 => "lz4",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Lzop => "lzop",
        })
    }
}

/// The first bytes of each packing (Linux 6.1, lib/decompress.c; magic(5) of file 5.46).
const BEGINNINGS: [(&[u8], Packing); 8] = [
    (&[0x1f, 0x8b], Packing::Gzip),
    (&[0x28, 0xb5, 0x2f, 0xfd], Packing::Zstd),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Packing::Xz),
    (&[0x04, 0x22, 0x4d, 0x18], Packing::Lz4),
    (&[0x02, 0x21, 0x4c, 0x18], Packing::OldLz4),
    (b"BZh", Packing::Bzip2),
    (&[0x5d, 0, 0], Packing::Lzma),
    (&[0x89, b'L', b'Z', b'O', 0], Packing::Lzop),
];

/// A member of a packed file.
#[derive(Debug, PartialEq, Eq)]
pub struct Member<'a> {
    pub plain: Vec<u8>,
    /// The bytes after it.
    pub rest: &'a [u8],
}

impl Packing {
    /// `None`: it is not packed, or by something that is not known.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)).map(|(_, packing)| *packing)
    }

    /// Unpacks the first member of `bytes`.
    ///
    /// # Errors
    /// If it is damaged, cut short, or larger than `kind` allows.
    pub fn member(self, bytes: &[u8], kind: Kind) -> Result<Member<'_>, Why> {
        let damaged = |source| Why::Packed { packing: self, source };
        let plain = |from: &mut dyn Read| match bounded(from, kind) {
            Err(Why::Io(source)) => Err(damaged(source)),
            plain => plain,
        };
        let (plain, rest) = match self {
            Self::Gzip => {
                let mut reader = GzDecoder::new(bytes);
                (plain(&mut reader)?, reader.into_inner())
            }
            Self::Zstd => {
                let reader = ruzstd::decoding::StreamingDecoder::new(bytes);
                let mut reader = reader.map_err(|error| damaged(io::Error::other(error)))?;
                (plain(&mut reader)?, reader.into_inner())
            }
            Self::Xz => {
                let mut reader = lzma_rust2::XzReader::new_mem_limit(bytes, false, MEMORY);
                (plain(&mut reader)?, reader.into_inner())
            }
            Self::Lzma => {
                let reader = lzma_rust2::LzmaReader::new_mem_limit(bytes, MEMORY, None);
                let mut reader = reader.map_err(damaged)?;
                (plain(&mut reader)?, reader.into_inner())
            }
            Self::Lz4 => {
                let mut reader = lz4_flex::frame::FrameDecoder::new(UpToItsEnd(bytes));
                (plain(&mut reader)?, reader.into_inner().0)
            }
            Self::OldLz4 => {
                let (member, rest) = bytes.split_at(end_of_old_lz4(bytes));
                (plain(&mut lz4_flex::frame::FrameDecoder::new(member))?, rest)
            }
            Self::Bzip2 => {
                let (member, rest) = bytes.split_at(next_bzip2(bytes));
                (plain(&mut bzip2_rs::DecoderReader::new(member))?, rest)
            }
            Self::Lzop => return Err(Why::Unknown(self)),
        };
        Ok(Member { plain, rest })
    }
}

/// Unpacks all members of `bytes`. Bytes that are not packed are returned unchanged.
///
/// # Errors
/// The errors of [`Packing::member`]; more than `most` members; other bytes after them.
pub fn unpacked(bytes: Vec<u8>, kind: Kind, most: usize) -> Result<Vec<u8>, Why> {
    let Some(packing) = Packing::of(&bytes) else { return Ok(bytes) };
    let (mut all, mut rest) = (Vec::new(), bytes.as_slice());
    for _ in 0..most {
        let left = Kind { limit: kind.limit - all.len() as u64, ..kind };
        let member = packing.member(rest, left).map_err(|why| match why {
            Why::TooLarge(_) => Why::TooLarge(kind),
            why => why,
        })?;
        all.extend(member.plain);
        rest = member.rest;
        // xz and tapes pad with zeros.
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(all);
        }
        if Packing::of(rest) != Some(packing) {
            let source = io::Error::other(format!("{} other bytes follow it", rest.len()));
            return Err(Why::Packed { packing, source });
        }
    }
    Err(Why::Members { packing, most })
}

/// All that comes out of `from`.
fn bounded(from: impl Read, kind: Kind) -> Result<Vec<u8>, Why> {
    let mut plain = Vec::new();
    from.take(kind.limit.saturating_add(1)).read_to_end(&mut plain).map_err(Why::Io)?;
    if plain.len() as u64 > kind.limit { Err(Why::TooLarge(kind)) } else { Ok(plain) }
}

/// Bytes that must not end before their reader does. lz4_flex takes the end of its input for the
/// end of a frame.
struct UpToItsEnd<'a>(&'a [u8]);

impl Read for UpToItsEnd<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 if !into.is_empty() => Err(io::Error::other("it is cut short")),
            n => Ok(n),
        }
    }
}

/// Returns the end of the blocks. A size that no block has ends them, such as the size of the plain
/// file, which the kernel's Makefiles append (Linux 5.10, scripts/Makefile.lib, `size_append`).
fn end_of_old_lz4(bytes: &[u8]) -> usize {
    let mut at = 4;
    while let Some(Ok(size)) = bytes.get(at..at + 4).map(<[u8; 4]>::try_from) {
        match usize::try_from(u32::from_le_bytes(size)) {
            Ok(size @ 1..=LZ4_BLOCK) => at = at.saturating_add(4).saturating_add(size),
            _ => break,
        }
    }
    at.min(bytes.len())
}

/// Returns the place of the second member, or the end: the decoder ignores the bytes after the
/// first.
fn next_bzip2(bytes: &[u8]) -> usize {
    let blocks = memchr::memmem::find_iter(bytes, BZIP2_BLOCK);
    let mut begins = blocks.filter_map(|at| at.checked_sub(4).filter(|at| bytes[*at..].starts_with(b"BZh")));
    begins.find(|at| *at > 0).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests;
