//! The machine's memory.

use s2lab_judge_records::{RAM, RAM_SIZE, TABLES};

/// Returns the word at a physical address in RAM.
pub fn word(address: u64) -> u64 {
    // SAFETY: the MMU is off at EL2, so an address is physical; the caller names a word of RAM that
    // is a table or a record, which no Rust reference leads to.
    unsafe { (address as *const u64).read_volatile() }
}

/// Writes the word at a physical address in RAM.
pub fn set(address: u64, value: u64) {
    // SAFETY: as in `word`.
    unsafe { (address as *mut u64).write_volatile(value) }
}

/// The part of RAM that has no table yet. It is zero.
pub struct Free(u64);

impl Free {
    /// All memory for tables.
    pub fn all() -> Self {
        Self(TABLES)
    }

    /// Returns `size` bytes at a multiple of `align`, a power of two, or None if none are left.
    pub fn take(&mut self, size: u64, align: u64) -> Option<u64> {
        let address = (self.0 + align - 1) & !(align - 1);
        let end = address + size;
        (end <= RAM + RAM_SIZE).then(|| {
            self.0 = end;
            address
        })
    }
}
