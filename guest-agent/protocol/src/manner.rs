//! The manner of a run of accesses to a BAR: its instructions, its order, its barriers, its vCPUs.

use crate::ask::pattern;
use crate::{Barrier, By, Order};
use serde::{Deserialize, Serialize};

/// The widths of an access in bytes.
pub const WIDTHS: [u32; 6] = [1, 2, 4, 8, 16, 64];
/// The most vCPUs of a guest.
pub const MOST_VCPUS: u32 = 2;
/// The widest access. The first byte of a run and the number of its bytes are multiples of it.
pub const GRAIN: u64 = 64;
/// The bytes of a word of the pattern. A chunk is a multiple of it.
pub const WORD: u64 = size_of::<u64>() as u64;
/// The seed of the order `random`, if none is given.
pub const USUAL_SEED: u32 = 1;
/// The distance of two chunks that follow each other in the order `strided`, in chunks.
const STRIDE: u64 = 8;
/// The most bytes of a [`Row`].
const ROW: u64 = 64 * 1024;

/// The manner of a run of accesses. The run is divided into chunks of equal length. The accesses
/// within a chunk have ascending addresses; the order is that of the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manner {
    pub order: Order,
    /// The seed of the order `random`.
    pub seed: u32,
    /// The barrier after each chunk.
    pub barrier: Barrier,
    /// The first byte in the BAR.
    pub from: u64,
    /// The bytes of a chunk.
    pub chunk: u64,
    /// The number of vCPUs. They take turns in the order of the chunks, and run at the same time.
    pub vcpus: u32,
}

impl Default for Manner {
    /// Accesses in ascending order from the start of the BAR, without barriers, on one vCPU.
    fn default() -> Self {
        let (order, barrier) = (Order::Sequential, Barrier::None);
        Manner { order, seed: USUAL_SEED, barrier, from: 0, chunk: GRAIN, vcpus: 1 }
    }
}

/// Bytes in a row, which are accessed in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The first byte in the BAR.
    pub offset: u64,
    pub bytes: u64,
    /// They are the end of a chunk: the barrier follows.
    pub ends: bool,
}

/// A value of a run that does not fit the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The key of a step that has the value.
    pub key: &'static str,
    pub why: String,
}

impl Manner {
    /// Returns true if it is the default, which is not printed.
    pub fn is_usual(&self) -> bool {
        *self == Manner::default()
    }

    /// Returns the first value with which `bytes` bytes cannot be accessed by `width` at a time.
    pub fn misfit(&self, width: u32, bytes: u64) -> Option<Misfit> {
        let Manner { order, seed, chunk, from, vcpus, .. } = *self;
        let misfit = |key, why| Some(Misfit { key, why });
        if !WIDTHS.contains(&width) {
            return misfit("width", format!("no access has {width} bytes; accesses have {WIDTHS:?}"));
        }
        if bytes == 0 || bytes % GRAIN != 0 {
            return misfit(
                "bytes",
                format!("the bytes of a step are a multiple of {GRAIN}, the widest access"),
            );
        }
        if from % GRAIN != 0 {
            return misfit("from", format!("the first byte is a multiple of {GRAIN}, the widest access"));
        }
        if from.checked_add(bytes).is_none() {
            return misfit("from", "the last byte is beyond every BAR".to_owned());
        }
        if chunk == 0 || chunk % WORD != 0 || chunk % u64::from(width) != 0 {
            return misfit("chunk", format!("a chunk is a multiple of {WORD} and of the width, {width}"));
        }
        if bytes % chunk != 0 {
            return misfit("chunk", format!("{bytes} bytes are not a whole number of chunks of {chunk}"));
        }
        if order != Order::Random && seed != USUAL_SEED {
            return misfit("seed", format!("only the order `random` has a seed, and this is `{order}`"));
        }
        if !(1..=MOST_VCPUS).contains(&vcpus) {
            return misfit("vcpus", format!("a guest has 1 to {MOST_VCPUS} vCPUs, not {vcpus}"));
        }
        if bytes / chunk < u64::from(vcpus) {
            return misfit("vcpus", format!("{vcpus} vCPUs need a chunk each: make `chunk` smaller"));
        }
        None
    }

    /// Yields the rows of the vCPU `vcpu`, from 0, in the order in which it accesses them. All
    /// vCPUs together have each of the `bytes` bytes once. Only for runs without a
    /// [`misfit`](Manner::misfit).
    pub fn rows(self, bytes: u64, vcpu: u32) -> impl Iterator<Item = Row> {
        // Chunks that follow each other without anything between them are one.
        let plain = self.order == Order::Sequential && self.barrier == Barrier::None && self.vcpus == 1;
        let chunk = if plain { bytes } else { self.chunk }.max(1);
        let turns = usize::try_from(self.vcpus).unwrap_or(1).max(1);
        let first = usize::try_from(vcpu).unwrap_or_default();
        self.chunks(bytes / chunk).skip(first).step_by(turns).flat_map(move |index| {
            let (start, end) = (self.from + index * chunk, self.from + (index + 1) * chunk);
            (start..end).step_by(ROW as usize).map(move |offset| {
                let bytes = (end - offset).min(ROW);
                Row { offset, bytes, ends: offset + bytes == end }
            })
        })
    }

    /// Yields the numbers of `count` chunks in their order.
    fn chunks(self, count: u64) -> Box<dyn Iterator<Item = u64>> {
        match self.order {
            Order::Sequential => Box::new(0..count),
            Order::Strided => {
                Box::new((0..STRIDE).flat_map(move |first| (first..count).step_by(STRIDE as usize)))
            }
            Order::Random => Box::new((0..count).map(move |at| shuffled(at, count, self.seed))),
        }
    }
}

/// Returns the place of `at` in a permutation of `0..count`, by a Feistel network on the smallest
/// domain of an even number of bits. A result outside of `0..count` is permuted again, so the whole
/// is a permutation, and nothing is stored.
fn shuffled(at: u64, count: u64, seed: u32) -> u64 {
    const ROUNDS: u64 = 4;
    let half = (u64::BITS - count.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut place = at;
    loop {
        let (mut left, mut right) = (place >> half, place & mask);
        for round in 0..ROUNDS {
            let mixed = pattern(u64::from(seed) << 32 | round, right * WORD) & mask;
            (left, right) = (right, left ^ mixed);
        }
        place = left << half | right;
        if place < count {
            return place;
        }
    }
}

impl By {
    /// Returns the usual instructions of a width.
    pub fn usual(width: u32) -> By {
        if width <= 8 { By::Str } else { By::Stp }
    }

    /// Returns the widths that they can store.
    pub fn widths(self) -> &'static [u32] {
        match self {
            By::Str => &[1, 2, 4, 8],
            By::Stp => &[16, 64],
            By::Q => &[16],
            By::St4 | By::Dgh => &[64],
        }
    }

    /// Returns the reason why they cannot store `width` bytes at a time.
    pub fn misfit(self, width: u32) -> Option<Misfit> {
        let why = || format!("`{self}` has no store of {width} bytes; it has those of {:?}", self.widths());
        (!self.widths().contains(&width)).then(|| Misfit { key: "by", why: why() })
    }

    /// Returns the number of store instructions of `bytes` bytes. DGH is a hint, not a store.
    pub fn stores(self, width: u32, bytes: u64) -> u64 {
        match self {
            By::Str => bytes / u64::from(width.max(1)),
            By::Stp | By::Q => bytes / 16,
            By::St4 => bytes / 64,
            By::Dgh => bytes / 8,
        }
    }
}

#[cfg(test)]
mod tests;
