//! The instructions of loads.

use s2lab_protocol::Barrier;
use std::ptr::NonNull;

/// Loads `words` from a place that is aligned to the width and has as many bytes, a multiple of
/// the width.
pub(super) type Instruction = unsafe fn(source: NonNull<u8>, words: &mut [u64]);

/// Returns the instructions of a width of [`s2lab_protocol::WIDTHS`].
pub(super) fn instruction(width: u32) -> Instruction {
    match width {
        1 => load_1,
        2 => load_2,
        4 => load_4,
        8 => load_8,
        16 => load_16,
        _ => load_64,
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use by_instruction::barrier;
#[cfg(target_arch = "aarch64")]
use by_instruction::*;

#[cfg(target_arch = "aarch64")]
mod by_instruction {
    use super::{Barrier, NonNull};
    use std::arch::asm;

    /// Loads each byte by one LDRB.
    pub(super) unsafe fn load_1(source: NonNull<u8>, words: &mut [u64]) {
        for (index, word) in words.iter_mut().enumerate() {
            *word = u64::from_le_bytes(std::array::from_fn(|part| {
                let byte: u32;
                // SAFETY: the caller's; index < words.len(), part < 8.
                unsafe {
                    let place = source.add(index * 8 + part);
                    asm!("ldrb {0:w}, [{1}]", out(reg) byte, in(reg) place.as_ptr(), options(nostack, preserves_flags));
                }
                byte as u8
            }));
        }
    }

    /// Loads each two bytes by one LDRH.
    pub(super) unsafe fn load_2(source: NonNull<u8>, words: &mut [u64]) {
        for (index, word) in words.iter_mut().enumerate() {
            *word = (0..4).fold(0, |word, part| {
                let half: u32;
                // SAFETY: the caller's; index < words.len(), part < 4.
                unsafe {
                    let place = source.cast::<u16>().add(index * 4 + part);
                    asm!("ldrh {0:w}, [{1}]", out(reg) half, in(reg) place.as_ptr(), options(nostack, preserves_flags));
                }
                word | u64::from(half) << (16 * part)
            });
        }
    }

    /// Loads each four bytes by one LDR of a W register.
    pub(super) unsafe fn load_4(source: NonNull<u8>, words: &mut [u64]) {
        for (index, word) in words.iter_mut().enumerate() {
            *word = (0..2).fold(0, |word, part| {
                let half: u32;
                // SAFETY: the caller's; index < words.len(), part < 2.
                unsafe {
                    let place = source.cast::<u32>().add(index * 2 + part);
                    asm!("ldr {0:w}, [{1}]", out(reg) half, in(reg) place.as_ptr(), options(nostack, preserves_flags));
                }
                word | u64::from(half) << (32 * part)
            });
        }
    }

    /// Loads each word by one LDR of an X register.
    pub(super) unsafe fn load_8(source: NonNull<u8>, words: &mut [u64]) {
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: the caller's; index < words.len().
            unsafe {
                let place = source.cast::<u64>().add(index);
                asm!("ldr {0}, [{1}]", out(reg) *word, in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Loads each two words by one LDP of two X registers.
    pub(super) unsafe fn load_16(source: NonNull<u8>, words: &mut [u64]) {
        for (index, pair) in words.chunks_exact_mut(2).enumerate() {
            let [a, b] = pair else { continue };
            // SAFETY: the caller's; index * 2 + 1 < words.len().
            unsafe {
                let place = source.cast::<u64>().add(index * 2);
                asm!("ldp {0}, {1}, [{2}]", out(reg) *a, out(reg) *b, in(reg) place.as_ptr(),
                    options(nostack, preserves_flags));
            }
        }
    }

    /// Loads each eight words by four LDP with nothing between them.
    pub(super) unsafe fn load_64(source: NonNull<u8>, words: &mut [u64]) {
        for (index, line) in words.chunks_exact_mut(8).enumerate() {
            let [a, b, c, d, e, f, g, h] = line else { continue };
            // SAFETY: the caller's; index * 8 + 7 < words.len().
            unsafe {
                let place = source.cast::<u64>().add(index * 8);
                asm!(
                    "ldp {a}, {b}, [{p}]", "ldp {c}, {d}, [{p}, #16]", "ldp {e}, {f}, [{p}, #32]", "ldp {g}, {h}, [{p}, #48]",
                    a = out(reg) *a, b = out(reg) *b, c = out(reg) *c, d = out(reg) *d, e = out(reg) *e, f = out(reg) *f,
                    g = out(reg) *g, h = out(reg) *h, p = in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Executes the barrier of a chunk.
    pub(in super::super) fn barrier(kind: Barrier) {
        // SAFETY: a barrier has no operands and changes no register.
        unsafe {
            match kind {
                Barrier::None => {}
                Barrier::Dmb => asm!("dmb oshld", options(nostack, preserves_flags)),
                Barrier::Dsb => asm!("dsb ld", options(nostack, preserves_flags)),
            }
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
use {load_8 as load_1, load_8 as load_2, load_8 as load_4, load_8 as load_16, load_8 as load_64};

#[cfg(not(target_arch = "aarch64"))]
pub(super) fn barrier(_: Barrier) {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
