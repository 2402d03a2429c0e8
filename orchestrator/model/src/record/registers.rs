//! The registers of a look, by name.

use super::look::LookError;
use s2lab_mmu::Stage2;
use std::collections::BTreeMap;

pub(crate) fn register(registers: &BTreeMap<String, u64>, name: &'static str) -> Result<u64, LookError> {
    registers.get(name).copied().ok_or(LookError::Register(name))
}

/// Returns the stage 2 that VTTBR_EL2, VTCR_EL2 and HCR_EL2 lead to.
pub(crate) fn stage2(registers: &BTreeMap<String, u64>) -> Result<Stage2, LookError> {
    let register = |name| register(registers, name);
    Ok(Stage2::new(register("VTTBR_EL2")?, register("VTCR_EL2")?, register("HCR_EL2")?)?)
}
