//! The account of an attempt: what was seen in its looks and steps, as the lines of its report. It
//! is made while the looks are there: a hostile kernel's have millions of leaves, and the account
//! is short.

mod regions;
mod tables;

use super::isolation::Isolation;
use crate::event::{self, Probed, Stored};
use crate::lines::{self, Geometry, Look, Method, Part, Promised, Reset, Shape, Table, Word};
use crate::record::Record;
use crate::record::look::DecodedLook;
use crate::scenario::{Size, Step};
use crate::witnesses::behaviour::ending;
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
}

impl Account {
    /// `isolation`: the result of the rules for each of `looks`.
    pub(super) fn of(record: &Record, looks: &[DecodedLook], isolation: &[Isolation]) -> Self {
        Self {
            promised: Part::new(promised(record, looks, isolation), |_| true),
            shape: Part::new(shape(record, looks), |_| true),
            tables: Part::new(tables::lines(record, looks), Table::compares),
            types: regions::types_of_devices(looks),
        }
    }
}

fn promised(record: &Record, looks: &[DecodedLook], isolation: &[Isolation]) -> Vec<Promised> {
    let mut out = vec![];
    for (at, step) in record.planned.resolved.steps.iter().enumerate() {
        match step {
            Step::Store(_) => {
                out.extend(record.at(at).map(|of| stored(of.data)).map(Promised::Store));
            }
            Step::Look(_) => {
                for (look, isolation) in looks.iter().zip(isolation).filter(|(look, _)| look.step == at) {
                    out.extend(looked(record, look, isolation));
                }
            }
            Step::Host(_) => {
                let resets = record.at::<event::Reset>(at);
                out.extend(resets.map(|reset| Promised::Reset(Reset { device: Word::new(&reset.device) })));
            }
            Step::Probe(_) => {
                out.extend(record.at(at).map(|of| probed(of.data)).map(Promised::Probe));
            }
        }
    }
    out
}

fn looked(record: &Record, look: &DecodedLook, isolation: &Isolation) -> Vec<Promised> {
    let mut out = vec![Promised::Look(Look::new(&look.name, &look.guest))];
    match &look.seen {
        Ok(seen) => {
            out.extend(regions::lines(record, look, seen));
            out.push(Promised::Isolation(regions::isolation(record, look, isolation)));
        }
        Err(_) => out.push(Promised::Unreadable),
    }
    out
}

fn stored(stored: &Stored) -> lines::Store {
    let Stored { guest, device, map, width, result, file_difference, .. } = stored;
    lines::Store {
        guest: Word::new(guest),
        device: Word::new(device),
        map: *map,
        width: *width,
        stores: result.stores,
        file_equal: file_difference.is_none(),
        reads_back: result.first_difference.is_none(),
    }
}

fn probed(probe: &Probed) -> lines::Probe {
    let Probed { guest, device, map, outcome } = probe;
    let (guest, device, map) = (Word::new(guest), Word::new(device), *map);
    lines::Probe { guest, device, map, ending: ending(outcome) }
}

fn shape(record: &Record, looks: &[DecodedLook]) -> Vec<Shape> {
    let geometry = looks.iter().filter_map(|look| {
        let seen = look.seen.as_ref().ok()?;
        Some(Shape::Geometry(Geometry {
            look: Word::new(&look.name),
            guest: Word::new(&look.guest),
            granule: Size(seen.granule.size()),
            ipa_bits: seen.ipa_bits,
            start_level: seen.start_level,
        }))
    });
    let methods = record.all::<event::Reset>().map(|reset| {
        let (device, method) = (Word::new(&reset.device), lines::Text::new(&reset.method));
        Shape::Method(Method { device, method })
    });
    geometry.chain(methods).collect()
}
