//! Changes of the promised part: steps, and what stage 2 and the mappings had at the looks.

use super::statements::{Place, Statements};
use super::words::{became, further, numbered};
use super::{Change, ChangeKind, change, regions};
use crate::lines::{Part, Promised};
use crate::steps::{LookLine, StepLine};
use std::collections::BTreeMap;

const KIND: ChangeKind = ChangeKind::Promised;

/// The promised part by steps.
struct Steps<'a> {
    /// The subject of each step with the number of its equals before it, and its values.
    steps: Vec<((String, usize), Vec<String>)>,
    /// The lines below each look.
    looks: BTreeMap<Place, Vec<&'a Promised>>,
}

impl<'a> Steps<'a> {
    fn of(part: &'a Part<Promised>) -> Self {
        let (mut subjects, mut values) = (vec![], vec![]);
        let mut looks: BTreeMap<Place, Vec<&Promised>> = BTreeMap::new();
        let mut look: Option<&LookLine> = None;
        for line in &part.lines {
            let Promised::Step(step) = line else {
                looks.entry(Place::of(look)).or_default().push(line);
                continue;
            };
            if let StepLine::Look(line) = step {
                look = Some(line);
                looks.entry(Place::of(look)).or_default();
            }
            let (subject, of_step) = step.parts();
            subjects.push(subject);
            values.push(of_step);
        }
        Self { steps: numbered(subjects).into_iter().zip(values).collect(), looks }
    }
}

pub(super) fn changes(old: &Part<Promised>, new: &Part<Promised>) -> Vec<Change> {
    let (before, now) = (Steps::of(old), Steps::of(new));
    let mut statements = Statements::new(KIND);
    steps(&before, &now, &mut statements);
    for (place, old) in &before.looks {
        if let Some(new) = now.looks.get(place) {
            regions::look(old, new, place, &mut statements);
        }
    }
    let mut out = statements.changes();
    if is_reordered(&before, &now) {
        out.push(change(KIND, "the steps are in another order"));
    }
    out.extend(further(KIND, "[promised]", old.further.as_ref(), new.further.as_ref()));
    out
}

fn steps(before: &Steps<'_>, now: &Steps<'_>, statements: &mut Statements) {
    let old: BTreeMap<_, _> = before.steps.iter().map(|(name, values)| (name, values)).collect();
    let new: BTreeMap<_, _> = now.steps.iter().map(|(name, values)| (name, values)).collect();
    for (name @ (subject, number), values) in &old {
        let place = Place::Number(*number);
        statements.exists(subject, &place);
        match new.get(*name) {
            None => statements.add(subject, ": gone", &place),
            Some(now) => {
                let pairs = values.iter().zip(now.iter()).filter(|(old, new)| old != new);
                pairs.for_each(|(old, new)| {
                    statements.add(subject, format!(": {}", became(old, new)), &place)
                });
            }
        }
    }
    for ((subject, number), values) in new.iter().filter(|(name, _)| !old.contains_key(**name)) {
        let values: Vec<_> = ["new".to_owned()].into_iter().chain(values.iter().cloned()).collect();
        statements.add(subject, format!(": {}", values.join(", ")), &Place::Number(*number));
    }
}

/// Returns true if the steps of both come in different orders.
fn is_reordered(before: &Steps<'_>, now: &Steps<'_>) -> bool {
    fn common<'a>(steps: &'a Steps<'_>, other: &Steps<'_>) -> Vec<&'a (String, usize)> {
        let known: std::collections::BTreeSet<_> = other.steps.iter().map(|(name, _)| name).collect();
        steps.steps.iter().map(|(name, _)| name).filter(|name| known.contains(name)).collect()
    }
    common(before, now) != common(now, before)
}
