//! A made-up run for tests: a scenario, the events of one cell, and page tables that the walker's
//! code did not write.

use super::{JudgedAttempt, JudgedRun, judge_run};
use crate::cell::ResolvedCell;
use crate::event::{
    BUILT_IN, CellEnd, Event, KernelOrigin, Line, Loaded, LoadedPart, Place, Plan, PlannedCell, SessionId,
    Stage, StopCause,
};
use crate::hash::digest;
use crate::kernel::{Trait, Traits};
use crate::night::Night;
use crate::plan::Key;
use crate::record::Run;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::steps::{
    AfterReset, Beside, HostLook, Look, LookOf, LookStep, MemslotOperated, MemslotStep, Observation,
    ProbeOutcome, Probed, Reset, Sample, Step, Stored, VmaFlags,
};
pub(crate) use guest_tables::{BAR_IPA, BAR_PA};
use guest_tables::{BAR_VA, BLOCK, GuestTables, HostTables, PAGE, registers, stage2_root};
use s2lab_protocol::{
    Bar, BoundDevice, Extent, GuestEnd, HostMemory, Manner, MapKind, Mapping, MemslotOperation, ProbeEnd,
    ProbeKind, StoreResult, TableMemory, Vma,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const KEY: &str = "vfio-pci-bar@test";
/// The session that the cell runs in.
pub(crate) const SESSION: SessionId = 1;
pub(crate) const RAM: (u64, u64) = (0x4000_0000, 0x6000_0000);
pub(crate) const BAR_SIZE: u64 = 16 << 20;
pub(crate) const XN: u64 = 1 << 54;
/// Leaves as KVM writes them, with FEAT_S2FWB: valid, S2AP rw, SH inner, AF; see the series'
/// expected descriptors.
pub(crate) const NC_BLOCK: u64 = 0x7d5 | XN;
pub(crate) const DEVICE_BLOCK: u64 = 0x7c5 | XN;
pub(crate) const RAM_PAGE: u64 = 0x7db;
/// The places of the kernel and the device tree in QEMU: first byte and size.
pub(crate) const IMAGE: (u64, u64) = (0x4020_0000, 0x223_0000);
pub(crate) const DEVICE_TREE: (u64, u64) = (0x4e80_0000, 0x10_0000);
/// The other pages that the host's kernel reserves.
pub(crate) const RESERVED: (u64, u64) = (0x9fca_0000, 0x6_0000);
/// A real host's /proc/iomem, shortened. The first two reserved ranges have been free since it
/// booted.
pub(crate) const IOMEM: &str = "09000000-09000fff : pl011@9000000\n40000000-9fffffff : System RAM\n\
    \x20 40200000-41a6ffff : Kernel code\n  41a70000-4207ffff : reserved\n  42080000-4242ffff : Kernel data\n\
    \x20 48000000-4affffff : reserved\n  4e800000-4e8fffff : reserved\n  9fca0000-9fcfffff : reserved\n";

pub(crate) fn host_memory() -> HostMemory {
    let extent = |(start, size)| Extent { start, size };
    let reserved = [(0x4020_0000, 0x187_0000), (0x4208_0000, 0x3b_0000), DEVICE_TREE, RESERVED];
    HostMemory { iomem: IOMEM.into(), reserved: Some(reserved.map(extent).into()), hypervisor: None }
}

fn loaded(part: LoadedPart, start: u64, size: u64) -> Event {
    Event::HostLoaded(Loaded { part, start, size })
}

/// The part of a machine that a look sees.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The low and high bits of the descriptor of the BAR's 2 MiB blocks.
    pub(crate) bar: u64,
    /// The number of mapped blocks of the BAR.
    pub(crate) blocks: u64,
    pub(crate) ram: u64,
    /// The AttrIndx of the guest's mapping.
    pub(crate) index: u64,
    /// More leaves: IPA, PA, level, bits.
    pub(crate) more: Vec<(u64, u64, u64, u64)>,
    pub(crate) mapped: bool,
    /// The number of the guest in the host, from 0; the first is g0.
    pub(crate) guest: u64,
    /// Pages of the host's memory that are not tables.
    pub(crate) content: Vec<(u64, Vec<u8>)>,
    /// The registers that differ.
    pub(crate) registers: Vec<(&'static str, u64)>,
}

impl Machine {
    pub(crate) fn with(bar: u64) -> Machine {
        Machine {
            bar,
            blocks: 1,
            ram: RAM_PAGE,
            index: 2,
            more: vec![],
            mapped: true,
            guest: 0,
            content: vec![],
            registers: vec![],
        }
    }

    pub(crate) fn look(&self, name: &str) -> (Look, Pages) {
        let mut tables = GuestTables::of(self.guest, self.ram);
        for n in 0..self.blocks {
            tables.back(BAR_IPA + n * BLOCK, 2, (BAR_PA + n * BLOCK) | self.bar);
        }
        for (ipa, pa, level, bits) in &self.more {
            tables.back(*ipa, *level, pa | bits);
        }
        for offset in (0..BAR_SIZE).step_by(PAGE as usize) {
            tables.map(BAR_VA + offset, BAR_IPA + offset, self.index);
        }
        let mut pages = tables.pages();
        pages.extend(self.content.iter().cloned());
        let mut registers = registers(3);
        registers.extend([("SCTLR_EL1", 5), ("VTTBR_EL2", stage2_root(self.guest) | (3 + self.guest) << 48)]);
        registers.extend(self.registers.iter().copied());
        let bar = Bar { index: 2, start: BAR_IPA, size: BAR_SIZE, prefetchable: true };
        let mapping = Mapping { device: "nic".into(), map: MapKind::Wc, va: BAR_VA, bar, hypervisor: None };
        let look = Look {
            name: name.into(),
            guest: format!("g{}", self.guest),
            vcpu: 1,
            stops: 2,
            pause_us: 4321,
            registers: registers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            pages: pages.iter().map(|(at, page)| (*at, digest(page))).collect(),
            mappings: if self.mapped { vec![mapping] } else { vec![] },
            beside: BTreeMap::new(),
            vcpus: BTreeMap::new(),
        };
        (look, pages.into_values().map(|page| (digest(&page), page)).collect())
    }
}

/// Returns the tables of a machine after the reset of the scenario.
pub(crate) fn after_reset(machine: &Machine) -> (AfterReset, Pages) {
    let (look, kept) = machine.look("");
    let tables = Beside { registers: look.registers };
    (AfterReset { device: "nic".into(), round: None, tables, pages: look.pages }, kept)
}

/// Pages by digest, like in `raw/`.
pub(crate) type Pages = BTreeMap<String, Vec<u8>>;

/// The range that the log of a host in protected mode names.
pub(crate) const HYPERVISOR: Extent = Extent { start: 0x9000_0000, size: BLOCK };
/// The distance from a page to its place in the hypervisor's linear map.
pub(crate) const LINEAR: u64 = 0x4000_0000_0000;

/// Returns the own tables of a host in protected mode with a block of RAM that it shares with the hypervisor, a page of
/// MMIO, and nothing in the range that the log names.
pub(crate) fn host_tables() -> HostTables {
    let (shared, borrowed, uart) = (0x4600_0000, 1 << 56, 0x900_0000);
    let mut tables = HostTables::default();
    for offset in (0..HYPERVISOR.size).step_by(PAGE as usize) {
        tables.own(LINEAR + HYPERVISOR.start + offset, HYPERVISOR.start + offset, 0);
    }
    tables.own(LINEAR + shared, shared, borrowed);
    tables.back(shared, 2, shared, 0);
    tables.back(uart, 3, uart, XN);
    tables
}

/// The events of an attempt, as those of an attempt at the cell `key` in another session.
pub(crate) fn elsewhere<'a>(
    lines: &'a [Line],
    key: &'a Key,
    session: SessionId,
) -> impl Iterator<Item = Line> + 'a {
    let of_attempt = lines.iter().filter(|line| line.session.is_some() || line.cell.is_some());
    of_attempt.map(move |line| {
        let event = match &line.event {
            Event::CellStarted { place, .. } => {
                Event::CellStarted { session: Some(session), place: place.clone() }
            }
            event => event.clone(),
        };
        Line::new(line.seq, line.ms, Some(session), Some(key), event)
    })
}

