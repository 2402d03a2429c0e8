//! The plan file: the cells of a run, their groups and expected durations, and the identity of
//! everything that decides what a cell does.

use super::{Expected, ShardNumber, split};
use crate::event::{KernelOrigin, PlannedCell};
use crate::hash::digest;
use crate::json_schema::schema_of;
use crate::plan::{Key, MOST_CELLS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The version of the form. It rises with every change; a plan of another form is refused.
pub const FORMAT: u32 = 1;

/// A plan for several machines. The same inputs make the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanFile {
    /// The version of this form.
    pub format: u32,
    /// The version of s2lab with its commit.
    pub s2lab: String,
    /// The arguments of `s2lab plan` that select the cells.
    pub selection: Vec<String>,
    /// The digest of the guests' kernel, as the lab folder describes it.
    pub guest: String,
    /// The kernels of the cells, by name.
    pub kernels: BTreeMap<String, PlannedKernel>,
    /// The cells that stay together, in the order of their first cell.
    pub groups: Vec<Group>,
    /// The cells, in the order in which one machine would run them.
    pub cells: Vec<GroupedCell>,
}

/// A kernel of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedKernel {
    /// The SHA-256 of what the lab folder and the arguments say about it, patches and configurations
    /// included.
    pub digest: String,
    /// The origin of a kernel that is not a plain entry of images/kernels.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<KernelOrigin>,
    /// The expected duration of its build. None: it is not built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Expected>,
}

/// Cells that share something that is made once on each machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// The name of the kernel, or the key of the cell.
    pub name: String,
    pub shares: Shared,
    /// The expected duration of the whole group, in milliseconds.
    pub ms: u64,
}

/// The thing that the cells of a group share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shared {
    /// The build of a kernel.
    Build,
    /// The boot of a host.
    Boot,
}

/// A cell of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupedCell {
    /// The digest of the resolved cell, as reports have it.
    pub digest: String,
    /// The place of its group in `groups`, from 0.
    pub group: usize,
    /// Its expected duration, boot of the host included.
    pub expected: Expected,
    /// The cell, as a run's event log has it.
    pub cell: PlannedCell,
}

/// The identity of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelIdentity {
    pub digest: String,
    pub origin: Option<KernelOrigin>,
    pub is_built: bool,
}

/// Everything that decides a plan.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub s2lab: &'a str,
    pub selection: Vec<String>,
    /// The digest of the guests' kernel.
    pub guest: String,
    /// The kernels of the cells, by name.
    pub kernels: BTreeMap<String, KernelIdentity>,
    pub cells: &'a [PlannedCell],
    /// The durations of cells by their complete runs.
    pub durations: &'a BTreeMap<Key, Duration>,
}

/// The reason why a text is not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanFileError {
    #[error("not a plan: {0}")]
    Json(String),
    #[error("it has the form {found}; this s2lab reads {FORMAT}")]
    Format { found: u64 },
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// The first difference between a plan and this checkout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    #[error("it was made by s2lab {planned}, and this is {here}")]
    S2lab { planned: String, here: String },
    #[error("the guests' kernel is another one here")]
    Guest,
    #[error("the kernel {0} is another one here")]
    Kernel(String),
    #[error("the cell {0} is another one here")]
    Cell(Key),
    #[error("it has {planned} cells, and here are {here}")]
    Count { planned: usize, here: usize },
}

