//! Made-up runs: the events that a correct lab would log of a plan's cells, with table pages in
//! `raw/`, and changes of them.

use guest_tables::{
    BAR_IPA, BAR_PA, BAR_VA, GuestTables, HCR, HCR_FWB, INDEX_NC, LEAF, NEVER_EXEC, PAGE, registers,
    stage2_root,
};
use s2lab_model::{
    comparison::{Compare, FEWEST_PAIRS},
    event::{
        Attempts, CellEnd, Event, KernelOrigin, Line, Loaded, LoadedPart, Place, Plan, PlannedCell, Stage,
        StopCause,
    },
    hash::digest,
    kernel::Trait,
    night::{KnownFailure, Night},
    plan::Key,
    steps::{
        Actor, AfterReset, Beside, DeviceOperated, DmaDone, Executed, FramesDone, HOST, LoadedBytes, Look,
        MemslotOperated, MemslotStep, Observation, ProbeOutcome, ProbeStep, Probed, Raced, Reset, Sample,
        Selftest, Step, StoreStep, Stored, VmaFlags,
    },
};
use s2lab_protocol::{
    Bar, BoundDevice, By, DeviceOperation, GuestEnd, HostMemory, Mapping, MemslotOperation, ProbeEnd,
    StoreResult, Vma, ask::ProgramEnd,
};
use std::{collections::BTreeMap, fs, path::Path};

const RAM: (u64, u64) = (0x4000_0000, 0x6000_0000);
const IOMEM: &str = "40200000-41a6ffff : Kernel code\n42080000-4242ffff : Kernel data\n";

fn operated(step: usize, by: Actor, device: &str, operation: DeviceOperation) -> Event {
    let data = Observation::DeviceOperated(DeviceOperated { by, device: device.into(), operation });
    Event::Observed { step, data }
}

fn loaded(part: LoadedPart, start: u64, size: u64) -> Event {
    Event::HostLoaded(Loaded { part, start, size })
}

/// The behaviour of a cell's kernel, whatever it declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaves {
    /// Every device page is Device-nGnRE, and no VMA has the flag.
    Before,
    /// Device pages are Normal-NC, and VMAs have the flag.
    After,
}

impl Behaves {
    pub(crate) fn as_declared(cell: &PlannedCell) -> Self {
        let honours = cell.resolved.traits.has(Trait::WcHonoured) == Some(true);
        if honours { Behaves::After } else { Behaves::Before }
    }
}

/// A run that a test can change.
pub(crate) struct Story {
    cells: Vec<PlannedCell>,
    /// The time at which it began.
    started: String,
    attempts: Attempts,
    kernels: BTreeMap<String, KernelOrigin>,
    night: Option<Night>,
    compare: Option<Compare>,
    /// Each event with the cell's key.
    events: Vec<(Option<Key>, Event)>,
    pages: BTreeMap<String, Vec<u8>>,
}

impl Story {
    /// Makes a run in which every cell passes.
    pub(crate) fn well(cells: &[PlannedCell]) -> Self {
        Self::of(cells, Behaves::as_declared)
    }

    pub(crate) fn of(cells: &[PlannedCell], behaves: impl Fn(&PlannedCell) -> Behaves) -> Self {
        let mut story = Self {
            cells: cells.to_vec(),
            started: "2026-11-22T15:00:00Z".into(),
            attempts: Attempts::Once,
            kernels: BTreeMap::new(),
            night: None,
            compare: None,
            events: vec![],
            pages: BTreeMap::new(),
        };
        for cell in cells {
            let events = Teller { cell, behaves: behaves(cell), pages: &mut story.pages }.events();
            story.events.extend(events.into_iter().map(|event| (Some(cell.key.clone()), event)));
        }
        story.events.push((None, Event::RunEnded));
        story
    }

