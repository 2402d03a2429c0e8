//! Every field of MAIR_EL1 with every MemAttr of stage 2, with and without FEAT_S2FWB.

use crate::{
    encode::{Format, Tree},
    questions::Judge,
};
use s2lab_judge_records::{Access, Regime};

/// The IPAs and VAs of the pages, which are in one table each.
const PAGES: u64 = 0x8000_0000;
/// SH: not shareable, outer, inner.
pub(crate) const SH: [u64; 3] = [0b00, 0b10, 0b11];
const AF: u64 = 1 << 10;
const MEM_ATTRS: u64 = 16;
const INDEXES: u64 = 8;

/// Bits of the registers that are the same in all of the judge's regimes.
pub(crate) mod fixed {
    /// HCR_EL2: VM, and RW (EL1 is AArch64).
    pub(crate) const HCR: u64 = 1 | 1 << 31;
    /// HCR_EL2.FWB.
    pub(crate) const FWB: u64 = 1 << 46;
    /// VTCR_EL2, bit 31, which is RES1.
    pub(crate) const VTCR: u64 = 1 << 31;
    /// SCTLR_EL1.M and C.
    pub(crate) const SCTLR: u64 = 1 | 1 << 2;
}

/// Asks all of it: 16 x 3 pages of stage 2, each by 8 pages of stage 1, under 32 values of MAIR_EL1.
pub(crate) fn ask(judge: &mut Judge) {
    let bits = judge.features.pa_bits.min(39);
    let format = Format { page_bits: 12, ds: false, output_bits: judge.features.pa_bits };
    let Some(mut stage2) = tree(judge, format, bits) else { return };
    let Some(mut stage1) = tree(judge, format, 39) else { return };
    let free = &mut judge.free;
    for (page, sh) in (0..MEM_ATTRS).flat_map(|page| SH.map(|sh| (page, sh))) {
        let number = page * 4 + sh;
        // Read and write; a physical address without memory is never used.
        let bits = page << 2 | 0b11 << 6 | sh << 8 | AF;
        stage2.page(free, PAGES + number * 0x1000, 0x1_0000_0000 + number * 0x1000, bits);
        for index in 0..INDEXES {
            let random = judge.random.one_of(&SH);
            let va = PAGES + (number * INDEXES + index) * 0x1000;
            stage1.page(free, va, PAGES + number * 0x1000, index << 2 | random << 8 | AF);
        }
    }
    // Stage 1's own tables, at IPAs that are their addresses: write-back.
    for memory in [stage1.root].into_iter().chain(stage1.tables().iter().map(|table| table.memory)) {
        stage2.page(free, memory, memory, 0b1111 << 2 | 0b11 << 6 | AF);
    }
    let fwb: &[u64] = if judge.features.fwb { &[0, fixed::FWB] } else { &[0] };
    for (fwb, eight) in fwb.iter().flat_map(|fwb| (0..256 / INDEXES).map(move |eight| (fwb, eight))) {
        let mair = (0..INDEXES).fold(0, |mair, index| mair | (eight * INDEXES + index) << (8 * index));
        let entered = judge.enter(&Regime {
            vttbr: stage2.root | 1 << 48,
            vtcr: fixed::VTCR | u64::from(64 - bits) | 1 << 6 | judge.features.pa_range << 16,
            hcr: fixed::HCR | fwb,
            ttbr0: stage1.root,
            ttbr1: 0,
            // T0SZ 25, and EPD1.
            tcr: 25 | 1 << 23 | judge.features.pa_range << 32,
            mair,
            sctlr: fixed::SCTLR,
        });
        if !entered {
            return;
        }
        for number in (0..MEM_ATTRS).flat_map(|page| SH.map(|sh| page * 4 + sh)) {
            for index in 0..INDEXES {
                judge.ask(Access::Read, PAGES + (number * INDEXES + index) * 0x1000);
            }
        }
    }
}

/// Returns an empty tree that starts at level 1.
pub(crate) fn tree(judge: &mut Judge, format: Format, bits: u32) -> Option<Tree> {
    let size = Tree::root_size(&format, 1, bits).max(0x1000);
    let root = judge.free.take(size, size)?;
    Some(Tree::new(format, 1, bits, root))
}