/// The events of a whole cell, which a test can change.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) cell: PlannedCell,
    pub(crate) kernels: BTreeMap<String, KernelOrigin>,
    pub(crate) lab_commit: Option<String>,
    pub(crate) shuffle: Option<u32>,
    pub(crate) night: Option<Night>,
    pub(crate) events: Vec<Event>,
    pub(crate) pages: Pages,
}

pub(crate) fn traits(of: &[Trait]) -> Traits {
    Traits::Exactly(of.iter().copied().collect())
}

pub(crate) fn scenario() -> Scenario {
    let at = ["stored", "again"];
    serde_json::from_value(serde_json::json!({
        "scenario": "vfio-pci-bar",
        "about": "A guest may map a vfio-pci BAR write-combined once the host kernel knows that it is safe.",
        "promises": ["I1", "I4", "I6"],
        "host": {"cpu": "neoverse-v1", "devices": {"nic": {"model": "ivshmem-plain", "bar": "16M"}}},
        "guests": {"g0": {"vmm": "qemu", "assign": {"nic": "vfio-pci"}}},
        "steps": [
            {"store": {"guest": "g0", "device": "nic", "map": "wc", "width": [8, 64], "bytes": "1M"}},
            {"look": {"name": "stored"}},
            {"host": {"reset": "nic"}},
            {"store": {"guest": "g0", "device": "nic", "map": "wc", "width": [8], "bytes": "4K"}},
            {"look": {"name": "again"}},
            {"probe": {"guest": "g0", "device": "nic", "map": "wc"}},
        ],
        "expect": [
            {"at": at, "of": "nic", "stage2": "Normal-NC", "exec": "never", "when": ["wc-honoured"]},
            {"at": at, "of": "nic", "effective": "Normal-NC", "when": ["wc-honoured"]},
            {"of": "nic", "unaligned": "ok", "when": ["wc-honoured"]},
            {"at": at, "of": "nic", "stage2": "Device-nGnRE", "exec": "never", "unless": ["wc-honoured"]},
            {"at": at, "of": "nic", "effective": "Device-nGnRE", "unless": ["wc-honoured"]},
            {"of": "nic", "unaligned": "fault", "unless": ["wc-honoured"]},
            {"at": ["stored"], "of": "ram", "stage2": "Normal-WB"},
        ],
    }))
    .unwrap()
}

