//! The top of the page: the verdict, what changed, and two matrices: scenarios by kernels, and
//! promises by kernels.

use super::cell::{LONGEST_CHANGE, verdict};
use crate::show::{
    outline::{self, Sentence},
    standings, terminal,
};
use maud::{Markup, html};
use s2lab_model::{
    comparison::Decision,
    escape,
    plan::Key,
    scenario::Promise,
    summary::{CellSummary, RunSummary},
    verdict::Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most sentences about what changed.
pub(super) const MOST_SENTENCES: usize = 40;
/// The most cells that a sentence names.
const MOST_KEYS: usize = 12;

/// The word of a run's exit code, with the class of its colour.
pub(super) fn word(run: &RunSummary) -> (&'static str, &'static str) {
    match run.exit {
        _ if run.interrupted.is_some() => ("INTERRUPTED", "warn"),
        1 => ("FAIL", "bad"),
        2 => ("ERROR", "bad"),
        _ if run.comparison.is_some() => comparison(run),
        0 => ("PASS", "good"),
        _ => ("NO RESULT", "warn"),
    }
}

/// The word of a comparison that was carried out, and whose cells passed.
fn comparison(run: &RunSummary) -> (&'static str, &'static str) {
    let decision = run.comparison.as_ref().and_then(|comparison| comparison.decision);
    match decision {
        Some(Decision::Same) => (Decision::Same.name(), "good"),
        Some(decision) => (decision.name(), "warn"),
        None => ("NO RESULT", "warn"),
    }
}

/// The verdict, and what the run is.
pub(super) fn head(run: &RunSummary) -> Markup {
    let (word, class) = word(run);
    let sign = if class == "good" { "\u{2713}" } else { "\u{2717}" };
    let lab = run.lab.as_deref().map_or_else(|| "unknown".into(), escape::plain);
    html! {
        header {
            h1.(class) { (sign) " " (word) }
            p { strong { (terminal::counts(run)) } }
            div.facts { ul {
                li { "started " (escape::line(&run.started)) }
                li { "s2lab " (escape::line(&run.s2lab)) }
                li { "lab " (lab) }
                li { "exit code " (run.exit) }
                li { "run " code { (escape::plain(&run.folder.display().to_string())) } }
            } }
            nav aria-label="Parts of this page" { ul {
                @for (id, name) in [("changes", "What changed"), ("matrix", "Scenarios by kernel"), ("promises", "Promises by kernel"), ("cells", "Cells"), ("types", "Colours")] {
                    li { a href=(format!("#{id}")) { (name) } }
                }
            } }
        }
    }
}

/// Sentences, each with links to its cells.
pub(super) fn sentences(sentences: &[Sentence<'_>], has: impl Fn(&Key) -> bool) -> Markup {
    html! {
        @if sentences.is_empty() { p { "Nothing that needs a look." } }
        ul.changes { @for Sentence { lead, what, cells } in sentences {
            li {
                (lead) @if let Some(what) = what { ": " strong { (escape::once(what, LONGEST_CHANGE)) } }
                @for ((key, remark), n) in cells.iter().take(MOST_KEYS).zip(0..) {
                    (if n == 0 { ": " } else { ", " })
                    @if has(key) { a href=(format!("#{key}")) { (key) } } @else { (key) }
                    @if let Some(remark) = remark { " (" (escape::once(remark, LONGEST_CHANGE)) ")" }
                }
                @if cells.len() > MOST_KEYS { " and " (cells.len() - MOST_KEYS) " more" }
            }
        } }
    }
}

/// What changed against the accepted reports, and what has no result.
pub(super) fn changes(run: &RunSummary) -> Markup {
    let keys: BTreeSet<_> = run.cells.iter().map(|cell| &cell.key).collect();
    html! {
        section id="changes" {
            h2 { "What changed" }
            (sentences(&outline::of_run_within(run, MOST_SENTENCES), |key| keys.contains(key)))
        }
    }
}

/// The half of a key that names a column: kernel and axes.
fn column(key: &Key) -> &str {
    key.as_str().split_once('@').map_or("", |(_, kernel)| kernel)
}

/// Returns names in their order, each once.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut known = BTreeSet::new();
    names.filter(|name| known.insert(*name)).collect()
}

pub(super) fn scenarios(run: &RunSummary) -> Markup {
    let kernels = distinct(run.cells.iter().map(|cell| column(&cell.key)));
    let scenarios = distinct(run.cells.iter().map(|cell| cell.key.scenario()));
    let cells: BTreeMap<_, _> =
        run.cells.iter().map(|cell| ((cell.key.scenario(), column(&cell.key)), cell)).collect();
    let rows = scenarios.iter().map(|scenario| {
        let cells = kernels.iter().map(|kernel| cells.get(&(*scenario, *kernel)).map(|cell| square(cell)));
        (html! { (scenario) }, cells.collect())
    });
    matrix("matrix", "Scenarios by kernel", &kernels, rows.collect())
}

fn square(cell: &CellSummary) -> Markup {
    let standing = cell.standing.as_ref().filter(|standing| !standing.is_fine()).map(standings::word);
    html! {
        a href=(format!("#{}", cell.key)) { (verdict(cell)) }
        @if cell.passed() { @if let Some(label) = &cell.label { br; span.dim { (escape::line(label)) } } }
        @if let Some(standing) = standing { br; strong.warn { (standing) } }
    }
}

fn matrix(id: &str, title: &str, columns: &[&str], rows: Vec<(Markup, Vec<Option<Markup>>)>) -> Markup {
    html! {
        section id=(id) {
            h2 { (title) }
            div.wide tabindex="0" { table {
                thead { tr { td {} @for column in columns { th scope="col" { (column) } } } }
                @for (name, cells) in rows {
                    tr {
                        th scope="row" { (name) }
                        @for cell in cells { td { @match cell { Some(cell) => (cell), None => span.dim { "\u{2013}" } } } }
                    }
                }
            } }
        }
    }
}

/// The state of a promise on a kernel, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PromiseState {
    /// A finding names it.
    Broken,
    /// A cell that checks it has failed, and names no promise.
    MayBeBroken,
    /// No cell that checks it has a result.
    Open,
    Kept,
}

