//! `when` and `unless` of expectations and exclusions: the kernels that an item is for, by their traits.

use crate::diagnostic::Sink;
use crate::kernel::{Trait, Traits};
use crate::yaml::Node;
use std::collections::BTreeSet;

/// The traits that an item names.
#[derive(Debug)]
pub(super) struct Conditions {
    when: Vec<Trait>,
    unless: Vec<Trait>,
}

impl Conditions {
    /// Reads those of an item. Returns None if they have a mistake, which is reported elsewhere.
    pub(super) fn read(item: &Node) -> Option<Self> {
        let named =
            |node: &Node| Trait::ALL.into_iter().find(|one| node.text() == Some(one.to_string().as_str()));
        let traits = |key: &str| -> Option<Vec<Trait>> {
            item.get(key).map(Node::one_or_many).unwrap_or_default().iter().map(named).collect()
        };
        let has_both = item.get("when").is_some() && item.get("unless").is_some();
        let read = Self { when: traits("when")?, unless: traits("unless")? };
        (!has_both).then_some(read)
    }
}

/// Returns true for a kernel with exactly these traits if it has all of `when`, and not all of `unless`.
pub(super) fn hold(when: &[Trait], unless: &[Trait], traits: &BTreeSet<Trait>) -> bool {
    let has_all = |list: &[Trait]| list.iter().all(|one| traits.contains(one));
    has_all(when) && (unless.is_empty() || !has_all(unless))
}

/// Returns the first set of traits for which none of these items is.
pub(super) fn uncovered(items: &[Conditions]) -> Option<BTreeSet<Trait>> {
    let sets = Traits::AtLeast(BTreeSet::new()).possible();
    sets.into_iter().find(|traits| !items.iter().any(|of| hold(&of.when, &of.unless, traits)))
}

/// Reports items that have both keys.
pub(super) fn check(root: &Node, sink: &mut Sink<'_>) {
    for (list, one) in [("exclude", "exclusion"), ("expect", "expectation")] {
        for item in root.get(list).map(Node::items).unwrap_or_default() {
            let unless = item.entries().iter().find(|entry| entry.key == "unless");
            if let (Some(_), Some(unless)) = (item.get("when"), unless) {
                let help = "`when` holds for kernels that declare all its traits, `unless` for all others: choose one";
                sink.error_help(unless.span.clone(), format!("`when` and `unless` in one {one}"), help);
            }
        }
    }
}
