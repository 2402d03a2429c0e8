//! The points of the axes: a tree with the values of each, checked like a file of its own.

use super::point_set::{EXCLUSIONS, EXPECTATIONS, SETS};
use super::read::{Axes, AxisValue, WrittenAxis};
use super::{Matrix, ScenarioAxis, ScenarioPoint, path, point_set};
use crate::diagnostic::Sink;
use crate::json_schema::decode_tree;
use crate::plan::{Axis, Point, combinations};
use crate::scenario::Scenario;
use crate::scenario::conditions::{Conditions, uncovered};
use crate::yaml::{Entry, Node, Value};
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
    let mut matrix = Matrix { axes: axes.list.iter().map(axis).collect(), points: vec![] };
    let names = matrix.axes();
    let mut is_any_left = false;
    for combination in combinations(&names) {
        let values = combination.values;
        let plain = plain(root, &values);
        let is_left = is_left(&plain);
        is_any_left |= is_left;
        let mut own = new_sink();
        let (tree, programs) = match is_left {
            true => {
                let tree = tree(root, axes, &values);
                let programs = check(&tree, &mut own);
                (tree, programs)
            }
            false => (plain, programs.clone()),
        };
        // Mistakes of the file as it is written are those of its excluded points too.
        let is_right = own.is_empty() && sink.is_empty();
        let scenario: Option<Scenario> = is_right.then(|| decode_tree(&tree, &mut own)).flatten();
        let at: String = values.iter().map(|(axis, value)| format!("+{axis}={value}")).collect();
        sink.absorb(own, &axes.span, &at);
        if let Some(scenario) = scenario {
            let scenario = Scenario { programs, ..scenario };
            let values = values.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()));
            matrix.points.push(ScenarioPoint { values: values.collect(), scenario });
        }
    }
    if !is_any_left {
        nothing_left(root, sink);
    }
    matrix
}

/// Checks the exclusions of a file without axes, which is its only point.
pub(in crate::scenario) fn check_left(root: &Node, sink: &mut Sink<'_>) {
    if !is_left(&plain(root, &[])) {
        nothing_left(root, sink);
    }
}

fn nothing_left(root: &Node, sink: &mut Sink<'_>) {
    let exclude = root.entries().iter().find(|entry| entry.key == "exclude");
    if let Some(entry) = exclude {
        let help = "leave at least one point, on at least one kernel";
        sink.error_help(entry.span.clone(), "no cell is left: all are excluded", help);
    }
}

/// Returns true if any kernel runs a point, of which `tree` has the exclusions.
fn is_left(tree: &Node) -> bool {
    let exclusions = tree.get("exclude").map(Node::items).unwrap_or_default();
    uncovered(&exclusions.iter().filter_map(Conditions::read).collect::<Vec<_>>()).is_some()
}

fn axis(axis: &WrittenAxis<'_>) -> ScenarioAxis {
    let point = |value: &AxisValue<'_>| Point { value: Some(value.label.clone()), chosen: true };
    let points = axis.values.iter().map(point).collect();
    ScenarioAxis { path: axis.path().to_owned(), axis: Axis { name: axis.name.clone(), points } }
}

/// Returns the file without axes, with the exclusions of a point. Each expectation is for all points.
fn plain(root: &Node, values: &[(&str, &str)]) -> Node {
    let mut tree = root.clone();
    keep(&mut tree, EXCLUSIONS, values);
    for (list, key) in SETS {
        for item in items(&mut tree, list).into_iter().flatten() {
            if let Value::Map(entries) = &mut item.value {
                entries.retain(|entry| entry.key != key);
            }
        }
    }
    if let Value::Map(entries) = &mut tree.value {
        let is_empty = |entry: &Entry| entry.key == EXCLUSIONS.0 && entry.node.items().is_empty();
        entries.retain(|entry| entry.key != "axes" && !is_empty(entry));
    }
    tree
}

/// Returns the file at a point: its values, and the expectations and exclusions that are for it.
fn tree(root: &Node, axes: &Axes<'_>, values: &[(&str, &str)]) -> Node {
    let mut tree = root.clone();
    keep(&mut tree, EXPECTATIONS, values);
    let mut tree = plain(&tree, values);
    for axis in &axes.list {
        let label = values.iter().find(|(name, _)| *name == axis.name).map(|(_, label)| *label);
        let Some(value) = axis.values.iter().find(|value| Some(value.label.as_str()) == label) else {
            continue;
        };
        axis.paths.iter().for_each(|path| path::put(&mut tree, path, &axis.span, value.node));
    }
    tree
}

/// Keeps the items of a list that are for a point.
fn keep(tree: &mut Node, (list, key): (&str, &str), values: &[(&str, &str)]) {
    let is_for_it = |item: &Node| item.get(key).is_none_or(|set| point_set::contains(set, values));
    if let Some(items) = items(tree, list) {
        items.retain(is_for_it);
    }
}

fn items<'a>(tree: &'a mut Node, list: &str) -> Option<&'a mut Vec<Node>> {
    let Value::Map(entries) = &mut tree.value else { return None };
    let entry = entries.iter_mut().find(|entry| entry.key == list)?;
    match &mut entry.node.value {
        Value::List(items) => Some(items),
        _ => None,
    }
}
