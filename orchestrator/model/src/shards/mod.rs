//! One plan on several machines: the plan file, its split into shards, and the merge of their logs
//! into one.

mod expected;
mod merge;
mod number;
mod plan_file;
mod split;
#[cfg(test)]
mod tests;

pub use expected::{Expected, From};
pub use merge::{MergeError, Merged, MissingCell, Part, merge};
pub use number::{NotAShard, ShardNumber};
pub use plan_file::{
    Difference, FORMAT, Group, GroupedCell, Inputs, KernelIdentity, PlanFile, PlanFileError, PlannedKernel,
    Shared, schema,
};
pub use split::split;

use serde::{Deserialize, Serialize};

/// The part of a plan that a run carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub number: ShardNumber,
    /// The digest of the plan, see [`PlanFile::digest`].
    pub plan: String,
    /// The whole plan: without it nobody knows the cells of a shard that never came.
    pub whole: PlanFile,
}

impl Shard {
    pub fn new(number: ShardNumber, whole: PlanFile) -> Self {
        Self { number, plan: whole.digest(), whole }
    }
}