impl PromiseState {
    fn of(promise: Promise, cell: &CellSummary) -> Self {
        let is_broken = cell.findings.iter().any(|finding| finding.promise == Some(promise));
        let names_one = cell.findings.iter().any(|finding| finding.promise.is_some());
        match &cell.verdict {
            Some(Verdict::Pass { .. }) => PromiseState::Kept,
            Some(Verdict::Fail | Verdict::Flaky) if is_broken => PromiseState::Broken,
            Some(Verdict::Fail | Verdict::Flaky) if !names_one => PromiseState::MayBeBroken,
            _ => PromiseState::Open,
        }
    }

    fn html(self) -> Markup {
        match self {
            PromiseState::Broken => html! { strong.bad { "\u{2717} broken" } },
            PromiseState::MayBeBroken => html! { strong.bad { "! may be broken" } },
            PromiseState::Open => html! { span.warn { "! not shown" } },
            PromiseState::Kept => html! { span.good { "\u{2713} kept" } },
        }
    }
}

/// The promises that the run's scenarios check. A cell that fails by one promise shows nothing about
/// the others.
pub(super) fn promises(run: &RunSummary) -> Markup {
    let kernels = distinct(run.cells.iter().map(|cell| column(&cell.key)));
    let checked: BTreeSet<_> = run.cells.iter().flat_map(|cell| cell.promises.iter().copied()).collect();
    let rows = Promise::all().filter(|(promise, _)| checked.contains(promise)).map(|(promise, sentence)| {
        let state = |kernel: &&str| {
            let cells = run.cells.iter();
            let cells = cells.filter(|cell| column(&cell.key) == *kernel && cell.promises.contains(&promise));
            let states: Vec<_> = cells.map(|cell| (PromiseState::of(promise, cell), cell)).collect();
            let (worst, cell) = states.iter().min_by_key(|(state, _)| *state)?;
            let n = states.iter().filter(|(state, _)| state == worst).count();
            Some(html! {
                a href=(format!("#{}", cell.key)) { (worst.html()) }
                @if n < states.len() { " " span.dim { (n) " of " (states.len()) } }
            })
        };
        (html! { (promise) " " span.dim { (sentence) } }, kernels.iter().map(state).collect())
    });
    matrix("promises", "Promises by kernel", &kernels, rows.collect())
}

/// The accepted reports whose cell the lab does not have.
pub(super) fn orphans(run: &RunSummary) -> Markup {
    html! {
        @if !run.orphaned.is_empty() {
            p { "Accepted reports without a cell in the lab: "
                @for (key, n) in run.orphaned.iter().zip(0..) { (if n == 0 { "" } else { ", " }) (key) }
            }
        }
    }
}

/// The cells in their order on the page.
pub(super) fn order(run: &RunSummary) -> Vec<&CellSummary> {
    outline::worst_first(run)
}
