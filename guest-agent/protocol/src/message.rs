//! Requests, replies and the things an agent says unasked.

use serde::{Deserialize, Serialize};

/// The body of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Body {
    /// s2lab asks. `id` is chosen by s2lab and never reused in a cell.
    Request { id: u64, request: Request },
    /// The agent answers request `id`, exactly once.
    Reply { id: u64, result: Result<Reply, Failure> },
    /// The agent speaks unasked.
    Notice(Notice),
}

/// What s2lab may ask. Which level answers is said with each; the other level answers [`FailureKind::Unsupported`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Host: detach the PCI function below root port `port` from its driver and bind it to `driver`.
    Bind { device: String, port: String, driver: String },
    /// Host: what the kernel says of its physical memory.
    Memory,
    /// Host: start a guest; the reply comes when its VMM runs, the guest's own [`Notice::Hello`] when it is up.
    StartGuest(GuestSpec),
    /// Host: the VMAs through which the guest's VMM maps its assigned devices, from `/proc/PID/smaps`.
    VmaFlags { guest: String },
    /// Host: reset the device through VFIO (`VFIO_DEVICE_RESET`), as its VMM would.
    Reset { guest: String, device: String },
    /// Host: end the guest's VMM.
    StopGuest { guest: String },
    /// Guest: map the device's largest prefetchable BAR and store a pattern to it, then read it back.
    Store(StoreSpec),
    /// Guest: spin in user space with `nonce` in [`HOLD_REGISTER`] until [`Request::Release`]; [`Reply::Held`] comes when the
    /// spinning has begun.
    Hold { nonce: u64 },
    /// Guest: stop spinning.
    Release,
    /// Guest: one unaligned 8-byte store in user space. It may kill the guest or its VMM: the last request a guest gets.
    Unaligned { address: String, map: MapKind, offset: u64 },
    /// Either: write the final record, then power off.
    Finish,
}

/// The general register that holds the nonce of [`Request::Hold`] while the guest spins: x19.
pub const HOLD_REGISTER: &str = "x19";

/// A guest that the host's agent starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestSpec {
    pub name: String,
    /// Guest RAM in MiB.
    pub memory_mib: u32,
    pub cpus: u32,
    pub devices: Vec<AssignedDevice>,
}

/// A device of the host, assigned to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignedDevice {
    /// The scenario's name for it.
    pub device: String,
    /// PCI address in the host, as [`Reply::Bound`] gave it: `0000:01:00.0`.
    pub host_address: String,
    /// PCI slot on the guest's root bus, 1..=31; the guest sees `0000:00:SLOT.0`.
    pub guest_slot: u8,
}

/// Through which sysfs file the guest's user space maps the BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// `resourceN_wc`: stage 1 Normal-NC.
    Wc,
    /// `resourceN`: stage 1 Device-nGnRE.
    Device,
}

/// A run of stores to a BAR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSpec {
    /// The scenario's name for the device.
    pub device: String,
    /// PCI address in the guest.
    pub address: String,
    pub map: MapKind,
    /// Width of each store in bytes: 8 (STR), 16 (STP) or 64 (four STP of Q registers' half, i.e. eight X registers).
    pub width: u32,
    /// First byte in the BAR; a multiple of 64.
    pub offset: u64,
    /// How many bytes; a multiple of 64.
    pub bytes: u64,
    /// Seed of the pattern, see [`pattern`].
    pub seed: u64,
}

/// The 8-byte little-endian word that a store run with `seed` leaves at byte offset `offset` (a multiple of 8) of the BAR.
/// Both sides compute it; a word depends on its place, so that a store to a wrong place shows.
pub fn pattern(seed: u64, offset: u64) -> u64 {
    // SplitMix64's finaliser: every bit of place and seed reaches every bit of the word.
    let mut z = seed ^ (offset / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    Bound(BoundDevice),
    Memory(HostMemory),
    GuestStarted { pid: u32, vmm: String },
    VmaFlags { vmas: Vec<Vma> },
    ResetDone { method: String },
    GuestStopped,
    Stored(StoreResult),
    Held { pid: u32, mappings: Vec<Mapping> },
    Released,
    Unaligned { outcome: UnalignedOutcome },
    Finished(FinalRecord),
}

/// What the host's kernel says of its physical memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostMemory {
    /// The text of `/proc/iomem`.
    pub iomem: String,
    /// Of what that calls reserved or the kernel's, the pages that the page allocator does not have: PG_reserved in
    /// `/proc/kpageflags`. What was freed since boot (the initramfs, the kernel's init sections, CMA) is not among them. None: the
    /// kernel has no `/proc/kpageflags`.
    pub reserved: Option<Vec<Extent>>,
}

