//! The outcome of a run on mutants.

use super::{NONE, PlannedMutant, kernel};
use crate::finding::{Finding, lead};
use crate::plan::Key;
use crate::scenario::Promise;
use crate::verdict::{Interrupt, NOTHING_TESTED, Verdict};
use std::collections::BTreeSet;

/// A mutant and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutantRun {
    pub planned: PlannedMutant,
    pub outcome: MutantOutcome,
    /// The cells on it.
    pub cells: Vec<Key>,
}

/// The result of the cells on a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MutantOutcome {
    /// The first finding of this cell names a promise that the mutant breaks, and no finding names
    /// another one.
    Caught(Key),
    /// All cells passed.
    Survived,
    /// A finding of this cell names a promise that the mutant does not break.
    Unrelated(Key, Promise),
    /// This cell did not pass, and its first finding names no promise.
    Unnamed(Key),
    /// The mutant breaks nothing, and all cells passed.
    Harmless,
    /// The mutant breaks nothing, and this cell did not pass.
    FalseAlarm(Key),
    /// Emulation cannot show it. It was not run.
    CannotShow(String),
    /// The lab failed in this cell, so the cells do not decide. None: no cell was run.
    NotJudged(Option<Key>),
}

/// The kernel that has all mutants and makes no mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmutated {
    pub base: String,
    /// The first cell that failed, if one did.
    pub failed: Option<Key>,
    /// True if a cell passed, and none is without a judgement about the kernel.
    pub is_judged: bool,
    pub cells: Vec<Key>,
}

/// A cell of a run on mutants.
#[derive(Debug, Clone, Copy)]
pub struct MutantCell<'a> {
    pub key: &'a Key,
    pub verdict: Option<&'a Verdict>,
    /// The findings of its last attempt.
    pub findings: &'a [Finding],
}

/// The judgement of a kernel by a verdict.
enum Says {
    Good,
    Bad,
    Nothing,
}

impl Unmutated {
    /// Returns the word for its outcome.
    pub fn word(&self) -> &'static str {
        match (&self.failed, self.is_judged) {
            (Some(_), _) => "fails",
            (None, true) => "passes",
            (None, false) => "not judged",
        }
    }
}

impl MutantCell<'_> {
    fn says(&self) -> Says {
        match self.verdict {
            Some(Verdict::Pass { .. } | Verdict::Skip(_)) => Says::Good,
            Some(Verdict::Fail | Verdict::Timeout(_) | Verdict::Flaky) => Says::Bad,
            Some(Verdict::Error | Verdict::Miss | Verdict::Lost) | None => Says::Nothing,
        }
    }

    fn is_bad(&self) -> bool {
        matches!(self.says(), Says::Bad)
    }

    fn unjudged(&self) -> bool {
        matches!(self.says(), Says::Nothing)
    }

    fn passed(&self) -> bool {
        self.verdict.is_some_and(Verdict::passed)
    }
}

impl MutantOutcome {
    /// Returns the word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Caught(_) => "caught",
            Self::Survived => "survived",
            Self::Unrelated(..) => "unrelated",
            Self::Unnamed(_) => "unnamed",
            Self::Harmless => "harmless",
            Self::FalseAlarm(_) => "false alarm",
            Self::CannotShow(_) => "cannot show",
            Self::NotJudged(_) => "not judged",
        }
    }

    /// Returns the cell that decides.
    pub fn cell(&self) -> Option<&Key> {
        match self {
            Self::Caught(key) | Self::Unrelated(key, _) | Self::Unnamed(key) | Self::FalseAlarm(key) => {
                Some(key)
            }
            Self::NotJudged(key) => key.as_ref(),
            Self::Survived | Self::Harmless | Self::CannotShow(_) => None,
        }
    }

    /// Returns true if it is as it should be.
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::Caught(_) | Self::Harmless | Self::CannotShow(_))
    }

    fn of(planned: &PlannedMutant, cells: &[MutantCell<'_>]) -> Self {
        let mutant = &planned.mutant;
        if let Some(why) = &mutant.cannot_show {
            return Self::CannotShow(why.clone());
        }
        let key = |cell: &MutantCell<'_>| cell.key.clone();
        let unjudged = || cells.iter().find(|cell| cell.unjudged()).map(key);
        let bad = || cells.iter().filter(|cell| cell.is_bad());
        let breaks = &mutant.breaks;
        if breaks.is_nothing() {
            return match (bad().next().map(key), unjudged()) {
                (Some(cell), _) => Self::FalseAlarm(cell),
                (None, Some(cell)) => Self::NotJudged(Some(cell)),
                (None, None) if cells.iter().any(MutantCell::passed) => Self::Harmless,
                (None, None) => Self::NotJudged(None),
            };
        }
        let other = |cell: &MutantCell<'_>| {
            let named = cell.findings.iter().filter(|finding| finding.weight.is_kernel());
            let promise =
                named.filter_map(|finding| finding.promise).find(|one| !breaks.promises.contains(one))?;
            Some(Self::Unrelated(cell.key.clone(), promise))
        };
        if let Some(unrelated) = bad().find_map(other) {
            return unrelated;
        }
        let names = |cell: &&MutantCell<'_>| match lead(cell.findings).and_then(|finding| finding.promise) {
            Some(_) => true,
            None => breaks.alarm,
        };
        match (bad().find(names).map(key), bad().next().map(key), unjudged()) {
            (Some(cell), ..) => Self::Caught(cell),
            (None, Some(cell), _) => Self::Unnamed(cell),
            (None, None, Some(cell)) => Self::NotJudged(Some(cell)),
            (None, None, None) if cells.is_empty() => Self::NotJudged(None),
            (None, None, None) => Self::Survived,
        }
    }
}

