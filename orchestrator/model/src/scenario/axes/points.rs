//! The points of the axes: a tree with the values of each, checked like a file of its own.

use super::read::{Axes, AxisValue, WrittenAxis};
use super::{Matrix, ScenarioAxis, ScenarioPoint, path, point_set};
use crate::diagnostic::Sink;
use crate::json_schema::decode_tree;
use crate::plan::{Axis, Point, combinations};
use crate::scenario::Scenario;
use crate::yaml::{Node, Value};
use std::collections::BTreeMap;

/// Resolves the axes of a file. `check` reports the mistakes of a tree to a sink that `new_sink` makes, and
/// returns the digests of its programs; `programs` has those of the file.
pub(in crate::scenario) fn resolve<'t>(
    root: &Node,
    axes: &Axes<'_>,
    new_sink: impl Fn() -> Sink<'t>,
    mut check: impl FnMut(&Node, &mut Sink<'t>) -> BTreeMap<String, String>,
    programs: &BTreeMap<String, String>,
    sink: &mut Sink<'t>,
) -> Matrix {
    let exclusions = root.get("exclude").map(Node::items).unwrap_or_default();
    let mut matrix = Matrix { axes: axes.list.iter().map(axis).collect(), points: vec![] };
    let names = matrix.axes();
    let mut excluded_points = 0;
    for combination in combinations(&names) {
        let values = combination.values;
        let is_at = |one: &&Node| one.get("at").is_some_and(|at| point_set::contains(at, &values));
        let exclusion = exclusions.iter().find(is_at);
        let tree = match exclusion {
            Some(_) => plain(root),
            None => tree(root, axes, &values),
        };
        excluded_points += usize::from(exclusion.is_some());
        let mut own = new_sink();
        let programs = match exclusion {
            Some(_) => programs.clone(),
            None => check(&tree, &mut own),
        };
        // Mistakes of the file as it is written are those of its excluded points too.
        let is_right = own.is_empty() && sink.is_empty();
        let scenario: Option<Scenario> = is_right.then(|| decode_tree(&tree, &mut own)).flatten();
        let at: String = values.iter().map(|(axis, value)| format!("+{axis}={value}")).collect();
        sink.absorb(own, &axes.span, &at);
        let excluded = exclusion.and_then(|one| one.get("reason")?.text().map(str::to_owned));
        if let Some(scenario) = scenario {
            let scenario = Scenario { programs, ..scenario };
            let values = values.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()));
            matrix.points.push(ScenarioPoint { values: values.collect(), excluded, scenario });
        }
    }
    let exclude = root.entries().iter().find(|entry| entry.key == "exclude");
    if let Some(entry) = exclude.filter(|_| combinations(&names).len() == excluded_points) {
        let help = "leave at least one point, or remove the axis";
        sink.error_help(entry.span.clone(), "no point is left: all are excluded", help);
    }
    matrix
}

fn axis(axis: &WrittenAxis<'_>) -> ScenarioAxis {
    let point = |value: &AxisValue<'_>| Point { value: Some(value.label.clone()), chosen: true };
    let points = axis.values.iter().map(point).collect();
    ScenarioAxis { path: axis.path().to_owned(), axis: Axis { name: axis.name.clone(), points } }
}

/// Returns the file without axes. Each expectation is for all points.
fn plain(root: &Node) -> Node {
    let mut tree = root.clone();
    if let Value::Map(entries) = &mut tree.value {
        entries.retain(|entry| !["axes", "exclude"].contains(&entry.key.as_str()));
        for expect in entries.iter_mut().filter(|entry| entry.key == "expect") {
            if let Value::List(items) = &mut expect.node.value {
                items.iter_mut().for_each(for_all_points);
            }
        }
    }
    tree
}

/// Returns the file at a point: its values, and the expectations that are for it.
fn tree(root: &Node, axes: &Axes<'_>, values: &[(&str, &str)]) -> Node {
    let mut tree = root.clone();
    if let Value::Map(entries) = &mut tree.value {
        for expect in entries.iter_mut().filter(|entry| entry.key == "expect") {
            if let Value::List(items) = &mut expect.node.value {
                let is_for_it =
                    |item: &Node| item.get("points").is_none_or(|set| point_set::contains(set, values));
                items.retain(is_for_it);
            }
        }
    }
    let mut tree = plain(&tree);
    for axis in &axes.list {
        let label = values.iter().find(|(name, _)| *name == axis.name).map(|(_, label)| *label);
        let Some(value) = axis.values.iter().find(|value| Some(value.label.as_str()) == label) else {
            continue;
        };
        axis.paths.iter().for_each(|path| path::put(&mut tree, path, &axis.span, value.node));
    }
    tree
}

fn for_all_points(expectation: &mut Node) {
    if let Value::Map(entries) = &mut expectation.value {
        entries.retain(|entry| entry.key != "points");
    }
}
