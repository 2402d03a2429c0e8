//! Paths in a scenario's tree: keys, and numbers of items from 0, with a dot between them.

use crate::diagnostic::suggest;
use crate::yaml::{Entry, Node, Value};
use std::ops::Range;

/// Checks that a path leads to a value, or to a key that its mapping may have. The error is the
/// mistake and the correction.
pub(super) fn check(root: &Node, path: &str) -> Result<(), (String, String)> {
    let mut node = root;
    let mut above = String::new();
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let wrong =
            |why: String, help: String| Err((format!("`{path}` names nothing in this file: {why}"), help));
        let next = match &node.value {
            Value::Map(_) => node.get(part),
            Value::List(items) => match part.parse::<usize>().ok().and_then(|at| items.get(at)) {
                Some(item) => Some(item),
                None => {
                    let why = format!("`{above}` has {} items and no `{part}`", items.len());
                    return wrong(why, "items are numbered from 0".to_owned());
                }
            },
            Value::Scalar(..) => {
                return wrong(format!("`{above}` is {}", node.kind()), format!("the path ends at `{above}`"));
            }
        };
        match next {
            Some(next) => node = next,
            // The schema knows if the mapping may have the key.
            None if parts.peek().is_none() => return Ok(()),
            None => {
                let of = if above.is_empty() { "the file".to_owned() } else { format!("`{above}`") };
                let known = node.entries().iter().map(|entry| entry.key.as_str());
                return wrong(format!("{of} has no `{part}`"), suggest(part, known));
            }
        }
        above = if above.is_empty() { part.to_owned() } else { format!("{above}.{part}") };
    }
    Ok(())
}

/// Puts a value at a path that [`check`] found. A key that is added has the place `span`.
pub(super) fn put(root: &mut Node, path: &str, span: &Range<usize>, value: &Node) {
    let mut node = root;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let next = match &mut node.value {
            Value::Map(entries) => {
                let place = entries.iter().position(|entry| entry.key == part);
                if let (None, true) = (place, is_last) {
                    let entry = Entry { key: part.to_owned(), span: span.clone(), node: value.clone() };
                    entries.push(entry);
                    return;
                }
                place.and_then(|place| entries.get_mut(place)).map(|entry| &mut entry.node)
            }
            Value::List(items) => part.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
            Value::Scalar(..) => None,
        };
        let Some(next) = next else { return };
        node = next;
    }
    *node = value.clone();
}

/// Returns true if one of the paths leads to the other one's value or into it.
pub(super) fn meet(one: &str, other: &str) -> bool {
    one.split('.').zip(other.split('.')).all(|(one, other)| one == other)
}
