//! The comparison of two kernels in the document of a run.

use s2lab_model::comparison::{self, ComparedMeasure, Decision, DifferentCount, Paired};
use schemars::JsonSchema;
use serde::Serialize;

/// A comparison of two kernels by their boots.
#[derive(Serialize, JsonSchema)]
pub(super) struct Comparison<'a> {
    /// The key of the cell of the kernel that is the base.
    first: &'a str,
    /// The key of the cell of the other kernel; the same one if a kernel is compared with itself.
    second: &'a str,
    /// The planned number of pairs of boots.
    pairs: u32,
    /// The hosts are emulated: times inform about the emulator too.
    emulated: bool,
    /// SAME, DIFFERENT or INCONCLUSIVE; null: a boot did not pass, is missing or has no numbers.
    decision: Option<&'static str>,
    measures: Vec<Measure<'a>>,
    /// The number of steps with counts.
    counted: usize,
    /// The counts that differ.
    counts: Vec<Count<'a>>,
}

/// A measure of both kernels.
#[derive(Serialize, JsonSchema)]
struct Measure<'a> {
    /// From 0, in the scenario's order.
    step: usize,
    name: &'a str,
    /// SAME, DIFFERENT or INCONCLUSIVE; null: there are too few pairs.
    decision: Option<&'static str>,
    /// The ratio of the second kernel's times and the first one's, in millionths; null: there are too few
    /// pairs.
    ratio_millionths: Option<u64>,
    /// The interval of the ratio, at 95 %.
    low_millionths: Option<u64>,
    high_millionths: Option<u64>,
    /// The exact p value of the sign flips.
    p: Option<f64>,
    /// The least sample of each boot in nanoseconds: of each pair the first kernel's and the second's.
    boots: &'a [(u64, u64)],
}

/// The counts of a step that differ; null: the kernel has none.
#[derive(Serialize, JsonSchema)]
struct Count<'a> {
    /// From 0, in the scenario's order.
    step: usize,
    device: &'a str,
    first: Option<&'a str>,
    second: Option<&'a str>,
}

impl<'a> Comparison<'a> {
    pub(super) fn of(of: &'a comparison::Comparison) -> Self {
        let comparison::Comparison { plan, emulated, measures, counted, counts, decision } = of;
        Self {
            first: plan.first.as_str(),
            second: plan.second.as_str(),
            pairs: plan.pairs,
            emulated: *emulated,
            decision: decision.map(Decision::name),
            measures: measures.iter().map(measure).collect(),
            counted: *counted,
            counts: counts.iter().map(count).collect(),
        }
    }
}

fn measure(of: &ComparedMeasure) -> Measure<'_> {
    let ComparedMeasure { step, name, boots, paired } = of;
    Measure {
        step: *step,
        name,
        decision: of.decision().map(Decision::name),
        ratio_millionths: paired.as_ref().map(|paired| paired.ratio),
        low_millionths: paired.as_ref().map(|paired| paired.low),
        high_millionths: paired.as_ref().map(|paired| paired.high),
        p: paired.as_ref().map(Paired::p),
        boots,
    }
}

fn count(DifferentCount { step, device, first, second }: &DifferentCount) -> Count<'_> {
    Count { step: *step, device, first: first.as_deref(), second: second.as_deref() }
}
