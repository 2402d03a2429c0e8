//! Bits that change what the tables mean, by their numbers in the Arm ARM.

use s2lab_mmu::controls;

/// HCR_EL2.RW and VM; VTCR_EL2 with its RES1 bit; SCTLR_EL1.M and C.
const HCR: u64 = 1 << 31 | 1;
const VTCR: u64 = 1 << 31;
const SCTLR: u64 = 0b101;

fn named(hcr: u64, vtcr: u64, sctlr: u64) -> Vec<String> {
    let name = |of: &s2lab_mmu::Control| format!("{}.{}={}", of.register, of.bit, u8::from(of.set));
    controls(hcr, vtcr, sctlr).iter().map(name).collect()
}

#[test]
fn what_kvm_and_linux_set_changes_nothing() {
    assert_eq!(named(HCR, VTCR, SCTLR), [""; 0]);
    // Linux 6.12.95 with Linux 6.12.95 as its guest, on neoverse-v1: hardware access flag, 16-bit
    // VMIDs, E2H, FWB, PTW and traps.
    assert_eq!(named(0x82_433c_807c_263f, 0x802d_3558, 0x200_0000_fc74_f91d), [""; 0]);
}

#[test]
fn each_bit_is_known_by_its_number() {
    let hcr = [(12, "DC"), (32, "CD"), (33, "ID"), (38, "MIOCNCE"), (42, "NV"), (43, "NV1"), (45, "NV2")];
    for (bit, name) in hcr {
        assert_eq!(named(HCR | 1 << bit, VTCR, SCTLR), [format!("HCR_EL2.{name}=1")]);
    }
    let vtcr = [
        (22, "HD"),
        (25, "HWU59"),
        (26, "HWU60"),
        (27, "HWU61"),
        (28, "HWU62"),
        (29, "NSW"),
        (30, "NSA"),
        (34, "AssuredOnly"),
        (35, "TL1"),
        (36, "S2PIE"),
        (37, "S2POE"),
        (38, "D128"),
        (40, "GCSH"),
        (41, "TL0"),
    ];
    for (bit, name) in vtcr {
        assert_eq!(named(HCR, VTCR | 1 << bit, SCTLR), [format!("VTCR_EL2.{name}=1")]);
    }
    assert_eq!(named(1, VTCR, 0), ["HCR_EL2.RW=0", "SCTLR_EL1.M=0", "SCTLR_EL1.C=0"]);
    let hardware_sets_the_access_flag = 1 << 21;
    assert_eq!(named(HCR, VTCR | hardware_sets_the_access_flag, SCTLR), [""; 0]);
}
