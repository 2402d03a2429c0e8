//! An exclusive load and store. On memory that is not write-back cacheable the architecture leaves
//! their result to the implementation.

use super::{Access, WORD};
use std::ptr::NonNull;

/// LDXR and STXR of a word.
pub(super) struct Exclusive;

/// STXR may fail without a reason. As many failures in a row have one, and count as wrong.
const TRIES: usize = 1000;

impl Access for Exclusive {
    fn block(&self) -> Option<u64> {
        Some(8)
    }

    unsafe fn access(&self, block: NonNull<u8>) -> bool {
        let word = block.cast::<u64>();
        // SAFETY: the caller's: the aligned word.
        unsafe {
            word.write_volatile(!WORD);
            (0..TRIES).any(|_| exchange(word) == Some(!WORD)) && word.read_volatile() == WORD
        }
    }
}

/// Loads the word and stores [`WORD`], and returns the word before, or None if STXR failed.
#[cfg(target_arch = "aarch64")]
unsafe fn exchange(word: NonNull<u64>) -> Option<u64> {
    let (before, failed): (u64, u32);
    // SAFETY: the caller's.
    unsafe {
        std::arch::asm!("dsb sy", "ldxr {before}, [{p}]", "stxr {failed:w}, {word}, [{p}]", "dsb sy",
            before = out(reg) before, failed = out(reg) failed, word = in(reg) WORD, p = in(reg) word.as_ptr(),
            options(nostack, preserves_flags));
    }
    (failed == 0).then_some(before)
}

#[cfg(not(target_arch = "aarch64"))]
unsafe fn exchange(word: NonNull<u64>) -> Option<u64> {
    // SAFETY: the caller's; nothing else accesses the word.
    let word = unsafe { std::sync::atomic::AtomicU64::from_ptr(word.as_ptr()) };
    Some(word.swap(WORD, std::sync::atomic::Ordering::SeqCst))
}
