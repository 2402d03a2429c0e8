//! The account of an attempt: what was seen in its looks and steps, as the lines of its report. It
//! is made while the looks are there: a hostile kernel's have millions of leaves, and the account
//! is short.

pub(crate) mod regions;
mod tables;

use super::LookResults;
use crate::lines::{Number, Part, Promised, Shape, Table, Word};
use crate::record::Record;
use crate::record::host_look::DecodedHostLook;
use crate::steps::{Counted, StepAttempt, StepKind};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The observations of each step that must not vary.
    pub promised: Part<Promised>,
    /// The facts that the kernel may choose freely.
    pub shape: Part<Shape>,
    /// The stage-2 tables of each look.
    pub tables: Part<Table>,
    /// Each device with the types that stage 2 gave it.
    pub types: BTreeMap<String, BTreeSet<String>>,
    /// The sizes of what looks at the host have seen, which vary from boot to boot.
    pub numbers: Vec<Number>,
}

impl Account {
    pub(super) fn of(record: &Record, shown: &LookResults) -> Self {
        let looks = &shown.looks;
        let steps = || steps(record, shown);
        let promised = steps().flat_map(|(step, attempt)| step.promised(&attempt));
        let mut shape: Vec<_> = steps().flat_map(|(step, attempt)| step.shape(&attempt)).collect();
        let counted = record.all::<Counted>().filter(|counted| counted.trouble().is_none());
        shape.extend(counted.map(|counted| Shape::Count(counted.line(counted.step, record))));
        shape.sort_by_key(|line| !matches!(line, Shape::Geometry(_)));
        Self {
            promised: Part::new(promised.collect(), |_| true),
            shape: Part::new(shape, |_| true),
            tables: Part::new(tables::lines(record, looks), Table::compares),
            types: regions::types_of_devices(looks),
            numbers: shown.hosts.iter().filter_map(number).collect(),
        }
    }
}

impl Account {
    /// Returns true if both have the same counts.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        let counts = |account: &Self| -> Vec<Shape> {
            let lines = account.shape.lines.iter().filter(|line| matches!(line, Shape::Count(_)));
            lines.cloned().collect()
        };
        counts(self) == counts(other)
    }
}

/// Returns the sizes of what a look at the host has seen, if it could be read.
fn number(look: &DecodedHostLook) -> Option<Number> {
    let seen = look.seen.as_ref().ok()?;
    let (ram, mmio) = (seen.ram.len(), seen.mmio.len());
    let (hypervisor, stacks) = (seen.hypervisor.pages, seen.stacks.pages);
    Some(Number::HostLook { step: look.step, name: Word::new(&look.name), ram, mmio, hypervisor, stacks })
}

/// Yields each step in the attempt, in the scenario's order.
fn steps<'a>(
    record: &'a Record,
    shown: &'a LookResults,
) -> impl Iterator<Item = (&'a dyn StepKind, StepAttempt<'a>)> {
    let steps = record.planned.resolved.steps.iter().enumerate();
    let LookResults { looks, isolation, hosts, .. } = shown;
    steps.map(move |(at, step)| (step.kind(), StepAttempt { at, record, looks, isolation, hosts }))
}
