//! The judgement: what a record is worth. Nothing passes by default: a pass needs the final record, every observation that
//! the plan asks for, every expectation met on something that was there, and no witness against it.

mod agreement;
mod alarms;
mod attempts;
mod completeness;
mod consoles;
mod emulation;
mod expectations;
mod isolation;
mod live;
mod placement;
mod probe;
mod resets;
mod run;
mod taint;
mod vmas;
mod witnesses;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use crate::event::{CellEnd, StopCause};
use crate::kernel::Trait;
use crate::record::Record;
use crate::record::after_reset::Left;
use crate::record::look::Decoded;
use crate::scenario::Promise;
use crate::verdict::Verdict;
use std::collections::BTreeSet;

pub use attempts::{another, endings};
pub(crate) use expectations::effective_name;
pub use expectations::{Alternative, expected};
pub(crate) use isolation::Isolation;
pub use live::LiveRun;
pub(crate) use probe::{ending_name, map_name};
pub use run::{JudgedAttempt, JudgedCell, JudgedRun, judge_run};
pub use witnesses::{Testimony, Witness};

/// What is said of one attempt, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// `None`: interrupted, so nothing is said.
    pub verdict: Option<Verdict>,
    /// The weightiest first.
    pub findings: Vec<Finding>,
    /// Which alternative of the expectations was applied: `wc-honoured`, `before the series`; none for a scenario without.
    pub label: Option<String>,
    /// The sets of traits with which the alternative goes together that was met; empty unless one was.
    pub fits: Vec<BTreeSet<Trait>>,
    /// Each witness and what it said, in a fixed order; empty unless the attempt is complete.
    pub witnesses: Vec<(Witness, Testimony)>,
}

/// Something that is not as it should be. Its texts may come from a guest; whoever shows them escapes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    /// What it is about and where: `stage2 of nic at look stored, guest g0`.
    pub what: String,
    pub expected: String,
    pub found: String,
    /// Evidence that may differ from run to run: console lines, addresses.
    pub detail: Vec<String>,
    /// The promise that it breaks, if it is another than those of the scenario; `what` names it.
    pub breaks: Option<Promise>,
}

/// Whose fault a finding is, in the order in which they decide the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The kernel's, whatever the tables say: FAIL.
    Kernel,
    /// The CPU or QEMU contradicts the walk, so nothing that rests on the walk counts: MISS.
    Doubt,
    /// The kernel's, as the tables show: FAIL.
    Tables,
    /// The lab's: something that should have been observed was not: MISS.
    Lab,
    /// Nobody's: this QEMU cannot show what is expected: SKIP.
    Lacking,
}

/// Most lines of evidence of one finding.
const MOST_DETAIL: usize = 64;
/// Most findings of one attempt.
const MOST_FINDINGS: usize = 200;

/// The weightiest findings first, and a word about those that are too many.
fn weighed(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.weight);
    if let Some(more @ 1..) = findings.len().checked_sub(MOST_FINDINGS)
        && let Some(Finding { weight, .. }) = findings.get(MOST_FINDINGS)
    {
        let weight = *weight;
        findings.truncate(MOST_FINDINGS);
        findings.push(Finding::new(weight, "findings", "none", format!("{more} more")));
    }
    findings
}

impl Finding {
    fn new(
        weight: Weight,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Finding {
        Finding {
            weight,
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
            detail: vec![],
            breaks: None,
        }
    }

    fn with(mut self, detail: impl IntoIterator<Item = String>) -> Finding {
        let mut detail = detail.into_iter();
        let room = MOST_DETAIL.saturating_sub(self.detail.len());
        self.detail.extend(detail.by_ref().take(room));
        if let more @ 1.. = detail.count() {
            self.detail.push(format!("... and {more} more"));
        }
        self
    }

    fn verdict(&self) -> Verdict {
        match self.weight {
            Weight::Kernel | Weight::Tables => Verdict::Fail,
            Weight::Doubt | Weight::Lab => Verdict::Miss,
            Weight::Lacking => Verdict::Skip(self.found.clone()),
        }
    }
}

/// What was decoded of an attempt, and what the rules of isolation say of it.
struct Shown {
    looks: Vec<Decoded>,
    /// Of each look.
    isolation: Vec<Isolation>,
    resets: Vec<Left>,
}

/// Judges one attempt. `interrupted`: the run was, so that an attempt without an end is not LOST.
fn judge(record: &Record, shown: &Shown, interrupted: bool) -> Judgement {
    let looks = &shown.looks;
    let mut findings = alarms::findings(record, looks);
    findings.extend(completeness::bytes(record));
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
            findings.push(Finding::new(weight, format!("stage {stage}"), "done", what).with(hint.clone()));
            findings.extend(taint::bits(record));
            verdict
        }
    };
    // What was seen of the kernel counts, however the attempt ended: a panic makes QEMU exit, an oops makes it hang.
    let kernel = findings.iter().any(|finding| finding.weight == Weight::Kernel);
    let verdict = by_end.map(|verdict| if kernel { Verdict::Fail } else { verdict });
    Judgement { verdict, findings: weighed(findings), label: None, fits: vec![], witnesses: vec![] }
}

/// Without the final record nothing passes, were it by rules that are newer than the run.
fn kept(mut judgement: Judgement) -> Judgement {
    if matches!(judgement.verdict, Some(Verdict::Pass { .. })) {
        judgement.verdict = Some(Verdict::Lost);
        let found = "none: the host was kept for a person";
        judgement.findings.push(Finding::new(Weight::Lab, "the final record", "there", found));
    }
    judgement
}

fn complete(record: &Record, shown: &Shown, mut findings: Vec<Finding>) -> Judgement {
    let Shown { looks, isolation, resets } = shown;
    let missing = completeness::findings(record, looks);
    let met = expectations::evaluate(record, looks, missing.is_empty());
    let (witnesses, contradictions) = witnesses::hear(record, looks);
    let foreign = isolation::findings(record, looks, isolation);
    // A foreign page weighs more than a wrong type.
    findings.extend(missing.into_iter().chain(foreign).chain(met.findings).chain(contradictions));
    findings.extend(resets::findings(record, resets));
    findings.extend(consoles::findings(record));
    let findings = weighed(findings);
    let verdict = match findings.first() {
        Some(finding) => finding.verdict(),
        None => Verdict::Pass { as_: met.label.clone() },
    };
    Judgement { verdict: Some(verdict), findings, label: met.label, fits: met.fits, witnesses }
}
