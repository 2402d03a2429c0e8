//! The summary of a comparison of two sides: the only input of what `diff` prints.

use super::{Change, ChangeKind, Group, changes, groups};
use crate::plan::Key;
use crate::report::{Difference, Report, conditions, variables};
use crate::verdict::Verdict;
use std::collections::BTreeMap;

/// The reports of cells, or the reason why one cannot be read.
pub type Reports = BTreeMap<Key, Result<Report, String>>;

/// One of two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The name of the side, as the user wrote it.
    pub label: String,
    pub reports: Reports,
    /// The user named one cell, which may be compared with a cell of another key.
    pub is_cell: bool,
}

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
    /// The variable facts that differ, which are not compared.
    pub variables: Vec<Difference>,
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
    /// Compares two sides: two cells with each other, everything else by key. One cell chooses the
    /// same cell of a side with many.
    pub fn of(old: &Side, new: &Side) -> Self {
        let pairs: Vec<(&Key, &Key)> = match (old.is_cell, new.is_cell) {
            (true, true) => old.reports.keys().zip(new.reports.keys()).collect(),
            _ => {
                let common = old.reports.keys().filter(|key| new.reports.contains_key(*key));
                common.map(|key| (key, key)).collect()
            }
        };
        let diff = |(before, now): &(&Key, &Key)| {
            let (old, new) = (&old.reports[*before], &new.reports[*now]);
            let facts = match (old, new) {
                (Ok(old), Ok(new)) => variables(old, new),
                _ => vec![],
            };
            let result = CellResult::of(old, new);
            CellDiff { old: (*before).clone(), new: (*now).clone(), result, variables: facts }
        };
        let only = |of: &Side, other: &Side| match other.is_cell {
            true => vec![],
            false => {
                let missing = of.reports.keys().filter(|key| !other.reports.contains_key(*key));
                missing.cloned().collect()
            }
        };
        let labels = (old.label.clone(), new.label.clone());
        let cells: Vec<_> = pairs.iter().map(diff).collect();
        let both = |cell: &CellDiff| match (&old.reports[&cell.old], &new.reports[&cell.new]) {
            (Ok(before), Ok(now)) if cell.result != CellResult::Same => {
                Some((cell.new.clone(), (before.clone(), now.clone())))
            }
            _ => None,
        };
        let reports = cells.iter().filter_map(both).collect();
        Self { reports, ..Self::new(labels, cells, (only(old, new), only(new, old))) }
    }

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

    /// Returns equal changes over all cells.
    pub fn groups(&self) -> Vec<Group> {
        groups(self.cells.iter().filter_map(|cell| match &cell.result {
            CellResult::Differs(changes) => Some((&cell.new, changes.as_slice())),
            CellResult::Same | CellResult::NotComparable(_) => None,
        }))
    }
}

impl CellResult {
    /// Compares two reports of a cell, on one kernel or on two.
    pub fn of(old: &Result<Report, String>, new: &Result<Report, String>) -> Self {
        let (old, new) = match (old, new) {
            (Ok(old), Ok(new)) => (old, new),
            (old, new) => return Self::NotComparable(vec![unreadable(old, new)]),
        };
        let facts = conditions(old, new);
        if !facts.is_empty() {
            return Self::NotComparable(facts);
        }
        let mut found = changes(old, new);
        let has_failed = |report: &Report| is_lab_failure(&report.verdict);
        if has_failed(old) || has_failed(new) {
            // The rest shows nothing about the kernel: what was not observed counts as gone.
            found.retain(|change| change.kind <= ChangeKind::Kernel);
            if found.is_empty() {
                return Self::NotComparable(vec![difference("verdict", &old.verdict, &new.verdict)]);
            }
        }
        if found.is_empty() { Self::Same } else { Self::Differs(found) }
    }
}

/// Returns true for the verdict of a cell that shows nothing about the kernel.
fn is_lab_failure(verdict: &str) -> bool {
    [Verdict::Miss, Verdict::Lost, Verdict::Error].iter().any(|failure| failure.name() == verdict)
}

fn unreadable(old: &Result<Report, String>, new: &Result<Report, String>) -> Difference {
    let words = |of: &Result<Report, String>| match of {
        Ok(_) => "readable".to_owned(),
        Err(why) => why.clone(),
    };
    difference("report", &words(old), &words(new))
}