impl Story {
    /// Returns a kernel with the series, without a defect.
    pub(crate) fn after() -> Story {
        let traits = traits(&[Trait::WcConveyed, Trait::WcHonoured]);
        Story::of(traits, &Machine::with(NC_BLOCK), true, ProbeOutcome::Answered(ProbeEnd::Ok))
    }

    /// Returns the story in which the VMM maps a quarter of the BAR once more in place of the reset.
    pub(crate) fn renewed(mut self) -> Story {
        let (guest, of, operation) = ("g0".to_owned(), "nic".to_owned(), MemslotOperation::Renew);
        let step = MemslotStep { guest: guest.clone(), of: of.clone(), operation, with: None };
        self.cell.resolved.steps[2] = Step::Memslot(step);
        let done = MemslotOperated { guest, of, operation, with: None, errno: None };
        self.edit(|event| {
            if let Event::Observed { data: data @ Observation::Reset(_), .. } = event {
                *data = Observation::MemslotOperated(done.clone());
            }
        })
    }

    /// Returns a kernel without the series, without a defect.
    pub(crate) fn before() -> Story {
        let end =
            GuestEnd::Stopped { state: "internal-error".into(), detail: "kvm run failed Bad address".into() };
        Story::of(traits(&[]), &Machine::with(DEVICE_BLOCK), false, ProbeOutcome::GuestEnded(end))
    }

