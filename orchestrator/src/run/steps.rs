//! What is done with a running machine: boot, bind, start the guests, the scenario's steps, shut down.

use super::{
    log::EventLog,
    nonce::nonce,
    stages::{Stages, Stop},
};
use crate::{
    host::{
        deadlines::{Deadline, Deadlines},
        emulated::{
            argv::{device_id, port_address},
            gdb::Gdb,
            look::{self, Looks, Target},
            memory::{HostRam, SharedMemory},
            qmp::Qmp,
        },
        link::{Link, LinkError, Patience},
    },
    waits::timeout,
};
use s2lab_model::{
    event::{Beside, Event, PlannedCell, ProbeOutcome, Stage},
    kconfig::Options,
    record::Surroundings,
    scenario::{AssignDriver, Guest, HostStep, LookStep, ProbeStep, Step, StoreStep},
};
use s2lab_protocol::{
    AssignedDevice, Bar, BoundDevice, FinalRecord, GuestSpec, Hello, Mapping, Peer, Reply, Request,
    StoreSpec, pattern,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

/// Slot on a guest's root bus of its first assigned device; the ones below are for its VMM's own devices.
const FIRST_SLOT: u8 = 0x10;
/// What QEMU calls a BAR that is no I/O port (qapi/pci.json, PciMemoryRegion).
const MEMORY_REGION: &str = "memory";
/// vCPUs of a guest.
const GUEST_CPUS: u32 = 1;
/// Where in the BAR the unaligned store goes.
const PROBE_OFFSET: u64 = 64;

/// A cell at work: its machine, and the state that its stages and steps share.
pub(super) struct CellContext<'a> {
    pub(super) planned: &'a PlannedCell,
    pub(super) log: &'a EventLog,
    pub(super) qmp: &'a mut Qmp,
    pub(super) gdb: &'a mut Gdb,
    pub(super) ram: &'a HostRam,
    pub(super) bars: &'a BTreeMap<String, SharedMemory>,
    pub(super) link: Link,
    pub(super) raw: &'a Path,
    pub(super) nonce: u64,
    pub(super) deadlines: Deadlines,
    /// What is known of the host's kernel beforehand.
    pub(super) options: Options,
    /// What the host has told of itself so far.
    pub(super) around: Surroundings,
    /// What leads to the tables of the guests that were looked at.
    pub(super) looked: BTreeMap<String, Beside>,
}

