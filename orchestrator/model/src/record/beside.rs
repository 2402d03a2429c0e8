//! The guests that run beside the one that is looked at: their stage 2 at the same moment.

use super::look::{LookError, anomalies};
use super::{Surroundings, registers};
use crate::steps::Beside;
use s2lab_mmu::{Granule, Limits, PhysMem, Stage2Leaf, Walk};

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
        memory: &dyn PhysMem,
        limits: Limits,
    ) -> Result<SeenBeside, LookError> {
        let stage2 = registers::stage2(&beside.registers)?;
        let walk = stage2.walk_within(memory, limits);
        // Other defects of its tables are reported for the look at itself.
        anomalies(&walk, around)?;
        let Walk { tables, leaves, .. } = walk;
        Ok(SeenBeside { granule: stage2.granule(), tables, leaves })
    }
}
