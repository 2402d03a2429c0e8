//! The scenario: the content of a YAML file as it is written. [`load`](load()) reads one and finds
//! every mistake in it. [`crate::cell::ResolvedCell`] is what a run, its log and its judgement know.
//!
//! The comments of these types are the descriptions in the schema, and so in an editor.

use crate::kernel::Trait;
use crate::steps::{Step, is_usual_vcpus, usual_vcpus};
use s2lab_protocol::ask::Joined;
use s2lab_protocol::{AssignKind, HypervisorType, ModuleVma, RamKind, VmmKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod accesses;
mod arguments;
pub(crate) mod axes;
mod backing;
mod check;
mod conditions;
mod cpus;
mod drives;
mod expectations;
mod functions;
mod gic;
mod hides;
mod host_looks;
mod hotplug;
mod hypervisor;
mod leaves;
pub mod load;
mod memslots;
mod mte;
mod needs;
mod operations;
mod parts;
mod platform;
mod probes;
mod programs;
mod promise;
pub(crate) mod schema;
mod size;
mod suites;
mod timeout;
mod vmas;
mod whiles;

pub use axes::{Exclusion, MAX_POINTS, Matrix, PointSet, ScenarioAxis, ScenarioPoint, SetError, SetValue};
pub use check::name as check_name;
pub use cpus::{CPU_MODELS, CpuModel};
pub use gic::Gic;
pub use leaves::{Access, AccessFlag, Exec, Share, Stage2Type};
pub use load::{LoadError, load, load_at, load_with};
pub use probes::AccessEnd;
pub(crate) use probes::probe_of;
pub use programs::{ProgramError, ReadProgram};
pub use promise::Promise;
pub use s2lab_mmu::MemoryType;
pub use schema::schema;
pub use size::Size;
pub use timeout::Timeout;

/// A scenario: a host with devices, guests that get them, the steps, and the expected results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: the file's own name without `.yaml`; the first half of every key.
    #[schemars(extend("format" = "name", "pattern" = s2lab_protocol::NAME_PATTERN))]
    pub scenario: String,
    /// One sentence about the purpose of the scenario.
    pub about: String,
    /// The promises I1 to I17 that this scenario checks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub promises: BTreeSet<Promise>,
    /// Named sets that have the scenario, for `run --set NAME`. Every scenario is in the set `full`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(schema_with = "schema::sets")]
    pub sets: BTreeSet<String>,
    /// Values of the file that vary, by path (`host.cpu`): a list, or names with values. Each
    /// combination is a cell of its own, with `+axis=value` in its key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "axes::schema::axes")]
    pub axes: BTreeMap<String, serde_json::Value>,
    /// Points of the axes and kernels on which the scenario does not run, each with its reason: these cells are
    /// SKIP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = MAX_POINTS))]
    pub exclude: Vec<Exclusion>,
    /// Options that a kernel must have for this scenario, without `CONFIG_`, each with the reason. On
    /// other kernels the cell is SKIP.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::needs")]
    pub needs: BTreeMap<String, String>,
    /// The emulated host (L1), which boots the kernel under test.
    pub host: Host,
    /// The guests (L2), by name: one to four; or none, if a step `exec` or `suite` runs in the host. Those of QEMU
    /// boot the same fixed kernel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = schema::names(), "maxProperties" = MAX_GUESTS))]
    pub guests: BTreeMap<String, Guest>,
    /// The actions, in order: at most 100 steps.
    #[schemars(length(min = 1, max = MAX_STEPS))]
    pub steps: Vec<Step>,
    /// The expected results, at most 100. Every choice of traits must have at least one; none is needed
    /// beside a step `exec` or `suite`, which has a result of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_EXPECTATIONS))]
    pub expect: Vec<Expectation>,
    /// The points of the axes. The loader makes them.
    #[serde(skip)]
    pub matrix: Matrix,
    /// The SHA-256 of each program that a step names, by its path; of a scenario whose programs were
    /// read.
    #[serde(skip)]
    pub programs: BTreeMap<String, String>,
}

