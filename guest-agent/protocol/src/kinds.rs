//! Words that scenarios, logs and agents share, and their one spelling.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The sysfs file through which the guest's user space maps the BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// `resourceN_wc`: stage 1 Normal-NC.
    Wc,
    /// `resourceN`: stage 1 Device-nGnRE.
    Device,
}

impl MapKind {
    pub const ALL: [MapKind; 2] = [MapKind::Wc, MapKind::Device];

    /// The word in scenarios, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            MapKind::Wc => "wc",
            MapKind::Device => "device",
        }
    }
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no kind of mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMapKind(pub String);

impl fmt::Display for UnknownMapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no kind of mapping", self.0)
    }
}

impl std::error::Error for UnknownMapKind {}

impl FromStr for MapKind {
    type Err = UnknownMapKind;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = MapKind::ALL.into_iter().find(|kind| kind.name() == word);
        found.ok_or_else(|| UnknownMapKind(word.to_owned()))
    }
}

/// The program in the host that runs a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VmmKind {
    /// QEMU. The guest boots a Linux.
    Qemu,
    /// The agent's own. The guest runs a part of the agent at EL1, without an operating system.
    Builtin,
}

/// The way in which a guest gets the BAR of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssignKind {
    /// Through VFIO, from the driver vfio-pci.
    VfioPci,
    /// Through sysfs `resourceN`, from no driver.
    Sysfs,
    /// Through sysfs `resourceN_wc`, from no driver.
    SysfsWc,
    /// Through VFIO, from the driver vfio-platform. The device is none of PCI, and has no IOMMU.
    VfioPlatform,
    /// Through a VMA of s2lab's own kernel module, from no driver.
    Module,
    /// Through VFIO, from the driver vfio-pci: a virtual function of the device, whose own driver is igb.
    VirtualFunction,
}

impl AssignKind {
    pub const ALL: [AssignKind; 6] = [
        AssignKind::VfioPci,
        AssignKind::Sysfs,
        AssignKind::SysfsWc,
        AssignKind::VfioPlatform,
        AssignKind::Module,
        AssignKind::VirtualFunction,
    ];

    /// The word in scenarios and messages.
    pub fn name(self) -> &'static str {
        match self {
            AssignKind::VfioPci => "vfio-pci",
            AssignKind::Sysfs => "sysfs",
            AssignKind::SysfsWc => "sysfs-wc",
            AssignKind::VfioPlatform => "vfio-platform",
            AssignKind::Module => "module",
            AssignKind::VirtualFunction => "virtual-function",
        }
    }
}

impl fmt::Display for AssignKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The memory of the host that backs a guest's RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RamKind {
    /// Anonymous memory, with huge pages as the host's settings have it.
    Anonymous,
    /// A file of memfd_create(2).
    Memfd,
    /// Pages of 2 MiB from hugetlbfs.
    Hugetlb,
    /// Pages of 64 KiB from hugetlbfs: 16 contiguous entries of the host's tables. Only hosts with pages of 4 KiB have
    /// them (Linux 6.1 to 7.2 arch/arm64/mm/hugetlbpage.c).
    #[serde(rename = "hugetlb-64k")]
    Hugetlb64K,
    /// Anonymous memory with MADV_HUGEPAGE.
    Thp,
    /// Anonymous memory with MADV_NOHUGEPAGE.
    NoThp,
    /// Memory like that of [`RamKind::Thp`], at an address that differs from the IPA within a block of 2 MiB.
    ThpAskew,
    /// Pages in a VMA of s2lab's own kernel module.
    Module,
}

impl RamKind {
    pub const ALL: [RamKind; 8] = [
        RamKind::Anonymous,
        RamKind::Memfd,
        RamKind::Hugetlb,
        RamKind::Hugetlb64K,
        RamKind::Thp,
        RamKind::NoThp,
        RamKind::ThpAskew,
        RamKind::Module,
    ];

    /// The word in scenarios and messages.
    pub fn name(self) -> &'static str {
        match self {
            RamKind::Anonymous => "anonymous",
            RamKind::Memfd => "memfd",
            RamKind::Hugetlb => "hugetlb",
            RamKind::Hugetlb64K => "hugetlb-64k",
            RamKind::Thp => "thp",
            RamKind::NoThp => "no-thp",
            RamKind::ThpAskew => "thp-askew",
            RamKind::Module => "module",
        }
    }

    /// Returns the size of its pages from hugetlbfs in bytes.
    pub fn huge_page(self) -> Option<u64> {
        match self {
            RamKind::Hugetlb => Some(HUGE_PAGE),
            RamKind::Hugetlb64K => Some(CONTIGUOUS_PAGES),
            _ => None,
        }
    }
}

impl fmt::Display for RamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The type that the stage 2 of a guest hypervisor gives the BARs of its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HypervisorType {
    #[serde(rename = "Device-nGnRE")]
    DeviceNGnRE,
    #[serde(rename = "Normal-NC")]
    NormalNC,
    #[serde(rename = "Normal-WB")]
    NormalWB,
}

impl HypervisorType {
    pub const ALL: [HypervisorType; 3] =
        [HypervisorType::DeviceNGnRE, HypervisorType::NormalNC, HypervisorType::NormalWB];

