//! Translation tables, written from the architecture's formats (DDI 0487, D8, "Translation table
//! descriptor formats"). Nothing here reads a descriptor back by its fields.

use crate::ram::{self, Free};

/// The last level.
pub(crate) const LAST: i32 = 3;
const TABLE: u64 = 0b11;
const PAGE: u64 = 0b11;
const BLOCK: u64 = 0b01;
/// The most tables of a tree, besides its start table.
const MOST_TABLES: usize = 40;

/// The format of the descriptors.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    /// log2 of the granule: 12, 14 or 16.
    pub(crate) page_bits: u32,
    /// VTCR_EL2.DS or TCR_EL1.DS: FEAT_LPA2's descriptors.
    pub(crate) ds: bool,
    /// The bits of an output address: 32 to 52.
    pub(crate) output_bits: u32,
}

impl Format {
    /// Returns log2 of the descriptors in a table.
    pub(crate) fn stride(&self) -> u32 {
        self.page_bits - 3
    }

    /// Returns log2 of the bytes that a descriptor at `level` maps.
    pub(crate) fn span_bits(&self, level: i32) -> u32 {
        self.page_bits + (LAST - level) as u32 * self.stride()
    }

    /// Returns the bits of a descriptor or TTBR that encode an address, aligned to the granule. It
    /// may have more bits than `output_bits` for an address size fault.
    pub(crate) fn address(&self, address: u64) -> u64 {
        let low = address & 0x0000_ffff_ffff_f000;
        if self.ds {
            address & 0x0003_ffff_ffff_f000 | (address >> 50 & 0b11) << 8
        } else if self.page_bits == 16 && self.output_bits == 52 {
            low | (address >> 48 & 0b1111) << 12
        } else {
            low
        }
    }

    /// Returns BADDR of VTTBR_EL2 or TTBRn_EL1.
    pub(crate) fn base(&self, address: u64) -> u64 {
        let low = address & 0x0000_ffff_ffff_ffff;
        if self.output_bits == 52 && (self.ds || self.page_bits == 16) {
            low | (address >> 48 & 0b1111) << 2
        } else {
            low
        }
    }

    /// Returns true if there are blocks at `level` (DDI 0487, D8, "Block descriptor and Page
    /// descriptor formats").
    pub(crate) fn has_blocks(&self, level: i32) -> bool {
        let first = match self.page_bits {
            12 if self.ds => 0,
            12 => 1,
            14 if self.ds => 1,
            16 if self.output_bits == 52 => 1,
            _ => 2,
        };
        level >= first && level < LAST
    }

    /// Returns the number of neighbours that have the contiguous bit together, or None if `level`
    /// has no such groups (DDI 0487, D8, "The Contiguous bit").
    pub(crate) fn group(&self, level: i32) -> Option<u64> {
        match (self.page_bits, level) {
            (12, 2 | 3) => Some(16),
            (14, 2) => Some(32),
            (14, 3) => Some(128),
            (16, 2 | 3) => Some(32),
            _ => None,
        }
    }

    /// Returns the descriptor of a block or page. `attributes` are all bits but the address and the
    /// type.
    pub(crate) fn leaf(&self, level: i32, output: u64, attributes: u64) -> u64 {
        self.address(output) | attributes | if level == LAST { PAGE } else { BLOCK }
    }

    /// Returns the attribute bits that hold no address: with FEAT_LPA2 bits 9:8 do.
    pub(crate) fn shareability(&self, sh: u64) -> u64 {
        if self.ds { 0 } else { sh << 8 }
    }
}

/// A table below the start table.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    /// The descriptor that leads to it.
    word: u64,
    /// Its physical address.
    pub(crate) memory: u64,
    pub(crate) level: i32,
}

/// The place of a new table.
pub(crate) struct Place {
    /// The address in the descriptor: a physical one, or for stage 1 an IPA.
    pub(crate) address: u64,
    pub(crate) memory: u64,
    /// Further bits of the table descriptor.
    pub(crate) bits: u64,
}

impl Place {
    /// Returns new memory for a table of `size` bytes, at its own address, or None if none is left.
    pub(crate) fn of(free: &mut Free, size: u64) -> Option<Self> {
        let memory = free.take(size, size)?;
        Some(Self { address: memory, memory, bits: 0 })
    }
}

/// The tables of one stage.
pub(crate) struct Tree {
    pub(crate) format: Format,
    /// -1 to 3.
    pub(crate) start: i32,
    /// The bits of an input address.
    pub(crate) bits: u32,
    /// The physical address of the start table.
    pub(crate) root: u64,
    tables: [Table; MOST_TABLES],
    count: usize,
}

impl Tree {
    /// Returns a tree with the start table at `root`, which is zero.
    pub(crate) fn new(format: Format, start: i32, bits: u32, root: u64) -> Self {
        let none = Table { word: 0, memory: 0, level: 0 };
        Self { format, start, bits, root, tables: [none; MOST_TABLES], count: 0 }
    }

    /// Returns the bytes of a start table.
    pub(crate) fn root_size(format: &Format, start: i32, bits: u32) -> u64 {
        8 << (bits - format.span_bits(start))
    }

    /// Returns the tables below the start table.
    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables[..self.count]
    }

    /// Returns the place of the descriptor in `table` at `level` that is for `input`.
    fn at(&self, table: u64, level: i32, input: u64) -> u64 {
        let span = self.format.span_bits(level);
        let bits = if level == self.start { self.bits - span } else { self.format.stride() };
        table + 8 * (input >> span & ((1 << bits) - 1))
    }

    /// Maps the page of `input` to that of `output`, with tables at their own addresses.
    pub(crate) fn page(&mut self, free: &mut Free, input: u64, output: u64, bits: u64) {
        let page = 1 << self.format.page_bits;
        let Some(at) = self.slot(input, LAST, &mut || Place::of(free, page)) else { panic!("no room") };
        ram::set(at, self.format.leaf(LAST, output, bits));
    }

    /// Returns the place of the descriptor for `input` at `level`, and makes the tables above it by
    /// `make`. Returns None if a leaf or something else is in the way, or if there is no room.
    pub(crate) fn slot(
        &mut self,
        input: u64,
        level: i32,
        make: &mut dyn FnMut() -> Option<Place>,
    ) -> Option<u64> {
        let mut table = self.root;
        for above in self.start..level {
            let at = self.at(table, above, input);
            let word = ram::word(at);
            table = if word == 0 {
                if self.count == MOST_TABLES {
                    return None;
                }
                let Place { address, memory, bits } = make()?;
                let word = self.format.address(address) | bits | TABLE;
                ram::set(at, word);
                self.tables[self.count] = Table { word, memory, level: above + 1 };
                self.count += 1;
                memory
            } else {
                let known = |table: &&Table| table.word == word && table.level == above + 1;
                self.tables().iter().find(known)?.memory
            };
        }
        Some(self.at(table, level, input))
    }
}
