//! Changes of the format of the tables, of the methods of resets, and of the counts of steps.

use super::statements::{Place, Statements};
use super::words::{became, further, numbered};
use super::{Change, ChangeKind};
use crate::lines::{Geometry, Part, Promised, Shape};
use crate::report::Compared;
use crate::steps::{CountLine, LookLine, MethodLine, StepLine};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const KIND: ChangeKind = ChangeKind::Shape;
/// The end of each sentence.
pub(super) const END: &str = " (shape)";

pub(super) fn changes(compared: &Compared) -> Vec<Change> {
    let Compared { old, new, .. } = compared;
    let mut statements = Statements::new(KIND);
    geometries(compared, &mut statements);
    facts(&old.shape, &new.shape, &mut statements);
    let beyond = further(KIND, "[shape]", old.shape.further.as_ref(), new.shape.further.as_ref());
    statements.changes().into_iter().chain(beyond).collect()
}

/// The looks of both sides, by the promised part.
pub(super) struct Looks {
    old: BTreeSet<Place>,
    new: BTreeSet<Place>,
}

impl Looks {
    pub(super) fn of(compared: &Compared) -> Self {
        let looks = |part: &Part<Promised>| {
            let lines = part.lines.iter().filter_map(|line| match line {
                Promised::Step(StepLine::Look(line)) => Some(Place::of(Some(line))),
                _ => None,
            });
            lines.collect()
        };
        Self { old: looks(&compared.old.promised), new: looks(&compared.new.promised) }
    }

    /// Returns true if the promised part already says that only one side has the look.
    pub(super) fn is_one_sided(&self, place: &Place) -> bool {
        self.old.contains(place) != self.new.contains(place)
    }
}

fn geometries(compared: &Compared, statements: &mut Statements) {
    let looks = Looks::of(compared);
    let of = |part: &'_ Part<Shape>| -> BTreeMap<Place, Vec<String>> {
        let lines = part.lines.iter().filter_map(|line| match line {
            Shape::Geometry(line @ Geometry { look, guest, .. }) => {
                let place = LookLine { name: look.clone(), guest: guest.clone() };
                Some((Place::of(Some(&place)), line.values()))
            }
            Shape::Method(_) | Shape::Count(_) => None,
        });
        lines.collect()
    };
    let (old, new) = (of(&compared.old.shape), of(&compared.new.shape));
    for place in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        statements.exists("tables", place);
        match (old.get(place), new.get(place)) {
            (Some(old), Some(new)) => {
                let pairs = old.iter().zip(new).filter(|(old, new)| old != new);
                pairs.for_each(|(old, new)| {
                    statements.add("tables", format!(": {}{END}", became(old, new)), place);
                });
            }
            _ if looks.is_one_sided(place) => {}
            (Some(_), None) => statements.add("tables", format!(": their format is gone{END}"), place),
            (None, Some(new)) => statements.add("tables", format!(": new, {}{END}", new.join(", ")), place),
            (None, None) => {}
        }
    }
}

/// The methods of resets, and the counts of steps.
fn facts(old: &Part<Shape>, new: &Part<Shape>, statements: &mut Statements) {
    let of = |part: &Part<Shape>| -> BTreeMap<(String, usize), (&'static str, String)> {
        let lines = part.lines.iter().filter_map(|line| match line {
            Shape::Method(MethodLine { device, method }) => {
                Some((format!("reset {device}"), ("method", method.to_string())))
            }
            Shape::Count(CountLine { step, device, values }) => {
                Some((format!("step {step} {device}"), ("count", values.to_string())))
            }
            Shape::Geometry(_) => None,
        });
        let (subjects, facts): (Vec<_>, Vec<_>) = lines.unzip();
        numbered(subjects).into_iter().zip(facts).collect()
    };
    let (old, new) = (of(old), of(new));
    for name @ (subject, number) in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let place = Place::Number(*number);
        statements.exists(subject, &place);
        let predicate = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some((noun, old)), Some((_, new))) => format!(": {noun} {old} became {new}{END}"),
            (Some((noun, _)), None) => format!(": its {noun} is gone{END}"),
            (None, Some((noun, new))) => format!(": new, {noun} {new}{END}"),
            (None, None) => continue,
        };
        statements.add(subject, predicate, &place);
    }
}
