//! The page tables of an imaginary guest, as KVM and the guest's kernel would write them (DDI 0487,
//! D8, "Translation table descriptor formats"). Stage 2 has 40 bits of IPA from level 1, stage 1
//! has 48 bits of VA from level 0, both with 4 KiB pages.
//!
//! Tests let s2lab read them, so nothing here comes from `s2lab-mmu`.

use std::collections::BTreeMap;

/// The distance from one guest's tables and RAM to the next guest's.
const GUEST_STRIDE: u64 = 0x10_0000;
/// The physical address of the first guest's start tables of stage 2, two in a row.
pub const STAGE2_ROOT: u64 = 0x5000_0000;
/// The IPA of the guest's stage-1 tables, which is where its RAM begins.
pub const STAGE1_ROOT: u64 = 0x4010_0000;
/// The offset that the first guest's stage 2 adds to the IPAs of guest RAM.
pub const GUEST_OFFSET: u64 = 0x1800_0000;
/// The IPA of the first device's BAR.
pub const BAR_IPA: u64 = 0x80_8000_0000;
/// The physical address of the first device's BAR.
pub const BAR_PA: u64 = 0x80_0000_0000;
/// The virtual address of the guest's first mapping of a BAR.
pub const BAR_VA: u64 = 0xffff_8000_0000;
pub const PAGE: u64 = 4096;
/// The bytes that a descriptor of level 2 maps.
pub const BLOCK: u64 = 2 << 20;
/// The pages of guest RAM that stage 2 maps: the stage-1 tables and a little more.
const GUEST_PAGES: u64 = 64;
const WORDS: usize = 512;

/// A leaf of stage 2 without address, level and MemAttr\[3:0\], which is in 5:2: valid, S2AP rw, SH
/// inner, AF.
pub const LEAF: u64 = 1 | 0b11 << 6 | 0b11 << 8 | 1 << 10;
/// XN\[1\].
pub const NEVER_EXEC: u64 = 1 << 54;
/// A leaf of a BAR on a kernel without the series. MemAttr here and below is that of FEAT_S2FWB.
pub const DEVICE: u64 = LEAF | 0b0001 << 2 | NEVER_EXEC;
/// A leaf of a BAR on a kernel with the series.
pub const NORMAL_NC: u64 = LEAF | 0b0101 << 2 | NEVER_EXEC;
/// A leaf of guest RAM.
pub const NORMAL_WB: u64 = LEAF | 0b0110 << 2;
/// A leaf of stage 1 without address, level and AttrIndx, which is in 4:2: valid, AP\[1\] (EL0), SH
/// inner, AF.
const STAGE1_LEAF: u64 = 1 | 1 << 6 | 0b11 << 8 | 1 << 10;
/// Linux's MAIR_EL1 (arch/arm64/include/asm/memory.h, numbered for this table): 0 is Normal-WB, 1
/// Device-nGnRnE.
const MAIR: u64 = 0x04_0044_00ff;
/// The index of Normal-NC in it.
pub const INDEX_NC: u64 = 2;
/// The index of Device-nGnRE in it.
pub const INDEX_DEVICE: u64 = 4;
/// HCR_EL2.RW and VM.
pub const HCR: u64 = 1 << 31 | 1;
/// HCR_EL2.FWB.
pub const HCR_FWB: u64 = 1 << 46;
/// HCR_EL2.E2H: the host uses VHE.
pub const HCR_E2H: u64 = 1 << 34;
/// The distance from one VMM's tables to the next VMM's, and the first one's start table.
const VMM_STRIDE: u64 = 0x1_0000;
const VMM_ROOT: u64 = 0x5800_0000;
/// The start tables of the host's own stage 2 and of the hypervisor's stage 1.
const HOST_ROOT: u64 = 0x5900_0000;
const HYPERVISOR_ROOT: u64 = 0x5a00_0000;

/// Returns the registers that lead to the tables, with FEAT_S2FWB.
pub fn registers(vmid: u64) -> BTreeMap<&'static str, u64> {
    [
        ("HCR_EL2", HCR | HCR_FWB),
        ("VTTBR_EL2", STAGE2_ROOT | vmid << 48),
        // PS 40 bits, SL0 level 1, T0SZ 24.
        ("VTCR_EL2", 1 << 31 | 2 << 16 | 1 << 6 | 24),
        ("TTBR0_EL1", STAGE1_ROOT),
        // IPS 48 bits, 48 bits of VA in both halves.
        ("TCR_EL1", 5 << 32 | 16 << 16 | 16),
        ("MAIR_EL1", MAIR),
    ]
    .into()
}

