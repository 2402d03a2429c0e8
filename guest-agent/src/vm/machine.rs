//! A VM as a machine whose vCPUs access BARs.

use super::backing::{self, Backing};
use super::buffer::Buffer;
use super::function;
use super::igbvf;
use super::image::{self, Segment};
use super::layout;
use super::marks::{self, Marks};
use super::memslot::{self, Flags, Pair, Slot};
use super::payload::{self, Function, Mailbox};
use super::plug;
use super::ram::{Part, Parts, Ram};
use super::stage1::{Attribute, Rights, Stage1};
use super::stage2::Stage2;
use crate::fault;
use crate::guest::hold::Spinners;
use crate::guest::machine::{Loads, Machine, Storer, Stores, Target};
use crate::guest::probe;
use crate::guest::span::Placed;
use crate::guest::together::together;
use crate::root::Root;
use crate::vfio::Dma;
use s2lab_protocol::ask::{
    AssignedDevice, Memslot, MemslotDone, Plug, Probe, ProbeDone, StartGuest, Transfer, Transferred,
};
use s2lab_protocol::{AssignKind, Bar, Failure, MOST_VCPUS, MapKind, Mapping, ProbeEnd, Row, WORD};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Means to let a vCPU call a function of this program.
pub(super) trait Calls: Send + Sync + 'static {
    /// Calls `function` on a vCPU, and returns when it has returned or has taken an exception.
    fn call(&self, cpu: u32, function: Function, argument: *mut u8) -> Result<Returned, Failure>;

    /// Like [`Calls::call`], but the call may take any time.
    fn call_for_long(&self, cpu: u32, function: Function, argument: *mut u8) -> Result<Returned, Failure>;

    /// Makes calls run on whose KVM_RUN fails with EFAULT, or not any more. Returns the number of such
    /// failures since the last time.
    fn run_on(&self, after_faults: bool) -> u64;

    /// Changes the memslot with this number. Returns the error number with which the kernel has
    /// refused it.
    fn set_slot(&self, number: u32, slot: Slot) -> Option<i32>;

    /// Returns the log of the dirty pages of the memslot with this number, of `size` bytes, since the last time: a
    /// bit for each page.
    fn log(&self, number: u32, size: u64) -> Result<Vec<u64>, Failure>;

    /// Ends the VM, because the kernel has not done what it must. `state` is a word for the reason.
    fn broken(&self, state: &str, detail: String) -> Failure;

    /// Returns the buffer of a vCPU that makes no call.
    fn buffer(&self, cpu: u32) -> Result<Buffer, Failure>;

    /// Returns the word that each vCPU watches while it spins.
    fn words(&self) -> Vec<&'static AtomicU32>;
}

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returned {
    Done,
    /// ESR_EL1, ELR_EL1 and FAR_EL1.
    Exception([u64; 3]),
}

/// A device of the VM.
#[derive(Debug)]
pub(super) struct Device {
    /// Its address in requests.
    guest_address: String,
    assigned: AssignedDevice,
    /// The BAR with its IPA.
    bar: Bar,
    read_only: bool,
    /// The memory that it may access.
    dma: Option<Dma>,
    pub(super) backing: Backing,
}

impl Device {
    /// Returns its address in requests.
    pub(super) fn address(&self) -> &str {
        &self.guest_address
    }

    /// Takes the BAR again, after it was given up.
    pub(super) fn take(&mut self, root: &Root) -> Result<(), Failure> {
        self.backing = backing::of(root, &self.assigned, self.bar, self.dma)?;
        Ok(())
    }

    /// Returns its name in the scenario.
    pub(super) fn name(&self) -> &str {
        &self.assigned.device
    }

    /// Returns true if it may access memory by itself.
    pub(super) fn has_dma(&self) -> bool {
        self.dma.is_some()
    }

    /// Returns its memslot, which is made of the host's pages (Linux Documentation/virt/kvm/api.rst,
    /// KVM_SET_USER_MEMORY_REGION). Of a BAR that is smaller than a page VFIO maps the whole page.
    pub(super) fn slot(&self) -> Slot {
        let size = self.bar.size.next_multiple_of(rustix::param::page_size() as u64);
        let (ipa, address) = (self.bar.start, self.backing.address());
        let flags = if self.read_only { Flags::ReadOnly } else { Flags::None };
        Slot { ipa, size, address, flags }
    }
}