fn difference(name: &str, old: &str, new: &str) -> Difference {
    Difference { name: name.to_owned(), accepted: Some(old.to_owned()), new: Some(new.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Text;
    use crate::record::environment;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn report(of: &str, verdict: &str) -> Report {
        Report::empty(key(of), Text::new(verdict))
    }

    fn side(reports: &[Report], is_cell: bool) -> Side {
        let reports = reports.iter().map(|report| (report.key.clone(), Ok(report.clone()))).collect();
        Side { label: "side".into(), reports, is_cell }
    }

    #[test]
    fn a_difference_decides_before_what_is_not_comparable() {
        let exit = |results: Vec<CellResult>, only: Vec<Key>| {
            let diff = |result| CellDiff { old: key("a@k"), new: key("a@k"), result, variables: vec![] };
            let cells = results.into_iter().map(diff).collect();
            DiffSummary::new(("a".into(), "b".into()), cells, (vec![], only)).exit
        };
        let differs = || CellResult::Differs(vec![Change { kind: ChangeKind::Shape, what: "x".into() }]);
        let refused = || CellResult::NotComparable(vec![]);
        assert_eq!(exit(vec![], vec![]), 0);
        assert_eq!(exit(vec![CellResult::Same], vec![]), 0);
        assert_eq!(exit(vec![CellResult::Same, refused()], vec![]), 2);
        assert_eq!(exit(vec![refused(), differs()], vec![]), 5);
        assert_eq!(exit(vec![refused()], vec![key("a@k")]), 5);
    }

    #[test]
    fn sides_compare_by_key_and_two_cells_with_each_other() {
        let many = side(&[report("a@k1", "PASS"), report("a@k2", "PASS"), report("b@k1", "PASS")], false);
        let other = side(&[report("a@k1", "PASS"), report("a@k2", "FAIL"), report("c@k1", "PASS")], false);
        let all = DiffSummary::of(&many, &other);
        let keys: Vec<_> = all.cells.iter().map(|cell| (cell.old.as_str(), cell.new.as_str())).collect();
        assert_eq!(keys, [("a@k1", "a@k1"), ("a@k2", "a@k2")]);
        assert_eq!((all.only_old, all.only_new, all.exit), (vec![key("b@k1")], vec![key("c@k1")], 5));
        let one = side(&[report("a@k1", "PASS")], true);
        let chosen = DiffSummary::of(&one, &other);
        assert_eq!((chosen.cells.len(), chosen.only_new.len(), chosen.exit), (1, 0, 0));
        let none = DiffSummary::of(&side(&[report("b@k1", "PASS")], true), &other);
        assert_eq!((none.cells.len(), none.only_old, none.exit), (0, vec![key("b@k1")], 5));
        let two = DiffSummary::of(&one, &side(&[report("a@k2", "FAIL")], true));
        assert_eq!((two.cells[0].old.as_str(), two.cells[0].new.as_str(), two.exit), ("a@k1", "a@k2", 5));
        assert_eq!(two.groups()[0].change.what, "verdict: PASS became FAIL");
        assert_eq!(two.reports.keys().map(Key::as_str).collect::<Vec<_>>(), ["a@k2"]);
    }

    /// The digest of a cell leaves out the traits, so that two kernels compare.
    #[test]
    fn two_kernels_compare_whatever_they_declare_and_one_does_not() {
        let with = |of: &str, facts: [(&str, &str); 2]| {
            let mut report = report(of, "PASS");
            report.blocking.extend(facts.map(|(name, value)| (Text::new(name), Text::new(value))));
            Ok(report)
        };
        let none = [(environment::CELL, "1"), (environment::TRAITS, "none")];
        let honours = [(environment::CELL, "1"), (environment::TRAITS, "wc-honoured")];
        let another = [(environment::CELL, "2"), (environment::TRAITS, "none")];
        assert_eq!(CellResult::of(&with("a@k1", none), &with("a@k2", honours)), CellResult::Same);
        let refused = |old, new| match CellResult::of(&old, &new) {
            CellResult::NotComparable(facts) => facts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(with("a@k1", none), with("a@k1", honours)), ["traits: none -> wc-honoured"]);
        assert_eq!(refused(with("a@k1", none), with("a@k2", another)), ["cell: 1 -> 2"]);
    }

    #[test]
    fn a_failure_of_the_lab_shows_nothing_but_itself() {
        let mut passed = report("a@k", "PASS");
        passed.promised.lines.push("reset nic".parse().unwrap());
        let mut missed = report("a@k", "MISS");
        missed.findings.lines.push("stage steps  lab".parse().unwrap());
        let CellResult::Differs(found) = CellResult::of(&Ok(passed.clone()), &Ok(missed.clone())) else {
            panic!()
        };
        let found: Vec<_> = found.iter().map(|change| (change.kind, change.what.as_str())).collect();
        let due = [(ChangeKind::Verdict, "verdict: PASS became MISS"), (ChangeKind::Lab, "new: stage steps")];
        assert_eq!(found, due);
        let facts = CellResult::of(&Ok(missed.clone()), &Ok(missed));
        assert_eq!(facts, CellResult::NotComparable(vec![difference("verdict", "MISS", "MISS")]));
        let why = Err("line 1: no report begins like this".to_owned());
        let CellResult::NotComparable(facts) = CellResult::of(&Ok(passed), &why) else { panic!() };
        assert_eq!(facts[0].to_string(), "report: readable -> line 1: no report begins like this");
    }
}
