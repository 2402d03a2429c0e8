//! The comparison of two kernels by the numbers of one scenario, a function of the log.
//! `docs/numbers.md` has the rule.
//!
//! One boot of a host is one sample: of each measure its least time, of each step its counts. Other work on
//! the machine only makes a sample longer, so the least one differs least between boots.
//! The boots of the kernels are pairs, in the order ABBA, so that a machine that gets slower or faster
//! does so for both.

mod counts;
mod decision;
mod paired;
mod plan;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use counts::DifferentCount;
pub use decision::{DECISIONS, Decision, MARGIN, markdown};
pub use paired::{FEWEST_PAIRS, MOST_PAIRS, Paired};
pub use plan::Compare;

use crate::cell::ResolvedCell;
use crate::judge::{JudgedAttempt, JudgedCell};
use crate::measures::Measure;
use crate::plan::Key;
use crate::statistics;
use crate::steps::Step;
use crate::verdict::NOTHING_TESTED;
use std::collections::BTreeMap;

/// The difference of two kernels, by the boots of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub plan: Compare,
    /// The hosts are emulated, so times inform about the emulator too.
    pub emulated: bool,
    /// The measures, by step.
    pub measures: Vec<ComparedMeasure>,
    /// The number of steps with counts, in both kernels.
    pub counted: usize,
    /// The counts that differ. All boots of one kernel have the same, or its cell is FLAKY.
    pub counts: Vec<DifferentCount>,
    /// None: a boot did not pass, is missing or has no numbers, so nothing is decided.
    pub decision: Option<Decision>,
}

/// A measure of both kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedMeasure {
    /// From 0, in the scenario's order.
    pub step: usize,
    pub name: String,
    /// The least sample of each boot, in nanoseconds, pair by pair: the first kernel's and the second's.
    pub boots: Vec<(u64, u64)>,
    /// None: there are too few pairs.
    pub paired: Option<Paired>,
}

impl ComparedMeasure {
    pub fn decision(&self) -> Option<Decision> {
        self.paired.as_ref().map(Decision::of)
    }

    /// Returns the median over the boots of each kernel, in nanoseconds. Returns None without boots.
    pub fn medians(&self) -> Option<(u64, u64)> {
        let (first, second): (Vec<u64>, Vec<u64>) = self.boots.iter().copied().unzip();
        Some((statistics::summary(&first)?.median, statistics::summary(&second)?.median))
    }
}

impl Comparison {
    /// Compares the cells of a run whose plan has `plan`.
    pub(crate) fn of(plan: Compare, cells: &[JudgedCell]) -> Comparison {
        let boot = |key, pair| boot(cells, key, pair);
        let pairs: Vec<_> = (0..plan.pairs as usize)
            .map_while(|pair| Some((boot(&plan.first, pair)?, boot(&plan.second, pair)?)))
            .collect();
        let measures = measures(&pairs);
        let (counted, counts) = match pairs.first() {
            Some((first, second)) => counts::compare(first.attempt, second.attempt),
            None => (0, vec![]),
        };
        let by_count = match (counts.is_empty(), counted) {
            (false, _) => Some(Decision::Different),
            (true, 0) => None,
            (true, _) => Some(Decision::Same),
        };
        let passed = |cell: &JudgedCell| cell.verdict.as_ref().is_some_and(|verdict| verdict.passed());
        let is_whole = pairs.len() == plan.pairs as usize
            && cells.iter().all(passed)
            && measures.iter().all(|measure| measure.boots.len() == pairs.len());
        let decisions: Option<Vec<_>> = measures.iter().map(ComparedMeasure::decision).collect();
        let decision = decisions.and_then(|all| Decision::over(all.into_iter().chain(by_count)));
        let emulated = pairs.iter().any(|(first, second)| is_emulated(first) || is_emulated(second));
        Comparison { plan, emulated, measures, counted, counts, decision: decision.filter(|_| is_whole) }
    }

    /// Returns the exit code of a run whose cells have passed.
    pub fn exit(&self) -> u8 {
        self.decision.map_or(NOTHING_TESTED, Decision::exit)
    }
}

/// Returns the boot of a cell in a pair, if the run came to it.
fn boot<'a>(cells: &'a [JudgedCell], key: &Key, pair: usize) -> Option<JudgedBoot<'a>> {
    let cell = cells.iter().find(|cell| cell.planned.key == *key)?;
    cell.attempts.get(pair).map(JudgedBoot::of)
}

/// Returns true if the steps of a cell have numbers that can be compared.
pub fn has_numbers(cell: &ResolvedCell) -> bool {
    cell.host.counts() || cell.steps.iter().any(|step| matches!(step, Step::Measure(_)))
}

/// A boot with the least sample of each of its measures.
struct JudgedBoot<'a> {
    attempt: &'a JudgedAttempt,
    /// The least samples in nanoseconds, by step and name.
    least: BTreeMap<(usize, String), u64>,
}

impl<'a> JudgedBoot<'a> {
    fn of(attempt: &'a JudgedAttempt) -> Self {
        let measures = Measure::all([&attempt.record]).into_iter();
        let least = |Measure { step, name, boots }: Measure| {
            Some(((step, name), statistics::summary(&boots.first()?.samples)?.min))
        };
        Self { attempt, least: measures.filter_map(least).collect() }
    }
}

/// Returns the measures that the first pair has, with the boots up to the first pair without one.
fn measures(pairs: &[(JudgedBoot<'_>, JudgedBoot<'_>)]) -> Vec<ComparedMeasure> {
    let names = pairs.first().into_iter().flat_map(|(first, _)| first.least.keys());
    let compared = |of: &(usize, String)| {
        let both = |(first, second): &(JudgedBoot<'_>, JudgedBoot<'_>)| {
            Some((*first.least.get(of)?, *second.least.get(of)?))
        };
        let boots: Vec<_> = pairs.iter().map_while(both).collect();
        let (step, name) = of.clone();
        ComparedMeasure { step, name, paired: Paired::of(&boots), boots }
    };
    names.map(compared).collect()
}

fn is_emulated(boot: &JudgedBoot<'_>) -> bool {
    boot.attempt.record.is_emulated()
}
