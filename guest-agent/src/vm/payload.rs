//! The functions that vCPUs execute at EL1.
//!
//! They run without an operating system: they allocate nothing, make no system call and use no
//! variable of a thread. What does not hold to that ends in an exception, which is reported. A vCPU
//! calls the function in its [`Mailbox`], and stores to the doorbell when it returns.

use super::igbvf::{Driver, InBar, Memory, Trouble};
use super::machine::{Calls, Returned};
use crate::guest::machine::{Loads, Stores};
use crate::guest::probe::Access;
use crate::guest::span::Placed;
use crate::guest::{hold, load, store};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::Direction;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// A function that a vCPU calls.
pub(super) type Function = unsafe extern "C" fn(argument: *mut u8);

/// The first bytes of a vCPU's memory. TPIDR_EL1 has their address, and the first instructions know
/// the layout.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Mailbox {
    pub(super) function: Option<Function>,
    pub(super) argument: *mut u8,
    /// The first address behind the stack.
    pub(super) stack: u64,
    /// The virtual address of the doorbell.
    pub(super) doorbell: u64,
    /// ESR_EL1, ELR_EL1 and FAR_EL1 of the last exception.
    pub(super) exception: [u64; 3],
    /// The word that a spinning vCPU watches.
    pub(super) word: AtomicU32,
}

/// The words that a vCPU stores to the doorbell.
pub(super) const RETURNED: u32 = 1;
pub(super) const EXCEPTION: u32 = 2;
/// An exception was taken at EL2: its registers are in the mailbox.
pub(super) const HYPERVISOR: u32 = 3;

// The vectors stand at a multiple of 2 KiB, 128 bytes each (DDI 0487, D1.3.1). All of them are the
// same: interrupts are masked, so only synchronous exceptions come. The stack of what was
// interrupted is given up.
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.s2lab_vm, \"ax\", @progbits",
    ".balign 2048",
    ".globl s2lab_vm_vectors",
    ".hidden s2lab_vm_vectors",
    "s2lab_vm_vectors:",
    ".rept 16",
    ".balign 128",
    "mrs x0, tpidr_el1",
    "mrs x1, esr_el1",
    "mrs x2, elr_el1",
    "mrs x3, far_el1",
    "stp x1, x2, [x0, #32]",
    "str x3, [x0, #48]",
    "mov w2, #2",
    "b s2lab_vm_ring",
    ".endr",
    ".balign 128",
    ".globl s2lab_vm_start",
    ".hidden s2lab_vm_start",
    ".type s2lab_vm_start, %function",
    "s2lab_vm_start:",
    // Descriptors that the VMM has written are complete before the walks of what follows.
    "dsb sy",
    "isb",
    "mrs x0, tpidr_el1",
    "ldr x1, [x0, #16]",
    "mov sp, x1",
    "ldp x9, x0, [x0]",
    "blr x9",
    "mov w2, #1",
    "s2lab_vm_ring:",
    "mrs x0, tpidr_el1",
    "ldr x1, [x0, #24]",
    "dsb sy",
    "str w2, [x1]",
    "b s2lab_vm_start",
    ".size s2lab_vm_start, . - s2lab_vm_start",
    ".popsection",
);

// A guest hypervisor, at EL2 with its MMU off: addresses are IPAs. The VMM gives it the values of its registers
// (`kvm::registers`). It enters its guest once, and comes back by an exception that ends the VM alone. ESR_EL2,
// ELR_EL2 and FAR_EL2 then come into the mailbox, whose IPA is in TPIDR_EL2.
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.s2lab_vm, \"ax\", @progbits",
    ".balign 2048",
    ".globl s2lab_vm_hypervisor_vectors",
    ".hidden s2lab_vm_hypervisor_vectors",
    "s2lab_vm_hypervisor_vectors:",
    ".rept 16",
    ".balign 128",
    "mrs x0, tpidr_el2",
    "mrs x1, esr_el2",
    "mrs x2, elr_el2",
    "mrs x3, far_el2",
    "stp x1, x2, [x0, #32]",
    "str x3, [x0, #48]",
    "mov w2, #3",
    "mov x1, #{doorbell}",
    "dsb sy",
    "str w2, [x1]",
    "b .",
    ".endr",
    ".balign 128",
    ".globl s2lab_vm_hypervisor",
    ".hidden s2lab_vm_hypervisor",
    ".type s2lab_vm_hypervisor, %function",
    "s2lab_vm_hypervisor:",
    "msr vttbr_el2, x0",
    "msr vtcr_el2, x1",
    "msr hcr_el2, x2",
    "msr cptr_el2, x3",
    "msr vbar_el2, x4",
    "msr tpidr_el2, x5",
    "msr elr_el2, x6",
    "msr spsr_el2, x7",
    "isb",
    "eret",
    ".size s2lab_vm_hypervisor, . - s2lab_vm_hypervisor",
    ".popsection",
    doorbell = const super::layout::DOORBELL,
);

/// Addresses of the payload in the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The first instruction.
    pub(super) start: u64,
    pub(super) vectors: u64,
    /// The first instruction of a guest hypervisor.
    pub(super) hypervisor: u64,
    pub(super) hypervisor_vectors: u64,
}

