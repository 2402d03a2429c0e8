//! Two sides compared, as lines for a terminal.

pub mod json;

use super::changes;
use s2lab_model::{
    changes::{CellDiff, CellResult, DiffSummary, Group},
    escape,
    plan::Key,
};

/// Returns the changes, grouped; then what does not compare, what only one side has, and the counts.
pub fn lines(diff: &DiffSummary) -> String {
    let mut out = String::new();
    if let [cell @ CellDiff { old, new, .. }] = diff.cells.as_slice()
        && (old != new || diff.only_old.is_empty() && diff.only_new.is_empty())
    {
        out.push_str(&one(cell));
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
    out.push_str(&counts(diff));
    out.push('\n');
    escape::plain(&out)
}

/// One cell, or two that were named.
fn one(cell: &CellDiff) -> String {
    let CellDiff { old, new, result } = cell;
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
