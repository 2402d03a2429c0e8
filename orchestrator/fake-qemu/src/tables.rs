//! The content of a look: a guest's page tables, and the registers that lead to them.

use crate::memory::HYPERVISOR;
use guest_tables::{
    BAR_IPA, BAR_PA, BAR_VA, BLOCK, GuestTables, HCR, HCR_E2H, HCR_FWB, HostTables, INDEX_DEVICE, INDEX_NC,
    NEVER_EXEC, PAGE, VmmTables, registers as guest_registers, stage2_root,
};
use s2lab_protocol::{MapKind, ask::DumpedRange};
use std::collections::BTreeMap;

/// The distance from one device's BAR to the next, IPA and PA: the largest BAR.
pub(crate) const BAR_STRIDE: u64 = 1 << 30;

/// A BAR that a guest has mapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MappedBar {
    /// The number of the host's device, from 0.
    pub(crate) device: u64,
    pub(crate) size: u64,
    pub(crate) map: MapKind,
    /// True if stage 2 has it.
    pub(crate) touched: bool,
}

/// Returns the virtual address of the guest's `index`-th mapping.
pub(crate) fn mapping_va(index: u64) -> u64 {
    BAR_VA - index * BAR_STRIDE
}

pub(crate) fn bar_ipa(device: u64) -> u64 {
    BAR_IPA + device * BAR_STRIDE
}

pub(crate) fn bar_pa(device: u64) -> u64 {
    BAR_PA + device * BAR_STRIDE
}

/// The SCTLR_EL1 of Linux: MMU, caches and the rest (arch/arm64/include/asm/sysreg.h,
/// INIT_SCTLR_EL1_MMU_ON).
const SCTLR: u64 = 0x34f4_d91d;

/// Returns the VTTBR_EL2 of the `guest`-th guest.
pub(crate) fn vttbr(guest: u64) -> u64 {
    stage2_root(guest) | (guest + 1) << 48
}

/// Returns the registers of a vCPU that runs the `guest`-th guest, by the gdbstub's names.
pub(crate) fn registers(guest: u64, nonce: u64) -> BTreeMap<&'static str, u64> {
    let mut registers = guest_registers(guest + 1);
    // cpsr: EL0t.
    registers.extend([
        ("cpsr", 0),
        ("x19", nonce),
        ("TTBR1_EL1", 0),
        ("SCTLR", SCTLR),
        ("VTTBR_EL2", vttbr(guest)),
        ("HCR_EL2", HCR | HCR_FWB | HCR_E2H),
    ]);
    registers.extend(VmmTables::of(guest).registers());
    registers
}

/// Returns the address at which the VMM maps the BAR of its `index`-th device.
pub(crate) fn vmm_va(index: u64) -> u64 {
    0xffff_0000_0000 + index * BAR_STRIDE
}

/// Returns the pages of the stage 1 of the `guest`-th guest's VMM: the BARs of its devices, each the
/// host's device with its size, in `pages` or in blocks.
pub(crate) fn vmm(guest: u64, devices: &[(u64, u64)], pages: bool) -> BTreeMap<u64, Vec<u8>> {
    let mut vmm = VmmTables::of(guest);
    for (index, (device, size)) in (0..).zip(devices) {
        let (level, span) = if size % BLOCK == 0 && !pages { (2, BLOCK) } else { (3, PAGE) };
        for offset in (0..*size).step_by(span as usize) {
            vmm.map(vmm_va(index) + offset, level, bar_pa(*device) + offset);
        }
    }
    vmm.pages()
}

/// Returns the IPAs of the faults by which a guest gets a BAR, one for each leaf.
pub(crate) fn faults(device: u64, size: u64) -> impl Iterator<Item = u64> {
    let span = if size.is_multiple_of(BLOCK) { BLOCK } else { PAGE };
    (0..size).step_by(span as usize).map(move |offset| bar_ipa(device) + offset)
}

/// Returns the line of KVM's dump for a BAR with this descriptor (Linux 7.2 arch/arm64/kvm/ptdump.c,
/// stage2_pte_bits).
pub(crate) fn dumped(device: u64, size: u64, bar_leaf: u64) -> DumpedRange {
    let is_block = size.is_multiple_of(BLOCK);
    let xn = ["px ux", "PXNux", "PXNUXN", "px UXN"][(bar_leaf >> 53 & 0b11) as usize];
    let flag = |bit: u32, word: &'static str| if bar_leaf >> bit & 1 != 0 { word } else { "" };
    let all = [flag(6, "R"), flag(7, "W"), xn, flag(10, "AF"), if is_block { "BLK" } else { "" }];
    let flags: Vec<_> = all.into_iter().filter(|word| !word.is_empty()).collect();
    let (ipa, level) = (bar_ipa(device), if is_block { 2 } else { 3 });
    DumpedRange { ipa, end: ipa + size, level, flags: flags.join(" ") }
}

/// Returns all pages of both stages, by physical address.
pub(crate) fn build(guest: u64, bars: &[MappedBar], bar_leaf: u64, ram_leaf: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut guest = GuestTables::of(guest, ram_leaf);
    for (index, bar) in (0..).zip(bars) {
        let memory_type = match bar.map {
            MapKind::Wc => INDEX_NC,
            MapKind::Device => INDEX_DEVICE,
        };
        for offset in (0..bar.size).step_by(PAGE as usize) {
            guest.map(mapping_va(index) + offset, bar_ipa(bar.device) + offset, memory_type);
        }
        let (level, span) = if bar.size % BLOCK == 0 { (2, BLOCK) } else { (3, PAGE) };
        for offset in (0..bar.size).step_by(span as usize).filter(|_| bar.touched) {
            guest.back(bar_ipa(bar.device) + offset, level, (bar_pa(bar.device) + offset) | bar_leaf);
        }
    }
    guest.pages()
}

/// The distance from a page to its place in the hypervisor's linear map.
const LINEAR: u64 = 0x4000_0000_0000;

/// Returns the own tables of a host in protected mode: a block of RAM, its UART, and nothing of the hypervisor.
pub(crate) fn host() -> HostTables {
    let mut tables = HostTables::default();
    let (ram, uart) = (0x4600_0000, 0x900_0000);
    tables.back(ram, 2, ram, 0);
    tables.back(uart, 3, uart, NEVER_EXEC);
    tables.withhold(HYPERVISOR.start, 2);
    for offset in (0..HYPERVISOR.size).step_by(PAGE as usize) {
        let pa = HYPERVISOR.start + offset;
        tables.own(LINEAR + pa, pa, 0);
    }
    tables
}