impl PlanFile {
    pub fn new(inputs: Inputs<'_>) -> Self {
        let Inputs { s2lab, selection, guest, kernels, cells, durations } = inputs;
        let kernels: BTreeMap<String, PlannedKernel> = kernels.into_iter().map(planned_kernel).collect();
        let mut groups: Vec<Group> = vec![];
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut grouped = |cell: &PlannedCell| {
            let expected = Expected::of_cell(&cell.key, durations);
            let build = kernels.get(&cell.kernel).and_then(|kernel| kernel.build);
            let (name, shares) = match build {
                Some(_) => (cell.kernel.clone(), Shared::Build),
                None => (cell.key.to_string(), Shared::Boot),
            };
            let group = *places.entry(name.clone()).or_insert_with(|| {
                groups.push(Group { name, shares, ms: build.map_or(0, |build| build.ms) });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(group) {
                group.ms = group.ms.saturating_add(expected.ms);
            }
            GroupedCell { digest: cell.resolved.digest(), group, expected, cell: cell.clone() }
        };
        let cells = cells.iter().map(&mut grouped).collect();
        Self { format: FORMAT, s2lab: s2lab.to_owned(), selection, guest, kernels, groups, cells }
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// If it has another form, or its parts do not fit together.
    pub fn load(text: &str) -> Result<Self, PlanFileError> {
        #[derive(Deserialize)]
        struct Header {
            format: u64,
        }
        let json = |error: serde_json::Error| PlanFileError::Json(error.to_string());
        let Header { format } = serde_json::from_str(text).map_err(json)?;
        if format != u64::from(FORMAT) {
            return Err(PlanFileError::Format { found: format });
        }
        let plan: Self = serde_json::from_str(text).map_err(json)?;
        plan.check().map_err(PlanFileError::Damaged)?;
        Ok(plan)
    }

    /// Checks that the parts fit together.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("it has the form {}; this s2lab reads {FORMAT}", self.format));
        }
        if self.cells.len() > MOST_CELLS {
            return Err(format!("it has more than {MOST_CELLS} cells"));
        }
        let mut keys = BTreeSet::new();
        for GroupedCell { digest, group, cell, .. } in &self.cells {
            let key = &cell.key;
            match () {
                () if !keys.insert(key) => return Err(format!("the cell {key} is there twice")),
                () if *group >= self.groups.len() => return Err(format!("the cell {key} has no group")),
                () if *digest != cell.resolved.digest() => {
                    return Err(format!("the cell {key} does not have its digest"));
                }
                () if !self.kernels.contains_key(&cell.kernel) => {
                    return Err(format!("the cell {key} has no kernel"));
                }
                () => {}
            }
        }
        Ok(())
    }

    /// Returns the text of the file.
    pub fn text(&self) -> String {
        // All keys of its maps are texts, so it has a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Returns the SHA-256 of the text: the plan's name in logs.
    pub fn digest(&self) -> String {
        digest(self.text().as_bytes())
    }

    /// Returns the cells of a shard, in the plan's order.
    pub fn part(&self, shard: ShardNumber) -> Vec<&GroupedCell> {
        let weights: Vec<u64> = self.groups.iter().map(|group| group.ms).collect();
        let shards = split(&weights, shard.of());
        let is_in = |cell: &&GroupedCell| shards.get(cell.group).is_some_and(|of| of + 1 == shard.index());
        self.cells.iter().filter(is_in).collect()
    }

    /// Returns the first difference to the plan `here`, which is made of this checkout. Expected
    /// durations may differ.
    pub fn differs_from(&self, here: &PlanFile) -> Option<Difference> {
        if self.s2lab != here.s2lab {
            let (planned, here) = (self.s2lab.clone(), here.s2lab.clone());
            return Some(Difference::S2lab { planned, here });
        }
        let (planned, there) = (self.cells.len(), here.cells.len());
        let cells = self.cells.iter().zip(&here.cells);
        let other = cells.map(|(planned, here)| (&planned.cell, &here.cell));
        if let Some((cell, _)) = other.clone().find(|(planned, here)| planned != here) {
            return Some(Difference::Cell(cell.key.clone()));
        }
        if planned != there {
            return Some(Difference::Count { planned, here: there });
        }
        let of = |plan: &PlanFile, name: &str| {
            plan.kernels.get(name).map(|kernel| (kernel.digest.clone(), kernel.origin.clone()))
        };
        let kernel = self.kernels.keys().find(|name| of(self, name) != of(here, name));
        let kernel = kernel.map(|name| Difference::Kernel(name.clone()));
        kernel.or_else(|| (self.guest != here.guest).then_some(Difference::Guest))
    }
}

fn planned_kernel((name, identity): (String, KernelIdentity)) -> (String, PlannedKernel) {
    let KernelIdentity { digest, origin, is_built } = identity;
    (name, PlannedKernel { digest, origin, build: is_built.then(Expected::of_build) })
}

/// Returns the JSON schema (draft 7) of plan files.
pub fn schema() -> String {
    format!("{:#}\n", schema_of::<PlanFile>())
}
