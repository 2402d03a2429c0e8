//! The memory that QEMU's machine `virt` gives to a guest (QEMU 10.0 hw/arm/virt.c, base_memmap):
//! everything that KVM has memory slots for beside the BARs of assigned devices. The host's report
//! of it never counts.

use crate::scenario::{Gic, Host};
use s2lab_protocol::Bar;
use std::ops::Range;

/// VIRT_MEM: the first byte of RAM.
pub const RAM_START: u64 = 0x4000_0000;
/// VIRT_FLASH: two flash devices. They have no image, so they read as zeroes. While they are read,
/// and not programmed, KVM has them as read-only slots.
pub const FLASH: Range<u64> = 0..0x0800_0000;
/// The name of the host's flash in its kernel: the first address, and the node's name in the device tree
/// (drivers/of/platform.c, of_device_make_bus_id).
pub const FLASH_NAME: &str = "0.flash";
/// The bytes of one of the two flash devices.
pub const FLASH_BANK: u64 = (FLASH.end - FLASH.start) / 2;
/// VIRT_GIC_VCPU: the virtual CPU interface of a GICv2 (QEMU 10.0 hw/intc/arm_gic.c). The host gives it to
/// its guests as their CPU interface.
pub const GICV: Range<u64> = 0x0804_0000..0x0805_0000;
/// VIRT_PVTIME: the page in which KVM reports stolen time to a guest. It has 64 bytes for each
/// vCPU, rounded up to the host's pages (virt_cpu_post_init), so it is one page of any size; 64 KiB
/// are reserved.
pub const STOLEN_TIME: Range<u64> = 0x090a_0000..0x090b_0000;
/// VIRT_PCIE_MMIO: the window of PCI memory below RAM. The other window is beyond RAM.
pub const PCI: Range<u64> = 0x1000_0000..0x3eff_0000;

/// Returns the physical addresses of the GIC's virtual CPU interface, if the host has one in memory.
pub fn gicv(host: &Host) -> Option<Range<u64>> {
    (host.gic == Gic::V2).then_some(GICV)
}

/// Returns the regions of the host's own flash, which is a machine `virt` too. The device tree describes both
/// devices as one with two regions (virt_flash_fdt).
pub fn flash() -> [Bar; 2] {
    [0, 1].map(|index| {
        let start = FLASH.start + u64::from(index) * FLASH_BANK;
        Bar { index, start, size: FLASH_BANK, prefetchable: true }
    })
}

/// Returns the RAM of a guest with so many bytes.
pub fn ram(memory: u64) -> Range<u64> {
    RAM_START..RAM_START.saturating_add(memory)
}