/// Returns None on another architecture, for which there is no payload.
#[cfg(target_arch = "aarch64")]
pub(super) fn entry() -> Option<Entry> {
    unsafe extern "C" {
        fn s2lab_vm_start();
        static s2lab_vm_vectors: u8;
        fn s2lab_vm_hypervisor();
        static s2lab_vm_hypervisor_vectors: u8;
    }
    Some(Entry {
        start: s2lab_vm_start as *const () as u64,
        vectors: (&raw const s2lab_vm_vectors) as u64,
        hypervisor: s2lab_vm_hypervisor as *const () as u64,
        hypervisor_vectors: (&raw const s2lab_vm_hypervisor_vectors) as u64,
    })
}

#[cfg(not(target_arch = "aarch64"))]
pub(super) fn entry() -> Option<Entry> {
    None
}

/// A list in the shared buffer.
#[derive(Debug)]
struct List<T> {
    first: NonNull<T>,
    length: usize,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<T> {}

impl<T: Copy> List<T> {
    fn put(buffer: &mut super::buffer::Buffer, items: &[T]) -> Result<List<T>, Failure> {
        Ok(List { first: buffer.put(items)?, length: items.len() })
    }

    /// # Safety
    /// The buffer is still there.
    unsafe fn items<'a>(self) -> &'a [T] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.length) }
    }

    /// # Safety
    /// The buffer is still there, and nothing else uses the items.
    unsafe fn items_mut<'a>(self) -> &'a mut [T] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.length) }
    }
}

#[derive(Debug, Clone, Copy)]
struct StoreCall {
    stores: Stores,
    rows: List<Placed>,
    words: List<u64>,
    ticks: u64,
}

/// Stores words to rows on a vCPU, and returns the time by its clock.
pub(super) fn store(
    calls: &impl Calls,
    cpu: u32,
    stores: Stores,
    rows: &[Placed],
    words: &[u64],
) -> Result<Duration, Failure> {
    unsafe extern "C" fn run(argument: *mut u8) {
        // SAFETY: the argument is a call in the buffer, whose lists are there too.
        unsafe {
            let call = &mut *argument.cast::<StoreCall>();
            let begin = clock::ticks();
            store::store(call.stores, call.rows.items(), call.words.items());
            call.ticks = clock::ticks().saturating_sub(begin);
        }
    }
    let mut buffer = calls.buffer(cpu)?;
    let rows = List::put(&mut buffer, rows)?;
    buffer.skip_to_words()?;
    let words = List::put(&mut buffer, words)?;
    let call = buffer.put(&[StoreCall { stores, rows, words, ticks: 0 }])?;
    finished(calls, calls.call(cpu, run, call.cast().as_ptr())?)?;
    // SAFETY: the vCPU has returned from it.
    Ok(clock::time(unsafe { call.read() }.ticks))
}

#[derive(Debug, Clone, Copy)]
struct LoadCall {
    loads: Loads,
    rows: List<Placed>,
    words: List<u64>,
}

/// Loads words from rows on a vCPU.
pub(super) fn load(
    calls: &impl Calls,
    cpu: u32,
    loads: Loads,
    rows: &[Placed],
    words: &mut [u64],
) -> Result<(), Failure> {
    unsafe extern "C" fn run(argument: *mut u8) {
        // SAFETY: the argument is a call in the buffer, whose lists are there too.
        unsafe {
            let call = &*argument.cast::<LoadCall>();
            load::load(call.loads, call.rows.items(), call.words.items_mut());
        }
    }
    let mut buffer = calls.buffer(cpu)?;
    let (rows, loaded) = (List::put(&mut buffer, rows)?, List::put(&mut buffer, words)?);
    let call = buffer.put(&[LoadCall { loads, rows, words: loaded }])?;
    finished(calls, calls.call(cpu, run, call.cast().as_ptr())?)?;
    // SAFETY: the vCPU has returned from it.
    words.copy_from_slice(unsafe { loaded.items() });
    Ok(())
}

#[derive(Clone, Copy)]
struct ProbeCall {
    access: &'static dyn Access,
    block: NonNull<u8>,
    right: bool,
}

/// Makes one access on the first vCPU: true if the bytes are right, or ESR_EL1 of the exception.
pub(super) fn probe(
    calls: &impl Calls,
    access: &'static dyn Access,
    block: NonNull<u8>,
) -> Result<Result<bool, u64>, Failure> {
    unsafe extern "C" fn run(argument: *mut u8) {
        // SAFETY: the argument is a call in the buffer, and the block is mapped.
        unsafe {
            let call = &mut *argument.cast::<ProbeCall>();
            call.right = call.access.access(call.block);
        }
    }
    let call = calls.buffer(0)?.put(&[ProbeCall { access, block, right: false }])?;
    match calls.call(0, run, call.cast().as_ptr())? {
        // SAFETY: the vCPU has returned from it.
        Returned::Done => Ok(Ok(unsafe { call.read() }.right)),
        Returned::Exception([esr, ..]) => Ok(Err(esr)),
    }
}

