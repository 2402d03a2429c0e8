//! Decoding of `known.yaml`, and its entries without a cell.

use super::{Date, KnownFailures};
use crate::diagnostic::{Diagnostic, Diagnostics, Sink, suggest};
use crate::json_schema::{self, Format, LONGEST_LINE, Schema, schema_of};
use crate::plan::{Key, glob};
use crate::yaml::{self, Node};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

static SCHEMA: LazyLock<Value> = LazyLock::new(schema_of::<KnownFailures>);

const FORMATS: [Format; 4] = [
    Format { name: "pattern", what: "a name or a glob", number: false, check: pattern },
    json_schema::LINE,
    Format { name: "link", what: "a URL", number: false, check: link },
    Format { name: "date", what: "a date like 2026-12-24", number: false, check: date },
];

/// Reads the file `file` of known failures, whose content is `text`. Opens no file.
///
/// # Errors
/// Returns all mistakes of the file, in their order.
pub fn load(file: &str, text: &str) -> Result<KnownFailures, Diagnostics> {
    json_schema::read(file, text, &Schema { json: &SCHEMA, formats: &FORMATS }, no_entry_twice)
}

/// Returns a warning for each entry that is for no cell of the lab folder.
pub fn unmatched(file: &str, text: &str, cells: &BTreeSet<Key>) -> Vec<Diagnostic> {
    let mut sink = Sink::new(file, text);
    let Some(root) = yaml::parse(text, &mut sink) else { return vec![] };
    for (scenario, kernel) in entries(&root) {
        let (Some(of), Some(on)) = (scenario.text(), kernel.text()) else { continue };
        let has_scenario = |key: &&Key| glob(of, key.scenario());
        if cells.iter().any(|key| has_scenario(&key) && glob(on, key.kernel())) {
            continue;
        }
        let (node, help) = match cells.iter().any(|key| has_scenario(&key)) {
            false => (scenario, suggest(of, names(cells, Key::scenario))),
            true => (kernel, suggest(on, names(cells, Key::kernel))),
        };
        let message = format!("no cell of the lab folder is `{of}` on `{on}`: the entry tolerates nothing");
        sink.warning(node.span.clone(), message, help);
    }
    sink.found()
}

/// Returns the JSON schema (draft 7) of `known.yaml`, as committed in `docs/known.schema.json`.
pub fn schema() -> String {
    format!("{:#}\n", *SCHEMA)
}

/// Returns one half of all keys, each once.
fn names(cells: &BTreeSet<Key>, half: fn(&Key) -> &str) -> BTreeSet<&str> {
    cells.iter().map(half).collect()
}

/// Returns the scenario and the kernel of each entry that has both.
fn entries(root: &Node) -> impl Iterator<Item = (&Node, &Node)> {
    let items = root.get("known").into_iter().flat_map(Node::items);
    items.filter_map(|entry| Some((entry.get("scenario")?, entry.get("kernel")?)))
}

/// Reports an entry for the same cells as one before it, which would never decide.
fn no_entry_twice(root: &Node, sink: &mut Sink<'_>) {
    let mut known = BTreeSet::new();
    for (scenario, kernel) in entries(root) {
        let pair = (scenario.text(), kernel.text());
        if let (Some(of), Some(on)) = pair
            && !known.insert((of, on))
        {
            let message = format!("an entry before this one is for `{of}` on `{on}` too");
            sink.error_help(scenario.span.clone(), message, "keep one of them");
        }
    }
}

fn pattern(text: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.~*?".contains(c);
    match !text.is_empty() && text.chars().all(inside) {
        true => Ok(()),
        false => {
            Err(format!("`{text}` is no name: a name has a-z, 0-9, `-` and `.`; a glob also `*` and `?`"))
        }
    }
}

fn link(text: &str) -> Result<(), String> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"`".contains(&byte));
    let rest = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match visible && text.len() <= LONGEST_LINE && rest.is_some_and(|rest| !rest.is_empty()) {
        true => Ok(()),
        false => Err(format!("`{text}` is not a URL that begins with https:// or http://")),
    }
}

fn date(text: &str) -> Result<(), String> {
    text.parse::<Date>().map(drop).map_err(|error| error.to_string())
}