impl CellContext<'_> {
    /// From power-on to guests that answer.
    pub(super) async fn raise(&mut self, stages: &mut Stages) -> Result<(), Stop> {
        stages.enter(Stage::HostBoot);
        self.boot().await?;
        stages.enter(Stage::Bind);
        self.bind().await?;
        stages.enter(Stage::GuestBoot);
        let scenario = &self.planned.scenario;
        for (name, guest) in &scenario.guests {
            self.start_guest(name, guest).await?;
        }
        Ok(())
    }

    /// What the scenario says.
    pub(super) async fn steps(&mut self) -> Result<(), Stop> {
        for (index, step) in self.planned.scenario.steps.iter().enumerate() {
            match step {
                Step::Store(step) => self.store(index, step).await?,
                Step::Look(step) => self.look(index, step).await?,
                Step::Host(step) => self.reset(index, step).await?,
                Step::Probe(step) => self.probe(index, step).await?,
            }
        }
        Ok(())
    }

    async fn boot(&mut self) -> Result<(), Stop> {
        self.loaded().await?;
        self.gdb.begin(self.qmp).await?;
        let hello = self.link.hello(&Peer::Host, self.deadlines.of(Deadline::HostBoot)).await?;
        let Hello { release, page_size, taint, .. } = hello;
        self.log.event(Event::HostUp { release, page_size, taint });
        self.memory().await
    }

    async fn bind(&mut self) -> Result<(), Stop> {
        let scenario = &self.planned.scenario;
        let assigned: BTreeMap<_, _> = scenario.guests.values().flat_map(|guest| &guest.assign).collect();
        for (index, device) in scenario.host.devices.keys().enumerate() {
            let Some(driver) = assigned.get(device) else { continue };
            let driver = match driver {
                AssignDriver::VfioPci => "vfio-pci".to_owned(),
            };
            let request = Request::Bind { device: device.clone(), port: port_address(index), driver };
            let bound = match self.ask_host(request, "bind", self.deadlines.of(Deadline::Bind)).await? {
                Reply::Bound(bound) if bound.device == *device => bound,
                other => return Err(wrong(Peer::Host, "bind", &other)),
            };
            self.log.event(Event::DeviceBound(bound.clone()));
            self.around.devices.insert(device.clone(), bound);
            let placed = self.placed(device).await?;
            for &bar in &placed {
                self.log.event(Event::BarPlaced { device: device.clone(), bar });
            }
            self.around.placed.insert(device.clone(), placed);
        }
        Ok(())
    }

    /// Where QEMU has the device's memory BARs: the same fact as in the bound device, from the other side.
    async fn placed(&mut self, device: &str) -> Result<Vec<Bar>, Stop> {
        let id = device_id(device);
        let buses = self.qmp.execute(qapi::qmp::query_pci {}).await?;
        let on_root = buses.into_iter().flat_map(|bus| bus.devices);
        let all = on_root.flat_map(|port| {
            let behind = port.pci_bridge.clone().and_then(|bridge| bridge.devices).unwrap_or_default();
            std::iter::once(port).chain(behind)
        });
        let regions = all.filter(|function| function.qdev_id == id).flat_map(|function| function.regions);
        let memory = regions.filter(|region| region.type_ == MEMORY_REGION);
        let bars = memory.map(|region| {
            Some(Bar {
                index: u8::try_from(region.bar).ok()?,
                start: u64::try_from(region.address).ok()?,
                size: u64::try_from(region.size).ok()?,
                prefetchable: region.prefetch == Some(true),
            })
        });
        let bars: Option<Vec<_>> = bars.collect();
        let bars = bars.ok_or_else(|| Stop::lab(format!("QEMU names BARs of `{device}` that cannot be")))?;
        Bar::chosen(bars.iter().copied())
            .ok_or_else(|| Stop::lab(format!("QEMU knows no prefetchable BAR of `{device}`")))?;
        Ok(bars)
    }

    async fn start_guest(&mut self, name: &str, guest: &Guest) -> Result<(), Stop> {
        let mut devices = vec![];
        for (device, slot) in guest.assign.keys().zip(FIRST_SLOT..) {
            devices.push(AssignedDevice {
                device: device.clone(),
                host_address: self.bound(device)?.address.clone(),
                guest_slot: slot,
            });
        }
        let memory_mib = u32::try_from(guest.memory.0 >> 20)
            .map_err(|_| Stop::lab(format!("guest {name} has {} of memory", guest.memory)))?;
        let spec = GuestSpec { name: name.to_owned(), memory_mib, cpus: GUEST_CPUS, devices };
        match self
            .ask_host(Request::StartGuest(spec), "start a guest", self.deadlines.of(Deadline::Request))
            .await?
        {
            Reply::GuestStarted { .. } => {}
            other => return Err(wrong(Peer::Host, "start a guest", &other)),
        }
        let hello =
            self.link.hello(&Peer::Guest(name.to_owned()), self.deadlines.of(Deadline::GuestBoot)).await?;
        let Hello { release, page_size, taint, .. } = hello;
        self.log.event(Event::GuestUp { guest: name.to_owned(), release, page_size, taint });
        Ok(())
    }

    async fn store(&mut self, index: usize, step: &StoreStep) -> Result<(), Stop> {
        let peer = Peer::Guest(step.guest.clone());
        let patience = Patience {
            whole: self.deadlines.of(Deadline::Store),
            idle: Some(self.deadlines.of(Deadline::Idle)),
        };
        for &width in &step.width {
            let seed = self.nonce ^ (index as u64) << 32 ^ u64::from(width);
            let spec = StoreSpec {
                device: step.device.clone(),
                address: self.guest_address(&step.guest, &step.device)?,
                map: step.map,
                width,
                offset: 0,
                bytes: step.bytes.0,
                seed,
            };
            let result = match self.link.ask(&peer, Request::Store(spec), "store", patience).await? {
                Reply::Stored(result) => result,
                other => return Err(wrong(peer, "store", &other)),
            };
            let memory = self
                .bars
                .get(&step.device)
                .ok_or_else(|| Stop::lab(format!("no BAR of `{}`", step.device)))?;
            let file_difference = (0..step.bytes.0)
                .step_by(size_of::<u64>())
                .find(|&offset| memory.word(offset) != Some(pattern(seed, offset)));
            self.log.event(Event::Stored {
                step: index,
                guest: step.guest.clone(),
                device: step.device.clone(),
                map: step.map,
                width,
                bytes: step.bytes.0,
                result,
                file_difference,
            });
        }
        Ok(())
    }

    /// The tables of every guest that lives, one guest after another.
    async fn look(&mut self, index: usize, step: &LookStep) -> Result<(), Stop> {
        for (name, guest) in &self.planned.scenario.guests {
            if self.link.guest_ended(name).is_some() && self.probed_before(index, name) {
                continue;
            }
            if !guest.assign.is_empty() {
                self.vma_flags(index, name, guest).await?;
            }
            self.look_at(index, step, name).await?;
        }
        Ok(())
    }

    fn probed_before(&self, index: usize, guest: &str) -> bool {
        let before = self.planned.scenario.steps.iter().take(index);
        before.into_iter().any(|step| matches!(step, Step::Probe(probe) if probe.guest == guest))
    }

    async fn look_at(&mut self, index: usize, step: &LookStep, guest: &str) -> Result<(), Stop> {
        let peer = Peer::Guest(guest.to_owned());
        let nonce = nonce()?;
        let mappings = match self
            .link
            .ask(&peer, Request::Hold { nonce }, "hold", self.deadlines.of(Deadline::Request))
            .await?
        {
            Reply::Held { mappings, .. } if each_once(&mappings) => mappings,
            other => return Err(wrong(peer, "hold", &other)),
        };
        let beside = self.beside(index, guest);
        let target = Target { step: index, name: &step.name, guest, nonce, mappings, beside };
        let looks = Looks { qmp: self.qmp, gdb: self.gdb, ram: self.ram };
        let look =
            timeout(self.deadlines.of(Deadline::Look), look::look(looks, target, &self.around, self.raw))
                .await;
        let look = look.map_err(|_| {
            Stop::lab(format!(
                "the look at guest {guest} was not done in {:?}",
                self.deadlines.of(Deadline::Look)
            ))
        })??;
        self.looked.insert(guest.to_owned(), look::tables_of(&look));
        self.log.event(Event::Look(look));
        match self.link.ask(&peer, Request::Release, "release", self.deadlines.of(Deadline::Request)).await? {
            Reply::Released => Ok(()),
            other => Err(wrong(peer, "release", &other)),
        }
    }

    /// The other guests that live and whose tables are known.
    fn beside(&self, index: usize, guest: &str) -> BTreeMap<String, Beside> {
        let lives = |name: &str| {
            name != guest && self.link.guest_ended(name).is_none() && !self.probed_before(index, name)
        };
        self.looked
            .iter()
            .filter(|(name, _)| lives(name))
            .map(|(name, of)| (name.clone(), of.clone()))
            .collect()
    }

    async fn vma_flags(&mut self, index: usize, name: &str, guest: &Guest) -> Result<(), Stop> {
        let request = Request::VmaFlags { guest: name.to_owned() };
        let vmas = match self
            .ask_host(request, "read the VMAs of the VMM", self.deadlines.of(Deadline::Request))
            .await?
        {
            Reply::VmaFlags { vmas } => vmas,
            other => return Err(wrong(Peer::Host, "read the VMAs of the VMM", &other)),
        };
        for device in guest.assign.keys() {
            let (guest, device, vmas) = (name.to_owned(), device.clone(), vmas.clone());
            self.log.event(Event::VmaFlags { step: index, guest, device, vmas });
        }
        Ok(())
    }

    async fn reset(&mut self, index: usize, step: &HostStep) -> Result<(), Stop> {
        let device = &step.reset;
        let mut guests = self.planned.scenario.guests.iter();
        let owner = guests.find(|(_, guest)| guest.assign.contains_key(device));
        let (guest, _) = owner.ok_or_else(|| Stop::lab(format!("`{device}` belongs to no guest")))?;
        let request = Request::Reset { guest: guest.clone(), device: device.clone() };
        match self.ask_host(request, "reset a device", self.deadlines.of(Deadline::Request)).await? {
            Reply::ResetDone { method } => {
                self.log.event(Event::Reset { step: index, device: device.clone(), method })
            }
            other => return Err(wrong(Peer::Host, "reset a device", &other)),
        }
        match self.looked.get(guest).cloned() {
            Some(tables) => self.after_reset((index, device), tables).await,
            None => Ok(()),
        }
    }

    /// What the reset has left in the guest's stage 2.
    async fn after_reset(&mut self, reset: (usize, &str), tables: Beside) -> Result<(), Stop> {
        let looks = Looks { qmp: self.qmp, gdb: self.gdb, ram: self.ram };
        let after = look::after_reset(looks, reset, tables, &self.around, self.raw);
        let after = timeout(self.deadlines.of(Deadline::Look), after).await.map_err(|_| {
            let waited = self.deadlines.of(Deadline::Look);
            Stop::lab(format!("the tables after the reset of `{}` were not read in {waited:?}", reset.1))
        })??;
        self.log.event(Event::AfterReset(after));
        Ok(())
    }

    async fn probe(&mut self, index: usize, step: &ProbeStep) -> Result<(), Stop> {
        let peer = Peer::Guest(step.guest.clone());
        let address = self.guest_address(&step.guest, &step.device)?;
        let request = Request::Unaligned { address, map: step.map, offset: PROBE_OFFSET };
        let outcome = match self.link.ask(&peer, request, "probe", self.deadlines.of(Deadline::Request)).await
        {
            Ok(Reply::Unaligned { outcome }) => ProbeOutcome::Answered(outcome),
            Ok(other) => return Err(wrong(peer, "probe", &other)),
            // What the store was to find out; see "What emulation can show" in docs/architecture.md.
            Err(LinkError::GuestEnded { how, .. }) => ProbeOutcome::GuestEnded(how),
            Err(error) => return Err(error.into()),
        };
        self.log.event(Event::Probed {
            step: index,
            guest: step.guest.clone(),
            device: step.device.clone(),
            map: step.map,
            outcome,
        });
        Ok(())
    }

    /// Ends the guests, up to the host's final record.
    pub(super) async fn shut_down(&mut self) -> Result<(), Stop> {
        for guest in self.planned.scenario.guests.keys() {
            let request = Request::StopGuest { guest: guest.clone() };
            match self.ask_host(request, "stop a guest", self.deadlines.of(Deadline::ShutDown)).await? {
                Reply::GuestStopped => {}
                other => return Err(wrong(Peer::Host, "stop a guest", &other)),
            }
        }
        let reply = self.ask_host(Request::Finish, "finish", self.deadlines.of(Deadline::ShutDown)).await?;
        let answered = self.link.host_answered();
        match reply {
            Reply::Finished(FinalRecord { answered: said, taint }) if said == answered => {
                self.log.event(Event::HostDown { taint });
                Ok(())
            }
            Reply::Finished(FinalRecord { answered: said, .. }) => {
                Err(Stop::lab(format!("the host's final record counts {said} answers, s2lab got {answered}")))
            }
            other => Err(wrong(Peer::Host, "finish", &other)),
        }
    }

    /// Every request to the host goes through here.
    pub(super) async fn ask_host(
        &mut self,
        request: Request,
        what: &'static str,
        deadline: Duration,
    ) -> Result<Reply, Stop> {
        let reply = self.link.ask(&Peer::Host, request, what, deadline).await;
        reply.map_err(|error| Stop::of_host(error, &self.options))
    }

    fn bound(&self, device: &str) -> Result<&BoundDevice, Stop> {
        self.around.devices.get(device).ok_or_else(|| Stop::lab(format!("`{device}` is not bound")))
    }

    fn guest_address(&self, guest: &str, device: &str) -> Result<String, Stop> {
        let assign = self.planned.scenario.guests.get(guest).map(|guest| &guest.assign);
        let mut slots = assign.into_iter().flat_map(|assign| assign.keys().zip(FIRST_SLOT..));
        let slot = slots.find(|(name, _)| *name == device);
        let (_, slot) = slot.ok_or_else(|| Stop::lab(format!("guest {guest} has no device `{device}`")))?;
        Ok(format!("0000:00:{slot:02x}.0"))
    }
}

/// Whether no device is said to be mapped twice in one way: each mapping is walked while the machine stands still.
fn each_once(mappings: &[Mapping]) -> bool {
    let mut known = BTreeSet::new();
    mappings.iter().all(|mapping| known.insert((&mapping.device, mapping.map)))
}

pub(super) fn wrong(peer: Peer, what: &'static str, reply: &Reply) -> Stop {
    LinkError::WrongReply { peer, what, reply: format!("{reply:?}").chars().take(200).collect() }.into()
}