/// Returns the physical address of the stage-2 start tables of the `guest`-th guest, from 0.
pub fn stage2_root(guest: u64) -> u64 {
    STAGE2_ROOT + guest * GUEST_STRIDE
}

/// Both stages of a guest.
#[derive(Debug)]
pub struct GuestTables {
    /// The offset that stage 2 adds to the IPAs of RAM.
    offset: u64,
    stage1: Tables,
    stage2: Tables,
}

impl GuestTables {
    /// Makes a stage 2 with the guest's RAM, with the bits `ram` beside the addresses, and an empty
    /// stage 1.
    pub fn new(ram: u64) -> Self {
        Self::of(0, ram)
    }

    /// Makes the tables of the `guest`-th guest of a host, at addresses of their own.
    pub fn of(guest: u64, ram: u64) -> Self {
        let mut new = Self {
            offset: GUEST_OFFSET + guest * GUEST_STRIDE,
            stage1: Tables::new(STAGE1_ROOT, 0),
            stage2: Tables::new(stage2_root(guest), 1),
        };
        for offset in (0..GUEST_PAGES * PAGE).step_by(PAGE as usize) {
            let ipa = STAGE1_ROOT + offset;
            new.back(ipa, 3, (ipa + new.offset) | ram);
        }
        new
    }

    /// Adds a leaf to stage 2 at `level`, which maps the IPA to the physical address in `leaf`.
    /// `leaf` is a whole descriptor without its kind.
    pub fn back(&mut self, ipa: u64, level: u64, leaf: u64) {
        self.stage2.map(ipa, level, leaf);
    }

    /// Adds a page to stage 1, of the memory type at `index` of MAIR_EL1.
    pub fn map(&mut self, va: u64, ipa: u64, index: u64) {
        self.stage1.map(va, 3, ipa | STAGE1_LEAF | index << 2);
    }

    /// Returns the tables' pages, by physical address.
    pub fn pages(&self) -> BTreeMap<u64, Vec<u8>> {
        let stage1 = self.stage1.pages().map(|(at, page)| (at + self.offset, page));
        self.stage2.pages().chain(stage1).collect()
    }
}

/// The stage 1 of a guest's VMM with VHE, with 48 bits of VA from level 0 and 4 KiB pages.
#[derive(Debug)]
pub struct VmmTables {
    tables: Tables,
}

impl VmmTables {
    /// Makes empty tables for the VMM of the `guest`-th guest.
    pub fn of(guest: u64) -> Self {
        Self { tables: Tables::new(VMM_ROOT + guest * VMM_STRIDE, 0) }
    }

    /// Adds a leaf at `level`, a page or a block of Device-nGnRnE.
    pub fn map(&mut self, va: u64, level: u64, pa: u64) {
        self.tables.map(va, level, pa | STAGE1_LEAF | 1 << 2);
    }

    /// Adds a leaf like [`VmmTables::map`], of Normal-WB.
    pub fn map_cached(&mut self, va: u64, level: u64, pa: u64) {
        self.tables.map(va, level, pa | STAGE1_LEAF);
    }

    /// Returns the registers that lead to the tables.
    pub fn registers(&self) -> [(&'static str, u64); 4] {
        let tcr = 5 << 32 | 16 << 16 | 16;
        // M and C.
        [("TTBR0_EL2", self.tables.root), ("TCR_EL2", tcr), ("MAIR_EL2", MAIR), ("SCTLR_EL2", 0b101)]
    }

    /// Returns the tables' pages, by physical address.
    pub fn pages(&self) -> BTreeMap<u64, Vec<u8>> {
        self.tables.pages().collect()
    }
}

/// The own stage 2 of a host in protected mode, and the stage 1 of its hypervisor. The first has the form of a guest's
/// without FEAT_S2FWB, the second that of a VMM's.
#[derive(Debug)]
pub struct HostTables {
    stage2: Tables,
    hypervisor: Tables,
}

impl Default for HostTables {
    fn default() -> Self {
        Self { stage2: Tables::new(HOST_ROOT, 1), hypervisor: Tables::new(HYPERVISOR_ROOT, 0) }
    }
}

impl HostTables {
    /// Adds a leaf of Normal-WB, read-write, to the host's stage 2 at `level`. `bits` are more bits of it.
    pub fn back(&mut self, ipa: u64, level: u64, pa: u64, bits: u64) {
        self.stage2.map(ipa, level, pa | LEAF | 0b1111 << 2 | bits);
    }

    /// Marks what a descriptor of the host's stage 2 at `level` would map as the hypervisor's.
    pub fn withhold(&mut self, ipa: u64, level: u64) {
        self.stage2.map(ipa, level, 1 << 2);
    }

