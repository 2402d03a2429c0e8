//! The machine that accesses BARs for a guest's agent.

use super::span::Placed;
use s2lab_protocol::ask::{Memslot, MemslotDone, Plug, Probe, ProbeDone, Store, Transfer, Transferred};
use s2lab_protocol::{Bar, Barrier, By, Failure, MapKind, Mapping};
use std::ptr::NonNull;
use std::time::Duration;

/// A machine whose CPUs access BARs: the Linux that this process runs on, or a VM that it runs.
pub(crate) trait Machine: Sync {
    type Storer: Storer;

    /// Maps the BAR of the device at `address` as `map`, unless it is mapped already.
    fn map(&mut self, device: &str, address: &str, map: MapKind) -> Result<Target, Failure>;

    /// Returns the mapped BARs. They stay mapped, because a look walks their stage 1.
    fn mappings(&self) -> Vec<Mapping>;

    /// Does the work of each of `count` CPUs, all at the same time, and returns the results.
    fn on_cpus<T: Send>(
        &self,
        count: u32,
        work: impl Fn(u32) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, Failure>;

    /// Stores `words` to `rows` on a CPU, and returns the time of the stores alone.
    fn store(&self, cpu: u32, stores: Stores, rows: &[Placed], words: &[u64]) -> Result<Duration, Failure>;

    /// Loads `words` from `rows` on a CPU.
    fn load(&self, cpu: u32, loads: Loads, rows: &[Placed], words: &mut [u64]) -> Result<(), Failure>;

    /// Returns means to store from other threads than that of the requests. `may_fault`: an access that
    /// KVM_RUN refuses with EFAULT is tried again.
    fn storer(&self, may_fault: bool) -> Result<Self::Storer, Failure>;

    /// Switches memory space of the device at `address` on or off.
    fn set_memory_space(&mut self, address: &str, on: bool) -> Result<(), Failure>;

    /// Resets the function of the device at `address`, whose driver releases it first.
    fn reset_function(&mut self, address: &str) -> Result<(), Failure>;

    /// Operates on a memslot.
    fn memslot(&mut self, ask: &Memslot) -> Result<MemslotDone, Failure>;

    /// Gives a device up when VFIO asks for it, or takes it again.
    fn plug(&mut self, ask: &Plug) -> Result<(), Failure>;

    /// Transfers data to or from a drive.
    fn transfer(&mut self, ask: &Transfer) -> Result<Transferred, Failure>;

    /// Tries one access that may fault.
    fn probe(&mut self, ask: Probe) -> Result<ProbeDone, Failure>;

    /// Spins on each CPU with `nonce` in [`s2lab_protocol::HOLD_REGISTER`] and the CPU's number in
    /// [`s2lab_protocol::ask::VCPU_REGISTER`]. Returns the number of CPUs when the spinning has begun.
    fn hold(&mut self, nonce: u64) -> Result<u32, Failure>;

    /// Stops the spinning.
    fn release(&mut self) -> Result<(), Failure>;
}

/// Means to store from any thread.
pub(crate) trait Storer: Clone + Send + 'static {
    /// Prepares the thread that stores on this CPU.
    fn begin(&self, cpu: u32) -> Result<(), Failure>;

    /// Like [`Machine::store`].
    fn store(&self, cpu: u32, stores: Stores, rows: &[Placed], words: &[u64]) -> Result<(), Failure>;

    /// Ends the stores, and returns how often an access was tried again.
    fn end(&self) -> u64;
}

/// A mapped BAR, as the CPUs of a machine access it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The first byte, at the virtual address of the accesses.
    pub(crate) base: NonNull<u8>,
    pub(crate) bar: Bar,
    pub(crate) map: MapKind,
}

// SAFETY: it is an address with facts; who uses the address answers for it.
unsafe impl Sync for Target {}
// SAFETY: as above.
unsafe impl Send for Target {}

impl Target {
    /// Returns the address of byte `offset`, if `length` bytes from there lie in the BAR.
    pub(crate) fn at(&self, offset: u64, length: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(length)?;
        if end > self.bar.size {
            return None;
        }
        let address = self.base.addr().checked_add(usize::try_from(offset).ok()?)?;
        Some(self.base.with_addr(address))
    }
}

/// The manner of a run of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stores {
    pub(crate) by: By,
    pub(crate) width: u32,
    pub(crate) barrier: Barrier,
}

impl Stores {
    pub(crate) fn of(ask: &Store) -> Stores {
        Stores { by: ask.by, width: ask.width, barrier: ask.manner.barrier }
    }
}

/// The manner of a run of loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loads {
    pub(crate) width: u32,
    pub(crate) barrier: Barrier,
}

impl Loads {
    /// Loads by which a store is read back.
    pub(crate) const BACK: Loads = Loads { width: 8, barrier: Barrier::None };
}
