//! The summary of a comparison of two sides: the only input of what `diff` prints.

use super::Change;
use crate::plan::Key;
use crate::report::{Difference, Report};
use std::collections::BTreeMap;

/// Two sides with the reports of cells, compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffSummary {
    /// The name of the old side, as the user wrote it.
    pub old: String,
    pub new: String,
    /// The cells that both sides have, by key.
    pub cells: Vec<CellDiff>,
    /// The cells that only one side has.
    pub only_old: Vec<Key>,
    pub only_new: Vec<Key>,
    /// The old and the new report of each cell that is not the same, by the new key.
    pub reports: BTreeMap<Key, (Report, Report)>,
    /// The exit code: 0 same, 5 different, 2 not comparable.
    pub exit: u8,
}

/// A cell of both sides. The keys differ if two cells were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellDiff {
    pub old: Key,
    pub new: Key,
    pub result: CellResult,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellResult {
    Same,
    /// At least one change.
    Differs(Vec<Change>),
    /// The conditions of the two reports differ in these facts.
    NotComparable(Vec<Difference>),
}

/// The exit code of two sides that differ.
const DIFFERENT: u8 = 5;
/// The exit code of two sides that are equal as far as they compare, which is not everywhere.
const NOT_COMPARABLE: u8 = 2;

impl DiffSummary {
    pub fn new(
        (old, new): (String, String),
        cells: Vec<CellDiff>,
        (only_old, only_new): (Vec<Key>, Vec<Key>),
    ) -> Self {
        let has = |of: fn(&CellResult) -> bool| cells.iter().any(|cell| of(&cell.result));
        let differs = has(|result| matches!(result, CellResult::Differs(_)));
        let exit = match () {
            () if differs || !only_old.is_empty() || !only_new.is_empty() => DIFFERENT,
            () if has(|result| matches!(result, CellResult::NotComparable(_))) => NOT_COMPARABLE,
            () => 0,
        };
        Self { old, new, cells, only_old, only_new, reports: BTreeMap::new(), exit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::ChangeKind;

    #[test]
    fn a_difference_decides_before_what_is_not_comparable() {
        let key = || "a@k".parse::<Key>().unwrap();
        let exit = |results: Vec<CellResult>, only: Vec<Key>| {
            let cells =
                results.into_iter().map(|result| CellDiff { old: key(), new: key(), result }).collect();
            DiffSummary::new(("a".into(), "b".into()), cells, (vec![], only)).exit
        };
        let differs = || CellResult::Differs(vec![Change { kind: ChangeKind::Shape, what: "x".into() }]);
        let refused = || CellResult::NotComparable(vec![]);
        assert_eq!(exit(vec![], vec![]), 0);
        assert_eq!(exit(vec![CellResult::Same], vec![]), 0);
        assert_eq!(exit(vec![CellResult::Same, refused()], vec![]), 2);
        assert_eq!(exit(vec![refused(), differs()], vec![]), 5);
        assert_eq!(exit(vec![refused()], vec![key()]), 5);
    }
}