    /// Adds a page to the hypervisor's stage 1. `bits` are more bits of it.
    pub fn own(&mut self, va: u64, pa: u64, bits: u64) {
        self.hypervisor.map(va, 3, pa | STAGE1_LEAF | bits);
    }

    /// Returns the registers that lead to the tables.
    pub fn registers(&self) -> BTreeMap<&'static str, u64> {
        let tcr = 5 << 32 | 16 << 16 | 16;
        let mut registers = registers(0);
        registers.retain(|name, _| *name == "VTCR_EL2");
        registers.extend([("HCR_EL2", HCR | HCR_E2H), ("VTTBR_EL2", self.stage2.root)]);
        registers.extend([("TTBR0_EL2", self.hypervisor.root), ("TCR_EL2", tcr)]);
        registers
    }

    /// Returns the tables' pages, by physical address.
    pub fn pages(&self) -> BTreeMap<u64, Vec<u8>> {
        self.stage2.pages().chain(self.hypervisor.pages()).collect()
    }
}

/// One stage.
#[derive(Debug)]
struct Tables {
    root: u64,
    /// The level of the root.
    start: u64,
    /// The tables by the address that descriptors have, one behind the other.
    tables: BTreeMap<u64, [u64; WORDS]>,
}

impl Tables {
    fn new(root: u64, start: u64) -> Self {
        let mut new = Self { root, start, tables: BTreeMap::new() };
        // 40 bits from level 1 need two tables, 48 bits from level 0 need one.
        for _ in 0..=start {
            new.table();
        }
        new
    }

    /// Makes one more table and returns its address.
    fn table(&mut self) -> u64 {
        let at = self.root + self.tables.len() as u64 * PAGE;
        self.tables.insert(at, [0; WORDS]);
        at
    }

    fn map(&mut self, input: u64, leaf: u64, descriptor: u64) {
        let mut table = self.root;
        for level in self.start..leaf {
            let at = self.place(table, level, input);
            let known = *self.word(at) & 0xffff_ffff_f000;
            table = if known != 0 { known } else { self.table() };
            *self.word(at) = table | 0b11;
        }
        // Bit 1 distinguishes a page, which is at level 3 only, from a block.
        let page = if leaf == 3 { 0b10 } else { 0 };
        let at = self.place(table, leaf, input);
        *self.word(at) = descriptor | page;
    }

    /// Returns the address of the descriptor for `input`.
    fn place(&self, table: u64, level: u64, input: u64) -> u64 {
        let index = input >> (39 - 9 * level);
        // The start tables are one table with twice as many entries.
        table + 8 * (index & if level == self.start { 1023 } else { 511 })
    }

    fn word(&mut self, at: u64) -> &mut u64 {
        let table = self.tables.entry(at - at % PAGE).or_insert([0; WORDS]);
        &mut table[(at % PAGE / 8) as usize]
    }

    fn pages(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.tables
            .iter()
            .map(|(at, words)| (*at, words.iter().flat_map(|word| word.to_le_bytes()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(pages: &BTreeMap<u64, Vec<u8>>, at: u64) -> u64 {
        let page = &pages[&(at - at % PAGE)][(at % PAGE) as usize..];
        u64::from_le_bytes(page[..8].try_into().unwrap())
    }

    /// The descriptors and places were worked out by hand.
    #[test]
    fn both_stages_are_as_the_architecture_has_them() {
        let mut guest = GuestTables::new(0x7d9);
        guest.back(0x80_8020_0000, 2, 0x80_0020_07d5);
        guest.map(0xffff_8000_1000, 0x80_8000_1000, 2);
        let pages = guest.pages();
        // IPA 0x40100000: entry 1 of level 1, 0 of level 2, 256 of level 3; the two start tables
        // come first.
        assert_eq!(word(&pages, 0x5000_0008), 0x5000_2003);
        assert_eq!(word(&pages, 0x5000_2000), 0x5000_3003);
        assert_eq!(word(&pages, 0x5000_3800), 0x5810_07db);
        // IPA 0x8080200000 is in the second start table: entry 514 of level 1, 1 of level 2.
        assert_eq!(word(&pages, 0x5000_1010), 0x5000_4003);
        assert_eq!(word(&pages, 0x5000_4008), 0x80_0020_07d5);
        // VA 0xffff80001000: entries 511, 510, 0, 1, in tables at 0x18000000 above the guest's
        // addresses.
        assert_eq!(word(&pages, 0x5810_0ff8), 0x4010_1003);
        assert_eq!(word(&pages, 0x5810_1ff0), 0x4010_2003);
        assert_eq!(word(&pages, 0x5810_2000), 0x4010_3003);
        assert_eq!(word(&pages, 0x5810_3008), 0x80_8000_174b);
        assert_eq!(pages.len(), 5 + 4);
    }
}
