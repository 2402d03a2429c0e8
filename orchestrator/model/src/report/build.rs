//! Conversion of a judged attempt to its report.

use super::Report;
use crate::escape;
use crate::finding::Finding;
use crate::judge::{JudgedAttempt, JudgedCell, Judgement, difference, endings};
use crate::lines::{FindingLine, Further, LONGEST_PART, Number, Part, Text, Word};
use crate::lines::{Testimony, Witness};
use crate::measures::{Boot, Measure};
use crate::record::{Environment, Record, environment};
use crate::statistics;
use crate::verdict::Verdict;
use std::collections::BTreeMap;

/// The most facts of each kind. Each takes two texts of [`escape::LONGEST`].
const MOST_FACTS: usize = LONGEST_PART / 2 / (3 * escape::LONGEST);

impl Report {
    /// The report of a cell: that of its last attempt, with the verdict on all, how each ended, and
    /// the numbers of all. None if there is no verdict, or no attempt.
    pub fn of_cell(cell: &JudgedCell) -> Option<Report> {
        let (verdict, attempt) = (cell.verdict.as_ref()?, cell.attempts.last()?);
        let mut report = Report { verdict: Text::new(&verdict.to_string()), ..Report::of(attempt) };
        let mut findings = attempt.judgement.findings.clone();
        if *verdict == Verdict::Flaky {
            findings.insert(0, difference(cell));
        }
        findings.splice(..0, cell.damage.clone());
        report.findings = self::findings(&findings, Some(verdict));
        report.numbers = numbers(attempt, cell.attempts.iter().map(|attempt| &attempt.record));
        if let Some(how) = endings(cell.verdicts()) {
            let text = format!("{}: {how}", cell.attempts.len());
            report.variable.insert(Text::new(environment::ATTEMPTS), Text::new(&text));
        }
        Some(report)
    }

    pub fn of(attempt: &JudgedAttempt) -> Report {
        let JudgedAttempt { record, judgement, account } = attempt;
        let verdict =
            judgement.verdict.as_ref().map_or_else(|| "no verdict (interrupted)".into(), Verdict::to_string);
        let Environment { blocking, mut variable } = record.environment();
        let said = judgement.variable.iter();
        variable.extend(said.map(|(name, testimony)| ((*name).to_owned(), testimony.to_string())));
        Report {
            key: record.planned.key.clone(),
            verdict: Text::new(&verdict),
            promises: record.planned.resolved.promises.clone(),
            findings: findings(&judgement.findings, judgement.verdict.as_ref()),
            promised: account.promised.clone(),
            witnesses: witnesses(judgement),
            shape: account.shape.clone(),
            tables: account.tables.clone(),
            numbers: numbers(attempt, [record]),
            blocking: facts(&blocking),
            variable: facts(&variable),
        }
    }
}

/// Returns the lines of the findings. A deadline that passed while the lab was healthy is about the
/// kernel.
fn findings(findings: &[Finding], verdict: Option<&Verdict>) -> Part<FindingLine> {
    let is_timeout = matches!(verdict, Some(Verdict::Timeout(_)));
    let lines = |finding: &Finding| lines(finding, !finding.weight.is_kernel() && !is_timeout);
    Part::new(findings.iter().flat_map(lines).collect(), FindingLine::compares)
}

fn lines(finding: &Finding, lab: bool) -> Vec<FindingLine> {
    let Finding { what, promise, expected, found, detail, .. } = finding;
    let lines = [
        FindingLine::What { what: Text::new(what), promise: *promise, lab },
        FindingLine::Expected(Text::new(expected)),
        FindingLine::Found(Text::new(found)),
    ];
    lines.into_iter().chain(detail.iter().map(|text| FindingLine::Evidence(Text::new(text)))).collect()
}

fn witnesses(judgement: &Judgement) -> Part<Witness> {
    let line = |(name, testimony): &(&str, Testimony)| {
        let (name, testimony) = (Word::new(name), testimony.clone());
        Witness { name, testimony }
    };
    Part::new(judgement.witnesses.iter().map(line).collect(), |_| true)
}

/// The sizes of what looks at the host have seen in `last`, and the samples of measures, boot by boot. They say nothing
/// under emulation, and decide nothing anywhere. Without any of them there is no line.
fn numbers<'a>(last: &JudgedAttempt, records: impl IntoIterator<Item = &'a Record>) -> Part<Number> {
    let records: Vec<_> = records.into_iter().collect();
    let emulated = records.iter().any(|record| record.is_emulated());
    let measures = Measure::all(records);
    let sizes = &last.account.numbers;
    let head = (!measures.is_empty() || !sizes.is_empty()).then_some(Number::Head { emulated });
    let all = head.into_iter().chain(sizes.iter().cloned()).chain(measures.iter().flat_map(of_measure));
    Part::new(all.collect(), |_| false)
}

fn of_measure(Measure { step, name, boots }: &Measure) -> impl Iterator<Item = Number> {
    boots.iter().filter_map(|Boot { number: boot, samples }| {
        let interval = statistics::median_interval(samples);
        let samples = statistics::summary(samples)?;
        Some(Number::Measure { step: *step, name: Word::new(name), boot: *boot, samples, interval })
    })
}

/// Returns the facts. `=` separates names from values, so names lose it.
fn facts(facts: &BTreeMap<String, String>) -> BTreeMap<Text, Text> {
    let escaped =
        |(name, value): (&String, &String)| (Text::new(&name.replace('=', "\u{ff1d}")), Text::new(value));
    let mut shown: BTreeMap<_, _> = facts.iter().take(MOST_FACTS).map(escaped).collect();
    if facts.len() > MOST_FACTS {
        let rest = facts.iter().skip(MOST_FACTS).map(|(name, value)| format!("{name}={value}"));
        let rest = Further::of(&rest.collect::<Vec<_>>()).to_string();
        shown.insert(Text::new("further facts"), Text::new(&rest));
    }
    shown
}
