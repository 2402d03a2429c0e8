//! The standings of a run's reports against the accepted ones, as lines for a terminal.

use super::changes;
use s2lab_model::{
    changes::{Change, groups},
    escape,
    report::{Gap, Outcome, Standing},
    summary::RunSummary,
    verdict::Verdict,
};
use std::collections::BTreeMap;

/// The heading of what another image of the kernel has moved.
const MOVED: &str = "shape, moved with the kernel";

/// The changes, grouped over the cells; then a line a cell. Accepted reports without a cell are
/// among them.
pub fn lines(run: &RunSummary) -> String {
    let of = |pick: fn(&Outcome) -> Option<&Vec<Change>>| {
        groups(run.cells.iter().filter_map(|cell| match &cell.standing {
            Some(Standing::Compared(outcome)) => Some((&cell.key, pick(outcome)?.as_slice())),
            _ => None,
        }))
    };
    let changed = of(|outcome| match outcome {
        Outcome::Changed { changes, .. } => Some(changes),
        _ => None,
    });
    let moved = of(|outcome| match outcome {
        Outcome::ShapeMoved { changes, .. } => Some(changes),
        _ => None,
    });
    let moved = changes::section(MOVED, &moved.iter().collect::<Vec<_>>(), true);
    escape::plain(&(changes::lines(&changed, true) + &moved)) + &cells(run, |_| None)
}

/// A line a cell, and the unified diff of what has changed.
pub fn with_diffs(run: &RunSummary) -> String {
    cells(run, |standing| match standing {
        Standing::Compared(Outcome::Changed { diff, .. }) => Some(diff),
        _ => None,
    })
}

/// A line a cell; below it the text that `below` returns.
fn cells(run: &RunSummary, below: fn(&Standing) -> Option<&String>) -> String {
    let cells = run.cells.iter().filter_map(|cell| Some((cell.key.as_str(), line(cell.standing.as_ref()?))));
    let orphaned = ("orphaned", "the lab has no such cell; remove the file".to_owned());
    let orphans = run.orphaned.iter().map(|key| (key.as_str(), orphaned.clone()));
    let all: BTreeMap<&str, (&str, String)> = cells.chain(orphans).collect();
    let width = all.keys().map(|key| key.len()).max().unwrap_or_default();
    let diffs =
        run.cells.iter().filter_map(|cell| Some((cell.key.as_str(), below(cell.standing.as_ref()?)?)));
    let diffs: BTreeMap<_, _> = diffs.collect();
    let mut out = String::new();
    for (key, (word, more)) in &all {
        let line = escape::plain(&format!("{word:<15} {key:<width$}  {more}"));
        out.push_str(line.trim_end());
        out.push('\n');
        if let Some(diff) = diffs.get(key) {
            out.push_str(escape::plain(diff).trim_end());
            out.push('\n');
        }
    }
    out
}

fn line(standing: &Standing) -> (&'static str, String) {
    match standing {
        Standing::Compared(Outcome::Same) => ("same", String::new()),
        Standing::Compared(Outcome::NewWitness { note }) => ("same", note.clone()),
        Standing::Compared(Outcome::ShapeMoved { note, .. }) => ("shape moved", note.clone()),
        Standing::Compared(Outcome::Changed { changes, .. }) => {
            let word = if changes.len() == 1 { "change" } else { "changes" };
            ("changed", format!("{} {word}", changes.len()))
        }
        Standing::Compared(Outcome::NotComparable(facts)) => {
            let facts: Vec<_> = facts.iter().map(ToString::to_string).collect();
            ("not comparable", facts.join("; "))
        }
        Standing::New => ("new", "accept it with `s2lab accept`".into()),
        Standing::Missing(gap) => ("missing", reason(gap)),
        Standing::Unreadable { why } => ("unreadable", why.clone()),
    }
}

/// The word for a standing.
pub fn word(standing: &Standing) -> &'static str {
    line(standing).0
}

/// The reason that there is nothing to compare.
pub fn reason(gap: &Gap) -> String {
    match gap {
        Gap::NotRun(why) => format!("not run: {}", escape::line(why)),
        Gap::Interrupted => "the run was interrupted before it was judged".into(),
        Gap::Lab(Verdict::Error) => "the scenario failed (ERROR): nothing to compare".into(),
        Gap::Lab(verdict) => format!("the lab failed ({}): nothing to compare", verdict.name()),
        Gap::NoReport => "the run has no report of it".into(),
    }
}
