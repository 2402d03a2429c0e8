//! Random tables of stage 1, whose own places are IPAs.

use crate::{
    attributes::SH,
    encode::{Format, LAST, Place, Tree},
    features::{PAGE_BITS, Support, size_bits},
    questions::Judge,
    stage2::{self, Leaf, Leaves, Stage2},
};

const LEAVES: usize = 20;
/// Bits 58:55, 51 (dirty bit modifier), 50 (guarded page), 11 (nG) and 5 (NS) of a leaf.
const IGNORED: u64 = 0b1111 << 55 | 0b11 << 50 | 1 << 11 | 1 << 5;
/// Ignored bits of a table descriptor.
const IGNORED_OF_TABLES: u64 = 0xff << 51 | 0b11 << 10 | 0b11_1111 << 2;
/// NSTable, APTable, UXNTable, PXNTable.
const HIERARCHICAL: u64 = 0b1_1111 << 59;
const AF: u64 = 1 << 10;

/// Tables of stage 1, and the registers for them.
pub(crate) struct Stage1 {
    pub(crate) tree: Tree,
    pub(crate) ttbr: [u64; 2],
    pub(crate) tcr: u64,
    pub(crate) leaves: Leaves,
}

/// Returns random tables, or None like [`stage2::make`].
pub(crate) fn make(judge: &mut Judge, stage2: &mut Stage2) -> Option<Stage1> {
    let features = judge.features;
    let random = &mut judge.random;
    let at = random.below(3) as usize;
    let support = features.granules[0][at];
    if support == Support::No {
        return None;
    }
    let page_bits = PAGE_BITS[at];
    let ds = support == Support::WithLpa2 && random.once_in(2);
    let most = if ds || page_bits == 16 && features.large_va { 52 } else { 48 };
    let fewest = features.fewest_bits(page_bits);
    let any = fewest + random.below(u64::from(most - fewest + 1)) as u32;
    let mut bits = if random.once_in(4) { most } else { any };
    if random.once_in(4) {
        // A start table of two or four descriptors.
        let small = bits - (bits - page_bits - 1) % (page_bits - 3) + random.below(2) as u32;
        bits = small.clamp(fewest, most);
    }
    let ips = if !random.once_in(3) { features.pa_range } else { random.below(features.pa_range + 1) };
    let wide = ds || page_bits == 16;
    let format = Format { page_bits, ds, output_bits: size_bits(ips).min(if wide { 52 } else { 48 }) };
    let start = LAST - ((bits - 1 - page_bits) / format.stride()) as i32;
    let size = Tree::root_size(&format, start, bits).max(64);
    let (root, ipa) = place(judge, stage2, size, format.output_bits)?;
    let random = &mut judge.random;
    let base = format.base(ipa) | random.bits(16) << 48 | random.below(2);
    // Both halves have the same tables, or one has none.
    let epd = random.one_of(&[0, 0, 0, 0, 1, 1 << 16]);
    let size = u64::from(64 - bits);
    let (tg0, tg1) = ([0, 2, 1][at], [2, 1, 3][at]);
    let tcr = size
        | size << 16
        | epd << 7
        | tg0 << 14
        | tg1 << 30
        | random.one_of(&SH) << 12
        | random.one_of(&SH) << 28
        | ips << 32
        | random.bits(2) << 37
        | if random.once_in(4) { random.bits(2) << 41 } else { 0 }
        | u64::from(ds) << 59;
    let leaves = stage2::Leaves::none();
    let mut stage1 = Stage1 { tree: Tree::new(format, start, bits, root), ttbr: [base; 2], tcr, leaves };
    fill(judge, &mut stage1, stage2);
    Some(stage1)
}

/// Returns memory for a table of `size` bytes, and its IPA of at most `bits` bits.
fn place(judge: &mut Judge, stage2: &mut Stage2, size: u64, bits: u32) -> Option<(u64, u64)> {
    let size = size.max(1 << stage2.tree.format.page_bits);
    let memory = judge.free.take(size, size)?;
    Some((memory, stage2.map(judge, memory, size, bits)?))
}

fn fill(judge: &mut Judge, stage1: &mut Stage1, stage2: &mut Stage2) {
    for _ in 0..LEAVES {
        let random = &mut judge.random;
        let format = stage1.tree.format;
        let attributes = random.bits(3) << 2
            | random.bits(2) << 6
            | format.shareability(random.one_of(&SH))
            | if random.once_in(8) { 0 } else { AF }
            | random.bits(2) << 53
            | random.word() & IGNORED;
        let input = stage2::address(random, &stage1.leaves, stage1.tree.bits);
        // Mostly an IPA that stage 2 maps.
        let output = match stage2.leaves.any(random) {
            Some(Leaf { input, bits, .. }) if !random.once_in(5) => input + random.bits(bits),
            _ => random.bits(format.output_bits),
        };
        let output = output & ((1 << format.output_bits) - 1);
        let leaf = stage2::put(judge, &mut stage1.tree, input, output, attributes, &mut |judge, page| {
            let (memory, address) = place(judge, stage2, page, format.output_bits)?;
            let random = &mut judge.random;
            let permissions = if random.once_in(3) { random.word() & HIERARCHICAL } else { 0 };
            let bits = random.word() & IGNORED_OF_TABLES | permissions;
            Some(Place { address, memory, bits })
        });
        if let Some(leaf) = leaf {
            stage1.leaves.push(leaf);
        }
    }
}
