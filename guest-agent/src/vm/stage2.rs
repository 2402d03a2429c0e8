//! The stage 2 of a guest hypervisor: it maps each IPA of its guest to itself (Arm ARM DDI 0487, D8.5, with
//! HCR_EL2.FWB clear).

use super::layout;
use super::ram::{Part, Ram};
use super::tables::{INPUT_BITS, Tables};
use s2lab_protocol::{Failure, HypervisorType};

/// S2AP: loads and stores.
const READ_WRITE: u64 = 0b11 << 6;
/// Inner shareable.
const INNER: u64 = 0b11 << 8;
/// The access flag.
const ACCESSED: u64 = 1 << 10;

/// VTCR_EL2: T0SZ for [`INPUT_BITS`], SL0 for a start at level 0, tables that are write-back and inner shareable, 4 KiB
/// pages, and output addresses of 40 bits; bit 31 is 1 (DDI 0487, "VTCR_EL2").
pub(super) const VTCR: u64 =
    (64 - INPUT_BITS) as u64 | 0b10 << 6 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 0b010 << 16 | 1 << 31;
/// HCR_EL2: stage 2 on, AArch64 at EL1, and E2H, without which KVM has no EL2 for a guest (Linux 7.3
/// Documentation/virt/kvm/api.rst, KVM_ARM_VCPU_HAS_EL2). FWB is clear: MemAttr has the encoding that all CPUs know.
pub(super) const HCR: u64 = 1 | 1 << 31 | 1 << 34;
/// The VMID in VTTBR_EL2.
const VMID: u64 = 1 << 48;

/// MemAttr of a leaf (DDI 0487, D8, "Stage 2 memory type and Cacheability attributes").
fn mem_attr(of: HypervisorType) -> u64 {
    match of {
        HypervisorType::DeviceNGnRE => 0b0001,
        HypervisorType::NormalNC => 0b0101,
        HypervisorType::NormalWB => 0b1111,
    }
}

/// The tables.
#[derive(Debug)]
pub(super) struct Stage2(Tables);

impl Stage2 {
    /// Makes tables that map the RAM and the doorbell.
    pub(super) fn new(ram: Ram, tables: Part) -> Result<Stage2, Failure> {
        let mut stage2 = Stage2(Tables::new(ram, tables)?);
        stage2.map(layout::RAM, ram.size(), HypervisorType::NormalWB)?;
        stage2.map(layout::DOORBELL, layout::PAGE, HypervisorType::DeviceNGnRE)?;
        Ok(stage2)
    }

    /// VTTBR_EL2.
    pub(super) fn vttbr(&self) -> u64 {
        self.0.root() | VMID
    }

    /// Maps `size` bytes from `ipa`.
    pub(super) fn map(&mut self, ipa: u64, size: u64, of: HypervisorType) -> Result<(), Failure> {
        self.0.map(ipa, ipa, size, mem_attr(of) << 2 | READ_WRITE | INNER | ACCESSED)
    }

    /// Returns the type of the leaf for an IPA, as it is in the tables.
    pub(super) fn type_of(&self, ipa: u64) -> Option<HypervisorType> {
        let found = self.0.leaf(ipa)? >> 2 & 0b1111;
        HypervisorType::ALL.into_iter().find(|of| mem_attr(*of) == found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ipa_leads_to_itself_with_its_type() {
        let tables = Part { offset: 1 << 20, size: 1 << 20 };
        let mut stage2 = Stage2::new(Ram::anonymous(4 << 20), tables).unwrap();
        let bars = [layout::BARS, layout::BARS + (4 << 20), layout::BARS + (8 << 20)];
        for (ipa, of) in bars.into_iter().zip(HypervisorType::ALL) {
            stage2.map(ipa, 0x2000, of).unwrap();
        }
        // S2AP 0b11, SH 0b11, AF, XN 0b00, and MemAttr.
        let page = |ipa: u64| stage2.0.leaf(ipa).map(|word| (word & !0xfff, word & 0xfff));
        assert_eq!(page(layout::RAM + (4 << 20) - 0x1000), Some((layout::RAM + (4 << 20) - 0x1000, 0x7ff)));
        assert_eq!(page(layout::DOORBELL), Some((layout::DOORBELL, 0x7c7)));
        let of_bars = bars.map(|ipa| page(ipa + 0x1000).map(|(to, bits)| (to - ipa, bits)));
        assert_eq!(of_bars, [Some((0x1000, 0x7c7)), Some((0x1000, 0x7d7)), Some((0x1000, 0x7ff))]);
        assert_eq!(bars.map(|ipa| stage2.type_of(ipa)), HypervisorType::ALL.map(Some));
        for unmapped in [0, layout::RAM + (4 << 20), layout::BARS + 0x2000] {
            assert_eq!(page(unmapped), None, "{unmapped:#x}");
        }
        assert_eq!(stage2.vttbr() >> 48, 1);
        assert_eq!(stage2.vttbr() & 0xffff_ffff_ffff, layout::RAM + (1 << 20));
    }
}