/// The most steps of a scenario: the plan bounds what is judged of a log.
pub const MAX_STEPS: usize = 100;
/// The most expectations of a scenario.
pub const MAX_EXPECTATIONS: usize = 100;
/// The most guests in a scenario.
pub const MAX_GUESTS: usize = 4;
/// The set that has every scenario.
pub const FULL_SET: &str = "full";
/// The word for a guest's RAM in expectations and reports. No device has this name.
pub const RAM: &str = "ram";
/// The word for the virtual CPU interface of a GICv2, likewise.
pub const GICV: &str = "gicv";
/// The word for the flash of a host, a platform device that each has. No device of `host` has this name.
pub const FLASH: &str = "flash";
/// The most devices of a host: each takes a root port.
pub const MAX_DEVICES: usize = 8;
/// The emulated host (L1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Host {
    /// QEMU's CPU model, for instance `neoverse-v1` (has FEAT_S2FWB) or `neoverse-n1` (has not).
    #[schemars(schema_with = "cpus::schema")]
    pub cpu: String,
    /// RAM: a multiple of 1M from 512M to 8G, and 512M more than all guests have together.
    #[serde(default = "Host::default_memory")]
    pub memory: Size,
    /// PCI devices, by name: at most eight, each behind its own root port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = schema::names(), "maxProperties" = MAX_DEVICES))]
    pub devices: BTreeMap<String, Device>,
    /// Words appended to the command line of the host's kernel, such as `kvm-arm.mode=nvhe`. Not
    /// those that s2lab sets itself (`console`, `panic`, `oops`, `s2lab.*`), and not `init` and
    /// `rdinit`: init is s2lab's agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::arguments")]
    pub arguments: Vec<String>,
    /// The version of the interrupt controller. With 2, each guest of QEMU's has the GIC's virtual CPU
    /// interface, the region `gicv`, and there is no ITS: devices of guests need
    /// `vfio_iommu_type1.allow_unsafe_interrupts=1` in `arguments`.
    #[serde(default, skip_serializing_if = "Gic::is_usual")]
    #[schemars(schema_with = "gic::schema")]
    pub gic: Gic,
    /// Memory tagging (FEAT_MTE2), with memory for the tags. It needs `cpu: max`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mte: bool,
}

impl Host {
    /// Returns true if anything is counted.
    pub fn counts(&self) -> bool {
        self.counted().next().is_some()
    }

    /// Yields the devices that are counted.
    pub fn counted(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().filter(|(_, device)| device.count).map(|(name, _)| name.as_str())
    }

    fn default_memory() -> Size {
        Size(1536 << 20)
    }
}

/// An emulated PCI device behind a root port of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Device {
    /// The device that QEMU emulates.
    pub model: DeviceModel,
    /// Size of the prefetchable BAR: a power of two from 4K to 1G. Not for `model: igb`, whose BARs have sizes of
    /// their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub bar: Option<Size>,
    /// Count the accesses to the BAR, its stage-2 faults and its TLB invalidations in each step
    /// that names the device. The host runs slower.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count: bool,
    /// The device may be unplugged and plugged. Each reset takes the host a second longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hotplug: bool,
    /// Size of the drive behind an NVMe controller: a multiple of 1M up to 1G. Only for `model: nvme`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub drive: Option<Size>,
}

