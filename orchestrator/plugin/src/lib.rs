//! A TCG plugin of QEMU that records TLBI instructions in memory shared with s2lab, and counts
//! accesses to areas of physical memory and stage-2 faults if it is asked to.
//!
//! It is loaded by `-plugin FILE,fd=N`, where `N` is an inherited memfd of [`s2lab_trace::SIZE`]
//! bytes, with [`s2lab_trace::INTERFACE`] in QEMU's environment. QEMU calls it on its vCPU threads.
//! It has neither the standard library nor a C library of its own, so it runs in every QEMU,
//! whatever libc that has.

#![no_std]

mod interface;
mod qemu;
mod registers;

use core::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    ptr::{addr_of_mut, null_mut},
    sync::atomic::{
        AtomicPtr,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use qemu::{Id, Info};
use registers::{Buffer, Registers};
use s2lab_trace::{
    DESCRIPTOR, DROP, KEEP, MAGIC, RING, SIZE, SYNCHRONOUS, Trace, UNREAD, VCPUS, VECTORS, is_fault,
    is_recorded,
};

/// The shared memory; written before the first vCPU starts.
static TRACE: AtomicPtr<Trace> = AtomicPtr::new(null_mut());
static REGISTERS: [Registers; VCPUS] = [const { Registers::new() }; VCPUS];

/// Returns the shared memory, which stays mapped.
fn trace() -> Option<&'static Trace> {
    // SAFETY: null, or a mapping of the right size that is never removed. All fields are atomic.
    unsafe { TRACE.load(Relaxed).as_ref() }
}

/// Begins. Another result than 0 ends QEMU.
///
/// # Safety
/// QEMU calls it once, with `argc` arguments in `argv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    _: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let mut descriptor = None;
    for index in 0..usize::try_from(argc).unwrap_or_default() {
        // SAFETY: by the caller's contract.
        let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
        let digits = argument.to_bytes().strip_prefix(DESCRIPTOR.as_bytes());
        match digits.and_then(|digits| decimal(digits.strip_prefix(b"=")?)) {
            Some(number) => descriptor = Some(number),
            None => return 1,
        }
    }
    // Without a descriptor this is a question only.
    let Some(descriptor) = descriptor else { return 0 };
    let Some(trace) = map(descriptor) else { return 1 };
    // SAFETY: QEMU has taken the plugin with this id.
    unsafe { interface::register(id) };
    trace.head.magic.store(MAGIC, Release);
    0
}

/// Begins to record, if s2lab wants it and it is not done yet.
fn vcpu_resumed(id: Id) {
    let begins = |trace: &&Trace| trace.head.begun.load(Relaxed) == 0;
    let wanted = trace().filter(begins).map(|trace| trace.head.wanted.load(Acquire));
    // SAFETY: QEMU calls this on a vCPU's thread, with the id of the plugin.
    unsafe {
        match wanted {
            Some(DROP) => interface::reset(id),
            Some(KEEP) => interface::record(id),
            _ => {}
        }
    }
}

/// Notes for s2lab that all code is recorded from now on.
fn begun() {
    if let Some(trace) = trace() {
        trace.head.begun.store(1, Release);
    }
}

/// Returns the number with these decimal digits.
fn decimal(digits: &[u8]) -> Option<c_int> {
    digits.iter().try_fold(0 as c_int, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(c_int::from(digit - b'0')),
        _ => None,
    })
}

fn map(descriptor: c_int) -> Option<&'static Trace> {
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let base = unsafe { qemu::mmap(null_mut(), SIZE, qemu::READ_WRITE, qemu::SHARED, descriptor, 0) };
    if base as usize == qemu::FAILED {
        return None;
    }
    TRACE.store(base.cast(), Relaxed);
    trace()
}

/// Looks for the registers of a new vCPU, on its own thread.
fn vcpu_started(vcpu: c_uint) {
    let missing = REGISTERS.get(vcpu as usize).map_or(1, Registers::find);
    if let Some(trace) = trace() {
        trace.head.missing.fetch_add(missing, Relaxed);
    }
}

/// Hooks the instructions of a translation block.
fn translated(block: *mut c_void) {
    let is_counting = trace().is_some_and(|trace| trace.head.counting.load(Relaxed) != 0);
    // SAFETY: the block and its instructions are valid during this call.
    unsafe {
        for index in 0..qemu::qemu_plugin_tb_n_insns(block) {
            let instruction = qemu::qemu_plugin_tb_get_insn(block, index);
            hook_tlbi(instruction);
            if is_counting {
                hook_counted(instruction);
            }
        }
    }
}

/// # Safety
/// The instruction is being translated.
unsafe fn hook_tlbi(instruction: *mut c_void) {
    let mut word = 0u32;
    // SAFETY: by the caller's contract.
    let copied =
        unsafe { qemu::qemu_plugin_insn_data(instruction, addr_of_mut!(word).cast(), size_of::<u32>()) };
    let word = u32::from_le(word);
    if copied == size_of::<u32>() && is_recorded(word) {
        // The word itself is the callback's data, so nothing is allocated.
        let data = word as usize as *mut c_void;
        let flags = qemu::READS_REGISTERS;
        // SAFETY: by the caller's contract.
        unsafe { qemu::qemu_plugin_register_vcpu_insn_exec_cb(instruction, executed, flags, data) };
    }
}

