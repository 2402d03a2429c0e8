//! Two sides compared, as lines for a terminal.

pub mod json;

use super::changes;
use s2lab_model::{
    changes::{CellDiff, CellResult, DiffSummary, Group},
    escape,
    plan::Key,
    report::Difference,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most facts that are named beside the changes.
const MOST_FACTS: usize = 16;
/// The longest value of a fact that people get. A digest is longer.
const LONGEST_VALUE: usize = 32;

/// Returns the changes, grouped; then what does not compare, what only one side has, the facts that
/// differ and never compare, and the counts.
pub fn lines(diff: &DiffSummary) -> String {
    let mut out = String::new();
    if let [cell @ CellDiff { old, new, .. }] = diff.cells.as_slice()
        && (old != new || diff.only_old.is_empty() && diff.only_new.is_empty())
    {
        out.push_str(&one(cell));
        out.push_str(&beside(diff));
        return escape::plain(&out);
    }
    out.push_str(&changes::lines(&diff.groups(), true));
    for CellDiff { old, result, .. } in &diff.cells {
        if let CellResult::NotComparable(_) = result {
            out.push_str(&format!("not comparable  {old}  {}\n", facts(result)));
        }
    }
    out.push_str(&only(&diff.old, &diff.only_old));
    out.push_str(&only(&diff.new, &diff.only_new));
    out.push_str(&beside(diff));
    out.push_str(&counts(diff));
    out.push('\n');
    escape::plain(&out)
}

/// One cell, or two that were named.
fn one(cell: &CellDiff) -> String {
    let CellDiff { old, new, result, .. } = cell;
    let name = if old == new { old.to_string() } else { format!("{old} -> {new}") };
    match result {
        CellResult::Same => format!("{name}: same\n"),
        CellResult::NotComparable(_) => format!("{name}: not comparable: {}\n", facts(result)),
        CellResult::Differs(changes) => {
            let groups = changes.iter().map(|change| Group { change: change.clone(), keys: vec![] });
            format!("{name}\n{}", changes::lines(&groups.collect::<Vec<_>>(), false))
        }
    }
}

fn facts(result: &CellResult) -> String {
    let CellResult::NotComparable(facts) = result else { return String::new() };
    facts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Returns the variable facts that differ, in one line: with their values if these are short and the
/// same in all cells.
fn beside(diff: &DiffSummary) -> String {
    let mut facts: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for fact in diff.cells.iter().flat_map(|cell| &cell.variables) {
        facts.entry(&fact.name).or_default().insert(in_short(fact));
    }
    let further = facts.len().saturating_sub(MOST_FACTS);
    let words = |(name, values): (&&str, &BTreeSet<String>)| match values.first() {
        Some(one) if values.len() == 1 => one.clone(),
        _ => escape::line(name),
    };
    let named = facts.iter().take(MOST_FACTS).map(words);
    let all: Vec<_> = named.chain((further > 0).then(|| format!("and {further} more"))).collect();
    if all.is_empty() { String::new() } else { format!("also differs, not compared: {}\n", all.join("; ")) }
}

/// Returns a fact with its values, or its name alone if a value is long.
fn in_short(fact: &Difference) -> String {
    let is_short = |value: &Option<String>| value.as_ref().is_none_or(|value| value.len() <= LONGEST_VALUE);
    match is_short(&fact.accepted) && is_short(&fact.new) {
        true => escape::line(&fact.to_string()),
        false => escape::line(&fact.name),
    }
}

fn only(side: &str, keys: &[Key]) -> String {
    keys.iter().map(|key| format!("only in {side}  {key}\n")).collect()
}

/// The last line: `3 same, 2 different, 1 only in main`
fn counts(diff: &DiffSummary) -> String {
    let count = |of: fn(&CellResult) -> bool| diff.cells.iter().filter(|cell| of(&cell.result)).count();
    let counts = [
        (count(|result| matches!(result, CellResult::Same)), "same".to_owned()),
        (count(|result| matches!(result, CellResult::Differs(_))), "different".to_owned()),
        (count(|result| matches!(result, CellResult::NotComparable(_))), "not comparable".to_owned()),
        (diff.only_old.len(), format!("only in {}", diff.old)),
        (diff.only_new.len(), format!("only in {}", diff.new)),
    ];
    let words: Vec<_> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if words.is_empty() { "no cell on either side".to_owned() } else { words.join(", ") }
}
