//! Random tables of stage 2.

use crate::{
    attributes::{SH, fixed},
    encode::{Format, LAST, Place, Tree},
    features::{PAGE_BITS, Support, size_bits},
    questions::Judge,
    ram,
    random::Random,
};

/// The leaves that are tried. Some have no place.
const LEAVES: usize = 20;
/// Bits 58:55 and 51 of a leaf: software's, and the dirty bit modifier, which has no effect with
/// VTCR_EL2.HD clear.
const IGNORED: u64 = 0b1111 << 55 | 1 << 51;
/// Bits of a table descriptor that are ignored at stage 2, and hierarchical permissions at stage 1.
const IGNORED_OF_TABLES: u64 = 0xff << 51 | 0b11 << 10 | 0b11_1111 << 2;
/// Values of MemAttr that are defined with and without FEAT_S2FWB.
const DEFINED: [u64; 7] = [0, 1, 2, 3, 5, 6, 7];
const AF: u64 = 1 << 10;
const CONTIGUOUS: u64 = 1 << 52;

/// A block or page, or a group of them.
#[derive(Clone, Copy)]
pub(crate) struct Leaf {
    pub(crate) input: u64,
    pub(crate) output: u64,
    /// log2 of the bytes.
    pub(crate) bits: u32,
}

/// The leaves of a tree.
pub(crate) struct Leaves {
    all: [Leaf; LEAVES],
    count: usize,
}

impl Leaves {
    /// No leaves.
    pub(crate) fn none() -> Self {
        Self { all: [Leaf { input: 0, output: 0, bits: 0 }; LEAVES], count: 0 }
    }

    /// Adds a leaf, if there is room.
    pub(crate) fn push(&mut self, leaf: Leaf) {
        if let Some(place) = self.all.get_mut(self.count) {
            *place = leaf;
            self.count += 1;
        }
    }

    /// Returns one of the leaves, or None if there are none.
    pub(crate) fn any(&self, random: &mut Random) -> Option<Leaf> {
        (self.count > 0).then(|| random.one_of(&self.all[..self.count]))
    }
}

/// Tables of stage 2, and the registers for them.
pub(crate) struct Stage2 {
    pub(crate) tree: Tree,
    pub(crate) vttbr: u64,
    pub(crate) vtcr: u64,
    pub(crate) leaves: Leaves,
    /// An IPA near which stage 1's tables are.
    near: u64,
}

/// Returns random tables, or None if there is no memory or this CPU has no tables of the drawn kind.
pub(crate) fn make(judge: &mut Judge) -> Option<Stage2> {
    let features = judge.features;
    let random = &mut judge.random;
    let at = random.below(3) as usize;
    let support = features.granules[1][at];
    if support == Support::No {
        return None;
    }
    let page_bits = PAGE_BITS[at];
    let ds = support == Support::WithLpa2 && random.once_in(2);
    let ps = if random.once_in(2) { features.pa_range } else { random.below(features.pa_range + 1) };
    let wide = ds || page_bits == 16;
    let format = Format { page_bits, ds, output_bits: size_bits(ps).min(if wide { 52 } else { 48 }) };
    // DDI 0487, VTCR_EL2.SL0: which start levels there are.
    let start = random.below(5) as i32 - 1;
    let (sl0, sl2) = match (page_bits, start) {
        (12, -1) if ds => (0, 1),
        (12, 0) if features.pa_bits >= 44 => (2, 0),
        (12, 3) if features.small_tables => (3, 0),
        (12, 1 | 2) => (2 - start as u64, 0),
        (14, 0) if ds => (3, 0),
        (14, 1) if features.pa_bits >= 42 => (2, 0),
        (16, 1) if features.pa_bits >= 44 => (2, 0),
        (14 | 16, 2 | 3) => (3 - start as u64, 0),
        _ => return None,
    };
    // Up to 16 tables in a row.
    let span = format.span_bits(start);
    let fewest = (span + 1).max(features.fewest_bits(page_bits));
    let most = if ds || page_bits == 16 && features.pa_bits == 52 { 52 } else { 48 };
    let most = (span + format.stride() + 4).min(features.pa_bits).min(most);
    if fewest > most {
        return None;
    }
    let bits =
        if random.once_in(4) { most } else { fewest + random.below(u64::from(most - fewest + 1)) as u32 };
    let size = Tree::root_size(&format, start, bits).max(64);
    let root = judge.free.take(size, size)?;
    let tg0 = [0, 2, 1][at];
    let vtcr = fixed::VTCR
        | u64::from(64 - bits)
        | sl0 << 6
        | random.one_of(&SH) << 12
        | tg0 << 14
        | ps << 16
        | random.below(2) << 19
        | u64::from(ds) << 32
        | sl2 << 33;
    // CnP and the VMID change nothing.
    let vttbr = format.base(root) | random.bits(16) << 48 | random.below(2);
    let near = random.bits(bits);
    let tree = Tree::new(format, start, bits, root);
    let mut stage2 = Stage2 { tree, vttbr, vtcr, leaves: Leaves::none(), near };
    fill(judge, &mut stage2);
    Some(stage2)
}

