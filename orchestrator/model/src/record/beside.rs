//! The guests that run beside the one that is looked at: their stage 2 at the same moment.

use super::Surroundings;
use super::look::{LookError, anomalies};
use crate::event::Beside;
use s2lab_mmu::{Granule, Limits, PhysMem, Stage2, Stage2Leaf, Walk};

/// The observations of a look about a guest beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBeside {
    pub granule: Granule,
    /// The first bytes of the tables of stage 2, each of a granule.
    pub tables: Vec<u64>,
    pub leaves: Vec<Stage2Leaf>,
}

impl SeenBeside {
    pub(super) fn of(
        beside: &Beside,
        around: &Surroundings,
        memory: &(impl PhysMem + ?Sized),
        limits: Limits,
    ) -> Result<SeenBeside, LookError> {
        let register = |name| beside.registers.get(name).copied().ok_or(LookError::Register(name));
        let stage2 = Stage2::new(register("VTTBR_EL2")?, register("VTCR_EL2")?, register("HCR_EL2")?)?;
        let walk = stage2.walk_within(memory, limits);
        // Other defects of its tables are reported for the look at itself.
        anomalies(&walk, around)?;
        let Walk { tables, leaves, .. } = walk;
        Ok(SeenBeside { granule: stage2.granule(), tables, leaves })
    }
}
