//! The groups of a run's cells that a person reviews, for a terminal and as a JSON document. Its
//! schema, `docs/review.schema.json`, is made from these types.

use super::{command::quoted, outline::cells};
use s2lab_model::{escape, plan::Key, review::Group};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use std::path::PathBuf;

/// Version of the JSON document: it rises when a key goes or changes its meaning. New keys may come.
const VERSION: u32 = 1;
/// The most sentences of a group that people get.
const MOST: usize = 24;

/// Everything that there is to review of a run.
pub struct Review {
    /// The run's folder.
    pub folder: PathBuf,
    pub groups: Vec<Group>,
    /// The cells whose report cannot be accepted, each with the reason.
    pub refused: Vec<(Key, String)>,
    /// Accepted reports whose cell the lab does not have.
    pub orphaned: Vec<Key>,
    /// The options that name the run and the lab folder in a command.
    pub options: Vec<String>,
    /// The exit code of `check`.
    pub exit: u8,
}

impl Review {
    /// Returns the arguments of s2lab that accept a group.
    fn accept(&self, group: &Group) -> Vec<String> {
        let like = group.keys.first().map(|key| ["--like".to_owned(), key.to_string()]);
        let arguments = ["accept".to_owned()].into_iter().chain(like.into_iter().flatten());
        arguments.chain(self.options.iter().cloned()).collect()
    }
}

/// Returns the groups, each with the command that accepts it, and the cells that cannot be accepted.
pub fn lines(review: &Review) -> String {
    let mut out = String::new();
    for (number, group) in review.groups.iter().enumerate() {
        let command: Vec<_> = review.accept(group).iter().map(|argument| quoted(argument)).collect();
        out.push_str(&heading(number, review.groups.len(), group));
        out.push_str(&format!("  accept: s2lab {}\n", command.join(" ")));
    }
    out.push_str(&rest(review));
    out
}

/// Returns the cells that cannot be accepted, or that there is nothing to review.
pub fn rest(review: &Review) -> String {
    let refused = review.refused.iter().map(|(key, why)| format!("{key}: cannot be accepted, {why}\n"));
    let orphaned = review.orphaned.iter();
    let orphaned =
        orphaned.map(|key| format!("{key}: orphaned, the lab has no such cell; remove the file\n"));
    let mut out: String = refused.chain(orphaned).collect();
    if review.groups.is_empty() && out.is_empty() {
        out.push_str("nothing to review: all is as accepted\n");
    }
    escape::plain(&out)
}

/// Returns a group with its number, counted from 0, its sentences and its cells.
pub fn heading(number: usize, all: usize, group: &Group) -> String {
    let keys: Vec<_> = group.keys.iter().map(Key::as_str).collect();
    let cells = cells(group.keys.len());
    let sentences = sentences(group).map(|sentence| format!("  {sentence}\n"));
    let sentences: String = sentences.collect();
    format!("group {} of {all}: {cells}\n{sentences}  cells: {}\n", number + 1, keys.join(", "))
}

/// Returns how many cells are accepted, and with which changes.
pub fn announcement(group: &Group) -> String {
    let sentences: Vec<_> = sentences(group).collect();
    format!("{}: {}", cells(group.keys.len()), sentences.join("\n  "))
}

fn sentences(group: &Group) -> impl Iterator<Item = String> {
    let all = group.decision.sentences();
    let further = all.count().saturating_sub(MOST);
    let shown = group.decision.sentences().take(MOST).map(escape::plain);
    shown.chain((further > 0).then(|| format!("and {further} more changes")))
}

/// The groups of a run's cells that a person reviews.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Review")]
struct Document<'a> {
    /// Version of this form.
    version: u32,
    /// The run's folder.
    folder: String,
    /// The exit code of `s2lab check` for this run.
    exit: u8,
    /// The groups, the weightiest first.
    groups: Vec<Alike<'a>>,
    /// The cells whose report cannot be accepted.
    refused: Vec<Refused<'a>>,
    /// Accepted reports whose cell the lab does not have.
    orphaned: Vec<&'a str>,
}

/// Cells with the same list of changes, whatever the key and the kernel.
#[derive(Serialize, JsonSchema)]
struct Alike<'a> {
    /// changed, not-comparable, unreadable, new, shape or new-witness.
    kind: &'static str,
    /// A sentence of its own, for every kind but changed and shape.
    note: Option<&'a str>,
    /// The changes from the accepted report, the worst first. For new and unreadable: the findings
    /// of the new report.
    changes: Vec<OneChange<'a>>,
    keys: Vec<&'a str>,
    /// The arguments of s2lab that accept all of them.
    accept: Vec<String>,
}

/// A difference of meaning, without key and kernel.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Change")]
struct OneChange<'a> {
    /// verdict, lab, kernel, promised, witness or shape.
    kind: &'static str,
    what: &'a str,
}

/// A cell whose report cannot be accepted.
#[derive(Serialize, JsonSchema)]
struct Refused<'a> {
    key: &'a str,
    why: &'a str,
}

/// Returns the document, with a line feed at its end.
pub fn document(review: &Review) -> String {
    let document = Document {
        version: VERSION,
        folder: review.folder.display().to_string(),
        exit: review.exit,
        groups: review.groups.iter().map(|group| alike(review, group)).collect(),
        refused: review.refused.iter().map(|(key, why)| Refused { key: key.as_str(), why }).collect(),
        orphaned: review.orphaned.iter().map(Key::as_str).collect(),
    };
    escape::json(&format!("{:#}", serde_json::json!(document))) + "\n"
}

/// Returns the JSON schema (draft 7) of the document.
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Document<'static>>();
    format!("{:#}\n", schema.to_value())
}

fn alike<'a>(review: &Review, group: &'a Group) -> Alike<'a> {
    let changes = group.decision.changes.iter();
    Alike {
        kind: group.decision.kind.name(),
        note: group.decision.note.as_deref(),
        changes: changes.map(|change| OneChange { kind: change.kind.name(), what: &change.what }).collect(),
        keys: group.keys.iter().map(Key::as_str).collect(),
        accept: review.accept(group),
    }
}
