//! The axes of a scenario: paths in the file whose values vary. Each combination of values is a
//! point, and a cell of its own.

mod path;
mod point_set;
mod points;
mod read;
pub(super) mod schema;
mod set;

pub use point_set::PointSet;
pub use set::{SetError, SetValue};
pub(super) use {point_set::check_sets, points::check_left, points::resolve, read::read, set::apply};

use super::load::one_or_many;
use super::schema::one_or_many as schema_of_many;
use super::{Scenario, conditions};
use crate::diagnostic::suggest;
use crate::kernel::{Trait, Traits};
use crate::plan::{Axis, is_axis_name, is_axis_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most points of a scenario.
pub const MAX_POINTS: usize = 100;
/// The most axes of a scenario.
pub(super) const MAX_AXES: usize = 6;
/// The most values of an axis.
pub(super) const MAX_VALUES: usize = 32;
/// The longest value of an axis, in characters: keys are names of files.
const LONGEST_VALUE: usize = 32;
/// The keys of a scenario in which an axis has its path. What a cell expects depends on traits and
/// points, so no axis changes it.
const ROOTS: [&str; 3] = ["host", "guests", "steps"];

/// Cells that do not run: points of the axes, on all kernels or on those with given traits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Exclusion {
    /// The points, by axis: one value, or a list. An axis that is left out has any value. Left out: all points.
    #[serde(default, skip_serializing_if = "PointSet::is_empty")]
    pub at: PointSet,
    /// Only on kernels that declare this trait, or all of these.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema_of_many::<Trait>")]
    pub when: Vec<Trait>,
    /// Only on kernels that lack this trait, or at least one of these.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema_of_many::<Trait>")]
    pub unless: Vec<Trait>,
    /// The reason, with which these cells are SKIP.
    #[schemars(extend("format" = "line"))]
    pub reason: String,
}

/// The axes of a scenario that was loaded, and its points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matrix {
    /// The axes in the order of the file. None: the scenario is its only point.
    pub axes: Vec<ScenarioAxis>,
    /// All points, those of the last axis next to each other.
    pub points: Vec<ScenarioPoint>,
}

/// An axis of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioAxis {
    /// The path that names it.
    pub path: String,
    pub axis: Axis,
}

/// A scenario at one point of its axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioPoint {
    /// The value of each axis.
    pub values: BTreeMap<String, String>,
    /// The scenario with the point's values and exclusions, without axes. If no kernel runs the point, the
    /// values are those of the file: such a point need not fit together.
    pub scenario: Scenario,
}

impl Matrix {
    /// Returns the axes of a plan.
    pub fn axes(&self) -> Vec<Axis> {
        self.axes.iter().map(|of| of.axis.clone()).collect()
    }
}

impl Scenario {
    /// Returns the scenario at a point. `values` may have more than the scenario's axes. None: the scenario
    /// does not have this point.
    pub fn at(&self, values: &[(&str, &str)]) -> Option<&Scenario> {
        if self.matrix.axes.is_empty() {
            return Some(self);
        }
        let has = |(axis, value): (&String, &String)| values.contains(&(axis.as_str(), value.as_str()));
        let point = self.matrix.points.iter().find(|point| point.values.iter().all(has))?;
        Some(&point.scenario)
    }

    /// Returns the reason if kernels with these traits do not run the scenario, which is that of a point or has
    /// no axes. Open traits exclude it only if each choice of them does.
    pub fn excluded(&self, traits: &Traits) -> Option<&str> {
        if self.exclude.is_empty() {
            return None;
        }
        let first = |traits: BTreeSet<Trait>| {
            self.exclude.iter().find(|one| conditions::hold(&one.when, &one.unless, &traits))
        };
        let all: Option<Vec<&Exclusion>> = traits.possible().into_iter().map(first).collect();
        all?.first().map(|one| one.reason.as_str())
    }
}

/// Checks the value of an axis as it stands in keys. The error is the mistake.
pub(super) fn check_value(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    match is_axis_value(text) {
        false => Err(format!(
            "`{text}` cannot stand in a key; the value of an axis has letters, digits, `-` and `.`, and begins with a \
             letter or digit"
        )),
        true if length > LONGEST_VALUE => {
            Err(format!("`{text}` has {length} characters; the value of an axis has {LONGEST_VALUE} at most"))
        }
        true => Ok(()),
    }
}

/// Checks the name of an axis.
fn check_name(text: &str) -> Result<(), String> {
    match is_axis_name(text) {
        true => Ok(()),
        false => Err(format!("`{text}` is not a name for an axis; it has a-z, 0-9 and `-`")),
    }
}

/// Checks the form of a path.
pub(super) fn check_path(text: &str) -> Result<(), String> {
    let first = text.split('.').next().unwrap_or_default();
    if text.split('.').any(str::is_empty) {
        Err(format!("`{text}` is not a path; a path has keys with a dot between them, like host.cpu"))
    } else if !ROOTS.contains(&first) {
        Err(format!("`{text}` is not a path of host, guests or steps: {}", suggest(first, ROOTS)))
    } else {
        Ok(())
    }
}