/// Everything that a VM is made of.
#[derive(Debug)]
pub(super) struct Plan {
    root: Root,
    pub(super) image: Vec<Segment>,
    pub(super) parts: Parts,
    pub(super) devices: Vec<Device>,
    pub(super) stage1: Stage1,
    /// The guest is a hypervisor, with this stage 2.
    pub(super) hypervisor: Option<Stage2>,
    joined: Option<Pair>,
    /// The guest has memory tagging, and begins without the memslots of its devices.
    pub(super) mte: bool,
}

impl Plan {
    /// Maps the RAM and the devices of a guest.
    pub(super) fn of(root: &Root, guest: &StartGuest) -> Result<(Plan, Ram), Failure> {
        if !(1..=MOST_VCPUS).contains(&guest.cpus) {
            return Err(fault::invalid(format_args!("a VM has 1 to {MOST_VCPUS} vCPUs, not {}", guest.cpus)));
        }
        let image = image::own(root)?;
        let joined = guest.joined.as_ref().map(|joined| Pair::of(joined, &guest.devices)).transpose()?;
        let mut bars = vec![];
        for assigned in &guest.devices {
            bars.push((assigned, backing::bar(root, assigned)?));
        }
        let sizes: Vec<u64> = bars.iter().map(|(_, bar)| bar.size).collect();
        let memory = u64::from(guest.memory_mib) << 20;
        let behind = joined.map_or(0, |joined| joined.behind_ram(&sizes));
        let ram = Ram::map(root, (&guest.ram, guest.ram_vma), memory, behind)?;
        let has_read_only = guest.upper_read_only || guest.devices.iter().any(|device| device.read_only);
        if has_read_only && joined.is_some() {
            return Err(fault::invalid("a memslot of two regions is not read-only"));
        }
        let ram = if guest.upper_read_only { ram.with_read_only_half()? } else { ram };
        let is_function = |device: &&AssignedDevice| device.kind == AssignKind::VirtualFunction;
        let dma = match guest.devices.iter().filter(is_function).count() {
            0 => None,
            1 => Some(igbvf::MEMORY),
            more => return Err(fault::invalid(format_args!("a VM has one virtual function, not {more}"))),
        };
        let parts = Parts::of(&ram, &image, guest.cpus, dma)?;
        let ipas = joined
            .map_or_else(|| layout::place(sizes.iter().copied()), |joined| joined.place(memory, &sizes));
        let ipas = ipas.ok_or_else(|| fault::invalid("the BARs of the VM do not fit its address space"))?;
        let mut devices = vec![];
        for ((assigned, bar), ipa) in bars.into_iter().zip(ipas) {
            let dma = is_function(&assigned).then(|| ram.dma());
            devices.push(Device {
                guest_address: format!("0000:00:{:02x}.0", assigned.guest_slot),
                dma,
                backing: backing::of(root, assigned, bar, dma)?,
                bar: Bar { start: ipa, ..bar },
                read_only: assigned.read_only,
                assigned: assigned.clone(),
            });
        }
        if let Some(joined) = joined {
            joined.join(&ram, &mut devices)?;
        }
        let (of_stage1, hypervisor) = match guest.hypervisor {
            None => (parts.tables, None),
            Some(of) => {
                let [of_stage1, of_stage2] = parts.tables.halves();
                let mut stage2 = Stage2::new(ram, of_stage2)?;
                devices.iter().try_for_each(|device| stage2.map(device.bar.start, device.bar.size, of))?;
                (of_stage1, Some(stage2))
            }
        };
        let stage1 = Stage1::new(ram, of_stage1)?;
        let (root, mte) = (root.clone(), guest.mte);
        let mut plan = Plan { root, image, parts, devices, stage1, hypervisor, joined, mte };
        plan.map_own(&ram)?;
        Ok((plan, ram))
    }

