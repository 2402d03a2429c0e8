//! The groups in which a person reviews the cells of a run. Cells that are alike are accepted in one
//! decision.

use crate::changes::{Change, ChangeKind, changes};
use crate::escape;
use crate::lines::Part;
use crate::plan::Key;
use crate::record::environment;
use crate::report::{Difference, Outcome, Report, Standing};
use crate::verdict::Verdict;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The kind of a decision, the weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The reports differ in more than their shape.
    Changed,
    /// The conditions of the reports differ.
    NotComparable,
    /// The accepted file is not a report.
    Unreadable,
    /// Nothing is accepted yet.
    New,
    /// The reports differ in their shape alone.
    Shape,
    /// The new report has a witness that the accepted one does not have.
    Witness,
}

/// The content of a decision: equal for two cells if they are alike. It has no kernel and no key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decision {
    pub kind: Kind,
    /// A sentence of its own for every kind but [`Kind::Changed`] and [`Kind::Shape`].
    pub note: Option<String>,
    /// The changes from the accepted report; for one that is missing, the findings of the new one.
    pub changes: Vec<Change>,
}

/// Cells that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub decision: Decision,
    /// The cells, in the order of the run.
    pub keys: Vec<Key>,
}

impl Kind {
    /// Returns the name in documents for programs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Changed => "changed",
            Kind::NotComparable => "not-comparable",
            Kind::Unreadable => "unreadable",
            Kind::New => "new",
            Kind::Shape => "shape",
            Kind::Witness => "new-witness",
        }
    }
}

impl Decision {
    /// Returns the decision on a cell whose report is `new`. `accepted` reads its accepted report.
    /// Returns None if there is nothing to decide.
    pub fn of(
        standing: &Standing,
        verdict: &Verdict,
        new: &Report,
        accepted: impl FnOnce() -> Option<Report>,
    ) -> Option<Self> {
        let first = |kind, note: &str| Self {
            kind,
            note: Some(format!("{note}; the new report is {}", in_words(verdict))),
            changes: changes(&Report { findings: Part::default(), ..new.clone() }, new),
        };
        Some(match standing {
            Standing::Missing(_) | Standing::Compared(Outcome::Same) => return None,
            Standing::New => first(Kind::New, "nothing is accepted yet"),
            Standing::Unreadable { .. } => first(Kind::Unreadable, "the accepted file is not a report"),
            Standing::Compared(Outcome::NewWitness { note }) => {
                Self { kind: Kind::Witness, note: Some(note.clone()), changes: vec![] }
            }
            Standing::Compared(Outcome::NotComparable(facts)) => {
                let facts: Vec<_> = facts.iter().map(|fact| condition(fact, &new.key)).collect();
                let changes = accepted().map(|accepted| changes(&accepted, new)).unwrap_or_default();
                let note = Some(format!("not comparable: {}", facts.join("; ")));
                Self { kind: Kind::NotComparable, note, changes }
            }
            Standing::Compared(Outcome::Changed { changes, .. } | Outcome::ShapeMoved { changes, .. }) => {
                let is_shape = |change: &Change| change.kind == ChangeKind::Shape;
                let kind = if changes.iter().all(is_shape) { Kind::Shape } else { Kind::Changed };
                Self { kind, note: None, changes: changes.clone() }
            }
        })
    }

    /// Returns the decision in sentences.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        self.note.iter().map(String::as_str).chain(self.changes.iter().map(|change| change.what.as_str()))
    }
}

/// Groups the cells that are alike: the weightiest kind first, in it the worst change, then the
/// largest group.
pub fn groups(cells: impl IntoIterator<Item = (Key, Decision)>) -> Vec<Group> {
    let mut alike: BTreeMap<Decision, Vec<Key>> = BTreeMap::new();
    for (key, decision) in cells {
        alike.entry(decision).or_default().push(key);
    }
    let mut groups: Vec<_> = alike.into_iter().map(|(decision, keys)| Group { decision, keys }).collect();
    groups.sort_by_key(|Group { decision: Decision { kind, changes, .. }, keys }| {
        (*kind, changes.first().map(|worst| worst.kind), Reverse(keys.len()))
    });
    groups
}

/// Returns a pass without the alternative that was met, which another kernel may meet as well.
fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass { .. } => verdict.name().to_owned(),
        other => escape::line(&other.to_string()),
    }
}

