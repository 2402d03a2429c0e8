//! The page of a diff: two sides, before beside after.

use super::{
    cell::{LONGEST_CHANGE, MOST_BYTES, article, fitting, space},
    document,
    overview::{MOST_SENTENCES, sentences},
    types,
};
use crate::show::outline;
use maud::{Markup, html};
use s2lab_model::{
    changes::{CellDiff, CellResult, DiffSummary},
    escape,
    plan::Key,
    report::Report,
};
use std::collections::BTreeSet;

/// Returns the page of a diff.
pub fn diff(diff: &DiffSummary) -> String {
    let (word, class) = word(diff);
    let keys: BTreeSet<_> = diff.cells.iter().map(|cell| &cell.new).collect();
    let (old, new) = (escape::plain(&diff.old), escape::plain(&diff.new));
    let body = html! {
        a.skip href="#cells" { "Skip to the cells" }
        header {
            h1.(class) { (if diff.exit == 0 { "\u{2713}" } else { "\u{2717}" }) " " (word) }
            p { "From " strong { (old) } " to " strong { (new) } ", " (outline::cells(diff.cells.len())) " on both sides" }
        }
        main {
            section id="changes" {
                h2 { "What changed" }
                (sentences(&outline::of_diff_within(diff, MOST_SENTENCES), |key| keys.contains(key)))
            }
            section id="cells" {
                h2 { "Cells, the worst first" }
                (table(diff))
                @for cell in sorted(diff) {
                    @if cell.result != CellResult::Same { (one(cell, diff.reports.get(&cell.new), [&old, &new])) }
                }
            }
            (types())
        }
    };
    document(&format!("{word}: {old} to {new}"), &body)
}

fn word(diff: &DiffSummary) -> (&'static str, &'static str) {
    match diff.exit {
        0 => ("SAME", "good"),
        2 => ("NOT COMPARABLE", "warn"),
        _ => ("DIFFERENT", "bad"),
    }
}

/// The cells of both sides, those that differ first.
fn sorted(diff: &DiffSummary) -> Vec<&CellDiff> {
    let mut cells: Vec<_> = diff.cells.iter().collect();
    let weight = |result: &CellResult| match result {
        CellResult::Differs(_) => 0,
        CellResult::NotComparable(_) => 1,
        CellResult::Same => 2,
    };
    cells.sort_by_key(|cell| (weight(&cell.result), &cell.new));
    cells
}

fn table(diff: &DiffSummary) -> Markup {
    let only = |keys: &[Key], what: &str| {
        html! { @for key in keys { tr { td { (key) } td { strong.warn { "! " (what) } } } } }
    };
    html! {
        div.wide tabindex="0" { table {
            thead { tr { th scope="col" { "cell" } th scope="col" { "result" } } }
            (only(&diff.only_old, "missing from the new side"))
            (only(&diff.only_new, "only on the new side"))
            @for cell in sorted(diff) {
                tr {
                    td { @match &cell.result {
                        CellResult::Same => (names(cell)),
                        _ => a href=(format!("#{}", cell.new)) { (names(cell)) },
                    } }
                    td { (result(&cell.result)) }
                }
            }
        } }
    }
}

/// The key, or both if two cells were named.
fn names(CellDiff { old, new, .. }: &CellDiff) -> String {
    if old == new { new.to_string() } else { format!("{old} to {new}") }
}

fn result(result: &CellResult) -> Markup {
    match result {
        CellResult::Same => html! { span.good { "\u{2713} same" } },
        CellResult::Differs(changes) => html! { strong.bad { "\u{2717} " (changes.len()) " changes" } },
        CellResult::NotComparable(_) => html! { strong.warn { "! not comparable" } },
    }
}

fn one(cell: &CellDiff, reports: Option<&(Report, Report)>, sides: [&str; 2]) -> Markup {
    let what = match &cell.result {
        CellResult::Differs(changes) => changes.iter().map(|change| change.what.clone()).collect(),
        CellResult::NotComparable(facts) => facts.iter().map(ToString::to_string).collect(),
        CellResult::Same => vec![],
    };
    let class = if matches!(cell.result, CellResult::Differs(_)) { "bad" } else { "warn" };
    let mut room = MOST_BYTES;
    let mut fit = |name: &str, part: Markup| fitting(&mut room, name, &cell.new, part);
    let head =
        html! { h3 { (result(&cell.result)) " " a href=(format!("#{}", cell.new)) { (names(cell)) } } };
    let head = fit("the heading", head);
    let changes = html! {
        ul.changes { @for what in &what { li { (escape::once(what, LONGEST_CHANGE)) } } }
    };
    let changes = fit("the changes", changes);
    let pictures =
        fit("the address space", space(reports.map(|(old, _)| old), reports.map(|(_, new)| new), sides));
    article(&cell.new, class, &[head, changes, pictures])
}