/// Frames of a virtual function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    pub(super) registers: InBar,
    pub(super) memory: Memory,
    pub(super) direction: Direction,
    pub(super) frames: u16,
    pub(super) seed: u64,
}

#[derive(Debug, Clone, Copy)]
struct FramesCall {
    of: Frames,
    end: Result<Option<u64>, Trouble>,
}

/// Sends or receives frames on the first vCPU, with a driver that it starts first. Returns the offset of the first word
/// that was received and is not the pattern.
pub(super) fn frames(calls: &impl Calls, of: Frames) -> Result<Result<Option<u64>, Trouble>, Failure> {
    unsafe extern "C" fn run(argument: *mut u8) {
        // SAFETY: the argument is a call in the buffer.
        let call = unsafe { &mut *argument.cast::<FramesCall>() };
        let Frames { registers, memory, direction, frames, seed } = call.of;
        let driver = Driver { registers, memory, wait: clock::until };
        call.end = driver.start().and_then(|()| match direction {
            Direction::Write => driver.send(frames, seed).map(|()| None),
            Direction::Read => Ok(driver.receive(frames, seed)),
        });
    }
    let call = calls.buffer(0)?.put(&[FramesCall { of, end: Ok(None) }])?;
    finished(calls, calls.call(0, run, call.cast().as_ptr())?)?;
    // SAFETY: the vCPU has returned from it.
    Ok(unsafe { call.read() }.end)
}

#[derive(Debug, Clone, Copy)]
struct SpinCall {
    nonce: u64,
    cpu: u32,
    word: NonNull<AtomicU32>,
}

/// Spins on a vCPU until `word` changes.
pub(super) fn spin(calls: &impl Calls, cpu: u32, nonce: u64, word: &AtomicU32) -> Result<(), Failure> {
    unsafe extern "C" fn run(argument: *mut u8) {
        // SAFETY: the argument is a call in the buffer, and the word lies in the mailbox.
        unsafe {
            let call = &*argument.cast::<SpinCall>();
            hold::spin(call.nonce, u64::from(call.cpu), call.word.as_ref());
        }
    }
    let call = calls.buffer(cpu)?.put(&[SpinCall { nonce, cpu, word: NonNull::from(word) }])?;
    finished(calls, calls.call_for_long(cpu, run, call.cast().as_ptr())?)
}

/// An exception in a call that cannot take one ends the VM. The same functions run on every kernel, so the kernel
/// under test has caused it.
fn finished(calls: &impl Calls, returned: Returned) -> Result<(), Failure> {
    match returned {
        Returned::Done => Ok(()),
        Returned::Exception([esr, elr, far]) => {
            let registers = format!("ESR_EL1 {esr:#x}, ELR_EL1 {elr:#x}, FAR_EL1 {far:#x}");
            Err(calls.broken("exception", format!("a vCPU took an exception, {registers}")))
        }
    }
}

/// The clock of a CPU: the virtual counter.
mod clock {
    use std::time::Duration;

    #[cfg(target_arch = "aarch64")]
    pub(super) fn ticks() -> u64 {
        let ticks;
        // SAFETY: both change no memory.
        unsafe {
            std::arch::asm!("isb", "mrs {0}, cntvct_el0", out(reg) ticks, options(nostack, preserves_flags))
        };
        ticks
    }

    #[cfg(target_arch = "aarch64")]
    fn per_second() -> u64 {
        let frequency;
        // SAFETY: the register is readable at EL0.
        unsafe {
            std::arch::asm!("mrs {0}, cntfrq_el0", out(reg) frequency, options(nomem, nostack, preserves_flags))
        };
        frequency
    }

    /// Other architectures have no such counter. The tests of the rest need a clock.
    #[cfg(not(target_arch = "aarch64"))]
    pub(super) fn ticks() -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
    }

    #[cfg(not(target_arch = "aarch64"))]
    fn per_second() -> u64 {
        1_000_000_000
    }

    /// The time in which a device does what it is asked for: a fifth of that of a call.
    const PATIENCE_SECONDS: u64 = 5;

    /// Calls `is_done` until it returns true. Returns false if it does not for [`PATIENCE_SECONDS`].
    pub(super) fn until(is_done: &mut dyn FnMut() -> bool) -> bool {
        let begin = ticks();
        let patience = per_second().saturating_mul(PATIENCE_SECONDS);
        loop {
            // What comes while the time passes still counts.
            let is_last = ticks().saturating_sub(begin) > patience;
            if is_done() {
                return true;
            }
            if is_last {
                return false;
            }
        }
    }

    /// Returns the time of so many ticks, at least one tick.
    pub(super) fn time(ticks: u64) -> Duration {
        let nanos = u128::from(ticks.max(1)) * 1_000_000_000 / u128::from(per_second().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn the_layout_is_that_of_the_first_instructions() {
        let offsets = [
            offset_of!(Mailbox, function),
            offset_of!(Mailbox, argument),
            offset_of!(Mailbox, stack),
            offset_of!(Mailbox, doorbell),
            offset_of!(Mailbox, exception),
        ];
        assert_eq!(offsets, [0, 8, 16, 24, 32]);
    }
}
