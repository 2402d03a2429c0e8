//! A run or a diff as plain text for a mail to a list: what was tested, what was seen, what
//! emulation cannot show, and the commands that repeat it. See [`super::mail`] for the width.

use super::{
    command, excerpt,
    mail::{Mail, Piece},
    outline::{self, Class, Sentence},
    standings, terminal,
    tested::{self, Fact, TestedKernel},
};
use s2lab_model::{
    changes::{CellDiff, CellResult, DiffSummary},
    escape,
    finding::Finding,
    lines::{Range, Table},
    plan::Key,
    summary::{CellSummary, RunSummary},
};

/// The most cells that are listed, and the most whose tables are shown.
const MOST_CELLS: usize = 100;
const MOST_TABLES: usize = 6;
/// The most ranges of a table.
const MOST_RANGES: usize = 12;
/// The most findings of a cell, and the most changes.
const MOST_FINDINGS: usize = 8;
/// The most kernels whose facts are listed.
const MOST_KERNELS: usize = 20;
/// The most commands.
const MOST_COMMANDS: usize = 8;
/// The most cells that a sentence names.
const MOST_KEYS: usize = 8;

const EMULATION: &str = "The hosts ran in QEMU's TCG: it shows the page tables and the types, permissions and \
    counts of accesses as the architecture defines them, but it does not merge writes, speculate or reorder, \
    so nothing here is about speed.";

/// Returns a run as the text of a mail.
pub fn run(run: &RunSummary) -> String {
    let mut mail = Mail::default();
    let cells = outline::worst_first(run);
    let started =
        format!("Tested with s2lab {} on emulated arm64 hosts, from {} on.", run.s2lab, run.started);
    mail.text("", "", &started);
    mail.text("", "", &format!("{}.", terminal::counts(run)));
    sentences(&mut mail, &outline::of_run(run));
    tested(&mut mail, run);
    seen(&mut mail, &cells, run);
    tables(&mut mail, &cells);
    section(&mut mail, "Limits:");
    mail.text("  ", "  ", EMULATION);
    commands(&mut mail, &cells);
    trailers(&mut mail, run);
    mail.into_text()
}

/// Returns a diff as the text of a mail.
pub fn diff(diff: &DiffSummary) -> String {
    let mut mail = Mail::default();
    mail.line(
        "",
        "",
        &[
            Piece::Text("s2lab compared"),
            Piece::Whole(&diff.old),
            Piece::Text("with"),
            Piece::Whole(&diff.new),
        ],
    );
    let same = diff.cells.iter().filter(|cell| cell.result == CellResult::Same).count();
    mail.text("", "", &format!("{}, of which {same} are the same.", outline::cells(diff.cells.len())));
    sentences(&mut mail, &outline::of_diff(diff));
    section(&mut mail, "Different:");
    let apart = diff.cells.iter().filter(|cell| cell.result != CellResult::Same);
    let apart: Vec<_> = apart.collect();
    apart.iter().take(MOST_CELLS).for_each(|cell| different(&mut mail, cell));
    more(&mut mail, "  ", apart.len(), MOST_CELLS, "cells");
    if apart.is_empty() {
        mail.text("  ", "  ", "none");
    }
    section(&mut mail, "Limits:");
    mail.text("  ", "  ", EMULATION);
    mail.into_text()
}

fn section(mail: &mut Mail, title: &str) {
    mail.blank();
    mail.text("", "", title);
}

/// Writes that some of `all` were left out, if more than `most` are there.
fn more(mail: &mut Mail, indent: &str, all: usize, most: usize, what: &str) {
    if let Some(cut @ 1..) = all.checked_sub(most) {
        mail.text(indent, indent, &format!("and {cut} more {what}"));
    }
}

