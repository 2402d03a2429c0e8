//! Runs of stores to a BAR.

use super::{
    Guest,
    bar::Mapped,
    span::{Span, WORD},
};
use crate::agent::Answers;
use s2lab_protocol::ask::{Store, Stored};
use s2lab_protocol::{Failure, StoreResult, pattern};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

impl Answers<Store> for Guest {
    fn answer(&mut self, ask: Store) -> Result<Stored, Failure> {
        let span = Span::of(ask.width, ask.offset, ask.bytes)?;
        let mapped = self.map(&ask.device, &ask.address, ask.map)?;
        let result = run(&ask, span, mapped)?;
        Ok(Stored { map: mapped.map(), width: ask.width, bytes: ask.bytes, result })
    }
}

/// Stores, then reads all of it back.
fn run(spec: &Store, span: Span, mapped: &Mapped) -> Result<StoreResult, Failure> {
    span.place(mapped)?;
    let store: Instruction = match spec.width {
        8 => store_8,
        16 => store_16,
        _ => store_64,
    };
    let mut words = vec![];
    let mut time = Duration::ZERO;
    for piece in span.pieces() {
        // The pattern is made before it is stored, so that only stores are timed.
        words.clear();
        words.extend(piece.words().map(|offset| pattern(spec.seed, offset)));
        let target = piece.place(mapped)?;
        let begin = Instant::now();
        // SAFETY: `target` is aligned to 64 bytes and has those of the piece, which are those of
        // `words` and a multiple of 64.
        unsafe { store(&words, target) };
        complete();
        time += begin.elapsed();
        piece.count();
    }
    Ok(StoreResult {
        bar: mapped.bar(),
        stores: span.instructions(spec.width),
        nanos: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        first_difference: first_difference(spec.seed, span, mapped),
    })
}

fn first_difference(seed: u64, span: Span, mapped: &Mapped) -> Option<u64> {
    let wrong = |offset: &u64| {
        let Some(place) = mapped.at(*offset, WORD as u64) else { return true };
        // SAFETY: an aligned word within the mapping; volatile, for it is device memory.
        let found = unsafe { place.cast::<u64>().read_volatile() };
        u64::from_le(found) != pattern(seed, *offset)
    };
    span.pieces().find_map(|piece| {
        let found = piece.words().find(wrong);
        piece.count();
        found
    })
}

/// Stores `words` to a place that is aligned to 64 bytes and has as many bytes, a multiple of 64.
type Instruction = unsafe fn(words: &[u64], target: NonNull<u8>);

/// Stores each word by one STR of an X register.
#[cfg(target_arch = "aarch64")]
unsafe fn store_8(words: &[u64], target: NonNull<u8>) {
    for (index, word) in words.iter().enumerate() {
        // SAFETY: the caller's; index < words.len().
        unsafe {
            let place = target.cast::<u64>().add(index);
            std::arch::asm!("str {0}, [{1}]", in(reg) *word, in(reg) place.as_ptr(), options(nostack, preserves_flags));
        }
    }
}

/// Stores each two words by one STP of two X registers.
#[cfg(target_arch = "aarch64")]
unsafe fn store_16(words: &[u64], target: NonNull<u8>) {
    for (index, pair) in words.chunks_exact(2).enumerate() {
        let [a, b] = *pair else { continue };
        // SAFETY: the caller's; index * 2 + 1 < words.len().
        unsafe {
            let place = target.cast::<u64>().add(index * 2);
            std::arch::asm!("stp {0}, {1}, [{2}]", in(reg) a, in(reg) b, in(reg) place.as_ptr(),
                options(nostack, preserves_flags));
        }
    }
}

/// Stores each eight words by four STP with nothing between them.
#[cfg(target_arch = "aarch64")]
unsafe fn store_64(words: &[u64], target: NonNull<u8>) {
    for (index, line) in words.chunks_exact(8).enumerate() {
        let [a, b, c, d, e, f, g, h] = *line else { continue };
        // SAFETY: the caller's; index * 8 + 7 < words.len().
        unsafe {
            let place = target.cast::<u64>().add(index * 8);
            std::arch::asm!(
                "stp {a}, {b}, [{p}]", "stp {c}, {d}, [{p}, #16]", "stp {e}, {f}, [{p}, #32]", "stp {g}, {h}, [{p}, #48]",
                a = in(reg) a, b = in(reg) b, c = in(reg) c, d = in(reg) d, e = in(reg) e, f = in(reg) f,
                g = in(reg) g, h = in(reg) h, p = in(reg) place.as_ptr(), options(nostack, preserves_flags));
        }
    }
}

/// Waits until all stores are complete.
#[cfg(target_arch = "aarch64")]
fn complete() {
    // SAFETY: a barrier has no operands and changes no register.
    unsafe { std::arch::asm!("dsb st", options(nostack, preserves_flags)) }
}

/// On other architectures the compiler chooses the instructions; the bytes are the same.
#[cfg(not(target_arch = "aarch64"))]
unsafe fn store_8(words: &[u64], target: NonNull<u8>) {
    for (index, word) in words.iter().enumerate() {
        // SAFETY: the caller's; index < words.len().
        unsafe { target.cast::<u64>().add(index).write_volatile(word.to_le()) }
    }
}

#[cfg(not(target_arch = "aarch64"))]
use {store_8 as store_16, store_8 as store_64};

#[cfg(not(target_arch = "aarch64"))]
fn complete() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::super::bar::tests::{ADDRESS, fixture};
    use super::*;
    use proptest::prelude::*;
    use s2lab_protocol::MapKind;

    fn spec(width: u32, offset: u64, bytes: u64) -> (Store, Span) {
        let (device, address) = ("nic".into(), ADDRESS.into());
        let store = Store { device, address, map: MapKind::Wc, width, offset, bytes, seed: 5 };
        (store, Span::of(width, offset, bytes).unwrap())
    }

    #[test]
    fn a_word_that_changed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mapped = Mapped::open(&fixture(folder.path()), "nic", ADDRESS, MapKind::Wc).unwrap();
        let (spec, span) = spec(8, 0, 4096);
        assert_eq!(run(&spec, span, &mapped).unwrap().first_difference, None);
        let place = mapped.at(1003, 1).unwrap();
        // SAFETY: within the mapping.
        unsafe { place.write_volatile(!place.read_volatile()) };
        assert_eq!(first_difference(spec.seed, span, &mapped), Some(1000));
    }

    proptest! {
        #[test]
        fn the_file_holds_the_pattern_and_nothing_else(
            width in prop::sample::select(vec![8u32, 16, 64]), start in 0u64..1023, length in 1u64..1024, seed: u64,
        ) {
            let (offset, bytes) = (start * 64, length.min(1024 - start) * 64);
            let folder = tempfile::tempdir().unwrap();
            let mapped = Mapped::open(&fixture(folder.path()), "nic", ADDRESS, MapKind::Wc).unwrap();
            let (spec, span) = spec(width, offset, bytes);
            let result = run(&Store { seed, ..spec }, span, &mapped).unwrap();
            prop_assert_eq!(result.first_difference, None);
            prop_assert_eq!(result.stores, bytes / if width == 8 { 8 } else { 16 });
            let file = std::fs::read(folder.path().join("sys/bus/pci/devices").join(ADDRESS).join("resource2_wc")).unwrap();
            for (place, word) in (0..).step_by(8).zip(file.chunks(8)) {
                let inside = (offset..offset + bytes).contains(&place);
                let expected = if inside { pattern(seed, place) } else { 0 };
                prop_assert_eq!(word, expected.to_le_bytes(), "at {:#x}", place);
            }
        }
    }
}