impl Device {
    /// Returns the bytes of memory behind its BAR and its drive.
    pub fn memory(&self) -> u64 {
        self.bar.iter().chain(&self.drive).fold(0, |sum, size| sum.saturating_add(size.0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceModel {
    /// Shared memory as a 64-bit prefetchable BAR 2; stores to it reach memory that s2lab can read.
    IvshmemPlain,
    /// An NVMe controller with a drive, for a guest of QEMU's, whose kernel has a driver. Its BAR 4 of that size is
    /// a region of persistent memory, which the driver does not use.
    Nvme,
    /// A network controller, Intel's 82576, without a network. A guest of the built-in VMM gets a virtual function of it,
    /// or selftests get the whole.
    Igb,
}

/// A guest (L2) that KVM in the host runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Guest {
    /// The program in the host that runs it.
    pub vmm: Vmm,
    /// RAM: a multiple of 1M from 64M.
    #[serde(default = "Guest::default_memory")]
    pub memory: Size,
    /// The number of its vCPUs, 1 if left out.
    #[serde(default = "usual_vcpus", skip_serializing_if = "is_usual_vcpus")]
    #[schemars(schema_with = "schema::vcpus")]
    pub vcpus: u32,
    /// The memory behind its RAM: one kind, or two for the lower and the upper half, which are two VMAs
    /// under one memslot; `anonymous` if left out. Only for `vmm: builtin`.
    #[serde(default, deserialize_with = "load::one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ram")]
    pub ram: Vec<RamKind>,
    /// The host's devices that it gets, each with the way. A device belongs to one guest. `flash` is the
    /// flash of the host, a platform device: each host has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub assign: BTreeMap<String, AssignDriver>,
    /// The VMAs of regions whose memory is of `module`: devices, and `ram`. Only for `vmm: builtin`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::vmas")]
    pub vmas: BTreeMap<String, ModuleVma>,
    /// It has memory tagging (KVM_CAP_ARM_MTE). Its devices then have no memslots at first: KVM must refuse them.
    /// Only for `vmm: builtin`, and for a host with `mte`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mte: bool,
    /// It is a hypervisor: its vCPUs begin at EL2, with a stage 2 that gives the BARs this type, and enter a guest of its
    /// own at EL1, which carries out the steps. Looks read the shadow stage 2, which KVM makes of both. Only for
    /// `vmm: builtin`, and for a host with `kvm-arm.mode=nested` in its `arguments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::hypervisor")]
    pub hypervisor: Option<HypervisorType>,
    /// Two regions under one memslot, the second right behind the first: `ram` and a device, or two
    /// devices. Only for `vmm: builtin`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::join")]
    pub join: Vec<String>,
    /// Regions whose memslots are read-only from the start: devices, and `ram` of two kinds, whose upper half
    /// then has a memslot of its own. Only for `vmm: builtin`.
    #[serde(
        default,
        rename = "read-only",
        deserialize_with = "load::one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::one_or_many::<String>")]
    pub read_only: Vec<String>,
}

impl Guest {
    fn default_memory() -> Size {
        Size(256 << 20)
    }

    /// Returns the kinds of memory behind its RAM.
    pub fn ram_kinds(&self) -> Vec<RamKind> {
        if self.ram.is_empty() { vec![RamKind::Anonymous] } else { self.ram.clone() }
    }

    /// Returns true if the memslot of a region is read-only from the start; of RAM that of its upper half.
    pub fn is_read_only(&self, region: &str) -> bool {
        self.read_only.iter().any(|name| name == region)
    }

    /// Returns the VMA of the module behind a region.
    pub fn vma(&self, region: &str) -> Option<ModuleVma> {
        self.vmas.get(region).copied()
    }

    /// Returns the regions under one memslot.
    pub fn joined(&self) -> Option<Joined> {
        let [first, second] = self.join.as_slice() else { return None };
        Some(Joined { first: Some(first.clone()).filter(|first| first != RAM), second: second.clone() })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Vmm {
    /// QEMU inside the host, with KVM. The guest boots a Linux.
    Qemu,
    /// The agent's own VMM inside the host, with KVM. The guest has no operating system: its vCPUs
    /// carry out the steps at EL1.
    Builtin,
}

impl From<Vmm> for VmmKind {
    fn from(vmm: Vmm) -> VmmKind {
        match vmm {
            Vmm::Qemu => VmmKind::Qemu,
            Vmm::Builtin => VmmKind::Builtin,
        }
    }
}

/// The way in which a guest gets a device's BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AssignDriver {
    /// The driver that conveys to KVM that a BAR is safe for Normal-NC, in kernels that have the
    /// series.
    VfioPci,
    /// sysfs `resourceN` of a device without a driver. Only for `vmm: builtin`.
    Sysfs,
    /// sysfs `resourceN_wc` of a device without a driver. Only for `vmm: builtin`.
    SysfsWc,
    /// The driver of platform devices, which marks nothing. Only for `flash`, and only for `vmm: builtin`.
    VfioPlatform,
    /// A VMA of s2lab's own kernel module, over the BAR of a device without a driver: that of `vmas`. Only for
    /// `vmm: builtin`, and on kernels that s2lab builds.
    Module,
    /// vfio-pci holds a virtual function of the device, whose own driver makes it. Only for `model: igb`, and only for
    /// `vmm: builtin`.
    VirtualFunction,
}

impl AssignDriver {
    /// Returns true if vfio-pci holds the device, or a virtual function of it: no other way marks its VMAs.
    pub fn is_vfio_pci(self) -> bool {
        matches!(self, AssignDriver::VfioPci | AssignDriver::VirtualFunction)
    }

