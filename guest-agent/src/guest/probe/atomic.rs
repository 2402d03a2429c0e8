//! An atomic read-modify-write. On memory that is not write-back cacheable the architecture leaves
//! its result to the implementation.

use super::{Access, WORD};
use std::ptr::NonNull;

/// LDADD of 1 to a word.
pub(super) struct Atomic;

impl Access for Atomic {
    fn block(&self) -> Option<u64> {
        has_atomics().then_some(8)
    }

    unsafe fn access(&self, block: NonNull<u8>) -> bool {
        let word = block.cast::<u64>();
        // SAFETY: the caller's: the aligned word.
        unsafe {
            word.write_volatile(WORD);
            let before = add(word);
            before == WORD && word.read_volatile() == WORD + 1
        }
    }
}

#[cfg(target_arch = "aarch64")]
fn has_atomics() -> bool {
    std::arch::is_aarch64_feature_detected!("lse")
}

/// Adds 1, and returns the word before.
#[cfg(target_arch = "aarch64")]
unsafe fn add(word: NonNull<u64>) -> u64 {
    let before;
    // SAFETY: the caller's; the CPU has FEAT_LSE.
    unsafe {
        std::arch::asm!(".arch_extension lse", "dsb sy", "ldadd {one}, {before}, [{p}]", "dsb sy",
            one = in(reg) 1u64, before = out(reg) before, p = in(reg) word.as_ptr(), options(nostack, preserves_flags));
    }
    before
}

#[cfg(not(target_arch = "aarch64"))]
fn has_atomics() -> bool {
    true
}

#[cfg(not(target_arch = "aarch64"))]
unsafe fn add(word: NonNull<u64>) -> u64 {
    // SAFETY: the caller's; nothing else accesses the word.
    let word = unsafe { std::sync::atomic::AtomicU64::from_ptr(word.as_ptr()) };
    word.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
}
