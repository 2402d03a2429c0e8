//! A look: it waits until a guest runs with a nonce in a register, and reads its tables. A look at the host waits until
//! the host's kernel runs under a stage 2 of its own.

use super::{
    argv::HOST_CPUS,
    gdb::{Gdb, GdbError, HoldError},
    memory::HostRam,
    qmp::Qmp,
};
use s2lab_mmu::{PAGE_SIZE, RecordingMem};
use s2lab_model::{
    hash::digest,
    record::{
        Surroundings, after_reset,
        host_look::{self, HostTables},
        look::{GuestTables, LookError},
        vmm,
    },
    steps::{AfterReset, Beside, HostLook, Look},
};
use s2lab_os::{
    waits::{self, Moment},
    whole::{self, Sync},
};
use s2lab_protocol::{HOLD_REGISTER, Mapping, Vma, ask::VCPU_REGISTER};
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    time::{Duration, Instant},
};

/// The stops after which the pauses are longer. In a random stop about one in four finds no vCPU in its guest. But on a
/// busy machine the vCPU of the guest may get no CPU in a short pause, so that all stops find the same.
const QUICK_STOPS: u32 = 100;
/// The time that the machine runs between two stops.
const BETWEEN: Duration = Duration::from_millis(3);
const LONGER: Duration = Duration::from_millis(30);
/// The longest time of all stops together, in the host's own time.
const PATIENCE: Duration = Duration::from_secs(4);
/// PSTATE.EL, Arm ARM C5.2.
const PSTATE_EL: u64 = 0b11 << 2;
/// The value of EL2 in that field.
const EL2: u64 = 2 << 2;
/// HCR_EL2.VM and HCR_EL2.TGE, Arm ARM D24.2 (HCR_EL2).
const HCR_VM: u64 = 1;
const HCR_TGE: u64 = 1 << 27;
/// The lowest bit of VTTBR_EL2.VMID (DDI 0487, VTTBR_EL2).
const VTTBR_VMID: u32 = 48;
/// The registers that a look keeps, by their architectural names.
const KEPT: [&str; 8] =
    ["HCR_EL2", "VTTBR_EL2", "VTCR_EL2", "TTBR0_EL1", "TTBR1_EL1", "TCR_EL1", "MAIR_EL1", "SCTLR_EL1"];

/// PSTATE, by the name that the gdbstub has for it (QEMU 10.0 gdb-xml/aarch64-core.xml).
const PSTATE: &str = "cpsr";

/// Returns the registers that a look reads, by their architectural names.
pub(super) fn registers() -> impl Iterator<Item = &'static str> {
    KEPT.into_iter().chain([PSTATE, HOLD_REGISTER, VCPU_REGISTER])
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Hold(#[from] HoldError),
    #[error(transparent)]
    Gdb(#[from] GdbError),
    #[error(
        "in {stops} stops no vCPU was found in guest {guest} with the look's nonce; no stale table is taken instead"
    )]
    NoMatch { guest: String, stops: u32 },
    #[error(
        "in {stops} stops only {seen} of the {vcpus} vCPUs of guest {guest} were found in it with the look's nonce"
    )]
    Fewer { guest: String, stops: u32, seen: usize, vcpus: u32 },
    #[error("the tables of guest {guest} cannot be read: {why}")]
    Tables { guest: String, why: LookError },
    #[error(
        "in {stops} stops no vCPU was found under a stage 2 of the host's own; only a KVM in protected mode gives it one"
    )]
    NoHost { stops: u32 },
    #[error("the host's own tables cannot be read: {0}")]
    HostTables(LookError),
    #[error("the tables after the removal of `{device}` cannot be read: {why}")]
    AfterRemoval { device: String, why: LookError },
    #[error("cannot keep a table page in {folder}: {source}")]
    Keep { folder: String, source: io::Error },
}

/// The guest of a look, and its distinguishing nonce.
pub struct Target<'a> {
    pub name: &'a str,
    pub guest: &'a str,
    /// The value that the guest holds in [`HOLD_REGISTER`].
    pub nonce: u64,
    /// The number of the guest's vCPUs that must be seen with the nonce.
    pub vcpus: u32,
    pub mappings: Vec<Mapping>,
    /// The guests whose tables are read in the same pause.
    pub beside: BTreeMap<String, Beside>,
    /// The VMAs of the guest's VMM over its devices. Its stage 1 is read for them.
    pub vmas: Vec<Vma>,
}

/// The parts of the machine that a look reads.
pub struct Looks<'a> {
    pub(in crate::host) qmp: &'a mut Qmp,
    pub(in crate::host) gdb: &'a mut Gdb,
    pub(in crate::host) ram: &'a HostRam,
}

