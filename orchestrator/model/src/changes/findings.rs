//! Changes of the findings, those of the lab apart from those of the kernel.

use super::{
    Change, ChangeKind, change,
    words::{further, numbered},
};
use crate::lines::{FindingLine, Part};
use crate::scenario::Promise;
use std::collections::{BTreeMap, BTreeSet};

/// A finding by its lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    what: String,
    promise: Option<Promise>,
    lab: bool,
    expected: Vec<String>,
    found: Vec<String>,
}

/// Findings with equal words are numbered.
type Name = (String, usize);

pub(super) fn changes(old: &Part<FindingLine>, new: &Part<FindingLine>) -> Vec<Change> {
    let (before, now) = (written(old), written(new));
    let (by_name, now_by_name) = (named(&before), named(&now));
    let names: BTreeSet<_> = by_name.keys().chain(now_by_name.keys()).collect();
    let of = |name: &&Name| differences(by_name.get(*name).copied(), now_by_name.get(*name).copied());
    let mut out: Vec<Change> = names.iter().flat_map(of).collect();
    if out.is_empty() && before != now {
        out.push(change(ChangeKind::Kernel, "the findings are in another order"));
    }
    let kind = if now.iter().chain(&before).all(|finding| finding.lab) {
        ChangeKind::Lab
    } else {
        ChangeKind::Kernel
    };
    out.extend(further(kind, "[findings]", old.further.as_ref(), new.further.as_ref()));
    out
}

/// Returns the findings. Lines before the first one are a finding without words.
fn written(part: &Part<FindingLine>) -> Vec<Written> {
    let mut all: Vec<Written> = vec![];
    for line in &part.lines {
        if let FindingLine::What { what, promise, lab } = line {
            all.push(Written { what: what.to_string(), promise: *promise, lab: *lab, ..Written::default() });
            continue;
        }
        if all.is_empty() {
            all.push(Written::default());
        }
        let Some(last) = all.last_mut() else { continue };
        match line {
            FindingLine::Expected(text) => last.expected.push(text.to_string()),
            FindingLine::Found(text) => last.found.push(text.to_string()),
            FindingLine::What { .. } | FindingLine::Evidence(_) => {}
        }
    }
    all
}

fn named(findings: &[Written]) -> BTreeMap<Name, &Written> {
    let names = numbered(findings.iter().map(|finding| finding.what.clone()));
    names.into_iter().zip(findings).collect()
}

fn differences(old: Option<&Written>, new: Option<&Written>) -> Vec<Change> {
    let (whose, sentences) = match (old, new) {
        (None, None) => return vec![],
        (Some(old), None) => (old, vec![format!("gone: {}", old.what())]),
        (None, Some(new)) => (new, vec![format!("new: {}", new.sentence())]),
        (Some(old), Some(new)) => (new, old.became(new)),
    };
    let kind = if whose.lab { ChangeKind::Lab } else { ChangeKind::Kernel };
    sentences.into_iter().map(|what| change(kind, what)).collect()
}

impl Written {
    /// The property and its place, in words.
    fn what(&self) -> &str {
        if self.what.is_empty() { "a finding without words" } else { &self.what }
    }

    fn sentence(&self) -> String {
        let Written { expected, found, promise, .. } = self;
        let promise = promise.map(|promise| format!(" ({promise})")).unwrap_or_default();
        let value = |word: &str, texts: &[String]| match texts {
            [] => None,
            texts => Some(format!("{word} {}", texts.join(" and "))),
        };
        let values: Vec<_> = value("expected", expected).into_iter().chain(value("found", found)).collect();
        match values.as_slice() {
            [] => format!("{}{promise}", self.what()),
            values => format!("{}: {}{promise}", self.what(), values.join(", ")),
        }
    }

    /// Returns a sentence for each value that differs.
    fn became(&self, new: &Written) -> Vec<String> {
        let value = |texts: &[String]| match texts {
            [] => "nothing".to_owned(),
            texts => texts.join(" and "),
        };
        let promise =
            |of: &Written| of.promise.map_or_else(|| "no promise".into(), |promise| promise.to_string());
        let whose = |of: &Written| if of.lab { "the lab" } else { "the kernel" };
        let pairs = [
            (self.promise != new.promise, "breaks", promise(self), promise(new)),
            (self.lab != new.lab, "is about", whose(self).to_owned(), whose(new).to_owned()),
            (self.expected != new.expected, "expected", value(&self.expected), value(&new.expected)),
            (self.found != new.found, "found", value(&self.found), value(&new.found)),
        ];
        let differing = pairs.into_iter().filter(|(differs, ..)| *differs);
        differing.map(|(_, word, old, new)| format!("{}: {word} {old} became {new}", self.what())).collect()
    }
}