    pub(crate) fn of(traits: Traits, machine: &Machine, flag: bool, outcome: ProbeOutcome) -> Story {
        let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let bar = Bar { index: 2, start: BAR_PA, size: BAR_SIZE, prefetchable: true };
        let registers = Bar { index: 0, start: 0x1000_0000, size: 256, prefetchable: false };
        let names = ["rd", "wr", "sh", "mr", "mw", "me", "ms", "pf", "io", "dc", "de", "dd"];
        let flags = names.into_iter().chain(flag.then_some("??")).map(str::to_owned).collect();
        let (start, name) = (0xffff_0000_0000, "anon_inode:[vfio-device]".to_owned());
        let vma = Vma { start, end: start + BAR_SIZE, offset: 2 << 40, name, flags };
        let (guest, device) = ("g0".to_owned(), "nic".to_owned());
        let vmas = |step| {
            let (guest, device, vmas) = (guest.clone(), device.clone(), vec![vma.clone()]);
            Event::Observed { step, data: Observation::VmaFlags(VmaFlags { guest, device, vmas }) }
        };
        let stored = |step, width: u32, bytes: u64, nanos| {
            let result = StoreResult { bar, stores: bytes / u64::from(width), nanos, first_difference: None };
            let (guest, device, map) = (guest.clone(), device.clone(), MapKind::Wc);
            let (by, manner, file_difference) = (None, Manner::default(), None);
            let stored = Stored { guest, device, map, width, by, manner, bytes, result, file_difference };
            Event::Observed { step, data: Observation::Stored(stored) }
        };
        let ((look_1, mut pages), (look_2, more)) = (machine.look("stored"), machine.look("again"));
        pages.extend(more);
        let (after, more) = after_reset(&Machine { blocks: 0, more: vec![], ..machine.clone() });
        pages.extend(more);
        let reset = Reset { device: device.clone(), method: "bus".into() };
        let (kind, map) = (ProbeKind::Store, MapKind::Wc);
        let probed =
            Probed { guest: guest.clone(), device: device.clone(), map, kind, outcome, arrived: false };
        let events = vec![
            Event::SessionStarted,
            Event::CellStarted { session: Some(SESSION), place: Some(Place::FIRST) },
            Event::Environment {
                blocking: [fact("cpu", "neoverse-v1"), fact("accelerator", "tcg"), fact("host mode", "vhe")]
                    .into(),
                variable: [fact("kernel image", "sha256:aa"), fact("qemu", "10.0.2"), fact("agent", "0.1.0")]
                    .into(),
            },
            Event::StageStarted { stage: Stage::HostBoot },
            Event::ConsoleTested,
            Event::HostUp { release: "6.12.95".into(), page_size: 4096, taint: Some(0) },
            Event::HostRam { start: RAM.0, size: RAM.1 },
            loaded(LoadedPart::Kernel, IMAGE.0, IMAGE.1),
            loaded(LoadedPart::Initramfs, 0x4800_0000, 0x300_0000),
            loaded(LoadedPart::DeviceTree, DEVICE_TREE.0, DEVICE_TREE.1),
            Event::HostMemory(host_memory()),
            Event::StageEnded { stage: Stage::HostBoot },
            Event::DeviceBound(BoundDevice {
                device: device.clone(),
                address: "0000:01:00.0".into(),
                vendor: 0x1af4,
                id: 0x1110,
                driver: "vfio-pci".into(),
                iommu_group: Some(3),
                bars: vec![registers, bar],
            }),
            Event::BarPlaced { device: device.clone(), bar: registers },
            Event::BarPlaced { device: device.clone(), bar },
            Event::GuestUp {
                guest: guest.clone(),
                release: "6.12.90-cloud".into(),
                page_size: 4096,
                taint: Some(0),
            },
            stored(0, 8, 1 << 20, 1_258_000),
            stored(0, 64, 1 << 20, 2_000_000),
            vmas(1),
            Event::Observed { step: 1, data: Observation::Look(look_1) },
            Event::Observed { step: 2, data: Observation::Reset(reset) },
            Event::Observed { step: 2, data: Observation::AfterReset(after) },
            stored(3, 8, 4096, 5_000),
            vmas(4),
            Event::Observed { step: 4, data: Observation::Look(look_2) },
            Event::Observed { step: 5, data: Observation::Probed(probed) },
            Event::CellRecord { taint: Some(0), tables: Some(TableMemory { before: 12, after: 12 }) },
            Event::HostDown { taint: Some(0), tables: None },
            Event::CellEnded { end: CellEnd::Complete },
            Event::SessionEnded,
        ];
        let scenario = scenario();
        let cell = PlannedCell {
            key: KEY.parse().unwrap(),
            kernel: "test".into(),
            about: scenario.about.clone(),
            repeat: vec!["run".into(), KEY.into()],
            resolved: ResolvedCell::of(&scenario, traits),
        };
        Story { cell, kernels: BTreeMap::new(), lab_commit: None, shuffle: None, night: None, events, pages }
    }

    /// Returns a kernel with the series, whose first step measures stores of these times. The first
    /// store is the warm-up.
    pub(crate) fn measuring(times: &[u64]) -> Story {
        let mut story = Story::after();
        let samples = times.len() - 1;
        let measure = serde_json::json!({"measure": {"name": "x", "warm-up": 1, "samples": samples, "store": {
            "guest": "g0", "device": "nic", "map": "wc", "width": [8], "bytes": "1M",
        }}});
        story.cell.resolved.steps[0] = serde_json::from_value::<Step>(measure).unwrap();
        let is_stored =
            |event: &Event| matches!(event, Event::Observed { step: 0, data: Observation::Stored(_) });
        let at = story.events.iter().position(is_stored).unwrap();
        let Event::Observed { data: Observation::Stored(stored), .. } = story.events[at].clone() else {
            panic!("a store")
        };
        story.events.retain(|event| !is_stored(event));
        for (number, nanos) in times.iter().enumerate() {
            let mut stored = stored.clone();
            stored.result.nanos = *nanos;
            let (measure, warm_up, number) = ("x".to_owned(), number == 0, number as u32);
            let sample = Sample { measure, number, warm_up, reset: None, stored };
            let event = Event::Observed { step: 0, data: Observation::Sample(sample) };
            story.events.insert(at + number as usize, event);
        }
        story
    }

