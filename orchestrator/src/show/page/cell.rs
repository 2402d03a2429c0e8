//! A cell on the page: the verdict, what changed, findings, the address space, numbers, stages.

use super::{
    numbers::numbers,
    picture::pictures,
    timeline::{seconds, timeline},
};
use crate::show::{command, excerpt, outline, outline::Class, standings, terminal};
use maud::{Markup, html};
use s2lab_model::{
    escape,
    finding::Finding,
    lines::{Testimony, Text},
    plan::Key,
    report::{Outcome, Report, Standing},
    summary::{CellSummary, Stopped},
};
use std::{collections::BTreeMap, fmt::Display};

/// The most bytes of a cell, without its consoles.
pub(super) const MOST_BYTES: usize = 25 << 10;
/// The bytes that are kept for the heading and the notes about what has no room.
const ROOM_FOR_NOTES: usize = 4 << 10;
/// The most findings, and lines of evidence of each.
const MOST_FINDINGS: usize = 20;
const MOST_EVIDENCE: usize = 16;
/// The most lines of a part of a report, and of a diff.
const MOST_LINES: usize = 60;

/// The longest sentence about a change.
pub(super) const LONGEST_CHANGE: usize = 400;

/// The class of a cell's colour.
pub(super) fn class(cell: &CellSummary) -> &'static str {
    match Class::of(cell) {
        Class::Failed => "bad",
        Class::NoResult | Class::Open => "warn",
        Class::Fine if cell.skipped() => "dim",
        Class::Fine => "good",
    }
}

/// The sign and the word of a cell's verdict. A colour never stands alone.
pub(super) fn verdict(cell: &CellSummary) -> Markup {
    let sign = match class(cell) {
        "good" => "\u{2713}",
        "bad" => "\u{2717}",
        "dim" => "\u{2013}",
        _ => "!",
    };
    html! { strong.(class(cell)) { (sign) " " (terminal::word(cell)) } }
}

/// Returns a cell without the end of its element, where the consoles go.
pub(super) fn cell(cell: &CellSummary) -> Markup {
    let mut room = MOST_BYTES - ROOM_FOR_NOTES;
    let mut fit = |name: &str, part: Markup| fitting(&mut room, name, &cell.key, part);
    let changed = fit("what changed", changed(cell));
    let sides = ["the accepted report", "this run"];
    let space = space(cell.accepted.as_ref(), cell.report.as_ref(), sides);
    let pictures = fit("the address space", space);
    let findings = fit("the findings", findings(&cell.findings));
    let numbers = fit("the numbers", numbers(cell));
    let stages = fit("the stages", timeline(cell));
    let report = fit("the report", cell.report.as_ref().map(report).unwrap_or_default());
    html! {
        (heading(cell))
        (changed) (pictures) (findings)
        div.halves { div { (stages) } div { (numbers) } }
        (report)
    }
}

/// Returns a part of a cell, or a note if there is no room for it.
pub(super) fn fitting(room: &mut usize, name: &str, key: &Key, part: Markup) -> Markup {
    match room.checked_sub(part.0.len()) {
        Some(left) => {
            *room = left;
            part
        }
        None => {
            html! { p.dim { "There is no room for " (name) " here: " code { "s2lab report --cell " (key) } } }
        }
    }
}

fn heading(cell: &CellSummary) -> Markup {
    let why = terminal::why(cell);
    let hint =
        cell.stopped.as_ref().and_then(|Stopped { hint, .. }| hint.as_ref()).filter(|_| !cell.passed());
    html! {
        h3 { (verdict(cell)) " " a href=(format!("#{}", cell.key)) { (cell.key) } }
        @if let Some(why) = why { p { (why) @if let Some(broken) = terminal::broken(cell) { "; " (broken) } } }
        p.dim {
            @for fact in terminal::facts(cell) { (fact) " \u{b7} " }
            @if let Some(ms) = cell.elapsed_ms { (seconds(ms)) " \u{b7} " }
            @match &cell.standing {
                Some(standing) => { "against the accepted report: " (standings::word(standing)) }
                None => "not compared",
            }
        }
        @if let Some(known) = excerpt::known(cell) { p { "Tolerated, " (known) } }
        @if let Some(hint) = hint { p { "Hint: " (escape::line(hint)) } }
        @if !cell.repeat.is_empty() { p { "Repeat: " code { (command::repeat(cell).join(" ")) } } }
    }
}

