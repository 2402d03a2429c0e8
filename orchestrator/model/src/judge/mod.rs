//! The judgement of a record. Nothing passes by default. A pass needs the final record, every
//! observation in the plan, every expectation met on something that exists, and no witness against
//! it.

pub(crate) mod account;
mod agreement;
mod alarms;
mod attempts;
mod attributes;
mod completeness;
mod consoles;
mod damage;
mod expectations;
mod freed;
mod host_looks;
pub(crate) mod isolation;
mod leaves;
mod live;
mod resets;
mod run;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use crate::event::{CellEnd, StopCause};
use crate::finding::{Finding, Subject, Weight};
use crate::kernel::Trait;
use crate::lines::{Testimony, Text};
use crate::record::Record;
use crate::record::after_reset::Remainder;
use crate::record::host_look::DecodedHostLook;
use crate::record::look::DecodedLook;
use crate::verdict::Verdict;
use crate::witnesses::{self, Hearing, Scene, Testimonies};
use std::collections::BTreeSet;

pub use account::Account;
pub(crate) use attempts::difference;
pub use attempts::{another, endings};
pub(crate) use expectations::CONTROL_FINDING;
pub use expectations::{Alternative, expected};
pub use live::LiveRun;
pub use run::{JudgedAttempt, JudgedCell, JudgedMutants, JudgedRun, judge_run};

/// The judgement of one attempt, and its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict. None: the attempt was interrupted.
    pub verdict: Option<Verdict>,
    /// The findings, the most severe first.
    pub findings: Vec<Finding>,
    /// The alternative of the expectations that was applied: `wc-honoured`, `before the series`.
    /// None for a scenario without alternatives.
    pub label: Option<String>,
    /// The sets of traits that fit the alternative that was met; empty unless one was.
    pub fits: Vec<BTreeSet<Trait>>,
    /// Each witness by its name and what it said, in a fixed order.
    pub witnesses: Vec<(&'static str, Testimony)>,
    /// Those that are not compared: it depends on QEMU or on the machine if they speak.
    pub variable: Vec<(&'static str, Testimony)>,
}

/// The most findings of one attempt.
const MOST_FINDINGS: usize = 200;

/// Returns the findings without the promises that the scenario does not check.
fn held_up(record: &Record, findings: Vec<Finding>) -> Vec<Finding> {
    let promises = &record.planned.resolved.promises;
    let of = |finding: Finding| {
        let promise = finding.promise.filter(|promise| promises.contains(promise));
        Finding { promise, ..finding }
    };
    findings.into_iter().map(of).collect()
}

/// Returns the most severe findings first, and the number of the others.
fn weighed(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.weight);
    if let Some(more @ 1..) = findings.len().checked_sub(MOST_FINDINGS)
        && let Some(Finding { weight, .. }) = findings.get(MOST_FINDINGS)
    {
        let weight = *weight;
        findings.truncate(MOST_FINDINGS);
        let found = format!("{more} more");
        findings.push(Finding::new(weight, Subject::cell(), "findings", "none", found));
    }
    findings
}

/// The decoded looks of an attempt, and the results of the rules of isolation.
struct LookResults {
    looks: Vec<DecodedLook>,
    /// The result for each look.
    isolation: Vec<isolation::Isolation>,
    resets: Vec<Remainder>,
    hosts: Vec<DecodedHostLook>,
}

/// Judges one attempt. `interrupted` is true if the run was, so that an attempt without an end is
/// not LOST.
fn judge(record: &Record, shown: &LookResults, interrupted: bool) -> Judgement {
    let looks = &shown.looks;
    let mut findings = alarms::findings(record, looks);
    let by_end = match &record.end {
        Some(CellEnd::Complete) => return complete(record, shown, findings),
        Some(CellEnd::Kept) => return kept(complete(record, shown, findings)),
        None if interrupted => None,
        None => Some(Verdict::Lost),
        Some(CellEnd::Stopped { stage, cause, what, hint }) => {
            let weight = if *cause == StopCause::Kernel { Weight::Kernel } else { Weight::Lab };
            let verdict = match cause {
                StopCause::Kernel => Some(Verdict::Fail),
                StopCause::Timeout => Some(Verdict::Timeout(*stage)),
                StopCause::Scenario => Some(Verdict::Error),
                StopCause::Lab => Some(Verdict::Miss),
                StopCause::Lacking => Some(Verdict::Skip(what.clone())),
                StopCause::Interrupted => None,
            };
            let what_of = format!("stage {stage}");
            let finding = Finding::new(weight, Subject::cell(), what_of, "done", what).with(hint.clone());
            findings.push(finding);
            verdict
        }
    };
    findings.extend(witnesses::ALL.iter().flat_map(|witness| witness.early(record)));
    // Findings of the kernel count, whatever the end of the attempt: a panic makes QEMU exit, an
    // oops makes it hang.
    let kernel = findings.iter().any(|finding| finding.weight == Weight::Kernel);
    let verdict = by_end.map(|verdict| if kernel { Verdict::Fail } else { verdict });
    let findings = weighed(held_up(record, findings));
    let silent = Testimony::Silent(Text::new("the cell did not complete"));
    let Testimonies { fixed, variable } = witnesses::testimonies(record, |_| silent.clone());
    Judgement { verdict, findings, label: None, fits: vec![], witnesses: fixed, variable }
}

/// Without the final record nothing passes, even by rules that are newer than the run.
fn kept(mut judgement: Judgement) -> Judgement {
    if matches!(judgement.verdict, Some(Verdict::Pass { .. })) {
        judgement.verdict = Some(Verdict::Lost);
        let found = "none: the host was kept for a person";
        let finding = Finding::new(Weight::Lab, Subject::cell(), "the final record", "there", found);
        judgement.findings.push(finding);
    }
    judgement
}

fn complete(record: &Record, shown: &LookResults, mut findings: Vec<Finding>) -> Judgement {
    let LookResults { looks, isolation, resets, hosts } = shown;
    let missing = completeness::findings(record, looks, isolation, hosts);
    let seen = expectations::Looks { guests: looks, hosts };
    let met = match record.planned.resolved.inverted {
        true => expectations::evaluate_inverted(record, seen, missing.is_empty()),
        false => expectations::evaluate(record, seen, missing.is_empty()),
    };
    let scene = Scene { record, looks };
    let mut contradictions = vec![];
    let Testimonies { fixed: witnesses, variable } = witnesses::testimonies(record, |witness| {
        let Hearing { testimony, findings } = witness.hear(&scene);
        contradictions.extend(findings);
        testimony
    });
    let foreign =
        isolation::findings(record, looks, isolation).into_iter().chain(host_looks::findings(hosts));
    let attributes = attributes::findings(record, looks, &met.findings);
    // A foreign page is more severe than a wrong type.
    findings.extend(missing.into_iter().chain(foreign).chain(met.findings).chain(attributes));
    findings.extend(contradictions);
    findings.extend(resets::findings(record, resets));
    findings.extend(consoles::findings(record));
    findings.extend(freed::finding(record));
    let findings = weighed(held_up(record, findings));
    let verdict = match findings.first() {
        Some(finding) => finding.verdict(),
        None => Verdict::Pass { as_: met.label.clone() },
    };
    Judgement { verdict: Some(verdict), findings, label: met.label, fits: met.fits, witnesses, variable }
}
