//! Some of a scenario's points, by the values of its axes.

use super::read::Axes;
use crate::diagnostic::{Sink, suggest};
use crate::yaml::{Entry, Node};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The list of exclusions, and the key with which an item names its points.
pub(super) const EXCLUSIONS: (&str, &str) = ("exclude", "at");
/// The same of expectations.
pub(super) const EXPECTATIONS: (&str, &str) = ("expect", "points");
pub(super) const SETS: [(&str, &str); 2] = [EXCLUSIONS, EXPECTATIONS];

/// Points: those that have one of these values on each of these axes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PointSet(BTreeMap<String, serde_json::Value>);

impl PointSet {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl JsonSchema for PointSet {
    fn schema_name() -> Cow<'static, str> {
        "PointSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = super::schema::value();
        json_schema!({
            "description": "Points of the axes: by axis one value, or a list of values.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "anyOf": [value, {"type": "array", "items": value, "minItems": 1, "uniqueItems": true}]
            },
        })
    }
}

/// Returns true if a point is one of the set that is written in `set`.
pub(super) fn contains(set: &Node, point: &[(&str, &str)]) -> bool {
    set.entries().iter().all(|entry| {
        let value = point.iter().find(|(axis, _)| *axis == entry.key).map(|(_, value)| *value);
        entry.node.one_or_many().iter().any(|node| node.written() == value && value.is_some())
    })
}

/// Reports sets of points, of exclusions and of expectations, that name what the file does not have.
pub(in crate::scenario) fn check_sets(root: &Node, axes: Option<&Axes<'_>>, sink: &mut Sink<'_>) {
    let items = |key: &str| root.get(key).map(Node::items).unwrap_or_default();
    let of = |item: &'_ Node, key: &str| item.entries().iter().position(|entry| entry.key == key);
    let sets = SETS.into_iter().flat_map(|(list, key)| {
        items(list).iter().filter_map(move |item| item.entries().get(of(item, key)?))
    });
    for Entry { key, span, node } in sets {
        match axes {
            Some(axes) => check_names(node, axes, sink),
            None => sink.error_help(
                span.clone(),
                format!("`{key}` names points, and this file has no axes"),
                "add `axes: {host.cpu: [neoverse-v1, neoverse-n1]}`, or leave it out",
            ),
        }
    }
}

fn check_names(set: &Node, axes: &Axes<'_>, sink: &mut Sink<'_>) {
    for entry in set.entries() {
        let Some(axis) = axes.list.iter().find(|axis| axis.name == entry.key) else {
            let known = axes.list.iter().map(|axis| axis.name.as_str());
            let message = format!("no axis is called `{}`", entry.key);
            sink.error_help(entry.span.clone(), message, suggest(&entry.key, known));
            continue;
        };
        let labels = || axis.values.iter().map(|value| value.label.as_str());
        for node in entry.node.one_or_many() {
            let Some(text) = node.written().filter(|text| !labels().any(|label| label == *text)) else {
                continue;
            };
            let message = format!("axis `{}` has no value `{text}`", axis.name);
            sink.error_help(node.span.clone(), message, suggest(text, labels()));
        }
    }
}
