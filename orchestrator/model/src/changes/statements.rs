//! Statements about the looks and steps of a report. A statement that holds wherever its subject is
//! names no place.

use super::{Change, ChangeKind, change};
use crate::steps::LookLine;
use std::collections::{BTreeMap, BTreeSet};

/// The place of a statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A guest at a look.
    Look { look: String, guest: String },
    /// One of several equal steps, from 0.
    Number(usize),
}

impl Place {
    /// The place of the lines below `line`; None: they come before every look.
    pub(super) fn of(line: Option<&LookLine>) -> Place {
        let (look, guest) = line.map_or(("(none)", "(none)"), |line| (&*line.name, &*line.guest));
        Place::Look { look: look.to_owned(), guest: guest.to_owned() }
    }

    fn look(&self) -> Option<&str> {
        match self {
            Place::Look { look, .. } => Some(look),
            Place::Number(_) => None,
        }
    }

    fn guest(&self) -> Option<&str> {
        match self {
            Place::Look { guest, .. } => Some(guest),
            Place::Number(_) => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Place::Look { look, guest } => format!(" at look {look}, guest {guest}"),
            Place::Number(number) => format!(" (number {})", number + 1),
        }
    }
}

/// A sentence in two halves, between which its place is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Statement {
    subject: String,
    predicate: String,
}

/// The statements of one kind.
pub(super) struct Statements {
    kind: ChangeKind,
    all: BTreeMap<Statement, BTreeSet<Place>>,
    /// The places of each subject.
    places: BTreeMap<String, BTreeSet<Place>>,
}

impl Statements {
    pub(super) fn new(kind: ChangeKind) -> Self {
        Self { kind, all: BTreeMap::new(), places: BTreeMap::new() }
    }

    /// Notes that the subject is at the place, changed or not.
    pub(super) fn exists(&mut self, subject: &str, place: &Place) {
        self.places.entry(subject.to_owned()).or_default().insert(place.clone());
    }

    /// Adds a statement. The predicate begins with its separator: `: Normal-NC became ...`.
    pub(super) fn add(&mut self, subject: &str, predicate: impl Into<String>, place: &Place) {
        self.exists(subject, place);
        let statement = Statement { subject: subject.to_owned(), predicate: predicate.into() };
        self.all.entry(statement).or_default().insert(place.clone());
    }

    pub(super) fn changes(self) -> Vec<Change> {
        let mut out = vec![];
        for (Statement { subject, predicate }, places) in &self.all {
            let everywhere = self.places.get(subject).unwrap_or(places);
            let words = words(places, everywhere).into_iter();
            out.extend(words.map(|place| change(self.kind, format!("{subject}{place}{predicate}"))));
        }
        out
    }
}

/// Returns `places` in words, as few as distinguish them from the rest of `everywhere`.
fn words(places: &BTreeSet<Place>, everywhere: &BTreeSet<Place>) -> Vec<String> {
    if places == everywhere {
        return vec![String::new()];
    }
    let whole = |of: fn(&Place) -> Option<&str>| -> Option<BTreeSet<&str>> {
        let names: BTreeSet<&str> = places.iter().filter_map(of).collect();
        let covered = everywhere.iter().filter(|place| of(place).is_some_and(|name| names.contains(name)));
        covered.eq(places).then_some(names)
    };
    if let Some(guests) = whole(Place::guest).filter(|guests| !guests.is_empty()) {
        return guests.into_iter().map(|guest| format!(" at guest {guest}")).collect();
    }
    if let Some(looks) = whole(Place::look).filter(|looks| !looks.is_empty()) {
        return looks.into_iter().map(|look| format!(" at look {look}")).collect();
    }
    places.iter().map(Place::words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(look: &str, guest: &str) -> Place {
        Place::Look { look: look.into(), guest: guest.into() }
    }

    #[test]
    fn a_place_is_named_only_if_it_distinguishes() {
        let sentences = |stated: &[(&str, &str)]| {
            let mut statements = Statements::new(ChangeKind::Promised);
            for look in ["stored", "again"] {
                for guest in ["g0", "g1"] {
                    statements.exists("ram", &at(look, guest));
                }
            }
            stated.iter().for_each(|(look, guest)| statements.add("ram", ": x", &at(look, guest)));
            statements.changes().into_iter().map(|change| change.what).collect::<Vec<_>>()
        };
        let all = [("stored", "g0"), ("stored", "g1"), ("again", "g0"), ("again", "g1")];
        assert_eq!(sentences(&all), ["ram: x"]);
        assert_eq!(sentences(&all[..2]), ["ram at look stored: x"]);
        assert_eq!(sentences(&[all[0], all[2]]), ["ram at guest g0: x"]);
        assert_eq!(sentences(&all[1..2]), ["ram at look stored, guest g1: x"]);
        assert_eq!(sentences(&all[..0]), Vec::<String>::new());
        let three = sentences(&all[..3]);
        assert_eq!(three.len(), 3, "{three:?}");
        assert!(three.iter().all(|sentence| sentence.contains(" at look ") && sentence.contains(", guest ")));
    }

    #[test]
    fn equal_steps_are_counted() {
        let mut statements = Statements::new(ChangeKind::Promised);
        statements.exists("reset nic", &Place::Number(0));
        statements.add("reset nic", ": gone", &Place::Number(1));
        assert_eq!(statements.changes()[0].what, "reset nic (number 2): gone");
    }
}