/// # Safety
/// The instruction is being translated.
unsafe fn hook_counted(instruction: *mut c_void) {
    // SAFETY: by the caller's contract.
    unsafe {
        let (flags, kinds) = (qemu::READS_NOTHING, qemu::LOADS_AND_STORES);
        qemu::qemu_plugin_register_vcpu_mem_cb(instruction, accessed, flags, kinds, null_mut());
        let address = qemu::qemu_plugin_insn_vaddr(instruction);
        if address & VECTORS == SYNCHRONOUS {
            let (flags, data) = (qemu::READS_REGISTERS, address as usize as *mut c_void);
            qemu::qemu_plugin_register_vcpu_insn_exec_cb(instruction, entered, flags, data);
        }
    }
}

/// Records a TLBI instruction before it is executed.
extern "C" fn executed(vcpu: c_uint, data: *mut c_void) {
    let Some(trace) = trace() else { return };
    let word = data as usize as u64;
    let view = View::of(vcpu);
    let operand = view.registers.map_or(UNREAD, |registers| {
        registers.general((word & 31) as usize).map_or(0, |handle| view.buffer.read(handle))
    });
    record(trace, &view, Entry { instruction: word | u64::from(vcpu) << 32, operand, syndrome: 0 });
}

/// Records a stage-2 fault before the first instruction of the vector at `data`.
extern "C" fn entered(vcpu: c_uint, data: *mut c_void) {
    let Some(trace) = trace() else { return };
    let view = View::of(vcpu);
    let syndrome = view.read(|registers| &registers.esr);
    if view.read(|registers| &registers.vbar) != data as usize as u64 & !VECTORS
        || !is_fault(
            view.read(|registers| &registers.pstate),
            view.read(|registers| &registers.hcr),
            syndrome,
        )
    {
        return;
    }
    let operand = view.read(|registers| &registers.hpfar);
    record(trace, &view, Entry { instruction: u64::from(vcpu) << 32, operand, syndrome });
}

/// The registers of a vCPU in a callback that may read them.
struct View {
    buffer: Buffer,
    registers: Option<&'static Registers>,
}

impl View {
    fn of(vcpu: c_uint) -> Self {
        Self { buffer: Buffer::new(), registers: REGISTERS.get(vcpu as usize) }
    }

    fn read(&self, which: impl FnOnce(&Registers) -> &AtomicPtr<c_void>) -> u64 {
        self.registers.map_or(UNREAD, |registers| self.buffer.read(which(registers)))
    }
}

/// The fields of a record that are not read the same way for each.
struct Entry {
    instruction: u64,
    operand: u64,
    syndrome: u64,
}

fn record(trace: &Trace, view: &View, entry: Entry) {
    let number = trace.head.records.fetch_add(1, Relaxed);
    let Some(record) = trace.ring.get(number as usize % RING) else { return };
    record.written.store(0, Release);
    record.instruction.store(entry.instruction, Relaxed);
    record.operand.store(entry.operand, Relaxed);
    record.syndrome.store(entry.syndrome, Relaxed);
    record.pstate.store(view.read(|registers| &registers.pstate), Relaxed);
    record.vttbr.store(view.read(|registers| &registers.vttbr), Relaxed);
    record.hcr.store(view.read(|registers| &registers.hcr), Relaxed);
    record.written.store(number + 1, Release);
}

/// Counts an access after it was made.
extern "C" fn accessed(vcpu: c_uint, info: qemu::MemoryInfo, address: u64, _: *mut c_void) {
    let Some(trace) = trace() else { return };
    // SAFETY: QEMU's own values, in its callback.
    let (place, width, is_store) = unsafe {
        let place = qemu::qemu_plugin_get_hwaddr(info, address);
        if place.is_null() {
            trace.head.unplaced.fetch_add(1, Relaxed);
            return;
        }
        let width = qemu::qemu_plugin_mem_size_shift(info) as usize;
        (qemu::qemu_plugin_hwaddr_phys_addr(place), width, qemu::qemu_plugin_mem_is_store(info))
    };
    let Some(all) = trace.accesses.get(vcpu as usize) else { return };
    for (area, accesses) in trace.head.areas.iter().zip(all) {
        if (area.start.load(Relaxed)..area.end.load(Relaxed)).contains(&place) {
            let counts = if is_store { &accesses.stores } else { &accesses.loads };
            if let Some(count) = counts.get(width) {
                count.fetch_add(1, Relaxed);
            }
        }
    }
}

/// The shared library is built with `panic = "abort"`; all else that is built of this crate is not.
#[cfg(panic = "abort")]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn abort() -> !;
    }
    // SAFETY: abort(3) has no conditions.
    unsafe { abort() }
}