fn fill(judge: &mut Judge, stage2: &mut Stage2) {
    let permissions: &[u64] = if judge.refusals { &[0b11, 0b11, 0b11, 0b01, 0b10, 0b00] } else { &[0b11] };
    for _ in 0..LEAVES {
        let random = &mut judge.random;
        let attributes = random.bits(4) << 2
            | random.one_of(permissions) << 6
            | stage2.tree.format.shareability(random.one_of(&SH))
            | if random.once_in(8) { 0 } else { AF }
            | random.bits(2) << 53
            | random.word() & IGNORED;
        let input = address(random, &stage2.leaves, stage2.tree.bits);
        let output = random.bits(stage2.tree.format.output_bits);
        let leaf = put(judge, &mut stage2.tree, input, output, attributes, &mut |judge, page| {
            let place = Place::of(&mut judge.free, page)?;
            Some(Place { bits: judge.random.word() & IGNORED_OF_TABLES, ..place })
        });
        if let Some(leaf) = leaf {
            stage2.leaves.push(leaf);
        }
    }
}

/// Returns a random address of `bits` bits. Mostly it is near another leaf, so that they share
/// tables.
pub(crate) fn address(random: &mut Random, leaves: &Leaves, bits: u32) -> u64 {
    let low = random.below(u64::from(bits)) as u32;
    match leaves.any(random) {
        Some(leaf) if !random.once_in(4) => leaf.input ^ random.bits(low),
        _ => random.bits(bits),
    }
}

/// Writes a leaf, or something that is not quite one, for `input`. Returns None if there is no
/// place for it.
pub(crate) fn put(
    judge: &mut Judge,
    tree: &mut Tree,
    input: u64,
    output: u64,
    attributes: u64,
    table: &mut dyn FnMut(&mut Judge, u64) -> Option<Place>,
) -> Option<Leaf> {
    let format = tree.format;
    let random = &mut judge.random;
    let mut level = tree.start + random.below((LAST - tree.start + 1) as u64) as i32;
    if level < LAST && !format.has_blocks(level) && !random.once_in(6) {
        level = LAST;
    }
    let span = format.span_bits(level);
    let group = format.group(level).filter(|_| random.once_in(6)).unwrap_or(1);
    let bits = span + group.ilog2();
    if bits > tree.bits {
        return None;
    }
    let aligned = !((1 << bits) - 1);
    let (input, mut output) = (input & aligned, output & aligned);
    if level < LAST && random.once_in(3) {
        // Address bits below the size of a block are ignored.
        output |= random.bits(span) & !((1 << format.page_bits) - 1);
    }
    let most = if format.ds || format.page_bits == 16 && format.output_bits == 52 { 52 } else { 48 };
    let beyond = (format.output_bits < most)
        .then(|| 1 << (u64::from(format.output_bits) + random.below(u64::from(most - format.output_bits))));
    let leaf_beyond = beyond.filter(|_| random.once_in(12)).unwrap_or(0);
    let (table_beyond, invalid, reserved) = (random.once_in(60), random.once_in(12), random.once_in(16));
    let contiguous = if group > 1 { CONTIGUOUS } else { 0 };
    for n in 0..group {
        let step = n << span;
        let mut make = || {
            let mut place = table(judge, 1 << format.page_bits)?;
            if let Some(beyond) = beyond.filter(|_| table_beyond) {
                place.address |= beyond;
            }
            Some(place)
        };
        let at = tree.slot(input + step, level, &mut make)?;
        if ram::word(at) != 0 {
            return None;
        }
        let mut word = format.leaf(level, output + step | leaf_beyond, attributes | contiguous);
        if invalid {
            word &= !0b01;
        } else if reserved && level == LAST {
            word &= !0b10;
        }
        ram::set(at, word);
    }
    Some(Leaf { input, output, bits })
}

impl Stage2 {
    /// Maps memory for tables of stage 1 at an IPA of at most `bits` bits, and returns the IPA.
    /// `memory` and `size` are a power of two and multiples of a page of stage 2. Now and then the
    /// mapping has a defect.
    pub(crate) fn map(&mut self, judge: &mut Judge, memory: u64, size: u64, bits: u32) -> Option<u64> {
        let page = 1 << self.tree.format.page_bits;
        let bits = bits.min(self.tree.bits);
        // With HCR_EL2.PTW it matters if the type is Device, and reserved values leave that open.
        let attributes = judge.random.one_of(&DEFINED) << 2
            | if judge.refusals && judge.random.once_in(100) { 0b10 } else { 0b11 } << 6
            | if judge.random.once_in(100) { 0 } else { AF }
            | judge.random.word() & IGNORED;
        'places: for _ in 0..8 {
            let ipa = (self.near ^ judge.random.bits(22)) & ((1 << bits) - 1) & !(size - 1);
            for step in (0..size).step_by(page as usize) {
                let free = &mut judge.free;
                let slot = self.tree.slot(ipa + step, LAST, &mut || Place::of(free, page));
                let Some(at) = slot else { continue 'places };
                if ram::word(at) != 0 {
                    continue 'places;
                }
                ram::set(at, self.tree.format.leaf(LAST, memory + step, attributes));
            }
            return Some(ipa);
        }
        None
    }
}