impl Looks<'_> {
    /// Takes a look. The pages go to `raw` under their digests.
    pub async fn look(self, target: Target<'_>, around: &Surroundings, raw: &Path) -> Result<Look, Error> {
        let (mut look, contents) = self.take(target, around).await?;
        look.pages = keep(contents, raw)?;
        Ok(look)
    }

    /// Stops the machine until a vCPU runs the guest with the nonce, reads its registers and all
    /// table pages, and resumes it. The pages are returned beside the look, by their addresses.
    pub async fn take(
        mut self,
        target: Target<'_>,
        around: &Surroundings,
    ) -> Result<(Look, Contents), Error> {
        let mut stops = Stops::new();
        let mut taken: Option<(Look, Contents)> = None;
        // VTTBR_EL2 by the number of the guest's vCPU.
        let mut vcpus = BTreeMap::new();
        loop {
            let stopped = Instant::now();
            self.gdb.hold(self.qmp).await?;
            // A look that fails ends its cell, so the machine need not run.
            let holders = holders(self.gdb, &target).await?;
            let new = match holders.first().filter(|_| taken.is_none()) {
                Some(holder) => Some(read(&mut self, &target, holder.on, around).await?),
                None => None,
            };
            self.gdb.release(self.qmp).await?;
            let pause = stopped.elapsed();
            vcpus.extend(holders.into_iter().map(|holder| (holder.vcpu.to_string(), holder.vttbr)));
            if let Some((mut look, contents)) = new {
                look.pause_us = micros(pause);
                look.stops = stops.count;
                taken = Some((look, contents));
            }
            let all = target.vcpus;
            if vcpus.len() >= all as usize
                && let Some((look, contents)) = taken
            {
                let vcpus = if all > 1 { vcpus } else { BTreeMap::new() };
                return Ok((Look { vcpus, ..look }, contents));
            }
            if !stops.another().await {
                let (guest, stops) = (target.guest.to_owned(), stops.count);
                return Err(match taken {
                    Some(_) => Error::Fewer { guest, stops, seen: vcpus.len(), vcpus: all },
                    None => Error::NoMatch { guest, stops },
                });
            }
        }
    }

    /// Takes a look at the host's own stage 2. The pages go to `raw` under their digests.
    pub async fn look_at_host(
        self,
        name: &str,
        around: &Surroundings,
        raw: &Path,
    ) -> Result<HostLook, Error> {
        let mut stops = Stops::new();
        loop {
            let stopped = Instant::now();
            self.gdb.hold(self.qmp).await?;
            // A look that fails ends its cell, so the machine need not run.
            let taken = match in_host(self.gdb).await? {
                Some(vcpu) => Some(read_host(self.gdb, self.ram, vcpu, around).await?),
                None => None,
            };
            self.gdb.release(self.qmp).await?;
            let pause_us = micros(stopped.elapsed());
            if let Some((vcpu, registers, contents)) = taken {
                let pages = keep(contents, raw)?;
                return Ok(HostLook {
                    name: name.into(),
                    vcpu,
                    stops: stops.count,
                    pause_us,
                    registers,
                    pages,
                });
            }
            if !stops.another().await {
                return Err(Error::NoHost { stops: stops.count });
            }
        }
    }

    /// Reads the stage 2 that `tables` lead to, of the guest from which `device` was removed.
    pub async fn after_removal(
        self,
        device: &str,
        tables: Beside,
        around: &Surroundings,
        raw: &Path,
    ) -> Result<AfterReset, Error> {
        let mut after = AfterReset { device: device.into(), round: None, tables, pages: BTreeMap::new() };
        self.gdb.hold(self.qmp).await?;
        let (left, contents) = {
            let memory = RecordingMem::new(self.ram);
            (after_reset::leaves(&after, around, &memory), contents(&memory, self.ram))
        };
        self.gdb.release(self.qmp).await?;
        left.map_err(|why| Error::AfterRemoval { device: device.into(), why })?;
        after.pages = keep(contents, raw)?;
        Ok(after)
    }
}

/// The stops of a look.
struct Stops {
    begin: Moment,
    /// The number of the current stop, from 1 on.
    count: u32,
}

impl Stops {
    fn new() -> Self {
        Self { begin: waits::now(), count: 1 }
    }

    /// Lets the machine run until the next stop. Returns false if there were enough.
    async fn another(&mut self) -> bool {
        let is_quick = self.count < QUICK_STOPS;
        if !is_quick && self.begin.elapsed() >= PATIENCE {
            return false;
        }
        tokio::time::sleep(if is_quick { BETWEEN } else { LONGER }).await;
        self.count += 1;
        true
    }
}

/// A vCPU of the host that runs a guest which holds the nonce.
struct Holder {
    /// The vCPU of the host.
    on: u32,
    /// The number of the guest's vCPU.
    vcpu: u64,
    vttbr: u64,
}

