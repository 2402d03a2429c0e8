//! DC ZVA, which zeroes a block. On Device memory it can give an alignment fault.

use super::{Access, WORD};
use std::ptr::NonNull;

/// DC ZVA of a block that had other bytes.
pub(super) struct Zva;

impl Access for Zva {
    fn block(&self) -> Option<u64> {
        block()
    }

    unsafe fn access(&self, place: NonNull<u8>) -> bool {
        let words = block().unwrap_or_default() as usize / size_of::<u64>();
        let word = |index| {
            // SAFETY: the caller's: index < words.
            unsafe { place.cast::<u64>().add(index) }
        };
        // SAFETY: the caller's: aligned words of the block.
        unsafe {
            (0..words).for_each(|index| word(index).write_volatile(WORD));
            zero(place);
            (0..words).all(|index| word(index).read_volatile() == 0)
        }
    }
}

/// Returns the bytes of a block, by DCZID_EL0 (Arm ARM, "DCZID_EL0, Data Cache Zero ID Register"):
/// BS, bits 3:0, is the log2 of the words; DZP, bit 4, prohibits the instruction.
#[cfg(target_arch = "aarch64")]
fn block() -> Option<u64> {
    const DZP: u64 = 1 << 4;
    const BS: u64 = 0xf;
    let id: u64;
    // SAFETY: the register is readable at EL0.
    unsafe { std::arch::asm!("mrs {0}, dczid_el0", out(reg) id, options(nomem, nostack, preserves_flags)) };
    (id & DZP == 0).then_some(4 << (id & BS))
}

#[cfg(target_arch = "aarch64")]
unsafe fn zero(place: NonNull<u8>) {
    // SAFETY: the caller's.
    unsafe {
        std::arch::asm!("dsb st", "dc zva, {0}", "dsb st", in(reg) place.as_ptr(), options(nostack, preserves_flags));
    }
}

#[cfg(not(target_arch = "aarch64"))]
fn block() -> Option<u64> {
    Some(64)
}

#[cfg(not(target_arch = "aarch64"))]
unsafe fn zero(place: NonNull<u8>) {
    // SAFETY: the caller's.
    (0..64).for_each(|index| unsafe { place.add(index).write_volatile(0) });
}
