//! The CPU: its features, its registers, and its answers.

use core::arch::{asm, global_asm};
use s2lab_judge_records::{Access, Question, Regime};

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reads a system register, which changes nothing.
        unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack)) };
        value
    }};
}

macro_rules! write {
    ($register:literal, $value:expr) => {{
        // SAFETY: writes a register of EL1 or of stage 2, under which the program does not run.
        unsafe { asm!(concat!("msr ", $register, ", {}"), in(reg) $value, options(nostack)) };
    }};
}

/// Returns ID_AA64MMFR0_EL1 and ID_AA64MMFR2_EL1. The second one is S3_0_C0_C7_2, which older
/// assemblers do not know by name.
pub(crate) fn features() -> (u64, u64) {
    (read!("id_aa64mmfr0_el1"), read!("s3_0_c0_c7_2"))
}

/// Sets the registers, drops all cached translations, and returns the values that the CPU has kept.
pub(crate) fn enter(regime: &Regime) -> Regime {
    let Regime { vttbr, vtcr, hcr, ttbr0, ttbr1, tcr, mair, sctlr } = *regime;
    write!("vttbr_el2", vttbr);
    write!("vtcr_el2", vtcr);
    write!("hcr_el2", hcr);
    write!("ttbr0_el1", ttbr0);
    write!("ttbr1_el1", ttbr1);
    write!("tcr_el1", tcr);
    write!("mair_el1", mair);
    write!("sctlr_el1", sctlr);
    // SAFETY: the program itself runs without translation.
    unsafe { asm!("dsb sy", "isb", "tlbi alle1", "dsb sy", "isb", options(nostack)) };
    Regime {
        vttbr: read!("vttbr_el2"),
        vtcr: read!("vtcr_el2"),
        hcr: read!("hcr_el2"),
        ttbr0: read!("ttbr0_el1"),
        ttbr1: read!("ttbr1_el1"),
        tcr: read!("tcr_el1"),
        mair: read!("mair_el1"),
        sctlr: read!("sctlr_el1"),
    }
}

macro_rules! translate {
    ($instruction:literal, $address:expr) => {{
        let (par, abort): (u64, u64);
        // SAFETY: an address translation only writes PAR_EL1. An external abort on the walk comes
        // to the vector in main.rs, which leaves ESR_EL2 in TPIDR_EL0 and returns behind it.
        unsafe {
            asm!(
                "msr tpidr_el0, xzr",
                "mov {par}, 1",
                "msr tpidr_el1, {par}",
                concat!("at ", $instruction, ", {address}"),
                "isb",
                "msr tpidr_el1, xzr",
                "mrs {abort}, tpidr_el0",
                "mrs {par}, par_el1",
                address = in(reg) $address,
                par = out(reg) par,
                abort = out(reg) abort,
                options(nostack)
            );
        }
        if abort == 0 { Ok(par) } else { Err(abort) }
    }};
}

/// Returns true if the CPU has FEAT_XNX (DDI 0487, ID_AA64MMFR1_EL1.XNX).
pub(crate) fn has_xnx() -> bool {
    read!("id_aa64mmfr1_el1") >> 28 & 0xf != 0
}

/// The ESR of EL2 and of EL1 after an exception to EL2.
#[repr(C)]
struct Exception {
    el2: u64,
    el1: u64,
}

// Runs code below EL2 until it takes an exception to EL2, whose vector (main.rs) goes to
// `judge_back`. That code changes X0 and X1 alone, so this is a function like any other.
global_asm!(
    r#"
    .global judge_try, judge_back
judge_try:
    stp x29, x30, [sp, #-16]!
    msr elr_el2, x0
    msr spsr_el2, x1
    mov x0, x2
    isb
    eret
judge_back:
    mrs x0, esr_el2
    mrs x1, esr_el1
    ldp x29, x30, [sp], #16
    ret
    "#
);

unsafe extern "C" {
    fn judge_try(entry: u64, spsr: u64, x0: u64) -> Exception;
}

/// PSTATE of the code below EL2, with all interrupts masked: EL1 with its own stack pointer, EL0.
const EL1: u64 = 0x3c5;
const EL0: u64 = 0x3c0;
/// HVC and SVC, in ESR.EC.
const HVC: u64 = 0x16;
const SVC: u64 = 0x15;
/// HVC's operand in EL1's vectors.
pub(crate) const FROM_VECTOR: u64 = 2;

/// Sets EL1's vectors and makes new instructions visible.
pub(crate) fn set_vectors(address: u64) {
    write!("vbar_el1", address);
    // SAFETY: drops cached instructions.
    unsafe { asm!("dsb sy", "ic iallu", "dsb sy", "isb", options(nostack)) };
}

/// Runs the code at `entry` at EL1 or EL0 with X0 = `x0`, until it takes an exception. Returns 0 if
/// that is its own HVC or SVC, else the ESR of the fault, with AT_EL1 of stage 1's.
pub(crate) fn try_at(user: bool, entry: u64, x0: u64) -> u64 {
    // SAFETY: the code is the caller's, at most one access; it changes no register of ours.
    let Exception { el2, el1 } = unsafe { judge_try(entry, if user { EL0 } else { EL1 }, x0) };
    let class = |esr: u64| esr >> 26 & 0x3f;
    match (class(el2), el2 & 0xffff, class(el1)) {
        (HVC, FROM_VECTOR, SVC) => 0,
        (HVC, FROM_VECTOR, _) => el1 | Question::AT_EL1,
        (HVC, ..) => 0,
        _ => el2,
    }
}

/// Asks the CPU how it translates `address`. Returns PAR_EL1, or ESR_EL2 of an external abort.
pub(crate) fn ask(access: Access, address: u64) -> Result<u64, u64> {
    match access {
        Access::Read => translate!("s12e1r", address),
        Access::Write => translate!("s12e1w", address),
        Access::UserRead => translate!("s12e0r", address),
        Access::UserWrite => translate!("s12e0w", address),
        // Real accesses are tried, not asked about.
        _ => Err(0),
    }
}
