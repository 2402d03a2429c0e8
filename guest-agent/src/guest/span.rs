//! The bytes of a BAR that a run of accesses covers, and the progress of such runs.

use super::bar::Mapped;
use crate::fault;
use s2lab_protocol::{Bar, Failure};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The widest access. Offset and length are multiples of it.
const GRAIN: u64 = 64;
/// The bytes of one piece of a run. They go through RAM, so that a run needs little of it.
const PIECE: u64 = 64 * 1024;
pub(super) const WORD: usize = size_of::<u64>();

/// The bytes of all runs. Heartbeats report them.
static MOVED: AtomicU64 = AtomicU64::new(0);

/// Returns the bytes that were stored, loaded or read back since the start. The number rises while
/// a run makes progress.
pub(crate) fn moved() -> u64 {
    MOVED.load(Ordering::Relaxed)
}

/// Bytes of a BAR, by numbers that fit each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    offset: u64,
    bytes: u64,
}

impl Span {
    /// Checks the numbers of a request, before anything is mapped.
    pub(super) fn of(width: u32, offset: u64, bytes: u64) -> Result<Span, Failure> {
        if !matches!(width, 8 | 16 | 64) {
            return Err(fault::invalid(format_args!(
                "accesses of {width} bytes; there are accesses of 8, 16 and 64"
            )));
        }
        if offset % GRAIN != 0 || bytes % GRAIN != 0 || bytes == 0 {
            return Err(fault::invalid(format_args!(
                "{bytes} bytes from {offset:#x}: both must be multiples of {GRAIN}, and there must be some"
            )));
        }
        Ok(Span { offset, bytes })
    }

    /// Returns the address of the first byte, which is aligned to 64 bytes: BARs are aligned to
    /// their size, offsets to [`GRAIN`].
    pub(super) fn place(self, mapped: &Mapped) -> Result<NonNull<u8>, Failure> {
        let Span { offset, bytes } = self;
        let Bar { size, .. } = mapped.bar();
        mapped.at(offset, bytes).ok_or_else(|| {
            fault::invalid(format_args!("{bytes} bytes from {offset:#x} do not lie in a BAR of {size} bytes"))
        })
    }

    /// Yields the pieces, in their order.
    pub(super) fn pieces(self) -> impl Iterator<Item = Span> {
        let end = self.offset + self.bytes;
        let piece = move |offset| Span { offset, bytes: (end - offset).min(PIECE) };
        (self.offset..end).step_by(PIECE as usize).map(piece)
    }

    /// Yields the offset of each word.
    pub(super) fn words(self) -> impl Iterator<Item = u64> {
        (self.offset..self.offset + self.bytes).step_by(WORD)
    }

    /// Counts the bytes as moved.
    pub(super) fn count(self) {
        MOVED.fetch_add(self.bytes, Ordering::Relaxed);
    }

    /// Returns the number of instructions of a run: a 64-byte access is four of a pair.
    pub(super) fn instructions(self, width: u32) -> u64 {
        match width {
            8 => self.bytes / 8,
            _ => self.bytes / 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bar::tests::{ADDRESS, BAR_SIZE, fixture};
    use super::*;
    use s2lab_protocol::MapKind;

    #[test]
    fn odd_numbers_are_refused() {
        for (width, offset, bytes) in [(4, 0, 64), (8, 8, 64), (8, 0, 8), (64, 0, 0), (8, 64, u64::MAX)] {
            assert!(Span::of(width, offset, bytes).is_err(), "{width} {offset} {bytes}");
        }
        let folder = tempfile::tempdir().unwrap();
        let mapped = Mapped::open(&fixture(folder.path()), "nic", ADDRESS, MapKind::Wc).unwrap();
        for (offset, bytes) in [(64, BAR_SIZE), (BAR_SIZE, 64), (64, u64::MAX - 63)] {
            assert!(Span::of(8, offset, bytes).unwrap().place(&mapped).is_err(), "{offset} {bytes}");
        }
    }

    #[test]
    fn the_pieces_are_the_whole() {
        let span = Span::of(8, 64, 2 * PIECE + 128).unwrap();
        let pieces: Vec<_> = span.pieces().map(|piece| (piece.offset, piece.bytes)).collect();
        assert_eq!(pieces, [(64, PIECE), (64 + PIECE, PIECE), (64 + 2 * PIECE, 128)]);
        assert!(span.pieces().flat_map(Span::words).eq(span.words()));
    }
}
