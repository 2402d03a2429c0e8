//! `--set PATH=VALUE`: one point of an axis, which the file need not have.

use crate::plan::Point;
use crate::scenario::Scenario;
use crate::steps::Step;
use crate::yaml::{Class, Entry, Node, Value};

/// A value for a path of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetValue {
    pub path: String,
    /// The other paths that get the same value.
    pub also: Vec<String>,
    /// The value as it is written in a file, and in keys; of an axis whose values have names, the
    /// name.
    pub value: String,
}

/// The reason why a scenario has no point with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{scenario} with {set}: {why}")]
pub struct SetError {
    pub scenario: String,
    pub set: String,
    pub why: String,
    pub help: Option<String>,
}

impl SetValue {
    /// Reads `PATH=VALUE`.
    ///
    /// # Errors
    /// Returns the mistake.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not PATH=VALUE"))?;
        super::check_path(path)?;
        super::check_value(value)?;
        Ok(Self { path: path.to_owned(), also: vec![], value: value.to_owned() })
    }

    /// Returns the argument of the command line.
    pub fn word(&self) -> String {
        format!("{}={}", self.path, self.value)
    }
}

/// Adds the value to the axis of its path, or an axis for the path. Returns the name of the axis.
/// The added nodes are at the beginning of the file.
pub(in crate::scenario) fn apply(root: &mut Node, set: &SetValue) -> String {
    let last = set.path.rsplit('.').next().unwrap_or_default().to_owned();
    let node = |value| Node { span: 0..0, value };
    let scalar = |text: &str| node(Value::Scalar(Class::of(text), text.to_owned()));
    let Value::Map(entries) = &mut root.value else { return last };
    if !entries.iter().any(|entry| entry.key == "axes") {
        entries.push(Entry { key: "axes".into(), span: 0..0, node: node(Value::Map(vec![])) });
    }
    let Some(axes) = entries.iter_mut().find(|entry| entry.key == "axes") else { return last };
    let Value::Map(axes) = &mut axes.node.value else { return last };
    let Some(axis) = axes.iter_mut().find(|entry| is_axis_of(entry, set)) else {
        let texts = |texts: &[String]| node(Value::List(texts.iter().map(|text| scalar(text)).collect()));
        let part = |key: &str, node| Entry { key: key.into(), span: 0..0, node };
        let values = texts(std::slice::from_ref(&set.value));
        let written = match set.also.is_empty() {
            true => values,
            false => node(Value::Map(vec![part("also", texts(&set.also)), part("values", values)])),
        };
        axes.push(part(&set.path, written));
        return last;
    };
    let name = axis.node.get("as").and_then(Node::written).map_or(last, str::to_owned);
    let values = match &mut axis.node.value {
        Value::Map(parts) => parts.iter_mut().find(|part| part.key == "values").map(|part| &mut part.node),
        _ => Some(&mut axis.node),
    };
    match values.map(|node| &mut node.value) {
        Some(Value::List(items)) if !items.iter().any(|item| item.written() == Some(&set.value)) => {
            items.push(scalar(&set.value));
        }
        Some(Value::Map(named)) if !named.iter().any(|entry| entry.key == set.value) => {
            named.push(Entry { key: set.value.clone(), span: 0..0, node: scalar(&set.value) });
        }
        _ => {}
    }
    name
}

/// Returns true if the axis has the path of a value, and all others that get it.
fn is_axis_of(axis: &Entry, set: &SetValue) -> bool {
    let also = axis.node.get("also").map(Node::one_or_many).unwrap_or_default();
    axis.key == set.path && (set.also.is_empty() || also.iter().filter_map(Node::text).eq(&set.also))
}

impl Scenario {
    /// Returns the value that gives all steps `while` this seed, or None if there is no such step.
    pub fn seeded(&self, seed: u32) -> Option<SetValue> {
        let whiles = self.steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::While(_)));
        let mut paths = whiles.map(|(at, _)| format!("steps.{at}.while.seed"));
        Some(SetValue { path: paths.next()?, also: paths.collect(), value: seed.to_string() })
    }

    /// Keeps the points with this value of an axis.
    pub(in crate::scenario) fn keep(&mut self, name: &str, value: &str) {
        let has = |point: &Point| point.value.as_deref() == Some(value);
        let axes = self.matrix.axes.iter_mut().map(|of| &mut of.axis).filter(|axis| axis.name == name);
        axes.for_each(|axis| axis.points.retain(has));
        self.matrix.points.retain(|point| point.values.get(name).is_some_and(|of| of == value));
    }
}
