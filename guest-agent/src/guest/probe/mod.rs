//! One access that may fault: a file for each kind of access.

mod atomic;
mod exclusive;
mod fetch;
mod load;
pub(crate) mod process;
mod store;
mod zva;

use super::{Guest, machine::Machine, machine::Target};
use crate::{agent::Answers, fault};
use s2lab_protocol::ask::{Probe, ProbeDone};
use s2lab_protocol::{Failure, ProbeKind};
use std::ptr::NonNull;

/// The word that accesses store. None of its bytes is usual in a BAR, and no two are equal.
const WORD: u64 = 0xa1b2_c3d4_e5f6_0718;

/// One kind of access. Neither function allocates anything or makes a system call.
pub(crate) trait Access {
    /// The bytes of the block that the access may touch, a power of two. None: the CPU does not
    /// have the instruction.
    fn block(&self) -> Option<u64>;

    /// Accesses the block at `block`, which is aligned to its size. Returns true if the bytes are
    /// those that the access makes.
    ///
    /// # Safety
    /// The bytes of the block are mapped. The access may raise a signal.
    unsafe fn access(&self, block: NonNull<u8>) -> bool;
}

/// The table of the kinds.
pub(crate) fn access(kind: ProbeKind) -> &'static dyn Access {
    match kind {
        ProbeKind::Store => &store::UnalignedStore,
        ProbeKind::Load => &load::UnalignedLoad,
        ProbeKind::Zva => &zva::Zva,
        ProbeKind::Atomic => &atomic::Atomic,
        ProbeKind::Exclusive => &exclusive::Exclusive,
        ProbeKind::Fetch => &fetch::Fetch,
    }
}

impl<M: Machine> Answers<Probe> for Guest<M> {
    fn answer(&mut self, ask: Probe) -> Result<ProbeDone, Failure> {
        self.machine.probe(ask)
    }
}

/// Returns the block that an access of this kind touches and that has the byte at `offset`, or None
/// if the CPU does not have the instruction.
pub(crate) fn block(
    access: &dyn Access,
    target: &Target,
    offset: u64,
) -> Result<Option<NonNull<u8>>, Failure> {
    let Some(block) = access.block() else { return Ok(None) };
    let start = offset / block * block;
    let place = target.at(start, block);
    place.map(Some).ok_or_else(|| fault::invalid(format_args!("{start:#x} does not lie in the BAR")))
}

/// Returns 8 bytes as a word, read one by one: an unaligned load would fault where the access did
/// not.
///
/// # Safety
/// The bytes are mapped.
unsafe fn read_bytes(place: NonNull<u8>) -> u64 {
    // SAFETY: the caller's.
    u64::from_le_bytes(std::array::from_fn(|index| unsafe { place.add(index).read_volatile() }))
}
