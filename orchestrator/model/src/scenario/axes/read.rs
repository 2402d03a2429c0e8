//! The axes as they are written, and the mistakes in them.

use super::{MAX_POINTS, check_name, path};
use crate::diagnostic::Sink;
use crate::plan::is_own_axis;
use crate::scenario::Size;
use crate::yaml::{Entry, Node, Value};
use std::ops::Range;

/// The axes of a file.
pub(in crate::scenario) struct Axes<'a> {
    /// The place of the key `axes`.
    pub(in crate::scenario) span: Range<usize>,
    pub(super) list: Vec<WrittenAxis<'a>>,
}

/// An axis.
pub(super) struct WrittenAxis<'a> {
    pub(super) name: String,
    /// The place of its path.
    pub(super) span: Range<usize>,
    /// The path that names it, and the others that get the same value.
    pub(super) paths: Vec<&'a str>,
    pub(super) values: Vec<AxisValue<'a>>,
    /// All paths and values could be read.
    is_whole: bool,
}

impl WrittenAxis<'_> {
    /// Returns the path that names it.
    pub(super) fn path(&self) -> &str {
        self.paths.first().copied().unwrap_or_default()
    }
}

/// A value of an axis.
pub(super) struct AxisValue<'a> {
    /// The text in keys.
    pub(super) label: String,
    pub(super) node: &'a Node,
}

/// Reads the axes of a file, and reports what is wrong with them. Returns None if a mistake leaves
/// their points open, or if the file has none.
pub(in crate::scenario) fn read<'a>(root: &'a Node, sink: &mut Sink<'_>) -> Option<Axes<'a>> {
    let entry = root.entries().iter().find(|entry| entry.key == "axes")?;
    let written = entry.node.entries();
    let list: Vec<_> = written.iter().filter_map(axis).collect();
    // The schema reports what could not be read.
    let mut is_right = list.len() == written.len() && list.iter().all(|axis| axis.is_whole);
    let mut wrong = |span: &Range<usize>, message: String, help: String| {
        is_right = false;
        sink.error_help(span.clone(), message, help);
    };
    for (at, axis) in list.iter().enumerate() {
        for path in &axis.paths {
            if super::check_path(path).is_ok()
                && let Err((message, help)) = path::check(root, path)
            {
                wrong(&axis.span, message, help);
            }
        }
        let rename = || format!("give it a name: `{}: {{as: NAME, values: [...]}}`", axis.path());
        if let Err(message) = check_name(&axis.name) {
            wrong(&axis.span, message, rename());
        } else if is_own_axis(&axis.name) {
            wrong(&axis.span, format!("`{}` is an axis of s2lab's own", axis.name), rename());
        } else if list[..at].iter().any(|other| other.name == axis.name) {
            wrong(&axis.span, format!("another axis is called `{}` already", axis.name), rename());
        }
        let mine = axis
            .paths
            .iter()
            .enumerate()
            .flat_map(|(n, one)| axis.paths[..n].iter().map(move |two| (two, one)));
        let others = list[..at].iter().flat_map(|other| &other.paths);
        let pairs = others.flat_map(|other| axis.paths.iter().map(move |path| (other, path)));
        if let Some((other, path)) = mine.chain(pairs).find(|(other, path)| path::meet(other, path)) {
            let message = format!("`{path}` is varied already, by `{other}`");
            wrong(&axis.span, message, "a value has one axis".to_owned());
        }
        for (n, value) in axis.values.iter().enumerate() {
            if let Some(same) = axis.values[..n].iter().find(|other| is_same(other.node, value.node)) {
                let message = format!("`{}` is the same as `{}`", value.label, same.label);
                wrong(&value.node.span, message, "each value is there once".to_owned());
            }
        }
    }
    let points = list.iter().map(|axis| axis.values.len()).fold(1, usize::saturating_mul);
    if points > MAX_POINTS {
        let message = format!("these axes have {points} points, and a scenario has at most {MAX_POINTS}");
        wrong(&entry.span, message, "use fewer values, or two scenarios".to_owned());
    }
    let is_right = is_right && !list.is_empty() && list.iter().all(|axis| !axis.values.is_empty());
    is_right.then(|| Axes { span: entry.span.start..end(&entry.node), list })
}

/// Reads one axis: a list of values, or a mapping with `values`. Returns None for another form.
fn axis(entry: &Entry) -> Option<WrittenAxis<'_>> {
    let last = entry.key.rsplit('.').next().unwrap_or_default();
    let (name, also, values) = match &entry.node.value {
        Value::List(_) => (last, &[][..], &entry.node),
        Value::Map(_) => (
            entry.node.get("as").map_or(Some(last), Node::written)?,
            entry.node.get("also").map(Node::one_or_many).unwrap_or_default(),
            entry.node.get("values")?,
        ),
        Value::Scalar(..) => return None,
    };
    let paths: Vec<_> =
        std::iter::once(entry.key.as_str()).chain(also.iter().filter_map(Node::text)).collect();
    let read: Vec<_> = match &values.value {
        Value::List(items) => items.iter().map(|node| value(node.written()?, node)).collect(),
        Value::Map(entries) => entries.iter().map(|entry| value(&entry.key, &entry.node)).collect(),
        Value::Scalar(..) => return None,
    };
    let is_whole = read.iter().all(Option::is_some) && paths.len() == also.len() + 1;
    let values = read.into_iter().flatten().collect();
    Some(WrittenAxis { name: name.to_owned(), span: entry.span.clone(), paths, values, is_whole })
}

fn value<'a>(label: &str, node: &'a Node) -> Option<AxisValue<'a>> {
    super::check_value(label).is_ok().then(|| AxisValue { label: label.to_owned(), node })
}

/// Returns true for two texts that mean the same size.
fn is_same(one: &Node, other: &Node) -> bool {
    let size = |node: &Node| Size::try_from(node.written()?.to_owned()).ok();
    one.to_value() == other.to_value() || size(one).is_some_and(|one| Some(one) == size(other))
}

/// Returns the end of what is written in a node.
fn end(node: &Node) -> usize {
    let inner = match &node.value {
        Value::Map(entries) => entries.iter().map(|entry| end(&entry.node)).max(),
        Value::List(items) => items.iter().map(end).max(),
        Value::Scalar(..) => None,
    };
    inner.unwrap_or_default().max(node.span.end)
}
