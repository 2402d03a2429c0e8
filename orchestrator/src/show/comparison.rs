//! The comparison of two kernels as lines for people.

use super::past::duration;
use s2lab_model::{
    comparison::{ComparedMeasure, Comparison, Decision, DifferentCount, Paired},
    escape,
};

/// The width of the column of decisions.
const DECISION: usize = "INCONCLUSIVE".len();
/// The words in the place of a decision.
const NONE: &str = "not decided";
const MILLION: f64 = 1e6;
/// Thousandths.
const DIGITS: usize = 3;

/// Returns the lines: the decision over all, then each measure, then the counts.
pub fn lines(comparison: &Comparison) -> Vec<String> {
    let Comparison { plan, measures, counted, counts, .. } = comparison;
    let name =
        measures.iter().map(|measure| measure.name.len()).max().unwrap_or_default().max("counts".len());
    let measures = measures.iter().map(|one| format!("  {:<name$}  {}", one.name, measure(one, plan.pairs)));
    let same = (*counted > 0 && counts.is_empty()).then(|| {
        let steps = if *counted == 1 { "1 step".to_owned() } else { format!("{counted} steps") };
        format!("  {:<name$}  {:<DECISION$}  of {steps}", "counts", Decision::Same)
    });
    let counts = counts.iter().map(|one| format!("  {:<name$}  {}", "counts", count(one)));
    [head(comparison)].into_iter().chain(measures).chain(same).chain(counts).collect()
}

/// Returns the line about the whole.
fn head(Comparison { plan, emulated, decision, .. }: &Comparison) -> String {
    let kernels = match plan.is_control() {
        true => format!("{} with itself", plan.first.kernel()),
        false => format!("{} against {}", plan.second.kernel(), plan.first.kernel()),
    };
    let decision = match decision {
        Some(decision) => decision.name(),
        None => "not decided, because a boot did not pass, is missing or has no numbers",
    };
    let emulated = if *emulated { "; emulated: times inform, counts decide" } else { "" };
    format!("{kernels}: {decision}, {} pairs of boots{emulated}", plan.pairs)
}

fn measure(measure: &ComparedMeasure, pairs: u32) -> String {
    let (Some(decision), Some(paired)) = (measure.decision(), &measure.paired) else {
        return format!("{NONE:<DECISION$}  {} of {pairs} pairs have it", measure.boots.len());
    };
    let Paired { ratio, low, high, .. } = *paired;
    let p = paired.p();
    let mut line = format!(
        "{decision:<DECISION$}  {} times  95 % {}..{}  p {p:.DIGITS$}",
        times(ratio),
        times(low),
        times(high)
    );
    if let Some((first, second)) = measure.medians() {
        line.push_str(&format!("  {} to {}", duration(first), duration(second)));
    }
    line
}

fn count(DifferentCount { step, device, first, second }: &DifferentCount) -> String {
    let known = |of: &Option<String>| of.as_deref().map_or_else(|| "none".to_owned(), escape::line);
    let (first, second) = (known(first), known(second));
    format!("{:<DECISION$}  step {step} {device}: {first}; then {second}", Decision::Different)
}

/// Returns a ratio in millionths as a number of times.
fn times(ratio: u64) -> String {
    format!("{:.DIGITS$}", ratio as f64 / MILLION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_model::comparison::Compare;

    /// Returns a comparison with two measures and a count.
    fn comparison() -> Comparison {
        let plan = Compare {
            first: "bar-stores@debian-6.1".parse().unwrap(),
            second: "bar-stores@debian-6.12".parse().unwrap(),
            pairs: 7,
        };
        let measure = |step, name: &str, boots: Vec<(u64, u64)>| {
            let paired = Paired::of(&boots);
            ComparedMeasure { step, name: name.into(), boots, paired }
        };
        let slower = [250, 260, 240, 250, 255, 251, 249].map(|time| (1000 * time, 1400 * time));
        let alike = [593, 601, 590, 597, 588, 595, 594].map(|time| (time, 594));
        let measures = vec![measure(0, "stores", alike.into()), measure(1, "faults", slower.into())];
        let decision = Some(Decision::Different);
        Comparison { plan, emulated: true, measures, counted: 1, counts: vec![], decision }
    }

    #[test]
    fn a_comparison() {
        let mut one = comparison();
        assert_eq!(
            lines(&one),
            [
                "debian-6.12 against debian-6.1: DIFFERENT, 7 pairs of boots; emulated: times inform, counts decide",
                "  stores  SAME          1.000 times  95 % 0.993..1.007  p 0.938  594 ns to 594 ns",
                "  faults  DIFFERENT     1.400 times  95 % 1.400..1.400  p 0.016  250.00 us to 350.00 us",
                "  counts  SAME          of 1 step",
            ]
        );
        one.counts = vec![DifferentCount {
            step: 1,
            device: "nic".into(),
            first: Some("8 data aborts".into()),
            second: None,
        }];
        assert_eq!(lines(&one)[3], "  counts  DIFFERENT     step 1 nic: 8 data aborts; then none");
    }

    #[test]
    fn a_comparison_that_was_not_carried_out() {
        let mut one = comparison();
        (one.decision, one.emulated, one.counted) = (None, false, 0);
        one.plan.second = one.plan.first.clone();
        one.measures.truncate(1);
        one.measures[0].boots.truncate(2);
        one.measures[0].paired = None;
        assert_eq!(
            lines(&one),
            [
                "debian-6.1 with itself: not decided, because a boot did not pass, is missing or has no numbers, 7 pairs of boots",
                "  stores  not decided   2 of 7 pairs have it",
            ]
        );
    }
}