    /// The word in scenarios and reports.
    pub fn name(self) -> &'static str {
        match self {
            HypervisorType::DeviceNGnRE => "Device-nGnRE",
            HypervisorType::NormalNC => "Normal-NC",
            HypervisorType::NormalWB => "Normal-WB",
        }
    }
}

impl fmt::Display for HypervisorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The size of a page of [`RamKind::Hugetlb`] in bytes. arm64 has it with pages of 4 KiB and of 64 KiB
/// (Linux 6.1 to 7.2 arch/arm64/mm/hugetlbpage.c).
pub const HUGE_PAGE: u64 = 2 << 20;
/// The size of a page of [`RamKind::Hugetlb64K`] in bytes.
pub const CONTIGUOUS_PAGES: u64 = 64 << 10;

/// The instructions of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// STR of a general register: 1, 2, 4 or 8 bytes.
    Str,
    /// STP of two X registers: 16 bytes; 64 bytes are four of them.
    Stp,
    /// STR of a Q register: 16 bytes.
    Q,
    /// ST4 of four vectors of two elements: 64 bytes (rdma-core util/mmio.h,
    /// `_mmio_memcpy_x64_64b`).
    St4,
    /// Eight STR of X registers, and DGH: 64 bytes (Linux 6.10 arch/arm64/include/asm/io.h,
    /// `__const_memcpy_toio_aligned64`, `__iowrite64_copy`).
    Dgh,
}

impl By {
    pub const ALL: [By; 5] = [By::Str, By::Stp, By::Q, By::St4, By::Dgh];

    /// The word in scenarios, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            By::Str => "str",
            By::Stp => "stp",
            By::Q => "q",
            By::St4 => "st4",
            By::Dgh => "dgh",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The order of the chunks of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Ascending addresses.
    #[default]
    Sequential,
    /// Each eighth chunk, eight times.
    Strided,
    /// An order that a seed gives.
    Random,
}

impl Order {
    pub const ALL: [Order; 3] = [Order::Sequential, Order::Strided, Order::Random];

    /// The word in scenarios, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Order::Sequential => "sequential",
            Order::Strided => "strided",
            Order::Random => "random",
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The barrier after each chunk of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Barrier {
    #[default]
    None,
    /// DMB OSHST after stores, DMB OSHLD after loads: Linux's `dma_wmb` and `dma_rmb`
    /// (arch/arm64/include/asm/barrier.h).
    Dmb,
    /// DSB ST after stores, DSB LD after loads: Linux's `wmb` and `rmb`, rdma-core's
    /// `mmio_flush_writes`.
    Dsb,
}

impl Barrier {
    pub const ALL: [Barrier; 3] = [Barrier::None, Barrier::Dmb, Barrier::Dsb];

    /// The word in scenarios, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Barrier::None => "none",
            Barrier::Dmb => "dmb",
            Barrier::Dsb => "dsb",
        }
    }
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind of access that may fault, by what the architecture says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// STR of an X register to an odd address.
    #[default]
    Store,
    /// LDR of an X register from an odd address.
    Load,
    /// DC ZVA.
    Zva,
    /// LDADD (FEAT_LSE).
    Atomic,
    /// LDXR and STXR.
    Exclusive,
    /// A branch to the BAR.
    Fetch,
}

impl ProbeKind {
    pub const ALL: [ProbeKind; 6] = [
        ProbeKind::Store,
        ProbeKind::Load,
        ProbeKind::Zva,
        ProbeKind::Atomic,
        ProbeKind::Exclusive,
        ProbeKind::Fetch,
    ];

    /// The word in scenarios and logs.
    pub fn name(self) -> &'static str {
        match self {
            ProbeKind::Store => "store",
            ProbeKind::Load => "load",
            ProbeKind::Zva => "zva",
            ProbeKind::Atomic => "atomic",
            ProbeKind::Exclusive => "exclusive",
            ProbeKind::Fetch => "fetch",
        }
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no kind of probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownProbeKind(pub String);

impl fmt::Display for UnknownProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a kind of probe", self.0)
    }
}

impl std::error::Error for UnknownProbeKind {}

impl FromStr for ProbeKind {
    type Err = UnknownProbeKind;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = ProbeKind::ALL.into_iter().find(|kind| kind.name() == word);
        found.ok_or_else(|| UnknownProbeKind(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_one_spelling() {
        let words = By::ALL.map(|by| (serde_json::to_value(by), by.to_string())).into_iter();
        let words = words.chain(Order::ALL.map(|order| (serde_json::to_value(order), order.to_string())));
        let words = words.chain(Barrier::ALL.map(|one| (serde_json::to_value(one), one.to_string())));
        for (json, word) in words {
            assert_eq!(json.unwrap(), word);
        }
        for kind in ProbeKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!("ZVA".parse::<ProbeKind>(), Err(UnknownProbeKind("ZVA".into())));
    }

    #[test]
    fn a_way_of_assigning_has_one_spelling() {
        for kind in AssignKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn a_kind_has_one_spelling() {
        for kind in RamKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for of in HypervisorType::ALL {
            assert_eq!(serde_json::to_value(of).unwrap(), of.to_string());
        }
        for kind in MapKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!("WC".parse::<MapKind>(), Err(UnknownMapKind("WC".into())));
    }
}
