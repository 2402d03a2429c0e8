//! The scenario: what a YAML file says, resolved. [`load`](load::load) reads one and finds every mistake in it.

use crate::kernel::Trait;
use s2lab_protocol::MapKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One scenario file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short unique name, the file's own name without `.yaml`; the first half of every key.
    pub scenario: String,
    /// One sentence: what the scenario shows.
    pub about: String,
    /// The invariants I1..I16 that it holds up.
    #[serde(default)]
    pub promises: BTreeSet<Promise>,
    pub host: Host,
    pub guests: BTreeMap<String, Guest>,
    pub steps: Vec<Step>,
    pub expect: Vec<Expectation>,
}

/// The emulated host (L1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// QEMU's CPU model, for instance `neoverse-v1` (has FEAT_S2FWB) or `neoverse-n1` (has not).
    pub cpu: String,
    /// RAM; a multiple of 1M.
    #[serde(default = "Host::default_memory")]
    pub memory: Size,
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
}

impl Host {
    fn default_memory() -> Size {
        Size(1536 << 20)
    }
}

/// An emulated PCI device behind a root port of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub model: DeviceModel,
    /// Size of the prefetchable BAR: a power of two from 4K to 1G.
    pub bar: Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceModel {
    /// Shared memory as a 64-bit prefetchable BAR 2; stores to it reach memory that s2lab can read.
    IvshmemPlain,
}

/// A guest (L2) that KVM in the host runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    pub vmm: Vmm,
    /// RAM; a multiple of 1M.
    #[serde(default = "Guest::default_memory")]
    pub memory: Size,
    /// Which of the host's devices it gets, and by which driver.
    #[serde(default)]
    pub assign: BTreeMap<String, AssignDriver>,
}

impl Guest {
    fn default_memory() -> Size {
        Size(256 << 20)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vmm {
    Qemu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssignDriver {
    VfioPci,
}

/// What is done, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    Store(StoreStep),
    Look(LookStep),
    Host(HostStep),
    Probe(ProbeStep),
}

/// The guest's user space maps a device's BAR and stores a pattern to it, once for each width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreStep {
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    /// Widths of a store in bytes: 8, 16 or 64.
    pub width: Vec<u32>,
    /// How much is stored, from the start of the BAR; a multiple of 64.
    pub bytes: Size,
}

/// The tables of every running guest are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookStep {
    pub name: String,
}

/// The host acts on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostStep {
    /// The device to reset through VFIO.
    pub reset: String,
}

/// One unaligned store in the guest's user space. It may kill the guest, so it is the last step of its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeStep {
    pub guest: String,
    pub device: String,
    pub map: MapKind,
}

/// What must be seen. Exactly one of the three forms: tables (`at` + `stage2`, ...), or `unaligned`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Looks at which it must hold; none only with `unaligned`.
    #[serde(default)]
    pub at: Vec<String>,
    /// A device's name, or `ram`.
    pub of: String,
    /// The memory type of every stage-2 leaf of the region.
    #[serde(default)]
    pub stage2: Option<MemoryType>,
    /// The effective type of the guest's mapping, stage 1 and 2 combined.
    #[serde(default)]
    pub effective: Option<MemoryType>,
    /// `never`: every leaf forbids execution at every exception level.
    #[serde(default)]
    pub exec: Option<Exec>,
    /// How the unaligned store of a `probe` step ends.
    #[serde(default)]
    pub unaligned: Option<Unaligned>,
    /// Holds only for kernels that declare all of these traits.
    #[serde(default)]
    pub when: Vec<Trait>,
    /// Holds only for kernels that lack at least one of these traits.
    #[serde(default)]
    pub unless: Vec<Trait>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemoryType {
    #[serde(rename = "Device-nGnRnE")]
    DeviceNGnRnE,
    #[serde(rename = "Device-nGnRE")]
    DeviceNGnRE,
    #[serde(rename = "Device-nGRE")]
    DeviceNGRE,
    #[serde(rename = "Device-GRE")]
    DeviceGRE,
    #[serde(rename = "Normal-NC")]
    NormalNC,
    #[serde(rename = "Normal-WT")]
    NormalWT,
    #[serde(rename = "Normal-WB")]
    NormalWB,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exec {
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unaligned {
    /// The store completes.
    Ok,
    /// The guest gets a signal or its VMM stops; which of the two is not promised.
    Fault,
}

/// An invariant I1..I16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Promise(u8);

impl Promise {
    pub const LAST: u8 = 16;
}

impl TryFrom<String> for Promise {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.strip_prefix('I')
            .and_then(|n| n.parse().ok())
            .filter(|n| (1..=Self::LAST).contains(n))
            .map(Promise)
            .ok_or_else(|| format!("`{text}` is no promise; they are I1 to I{}", Self::LAST))
    }
}

impl From<Promise> for String {
    fn from(p: Promise) -> String {
        p.to_string()
    }
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "I{}", self.0)
    }
}

/// A number of bytes, written `4K`, `16M` or `1G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("`{text}` is no size; write a whole number with K, M or G, like 16M");
        let (digits, shift) = match text.char_indices().last() {
            Some((i, 'K')) => (&text[..i], 10),
            Some((i, 'M')) => (&text[..i], 20),
            Some((i, 'G')) => (&text[..i], 30),
            _ => (text.as_str(), 0),
        };
        let n: u64 = digits.parse().map_err(|_| bad())?;
        n.checked_mul(1 << shift).filter(|n| *n > 0).map(Size).ok_or_else(bad)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.to_string()
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match [(30, 'G'), (20, 'M'), (10, 'K')].into_iter().find(|(shift, _)| self.0 % (1 << shift) == 0) {
            Some((shift, unit)) if self.0 > 0 => write!(f, "{}{unit}", self.0 >> shift),
            _ => write!(f, "{}", self.0),
        }
    }
}