    /// Returns true if VFIO holds the device.
    pub fn is_vfio(self) -> bool {
        match self {
            AssignDriver::VfioPci | AssignDriver::VfioPlatform | AssignDriver::VirtualFunction => true,
            AssignDriver::Sysfs | AssignDriver::SysfsWc | AssignDriver::Module => false,
        }
    }
}

impl From<AssignDriver> for AssignKind {
    fn from(driver: AssignDriver) -> AssignKind {
        match driver {
            AssignDriver::VfioPci => AssignKind::VfioPci,
            AssignDriver::Sysfs => AssignKind::Sysfs,
            AssignDriver::SysfsWc => AssignKind::SysfsWc,
            AssignDriver::VfioPlatform => AssignKind::VfioPlatform,
            AssignDriver::Module => AssignKind::Module,
            AssignDriver::VirtualFunction => AssignKind::VirtualFunction,
        }
    }
}

/// An expected result: `at` with properties of the tables at looks, or the ends of probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Expectation {
    /// The look, or the looks, at which it must hold.
    #[serde(default, deserialize_with = "load::one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::one_or_many::<String>")]
    pub at: Vec<String>,
    /// Its region: a device that a guest has, or `ram`. At a look `of: host`: `ram`, `mmio`, `hypervisor` or `stacks`.
    pub of: String,
    /// The memory type of every stage-2 leaf of the region; `none` if stage 2 must map nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::stage2_type")]
    pub stage2: Option<Stage2Type>,
    /// The effective type of the guest's mappings of the device, stage 1 and 2 combined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory_type")]
    pub effective: Option<MemoryType>,
    /// The permission of the region's stage-2 leaves to execute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Exec")]
    pub exec: Option<Exec>,
    /// The accesses that the region's stage-2 leaves allow: S2AP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Access")]
    pub access: Option<Access>,
    /// The shareability of the region's stage-2 leaves: SH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Share")]
    pub share: Option<Share>,
    /// The access flag of the region's stage-2 leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessFlag")]
    pub af: Option<AccessFlag>,
    /// The end of an unaligned store of a `probe` step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessEnd")]
    pub unaligned: Option<AccessEnd>,
    /// The end of an unaligned load of a `probe` step.
    #[serde(default, rename = "unaligned-load", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessEnd")]
    pub unaligned_load: Option<AccessEnd>,
    /// The end of DC ZVA of a `probe` step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessEnd")]
    pub zva: Option<AccessEnd>,
    /// The end of an atomic access of a `probe` step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessEnd")]
    pub atomic: Option<AccessEnd>,
    /// The end of an exclusive access of a `probe` step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessEnd")]
    pub exclusive: Option<AccessEnd>,
    /// The end of an instruction fetch of a `probe` step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessEnd")]
    pub fetch: Option<AccessEnd>,
    /// Only for kernels that declare this trait, or all of these.
    #[serde(default, deserialize_with = "load::one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::one_or_many::<Trait>")]
    pub when: Vec<Trait>,
    /// Only for kernels that lack this trait, or at least one of these.
    #[serde(default, deserialize_with = "load::one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::one_or_many::<Trait>")]
    pub unless: Vec<Trait>,
    /// Only at these points of the axes. A resolved cell has only those of its point, without this.
    #[serde(default, skip_serializing_if = "PointSet::is_empty")]
    pub points: PointSet,
}

impl Expectation {
    /// Returns an expectation of this region that asserts nothing yet.
    pub(crate) fn about(of: &str) -> Expectation {
        Expectation {
            at: vec![],
            of: of.to_owned(),
            stage2: None,
            effective: None,
            exec: None,
            access: None,
            share: None,
            af: None,
            unaligned: None,
            unaligned_load: None,
            zva: None,
            atomic: None,
            exclusive: None,
            fetch: None,
            when: vec![],
            unless: vec![],
            points: PointSet::default(),
        }
    }

    /// Returns true if it asserts something of the tables.
    pub(crate) fn is_of_tables(&self) -> bool {
        let Self { stage2, effective, exec, access, share, af, .. } = self;
        stage2.is_some()
            || effective.is_some()
            || exec.is_some()
            || access.is_some()
            || share.is_some()
            || af.is_some()
    }

    /// Returns true if it is for kernels with exactly these traits.
    pub fn applies_to(&self, traits: &BTreeSet<Trait>) -> bool {
        conditions::hold(&self.when, &self.unless, traits)
    }
}
