//! The answers of verbs that are not about a run, as JSON documents. Their schema,
//! `docs/answers.schema.json`, is made from these types.

mod past;
mod runs;

pub use past::{CellHistory, FactChange, FlakyRate, Measure, MeasuredBoot, PastResult, Trend};
pub use runs::{RunContent, RunEntry};

use super::promises::ExpectedCell;
use s2lab_model::{
    escape,
    event::PlannedCell,
    mutants::{Mutant, PlannedMutant},
    outlook::Outlook,
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value;

/// Version of these documents: it rises when a key goes or changes its meaning. New keys may come.
const VERSION: u32 = 1;

/// An answer of s2lab.
#[derive(Debug, Serialize, JsonSchema)]
struct Document<'a> {
    /// Version of this form.
    version: u32,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// The answer of a verb, or the error that every verb may have.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The answer of `list`.
    List { cells: Vec<Cell> },
    /// The answer of `list --kernels`.
    ListKernels { kernels: Vec<Kernel> },
    /// The answer of `list --promises`.
    ListPromises {
        promises: Vec<Promise>,
        /// Every scenario at every point of its axes on every kernel of the list.
        cells: Vec<PromisedCell>,
    },
    /// The answer of `run --dry-run`.
    RunDryRun { cells: Vec<Cell> },
    /// The answer of `explain`.
    Explain { cells: Vec<Explained> },
    /// The answer of `lint`.
    Lint {
        /// The number of files that were read.
        files: usize,
        mistakes: Vec<Mistake>,
        /// The parts that can be used, and are probably not what was meant.
        warnings: Vec<Mistake>,
    },
    /// The answer of `doctor`.
    Doctor { subjects: Vec<Subject> },
    /// The answer of `cache list`.
    CacheList { items: Vec<Item> },
    /// The answer of `cache path`.
    CachePath { path: String },
    /// The answer of `cache verify`.
    CacheVerify { items: Vec<Item> },
    /// The answer of `cache gc`.
    CacheGc {
        /// Nothing was removed.
        dry_run: bool,
        removed: Vec<Item>,
        /// Old enough to go, and in use.
        kept: Vec<Item>,
    },
    /// The answer of `cache refresh`.
    CacheRefresh {},
    /// The answer of `init`: the new lab folder.
    Init { folder: String },
    /// The answer of `new`: the new scenario.
    New { file: String },
    /// The answer of `bundle`.
    Bundle {
        file: String,
        /// The number of files in it.
        files: usize,
        bytes: usize,
        sha256: String,
        cells: Vec<String>,
    },
    /// The answer of `accept`.
    Accept {
        /// The cells that could be accepted and differed, those that are alike together.
        groups: Vec<AcceptedGroup>,
        /// All cells that were chosen.
        cells: Vec<AcceptedCell>,
    },
    /// The answer of `mutants --list`.
    MutantsList { mutants: Vec<MutantEntry> },
    /// The answer of `runs`.
    Runs {
        /// The newest first.
        runs: Vec<RunEntry>,
    },
    /// The answer of `runs rm`.
    RunsRm {
        /// The names of the runs.
        removed: Vec<String>,
        bytes: u64,
    },
    /// The answer of `history`.
    History {
        /// The file of the history.
        file: String,
        /// The cells, those of the newest runs first.
        cells: Vec<CellHistory>,
    },
    /// The answer of `history add`.
    HistoryAdd { runs: Vec<AddedRun> },
    /// The answer of `trend`.
    Trend(Box<Trend>),
    /// The error of any verb, in place of its own document.
    Error {
        message: String,
        hint: Option<String>,
        /// The exit code.
        exit: u8,
    },
}

/// A run that `history add` was given.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AddedRun {
    pub run: String,
    /// added; again: it was there, and is replaced; part: more of its cells are there, and stay.
    pub result: &'static str,
}

/// A deliberate mistake in a kernel.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MutantEntry {
    /// The entry of `images/kernels.yaml`.
    pub kernel: String,
    pub name: String,
    pub about: String,
    /// The part of the kernel.
    pub area: String,
    /// The promises that it breaks, `alarm` for a finding that names none, or `nothing`.
    pub breaks: String,
    /// The known bug that it is like.
    pub like: Option<String>,
    /// The reason why emulation cannot show it.
    pub cannot_show: Option<String>,
    /// The scenarios that run on it; none if emulation cannot show it.
    pub scenarios: Vec<String>,
}

impl MutantEntry {
    pub fn of(planned: &PlannedMutant, scenarios: Vec<String>) -> Self {
        let PlannedMutant { mutant, base } = planned;
        let Mutant { name, about, area, breaks, like, cannot_show } = mutant.clone();
        let breaks = breaks.to_string();
        Self { kernel: base.clone(), name, about, area, breaks, like, cannot_show, scenarios }
    }
}

