//! The requests that a guest answers.

use super::{Answer, Host, answer, frames::Sender, index, invalid, program::Program};
use crate::{
    Error,
    machine::Machine,
    memory::Memory,
    plugin::of_kvm,
    tables::{self, MappedBar},
    wire::Side,
};
use s2lab_protocol::{
    Bar, Body, GuestEnd, MapKind, Mapping, MemslotOperation, ModuleVma, Notice, Peer, ProbeEnd, ProbeKind,
    StoreResult,
    ask::{
        BeginStores, Command, DeviceDone, Direction, EndStores, GuestRequest, Held, Hold, Load, Loaded,
        Memslot, MemslotDone, Plug, Probe, ProbeDone, Release, StartGuest, Store, Stored, StoresEnded,
        Transfer, Transferred, pattern,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    os::unix::fs::FileExt,
    sync::Arc,
};

const SIGSEGV: i32 = 11;

/// A guest with its agent.
pub(super) struct Guest {
    /// PCI address in the guest and the scenario's name of each assigned device.
    pub(super) devices: BTreeMap<String, String>,
    /// The VMAs of s2lab's module, by device.
    pub(super) vmas: BTreeMap<String, ModuleVma>,
    mapped: Vec<(String, MapKind)>,
    /// Devices whose BAR stage 2 has.
    pub(super) touched: BTreeSet<String>,
    /// The IPAs of the faults that the kernel has traced.
    pub(super) faulted: BTreeSet<u64>,
    /// Which of the host's guests, from 0.
    number: u64,
    vcpus: u32,
    pub(super) ended: bool,
    held: bool,
    program: Program,
}

impl Host {
    /// The answer; None if the guest ended instead.
    pub(super) fn of_guest(&mut self, name: &str, request: GuestRequest) -> Result<Option<Answer>, Error> {
        let machine = Arc::clone(&self.sender.machine);
        let Some(guest) = self.guests.get_mut(name) else {
            return Ok(Some(Err(invalid(format!("no guest {name}")))));
        };
        Ok(Some(match request {
            GuestRequest::BeginStores(ask) => guest.begin_stores(&machine, ask),
            GuestRequest::Command(ask) => guest.command(&machine, &ask)?,
            GuestRequest::EndStores(_) => answer::<EndStores>(&StoresEnded { passes: 9, faults: 0 }),
            GuestRequest::Hold(ask) => guest.hold(&machine, &ask)?,
            GuestRequest::Load(ask) => guest.load(&machine, &ask)?,
            GuestRequest::Memslot(ask) => guest.memslot(&machine, &ask)?,
            GuestRequest::Plug(ask) => guest.plug(&machine, &ask)?,
            GuestRequest::Probe(ask) => return guest.probe(&self.sender, name, &ask),
            GuestRequest::PutProgram(ask) => guest.program.put(&ask),
            GuestRequest::Release(_) => guest.release(&machine),
            GuestRequest::RunProgram(ask) => guest.program.run(&ask),
            GuestRequest::Store(ask) => guest.store(&machine, &ask)?,
            GuestRequest::Transfer(ask) => guest.transfer(&machine, &ask)?,
        }))
    }
}

impl Guest {
    /// The guest `number` of the host, from 0.
    pub(super) fn new(spec: &StartGuest, number: u64) -> Guest {
        let address = |slot: u8| format!("0000:00:{slot:02x}.0");
        let devices = spec.devices.iter().map(|d| (address(d.guest_slot), d.device.clone())).collect();
        let vmas = spec.devices.iter().filter_map(|d| Some((d.device.clone(), d.vma?))).collect();
        let (mapped, touched, faulted, vcpus) = (vec![], BTreeSet::new(), BTreeSet::new(), spec.cpus);
        let program = Program::default();
        Guest { devices, vmas, mapped, touched, faulted, number, vcpus, ended: false, held: false, program }
    }

    /// Removes a device from stage 2, unless the script has it stay.
    pub(super) fn remove(&mut self, machine: &Machine, device: &str) -> Result<(), Error> {
        if machine.lock().stay_mapped {
            return Ok(());
        }
        self.touched.remove(device);
        self.write_tables(machine)?;
        self.invalidate(machine, device)
    }

    fn command(
        &mut self,
        machine: &Machine,
        Command { address, operation }: &Command,
    ) -> Result<Answer, Error> {
        if let Some(device) = self.devices.get(address).cloned().filter(|_| operation.removes()) {
            self.remove(machine, &device)?;
        }
        Ok(answer::<Command>(&DeviceDone { operation: *operation }))
    }

    fn plug(&mut self, machine: &Machine, Plug { address, operation }: &Plug) -> Result<Answer, Error> {
        if let Some(device) = self.devices.get(address).cloned().filter(|_| operation.removes()) {
            self.remove(machine, &device)?;
        }
        Ok(answer::<Plug>(&DeviceDone { operation: *operation }))
    }

    /// Like KVM: dirty pages of a BAR are not logged.
    fn memslot(&mut self, machine: &Machine, ask: &Memslot) -> Result<Answer, Error> {
        const EINVAL: i32 = 22;
        let Memslot { address, operation, .. } = ask;
        let device = address.as_ref().and_then(|address| self.devices.get(address)).cloned();
        if let Some(device) = device.filter(|_| operation.removes()) {
            self.remove(machine, &device)?;
        }
        let errno = (*operation == MemslotOperation::Log && address.is_some()).then_some(EINVAL);
        Ok(answer::<Memslot>(&MemslotDone { operation: *operation, errno }))
    }

    /// Records the TLBI instructions of a host that has removed the device from stage 2.
    fn invalidate(&self, machine: &Machine, device: &str) -> Result<(), Error> {
        let Some(plugin) = &machine.plugin else { return Ok(()) };
        let ipa = tables::bar_ipa(index(machine, device));
        let size = machine.bars.get(device).map_or(0, |bar| bar.size);
        let other = machine.lock().invalidate.clone();
        plugin.record(&other.unwrap_or_else(|| of_kvm(ipa..ipa + size)), tables::vttbr(self.number))
    }

    /// Accesses memory as QEMU does. Unaligned accesses are to Normal-NC memory with the series;
    /// without it the guest ends instead of answering.
    fn probe(&mut self, sender: &Sender, name: &str, ask: &Probe) -> Result<Option<Answer>, Error> {
        let Probe { map, kind, .. } = *ask;
        let outcome = match kind {
            ProbeKind::Fetch => Some(ProbeEnd::Signal(SIGSEGV)),
            ProbeKind::Store | ProbeKind::Load if !sender.machine.series => None,
            _ => Some(ProbeEnd::Ok),
        };
        if let Some(outcome) = outcome {
            return Ok(Some(answer::<Probe>(&ProbeDone { map, kind, outcome })));
        }
        self.ended = true;
        sender
            .machine
            .print(b"[   19.5] kvm [112]: Unsupported FSC: EC=0x24 xFSC=0x21 ESR_EL2=0x93c28061\r\n");
        let detail = "error: kvm run failed Bad address".into();
        let how = GuestEnd::Stopped { state: "internal-error".into(), detail };
        sender.send(&Peer::Host, Body::Notice(Notice::GuestEnded { guest: name.into(), how }))?;
        Ok(None)
    }

    fn begin_stores(&mut self, machine: &Machine, BeginStores { store, .. }: BeginStores) -> Answer {
        self.touch(machine, &store.device, store.map);
        answer::<BeginStores>(&())
    }

    fn store(&mut self, machine: &Machine, spec: &Store) -> Result<Answer, Error> {
        let Some(bar) = machine.bars.get(&spec.device) else {
            return Ok(Err(invalid(format!("no device {}", spec.device))));
        };
        let from = spec.manner.from;
        let Some(end) = from.checked_add(spec.bytes).filter(|end| *end <= bar.size) else {
            return Ok(Err(invalid("beyond the BAR")));
        };
        let words = (from..end).step_by(8).flat_map(|offset| pattern(spec.seed, offset).to_le_bytes());
        bar.write(from, &words.collect::<Vec<_>>())?;
        self.touch(machine, &spec.device, spec.map);
        let result = StoreResult {
            bar: self.bar(machine, &spec.device, bar),
            stores: spec.by.stores(spec.width, spec.bytes),
            nanos: 1000,
            first_difference: None,
        };
        let Store { map, width, by, manner, bytes, .. } = *spec;
        Ok(answer::<Store>(&Stored { map, width, by, manner, bytes, result }))
    }

    /// Writes or reads the memory of a drive.
    fn transfer(&self, machine: &Machine, ask: &Transfer) -> Result<Answer, Error> {
        let Transfer { address, direction, bytes, seed } = ask;
        let device = self.devices.get(address).filter(|device| !machine.bars.contains_key(*device));
        if device.is_some() {
            let first_difference = machine.lock().wire.exchange(Side::Guest, *direction, *bytes, *seed);
            return Ok(answer::<Transfer>(&Transferred {
                direction: *direction,
                bytes: *bytes,
                first_difference,
            }));
        }
        let name = self.devices.get(address).map(|device| format!("drive-{device}"));
        let Some(path) = name.and_then(|name| machine.options.drives.get(&name)) else {
            return Ok(Err(invalid(format!("no drive at {address}"))));
        };
        let failed = |why| Error::Io { what: path.clone(), why };
        let drive = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let offsets = || (0..*bytes).step_by(8);
        let due: Vec<u8> = offsets().flat_map(|offset| pattern(*seed, offset).to_le_bytes()).collect();
        let first_difference = match direction {
            Direction::Write => {
                drive.write_all_at(&due, 0).map_err(failed)?;
                None
            }
            Direction::Read => {
                let mut read = vec![0; due.len()];
                drive.read_exact_at(&mut read, 0).map_err(failed)?;
                let mut words = offsets().zip(read.chunks(8).zip(due.chunks(8)));
                words.find(|(_, (read, due))| read != due).map(|(offset, _)| offset)
            }
        };
        Ok(answer::<Transfer>(&Transferred { direction: *direction, bytes: *bytes, first_difference }))
    }

    fn load(&mut self, machine: &Machine, spec: &Load) -> Result<Answer, Error> {
        let Some(bar) = machine.bars.get(&spec.device) else {
            return Ok(Err(invalid(format!("no device {}", spec.device))));
        };
        let Load { map, width, manner, bytes, .. } = *spec;
        if manner.from.checked_add(bytes).is_none_or(|end| end > bar.size) {
            return Ok(Err(invalid("beyond the BAR")));
        }
        self.touch(machine, &spec.device, spec.map);
        let digest = |(start, length)| {
            let start = manner.from + start;
            Ok(Load::digest((start..).step_by(8).zip(bar.words(start, length)?)))
        };
        let digests = Load::parts(spec.bytes).map(digest).collect::<Result<_, Error>>()?;
        let loads = bytes / u64::from(width.min(16));
        let bar = self.bar(machine, &spec.device, bar);
        Ok(answer::<Load>(&Loaded { bar, map, width, manner, bytes, loads, digests }))
    }

    /// Maps the BAR in the guest, and its stage 2 has it.
    fn touch(&mut self, machine: &Machine, device: &str, map: MapKind) {
        let mapping = (device.to_owned(), map);
        if !self.mapped.contains(&mapping) {
            self.mapped.push(mapping);
        }
        if self.touched.insert(device.to_owned()) {
            let size = machine.bars.get(device).map_or(0, |bar| bar.size);
            self.faulted.extend(tables::faults(index(machine, device), size));
        }
    }

    /// The BAR as the guest sees it.
    fn bar(&self, machine: &Machine, device: &str, bar: &Memory) -> Bar {
        Bar { index: 2, start: tables::bar_ipa(index(machine, device)), size: bar.size, prefetchable: true }
    }

    fn hold(&mut self, machine: &Machine, Hold { nonce }: &Hold) -> Result<Answer, Error> {
        if self.held {
            return Ok(Err(invalid("the guest is held already")));
        }
        self.held = true;
        let mapping = |(n, (device, map)): (u64, &(String, MapKind))| {
            let bar = self.bar(machine, device, machine.bars.get(device)?);
            Some(Mapping {
                device: device.clone(),
                map: *map,
                va: tables::mapping_va(n),
                bar,
                hypervisor: None,
            })
        };
        let mappings = (0..).zip(&self.mapped).filter_map(mapping).collect();
        self.write_tables(machine)?;
        let mut state = machine.lock();
        let registers = tables::registers(self.number, *nonce).into_iter();
        state.held = Some(registers.map(|(name, value)| (name.to_owned(), value)).collect());
        state.stops = 0;
        state.vcpus = self.vcpus;
        Ok(answer::<Hold>(&Held { pid: 1, mappings, vcpus: self.vcpus }))
    }

    fn release(&mut self, machine: &Machine) -> Answer {
        if !self.held {
            return Err(invalid("the guest is not held"));
        }
        self.held = false;
        machine.lock().held = None;
        answer::<Release>(&())
    }

    /// Writes the guest's tables, as they are now, into the host's memory.
    pub(super) fn write_tables(&self, machine: &Machine) -> Result<(), Error> {
        let mapped = |(device, map): &(String, MapKind)| {
            let size = machine.bars.get(device)?.size;
            let touched = self.touched.contains(device);
            Some(MappedBar { device: index(machine, device), size, map: *map, touched })
        };
        let bars: Vec<_> = self.mapped.iter().filter_map(mapped).collect();
        let ram_leaf = machine.lock().ram_leaf.unwrap_or(guest_tables::NORMAL_WB);
        let pages = tables::build(self.number, &bars, machine.bar_leaf(), ram_leaf);
        let state = machine.lock();
        let devices = self
            .devices
            .values()
            .filter_map(|device| Some((index(machine, device), machine.bars.get(device)?.size)));
        let vmm = tables::vmm(self.number, &devices.collect::<Vec<_>>(), state.vmm_pages);
        if let Some(ram) = &machine.ram {
            for (address, page) in pages.into_iter().chain(vmm) {
                ram.write(address, &page)?;
            }
            for (address, word) in &state.pokes {
                ram.write(*address, &word.to_le_bytes())?;
            }
        }
        Ok(())
    }
}
