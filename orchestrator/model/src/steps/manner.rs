//! The manner of the accesses of a step: its defaults, which are not written, and its words.
//!
//! The keys stand in each step. In one struct with serde's `flatten` a key that this s2lab does not
//! know would pass unseen.

use crate::scenario::Size;
use s2lab_protocol::{Barrier, By, GRAIN, Manner, Order, USUAL_SEED};
use std::fmt;

pub(super) fn is_sequential(order: &Order) -> bool {
    *order == Order::Sequential
}

pub(super) fn usual_seed() -> u32 {
    USUAL_SEED
}

pub(super) fn is_usual_seed(seed: &u32) -> bool {
    *seed == USUAL_SEED
}

pub(super) fn is_without_barrier(barrier: &Barrier) -> bool {
    *barrier == Barrier::None
}

pub(super) fn usual_chunk() -> Size {
    Size(GRAIN)
}

pub(super) fn is_usual_chunk(chunk: &Size) -> bool {
    *chunk == usual_chunk()
}

pub(crate) fn usual_vcpus() -> u32 {
    1
}

pub(crate) fn is_usual_vcpus(vcpus: &u32) -> bool {
    *vcpus == usual_vcpus()
}

/// The instructions and the manner of accesses in a line: ` by dgh order strided chunk 256`, or
/// nothing if all is as usual.
pub(super) struct MannerWords(pub(super) Option<By>, pub(super) Manner);

impl fmt::Display for MannerWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, Manner { order, seed, barrier, from, chunk, vcpus }) = (self.0, self.1);
        let usual = Manner::default();
        let mut pair = |key: &str, value: &dyn fmt::Display, is_usual: bool| match is_usual {
            true => Ok(()),
            false => write!(f, " {key} {value}"),
        };
        by.map_or(Ok(()), |by| pair("by", &by, false))?;
        pair("order", &order, order == usual.order)?;
        pair("seed", &seed, seed == usual.seed)?;
        pair("barrier", &barrier, barrier == usual.barrier)?;
        pair("from", &Size(from), from == usual.from)?;
        pair("chunk", &Size(chunk), chunk == usual.chunk)?;
        pair("vcpus", &vcpus, vcpus == usual.vcpus)
    }
}

impl MannerWords {
    /// Reads the words of a line. The caller compares what the result prints.
    pub(super) fn read(words: &[&str]) -> Option<Self> {
        let (mut by, mut manner) = (None, Manner::default());
        let size = |text: &str| match text {
            "0" => Some(0),
            _ => Size::try_from(text.to_owned()).ok().map(|size| size.0),
        };
        let (pairs, []) = words.as_chunks::<2>() else { return None };
        for [key, value] in pairs {
            match *key {
                "by" => by = Some(crate::lines::one_of(By::ALL, value)?),
                "order" => manner.order = crate::lines::one_of(Order::ALL, value)?,
                "seed" => manner.seed = value.parse().ok()?,
                "barrier" => manner.barrier = crate::lines::one_of(Barrier::ALL, value)?,
                "from" => manner.from = size(value)?,
                "chunk" => manner.chunk = size(value)?,
                "vcpus" => manner.vcpus = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(Self(by, manner))
    }
}
