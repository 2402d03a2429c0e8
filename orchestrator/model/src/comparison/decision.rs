//! The decision about two kernels.

use super::paired::Paired;
use std::fmt;

/// The margin of a difference, in percent: less is no difference that anybody would act on.
pub const MARGIN: u64 = 5;
/// The ends of the margin as ratios, in millionths: 1.05, and its inverse, rounded up.
const MOST: u64 = 1_050_000;
const LEAST: u64 = 952_381;
/// The largest p value of a difference.
const LARGEST_P: f64 = 0.05;

/// The result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The interval lies inside of the margin.
    Same,
    /// The interval lies outside of the margin, on one side, and the p value is at most 5 %.
    Different,
    /// Neither.
    Inconclusive,
}

/// Each decision, its printed name, its reason and the exit code of a comparison.
pub static DECISIONS: [(Decision, &str, &str, u8); 3] = [
    (Decision::Same, "SAME", "the whole interval lies within 1/1.05..1.05", 0),
    (
        Decision::Different,
        "DIFFERENT",
        "the whole interval lies above 1.05, or below 1/1.05, and p is at most 0.05; or counts differ",
        5,
    ),
    (
        Decision::Inconclusive,
        "INCONCLUSIVE",
        "neither: more pairs, or a machine with less other work, may decide",
        4,
    ),
];

impl Decision {
    /// Decides by the interval and the p value of one measure.
    pub fn of(paired: &Paired) -> Decision {
        let Paired { low, high, .. } = *paired;
        if (low > MOST || high < LEAST) && paired.p() <= LARGEST_P {
            Decision::Different
        } else if low >= LEAST && high <= MOST {
            Decision::Same
        } else {
            Decision::Inconclusive
        }
    }

    /// Returns the decision over several: any difference decides, and all must be the same to be the
    /// same. Returns None for no decision.
    pub fn over(all: impl IntoIterator<Item = Decision>) -> Option<Decision> {
        all.into_iter().reduce(|one, other| match (one, other) {
            (Decision::Different, _) | (_, Decision::Different) => Decision::Different,
            (Decision::Same, Decision::Same) => Decision::Same,
            _ => Decision::Inconclusive,
        })
    }

    fn row(self) -> &'static (Decision, &'static str, &'static str, u8) {
        &DECISIONS[match self {
            Decision::Same => 0,
            Decision::Different => 1,
            Decision::Inconclusive => 2,
        }]
    }

    /// Returns the printed name, in capitals.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns the exit code of a comparison.
    pub fn exit(self) -> u8 {
        self.row().3
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With the width of a column.
        f.pad(self.name())
    }
}

/// Returns the table of decisions as Markdown, for `docs/numbers.md`.
pub fn markdown() -> String {
    let mut out = String::from("| decision | when | exit |\n|---|---|---|\n");
    for (_, name, when, exit) in &DECISIONS {
        out.push_str(&format!("| {name} | {when} | {exit} |\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Different, Inconclusive, Same};

    #[test]
    fn the_interval_and_the_margin_decide() {
        let of = |low, high, extreme| Decision::of(&Paired { pairs: 7, ratio: low, low, high, extreme });
        for (low, high, extreme, decision) in [
            (952_381, 1_050_000, 2, Same),
            (999_000, 1_001_000, 128, Same),
            (952_380, 1_050_000, 128, Inconclusive),
            (952_381, 1_050_001, 128, Inconclusive),
            (1_050_000, 1_400_000, 2, Inconclusive),
            (1_050_001, 1_400_000, 6, Different),
            (1_050_001, 1_400_000, 7, Inconclusive),
            (700_000, 952_380, 2, Different),
            (700_000, 952_381, 2, Inconclusive),
            (500_000, 2_000_000, 2, Inconclusive),
        ] {
            assert_eq!(of(low, high, extreme), decision, "{low}..{high} {extreme}");
        }
    }

    #[test]
    fn one_difference_decides_over_all() {
        assert_eq!(Decision::over([]), None);
        for (all, over) in [
            (vec![Same], Same),
            (vec![Same, Same], Same),
            (vec![Same, Inconclusive], Inconclusive),
            (vec![Inconclusive, Different, Same], Different),
        ] {
            assert_eq!(Decision::over(all.clone()), Some(over), "{all:?}");
        }
    }

    #[test]
    fn each_decision_has_its_row() {
        for (decision, name, _, exit) in &DECISIONS {
            assert_eq!((decision.name(), decision.exit()), (*name, *exit));
        }
        assert_eq!([Same.exit(), Different.exit(), Inconclusive.exit()], [0, 5, 4], "an interface");
    }

    #[test]
    fn the_document_has_this_table() {
        let text = include_str!("../../../../docs/numbers.md");
        let (_, rest) = text.split_once("<!-- decisions: from decision.rs -->\n").expect("start mark");
        let (table, _) = rest.split_once("<!-- end -->").expect("end mark");
        assert_eq!(table, markdown());
    }
}
