//! An unaligned store, which faults on memory that is Device at either stage.

use super::{Access, WORD, read_bytes};
use std::ptr::NonNull;

/// STR of an X register to the first odd address of a block.
pub(super) struct UnalignedStore;

impl Access for UnalignedStore {
    /// An unaligned access within 16 bytes crosses neither a page nor a cache line.
    fn block(&self) -> Option<u64> {
        Some(16)
    }

    unsafe fn access(&self, block: NonNull<u8>) -> bool {
        // SAFETY: the caller's: 8 bytes of the 16.
        unsafe {
            let place = block.add(1);
            store(place);
            read_bytes(place) == WORD
        }
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn store(place: NonNull<u8>) {
    // SAFETY: the caller's.
    unsafe {
        std::arch::asm!("str {0}, [{1}]", "dsb st", in(reg) WORD, in(reg) place.as_ptr(), options(nostack, preserves_flags));
    }
}

#[cfg(not(target_arch = "aarch64"))]
unsafe fn store(place: NonNull<u8>) {
    // SAFETY: the caller's.
    unsafe { place.cast::<u64>().write_unaligned(WORD.to_le()) }
}