/// The changes against the accepted report in sentences, and the lines that differ.
fn changed(cell: &CellSummary) -> Markup {
    let note = match &cell.standing {
        Some(Standing::Compared(Outcome::ShapeMoved { note, .. } | Outcome::NewWitness { note })) => {
            Some(note.clone())
        }
        Some(Standing::Compared(Outcome::NotComparable(facts))) => Some(outline::in_words(facts)),
        Some(Standing::Unreadable { why }) => Some(why.clone()),
        Some(Standing::Missing(gap)) => Some(standings::reason(gap)),
        _ => None,
    };
    let diff = match &cell.standing {
        Some(Standing::Compared(Outcome::Changed { diff, .. } | Outcome::ShapeMoved { diff, .. })) => diff,
        _ => "",
    };
    let changes = outline::changes(cell);
    html! {
        @if !changes.is_empty() {
            h4 { "Changed against the accepted report" }
            ul.changes { @for change in changes { li { (escape::once(&change.what, LONGEST_CHANGE)) } } }
        }
        @if let Some(note) = note { p { (escape::line(&note)) } }
        @if !diff.is_empty() {
            details { summary { "The lines that differ" } pre tabindex="0" { (diff_lines(diff)) } }
        }
    }
}

/// A unified diff. The signs at the beginning of the lines stay, so colour is not all.
fn diff_lines(diff: &str) -> Markup {
    let more = diff.lines().count().saturating_sub(MOST_LINES);
    html! {
        @for line in diff.lines().take(MOST_LINES) {
            @let text = escape::plain(line);
            @match line.as_bytes().first() {
                Some(b'+') => ins { (text) },
                Some(b'-') => del { (text) },
                _ => (text),
            }
            "\n"
        }
        @if more > 0 { "and " (more) " more lines" }
    }
}

fn findings(findings: &[Finding]) -> Markup {
    let more = findings.len().saturating_sub(MOST_FINDINGS);
    html! {
        @if !findings.is_empty() { h4 { "Findings" } }
        @for finding in findings.iter().take(MOST_FINDINGS) { (one_finding(finding)) }
        @if more > 0 { p { "and " (more) " more findings" } }
    }
}

fn one_finding(Finding { what, promise, expected, found, detail, .. }: &Finding) -> Markup {
    let more = detail.len().saturating_sub(MOST_EVIDENCE);
    html! {
        div.finding {
            strong { (escape::line(what)) }
            @if let Some(promise) = promise { " \u{b7} breaks " a href="#promises" { (promise) } }
            p { "expected " code { (escape::line(expected)) } ", found " code { (escape::line(found)) } }
            @if !detail.is_empty() {
                pre tabindex="0" {
                    @for line in detail.iter().take(MOST_EVIDENCE) { (escape::line(line)) "\n" }
                    @if more > 0 { "and " (more) " more lines" }
                }
            }
        }
    }
}

/// The guest's physical address space.
pub(super) fn space(old: Option<&Report>, new: Option<&Report>, sides: [&str; 2]) -> Markup {
    let pictures = pictures(old, new, sides);
    html! { @if !pictures.0.is_empty() { h4 { "Address space of the guest" } (pictures) } }
}

/// The parts of a report, folded.
fn report(report: &Report) -> Markup {
    html! {
        details { summary { "Witnesses" }
            dl { @for witness in &report.witnesses.lines {
                dt { (witness.name) } dd { (testimony(&witness.testimony)) }
            } }
        }
        (lines("Promised, as the report has it", &report.promised.lines))
        (lines("Shape", &report.shape.lines))
        (lines("Tables", &report.tables.lines))
        details { summary { "Environment" }
            (facts("blocking", &report.blocking)) (facts("variable", &report.variable))
        }
    }
}

fn testimony(testimony: &Testimony) -> Markup {
    html! {
        @match testimony {
            Testimony::Agrees => span.good { "\u{2713} agrees" },
            Testimony::Contradicts => strong.bad { "\u{2717} contradicts" },
            Testimony::Silent(why) => span.dim { "silent: " (why) },
        }
    }
}

fn lines<L: Display>(name: &str, lines: &[L]) -> Markup {
    let more = lines.len().saturating_sub(MOST_LINES);
    html! {
        @if !lines.is_empty() {
            details { summary { (name) }
                pre tabindex="0" {
                    @for line in lines.iter().take(MOST_LINES) { (line) "\n" }
                    @if more > 0 { "and " (more) " more lines" }
                }
            }
        }
    }
}

fn facts(kind: &str, facts: &BTreeMap<Text, Text>) -> Markup {
    html! {
        @if !facts.is_empty() {
            p.dim { (kind) }
            dl { @for (name, value) in facts.iter().take(MOST_LINES) { dt { (name) } dd { (value) } } }
        }
    }
}

/// Wraps a cell in its element, whose id is the key.
pub(super) fn article(key: &Key, class: &str, parts: &[Markup]) -> Markup {
    html! {
        article.(class) id=(key) { @for part in parts { (part) } }
    }
}
