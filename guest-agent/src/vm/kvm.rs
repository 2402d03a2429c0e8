//! The VM and its vCPUs in KVM.

mod gic;
mod registers;
mod vcpu;

use super::buffer::Buffer;
use super::control::Control;
use super::layout;
use super::machine::{Calls, Plan, Returned};
use super::memslot::{Flags, Slot};
use super::payload::{self, EXCEPTION, Entry, Function, HYPERVISOR, Mailbox, RETURNED};
use super::ram::{CpuParts, Ram};
use super::stage2::Stage2;
use crate::fault;
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_enable_cap, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use s2lab_protocol::{Facility, Failure, UNEXPECTED_EXIT};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest time of a call. It stores or loads 64 KiB at most, and takes less than a second even
/// if each access is to a page that stage 2 does not have.
const CALL: Duration = Duration::from_secs(30);
/// The bindings have it for arm64 alone (include/uapi/linux/kvm.h).
const KVM_CAP_ARM_MTE: u32 = 205;
/// Likewise.
const KVM_CAP_ARM_EL2: u32 = 240;
const EFAULT: i32 = rustix::io::Errno::FAULT.raw_os_error();
/// The time before a vCPU is run again whose KVM_RUN has failed with EFAULT.
const AGAIN: Duration = Duration::from_millis(1);
/// The time between two looks at the deadlines.
const WATCH: Duration = Duration::from_secs(1);
/// The vCPUs of a VM.
pub(super) struct Vcpus {
    /// The VM. It ends with its last file.
    vm: VmFd,
    vcpus: Vec<Mutex<VcpuFd>>,
    parts: Vec<CpuParts>,
    ram: Ram,
    control: Arc<Control>,
    deadlines: Arc<Mutex<Vec<Option<Instant>>>>,
    /// True while a vCPU is run again whose KVM_RUN has failed with EFAULT.
    runs_on: AtomicBool,
    /// The number of such failures.
    faults: AtomicU64,
}

