//! An unaligned load, which faults on memory that is Device at either stage.

use super::{Access, read_bytes};
use std::ptr::NonNull;

/// LDR of an X register from the first odd address of a block.
pub(super) struct UnalignedLoad;

impl Access for UnalignedLoad {
    /// An unaligned access within 16 bytes crosses neither a page nor a cache line.
    fn block(&self) -> Option<u64> {
        Some(16)
    }

    unsafe fn access(&self, block: NonNull<u8>) -> bool {
        // The load comes first: QEMU checks a Device type of stage 1 at the first access to a page
        // alone. SAFETY: the caller's: 8 bytes of the 16.
        unsafe {
            let place = block.add(1);
            load(place) == read_bytes(place)
        }
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn load(place: NonNull<u8>) -> u64 {
    let word;
    // SAFETY: the caller's.
    unsafe {
        std::arch::asm!("ldr {0}, [{1}]", out(reg) word, in(reg) place.as_ptr(), options(nostack, preserves_flags));
    }
    word
}

#[cfg(not(target_arch = "aarch64"))]
unsafe fn load(place: NonNull<u8>) -> u64 {
    // SAFETY: the caller's.
    u64::from_le(unsafe { place.cast::<u64>().read_unaligned() })
}
