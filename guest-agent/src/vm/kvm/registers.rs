//! The registers with which a vCPU begins, with the MMU on.

use super::super::payload::Entry;
use super::super::stage1::{MAIR, SCTLR, TCR};
use super::super::stage2::{HCR, VTCR};

/// PSTATE: EL1 with its own stack pointer, interrupts and debug exceptions masked.
const PSTATE: u64 = 0x3c5;
/// The same for EL2.
const PSTATE_EL2: u64 = 0x3c9;
/// CPACR_EL1.FPEN: floating point and SIMD are not trapped. CPTR_EL2 has the same bits with HCR_EL2.E2H.
const CPACR: u64 = 0b11 << 20;

/// The identifier of a core register, by its offset in `struct kvm_regs` (Linux
/// Documentation/virt/kvm/api.rst, KVM_SET_ONE_REG; arch/arm64/include/uapi/asm/kvm.h).
const fn core(offset: u64) -> u64 {
    0x6030_0000_0010_0000 | (offset / 4)
}
/// Offsets of `regs.pc` and `regs.pstate`.
const PC: u64 = core(256);
const PSTATE_REGISTER: u64 = core(264);

/// The identifier of a system register (as above, ARM64_SYS_REG).
const fn system(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    0x6030_0000_0013_0000 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}
const SCTLR_EL1: u64 = system(3, 0, 1, 0, 0);
const CPACR_EL1: u64 = system(3, 0, 1, 0, 2);
const TTBR0_EL1: u64 = system(3, 0, 2, 0, 0);
const TCR_EL1: u64 = system(3, 0, 2, 0, 2);
const MAIR_EL1: u64 = system(3, 0, 10, 2, 0);
const VBAR_EL1: u64 = system(3, 0, 12, 0, 0);
const TPIDR_EL1: u64 = system(3, 0, 13, 0, 4);

/// Returns the identifiers and values for a vCPU with stage 1 at `tables` and its mailbox at
/// `mailbox`.
pub(super) fn first(entry: Entry, tables: u64, mailbox: u64) -> [(u64, u64); 9] {
    [
        (MAIR_EL1, MAIR),
        (TCR_EL1, TCR),
        (TTBR0_EL1, tables),
        (VBAR_EL1, entry.vectors),
        (CPACR_EL1, CPACR),
        (TPIDR_EL1, mailbox),
        (SCTLR_EL1, SCTLR),
        (PC, entry.start),
        (PSTATE_REGISTER, PSTATE),
    ]
}

/// The addresses of a guest hypervisor, all of them IPAs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hypervisor {
    pub(super) start: u64,
    pub(super) vectors: u64,
    pub(super) mailbox: u64,
    /// VTTBR_EL2.
    pub(super) vttbr: u64,
}

/// Returns the registers of a vCPU that begins at EL2, beside those of [`first`], which are its guest's: X0 to X7 in
/// the order of the instructions of `payload`, and where it begins.
pub(super) fn at_el2(
    Hypervisor { start, vectors, mailbox, vttbr }: Hypervisor,
    entry: Entry,
) -> [(u64, u64); 10] {
    let x = |number: u64| core(8 * number);
    [
        (x(0), vttbr),
        (x(1), VTCR),
        (x(2), HCR),
        (x(3), CPACR),
        (x(4), vectors),
        (x(5), mailbox),
        (x(6), entry.start),
        (x(7), PSTATE),
        (PC, start),
        (PSTATE_REGISTER, PSTATE_EL2),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifiers_are_the_kernels() {
        // As `arch/arm64/include/uapi/asm/kvm.h` makes them, from the encodings of DDI 0487.
        assert_eq!((PC, PSTATE_REGISTER), (0x6030_0000_0010_0040, 0x6030_0000_0010_0042));
        let of = [SCTLR_EL1, TTBR0_EL1, TCR_EL1, MAIR_EL1, VBAR_EL1, TPIDR_EL1].map(|id| id & 0xffff);
        assert_eq!(of, [0xc080, 0xc100, 0xc102, 0xc510, 0xc600, 0xc684]);
        let entry = Entry { start: 1, vectors: 2, hypervisor: 3, hypervisor_vectors: 4 };
        let all = at_el2(Hypervisor { start: 5, vectors: 6, mailbox: 7, vttbr: 8 }, entry);
        let of_x: Vec<_> = all[..8].iter().map(|(id, _)| id & 0xffff).collect();
        assert_eq!(of_x, [0, 2, 4, 6, 8, 10, 12, 14]);
        assert_eq!((all[0].1, all[6].1, all[8].1), (8, 1, 5));
    }
}
