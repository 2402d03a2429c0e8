//! The page tables of a guest, as KVM and the guest's kernel would have written them (DDI 0487, D8, "Translation table
//! descriptor formats"): stage 2 with 40 bits of IPA from level 1, stage 1 with 48 bits of VA from level 0, all of 4 KiB.

use std::collections::BTreeMap;

/// Physical address of the start tables of stage 2, two in a row.
pub const STAGE2_ROOT: u64 = 0x5000_0000;
/// IPA of the guest's stage-1 tables.
pub const STAGE1_ROOT: u64 = 0x4010_0000;
/// What stage 2 adds to the IPAs of guest RAM.
pub const GUEST_OFFSET: u64 = 0x1800_0000;
/// IPA of the first device's BAR.
pub const BAR_IPA: u64 = 0x80_8000_0000;
/// Physical address of the first device's BAR.
pub const BAR_PA: u64 = 0x80_0000_0000;
/// From one device's BAR to the next, IPA and PA: the largest BAR.
pub const BAR_STRIDE: u64 = 1 << 30;
/// Virtual address of the guest's first mapping of a BAR.
const BAR_VA: u64 = 0xffff_8000_0000;
/// Pages of guest RAM that stage 2 maps: the stage-1 tables and a little more.
const GUEST_PAGES: u64 = 64;
const PAGE: u64 = 4096;
const BLOCK: u64 = 2 << 20;

/// Stage-2 leaves beside address and level: valid, S2AP rw, SH inner, AF. MemAttr as with FEAT_S2FWB (DDI 0487, D8).
const STAGE2: u64 = 1 | 0b11 << 6 | 0b11 << 8 | 1 << 10;
/// XN\[1\].
pub const NEVER_EXEC: u64 = 1 << 54;
/// A BAR on a kernel without the series.
pub const DEVICE: u64 = STAGE2 | 0b0001 << 2 | NEVER_EXEC;
/// A BAR on a kernel with the series.
pub const NORMAL_NC: u64 = STAGE2 | 0b0101 << 2 | NEVER_EXEC;
/// Guest RAM.
pub const NORMAL_WB: u64 = STAGE2 | 0b0110 << 2;
/// Valid, AP\[1\] (EL0), SH inner, AF, nG; for pages also bit 1. AttrIndx is in 4:2.
const STAGE1: u64 = 1 | 1 << 6 | 0b11 << 8 | 1 << 10;
/// Linux's MAIR_EL1: 2 is Normal-NC, 4 is Device-nGnRE (arch/arm64/include/asm/memory.h, MT_NORMAL_NC and
/// MT_DEVICE_nGnRE, numbered for this table).
const MAIR: u64 = 0x04_0044_00ff;
const INDEX_NC: u64 = 2;
const INDEX_DEVICE: u64 = 4;

/// A BAR that a guest has mapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedBar {
    /// Which of the host's devices, from 0.
    pub(crate) device: u64,
    pub(crate) size: u64,
    pub(crate) wc: bool,
    /// Stage 2 has it.
    pub(crate) touched: bool,
}

/// Virtual address of the guest's `index`-th mapping.
pub(crate) fn mapping_va(index: u64) -> u64 {
    BAR_VA - index * BAR_STRIDE
}

pub(crate) fn bar_ipa(device: u64) -> u64 {
    BAR_IPA + device * BAR_STRIDE
}

pub(crate) fn bar_pa(device: u64) -> u64 {
    BAR_PA + device * BAR_STRIDE
}

/// The registers of a vCPU that runs the guest, by the gdbstub's names.
pub(crate) fn registers(vmid: u64, nonce: u64) -> BTreeMap<&'static str, u64> {
    [
        // EL0t.
        ("cpsr", 0),
        ("x19", nonce),
        // FWB, RW, VM.
        ("HCR_EL2", 1 << 46 | 1 << 31 | 1),
        ("VTTBR_EL2", STAGE2_ROOT | vmid << 48),
        // PS 40 bits, SL0 level 1, T0SZ 24.
        ("VTCR_EL2", 1 << 31 | 2 << 16 | 1 << 6 | 24),
        ("TTBR0_EL1", STAGE1_ROOT),
        ("TTBR1_EL1", 0),
        // IPS 48 bits, 48 bits of VA in both halves.
        ("TCR_EL1", 5 << 32 | 16 << 16 | 16),
        ("MAIR_EL1", MAIR),
        ("SCTLR", 1),
    ]
    .into()
}

/// All pages of both stages, by physical address.
pub(crate) fn build(bars: &[MappedBar], bar_leaf: u64, ram_leaf: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut stage2 = Tables::new(STAGE2_ROOT, 0, 1);
    let mut stage1 = Tables::new(STAGE1_ROOT, GUEST_OFFSET, 0);
    for n in 0..GUEST_PAGES {
        let ipa = STAGE1_ROOT + n * PAGE;
        stage2.map(ipa, 3, (ipa + GUEST_OFFSET) | ram_leaf);
    }
    for (index, bar) in (0..).zip(bars) {
        for offset in (0..bar.size).step_by(PAGE as usize) {
            let attributes = if bar.wc { INDEX_NC } else { INDEX_DEVICE } << 2;
            stage1.map(mapping_va(index) + offset, 3, (bar_ipa(bar.device) + offset) | STAGE1 | attributes);
        }
        let (level, span) = if bar.size % BLOCK == 0 { (2, BLOCK) } else { (3, PAGE) };
        for offset in (0..bar.size).step_by(span as usize).filter(|_| bar.touched) {
            stage2.map(bar_ipa(bar.device) + offset, level, (bar_pa(bar.device) + offset) | bar_leaf);
        }
    }
    stage2.pages.into_iter().chain(stage1.pages).collect()
}

struct Tables {
    pages: BTreeMap<u64, Vec<u8>>,
    root: u64,
    next: u64,
    /// From the address in a descriptor to the physical one.
    offset: u64,
    start: u64,
}

impl Tables {
    fn new(root: u64, offset: u64, start: u64) -> Self {
        let mut new = Self { pages: BTreeMap::new(), root, next: root, offset, start };
        // 40 bits from level 1 take two tables, 48 from level 0 one.
        for _ in 0..=start {
            new.table();
        }
        new
    }

    fn table(&mut self) -> u64 {
        let at = self.next;
        self.pages.insert(at + self.offset, vec![0; PAGE as usize]);
        self.next += PAGE;
        at
    }

    fn map(&mut self, input: u64, leaf: u64, descriptor: u64) {
        let mut table = self.root;
        for level in self.start..=leaf {
            let mask = if level == self.start { 1023 } else { 511 };
            let at = table + 8 * ((input >> (39 - 9 * level)) & mask);
            if level == leaf {
                let page = if leaf == 3 { 0b10 } else { 0 };
                self.set(at, descriptor | page);
                return;
            }
            let known = self.get(at) & 0xffff_ffff_f000;
            table = if known != 0 { known } else { self.table() };
            self.set(at, table | 0b11);
        }
    }

    fn word(&mut self, at: u64) -> Option<&mut [u8]> {
        let place = (at % PAGE) as usize;
        self.pages.get_mut(&(at - at % PAGE + self.offset))?.get_mut(place..place + 8)
    }

    fn get(&mut self, at: u64) -> u64 {
        let bytes = self.word(at).and_then(|word| <[u8; 8]>::try_from(&*word).ok());
        bytes.map(u64::from_le_bytes).unwrap_or_default()
    }

    fn set(&mut self, at: u64, value: u64) {
        if let Some(word) = self.word(at) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
}
