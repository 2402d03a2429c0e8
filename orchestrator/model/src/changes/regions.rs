//! Changes of what a look saw: regions, mappings, isolation.

use super::statements::{Place, Statements};
use super::words::{became, joined};
use crate::lines::{Isolation, Mapping, Promised, Question, effective_name};
use std::collections::{BTreeMap, BTreeSet};

/// The subject of lines of a look. Their order is that of the sentences.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Region(String),
    /// Of a mapping.
    Mapping(String),
    /// A line about a guest hypervisor.
    Question(String),
    Isolation,
    /// Of a look whose tables were not readable.
    Tables,
}

impl Subject {
    fn of(line: &Promised) -> Option<Self> {
        Some(match line {
            Promised::Region(line) => Subject::Region(line.area().to_string()),
            Promised::Mapping(Mapping { device, map, .. }) => {
                Subject::Mapping(format!("{device} mapped {map}"))
            }
            Promised::Question(Question { device, .. }) => {
                Subject::Question(format!("hypervisor of {device}"))
            }
            Promised::Isolation(_) => Subject::Isolation,
            Promised::Unreadable => Subject::Tables,
            Promised::Step(_) => return None,
        })
    }

    fn words(&self) -> &str {
        match self {
            Subject::Region(words) | Subject::Mapping(words) | Subject::Question(words) => words,
            Subject::Isolation => "isolation",
            Subject::Tables => "tables",
        }
    }
}

/// Adds a statement for each difference of two looks at the same place.
pub(super) fn look(old: &[&Promised], new: &[&Promised], place: &Place, statements: &mut Statements) {
    let (before, now) = (subjects(old), subjects(new));
    let is_unreadable = |lines: &[&Promised]| matches!(lines, [Promised::Unreadable]);
    match (is_unreadable(old), is_unreadable(new)) {
        (false, true) => return statements.add("tables", ": readable became not readable", place),
        (true, false) => return statements.add("tables", ": not readable became readable", place),
        _ => {}
    }
    let mut is_equal = true;
    for subject in before.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
        statements.exists(subject.words(), place);
        let old = before.get(subject).map(Vec::as_slice).unwrap_or_default();
        let new = now.get(subject).map(Vec::as_slice).unwrap_or_default();
        if old != new {
            is_equal = false;
            let predicates = differences(old, new);
            predicates.into_iter().for_each(|predicate| statements.add(subject.words(), predicate, place));
        }
    }
    if is_equal && old != new {
        statements.add("lines", ": in another order", place);
    }
}

fn subjects<'a>(lines: &[&'a Promised]) -> BTreeMap<Subject, Vec<&'a Promised>> {
    let mut all: BTreeMap<Subject, Vec<&Promised>> = BTreeMap::new();
    for line in lines {
        if let Some(subject) = Subject::of(line) {
            all.entry(subject).or_default().push(line);
        }
    }
    all
}

/// Returns the differences of one subject's lines.
fn differences(old: &[&Promised], new: &[&Promised]) -> Vec<String> {
    let values = |lines: &[&Promised]| joined(lines.iter().map(|line| value(line)));
    match (old.first(), new.first()) {
        (Some(_), None) => return vec![": gone".into()],
        (None, Some(_)) => return vec![format!(": new, {}", values(new))],
        _ => {}
    }
    let columns = |lines: &[&Promised]| {
        let regions = lines.iter().filter_map(|line| match line {
            Promised::Region(region) => Some(region.in_words()),
            _ => None,
        });
        regions.collect::<Vec<_>>()
    };
    let of_columns = by_column(&columns(old), &columns(new));
    let (old_values, new_values) = (values(old), values(new));
    match (old, new) {
        _ if !of_columns.is_empty() => of_columns,
        ([Promised::Isolation(Isolation::Own { .. })], [Promised::Isolation(Isolation::Foreign)]) => {
            vec![format!(": maps only its own became {}", Isolation::Foreign)]
        }
        ([Promised::Isolation(Isolation::Foreign)], [Promised::Isolation(Isolation::Own { .. })]) => {
            vec![format!(": {} became maps only its own", Isolation::Foreign)]
        }
        _ if old_values == new_values => vec![": other lines".into()],
        ([Promised::Mapping(_), ..], _) => vec![format!(": {}", became(&old_values, &new_values))],
        _ => vec![format!(": {old_values} became {new_values}")],
    }
}

/// Returns the differences column by column: the types, the permissions and so on, each with all
/// its values.
fn by_column(old: &[Vec<String>], new: &[Vec<String>]) -> Vec<String> {
    let width = old.iter().chain(new).map(Vec::len).max().unwrap_or_default();
    let set = |lines: &[Vec<String>], at: usize| -> BTreeSet<String> {
        lines.iter().filter_map(|line| line.get(at).cloned()).collect()
    };
    let differing = (0..width).filter_map(|at| {
        let (old, new) = (set(old, at), set(new, at));
        let differs = old != new && !old.is_empty() && !new.is_empty();
        differs.then(|| format!(": {} became {}", joined(old), joined(new)))
    });
    differing.collect()
}

/// The line without its subject, in words.
fn value(line: &Promised) -> String {
    match line {
        Promised::Region(region) => region.in_words().join(", "),
        Promised::Mapping(Mapping { effective, .. }) => {
            let names: Vec<_> = effective.iter().map(|of| effective_name(*of)).collect();
            if names.is_empty() {
                "no page touched".into()
            } else {
                format!("effective {}", names.join(" and "))
            }
        }
        Promised::Question(Question { hypervisor, .. }) => hypervisor.to_string(),
        line => line.to_string().trim_start().to_owned(),
    }
}
