//! Changes of the witnesses. The rules have left out those that are new.

use super::{Change, ChangeKind, change, words::further};
use crate::lines::{Part, Witness, Word};
use std::collections::BTreeMap;

const KIND: ChangeKind = ChangeKind::Witness;

pub(super) fn changes(old: &Part<Witness>, new: &Part<Witness>) -> Vec<Change> {
    let (before, now) = (testimonies(old), testimonies(new));
    let sentence = |(name, before): (&&Word, &Vec<String>)| match now.get(*name) {
        None => Some(format!("witness {name}: gone")),
        Some(now) if now == before => None,
        Some(now) => Some(format!("witness {name}: {} became {}", before.join(" and "), now.join(" and "))),
    };
    let mut out: Vec<Change> = before.iter().filter_map(sentence).map(|what| change(KIND, what)).collect();
    if out.is_empty() && old.lines != new.lines {
        out.push(change(KIND, "the witnesses are in another order"));
    }
    out.extend(further(KIND, "[witnesses]", old.further.as_ref(), new.further.as_ref()));
    out
}

/// Returns what each witness said. A report that was written by hand may have one twice.
fn testimonies(part: &Part<Witness>) -> BTreeMap<&Word, Vec<String>> {
    let mut all: BTreeMap<&Word, Vec<String>> = BTreeMap::new();
    for witness in &part.lines {
        all.entry(&witness.name).or_default().push(witness.testimony.to_string());
    }
    all
}
