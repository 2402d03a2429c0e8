//! The history as lines for a terminal.

use super::past::minute;
use s2lab_model::{
    escape,
    history::{Class, PastCell, Trend},
    verdict::Verdict,
};

/// The past of one cell.
#[derive(Debug)]
pub struct Row<'a> {
    pub trend: Trend<'a>,
    /// The runs of the cell, the oldest first.
    pub cells: &'a [PastCell],
}

const HEADING: [&str; 6] = ["LAST", "RUNS", "FLAKY", "LAST GOOD", "FIRST BAD", "KEY"];
/// The place of a time that there is none of.
const NONE: &str = "-";
const BELOW: &str = "         ";

/// A line a cell. Below a cell that is not good is the finding that leads.
pub fn lines(rows: &[Row<'_>]) -> String {
    let table: Vec<_> = [HEADING.map(str::to_owned)].into_iter().chain(rows.iter().map(columns)).collect();
    let width = |at: usize| table.iter().filter_map(|row| row.get(at)).map(String::len).max().unwrap_or(0);
    let [last, runs, flaky, good, bad] = [0, 1, 2, 3, 4].map(width);
    let mut out = String::new();
    let whys = std::iter::once(None).chain(rows.iter().map(why));
    for ([a, b, c, d, e, key], why) in table.iter().zip(whys) {
        out.push_str(&format!("{a:<last$}  {b:>runs$}  {c:>flaky$}  {d:<good$}  {e:<bad$}  {key}\n"));
        out.extend(why.map(|why| format!("{BELOW}{why}\n")));
    }
    out
}

fn columns(row: &Row<'_>) -> [String; 6] {
    let Trend { last, last_good, first_bad, flaky, .. } = &row.trend;
    let time = |cell: &Option<&PastCell>| cell.map_or(NONE.to_owned(), |cell| minute(&cell.run.started));
    [
        last.verdict.as_ref().map_or(NONE, Verdict::name).to_owned(),
        row.cells.len().to_string(),
        format!("{}%", flaky.percent()),
        time(last_good),
        time(first_bad),
        last.key.to_string(),
    ]
}

/// Returns the reason why the newest result is not good.
fn why(row: &Row<'_>) -> Option<String> {
    let last = row.trend.last;
    let skipped = match &last.verdict {
        Some(Verdict::Skip(reason)) => Some(escape::line(reason)),
        _ => None,
    };
    let lead = || last.lead.as_deref().map(|lead| escape::once(lead, escape::LONGEST));
    let not_run = || last.not_run.as_deref().map(|why| format!("not run: {}", escape::line(why)));
    if last.class() == Class::Good { None } else { skipped.or_else(lead).or_else(not_run) }
}
