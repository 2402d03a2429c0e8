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

    /// Defines a function that executes the instructions once for so many bytes of the words. They load
    /// from `s`, and store to `p`. A store has no writeback: KVM cannot emulate one that has (Arm ARM,
    /// ESR_EL2.ISV).
    ///
    /// The loop is in assembly, so that it is the same however the agent is compiled. It has 32
    /// instructions at most, and its alignment keeps it in one page. QEMU chains no blocks of two pages
    /// (accel/tcg/translator.c, `translator_use_goto_tb`, QEMU 10.0), which makes each turn of a loop over
    /// the end of a page five times as long.
    macro_rules! each {
        ($(#[$about:meta])* $name:ident: $bytes:literal, [$($instruction:literal),+], $($operand:tt)+) => {
            $(#[$about])*
            pub(super) unsafe fn $name(words: &[u64], target: NonNull<u8>) {
                let times = size_of_val(words) / $bytes;
                if times == 0 {
                    return;
                }
                // SAFETY: the caller's: both have so many bytes, and the target is aligned to the width.
                unsafe {
                    asm!(
                        ".p2align 7",
                        "2:",
                        $($instruction,)+
                        concat!("add {s}, {s}, #", $bytes),
                        concat!("add {p}, {p}, #", $bytes),
                        "subs {n}, {n}, #1",
                        "b.ne 2b",
                        s = inout(reg) words.as_ptr() => _,
                        p = inout(reg) target.as_ptr() => _,
                        n = inout(reg) times => _,
                        $($operand)+,
                        options(nostack),
                    );
                }
            }
        };
    }

    each! {
        /// Stores each byte by one STRB.
        store_1: 1, ["ldrb {a:w}, [{s}]", "strb {a:w}, [{p}]"], a = out(reg) _
    }
    each! {
        /// Stores each two bytes by one STRH.
        store_2: 2, ["ldrh {a:w}, [{s}]", "strh {a:w}, [{p}]"], a = out(reg) _
    }
    each! {
        /// Stores each four bytes by one STR of a W register.
        store_4: 4, ["ldr {a:w}, [{s}]", "str {a:w}, [{p}]"], a = out(reg) _
    }
    each! {
        /// Stores each word by one STR of an X register.
        store_8: 8, ["ldr {a}, [{s}]", "str {a}, [{p}]"], a = out(reg) _
    }
    each! {
        /// Stores each two words by one STP of two X registers.
        store_16: 16, ["ldp {a}, {b}, [{s}]", "stp {a}, {b}, [{p}]"], a = out(reg) _, b = out(reg) _
    }
    each! {
        /// Stores each eight words by four STP with nothing between them.
        store_64: 64,
        [
            "ldp {a}, {b}, [{s}]", "ldp {c}, {d}, [{s}, #16]", "ldp {e}, {f}, [{s}, #32]", "ldp {g}, {h}, [{s}, #48]",
            "stp {a}, {b}, [{p}]", "stp {c}, {d}, [{p}, #16]", "stp {e}, {f}, [{p}, #32]", "stp {g}, {h}, [{p}, #48]"
        ],
        a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
        e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _
    }
    each! {
        /// Stores each two words by one STR of a Q register.
        store_q: 16, ["ldr {v:q}, [{s}]", "str {v:q}, [{p}]"], v = out(vreg) _
    }
    each! {
        /// Stores each eight words by one ST4 of v0 to v3, as rdma-core: LD4 puts them there.
        store_st4: 64,
        ["ld4 {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{s}]", "st4 {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{p}]"],
        out("v0") _, out("v1") _, out("v2") _, out("v3") _
    }
    each! {
        /// Stores each eight words by eight STR with nothing between them, and DGH, as Linux's
        /// `__iowrite64_copy`. DGH is HINT #6: CPUs without FEAT_DGH execute it as a NOP.
        store_dgh: 64,
        [
            "ldp {a}, {b}, [{s}]", "ldp {c}, {d}, [{s}, #16]", "ldp {e}, {f}, [{s}, #32]", "ldp {g}, {h}, [{s}, #48]",
            "str {a}, [{p}]", "str {b}, [{p}, #8]", "str {c}, [{p}, #16]", "str {d}, [{p}, #24]",
            "str {e}, [{p}, #32]", "str {f}, [{p}, #40]", "str {g}, [{p}, #48]", "str {h}, [{p}, #56]", "hint #6"
        ],
        a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
        e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _
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