/// Returns the outcome of each mutant, and that of each kernel without a mistake.
pub fn outcome(mutants: &[PlannedMutant], cells: &[MutantCell<'_>]) -> (Vec<Unmutated>, Vec<MutantRun>) {
    let on = |kernel: &str| -> Vec<MutantCell<'_>> {
        cells.iter().filter(|cell| cell.key.kernel() == kernel).copied().collect()
    };
    let keys = |cells: &[MutantCell<'_>]| cells.iter().map(|cell| cell.key.clone()).collect();
    let run = mutants.iter().filter(|planned| planned.mutant.cannot_show.is_none());
    let bases: BTreeSet<_> = run.map(|planned| planned.base.as_str()).collect();
    let unmutated = bases.into_iter().map(|base| {
        let cells = on(&kernel(base, NONE));
        Unmutated {
            base: base.to_owned(),
            failed: cells.iter().find(|cell| cell.is_bad()).map(|cell| cell.key.clone()),
            is_judged: cells.iter().any(MutantCell::passed) && !cells.iter().any(MutantCell::unjudged),
            cells: keys(&cells),
        }
    });
    let runs = mutants.iter().map(|planned| {
        let cells = on(&planned.kernel());
        MutantRun {
            planned: planned.clone(),
            outcome: MutantOutcome::of(planned, &cells),
            cells: keys(&cells),
        }
    });
    (unmutated.collect(), runs.collect())
}

/// Returns the exit code: 130 or 143 if interrupted; 1 if a mutant is not caught as it should be, if
/// a harmless one raises an alarm, or if a kernel without a mistake fails; 3 if the lab failed; else
/// 0.
pub fn exit(unmutated: &[Unmutated], mutants: &[MutantRun], interrupted: Option<Interrupt>) -> u8 {
    if let Some(signal) = interrupted {
        return signal.exit();
    }
    let open = |run: &MutantRun| matches!(run.outcome, MutantOutcome::NotJudged(_));
    let wrong = |run: &MutantRun| !run.outcome.is_fine() && !open(run);
    let failed = unmutated.iter().any(|one| one.failed.is_some());
    let judged = unmutated.iter().all(|one| one.is_judged) && !mutants.iter().any(open);
    match (failed || mutants.iter().any(wrong), judged) {
        (true, _) => 1,
        (false, false) => NOTHING_TESTED,
        (false, true) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Subject, Weight};
    use crate::mutants::{Broken, Mutant};

    fn planned(name: &str, breaks: &str) -> PlannedMutant {
        let mutant = Mutant {
            name: name.into(),
            about: "KVM: arm64: x".into(),
            area: "TLB".into(),
            breaks: Broken::try_from(breaks.to_owned()).unwrap(),
            like: None,
            cannot_show: None,
        };
        PlannedMutant { mutant, base: "k".into() }
    }

    fn finding(weight: Weight, promise: Option<Promise>) -> Finding {
        let finding = Finding::new(weight, Subject::cell().region("nic"), "x of nic", "a", "b");
        Finding { promise, ..finding }
    }

    /// Returns the outcome of a mutant with these cells, named s0, s1 ...
    fn of(breaks: &str, cells: &[(Option<Verdict>, Vec<Finding>)]) -> MutantOutcome {
        let keys: Vec<Key> =
            (0..cells.len()).map(|n| Key::of(&format!("s{n}"), "k~m", []).unwrap()).collect();
        let cells: Vec<_> = keys
            .iter()
            .zip(cells)
            .map(|(key, (verdict, findings))| MutantCell { key, verdict: verdict.as_ref(), findings })
            .collect();
        MutantOutcome::of(&planned("m", breaks), &cells)
    }

    fn key(name: &str) -> Key {
        Key::of(name, "k~m", []).unwrap()
    }

    const PASS: Verdict = Verdict::PASS;

    #[test]
    fn a_mutant_is_caught_by_the_promise_that_it_breaks() {
        let fail = |promise| (Some(Verdict::Fail), vec![finding(Weight::Tables, promise)]);
        let passed = || (Some(PASS), vec![]);
        assert_eq!(of("I9", &[passed(), fail(Some(Promise::RESET))]), MutantOutcome::Caught(key("s1")));
        assert_eq!(of("I9", &[passed(), passed()]), MutantOutcome::Survived);
        assert_eq!(
            of("I9", &[fail(Some(Promise::RESET)), fail(Some(Promise::BAR))]),
            MutantOutcome::Unrelated(key("s1"), Promise::BAR)
        );
        assert_eq!(of("I9", &[fail(None)]), MutantOutcome::Unnamed(key("s0")));
        assert_eq!(of("I9", &[fail(None), fail(Some(Promise::RESET))]), MutantOutcome::Caught(key("s1")));
        assert_eq!(of("alarm", &[passed(), fail(None)]), MutantOutcome::Caught(key("s1")));
        assert_eq!(
            of("alarm", &[fail(Some(Promise::BAR))]),
            MutantOutcome::Unrelated(key("s0"), Promise::BAR)
        );
        assert_eq!(of("I9", &[]), MutantOutcome::NotJudged(None));
    }

    /// A type of a region is named by a finding that weighs less than a flag of its VMA.
    #[test]
    fn the_finding_that_leads_counts() {
        let at = |weight, promise| {
            let subject = Subject::step(1).named("stored").guest("g0").region("nic");
            Finding { subject, ..finding(weight, promise) }
        };
        let findings = vec![at(Weight::Kernel, None), at(Weight::Tables, Some(Promise::BAR))];
        assert_eq!(of("I1", &[(Some(Verdict::Fail), findings)]), MutantOutcome::Caught(key("s0")));
    }

    #[test]
    fn a_failure_of_the_lab_decides_nothing() {
        let miss = || (Some(Verdict::Miss), vec![finding(Weight::Lab, Some(Promise::BAR))]);
        let fail = (Some(Verdict::Fail), vec![finding(Weight::Tables, Some(Promise::RESET))]);
        assert_eq!(of("I9", &[miss(), fail]), MutantOutcome::Caught(key("s1")));
        for unjudged in [miss(), (Some(Verdict::Lost), vec![]), (None, vec![])] {
            assert_eq!(
                of("I9", &[(Some(PASS), vec![]), unjudged]),
                MutantOutcome::NotJudged(Some(key("s1")))
            );
        }
    }

    #[test]
    fn a_mutant_that_breaks_nothing_raises_no_alarm() {
        let fail = (Some(Verdict::Fail), vec![finding(Weight::Kernel, None)]);
        assert_eq!(of("nothing", &[(Some(PASS), vec![])]), MutantOutcome::Harmless);
        assert_eq!(of("nothing", &[(Some(PASS), vec![]), fail]), MutantOutcome::FalseAlarm(key("s1")));
        let skip = (Some(Verdict::Skip("x".into())), vec![]);
        assert_eq!(of("nothing", &[skip]), MutantOutcome::NotJudged(None));
    }

    #[test]
    fn the_exit_code() {
        let unmutated = |verdict: Verdict| {
            let key = Key::of("s", "k~none", []).unwrap();
            let cells = [MutantCell { key: &key, verdict: Some(&verdict), findings: &[] }];
            outcome(&[planned("m", "I9")], &cells).0
        };
        let run = |outcome| MutantRun { planned: planned("m", "I9"), outcome, cells: vec![] };
        let caught = || run(MutantOutcome::Caught(key("s")));
        let exit_of = |verdict, runs: &[MutantRun]| exit(&unmutated(verdict), runs, None);
        assert_eq!(exit_of(PASS, &[caught(), run(MutantOutcome::CannotShow("x".into()))]), 0);
        assert_eq!(exit_of(PASS, &[caught(), run(MutantOutcome::Harmless)]), 0);
        assert_eq!(exit_of(Verdict::Fail, &[caught()]), 1);
        assert_eq!(exit_of(Verdict::Miss, &[caught()]), 3);
        assert_eq!(exit_of(Verdict::Skip("x".into()), &[caught()]), 3);
        for wrong in [
            MutantOutcome::Survived,
            MutantOutcome::Unrelated(key("s"), Promise::BAR),
            MutantOutcome::Unnamed(key("s")),
            MutantOutcome::FalseAlarm(key("s")),
        ] {
            assert_eq!(exit_of(PASS, &[caught(), run(wrong.clone())]), 1);
            let both = [run(MutantOutcome::NotJudged(None)), run(wrong)];
            assert_eq!(exit_of(PASS, &both), 1);
        }
        assert_eq!(exit_of(PASS, &[caught(), run(MutantOutcome::NotJudged(None))]), 3);
        let interrupted = exit(&unmutated(PASS), &[caught()], Some(Interrupt::Terminate));
        assert_eq!(interrupted, 143);
    }
}