    /// Adds a guest without a device, which is looked at after the first one, with that one beside
    /// it.
    pub(crate) fn beside(mut self, first: &Machine, second: &Machine) -> Story {
        let mut guest = self.cell.resolved.guests["g0"].clone();
        guest.assign.clear();
        self.cell.resolved.guests.insert("g1".into(), guest);
        let up =
            Event::GuestUp { guest: "g1".into(), release: "6.12".into(), page_size: 4096, taint: Some(0) };
        let mut story = self.and(up);
        let (first, pages) = first.look("stored");
        story.pages.extend(pages);
        for (step, name) in [(1, "stored"), (4, "again")] {
            let (mut look, pages) = second.look(name);
            look.guest = "g1".into();
            look.beside.insert("g0".into(), Beside { registers: first.registers.clone() });
            look.pages.extend(first.pages.clone());
            story.pages.extend(pages);
            story = story.and(Event::Observed { step, data: Observation::Look(look) });
        }
        story
    }

    pub(crate) fn edit(mut self, change: impl FnMut(&mut Event)) -> Story {
        self.events.iter_mut().for_each(change);
        self
    }

    pub(crate) fn without(mut self, what: impl Fn(&Event) -> bool) -> Story {
        let before = self.events.len();
        self.events.retain(|event| !what(event));
        assert!(self.events.len() < before, "nothing was left out");
        self
    }

    /// Puts an event before the cell's end.
    pub(crate) fn and(mut self, event: Event) -> Story {
        let end = self.end();
        self.events.insert(end, event);
        self
    }

    pub(crate) fn stopped(mut self, cause: StopCause) -> Story {
        let (what, hint) = ("what happened".into(), Some("what to do".into()));
        let end = CellEnd::Stopped { stage: Stage::Steps, cause, what, hint };
        let at = self.end();
        self.events[at] = Event::CellEnded { end };
        self
    }

    /// Makes the host one in protected mode, at whose own tables the last step looks.
    pub(crate) fn looking_at_host(mut self, tables: &HostTables) -> Story {
        let cell = &mut self.cell.resolved;
        cell.host.arguments.push("kvm-arm.mode=protected".into());
        let step = cell.steps.len();
        let look = LookStep { name: "own".into(), of: Some(LookOf::Host) };
        cell.steps.push(Step::Look(look));
        let pages = tables.pages();
        let registers = tables.registers().into_iter();
        let look = HostLook {
            name: "own".into(),
            vcpu: 0,
            stops: 1,
            pause_us: 4321,
            registers: registers.map(|(name, value)| (name.to_owned(), value)).collect(),
            pages: pages.iter().map(|(at, page)| (*at, digest(page))).collect(),
        };
        self.pages.extend(pages.into_values().map(|page| (digest(&page), page)));
        let story = self.edit(|event| {
            if let Event::HostMemory(memory) = event {
                memory.hypervisor = Some(HYPERVISOR);
            }
        });
        story.and(Event::Observed { step, data: Observation::HostLook(look) })
    }

    /// Returns the place of the cell's end.
    pub(crate) fn end(&self) -> usize {
        self.events.iter().position(|event| matches!(event, Event::CellEnded { .. })).unwrap()
    }

    pub(crate) fn undeclared(mut self) -> Story {
        self.cell.resolved.traits = Traits::AtLeast(BTreeSet::new());
        self
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        let plan = Plan {
            s2lab: "0.1.0".into(),
            started: "2026-11-22T15:00:00Z".into(),
            lab: Some(BUILT_IN.into()),
            lab_commit: self.lab_commit.clone(),
            attempts: Default::default(),
            kernels: self.kernels.clone(),
            shuffle: self.shuffle,
            night: self.night.clone(),
            mutants: None,
            shard: None,
            compare: None,
            cells: vec![self.cell.clone()],
        };
        let key = self.cell.key.clone();
        let all = [Event::Plan(plan)].into_iter().chain(self.events.iter().cloned()).chain([Event::RunEnded]);
        let line = |(event, seq)| Line::new(seq, seq * 10, Some(SESSION), Some(&key), event);
        all.zip(0..).map(line).collect()
    }

    pub(crate) fn run(&self) -> JudgedRun {
        judge_run(Run::fold(self.lines()).unwrap(), &|digest: &str| self.pages.get(digest).cloned())
    }

    pub(crate) fn attempt(&self) -> JudgedAttempt {
        self.run().cells.remove(0).attempts.remove(0)
    }

    pub(crate) fn report(&self) -> Report {
        Report::of(&self.attempt())
    }
}
