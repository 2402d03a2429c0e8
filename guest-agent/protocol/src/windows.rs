//! The places of PCI BARs in a guest.

/// The IPAs of PCI BARs, as first byte and end: the windows of QEMU's `virt` (QEMU 10.0
/// hw/arm/virt.c, base_memmap and extended_memmap: VIRT_PCIE_MMIO and VIRT_HIGH_PCIE_MMIO). The
/// built-in VMM has its BARs there too. A guest's RAM is not in them.
pub const BAR_WINDOWS: [(u64, u64); 2] = [(0x1000_0000, 0x4000_0000), (0x80_0000_0000, u64::MAX)];

/// Returns true if a PCI BAR may be at this IPA.
pub fn is_bar_place(ipa: u64) -> bool {
    BAR_WINDOWS.iter().any(|(start, end)| (*start..*end).contains(&ipa))
}
