//! The standing of a run's cell against its accepted report.

use super::{Outcome, Report, compare};
use crate::changes::Change;
use crate::judge::JudgedCell;
use crate::verdict::Verdict;

/// The standing of a cell against the accepted report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The run has a report, and a report is accepted.
    Compared(Outcome),
    /// Nothing was accepted yet.
    New,
    /// The run, whose plan has this cell, has no result about the kernel.
    Missing(Gap),
    /// The accepted file is not a report: edited, or merged with conflicts.
    Unreadable { why: String },
}

/// Why there is nothing to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// The run did not come to the cell.
    NotRun(String),
    /// The run was interrupted before the cell was judged.
    Interrupted,
    /// A verdict that is about the lab. Were it compared or accepted, the lab's next failure would
    /// be as accepted.
    Lab(Verdict),
    /// The run has no report of it.
    NoReport,
}

impl Standing {
    /// Compares the report `new` of a cell with the accepted one, which `accepted` reads.
    pub fn of(
        cell: &JudgedCell,
        new: Option<&Report>,
        accepted: impl FnOnce() -> Result<Option<Report>, String>,
    ) -> Self {
        let new = match (&cell.not_run, &cell.verdict, new) {
            (Some(why), _, _) => return Self::Missing(Gap::NotRun(why.clone())),
            (None, None, _) => return Self::Missing(Gap::Interrupted),
            (None, Some(verdict @ (Verdict::Miss | Verdict::Lost | Verdict::Error)), _) => {
                return Self::Missing(Gap::Lab(verdict.clone()));
            }
            (None, Some(_), None) => return Self::Missing(Gap::NoReport),
            (None, Some(_), Some(new)) => new,
        };
        match accepted() {
            Ok(Some(accepted)) => Self::Compared(compare(&accepted, new).outcome),
            Ok(None) => Self::New,
            Err(why) => Self::Unreadable { why },
        }
    }

    /// Returns true if there is an accepted report that differs.
    pub fn differs(&self) -> bool {
        let alike = |outcome: &Outcome| matches!(outcome, Outcome::Same | Outcome::NewWitness { .. });
        matches!(self, Standing::Compared(outcome) if !alike(outcome))
    }

    /// The standing in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Compared(Outcome::Same) => "same",
            Standing::Compared(Outcome::NewWitness { .. }) => "new-witness",
            Standing::Compared(Outcome::ShapeMoved { .. }) => "shape-moved",
            Standing::Compared(Outcome::Changed { .. }) => "changed",
            Standing::Compared(Outcome::NotComparable(_)) => "not-comparable",
            Standing::New => "new",
            Standing::Missing(_) => "missing",
            Standing::Unreadable { .. } => "unreadable",
        }
    }

    /// The changes since the accepted report.
    pub fn changes(&self) -> &[Change] {
        match self {
            Standing::Compared(Outcome::ShapeMoved { changes, .. } | Outcome::Changed { changes, .. }) => {
                changes
            }
            _ => &[],
        }
    }

    /// Returns true if `check` accepts the standing.
    pub fn is_fine(&self) -> bool {
        matches!(
            self,
            Standing::Compared(Outcome::Same | Outcome::NewWitness { .. } | Outcome::ShapeMoved { .. })
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StopCause;
    use crate::judge::fixture::Story;
    use crate::lines::Text;

    fn report() -> Report {
        Report::empty("vfio-pci-bar@test".parse().unwrap(), Text::new("PASS"))
    }

    fn standing(cell: &JudgedCell, accepted: Result<Option<Report>, String>) -> Standing {
        Standing::of(cell, Some(&report()), || accepted)
    }

    #[test]
    fn what_was_accepted_must_be_a_report() {
        let cell = &Story::after().run().cells[0];
        let why = "merged".to_owned();
        assert_eq!(standing(cell, Err(why.clone())), Standing::Unreadable { why });
        assert_eq!(standing(cell, Ok(None)), Standing::New);
        assert!(matches!(standing(cell, Ok(Some(report()))), Standing::Compared(_)));
        assert_eq!(Standing::of(cell, None, || Ok(None)), Standing::Missing(Gap::NoReport));
    }

    #[test]
    fn what_says_nothing_about_the_kernel_is_not_compared() {
        let of = |verdict: Option<Verdict>| {
            let cell = JudgedCell { verdict, ..Story::after().run().cells[0].clone() };
            standing(&cell, Ok(Some(report())))
        };
        for verdict in [Verdict::Miss, Verdict::Lost, Verdict::Error] {
            assert_eq!(of(Some(verdict.clone())), Standing::Missing(Gap::Lab(verdict)));
        }
        assert_eq!(of(None), Standing::Missing(Gap::Interrupted));
        let failed = Story::after().stopped(StopCause::Kernel).run().cells[0].clone();
        assert!(matches!(standing(&failed, Ok(None)), Standing::New));
        let left = JudgedCell { not_run: Some("--fail-fast".into()), ..failed };
        assert_eq!(standing(&left, Ok(None)), Standing::Missing(Gap::NotRun("--fail-fast".into())));
    }

    #[test]
    fn a_witness_that_is_not_known_yet_is_fine_but_not_as_accepted() {
        let (cell, mut new) = (&Story::after().run().cells[0], report());
        new.witnesses.lines.push("vmid  agrees".parse().unwrap());
        let standing = Standing::of(cell, Some(&new), || Ok(Some(report())));
        assert_eq!(standing, Standing::Compared(Outcome::NewWitness { note: "new witness: vmid".into() }));
        assert!(standing.is_fine());
    }
}
