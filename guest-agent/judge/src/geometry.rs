//! Random registers and tables of both stages, and addresses that meet them.

use crate::{
    attributes::fixed,
    questions::Judge,
    random::Random,
    stage1::{self, Stage1},
    stage2::{self, Stage2},
};
use s2lab_judge_records::{Access, Regime};

/// The addresses of a regime.
const ADDRESSES: u64 = 32;
/// Bits of HCR_EL2.
const PTW: u64 = 1 << 2;
const DC: u64 = 1 << 12;
/// Fields of MAIR_EL1 that the architecture defines: Device, Normal, and mixed ones.
const MAIR: [u64; 12] = [0x00, 0x04, 0x08, 0x0c, 0x44, 0xff, 0xbb, 0xf0, 0x77, 0x4f, 0xb4, 0xfb];

/// Asks about one regime.
pub(crate) fn ask(judge: &mut Judge) {
    let Some(mut stage2) = (0..16).find_map(|_| stage2::make(judge)) else { return };
    // One in eight guests has its MMU off, one in sixteen by HCR_EL2.DC.
    let off = judge.random.once_in(8);
    let stage1 = if off { None } else { (0..16).find_map(|_| stage1::make(judge, &mut stage2)) };
    let random = &mut judge.random;
    let dc = if random.once_in(16) || stage1.is_none() && random.once_in(2) { DC } else { 0 };
    let fwb = if judge.features.fwb && random.once_in(2) { fixed::FWB } else { 0 };
    let hcr = fixed::HCR | dc | fwb | if random.once_in(8) { PTW } else { 0 };
    let mair = (0..8).fold(0, |mair, _| mair << 8 | random.one_of(&MAIR));
    let cache = if random.once_in(10) { 1 << 2 } else { 0 };
    let (ttbr, tcr) = stage1.as_ref().map_or(([0; 2], random.bits(2) << 37), |of| (of.ttbr, of.tcr));
    let mut regime = Regime {
        vttbr: stage2.vttbr,
        vtcr: stage2.vtcr,
        hcr,
        ttbr0: ttbr[0],
        ttbr1: ttbr[1],
        tcr,
        mair,
        sctlr: if stage1.is_some() { fixed::SCTLR & !cache } else { 0 },
    };
    if random.once_in(12) {
        bend(judge, &mut regime);
    }
    if !judge.enter(&regime) {
        return;
    }
    for _ in 0..ADDRESSES {
        let address = match &stage1 {
            Some(stage1) => virtual_address(&mut judge.random, stage1, &stage2),
            None => physical_address(&mut judge.random, &stage2),
        };
        for access in Access::ASKED {
            judge.ask(access, address);
        }
    }
}

/// Changes fields so that the registers may fit no tables.
fn bend(judge: &mut Judge, regime: &mut Regime) {
    let features = judge.features;
    let random = &mut judge.random;
    // Sizes that this CPU has, and smaller ones than any. 64K tables have one less.
    let size = 64 - features.fewest_bits(12) as u64;
    let size = if features.large_va { random.below(size + 1) } else { 16 + random.below(size - 15) };
    match random.below(5) {
        0 => regime.vtcr = regime.vtcr & !0x3f | size,
        // Start level 3 needs FEAT_TTST with 4K tables.
        1 if features.pa_bits >= 44 && features.small_tables => regime.vtcr ^= (1 + random.below(3)) << 6,
        // A start table that is mostly out of reach.
        2 => regime.vttbr |= 1 << (32 + random.below(16)),
        3 => {
            let beyond = 1 << (32 + random.below(16));
            (regime.ttbr0, regime.ttbr1) = (regime.ttbr0 | beyond, regime.ttbr1 | beyond);
        }
        _ => regime.tcr = regime.tcr & !0x3f_003f | size | size << 16,
    }
}

/// Returns an address near what stage 2 maps.
fn physical_address(random: &mut Random, stage2: &Stage2) -> u64 {
    let address = match stage2.leaves.any(random) {
        Some(leaf) => leaf.input + random.bits(leaf.bits),
        None => random.bits(stage2.tree.bits),
    };
    match random.below(4) {
        0 => address ^ 1 << random.below(u64::from(stage2.tree.bits)),
        1 => address ^ 1 << random.below(64),
        _ => address,
    }
}

/// Returns an address near what stage 1 maps, mostly one that stage 2 maps too.
fn virtual_address(random: &mut Random, stage1: &Stage1, stage2: &Stage2) -> u64 {
    let bits = stage1.tree.bits;
    let mut address = match stage1.leaves.any(random) {
        Some(leaf) => {
            let inside = match stage2.leaves.any(random) {
                // The part of the leaf that leads into a leaf of stage 2.
                Some(to) if !random.once_in(3) => to.input.wrapping_add(random.bits(to.bits)),
                _ => random.word(),
            };
            leaf.input | (inside.wrapping_sub(leaf.output) & ((1 << leaf.bits) - 1))
        }
        None => random.bits(bits),
    };
    if random.once_in(4) {
        address ^= 1 << random.below(u64::from(bits));
    }
    if random.once_in(2) {
        // The other half of the address space.
        address |= u64::MAX << bits;
    }
    match random.below(8) {
        // A tag, which counts only with TBI.
        0 | 1 => address & u64::MAX >> 8 | random.bits(8) << 56,
        2 => address ^ 1 << random.below(64),
        _ => address,
    }
}
