//! Decoding of a text to [`Scenario`], or to all of its mistakes at once.

use super::axes::{self, Matrix, SetError, SetValue, check_path, check_value};
use super::programs::{self, Programs, ReadProgram};
use super::{FULL_SET, Promise, Scenario, Size, Timeout, check, needs, schema};
use crate::diagnostic::{Diagnostic, Diagnostics, Sink};
use crate::json_schema::{self, Format, Schema, decode};
use crate::yaml::{self, Node};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(schema::value);

const FORMATS: [Format; 13] = [
    Format { name: "argument", what: "an argument", number: false, check: programs::argument },
    Format { name: "axis-value", what: "a value like 16M", number: true, check: check_value },
    json_schema::LINE,
    Format { name: "name", what: "a name", number: false, check: check::name },
    Format { name: "option", what: "an option like IOMMUFD", number: false, check: needs::option },
    Format { name: "path", what: "a path like host.cpu", number: false, check: check_path },
    Format { name: "program", what: "the path of a program", number: false, check: programs::path },
    Format {
        name: "promise",
        what: "a promise like I1",
        number: false,
        check: |text| Promise::try_from(text.to_owned()).map(drop),
    },
    Format {
        name: "seed",
        what: "a seed like 7",
        number: true,
        check: |text| match text.parse::<u32>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("`{text}` is not a seed; a seed is a number from 0 to {}", u32::MAX)),
        },
    },
    Format {
        name: "selftest",
        what: "a test like page_fault_test",
        number: false,
        check: programs::selftest,
    },
    Format { name: "set", what: "a name", number: false, check: set },
    Format {
        name: "size",
        what: "a size like 16M",
        number: true,
        check: |text| Size::try_from(text.to_owned()).map(drop),
    },
    Format {
        name: "timeout",
        what: "a time like 30s",
        number: false,
        check: |text| Timeout::try_from(text.to_owned()).map(drop),
    },
];

/// Returns true for a key that a scenario may have.
pub(super) fn is_key(key: &str) -> bool {
    SCHEMA["properties"].get(key).is_some()
}

/// Checks the name of a set.
fn set(text: &str) -> Result<(), String> {
    match text {
        FULL_SET => Err(format!("every scenario is in the set `{FULL_SET}`: leave it out")),
        name => check::name(name),
    }
}

/// The reason why a scenario does not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Written(#[from] Diagnostics),
    #[error(transparent)]
    Set(#[from] SetError),
}

/// Reads the scenario file `file`, whose content is `text`. The name `file` is shown, and its stem
/// must be the scenario's name. No file is opened: its programs have no digests.
///
/// # Errors
/// All mistakes of the file, in its order.
pub fn load(file: &str, text: &str) -> Result<Scenario, Diagnostics> {
    load_by(file, text, &mut Programs::unread())
}

/// Reads a scenario file like [`load`], with the digests of its programs, which `read` reads.
///
/// # Errors
/// All mistakes of the file, and of its programs.
pub fn load_with(file: &str, text: &str, read: ReadProgram<'_>) -> Result<Scenario, Diagnostics> {
    load_by(file, text, &mut Programs::by(read))
}

/// Reads a scenario like [`load_with`], and keeps the points with these values. A path that the file
/// does not vary becomes an axis with this value.
///
/// # Errors
/// All mistakes of the file and of its programs, or the first of a value. A path must be set once.
pub fn load_at(
    file: &str,
    text: &str,
    sets: &[SetValue],
    read: ReadProgram<'_>,
) -> Result<Scenario, LoadError> {
    let mut programs = Programs::by(read);
    let mut scenario = load_by(file, text, &mut programs)?;
    let mut sink = Sink::new(file, text);
    let Some(mut root) = yaml::parse(text, &mut sink).filter(|_| !sets.is_empty()) else {
        return Ok(scenario);
    };
    let names: Vec<_> = sets.iter().map(|set| axes::apply(&mut root, set)).collect();
    scenario.matrix = checked(file, text, &root, &mut programs, &mut sink).0;
    if let Some(mistake) = sink.found().into_iter().next() {
        let set = sets.iter().map(SetValue::word).collect::<Vec<_>>().join(" ");
        let Diagnostic { message, help, .. } = mistake;
        return Err(SetError { scenario: scenario.scenario, set, why: message, help }.into());
    }
    names.iter().zip(sets).for_each(|(name, set)| scenario.keep(name, &set.value));
    Ok(scenario)
}

fn load_by(file: &str, text: &str, programs: &mut Programs<'_>) -> Result<Scenario, Diagnostics> {
    let mut sink = Sink::new(file, text);
    let Some(root) = yaml::parse(text, &mut sink) else { return sink.finish(None) };
    let (matrix, programs) = checked(file, text, &root, programs, &mut sink);
    let written = if sink.is_empty() { decode(text, &root, &mut sink) } else { None };
    sink.finish(written.map(|written| Scenario { matrix, programs, ..written }))
}

/// Reports all mistakes of a file's tree. Returns its axes and points, and the digests of the programs
/// that it names without axes.
fn checked<'t>(
    file: &'t str,
    text: &'t str,
    root: &Node,
    programs: &mut Programs<'_>,
    sink: &mut Sink<'t>,
) -> (Matrix, BTreeMap<String, String>) {
    let mut check = |tree: &Node, sink: &mut Sink<'t>| {
        Schema { json: &SCHEMA, formats: &FORMATS }.check(tree, sink);
        check::check(file, tree, programs, sink)
    };
    let digests = check(root, sink);
    let axes = axes::read(root, sink);
    // Axes with mistakes are not known.
    if axes.is_some() || root.get("axes").is_none() {
        axes::check_sets(root, axes.as_ref(), sink);
    }
    let matrix = match axes {
        Some(axes) => axes::resolve(root, &axes, || Sink::new(file, text), check, &digests, sink),
        None => {
            if root.get("axes").is_none() {
                axes::check_left(root, sink);
            }
            Matrix::default()
        }
    };
    (matrix, digests)
}

/// One `T`, or a list of them.
pub(super) fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