    /// Ends the cell `key` so in the middle of its steps.
    pub(crate) fn stopped(self, key: &str, cause: StopCause, what: &str, hint: Option<&str>) -> Self {
        let (what, hint) = (what.to_owned(), hint.map(str::to_owned));
        let end = CellEnd::Stopped { stage: Stage::Steps, cause, what, hint };
        let kept = |event: &Event| {
            matches!(event, Event::CellStarted { .. } | Event::Environment { .. } | Event::HostUp { .. })
        };
        let mut story = self.only(key, kept);
        let at = story
            .events
            .iter()
            .rposition(|(cell, _)| cell.as_ref().is_some_and(|cell| *cell == key))
            .unwrap();
        story.events.insert(at + 1, (Some(key.parse().unwrap()), Event::CellEnded { end }));
        story
    }

    /// Keeps only those events of the cell.
    pub(crate) fn only(mut self, key: &str, kept: impl Fn(&Event) -> bool) -> Self {
        self.events.retain(|(cell, event)| cell.as_ref().is_none_or(|cell| *cell != key) || kept(event));
        self
    }

    /// Adds an event of the cell, before its end.
    pub(crate) fn and(mut self, key: &str, event: Event) -> Self {
        let is_of = |cell: &Option<Key>| cell.as_ref().is_some_and(|cell| *cell == key);
        let at = self.events.iter().rposition(|(cell, _)| is_of(cell)).unwrap();
        self.events.insert(at, (Some(key.parse().unwrap()), event));
        self
    }

    /// Changes events of the cell.
    pub(crate) fn edit(mut self, key: &str, change: impl Fn(&mut Event)) -> Self {
        let of_cell =
            self.events.iter_mut().filter(|(cell, _)| cell.as_ref().is_some_and(|cell| *cell == key));
        of_cell.for_each(|(_, event)| change(event));
        self
    }

    /// Interrupts the run when the cell `key` has just begun its steps, and later ones have not
    /// begun.
    pub(crate) fn interrupted(self, key: &str, signal: &str) -> Self {
        let mut story = self.stopped(key, StopCause::Interrupted, "interrupted", None);
        let at = story
            .events
            .iter()
            .rposition(|(cell, _)| cell.as_ref().is_some_and(|cell| *cell == key))
            .unwrap();
        story.events.truncate(at + 1);
        story.events.push((None, Event::Interrupted { signal: signal.into() }));
        story
    }

    /// Sets the number of attempts in the plan.
    pub(crate) fn attempting(self, attempts: Attempts) -> Self {
        Self { attempts, ..self }
    }

    /// Makes the run a comparison, whose boots are the attempts.
    pub(crate) fn comparing(self, first: &str, second: &str) -> Self {
        let (first, second) = (first.parse().unwrap(), second.parse().unwrap());
        Self { compare: Some(Compare { first, second, pairs: FEWEST_PAIRS }), ..self }
    }

    /// Sets the time at which the run began.
    pub(crate) fn at(self, started: &str) -> Self {
        Self { started: started.to_owned(), ..self }
    }

    /// Sets the kind of the machine.
    pub(crate) fn on(mut self, machine: &str) -> Self {
        let is_place = |(_, event): &(Option<Key>, Event)| matches!(event, Event::Environment { .. });
        for at in (0..self.events.len()).rev().filter(|at| is_place(&self.events[*at])).collect::<Vec<_>>() {
            let cell = self.events[at].0.clone();
            self.events.insert(at + 1, (cell, Event::Machine { kind: machine.to_owned() }));
        }
        self
    }

    /// Makes the run a night of that date, with these known failures.
    pub(crate) fn on_the_night(self, date: &str, known: Vec<KnownFailure>) -> Self {
        Self { night: Some(Night { date: date.parse().unwrap(), known }), ..self }
    }

    /// Leaves the cell `key` out of the run.
    pub(crate) fn not_run(self, key: &str, why: &str) -> Self {
        let mut story = self.only(key, |_| false);
        let at = story.events.len() - 1;
        story.events.insert(at, (Some(key.parse().unwrap()), Event::NotRun { why: why.into() }));
        story
    }