/// A scenario on a kernel.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cell {
    pub key: String,
    pub scenario: String,
    pub kernel: String,
    /// The sentence about the scenario.
    pub about: String,
    /// The promises that the cell checks, like I1.
    pub promises: Vec<String>,
    /// The reason why the scenario excludes this point of its axes, on all kernels or on this one; or null.
    pub excluded: Option<String>,
    /// The arguments of s2lab that run this cell alone.
    pub repeat: Vec<String>,
}

/// An entry of images/kernels.yaml.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Kernel {
    pub name: String,
    /// debian, source, tree or image.
    pub provider: String,
    pub traits: Vec<String>,
    pub about: String,
}

/// A promise, and the scenarios that hold it up.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Promise {
    pub promise: String,
    pub sentence: String,
    pub scenarios: Vec<String>,
}

/// The expected result of a cell, as far as it is known before a boot.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PromisedCell {
    pub key: String,
    pub scenario: String,
    pub kernel: String,
    /// The promises that the cell checks.
    pub promises: Vec<String>,
    /// PASS or SKIP.
    pub expected: &'static str,
    /// The alternative that a PASS must meet; null if the expectations are the same for every kernel.
    #[serde(rename = "as")]
    pub label: Option<String>,
    /// The reason of a SKIP.
    pub reason: Option<String>,
    /// The facts about the kernel that are not known yet, and that make a SKIP of a PASS.
    pub skip_if: Vec<String>,
}

impl From<&ExpectedCell> for PromisedCell {
    fn from(ExpectedCell { cell, outlook }: &ExpectedCell) -> Self {
        let (expected, label, reason, skip_if) = match outlook.clone() {
            Outlook::Pass { label, skip_if } => ("PASS", label, None, skip_if),
            Outlook::Skip { reason } => ("SKIP", None, Some(reason), vec![]),
        };
        let Cell { key, scenario, kernel, promises, .. } = Cell::from(cell);
        Self { key, scenario, kernel, promises, expected, label, reason, skip_if }
    }
}

/// The parts of a cell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Explained {
    pub key: String,
    pub about: String,
    /// The resolved cell as the plan has it, see docs/formats.md.
    pub resolved: Value,
    /// The kernel's entry, or where it comes from.
    pub kernel: String,
    /// Exactly one of these must be met as a whole.
    pub alternatives: Vec<Alternative>,
    /// The command line of the host's QEMU; what stands in <> is made when it starts.
    pub qemu: Vec<String>,
    /// The guests, by name.
    pub guests: Vec<ExplainedGuest>,
}

/// A guest of a cell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExplainedGuest {
    pub name: String,
    /// The command line of its QEMU in the host; null for the built-in VMM.
    pub qemu: Option<Vec<String>>,
}

/// Expectations that hold together.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Alternative {
    /// The name in a verdict.
    #[serde(rename = "as")]
    pub label: Option<String>,
    /// Written like those of a scenario.
    pub expectations: Vec<Value>,
}

/// Cells with the same changes from their accepted reports.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AcceptedGroup {
    /// The changes, in sentences.
    pub changes: Vec<String>,
    pub keys: Vec<String>,
}

/// A cell that was to be accepted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AcceptedCell {
    pub key: String,
    /// accepted, as-accepted or refused.
    pub result: &'static str,
    /// The file that was written, if it was accepted.
    pub file: Option<String>,
    /// The reason, if it was refused.
    pub why: Option<String>,
}

/// A mistake in a file. Lines and columns count from 1.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Mistake {
    pub file: String,
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub message: String,
    pub hint: Option<String>,
}

/// A subject of `doctor`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Subject {
    /// ok, missing or note.
    pub state: String,
    pub subject: String,
    pub text: String,
}

/// An object or a package of the cache, or a folder that builds keep.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Item {
    pub kind: String,
    pub name: String,
    pub digest: String,
    pub path: String,
    pub bytes: u64,
    /// The time by RFC 3339; empty for a time beyond the calendar.
    pub made: String,
    pub used: String,
    /// The live processes that use it.
    pub processes: Vec<u32>,
    /// The damages that `verify` found; other verbs do not look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damages: Option<Vec<String>>,
}

impl From<&PlannedCell> for Cell {
    fn from(cell: &PlannedCell) -> Self {
        Self {
            key: cell.key.to_string(),
            scenario: cell.key.scenario().to_owned(),
            kernel: cell.kernel.clone(),
            about: cell.about.clone(),
            promises: cell.resolved.promises.iter().map(ToString::to_string).collect(),
            excluded: cell.resolved.excluded.clone(),
            repeat: cell.repeat.clone(),
        }
    }
}

/// Returns the document, with a line feed at its end.
pub fn document(answer: &Answer) -> String {
    let document = serde_json::json!(Document { version: VERSION, answer });
    escape::json(&format!("{document:#}")) + "\n"
}

/// Returns the JSON schema (draft 7) of the documents.
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Document<'static>>();
    format!("{:#}\n", schema.to_value())
}