fn sentences(mail: &mut Mail, sentences: &[Sentence<'_>]) {
    if !sentences.is_empty() {
        mail.blank();
    }
    for Sentence { lead, what, cells } in sentences {
        let what = what.as_ref().map(|what| format!(": {what}")).unwrap_or_default();
        mail.text("- ", "  ", &format!("{lead}{what}"));
        for (key, remark) in cells.iter().take(MOST_KEYS) {
            mail.line("    ", "      ", &named(key, remark.as_deref()));
        }
        more(mail, "    ", cells.len(), MOST_KEYS, "cells");
    }
}

fn named<'a>(key: &'a Key, remark: Option<&'a str>) -> Vec<Piece<'a>> {
    [Piece::Whole(key.as_str())].into_iter().chain(remark.map(Piece::Text)).collect()
}

/// Writes the kernels, with their trees and series.
fn tested(mail: &mut Mail, run: &RunSummary) {
    section(mail, "Tested:");
    let kernels = tested::kernels(run);
    for TestedKernel { name, facts } in kernels.iter().take(MOST_KERNELS) {
        mail.line("  ", "    ", &[Piece::Whole(name)]);
        for Fact { name, text, is_whole } in facts {
            let piece = if *is_whole { Piece::Whole(text) } else { Piece::Text(text) };
            mail.line(&format!("    {name}: "), "      ", &[piece]);
        }
    }
    more(mail, "  ", kernels.len(), MOST_KERNELS, "kernels");
}

/// Writes a line a cell, and the findings of those that failed.
fn seen(mail: &mut Mail, cells: &[&CellSummary], run: &RunSummary) {
    section(mail, "Seen; in brackets the comparison with the accepted report:");
    for cell in cells.iter().take(MOST_CELLS) {
        of_cell(mail, cell);
    }
    more(mail, "  ", cells.len(), MOST_CELLS, "cells, which are not worse than these");
    for key in &run.orphaned {
        mail.line("  orphaned ", "           ", &named(key, Some("accepted, but the lab has no such cell")));
    }
}

fn of_cell(mail: &mut Mail, cell: &CellSummary) {
    const REST: &str = "           ";
    let first = format!("  {:<8} ", terminal::word(cell));
    let class = Class::of(cell);
    let facts = match class {
        Class::Failed | Class::NoResult => String::new(),
        Class::Open | Class::Fine => terminal::why(cell).unwrap_or_else(|| terminal::facts(cell).join(", ")),
    };
    let accepted = match &cell.standing {
        Some(_) if outline::is_known_failure(cell) => "(as accepted, not new)".to_owned(),
        Some(standing) if class != Class::NoResult => format!("({})", standings::word(standing)),
        _ => String::new(),
    };
    mail.line(&first, REST, &[Piece::Whole(cell.key.as_str()), Piece::Text(&facts), Piece::Text(&accepted)]);
    match class {
        Class::Failed if !cell.findings.is_empty() => findings(mail, &cell.findings),
        Class::Failed | Class::NoResult => {
            terminal::why(cell).iter().for_each(|why| mail.text(REST, REST, why))
        }
        Class::Open | Class::Fine => {}
    }
    excerpt::known(cell).iter().for_each(|known| mail.text(REST, REST, known));
    let changes = outline::changes(cell);
    for change in changes.iter().take(MOST_FINDINGS) {
        mail.text("           - ", "             ", &change.what);
    }
    more(mail, REST, changes.len(), MOST_FINDINGS, "changes");
}

/// Writes what was expected, and what was found.
fn findings(mail: &mut Mail, findings: &[Finding]) {
    for Finding { what, promise, expected, found, .. } in findings.iter().take(MOST_FINDINGS) {
        let promise = promise.map(|promise| format!(" (promise {promise})")).unwrap_or_default();
        mail.text("           ", "             ", &format!("{}{promise}:", escape::line(what)));
        mail.text("             expected ", "               ", &escape::line(expected));
        mail.text("             found    ", "               ", &escape::line(found));
    }
    more(mail, "           ", findings.len(), MOST_FINDINGS, "findings");
}

/// Writes the stage-2 leaves of the devices: of the cells that are not fine, or of the first ones.
fn tables(mail: &mut Mail, cells: &[&CellSummary]) {
    let with: Vec<_> = cells
        .iter()
        .filter(|cell| cell.report.as_ref().is_some_and(|report| has_ranges(&report.tables.lines)))
        .collect();
    let open = with.iter().filter(|cell| Class::of(cell) != Class::Fine).count();
    let shown = if open == 0 { with.len() } else { open };
    if with.is_empty() {
        return;
    }
    section(mail, "Leaves of the BAR in stage 2:");
    for cell in with.iter().take(shown.min(MOST_TABLES)) {
        mail.line("  ", "    ", &[Piece::Whole(cell.key.as_str())]);
        cell.report.iter().for_each(|report| table(mail, &report.tables.lines));
    }
    more(mail, "  ", shown, MOST_TABLES, "cells: s2lab tables KEY");
}

fn has_ranges(lines: &[Table]) -> bool {
    lines.iter().any(|line| matches!(line, Table::Range(_)))
}

fn table(mail: &mut Mail, lines: &[Table]) {
    let mut ranges = 0;
    for line in lines {
        match line {
            Table::Look(look) => mail.text("    ", "      ", &look.to_string()),
            Table::Range(range) => {
                ranges += 1;
                if ranges <= MOST_RANGES {
                    mail.aligned("      ", "        ", &self::range(range));
                }
            }
            Table::MoreRanges(n) => {
                mail.text("      ", "      ", &format!("and {n} more ranges in the report"))
            }
            Table::Ram(_) | Table::MoreRam(_) => {}
        }
    }
    more(mail, "      ", ranges, MOST_RANGES, "ranges");
}

/// `nic +0x0..0x200000  1 x 2M  Normal-NC rw never-exec SH inner AF`
fn range(range: &Range) -> String {
    let Range { area, place, leaves, .. } = range;
    let place = place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
    let attributes = leaves.attributes.to_string().replace("stage2 ", "").replace("  ", " ");
    format!("{area}{place}  {} x {}  {attributes}", leaves.count, leaves.size)
}

/// Writes the commands that repeat cells: those that are not fine, or all.
fn commands(mail: &mut Mail, cells: &[&CellSummary]) {
    let open: Vec<_> = cells.iter().filter(|cell| Class::of(cell) != Class::Fine).copied().collect();
    let shown = if open.is_empty() { cells } else { &open };
    if shown.is_empty() {
        return;
    }
    section(mail, "To repeat:");
    for cell in shown.iter().take(MOST_COMMANDS) {
        mail.command("  ", "      ", &command::repeat(cell));
    }
    more(mail, "  ", shown.len(), MOST_COMMANDS, "cells, each by `s2lab run KEY` with the same kernel");
}

/// Writes the tag that fits the result, and links. Only a person can sign.
fn trailers(mail: &mut Mail, run: &RunSummary) {
    const PERSON: &str = "[your name and address, if you agree]";
    let any = |is: fn(&CellSummary) -> bool| run.cells.iter().any(is);
    let has_failed = any(|cell| Class::of(cell) == Class::Failed && !outline::is_known_failure(cell));
    let is_open = any(|cell| Class::of(cell) == Class::NoResult || outline::has_changed(cell));
    let tag = match () {
        () if has_failed => Some("Reported-by"),
        () if run.exit == 0 && !is_open => Some("Tested-by"),
        () => None,
    };
    let links = tested::links(run);
    if tag.is_some() || !links.is_empty() {
        mail.blank();
    }
    tag.iter().for_each(|tag| mail.text("", "", &format!("{tag}: {PERSON}")));
    links.iter().for_each(|link| mail.line("Link: ", "      ", &[Piece::Whole(link)]));
}

fn different(mail: &mut Mail, cell: &CellDiff) {
    let CellDiff { old, new, result, .. } = cell;
    let key = if old == new {
        vec![Piece::Whole(new.as_str())]
    } else {
        vec![Piece::Whole(old.as_str()), Piece::Text("to"), Piece::Whole(new.as_str())]
    };
    mail.line("  ", "    ", &key);
    match result {
        CellResult::Same => {}
        CellResult::Differs(changes) => {
            for change in changes.iter().take(MOST_FINDINGS) {
                mail.text("    - ", "      ", &change.what);
            }
            more(mail, "    ", changes.len(), MOST_FINDINGS, "changes");
        }
        CellResult::NotComparable(facts) => {
            mail.text("    not comparable: ", "      ", &outline::in_words(facts))
        }
    }
}

#[cfg(test)]
mod tests;