    /// Yields the memslots, each with its number.
    pub(super) fn slots(&self, ram: &Ram) -> Vec<(u32, Slot)> {
        let devices = if self.mte { &[] } else { &self.devices[..] };
        let own = memslot::own(ram, devices);
        match self.joined {
            Some(joined) => joined.slots(own),
            None => own,
        }
    }

    /// Returns the IPA of the copy of a place in this program.
    pub(super) fn ipa(&self, ram: &Ram, place: u64) -> Option<u64> {
        let mut copies = self.image.iter().zip(&self.parts.image);
        let (segment, part) = copies.find(|(segment, _)| (segment.start..segment.end).contains(&place))?;
        Some(ram.ipa(*part) + (place - segment.start))
    }

    /// Maps the program, the areas of the vCPUs and the doorbell in stage 1.
    fn map_own(&mut self, ram: &Ram) -> Result<(), Failure> {
        let Plan { image, parts, stage1, .. } = self;
        for (segment, part) in image.iter().zip(&parts.image) {
            let rights = Rights { write: segment.write, execute: segment.execute };
            stage1.map(segment.start, ram.ipa(*part), segment.size(), Attribute::WriteBack, rights)?;
        }
        let data = Rights { write: true, execute: false };
        let of_cpus = parts.cpus.iter().flat_map(|cpu| [cpu.mailbox, cpu.stack, cpu.buffer]);
        for part in of_cpus.chain(parts.dma) {
            let va = ram.at(part).addr().get() as u64;
            stage1.map(va, ram.ipa(part), part.size, Attribute::WriteBack, data)?;
        }
        for mark in parts.marks.iter().flat_map(marks::places) {
            let va = ram.at(mark).addr().get() as u64;
            stage1.map(va, ram.ipa(mark), layout::PAGE, Attribute::WriteBack, data)?;
        }
        let read = Rights { write: false, execute: false };
        for part in parts.edges.iter().chain([&parts.tables]) {
            let va = ram.at(*part).addr().get() as u64;
            stage1.map(va, ram.ipa(*part), part.size, Attribute::WriteBack, read)?;
        }
        stage1.map(layout::DOORBELL_VA, layout::DOORBELL, layout::PAGE, Attribute::DeviceNGnRE, data)
    }

    /// Writes the mailboxes, the edges, and the copy of the program as it is at this moment. The vCPUs
    /// begin after that.
    pub(super) fn load(&self, ram: &Ram) {
        for edge in &self.parts.edges {
            ram.write(edge.last_word(), &[1; WORD as usize]);
        }
        for cpu in &self.parts.cpus {
            let stack = ram.at(cpu.stack).addr().get() as u64 + cpu.stack.size;
            let mailbox = Mailbox {
                function: None,
                argument: std::ptr::null_mut(),
                stack,
                doorbell: layout::DOORBELL_VA,
                exception: [0; 3],
                word: AtomicU32::new(0),
            };
            // SAFETY: the part is ours, larger than a mailbox, and aligned to a page.
            unsafe { ram.at(cpu.mailbox).cast::<Mailbox>().write(mailbox) };
        }
        for (segment, part) in self.image.iter().zip(&self.parts.image) {
            // SAFETY: the segment is a readable part of this process. Its variables may change
            // meanwhile; the payload uses those alone that were set before.
            ram.write(*part, unsafe { segment.bytes() });
        }
    }
}

/// A VM.
pub(super) struct Vm<C> {
    pub(super) root: Root,
    pub(super) ram: Ram,
    pub(super) devices: Vec<Device>,
    pub(super) joined: Option<Pair>,
    /// The memslots that were divided.
    pub(super) divided: Vec<u32>,
    edges: Vec<Part>,
    /// The memory that a virtual function accesses too.
    pub(super) dma: Option<Part>,
    pub(super) marks: Marks,
    stage1: Stage1,
    hypervisor: Option<Stage2>,
    calls: Arc<C>,
    mapped: Vec<Window>,
    /// Spin while the VM is held.
    spinners: Spinners<&'static AtomicU32>,
}

/// A mapped BAR.
struct Window {
    device: String,
    guest_address: String,
    target: Target,
}