/// A range of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// A device as the host sees it once bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundDevice {
    pub device: String,
    pub address: String,
    pub vendor: u16,
    pub id: u16,
    pub driver: String,
    pub iommu_group: u32,
    pub bars: Vec<Bar>,
}

/// A memory BAR as sysfs `resource` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    pub index: u8,
    /// Physical address at this level.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    pub prefetchable: bool,
}

impl Bar {
    /// The BAR that a scenario means by a device's name: the largest prefetchable one, of equal ones the first.
    pub fn chosen(bars: impl IntoIterator<Item = Bar>) -> Option<Bar> {
        let prefetchable = bars.into_iter().filter(|bar| bar.prefetchable);
        prefetchable.max_by_key(|bar| (bar.size, std::cmp::Reverse(bar.index)))
    }
}

/// One VMA of a VMM that maps an assigned device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vma {
    pub start: u64,
    pub end: u64,
    /// Offset in the mapped file. VFIO has the region's index in bits 40 and up; 6.1 writes the BAR's physical address over it
    /// (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_mmap).
    pub offset: u64,
    /// What is mapped, as the kernel names it.
    pub name: String,
    /// The `VmFlags:` line, two letters each; `??` is a flag without a mnemonic.
    pub flags: Vec<String>,
}

/// What a store run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreResult {
    pub bar: Bar,
    /// Store instructions executed.
    pub stores: u64,
    /// Time of the stores alone, guest clock, nanoseconds.
    pub nanos: u64,
    /// Offset in the BAR of the first word that reads back wrong.
    pub first_difference: Option<u64>,
}

/// A BAR that the held guest's user space has mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    pub device: String,
    pub map: MapKind,
    /// Guest virtual address of the BAR's first byte.
    pub va: u64,
    pub bar: Bar,
}

/// How an unaligned store ended, when the guest lived to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnalignedOutcome {
    /// The store completed and reads back.
    Ok,
    /// The store completed but reads back wrong.
    Wrong,
    /// The guest's user space got a signal.
    Signal(i32),
}

/// What an agent says unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Notice {
    /// First frame of every agent.
    Hello(Hello),
    /// About once a second while the agent lives. `stored`: bytes since its start, those of a run of stores that goes on
    /// included, so that a slow guest is told from a stuck one.
    Heartbeat { uptime_ms: u64, stored: u64 },
    /// Host: bytes of a guest's console, in order; not valid UTF-8 in general, so hexadecimal.
    Console { guest: String, hex: String },
    /// Host: the guest's VMM stopped running it, or ended. Exactly one for each guest that was started, before the answer to
    /// the [`Request::StopGuest`] or [`Request::Finish`] that ended it.
    GuestEnded { guest: String, how: GuestEnd },
    /// Something a person may want to read.
    Log { text: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    pub level: Level,
    /// `uname -r`.
    pub release: String,
    /// Bytes.
    pub page_size: u32,
    pub uptime_ms: u64,
    /// `/proc/sys/kernel/tainted`; none if it cannot be read.
    #[serde(default)]
    pub taint: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Host,
    Guest,
}

/// Why a guest no longer runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestEnd {
    /// QMP says the vCPU stopped with this run state (`internal-error`, `guest-panicked`, ...); `detail` is the VMM's stderr tail.
    Stopped { state: String, detail: String },
    /// The VMM process ended.
    Exited { code: Option<i32>, signal: Option<i32>, detail: String },
}

/// The last word of an agent: without it a cell cannot pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalRecord {
    /// Requests answered, this one included.
    pub answered: u64,
    /// As in [`Hello`], read for this record.
    #[serde(default)]
    pub taint: Option<u64>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub kind: FailureKind,
    /// What failed, on what, why.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// This level does not answer that request.
    Unsupported,
    /// Host: its kernel does not show this, which the request needs.
    Missing(Facility),
    /// Host: its kernel shows this, and refuses to do with it what the request needs.
    Refused(Facility),
    /// The request does not fit the machine (no such device, BAR too small).
    Invalid,
    /// A system call failed.
    System,
}

/// What a host's kernel brings up if its configuration has an option for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facility {
    /// `/dev/kvm`.
    Kvm,
    /// The driver vfio-pci.
    VfioPci,
    /// The module vfio_iommu_type1.
    VfioIommuType1,
    /// A device's IOMMU group.
    Iommu,
}