    /// Cuts the log after the first `n` events of the cell `key`.
    pub(crate) fn torn_after(mut self, key: &str, n: usize) -> Self {
        let mut of_cell = self
            .events
            .iter()
            .enumerate()
            .filter(|(_, (cell, _))| cell.as_ref().is_some_and(|cell| *cell == key));
        let end = of_cell.nth(n).unwrap().0;
        self.events.truncate(end);
        self
    }

    /// Adds the other story's attempts at the same cells after this one's.
    pub(crate) fn again(mut self, other: Story) -> Self {
        let end = self.events.pop().unwrap();
        self.events.extend(other.events.into_iter().filter(|(cell, _)| cell.is_some()));
        self.events.push(end);
        self.pages.extend(other.pages);
        self
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        let plan = Plan {
            s2lab: "0.1.0".into(),
            started: self.started.clone(),
            lab: None,
            lab_commit: None,
            attempts: self.attempts,
            kernels: self.kernels.clone(),
            shuffle: None,
            mutants: None,
            night: self.night.clone(),
            shard: None,
            compare: self.compare.clone(),
            cells: self.cells.clone(),
        };
        // Each attempt has a session of its own.
        let (mut session, mut sessions) = (0, 0);
        let mut events = vec![(None, session, Event::Plan(plan))];
        for (cell, event) in &self.events {
            let ends = matches!(event, Event::CellEnded { .. });
            let event = match event {
                Event::CellStarted { .. } => {
                    session = sessions;
                    sessions += 1;
                    events.push((None, session, Event::SessionStarted));
                    Event::CellStarted { session: Some(session), place: Some(Place::FIRST) }
                }
                event => event.clone(),
            };
            events.push((cell.clone(), session, event));
            if ends {
                events.push((None, session, Event::SessionEnded));
            }
        }
        let line = |((cell, session, event), seq): ((Option<Key>, _, _), _)| {
            Line::new(seq, seq * 1000, Some(session), cell.as_ref(), event)
        };
        events.into_iter().zip(0..).map(line).collect()
    }

    pub(crate) fn text(&self) -> String {
        self.lines().iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    /// Writes `events.jsonl` and `raw/` into the folder, nothing else.
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder.join("raw")).unwrap();
        fs::write(folder.join("events.jsonl"), self.text()).unwrap();
        for (digest, page) in &self.pages {
            fs::write(folder.join("raw").join(digest), page).unwrap();
        }
    }
}

/// Makes the events of one cell.
struct Teller<'a> {
    cell: &'a PlannedCell,
    behaves: Behaves,
    pages: &'a mut BTreeMap<String, Vec<u8>>,
}

