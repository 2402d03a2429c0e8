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
pub(super) use {point_set::check_sets, points::resolve, read::read, set::apply};

use super::Scenario;
use crate::diagnostic::suggest;
use crate::plan::{Axis, is_axis_name, is_axis_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Points that do not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Exclusion {
    /// The points, by axis: one value, or a list. An axis that is left out has any value.
    pub at: PointSet,
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
    /// The reason why the point does not run. Then `scenario` has the values of the file: a point
    /// that is left out need not fit together.
    pub excluded: Option<String>,
    /// The scenario with the point's values, without axes.
    pub scenario: Scenario,
}

impl Matrix {
    /// Returns the axes of a plan.
    pub fn axes(&self) -> Vec<Axis> {
        self.axes.iter().map(|of| of.axis.clone()).collect()
    }
}

impl Scenario {
    /// Returns the scenario at a point, and the reason if the point does not run. `values` may have
    /// more than the scenario's axes. None: the scenario does not have this point.
    pub fn at<'a>(&'a self, values: &[(&str, &str)]) -> Option<(&'a Scenario, Option<&'a str>)> {
        if self.matrix.axes.is_empty() {
            return Some((self, None));
        }
        let has = |(axis, value): (&String, &String)| values.contains(&(axis.as_str(), value.as_str()));
        let point = self.matrix.points.iter().find(|point| point.values.iter().all(has))?;
        Some((&point.scenario, point.excluded.as_deref()))
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
