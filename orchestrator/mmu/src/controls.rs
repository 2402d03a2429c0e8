//! Register bits that change how the tables have to be decoded.

use std::fmt;

/// One bit of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    pub register: &'static str,
    pub bit: &'static str,
    /// True if the bit is set.
    pub set: bool,
    /// The effect of that value.
    pub effect: &'static str,
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Control { register, bit, set, effect } = self;
        write!(f, "{register}.{bit} is {}: {effect}", u8::from(*set))
    }
}

/// A bit, the value that leaves the tables as they are, and the effect of the other value.
type Row = (&'static str, u32, bool, &'static str);

/// Bits of HCR_EL2 (DDI 0487, HCR_EL2). [`crate::Stage2`] and the callers that pick a guest's
/// registers check VM, FWB and TGE. E2H, PTW and the bits that trap or route leave the tables as
/// they are.
const HCR_EL2: [Row; 8] = [
    ("DC", 12, false, "stage 1 is off, and gives Normal-WB"),
    ("RW", 31, true, "EL1 is AArch32, which has other stage-1 tables"),
    ("CD", 32, false, "stage 2 makes data in Normal memory Non-cacheable"),
    ("ID", 33, false, "stage 2 makes instructions in Normal memory Non-cacheable"),
    ("MIOCNCE", 38, false, "mismatched cacheability of stage 1 and stage 2 may lose coherency"),
    ("NV", 42, false, "the guest is a nested hypervisor"),
    ("NV1", 43, false, "stage-1 tables have the format of a nested hypervisor"),
    ("NV2", 45, false, "the guest's registers are in memory"),
];

/// Bits of VTCR_EL2 (DDI 0487, VTCR_EL2). Three kinds are left out: those that [`crate::Stage2`]
/// decodes (T0SZ, SL0, SL2, TG0, PS, VS, DS), those of the walk's own accesses (SH0, ORGN0, IRGN0),
/// and HA, which lets hardware set the access flag instead of raising a fault.
const VTCR_EL2: [Row; 14] = [
    ("HD", 22, false, "hardware makes leaves with DBM writable"),
    ("HWU59", 25, false, "bit 59 of a leaf has a meaning of the implementation's"),
    ("HWU60", 26, false, "bit 60 of a leaf has a meaning of the implementation's"),
    ("HWU61", 27, false, "bit 61 of a leaf has a meaning of the implementation's"),
    ("HWU62", 28, false, "bit 62 of a leaf has a meaning of the implementation's"),
    ("NSW", 29, false, "the tables are in the other physical address space"),
    ("NSA", 30, false, "leaves lead to the other physical address space"),
    ("AssuredOnly", 34, false, "stage 2 checks which tables stage 1 uses"),
    ("TL1", 35, false, "stage 2 makes stage-1 tables read-only"),
    ("S2PIE", 36, false, "permissions are indirect"),
    ("S2POE", 37, false, "permissions are overlaid"),
    ("D128", 38, false, "descriptors have 128 bits"),
    ("GCSH", 40, false, "stage 2 checks guarded control stacks"),
    ("TL0", 41, false, "stage 2 makes top-level tables read-only"),
];

/// Bits of SCTLR_EL1 (DDI 0487, SCTLR_EL1). [`crate::Stage1`] reports EE as an error.
const SCTLR_EL1: [Row; 2] = [
    ("M", 0, true, "stage 1 is off, and gives Device-nGnRnE"),
    ("C", 2, true, "stage 1 makes data in Normal memory Non-cacheable"),
];

/// Returns the bits of HCR_EL2, VTCR_EL2 and SCTLR_EL1 that change the meaning of the tables of
/// either stage.
pub fn controls(hcr: u64, vtcr: u64, sctlr: u64) -> Vec<Control> {
    let of = |register, value: u64, rows: &[Row]| {
        let deviates = rows.iter().filter(|(_, at, neutral, _)| (value >> at & 1 != 0) != *neutral);
        let control = |&(bit, _, neutral, effect): &Row| Control { register, bit, set: !neutral, effect };
        deviates.map(control).collect::<Vec<_>>()
    };
    [of("HCR_EL2", hcr, &HCR_EL2), of("VTCR_EL2", vtcr, &VTCR_EL2), of("SCTLR_EL1", sctlr, &SCTLR_EL1)]
        .concat()
}
