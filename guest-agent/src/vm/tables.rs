//! Translation tables in a VM's RAM, written by the VMM: four levels with pages of 4 KiB, as stage 1 and stage 2
//! have them for input addresses of 48 bits (Arm ARM DDI 0487, D8.2).

use super::layout;
use super::ram::{Part, Ram};
use crate::fault;
use s2lab_protocol::Failure;
use std::ptr::NonNull;

/// The bits of an input address.
pub(super) const INPUT_BITS: u32 = 48;
/// The bits of a page's offset: 4 KiB.
const PAGE_BITS: u32 = layout::PAGE.trailing_zeros();
/// The bits of an index into a table.
const INDEX_BITS: u32 = PAGE_BITS - 3;
/// The number of levels.
const LEVELS: u32 = (INPUT_BITS - PAGE_BITS).div_ceil(INDEX_BITS);

/// A descriptor is valid; at the last level it is a page, elsewhere it leads to a table.
const VALID: u64 = 0b11;
/// The address in a descriptor.
const ADDRESS: u64 = ((1 << 48) - 1) & !(layout::PAGE - 1);

/// The tables.
#[derive(Debug)]
pub(super) struct Tables {
    ram: Ram,
    /// The part of RAM for tables.
    part: Part,
    /// The bytes of it that are in use. The first table is the root.
    used: u64,
}

/// Returns the index of an address into a table. The last level is 1 here.
fn index(input: u64, level: u32) -> u64 {
    input >> (PAGE_BITS + INDEX_BITS * (level - 1)) & ((1 << INDEX_BITS) - 1)
}

impl Tables {
    /// Makes tables that map nothing.
    pub(super) fn new(ram: Ram, part: Part) -> Result<Tables, Failure> {
        let mut tables = Tables { ram, part, used: 0 };
        tables.table()?;
        Ok(tables)
    }

    /// Returns the IPA of the first table.
    pub(super) fn root(&self) -> u64 {
        self.ram.ipa(self.part)
    }

    /// Returns the number of bytes of tables.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Yields the addresses of the tables that were made since `used` bytes were in use.
    pub(super) fn since(&self, used: u64) -> impl Iterator<Item = NonNull<u8>> {
        let places = (used..self.used).step_by(layout::PAGE as usize);
        places.map(|place| self.ram.at(Part { offset: self.part.offset + place, size: layout::PAGE }))
    }

    /// Maps `size` bytes from `input` to `output`, page by page, with `bits` beside each address. No page of it may
    /// be mapped yet: no CPU has such an entry in its TLB, so nothing has to be invalidated.
    pub(super) fn map(&mut self, input: u64, output: u64, size: u64, bits: u64) -> Result<(), Failure> {
        for offset in (0..size).step_by(layout::PAGE as usize) {
            let slot = self.slot(input + offset)?;
            if self.word(slot) != 0 {
                return Err(fault::invalid(format_args!("{:#x} is mapped already", input + offset)));
            }
            self.set(slot, ((output + offset) & ADDRESS) | bits | VALID);
        }
        Ok(())
    }

    /// Returns the descriptor of the page for `input`, if the tables map it.
    pub(super) fn leaf(&self, input: u64) -> Option<u64> {
        let mut table = self.root();
        for level in (1..=LEVELS).rev() {
            let word = self.word(table + index(input, level) * 8);
            if word & VALID != VALID {
                return None;
            }
            if level == 1 {
                return Some(word);
            }
            table = word & ADDRESS;
        }
        None
    }

    /// Returns the place of the last descriptor for `input`, with the tables that lead to it.
    fn slot(&mut self, input: u64) -> Result<u64, Failure> {
        let mut table = self.root();
        for level in (1..=LEVELS).rev() {
            let slot = table + index(input, level) * 8;
            if level == 1 {
                return Ok(slot);
            }
            table = match self.word(slot) & ADDRESS {
                0 => {
                    let next = self.table()?;
                    self.set(slot, next | VALID);
                    next
                }
                next => next,
            };
        }
        Ok(table)
    }

    /// Returns the IPA of a new table.
    fn table(&mut self) -> Result<u64, Failure> {
        let place = self.used;
        if place + layout::PAGE > self.part.size {
            return Err(fault::invalid("the RAM of the VM has no room for another table"));
        }
        self.used += layout::PAGE;
        Ok(self.root() + place)
    }

    fn pointer(&self, slot: u64) -> *mut u64 {
        let offset = slot - self.root();
        self.ram.at(Part { offset: self.part.offset + offset, size: 8 }).cast().as_ptr()
    }

    fn word(&self, slot: u64) -> u64 {
        // SAFETY: an aligned word of a table.
        u64::from_le(unsafe { self.pointer(slot).read_volatile() })
    }

    fn set(&mut self, slot: u64, word: u64) {
        // SAFETY: an aligned word of a table, which only CPUs of the VM read besides.
        unsafe { self.pointer(slot).write_volatile(word.to_le()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_mapped_once_and_tables_have_an_end() {
        let size = 8 * layout::PAGE;
        let ram = Ram::anonymous(layout::AREA + size);
        let mut tables = Tables::new(ram, Part { offset: layout::AREA, size }).unwrap();
        tables.map(0x1000, 0, 0x1000, 0).unwrap();
        assert_eq!(tables.leaf(0x1000), Some(VALID));
        let again = tables.map(0, 0, 0x2000, 0).unwrap_err();
        assert!(again.message.contains("0x1000 is mapped already"), "{}", again.message);
        let many = tables.map(1 << 40, 0, 1 << 30, 0).unwrap_err();
        assert!(many.message.contains("no room"), "{}", many.message);
    }
}
