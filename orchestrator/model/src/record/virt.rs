//! What QEMU's machine `virt` gives to a guest as memory (QEMU 10.0 hw/arm/virt.c, base_memmap): all that KVM has memory slots for
//! beside the BARs of assigned devices. What the host says of it never counts.

use std::ops::Range;

/// VIRT_MEM: the first byte of RAM.
pub const RAM_START: u64 = 0x4000_0000;
/// VIRT_FLASH: two flash devices. No image is given to them, so they are read as zeroes. While they are read, and not programmed,
/// KVM has them as read-only slots.
pub const FLASH: Range<u64> = 0..0x0800_0000;
/// VIRT_PVTIME: where KVM tells a guest of stolen time. 64 bytes for each vCPU, rounded up to the host's pages
/// (virt_cpu_post_init), so one page of whatever size; 64 KiB are set aside.
pub const STOLEN_TIME: Range<u64> = 0x090a_0000..0x090b_0000;
/// VIRT_PCIE_MMIO: the window of PCI memory below RAM. The other one lies beyond RAM.
pub const PCI: Range<u64> = 0x1000_0000..0x3eff_0000;

/// The RAM of a guest with so many bytes.
pub fn ram(memory: u64) -> Range<u64> {
    RAM_START..RAM_START.saturating_add(memory)
}
