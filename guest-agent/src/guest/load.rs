//! Runs of loads from a BAR.

use super::{Guest, bar::Mapped, span::Span};
use crate::agent::Answers;
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{Load, Loaded};
use std::ptr::NonNull;

impl Answers<Load> for Guest {
    fn answer(&mut self, ask: Load) -> Result<Loaded, Failure> {
        Span::of(ask.width, 0, ask.bytes)?;
        let mapped = self.map(&ask.device, &ask.address, ask.map)?;
        run(ask.width, ask.bytes, mapped)
    }
}

/// Loads all bytes, and makes the digests of their parts.
fn run(width: u32, bytes: u64, mapped: &Mapped) -> Result<Loaded, Failure> {
    let load: Instruction = match width {
        8 => load_8,
        16 => load_16,
        _ => load_64,
    };
    let (mut loads, mut digests, mut words) = (0, vec![], vec![]);
    for (offset, length) in Load::parts(bytes) {
        let part = Span::of(width, offset, length)?;
        let mut digest = Load::EMPTY;
        for piece in part.pieces() {
            words.resize(piece.words().count(), 0);
            // SAFETY: the place is aligned to 64 bytes and has those of the piece, which are those
            // of `words` and a multiple of 64.
            unsafe { load(piece.place(mapped)?, &mut words) };
            digest = Load::digest(digest, words.iter().copied().map(u64::from_le));
            piece.count();
        }
        loads += part.instructions(width);
        digests.push(digest);
    }
    Ok(Loaded { bar: mapped.bar(), map: mapped.map(), width, bytes, loads, digests })
}

/// Loads `words` from a place that is aligned to 64 bytes and has as many bytes, a multiple of 64.
type Instruction = unsafe fn(source: NonNull<u8>, words: &mut [u64]);

/// Loads each word by one LDR of an X register.
#[cfg(target_arch = "aarch64")]
unsafe fn load_8(source: NonNull<u8>, words: &mut [u64]) {
    for (index, word) in words.iter_mut().enumerate() {
        // SAFETY: the caller's; index < words.len().
        unsafe {
            let place = source.cast::<u64>().add(index);
            std::arch::asm!("ldr {0}, [{1}]", out(reg) *word, in(reg) place.as_ptr(), options(nostack, preserves_flags));
        }
    }
}

/// Loads each two words by one LDP of two X registers.
#[cfg(target_arch = "aarch64")]
unsafe fn load_16(source: NonNull<u8>, words: &mut [u64]) {
    for (index, pair) in words.chunks_exact_mut(2).enumerate() {
        let [a, b] = pair else { continue };
        // SAFETY: the caller's; index * 2 + 1 < words.len().
        unsafe {
            let place = source.cast::<u64>().add(index * 2);
            std::arch::asm!("ldp {0}, {1}, [{2}]", out(reg) *a, out(reg) *b, in(reg) place.as_ptr(),
                options(nostack, preserves_flags));
        }
    }
}

/// Loads each eight words by four LDP with nothing between them.
#[cfg(target_arch = "aarch64")]
unsafe fn load_64(source: NonNull<u8>, words: &mut [u64]) {
    for (index, line) in words.chunks_exact_mut(8).enumerate() {
        let [a, b, c, d, e, f, g, h] = line else { continue };
        // SAFETY: the caller's; index * 8 + 7 < words.len().
        unsafe {
            let place = source.cast::<u64>().add(index * 8);
            std::arch::asm!(
                "ldp {a}, {b}, [{p}]", "ldp {c}, {d}, [{p}, #16]", "ldp {e}, {f}, [{p}, #32]", "ldp {g}, {h}, [{p}, #48]",
                a = out(reg) *a, b = out(reg) *b, c = out(reg) *c, d = out(reg) *d, e = out(reg) *e, f = out(reg) *f,
                g = out(reg) *g, h = out(reg) *h, p = in(reg) place.as_ptr(), options(nostack, preserves_flags));
        }
    }
}

/// On other architectures the compiler chooses the instructions; the bytes are the same.
#[cfg(not(target_arch = "aarch64"))]
unsafe fn load_8(source: NonNull<u8>, words: &mut [u64]) {
    for (index, word) in words.iter_mut().enumerate() {
        // SAFETY: the caller's; index < words.len().
        *word = unsafe { source.cast::<u64>().add(index).read_volatile() };
    }
}

#[cfg(not(target_arch = "aarch64"))]
use {load_8 as load_16, load_8 as load_64};

#[cfg(test)]
mod tests {
    use super::super::bar::tests::{ADDRESS, BAR_SIZE, fixture};
    use super::*;
    use proptest::prelude::*;
    use s2lab_protocol::{MapKind, pattern};

    const SEED: u64 = 7;

    /// The digests of the pattern.
    fn expected(bytes: u64) -> Vec<u64> {
        let words = |(start, length)| {
            (start..start + length).step_by(size_of::<u64>()).map(|place| pattern(SEED, place))
        };
        Load::parts(bytes).map(|part| Load::digest(Load::EMPTY, words(part))).collect()
    }

    /// A BAR with the pattern.
    fn mapped(folder: &std::path::Path) -> Mapped {
        let root = fixture(folder);
        let file = folder.join("sys/bus/pci/devices").join(ADDRESS).join("resource2_wc");
        let words =
            (0..BAR_SIZE).step_by(size_of::<u64>()).flat_map(|place| pattern(SEED, place).to_le_bytes());
        std::fs::write(file, words.collect::<Vec<_>>()).unwrap();
        Mapped::open(&root, "nic", ADDRESS, MapKind::Wc).unwrap()
    }

    #[test]
    fn a_word_that_changed_is_in_its_part() {
        let folder = tempfile::tempdir().unwrap();
        let mapped = mapped(folder.path());
        let before = run(8, BAR_SIZE, &mapped).unwrap().digests;
        // SAFETY: within the mapping.
        unsafe { mapped.at(5000, 1).unwrap().write_volatile(0) };
        let after = run(64, BAR_SIZE, &mapped).unwrap().digests;
        let other: Vec<_> = (0..after.len()).filter(|part| before[*part] != after[*part]).collect();
        assert_eq!(other, [4], "of 1024 bytes each");
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(8, BAR_SIZE + 64, &mapped(folder.path())).is_err());
    }

    proptest! {
        #[test]
        fn each_width_reads_the_same(width in prop::sample::select(vec![8u32, 16, 64]), lines in 1u64..=1024) {
            let folder = tempfile::tempdir().unwrap();
            let (mapped, bytes) = (mapped(folder.path()), lines * 64);
            let loaded = run(width, bytes, &mapped).unwrap();
            let loads = bytes / if width == 8 { 8 } else { 16 };
            let (bar, map) = (mapped.bar(), MapKind::Wc);
            prop_assert_eq!(loaded, Loaded { bar, map, width, bytes, loads, digests: expected(bytes) });
        }
    }
}
