//! A property that stage-2 leaves must have, and the leaves that lack it.

use crate::finding::{Finding, Subject, Weight};
use crate::scenario::{Access, AccessFlag, Share};
use s2lab_mmu::{Exec, MemoryType, Shareability, Stage2Leaf};
use std::collections::BTreeMap;

/// The most leaves that are evidence of one finding.
const MOST_LEAVES: usize = 4;

/// A property of a leaf: its name, and its expected value.
pub(super) struct Property {
    name: &'static str,
    expected: String,
    /// Returns the value of a leaf, or None for a descriptor without the field.
    of: fn(&Stage2Leaf) -> Option<String>,
}

impl Property {
    pub(super) fn new(
        name: &'static str,
        expected: impl ToString,
        of: fn(&Stage2Leaf) -> Option<String>,
    ) -> Property {
        Property { name, expected: expected.to_string(), of }
    }

    pub(super) fn stage2(of: MemoryType) -> Property {
        Property::new("stage2", of, stage2)
    }

    pub(super) fn never_exec() -> Property {
        Property::new("exec", Exec::NEVER, |leaf| Some(leaf.exec.to_string()))
    }

    pub(super) fn access(of: Access) -> Property {
        Property::new("access", of, |leaf| Some(Access::of(leaf.read, leaf.write).to_owned()))
    }

    pub(super) fn share(of: Share) -> Property {
        Property::new("share", Shareability::from(of), |leaf| leaf.sh.map(|sh| sh.to_string()))
    }

    pub(super) fn access_flag(of: AccessFlag) -> Property {
        Property::new("access flag", of, |leaf| Some(AccessFlag::of(leaf.af).to_string()))
    }

    /// Returns a finding if a leaf has another value, or if there is no leaf.
    pub(super) fn unmet(&self, leaves: &[Stage2Leaf], place: &Subject) -> Option<Finding> {
        let finding = |found: String| {
            let what = format!("{} of {place}", self.name);
            Finding::new(Weight::Tables, place.clone(), what, self.expected.as_str(), found)
        };
        if leaves.is_empty() {
            return Some(finding("nothing mapped".into()));
        }
        let mut values: BTreeMap<String, usize> = BTreeMap::new();
        let mut wrong: Vec<&Stage2Leaf> = vec![];
        // A million leaves are of a few kinds, and neighbours are mostly alike.
        for alike in leaves.chunk_by(|a, b| a.attr == b.attr && a.attributes() == b.attributes()) {
            let Some(value) = alike.first().and_then(self.of) else { continue };
            if value != self.expected {
                wrong.extend(alike.iter().take(MOST_LEAVES - wrong.len()));
            }
            *values.entry(value).or_default() += alike.len();
        }
        if wrong.is_empty() {
            return None;
        }
        let found: Vec<_> = match values.len() {
            1 => values.into_keys().collect(),
            _ => {
                let all = leaves.len();
                values.into_iter().map(|(value, n)| format!("{value} ({n} of {all} leaves)")).collect()
            }
        };
        Some(finding(found.join(", ")).with(wrong.into_iter().map(evidence)))
    }
}

/// Returns the type of a leaf, in the words of reports.
pub(super) fn stage2(leaf: &Stage2Leaf) -> Option<String> {
    Some(leaf.attr.to_string())
}

/// Returns a leaf as evidence.
fn evidence(leaf: &Stage2Leaf) -> String {
    let Stage2Leaf { ipa, pa, level, descriptor, .. } = leaf;
    format!("IPA {ipa:#x} -> PA {pa:#x}, level {level}, descriptor {descriptor:#x}")
}