impl Vcpus {
    /// Makes the VM of a plan.
    pub(super) fn start(plan: &Plan, ram: &Ram, control: &Arc<Control>) -> Result<Vcpus, Failure> {
        let failed = |doing: &'static str| {
            move |why: kvm_ioctls::Error| fault::refused(Facility::Kvm, format_args!("cannot {doing}: {why}"))
        };
        let kvm = Kvm::new().map_err(failed("open /dev/kvm"))?;
        // Type 0: IPAs of 40 bits.
        let vm = kvm.create_vm_with_type(0).map_err(failed("make a VM"))?;
        if plan.mte {
            let cap = kvm_enable_cap { cap: KVM_CAP_ARM_MTE, ..kvm_enable_cap::default() };
            vm.enable_cap(&cap).map_err(|why| {
                fault::missing(Facility::Mte, format_args!("KVM has no guests with memory tagging: {why}"))
            })?;
        }
        if plan.hypervisor.is_some() && vm.check_extension_raw(KVM_CAP_ARM_EL2.into()) <= 0 {
            let why = "KVM has no guests with EL2 (KVM_CAP_ARM_EL2)";
            return Err(fault::missing(Facility::NestedVirtualization, why));
        }
        for (number, slot) in plan.slots(ram) {
            set_slot(&vm, number, slot).map_err(failed("add a memslot"))?;
        }
        plan.load(ram);
        let entry = payload::entry();
        let entry = entry.ok_or_else(|| fault::invalid("the built-in VMM runs on arm64 alone"))?;
        let mut vcpus = vec![];
        for (id, parts) in (0..).zip(&plan.parts.cpus) {
            let mailbox = ram.at(parts.mailbox).addr().get() as u64;
            let mut registers = registers::first(entry, plan.stage1.root(), mailbox).to_vec();
            if let Some(stage2) = &plan.hypervisor {
                registers.extend(at_el2(plan, ram, entry, stage2, parts)?);
            }
            let vcpu = vcpu::make(&vm, id, plan.hypervisor.is_some(), &registers);
            vcpus.push(Mutex::new(vcpu.map_err(failed("make a vCPU"))?));
        }
        if plan.hypervisor.is_some() {
            gic::make(&vm).map_err(failed("make a GICv3"))?;
        }
        let deadlines = Arc::new(Mutex::new(vec![None; vcpus.len()]));
        watch(Arc::clone(&deadlines), Arc::clone(control))?;
        Ok(Vcpus {
            vm,
            vcpus,
            parts: plan.parts.cpus.clone(),
            ram: *ram,
            control: Arc::clone(control),
            deadlines,
            runs_on: AtomicBool::new(false),
            faults: AtomicU64::new(0),
        })
    }

    fn parts(&self, cpu: u32) -> Result<CpuParts, Failure> {
        let parts = self.parts.get(cpu as usize).copied();
        parts.ok_or_else(|| fault::invalid(format_args!("vCPU {cpu}; this guest has {}", self.parts.len())))
    }

    fn mailbox(&self, parts: CpuParts) -> NonNull<Mailbox> {
        self.ram.at(parts.mailbox).cast()
    }

    fn set_deadline(&self, cpu: u32, deadline: Option<Instant>) {
        let mut deadlines = self.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = deadlines.get_mut(cpu as usize) {
            *of = deadline;
        }
    }

    /// Counts a KVM_RUN that has failed with EFAULT. The guest's PC is still at its access.
    fn faulted(&self) {
        self.faults.fetch_add(1, SeqCst);
        std::thread::sleep(AGAIN);
    }

    /// Runs a vCPU until it stores to the doorbell. Everything else ends the VM, except that a vCPU may be
    /// run again after EFAULT: KVM_RUN fails with it, or reports KVM_EXIT_MEMORY_FAULT with it, if the VMA
    /// of a memslot has no page (Linux 6.1 to 7.2 arch/arm64/kvm/mmu.c, user_mem_abort).
    fn run(&self, cpu: u32, function: Function, argument: *mut u8) -> Result<Returned, Failure> {
        let mailbox = self.mailbox(self.parts(cpu)?);
        let vcpu = self.vcpus.get(cpu as usize).ok_or_else(|| fault::invalid("no such vCPU"))?;
        let mut vcpu = vcpu.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the vCPU does not run: its lock is ours.
        unsafe {
            (&raw mut (*mailbox.as_ptr()).function).write_volatile(Some(function));
            (&raw mut (*mailbox.as_ptr()).argument).write_volatile(argument);
        }
        loop {
            match vcpu.run() {
                Ok(VcpuExit::MmioWrite(layout::DOORBELL, data)) => {
                    let word = data.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
                    match word {
                        Some(RETURNED) => return Ok(Returned::Done),
                        Some(EXCEPTION) => return Ok(Returned::Exception(exception(mailbox))),
                        Some(HYPERVISOR) => {
                            let [esr, elr, far] = exception(mailbox);
                            let registers = format!("ESR_EL2 {esr:#x}, ELR_EL2 {elr:#x}, FAR_EL2 {far:#x}");
                            let detail = format!("the guest hypervisor took an exception, {registers}");
                            self.control.stopped("exception", detail)
                        }
                        _ => self.control.stopped(UNEXPECTED_EXIT, format!("the doorbell has {data:x?}")),
                    }
                }
                Ok(VcpuExit::MemoryFault { .. }) if self.runs_on.load(SeqCst) => self.faulted(),
                Ok(exit) => self.control.stopped(UNEXPECTED_EXIT, format!("KVM_RUN: {exit:x?}")),
                Err(why) if why.errno() == EFAULT && self.runs_on.load(SeqCst) => self.faulted(),
                Err(why)
                    if [rustix::io::Errno::INTR, rustix::io::Errno::AGAIN]
                        .map(|of| of.raw_os_error())
                        .contains(&why.errno()) => {}
                Err(why) => self.control.stopped("kvm-run-failed", format!("KVM_RUN of vCPU {cpu}: {why}")),
            }
        }
    }
}

impl Calls for Vcpus {
    fn call(&self, cpu: u32, function: Function, argument: *mut u8) -> Result<Returned, Failure> {
        self.set_deadline(cpu, Some(Instant::now() + CALL));
        let returned = self.run(cpu, function, argument);
        self.set_deadline(cpu, None);
        returned
    }