/// Returns a fact that differs. The digest of a cell is another one for each kernel, so the scenario
/// stands for it.
fn condition(fact: &Difference, key: &Key) -> String {
    match fact.name == environment::CELL {
        true => format!("scenario {} is another one, or the kernel's traits", key.scenario()),
        false => fact.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::Story;
    use crate::lines::Text;
    use crate::report::Gap;

    const PASS: Verdict = Verdict::PASS;

    fn report(key: &str) -> Report {
        Report { key: key.parse().unwrap(), ..Story::after().report() }
    }

    fn change(kind: ChangeKind, what: &str) -> Change {
        Change { kind, what: what.into() }
    }

    fn decision(key: &str, standing: &Standing) -> Option<Decision> {
        Decision::of(standing, &PASS, &report(key), || None)
    }

    /// Returns the groups as their sentences and keys.
    fn grouped<'a>(cells: impl IntoIterator<Item = (&'a str, Standing)>) -> Vec<(Kind, String, String)> {
        let cells = cells.into_iter().filter_map(|(key, standing)| {
            let key: Key = key.parse().unwrap();
            Some((key.clone(), decision(key.as_str(), &standing)?))
        });
        let shown = |group: Group| {
            let keys: Vec<_> = group.keys.iter().map(Key::as_str).collect();
            let sentences: Vec<_> = group.decision.sentences().collect();
            (group.decision.kind, sentences.join("; "), keys.join(" "))
        };
        groups(cells).into_iter().map(shown).collect()
    }

    fn changed(changes: &[&Change]) -> Standing {
        let changes = changes.iter().map(|change| (*change).clone()).collect();
        Standing::Compared(Outcome::Changed { diff: String::new(), changes })
    }

    #[test]
    fn cells_with_the_same_list_of_changes_are_alike() {
        let nc = change(ChangeKind::Promised, "nic: Normal-NC became Device-nGnRE");
        let leaves = change(ChangeKind::Shape, "nic's leaves went from 2M to 4K (shape)");
        let fail = change(ChangeKind::Verdict, "verdict: PASS became FAIL");
        let moved = Standing::Compared(Outcome::ShapeMoved {
            note: "shape moved with a -> b".into(),
            diff: "another".into(),
            changes: vec![leaves.clone()],
        });
        let found = grouped([
            ("a@k1", moved),
            ("a@k2", changed(&[&nc])),
            ("a@k3", changed(&[&nc, &leaves])),
            ("b@k1", changed(&[&nc])),
            ("b@k2", changed(&[&leaves])),
            ("b@k3", changed(&[&fail, &nc])),
            ("b@k4", Standing::Compared(Outcome::Same)),
            ("b@k5", Standing::Missing(Gap::Interrupted)),
        ]);
        let (nc, leaves) = (nc.what, leaves.what);
        assert_eq!(
            found,
            [
                (Kind::Changed, format!("{}; {nc}", fail.what), "b@k3".to_owned()),
                (Kind::Changed, nc.clone(), "a@k2 b@k1".into()),
                (Kind::Changed, format!("{nc}; {leaves}"), "a@k3".into()),
                // One kernel is the same image, the other another one.
                (Kind::Shape, leaves, "a@k1 b@k2".into()),
            ]
        );
    }

    #[test]
    fn what_was_never_accepted_is_apart_from_what_has_changed() {
        let witness = Standing::Compared(Outcome::NewWitness { note: "new witness: vmid".into() });
        let unreadable = |why: &str| Standing::Unreadable { why: why.into() };
        let found = grouped([
            ("a@k1", Standing::New),
            ("a@k2", witness),
            ("a@k3", unreadable("a/k3.txt: line 1")),
            ("b@k1", Standing::New),
            ("b@k2", unreadable("b/k2.txt: line 7")),
        ]);
        let row = |kind, what: &str, keys: &str| (kind, what.to_owned(), keys.to_owned());
        assert_eq!(
            found,
            [
                row(
                    Kind::Unreadable,
                    "the accepted file is not a report; the new report is PASS",
                    "a@k3 b@k2"
                ),
                row(Kind::New, "nothing is accepted yet; the new report is PASS", "a@k1 b@k1"),
                row(Kind::Witness, "new witness: vmid", "a@k2"),
            ]
        );
    }

    /// Otherwise a failure would be accepted among passes.
    #[test]
    fn a_new_failure_is_alone_with_its_findings() {
        let of =
            |verdict: &Verdict, new: &Report| Decision::of(&Standing::New, verdict, new, || None).unwrap();
        let (passed, mut failed) = (report("a@k1"), report("a@k2"));
        failed.findings = Story::after().stopped(crate::event::StopCause::Kernel).report().findings;
        let as_ = |name: &str| Verdict::Pass { as_: Some(name.into()) };
        assert_eq!(of(&as_("wc-honoured"), &passed), of(&as_("before the series"), &passed));
        let failed = of(&Verdict::Fail, &failed);
        assert_ne!(failed, of(&Verdict::Fail, &passed));
        assert_eq!(failed.note.as_deref(), Some("nothing is accepted yet; the new report is FAIL"));
        assert_eq!(failed.changes.len(), 1, "{failed:?}");
    }

    /// The conditions may differ alike where the results do not.
    #[test]
    fn cells_that_do_not_compare_are_alike_if_all_else_is() {
        let fact = |name: &str, new: &str| Difference {
            name: name.into(),
            accepted: Some("old".into()),
            new: Some(new.into()),
        };
        let of = |facts: &[Difference], new: &Report| {
            let standing = Standing::Compared(Outcome::NotComparable(facts.to_vec()));
            Decision::of(&standing, &PASS, new, || Some(report("a@k1"))).unwrap()
        };
        let (one, other) = (report("a@k1"), report("b@k1"));
        let cpu = [fact("cpu", "max")];
        assert_eq!(of(&cpu, &one), of(&cpu, &other));
        assert_eq!(of(&cpu, &one).note.as_deref(), Some("not comparable: cpu: old -> max"));
        assert_ne!(of(&cpu, &one), of(&[fact("cpu", "n1")], &one));
        let failed = Report { verdict: Text::new("FAIL"), ..one.clone() };
        assert_ne!(of(&cpu, &one), of(&cpu, &failed));
        // The digest of a cell depends on the kernel's traits.
        let [digest, another] = [[fact("cell", "1")], [fact("cell", "2")]];
        assert_eq!(of(&digest, &one), of(&another, &report("a@k2")));
        assert_ne!(of(&digest, &one), of(&digest, &other));
    }
}