impl Teller<'_> {
    fn events(&mut self) -> Vec<Event> {
        let cell = &self.cell.resolved;
        let fact = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let release = match self.behaves {
            Behaves::Before => "6.1.0-41-cloud-arm64",
            Behaves::After => "6.12.57+deb12-cloud-arm64",
        };
        let image = digest(release.as_bytes());
        let blocking = [("cpu", cell.host.cpu.as_str()), ("accelerator", "tcg")].map(fact);
        let variable =
            [("kernel image", image.as_str()), ("qemu", "10.0.2"), ("agent", "sha256:22")].map(fact);
        let mut events = vec![
            Event::CellStarted { session: None, place: None },
            Event::Environment { blocking: blocking.into(), variable: variable.into() },
            Event::HostUp { release: release.into(), page_size: 4096, taint: Some(0) },
            Event::HostRam { start: RAM.0, size: RAM.1 },
            loaded(LoadedPart::Kernel, 0x4020_0000, 0x223_0000),
            loaded(LoadedPart::Initramfs, 0x4800_0000, 0x30_0000),
            loaded(LoadedPart::DeviceTree, 0x4840_0000, 0x10_0000),
            Event::HostMemory(HostMemory { iomem: IOMEM.into(), reserved: None, hypervisor: None }),
        ];
        for device in cell.guests.values().flat_map(|guest| guest.assign.keys()) {
            let bar = self.bar(device, BAR_PA);
            events.push(Event::DeviceBound(BoundDevice {
                device: device.clone(),
                address: "0000:01:00.0".into(),
                vendor: 0x1af4,
                id: 0x1110,
                driver: "vfio-pci".into(),
                iommu_group: Some(3),
                bars: vec![bar],
            }));
            events.push(Event::BarPlaced { device: device.clone(), bar });
        }
        for guest in cell.guests.keys() {
            let release = "6.12.57+deb12-cloud-arm64".into();
            events.push(Event::GuestUp { guest: guest.clone(), release, page_size: 4096, taint: Some(0) });
        }
        for (at, step) in cell.steps.iter().enumerate() {
            events.extend(self.step(at, step));
        }
        events.push(Event::ConsoleTested);
        events.push(Event::CellRecord { taint: Some(0), tables: None });
        events.push(Event::HostDown { taint: Some(0), tables: None });
        events.push(Event::CellEnded { end: CellEnd::Complete });
        events
    }

    fn step(&mut self, step: usize, of: &Step) -> Vec<Event> {
        match of {
            Step::Store(store) => {
                let stored = |width: &u32| {
                    let data = Observation::Stored(self.stored(store, *width));
                    Event::Observed { step, data }
                };
                store.width.iter().map(stored).collect()
            }
            Step::Measure(of) => {
                let sample = |number: u32| {
                    let stored = self.stored(&of.store, of.store.width[0]);
                    let (measure, warm_up) = (of.name.clone(), number < of.warm_up);
                    let reset = of.reset.as_ref().map(|_| "bus".to_owned());
                    let sample = Sample { measure, number, warm_up, reset, stored };
                    Event::Observed { step, data: Observation::Sample(sample) }
                };
                (0..of.stores()).map(sample).collect()
            }
            Step::Load(load) => {
                let loaded = |width: &u32| {
                    let (guest, device) = (load.guest.clone(), load.device.clone());
                    let (map, width, bytes) = (load.map, *width, load.bytes.0);
                    let (bar, loads) = (self.bar(&device, BAR_IPA), bytes / u64::from(width));
                    let (manner, difference) = (load.manner(), None);
                    let loaded =
                        LoadedBytes { guest, device, map, width, manner, bytes, bar, loads, difference };
                    Event::Observed { step, data: Observation::LoadedBytes(loaded) }
                };
                load.width.iter().map(loaded).collect()
            }
            Step::Look(look) => {
                assert_eq!(look.of, None, "no story has a host in protected mode");
                let guests: Vec<_> = self.cell.resolved.guests.keys().cloned().collect();
                guests.iter().flat_map(|guest| self.look(step, &look.name, guest)).collect()
            }
            Step::Host(host) => {
                let (device, operation) = host.parts();
                let event = operation.map(|operation| operated(step, Actor::Host, device, operation));
                let reset = || Observation::Reset(Reset { device: device.into(), method: "bus".into() });
                let event = event.unwrap_or_else(|| Event::Observed { step, data: reset() });
                [event].into_iter().chain(self.after(step)).collect()
            }
            Step::Guest(guest) => {
                let (device, operation) = guest.parts();
                let event = operated(step, Actor::Guest, device, operation);
                [event].into_iter().chain(self.after(step)).collect()
            }
            Step::Memslot(memslot) => {
                let MemslotStep { guest, of, operation, with } = memslot.clone();
                let errno = (operation == MemslotOperation::Log && of != "ram").then_some(22);
                let done = MemslotOperated { guest, of, operation, with, errno };
                let event = Event::Observed { step, data: Observation::MemslotOperated(done) };
                [event].into_iter().chain(self.after(step)).collect()
            }
            Step::While(of) => {
                let (guest, device) = (of.store.guest.clone(), of.store.device.clone());
                let operations = (0..of.rounds).flat_map(|_| of.host.clone()).collect();
                let (rounds, seed, log, refused, passes, faults) = (of.rounds, of.seed, of.log, None, 9, 3);
                let raced = Raced { guest, device, rounds, seed, operations, log, refused, passes, faults };
                let stored = self.stored(&of.store, of.store.width[0]);
                let both = [Observation::Raced(raced), Observation::Stored(stored)];
                let both = both.map(|data| Event::Observed { step, data });
                self.after(step).into_iter().chain(both).collect()
            }
            Step::Probe(probe) => {
                let outcome = match self.behaves {
                    Behaves::After => ProbeOutcome::Answered(ProbeEnd::Ok),
                    Behaves::Before => ProbeOutcome::GuestEnded(GuestEnd::Stopped {
                        state: "internal-error".into(),
                        detail: "kvm run failed Bad address".into(),
                    }),
                };
                let ProbeStep { guest, device, map, kind } = probe.clone();
                let probed = Probed { guest, device, map, kind, outcome, arrived: false };
                vec![Event::Observed { step, data: Observation::Probed(probed) }]
            }
            Step::Dma(dma) => {
                let (guest, device, bytes) = (dma.guest.clone(), dma.device.clone(), dma.bytes.0);
                let (drive_difference, back_difference, read_difference) = (None, None, None);
                let done =
                    DmaDone { guest, device, bytes, drive_difference, back_difference, read_difference };
                vec![Event::Observed { step, data: Observation::DmaDone(done) }]
            }
            Step::Frames(frames) => {
                let (guest, device, bytes) = (frames.guest.clone(), frames.device.clone(), frames.bytes.0);
                let (host_difference, guest_difference) = (None, None);
                let done = FramesDone { guest, device, bytes, host_difference, guest_difference };
                vec![Event::Observed { step, data: Observation::FramesDone(done) }]
            }
            Step::Exec(exec) => {
                let output = "KTAP version 1\n1..2\nok 1 map\nok 2 unmap # SKIP no memory\n".to_owned();
                let (place, file, end) = (exec.place.clone(), exec.file.clone(), ProgramEnd::Exit(0));
                let executed = Executed { place, file, end, output };
                vec![Event::Observed { step, data: Observation::Executed(executed) }]
            }
            Step::Suite(suite) => {
                let executed = |test: Selftest<'_>| {
                    let (place, file, end) = (HOST.to_owned(), test.file(), ProgramEnd::Exit(0));
                    let executed = Executed { place, file, end, output: String::new() };
                    Event::Observed { step, data: Observation::Executed(executed) }
                };
                suite.tests().map(executed).collect()
            }
        }
    }

    /// Returns a store that takes a nanosecond for each byte.
    fn stored(&self, store: &StoreStep, width: u32) -> Stored {
        let (bar, bytes) = (self.bar(&store.device, BAR_IPA), store.bytes.0);
        let stores = bytes / u64::from(width);
        let result = StoreResult { bar, stores, nanos: bytes, first_difference: None };
        let (guest, device) = (store.guest.clone(), store.device.clone());
        let by = store.by.filter(|by| *by != By::usual(width));
        let (map, manner, file_difference) = (store.map, store.manner(), None);
        Stored { guest, device, map, width, by, manner, bytes, result, file_difference }
    }

    /// Returns the tables of the guest whose device a step removes, which no longer map it.
    fn after(&mut self, step: usize) -> Vec<Event> {
        let removals = self.cell.resolved.steps[step].removals();
        let devices: Vec<_> = removals.iter().map(|removal| removal.device.to_owned()).collect();
        let is_loop = matches!(self.cell.resolved.steps[step], Step::While(_));
        let round = |number: u32| is_loop.then_some(number);
        devices
            .iter()
            .zip(1..)
            .filter_map(|(device, number)| self.left(step, device, round(number)))
            .collect()
    }

    fn left(&mut self, step: usize, device: &str, round: Option<u32>) -> Option<Event> {
        let cell = &self.cell.resolved;
        let owns = |name: &&String| cell.guests[*name].assign.contains_key(device);
        let owner = cell.guests.keys().find(owns).unwrap().clone();
        if !cell.steps[..step].iter().any(|step| matches!(step, Step::Look(_))) {
            return None;
        }
        let (tables, registers) = self.guest(&owner);
        let pages = tables.pages();
        let kept = pages.iter().map(|(at, page)| (*at, digest(page))).collect();
        self.pages.extend(pages.into_values().map(|page| (digest(&page), page)));
        let tables = Beside { registers };
        let after = AfterReset { device: device.into(), round, tables, pages: kept };
        Some(Event::Observed { step, data: Observation::AfterReset(after) })
    }

    /// Returns a guest's tables without any device, and the registers that lead to them.
    fn guest(&self, guest: &str) -> (GuestTables, BTreeMap<String, u64>) {
        let cell = &self.cell.resolved;
        let has_fwb = self.has_fwb();
        let number = cell.guests.keys().take_while(|name| *name != guest).count() as u64;
        let mut registers = registers(3);
        registers.extend([
            ("HCR_EL2", HCR | if has_fwb { HCR_FWB } else { 0 }),
            ("SCTLR_EL1", 5),
            ("VTTBR_EL2", stage2_root(number) | (3 + number) << 48),
        ]);
        let ram = if has_fwb { 0b0110 } else { 0b1111 };
        let registers = registers.into_iter().map(|(name, value)| (name.to_owned(), value));
        (GuestTables::of(number, LEAF | ram << 2), registers.collect())
    }

    fn has_fwb(&self) -> bool {
        self.cell.resolved.host.cpu != "neoverse-n1"
    }

    /// Returns a look at one guest, and the VMAs that belong to it.
    fn look(&mut self, step: usize, name: &str, guest: &str) -> Vec<Event> {
        let cell = &self.cell.resolved;
        let nc = 0b0101;
        let device = if self.behaves == Behaves::After { nc } else { 0b0001 };
        let (mut tables, registers) = self.guest(guest);
        let (mut mappings, mut vmas) = (vec![], vec![]);
        for assigned in cell.guests[guest].assign.keys() {
            let bar = self.bar(assigned, BAR_IPA);
            tables.back(BAR_IPA, 2, BAR_PA | LEAF | device << 2 | NEVER_EXEC);
            for offset in (0..bar.size).step_by(PAGE as usize) {
                tables.map(BAR_VA + offset, BAR_IPA + offset, INDEX_NC);
            }
            let map = s2lab_protocol::MapKind::Wc;
            mappings.push(Mapping { device: assigned.clone(), map, va: BAR_VA, bar, hypervisor: None });
            vmas.push(self.vma(step, guest, assigned, bar.size));
        }
        let pages = tables.pages();
        let look = Look {
            name: name.into(),
            guest: guest.into(),
            vcpu: 1,
            stops: 1,
            pause_us: 1234,
            registers,
            pages: pages.iter().map(|(at, page)| (*at, digest(page))).collect(),
            mappings,
            beside: BTreeMap::new(),
            vcpus: BTreeMap::new(),
        };
        self.pages.extend(pages.into_values().map(|page| (digest(&page), page)));
        vmas.into_iter().chain([Event::Observed { step, data: Observation::Look(look) }]).collect()
    }

    fn vma(&self, step: usize, guest: &str, device: &str, size: u64) -> Event {
        let flag = (self.behaves == Behaves::After).then_some("??");
        let flags = ["rd", "wr", "sh", "pf", "io"].into_iter().chain(flag).map(str::to_owned).collect();
        let (start, name) = (0xffff_0000_0000, "anon_inode:[vfio-device]".to_owned());
        let vma = Vma { start, end: start + size, offset: 2 << 40, name, flags };
        let flags = VmaFlags { guest: guest.into(), device: device.into(), vmas: vec![vma] };
        Event::Observed { step, data: Observation::VmaFlags(flags) }
    }

    fn bar(&self, device: &str, start: u64) -> Bar {
        let size = self.cell.resolved.host.devices[device].bar.map_or(0, |size| size.0);
        Bar { index: 2, start, size, prefetchable: true }
    }
}