    fn call_for_long(&self, cpu: u32, function: Function, argument: *mut u8) -> Result<Returned, Failure> {
        self.run(cpu, function, argument)
    }

    fn run_on(&self, after_faults: bool) -> u64 {
        self.runs_on.store(after_faults, SeqCst);
        self.faults.swap(0, SeqCst)
    }

    fn set_slot(&self, number: u32, slot: Slot) -> Option<i32> {
        set_slot(&self.vm, number, slot).err().map(|why| why.errno())
    }

    fn log(&self, number: u32, size: u64) -> Result<Vec<u64>, Failure> {
        let failed = |why: &dyn std::fmt::Display| fault::system("read", "the log of dirty pages", why);
        let size = usize::try_from(size).map_err(|why| failed(&why))?;
        self.vm.get_dirty_log(number, size).map_err(|why| failed(&why))
    }

    fn broken(&self, state: &str, detail: String) -> Failure {
        self.control.stopped(state, detail)
    }

    fn buffer(&self, cpu: u32) -> Result<Buffer, Failure> {
        let part = self.parts(cpu)?.buffer;
        // SAFETY: the part stays mapped, and the vCPU makes no call.
        Ok(unsafe { Buffer::new(self.ram.at(part), part.size) })
    }

    fn words(&self) -> Vec<&'static AtomicU32> {
        // SAFETY: the mailboxes stay mapped.
        self.parts.iter().map(|parts| unsafe { &(*self.mailbox(*parts).as_ptr()).word }).collect()
    }
}

/// Returns the registers of the last exception of a vCPU that has stopped.
fn exception(mailbox: NonNull<Mailbox>) -> [u64; 3] {
    // SAFETY: the mailbox stays mapped, and the vCPU has left KVM_RUN.
    unsafe { (&raw const (*mailbox.as_ptr()).exception).read_volatile() }
}

/// Returns the registers of a vCPU that begins at EL2, beside those of its guest.
fn at_el2(
    plan: &Plan,
    ram: &Ram,
    entry: Entry,
    stage2: &Stage2,
    parts: &CpuParts,
) -> Result<[(u64, u64); 10], Failure> {
    let ipa = |of: u64| {
        plan.ipa(ram, of).ok_or_else(|| fault::invalid(format_args!("the VM has no copy of {of:#x}")))
    };
    let hypervisor = registers::Hypervisor {
        start: ipa(entry.hypervisor)?,
        vectors: ipa(entry.hypervisor_vectors)?,
        mailbox: ram.ipa(parts.mailbox),
        vttbr: stage2.vttbr(),
    };
    Ok(registers::at_el2(hypervisor, entry))
}

fn set_slot(vm: &VmFd, number: u32, slot: Slot) -> Result<(), kvm_ioctls::Error> {
    let region = kvm_userspace_memory_region {
        slot: number,
        flags: match slot.flags {
            Flags::None => 0,
            Flags::Log => KVM_MEM_LOG_DIRTY_PAGES,
            Flags::ReadOnly => KVM_MEM_READONLY,
        },
        guest_phys_addr: slot.ipa,
        memory_size: slot.size,
        userspace_addr: slot.address,
    };
    // SAFETY: what a memslot maps stays mapped as long as the process, and with it the VM, or only
    // the VM uses it.
    unsafe { vm.set_user_memory_region(region) }
}

/// Starts the thread that ends a VM whose vCPU does not return from a call.
fn watch(deadlines: Arc<Mutex<Vec<Option<Instant>>>>, control: Arc<Control>) -> Result<(), Failure> {
    let run = move || loop {
        std::thread::sleep(WATCH);
        let now = Instant::now();
        let deadlines = deadlines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let late = deadlines.iter().position(|deadline| deadline.is_some_and(|deadline| deadline < now));
        if let Some(cpu) = late {
            control.stopped("deadline", format!("vCPU {cpu} did not return from a call in {CALL:?}"));
        }
    };
    let started = std::thread::Builder::new().spawn(run);
    started.map(drop).map_err(|why| fault::system("start", "the watch of the vCPUs", why))
}