/// Returns the vCPUs that run a guest which holds the nonce: below EL2, stage 2 on, not the host's
/// user space. The guest may have any VMID: one that runs with 0 is looked at, and fails its cell.
async fn holders(gdb: &mut Gdb, target: &Target<'_>) -> Result<Vec<Holder>, Error> {
    let mut found = vec![];
    for on in 0..HOST_CPUS {
        let hcr = gdb.register(on, "HCR_EL2").await?;
        let in_guest =
            gdb.register(on, PSTATE).await? & PSTATE_EL < EL2 && hcr & HCR_VM != 0 && hcr & HCR_TGE == 0;
        if !in_guest || gdb.register(on, HOLD_REGISTER).await? != target.nonce {
            continue;
        }
        // A guest with one vCPU needs no number.
        let (mut vcpu, mut vttbr) = (0, 0);
        if target.vcpus > 1 {
            vcpu = gdb.register(on, VCPU_REGISTER).await?;
            vttbr = gdb.register(on, "VTTBR_EL2").await?;
        }
        if vcpu < u64::from(target.vcpus) {
            found.push(Holder { on, vcpu, vttbr });
        }
    }
    Ok(found)
}

/// Returns a vCPU that runs the host's kernel or user space under a stage 2 whose VMID is 0. While another vCPU is at
/// EL2, the hypervisor may be changing its tables, so there is none.
async fn in_host(gdb: &mut Gdb) -> Result<Option<u32>, Error> {
    let mut found = None;
    for on in 0..HOST_CPUS {
        if gdb.register(on, PSTATE).await? & PSTATE_EL >= EL2 {
            return Ok(None);
        }
        let (hcr, vttbr) = (gdb.register(on, "HCR_EL2").await?, gdb.register(on, "VTTBR_EL2").await?);
        let under_stage2 = hcr & HCR_VM != 0 && hcr & HCR_TGE == 0;
        if under_stage2 && vttbr >> VTTBR_VMID == 0 {
            found = found.or(Some(on));
        }
    }
    Ok(found)
}

/// The host's registers and pages, read while the machine is stopped.
type HostRead = (u32, BTreeMap<String, u64>, Contents);

async fn read_host(
    gdb: &mut Gdb,
    ram: &HostRam,
    vcpu: u32,
    around: &Surroundings,
) -> Result<HostRead, Error> {
    let mut registers = BTreeMap::new();
    for name in host_look::REGISTERS {
        registers.insert(name.to_owned(), gdb.register(vcpu, name).await?);
    }
    let memory = RecordingMem::new(ram);
    HostTables::through(&registers, around, &memory).map_err(Error::HostTables)?;
    let contents = contents(&memory, ram);
    Ok((vcpu, registers, contents))
}

/// Pages by their addresses.
pub type Contents = BTreeMap<u64, Vec<u8>>;

/// Reads while the machine is stopped. The tables are decoded here only to find the pages that the
/// decoding needs.
async fn read(
    looks: &mut Looks<'_>,
    target: &Target<'_>,
    vcpu: u32,
    around: &Surroundings,
) -> Result<(Look, Contents), Error> {
    let mut registers = BTreeMap::new();
    for name in KEPT {
        registers.insert(name.to_owned(), looks.gdb.register(vcpu, name).await?);
    }
    // Without them the witness of the VMM's tables has nothing to say.
    if looks.gdb.offers(vmm::REGISTERS).is_ok() {
        for name in vmm::REGISTERS {
            registers.insert(name.to_owned(), looks.gdb.register(vcpu, name).await?);
        }
    }
    let look = Look {
        name: target.name.into(),
        guest: target.guest.into(),
        vcpu,
        stops: 0,
        pause_us: 0,
        registers,
        pages: BTreeMap::new(),
        mappings: target.mappings.clone(),
        beside: target.beside.clone(),
        vcpus: BTreeMap::new(),
    };
    let memory = RecordingMem::new(looks.ram);
    let tables = GuestTables::through(&look, around, &memory)
        .map_err(|why| Error::Tables { guest: target.guest.into(), why })?;
    // The judgement says why it cannot be read.
    drop(vmm::seen(&look.registers, &tables.devices, |_| target.vmas.as_slice(), around, &memory));
    let contents = contents(&memory, looks.ram);
    Ok((look, contents))
}

/// Returns the registers that lead to the tables of the guest of a look.
pub fn tables_of(look: &Look) -> Beside {
    let leads = |name: &str| matches!(name, "VTTBR_EL2" | "VTCR_EL2" | "HCR_EL2");
    let registers = look.registers.iter().filter(|(name, _)| leads(name));
    Beside { registers: registers.map(|(name, value)| (name.clone(), *value)).collect() }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Copies the pages that were read. Each lies in the RAM.
fn contents(memory: &RecordingMem<'_>, ram: &HostRam) -> Contents {
    memory.pages().into_iter().filter_map(|page| Some((page, ram.bytes(page, PAGE_SIZE)?))).collect()
}

/// Writes each page once, whole or not at all.
fn keep(contents: Contents, raw: &Path) -> Result<BTreeMap<u64, String>, Error> {
    let write = |(address, bytes): (u64, Vec<u8>)| {
        let name = digest(&bytes);
        let path = raw.join(&name);
        if !path.exists() {
            whole::write(&path, &bytes, Sync::Later)?;
        }
        Ok((address, name))
    };
    let kept: io::Result<_> = contents.into_iter().map(write).collect();
    kept.map_err(|source| Error::Keep { folder: raw.display().to_string(), source })
}
