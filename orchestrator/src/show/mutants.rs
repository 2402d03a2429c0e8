//! Mutants as lines: those of a run, and those that are listed.

use super::answer::MutantEntry;
use s2lab_model::{
    escape,
    judge::JudgedMutants,
    mutants::{MutantOutcome, MutantRun, NONE, Unmutated, kernel},
    plan::Key,
    summary::{CellSummary, RunSummary},
};

/// The columns of a mutant: base, name, what it breaks, the word.
type Row = [String; 4];

/// The lines of a run on mutants: the kernels without a mistake, then each mutant, then the number of
/// mutants by their outcomes.
pub fn lines(run: &RunSummary, mutants: &JudgedMutants) -> String {
    let unmutated = mutants.unmutated.iter().map(|one| (unmutated_row(one), below_unmutated(run, one)));
    let rows = mutants.mutants.iter().map(|one| (row(one), below(run, one)));
    let rows: Vec<_> = unmutated.chain(rows).collect();
    let width = |at: usize| rows.iter().map(|(row, _)| row[at].len()).max().unwrap_or_default();
    let widths: [usize; 4] = std::array::from_fn(width);
    let mut text = String::new();
    for (row, below) in &rows {
        let columns = row.iter().zip(widths).map(|(column, width)| format!("{column:<width$}"));
        text.push_str(columns.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
        below.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
    }
    text + &counts(mutants)
}

fn row(run: &MutantRun) -> Row {
    let mutant = &run.planned.mutant;
    let word = run.outcome.word().to_owned();
    [run.planned.base.clone(), mutant.name.clone(), mutant.breaks.to_string(), word]
}

fn unmutated_row(one: &Unmutated) -> Row {
    [one.base.clone(), NONE.to_owned(), "-".to_owned(), one.word().to_owned()]
}

/// The first finding of the cell that decides, or the reason why there is none.
fn below(run: &RunSummary, mutant: &MutantRun) -> Vec<String> {
    let cell = mutant.outcome.cell().and_then(|key| find(run, key));
    match &mutant.outcome {
        MutantOutcome::CannotShow(why) => vec![escape::line(why)],
        MutantOutcome::Unrelated(_, promise) => {
            [format!("breaks {promise}, which it should not")].into_iter().chain(first(cell)).collect()
        }
        MutantOutcome::Survived => {
            let scenarios: Vec<_> = mutant.cells.iter().map(Key::scenario).collect();
            vec![format!("passed: {}", scenarios.join(" "))]
        }
        MutantOutcome::NotJudged(None) => vec!["no scenario holds up what it breaks".to_owned()],
        _ => first(cell),
    }
}

fn below_unmutated(run: &RunSummary, one: &Unmutated) -> Vec<String> {
    first(one.failed.as_ref().and_then(|key| find(run, key)))
}

/// The scenario, the promise and the first finding of a cell.
fn first(cell: Option<&CellSummary>) -> Vec<String> {
    let Some(cell) = cell else { return vec![] };
    let promise = cell.lead().and_then(|finding| finding.promise);
    let promise = promise.map(|promise| format!("{promise}, ")).unwrap_or_default();
    let line = cell.lead_line().unwrap_or_else(|| match &cell.verdict {
        Some(verdict) => verdict.cause().to_owned(),
        None => "not run".to_owned(),
    });
    vec![format!("{}: {promise}{line}", cell.key.scenario())]
}

fn find<'a>(run: &'a RunSummary, key: &Key) -> Option<&'a CellSummary> {
    run.cells.iter().find(|cell| cell.key == *key)
}

/// The number of mutants by their outcomes.
fn counts(mutants: &JudgedMutants) -> String {
    let mut counts: Vec<(&str, usize)> = vec![];
    for run in &mutants.mutants {
        let word = run.outcome.word();
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, n)) => *n += 1,
            None => counts.push((word, 1)),
        }
    }
    let parts: Vec<_> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let all = mutants.mutants.len();
    format!("{all} mutant{}: {}", if all == 1 { "" } else { "s" }, parts.join(", "))
}

/// The lines of mutants that were not run.
pub fn listed(mutants: &[MutantEntry]) -> String {
    let width = |of: &dyn Fn(&MutantEntry) -> usize| mutants.iter().map(of).max().unwrap_or_default();
    let names = width(&|one| kernel(&one.kernel, &one.name).len());
    let areas = width(&|one| one.area.len());
    let breaks = width(&|one| one.breaks.len());
    let line = |one: &MutantEntry| {
        let kernel = kernel(&one.kernel, &one.name);
        let below = match &one.cannot_show {
            Some(why) => format!("cannot be shown: {}", escape::line(why)),
            None if one.scenarios.is_empty() => "no scenario holds up what it breaks".to_owned(),
            None => one.scenarios.join(" "),
        };
        let about = escape::line(&one.about);
        format!(
            "{kernel:<names$}  {:<areas$}  {:<breaks$}  {about}\n    {below}\n",
            escape::line(&one.area),
            one.breaks
        )
    };
    mutants.iter().map(line).collect()
}