impl<C: Calls> Vm<C> {
    /// The parts of the plan, and the vCPUs that were made by it.
    pub(super) fn new(plan: Plan, ram: Ram, calls: C) -> Vm<C> {
        let Plan { root, devices, stage1, hypervisor, joined, parts, .. } = plan;
        // KVM drops the whole shadow of a guest hypervisor's stage 2 when the host takes any page (Linux 7.3
        // arch/arm64/kvm/mmu.c, kvm_unmap_gfn_range), and a look would see no BAR.
        // A page that is mapped for a device stays the device's when it is discarded, and the guest gets another
        // (QEMU 10.0 hw/vfio/container.c inhibits it: ram_block_discard_disable).
        let has_dma = parts.dma.is_some();
        let may_discard = parts.ends_anonymous && hypervisor.is_none() && !has_dma;
        let dma = parts.dma;
        let (edges, marks) = (parts.edges, Marks::new(parts.marks, may_discard));
        let (calls, mapped, spinners) = (Arc::new(calls), vec![], Spinners::none());
        let divided = vec![];
        Vm {
            root,
            ram,
            devices,
            joined,
            divided,
            edges,
            dma,
            marks,
            stage1,
            hypervisor,
            calls,
            mapped,
            spinners,
        }
    }

    /// Loads a word of each table that was made since. The VMM has written them, and stage 2 has
    /// only what a vCPU has accessed; a look walks all of them through stage 2.
    fn walk_tables(&self, cpu: u32, used: u64) -> Result<(), Failure> {
        self.touch(cpu, self.stage1.since(used))
    }

    /// Loads a word from each place.
    fn touch(&self, cpu: u32, places: impl Iterator<Item = NonNull<u8>>) -> Result<(), Failure> {
        let row = Row { offset: 0, bytes: WORD, ends: false };
        let rows: Vec<_> = places.map(|place| Placed { row, place }).collect();
        payload::load(self.free()?, cpu, Loads::BACK, &rows, &mut vec![0; rows.len()])
    }

    /// A vCPU that spins makes no call.
    pub(super) fn free(&self) -> Result<&C, Failure> {
        match self.spinners.is_held() {
            false => Ok(&self.calls),
            true => Err(fault::invalid("the guest is held")),
        }
    }
}

/// The vCPUs of a VM, for threads that store.
pub(super) struct SharedCalls<C>(Arc<C>);

impl<C> Clone for SharedCalls<C> {
    fn clone(&self) -> Self {
        SharedCalls(Arc::clone(&self.0))
    }
}

impl<C: Calls> Storer for SharedCalls<C> {
    fn begin(&self, _: u32) -> Result<(), Failure> {
        Ok(())
    }

    fn store(&self, cpu: u32, stores: Stores, rows: &[Placed], words: &[u64]) -> Result<(), Failure> {
        payload::store(&*self.0, cpu, stores, rows, words).map(drop)
    }

    fn end(&self) -> u64 {
        self.0.run_on(false)
    }
}

impl<C: Calls> Machine for Vm<C> {
    type Storer = SharedCalls<C>;

    fn map(&mut self, device: &str, address: &str, map: MapKind) -> Result<Target, Failure> {
        let is_it = |window: &&Window| window.guest_address == address && window.target.map == map;
        if let Some(window) = self.mapped.iter().find(is_it) {
            return Ok(window.target);
        }
        let found = self.devices.iter().find(|device| device.guest_address == address);
        let bar = found.ok_or_else(|| fault::invalid(format_args!("there is no device {address}")))?.bar;
        let va = layout::WINDOWS + layout::WINDOW * self.mapped.len() as u64;
        // Stage 2 decides if a BAR can be executed, and stage 1 about everything that Linux allows.
        let rights = Rights { write: true, execute: true };
        let used = self.stage1.used();
        self.stage1.map(va, bar.start, bar.size, Attribute::of(map), rights)?;
        self.walk_tables(0, used)?;
        let base = NonNull::new(va as *mut u8).ok_or_else(|| fault::invalid("a window at address 0"))?;
        let target = Target { base, bar, map };
        let (device, guest_address) = (device.to_owned(), address.to_owned());
        self.mapped.push(Window { device, guest_address, target });
        Ok(target)
    }

