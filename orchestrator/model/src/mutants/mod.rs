//! Mutants: deliberate mistakes in a kernel, each of which is chosen at boot. The header of a
//! mutant's patch has what it breaks. A run on mutants shows which of them the scenarios catch.

mod broken;
mod header;
mod outcome;

pub use broken::Broken;
pub use header::{HeaderError, mutant};
pub use outcome::{MutantCell, MutantOutcome, MutantRun, Unmutated, exit, outcome};

use crate::plan::with_series;
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};

/// The name of the kernel with all mutants built in, of which none is chosen.
pub const NONE: &str = "none";
/// The longest name, in characters: the kernel has room for 31 (`S2LAB_MUTANT_SIZE` in the base
/// patch).
pub const NAME_LENGTH: usize = 31;

/// A deliberate mistake, as the header of its patch describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mutant {
    /// The name in `s2lab.mutant=NAME`.
    pub name: String,
    /// The patch's subject without its prefix.
    pub about: String,
    /// The part of the kernel, in words.
    pub area: String,
    pub breaks: Broken,
    /// The known bug that it is like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<String>,
    /// The reason why emulation cannot show it. Such a mutant is never run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_show: Option<String>,
}

/// A mutant of a run, and the kernel that it is a mutant of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedMutant {
    pub mutant: Mutant,
    /// The entry of `images/kernels.yaml`.
    pub base: String,
}

impl PlannedMutant {
    /// Returns the kernel's half of the keys of its cells.
    pub fn kernel(&self) -> String {
        kernel(&self.base, &self.mutant.name)
    }
}

impl Mutant {
    /// Returns true if a scenario can say something about the mutant: it holds up a promise that the
    /// mutant breaks. A mistake that breaks no promise may show anywhere.
    pub fn concerns(&self, scenario: &Scenario) -> bool {
        let Broken { promises, alarm } = &self.breaks;
        let held = scenario.held_up();
        *alarm || promises.is_empty() || promises.iter().any(|promise| held.contains(promise))
    }
}

/// Returns the name of the kernel `base` with the mutant `name`, or with [`NONE`].
pub fn kernel(base: &str, name: &str) -> String {
    with_series(base, name)
}

/// Returns the argument of the kernel's command line that chooses a mutant.
pub fn argument(name: &str) -> Option<String> {
    (name != NONE).then(|| format!("s2lab.mutant={name}"))
}
