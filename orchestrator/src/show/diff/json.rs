//! Two sides compared, as one JSON document. Its schema, `docs/diff.schema.json`, is made from these
//! types.

use s2lab_model::{
    changes::{CellDiff, CellResult, Change, DiffSummary, Group},
    escape,
    report::Difference,
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;

/// Version of this form: it rises when a key goes or changes its meaning. New keys may come.
const VERSION: u32 = 1;

/// Two sides with the reports of cells, compared.
#[derive(Serialize, JsonSchema)]
struct Diff<'a> {
    /// Version of this form.
    version: u32,
    /// The name of the old side, as the user wrote it.
    old: &'a str,
    new: &'a str,
    /// 0: same, 5: different, 2: not comparable.
    exit: u8,
    /// The cells that both sides have, by key.
    cells: Vec<Cell<'a>>,
    /// The cells that only the old side has.
    only_old: Vec<&'a str>,
    only_new: Vec<&'a str>,
    /// Equal changes of several cells, the worst and largest first.
    groups: Vec<Cells>,
}

/// A cell of both sides.
#[derive(Serialize, JsonSchema)]
struct Cell<'a> {
    /// The key on the old side; another than on the new side if two cells were named.
    old: &'a str,
    new: &'a str,
    /// same, different or not-comparable.
    result: &'static str,
    /// What differs, the worst first.
    changes: Vec<Sentence<'a>>,
    /// The conditions that differ, if it is not comparable.
    facts: Vec<Fact<'a>>,
    /// The facts that may differ and do, such as versions and digests. They are not compared.
    variable: Vec<Fact<'a>>,
}

/// A difference of meaning.
#[derive(Serialize, JsonSchema)]
pub(in crate::show) struct Sentence<'a> {
    /// verdict, lab, kernel, promised, witness or shape.
    kind: &'static str,
    /// One sentence, without the names of cell and kernel.
    what: &'a str,
}

/// A fact about the environment of a report that differs; null: a report does not have it.
#[derive(Serialize, JsonSchema)]
struct Fact<'a> {
    name: &'a str,
    old: Option<&'a str>,
    new: Option<&'a str>,
}

/// A change, and the cells that have it.
#[derive(Serialize, JsonSchema)]
struct Cells {
    kind: &'static str,
    what: String,
    /// Their keys on the new side.
    keys: Vec<String>,
}

/// Returns the document, with a line feed at its end.
pub fn document(diff: &DiffSummary) -> String {
    let document = Diff {
        version: VERSION,
        old: &diff.old,
        new: &diff.new,
        exit: diff.exit,
        cells: diff.cells.iter().map(cell).collect(),
        only_old: diff.only_old.iter().map(|key| key.as_str()).collect(),
        only_new: diff.only_new.iter().map(|key| key.as_str()).collect(),
        groups: diff.groups().iter().map(cells).collect(),
    };
    escape::json(&format!("{:#}", serde_json::json!(document))) + "\n"
}

fn cell(CellDiff { old, new, result, variables }: &CellDiff) -> Cell<'_> {
    let (result, changes, facts): (_, &[Change], &[Difference]) = match result {
        CellResult::Same => ("same", &[], &[]),
        CellResult::Differs(changes) => ("different", changes, &[]),
        CellResult::NotComparable(facts) => ("not-comparable", &[], facts),
    };
    let [facts, variable] = [facts, variables].map(|facts| facts.iter().map(fact).collect());
    Cell { old: old.as_str(), new: new.as_str(), result, changes: sentences(changes), facts, variable }
}

fn fact(Difference { name, accepted, new }: &Difference) -> Fact<'_> {
    Fact { name, old: accepted.as_deref(), new: new.as_deref() }
}

/// Returns the changes of a cell.
pub(in crate::show) fn sentences(changes: &[Change]) -> Vec<Sentence<'_>> {
    changes.iter().map(|Change { kind, what }| Sentence { kind: kind.name(), what }).collect()
}

fn cells(Group { change, keys }: &Group) -> Cells {
    let keys = keys.iter().map(ToString::to_string).collect();
    Cells { kind: change.kind.name(), what: change.what.clone(), keys }
}

/// Returns the JSON schema (draft 7) of the document.
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Diff<'static>>();
    format!("{:#}\n", schema.to_value())
}
