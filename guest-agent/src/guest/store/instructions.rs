//! The instructions of stores.

use s2lab_protocol::{Barrier, By};
use std::ptr::NonNull;

/// Stores `words` to a place that is aligned to the width and has as many bytes, a multiple of the
/// width.
pub(super) type Instruction = unsafe fn(words: &[u64], target: NonNull<u8>);

/// Returns the instructions; `by` must have stores of this width.
pub(super) fn instruction(by: By, width: u32) -> Instruction {
    match (by, width) {
        (By::Str, 1) => store_1,
        (By::Str, 2) => store_2,
        (By::Str, 4) => store_4,
        (By::Str, _) => store_8,
        (By::Stp, 64) => store_64,
        (By::Stp, _) => store_16,
        (By::Q, _) => store_q,
        (By::St4, _) => store_st4,
        (By::Dgh, _) => store_dgh,
    }
}

#[cfg(target_arch = "aarch64")]
use by_instruction::*;
#[cfg(target_arch = "aarch64")]
pub(super) use by_instruction::{barrier, complete};

#[cfg(target_arch = "aarch64")]
mod by_instruction {
    use super::{Barrier, NonNull};
    use std::arch::asm;

    /// Stores each byte by one STRB.
    pub(super) unsafe fn store_1(words: &[u64], target: NonNull<u8>) {
        for (index, byte) in words.iter().flat_map(|word| word.to_le_bytes()).enumerate() {
            // SAFETY: the caller's; index < words.len() * 8.
            unsafe {
                let place = target.add(index);
                asm!("strb {0:w}, [{1}]", in(reg) u32::from(byte), in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Stores each two bytes by one STRH.
    pub(super) unsafe fn store_2(words: &[u64], target: NonNull<u8>) {
        let halves = words.iter().flat_map(|word| [0, 16, 32, 48].map(|shift| (word >> shift) as u32));
        for (index, half) in halves.enumerate() {
            // SAFETY: the caller's; index < words.len() * 4.
            unsafe {
                let place = target.cast::<u16>().add(index);
                asm!("strh {0:w}, [{1}]", in(reg) half, in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Stores each four bytes by one STR of a W register.
    pub(super) unsafe fn store_4(words: &[u64], target: NonNull<u8>) {
        let halves = words.iter().flat_map(|word| [0, 32].map(|shift| (word >> shift) as u32));
        for (index, half) in halves.enumerate() {
            // SAFETY: the caller's; index < words.len() * 2.
            unsafe {
                let place = target.cast::<u32>().add(index);
                asm!("str {0:w}, [{1}]", in(reg) half, in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Stores each word by one STR of an X register.
    pub(super) unsafe fn store_8(words: &[u64], target: NonNull<u8>) {
        for (index, word) in words.iter().enumerate() {
            // SAFETY: the caller's; index < words.len().
            unsafe {
                let place = target.cast::<u64>().add(index);
                asm!("str {0}, [{1}]", in(reg) *word, in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Stores each two words by one STP of two X registers.
    pub(super) unsafe fn store_16(words: &[u64], target: NonNull<u8>) {
        for (index, pair) in words.chunks_exact(2).enumerate() {
            let [a, b] = *pair else { continue };
            // SAFETY: the caller's; index * 2 + 1 < words.len().
            unsafe {
                let place = target.cast::<u64>().add(index * 2);
                asm!("stp {0}, {1}, [{2}]", in(reg) a, in(reg) b, in(reg) place.as_ptr(),
                    options(nostack, preserves_flags));
            }
        }
    }

    /// Stores each eight words by four STP with nothing between them.
    pub(super) unsafe fn store_64(words: &[u64], target: NonNull<u8>) {
        for (index, line) in words.chunks_exact(8).enumerate() {
            let [a, b, c, d, e, f, g, h] = *line else { continue };
            // SAFETY: the caller's; index * 8 + 7 < words.len().
            unsafe {
                let place = target.cast::<u64>().add(index * 8);
                asm!(
                    "stp {a}, {b}, [{p}]", "stp {c}, {d}, [{p}, #16]", "stp {e}, {f}, [{p}, #32]", "stp {g}, {h}, [{p}, #48]",
                    a = in(reg) a, b = in(reg) b, c = in(reg) c, d = in(reg) d, e = in(reg) e, f = in(reg) f,
                    g = in(reg) g, h = in(reg) h, p = in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Stores each two words by one STR of a Q register.
    pub(super) unsafe fn store_q(words: &[u64], target: NonNull<u8>) {
        for (index, pair) in words.chunks_exact(2).enumerate() {
            // SAFETY: the caller's; index * 2 + 1 < words.len(). `pair` has 16 bytes.
            unsafe {
                let place = target.cast::<u64>().add(index * 2);
                asm!("ldr {v:q}, [{s}]", "str {v:q}, [{p}]", v = out(vreg) _, s = in(reg) pair.as_ptr(),
                    p = in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Stores each eight words by one ST4 of v0 to v3, as rdma-core: LD4 puts them there.
    pub(super) unsafe fn store_st4(words: &[u64], target: NonNull<u8>) {
        for (index, line) in words.chunks_exact(8).enumerate() {
            // SAFETY: the caller's; index * 8 + 7 < words.len(). `line` has 64 bytes.
            unsafe {
                let place = target.cast::<u64>().add(index * 8);
                asm!("ld4 {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{s}]", "st4 {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{p}]",
                    s = in(reg) line.as_ptr(), p = in(reg) place.as_ptr(),
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, options(nostack, preserves_flags));
            }
        }
    }

    /// Stores each eight words by eight STR with nothing between them, and DGH, as Linux's
    /// `__iowrite64_copy`. DGH is HINT #6: CPUs without FEAT_DGH execute it as a NOP.
    pub(super) unsafe fn store_dgh(words: &[u64], target: NonNull<u8>) {
        for (index, line) in words.chunks_exact(8).enumerate() {
            let [a, b, c, d, e, f, g, h] = *line else { continue };
            // SAFETY: the caller's; index * 8 + 7 < words.len().
            unsafe {
                let place = target.cast::<u64>().add(index * 8);
                asm!(
                    "str {a}, [{p}]", "str {b}, [{p}, #8]", "str {c}, [{p}, #16]", "str {d}, [{p}, #24]",
                    "str {e}, [{p}, #32]", "str {f}, [{p}, #40]", "str {g}, [{p}, #48]", "str {h}, [{p}, #56]", "hint #6",
                    a = in(reg) a, b = in(reg) b, c = in(reg) c, d = in(reg) d, e = in(reg) e, f = in(reg) f,
                    g = in(reg) g, h = in(reg) h, p = in(reg) place.as_ptr(), options(nostack, preserves_flags));
            }
        }
    }

    /// Executes the barrier of a chunk.
    pub(in super::super) fn barrier(kind: Barrier) {
        // SAFETY: a barrier has no operands and changes no register.
        unsafe {
            match kind {
                Barrier::None => {}
                Barrier::Dmb => asm!("dmb oshst", options(nostack, preserves_flags)),
                Barrier::Dsb => asm!("dsb st", options(nostack, preserves_flags)),
            }
        }
    }

    /// Waits until all stores are complete.
    pub(in super::super) fn complete() {
        barrier(Barrier::Dsb);
    }
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
use {
    store_8 as store_1, store_8 as store_2, store_8 as store_4, store_8 as store_16, store_8 as store_64,
    store_8 as store_q, store_8 as store_st4, store_8 as store_dgh,
};

#[cfg(not(target_arch = "aarch64"))]
pub(super) fn barrier(_: Barrier) {
    complete();
}

#[cfg(not(target_arch = "aarch64"))]
pub(super) fn complete() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
