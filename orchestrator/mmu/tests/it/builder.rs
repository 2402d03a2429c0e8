//! A builder of tables that hypervisors or kernels could write, from facts written down here a
//! second time.

use s2lab_mmu::{PAGE_SIZE, PageMem, PhysMem};
use std::collections::BTreeMap;

pub(crate) const AF: u64 = 1 << 10;
pub(crate) const XN: u64 = 1 << 54;
pub(crate) const HCR: u64 = 1;
pub(crate) const HCR_FWB: u64 = 1 | 1 << 46;

/// A granule and a descriptor format, with the bytes that one descriptor maps at levels -1 to 3, or
/// 0 if the level does not exist.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Format {
    pub(crate) page: u64,
    /// FEAT_LPA2, DS=1.
    pub(crate) ds: bool,
    /// 52-bit physical addresses.
    pub(crate) wide: bool,
    spans: [u64; 5],
    /// Levels that may have blocks.
    pub(crate) blocks: &'static [i8],
}

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const G: u64 = 1 << 30;
const T: u64 = 1 << 40;

pub(crate) const K4: Format =
    Format { page: 4 * K, ds: false, wide: false, spans: [0, 512 * G, G, 2 * M, 4 * K], blocks: &[1, 2] };
pub(crate) const K4_LPA2: Format =
    Format { ds: true, wide: true, spans: [256 * T, 512 * G, G, 2 * M, 4 * K], blocks: &[0, 1, 2], ..K4 };
pub(crate) const K16: Format = Format {
    page: 16 * K,
    ds: false,
    wide: false,
    spans: [0, 128 * T, 64 * G, 32 * M, 16 * K],
    blocks: &[2],
};
pub(crate) const K16_LPA2: Format = Format { ds: true, wide: true, blocks: &[1, 2], ..K16 };
pub(crate) const K64: Format =
    Format { page: 64 * K, ds: false, wide: false, spans: [0, 0, 4 * T, 512 * M, 64 * K], blocks: &[2] };
pub(crate) const K64_LPA: Format = Format { wide: true, blocks: &[1, 2], ..K64 };

impl Format {
    pub(crate) fn span(&self, level: i8) -> u64 {
        self.spans[(level + 1) as usize]
    }

    /// Address bits of a table, block or page descriptor.
    pub(crate) fn encode(&self, address: u64) -> u64 {
        let low = address & 0x0000_ffff_ffff_f000;
        match (self.ds, self.wide, self.page) {
            (true, _, _) => (address & 0x0003_ffff_ffff_f000) | (address >> 50) << 8,
            (false, true, 0x10000) => low | (address >> 48) << 12,
            _ => low,
        }
    }

    pub(crate) fn tg0(&self) -> u64 {
        match self.page {
            0x1000 => 0,
            0x4000 => 2,
            _ => 1,
        }
    }

    pub(crate) fn tg1(&self) -> u64 {
        match self.page {
            0x1000 => 2,
            0x4000 => 1,
            _ => 3,
        }
    }

    /// PS or IPS: 48 or 52 bits.
    pub(crate) fn ps(&self) -> u64 {
        if self.wide { 6 } else { 5 }
    }
}

/// Tables in a memory that has nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pub(crate) format: Format,
    pub(crate) start_level: i8,
    pub(crate) base: u64,
    /// Words per table, by the table's address.
    pub(crate) words: BTreeMap<u64, Vec<u64>>,
    next: u64,
}

impl Tables {
    /// Makes a start table of `entries` descriptors at the start level. Further tables follow
    /// behind it.
    pub(crate) fn new(format: Format, start_level: i8, entries: u64, base: u64) -> Self {
        let size = (entries * 8).next_multiple_of(format.page);
        let words = vec![0; (size / 8) as usize];
        Self { format, start_level, base, words: [(base, words)].into(), next: base + size }
    }

    /// Returns the word that describes `input` at `level`, and makes the tables on the way.
    pub(crate) fn word(&mut self, input: u64, level: i8) -> &mut u64 {
        let mut table = self.base;
        let mut offset = input;
        for above in self.start_level..level {
            let span = self.format.span(above);
            let index = (offset / span) as usize;
            offset %= span;
            let word = self.words[&table][index];
            table = if word == 0 {
                let made = self.next;
                // Every other page, so that neighbouring tables are not neighbours in memory.
                self.next += 2 * self.format.page;
                self.words.insert(made, vec![0; (self.format.page / 8) as usize]);
                self.words.get_mut(&table).unwrap()[index] = self.format.encode(made) | 0b11;
                made
            } else {
                assert_eq!(word & 0b11, 0b11, "not under a block");
                self.table_at(word)
            };
        }
        &mut self.words.get_mut(&table).unwrap()[(offset / self.format.span(level)) as usize]
    }

    /// The known table that a descriptor made by this builder points at.
    fn table_at(&self, word: u64) -> u64 {
        *self.words.keys().find(|t| self.format.encode(**t) | 0b11 == word).unwrap()
    }

    /// Maps a block or page; `bits` is all but address and kind.
    pub(crate) fn map(&mut self, input: u64, output: u64, level: i8, bits: u64) -> u64 {
        let kind = if level == 3 { 0b11 } else { 0b01 };
        let descriptor = self.format.encode(output) | bits | kind;
        *self.word(input, level) = descriptor;
        descriptor
    }
}

impl PhysMem for Tables {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        assert_eq!(pa % 8, 0);
        let (table, words) = self.words.range(..=pa).next_back()?;
        words.get(((pa - table) / 8) as usize).copied()
    }
}

/// Returns copies of the pages that were read, as a run keeps them.
pub(crate) fn keep(mem: &dyn PhysMem, pages: impl IntoIterator<Item = u64>) -> PageMem {
    let mut kept = PageMem::default();
    for page in pages {
        let words = (0..PAGE_SIZE as u64 / 8).map(|n| mem.read_u64(page + 8 * n).unwrap_or(0));
        kept.insert(page, &words.flat_map(u64::to_le_bytes).collect::<Vec<_>>()).unwrap();
    }
    kept
}

/// VTCR_EL2 as KVM computes it (Linux 6.12 `kvm_get_vtcr`, `kvm_arm.h`): as few levels as
/// concatenation allows. Returns also the start level and the number of start descriptors.
pub(crate) fn kvm_vtcr(format: Format, ipa_bits: u32) -> (u64, i8, u64) {
    let per_level = (format.page / 8).ilog2();
    let levels = ((ipa_bits - 4 - 4) / per_level).max(2);
    let sl0_base = if format.page == 0x1000 { 2 } else { 3 };
    let sl0 = sl0_base - (4 - u64::from(levels));
    let start_level = 4 - levels as i8;
    const COMMON: u64 = 3 << 12 | 1 << 10 | 1 << 8 | 1 << 31 | 1 << 19;
    let vtcr = COMMON
        | u64::from(64 - ipa_bits)
        | sl0 << 6
        | format.tg0() << 14
        | format.ps() << 16
        | u64::from(format.ds) << 32;
    (vtcr, start_level, (1 << ipa_bits) / format.span(start_level))
}