    fn mappings(&self) -> Vec<Mapping> {
        let mapping = |Window { device, target, .. }: &Window| Mapping {
            device: device.clone(),
            map: target.map,
            va: target.base.addr().get() as u64,
            bar: target.bar,
            hypervisor: self.hypervisor.as_ref().and_then(|stage2| stage2.type_of(target.bar.start)),
        };
        self.mapped.iter().map(mapping).collect()
    }

    fn on_cpus<T: Send>(
        &self,
        count: u32,
        work: impl Fn(u32) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, Failure> {
        together(count, |_| Ok(()), work)
    }

    fn store(&self, cpu: u32, stores: Stores, rows: &[Placed], words: &[u64]) -> Result<Duration, Failure> {
        payload::store(self.free()?, cpu, stores, rows, words)
    }

    fn load(&self, cpu: u32, loads: Loads, rows: &[Placed], words: &mut [u64]) -> Result<(), Failure> {
        payload::load(self.free()?, cpu, loads, rows, words)
    }

    fn storer(&self, may_fault: bool) -> Result<SharedCalls<C>, Failure> {
        self.free()?.run_on(may_fault);
        Ok(SharedCalls(Arc::clone(&self.calls)))
    }

    fn set_memory_space(&mut self, address: &str, _: bool) -> Result<(), Failure> {
        Err(no_configuration_space(address))
    }

    fn reset_function(&mut self, address: &str) -> Result<(), Failure> {
        Err(no_configuration_space(address))
    }

    fn memslot(&mut self, ask: &Memslot) -> Result<MemslotDone, Failure> {
        self.free()?;
        memslot::operate(self, ask)
    }

    fn plug(&mut self, ask: &Plug) -> Result<(), Failure> {
        self.free()?;
        plug::operate(self, ask)
    }

    fn transfer(&mut self, ask: &Transfer) -> Result<Transferred, Failure> {
        function::transfer(self, ask)
    }

    fn probe(&mut self, ask: Probe) -> Result<ProbeDone, Failure> {
        let Probe { address, map, kind, offset } = ask;
        let target = self.map("", &address, map)?;
        let access = probe::access(kind);
        let outcome = match probe::block(access, &target, offset)? {
            None => ProbeEnd::Unsupported,
            Some(block) => match payload::probe(self.free()?, access, block)? {
                Ok(true) => ProbeEnd::Ok,
                Ok(false) => ProbeEnd::Wrong,
                Err(esr) => ProbeEnd::Exception(esr),
            },
        };
        Ok(ProbeDone { map: target.map, kind, outcome })
    }

    /// A call on each vCPU.
    fn hold(&mut self, nonce: u64) -> Result<u32, Failure> {
        self.free()?;
        self.marks.store(&self.ram, &*self.calls)?;
        // The first store to a block whose dirty pages are logged splits it, and KVM maps only the page
        // of the store (Linux 6.1 to 6.12 arch/arm64/kvm/mmu.c, user_mem_abort). A walk stores what it
        // has loaded, so the second one finds all blocks split, and brings back all tables.
        for _ in 0..2 {
            for (cpu, _) in (0..).zip(self.calls.words()) {
                self.walk_tables(cpu, 0)?;
            }
        }
        // So a look sees each kind of memory, and the pages beside the next one.
        self.touch(0, self.edges.iter().map(|edge| self.ram.at(edge.last_word())))?;
        let calls = Arc::clone(&self.calls);
        let spinning = |(cpu, word)| {
            let calls = Arc::clone(&calls);
            (word, move |word: &AtomicU32| payload::spin(&*calls, cpu, nonce, word))
        };
        self.spinners.hold((0..).zip(self.calls.words()).map(spinning))
    }

    fn release(&mut self) -> Result<(), Failure> {
        self.spinners.release()
    }
}

fn no_configuration_space(address: &str) -> Failure {
    fault::invalid(format_args!("a guest of the built-in VMM has no configuration space of {address}"))
}

#[cfg(test)]
mod tests;
