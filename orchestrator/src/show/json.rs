//! A run as one JSON document. Its schema, `docs/run.schema.json`, is made from these types.

mod comparison;

use super::diff::json::{Sentence, sentences};
use super::standings;
use comparison::Comparison;
use s2lab_model::{
    escape,
    finding::Finding,
    judge::JudgedMutants,
    plan::Key,
    report::{Outcome, Standing},
    summary::{CellSummary, RunSummary},
    verdict::{Interrupt, Verdict},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Version of this form: it rises when a key goes or changes its meaning. New keys may come.
const VERSION: u32 = 1;

/// A run of s2lab.
#[derive(Serialize, JsonSchema)]
struct Run<'a> {
    /// Version of this form.
    version: u32,
    /// The run's folder.
    folder: String,
    /// The lab folder, or `built-in`.
    lab: Option<&'a str>,
    /// The seed of the order in which the cells were carried out.
    shuffle: Option<u32>,
    /// The date of the night, if the run is one of `s2lab nightly`.
    night: Option<String>,
    /// The mutants, if the run is one of `s2lab mutants`.
    #[serde(skip_serializing_if = "Option::is_none")]
    mutants: Option<Mutants<'a>>,
    /// The exit code of the run.
    exit: u8,
    /// The signal that ended the run early.
    interrupted: Option<&'static str>,
    /// The log has the run's end. Without it attempts may be missing.
    whole: bool,
    /// The comparison of two kernels; null: the run is not one of `s2lab compare`.
    comparison: Option<Comparison<'a>>,
    /// The cells, in the plan's order.
    cells: Vec<Cell<'a>>,
    /// Accepted reports whose cell the lab does not have; only `check` looks for them.
    orphaned: Vec<&'a str>,
}

/// The kernels of a run on mutants.
#[derive(Serialize, JsonSchema)]
struct Mutants<'a> {
    /// Those with all mutants built in, of which none is chosen.
    unmutated: Vec<Unmutated<'a>>,
    /// The mutants, in the plan's order.
    mutants: Vec<Mutant<'a>>,
}

/// A kernel with all mutants built in, of which none is chosen.
#[derive(Serialize, JsonSchema)]
struct Unmutated<'a> {
    /// The entry of `images/kernels.yaml`.
    kernel: &'a str,
    /// passes, fails, or not judged.
    outcome: &'static str,
    /// The key of the first cell that failed.
    failed: Option<&'a str>,
    cells: Vec<&'a str>,
}

/// A kernel with a deliberate mistake.
#[derive(Serialize, JsonSchema)]
struct Mutant<'a> {
    /// The entry of `images/kernels.yaml`.
    kernel: &'a str,
    name: &'a str,
    about: &'a str,
    area: &'a str,
    /// The promises that it breaks, `alarm` for a finding that names none, or `nothing`.
    breaks: String,
    /// The known bug that it is like.
    like: Option<&'a str>,
    /// caught, survived, unrelated, unnamed, harmless, false alarm, cannot show, or not judged.
    outcome: &'static str,
    /// The reason why emulation cannot show it.
    cannot_show: Option<&'a str>,
    /// The key of the cell that decides the outcome.
    decided_by: Option<&'a str>,
    /// The keys of its cells.
    cells: Vec<&'a str>,
}

/// A scenario on a kernel.
#[derive(Serialize, JsonSchema)]
struct Cell<'a> {
    key: &'a str,
    /// PASS, FAIL, TIMEOUT, FLAKY, ERROR, MISS, LOST or SKIP; null: interrupted, or
    /// not run.
    verdict: Option<&'static str>,
    /// The alternative of the expectations that was applied, such as `wc-honoured`.
    #[serde(rename = "as")]
    label: Option<&'a str>,
    /// Why the run did not come to the cell.
    not_run: Option<&'a str>,
    /// The thing that the kernel, the CPU or QEMU lacks, for a SKIP.
    lacks: Option<&'a str>,
    /// The early end of the last attempt.
    stopped: Option<Stopped<'a>>,
    /// Each device with the types that stage 2 gave it.
    seen: &'a BTreeMap<String, BTreeSet<String>>,
    /// The weightiest first.
    findings: Vec<Entry<'a>>,
    /// The promises that the scenario holds up.
    promises: Vec<String>,
    /// The verdict of each attempt; null: interrupted.
    attempts: Vec<Option<&'static str>>,
    /// Time of the last attempt, milliseconds.
    elapsed_ms: Option<u64>,
    /// The arguments of s2lab that run this cell alone.
    repeat: &'a [String],
    /// The folder of its consoles and logs.
    logs: String,
    /// The cell is a negative control: it passes if its inverted expectations are unmet.
    control: bool,
    /// The entry of known.yaml that tolerates the verdict.
    tolerated: Option<Tolerated<'a>>,
    /// The comparison with the accepted report; null: there is no lab folder to compare with.
    accepted: Option<Accepted<'a>>,
}

/// A known failure.
#[derive(Serialize, JsonSchema)]
struct Tolerated<'a> {
    reason: &'a str,
    link: Option<&'a str>,
    who: &'a str,
    /// The last date.
    until: String,
}

/// The end of an attempt before its end.
#[derive(Serialize, JsonSchema)]
struct Stopped<'a> {
    stage: String,
    what: &'a str,
    hint: Option<&'a str>,
}

/// Something that is not as it should be. Its texts may come from a guest.
#[derive(Serialize, JsonSchema)]
struct Entry<'a> {
    /// The promise that it breaks, where one is known.
    promise: Option<String>,
    subject: Subject<'a>,
    what: &'a str,
    expected: &'a str,
    found: &'a str,
    /// Evidence, which may differ from run to run.
    detail: &'a [String],
}

/// The part of a cell that a finding is about; without any key it is the cell as a whole.
#[derive(Serialize, JsonSchema)]
struct Subject<'a> {
    /// From 0, in the scenario's order.
    step: Option<usize>,
    look: Option<&'a str>,
    guest: Option<&'a str>,
    /// A device by the scenario's name, or `ram`.
    region: Option<&'a str>,
}

/// The result of the comparison of a cell with its accepted report.
#[derive(Serialize, JsonSchema)]
struct Accepted<'a> {
    /// same, new-witness, shape-moved, changed, not-comparable, new, missing or unreadable.
    standing: &'static str,
    note: Option<String>,
    /// A unified diff.
    diff: Option<&'a str>,
    /// What differs, the worst first.
    changes: Vec<Sentence<'a>>,
}

/// Returns the document, with a line feed at its end.
pub fn document(run: &RunSummary) -> String {
    let document = Run {
        version: VERSION,
        folder: run.folder.display().to_string(),
        lab: run.lab.as_deref(),
        shuffle: run.shuffle,
        night: run.night.as_ref().map(|night| night.date.to_string()),
        mutants: run.mutants.as_ref().map(mutants),
        exit: run.exit,
        interrupted: run.interrupted.map(|signal| match signal {
            Interrupt::Interrupt => "SIGINT",
            Interrupt::Terminate => "SIGTERM",
        }),
        whole: run.whole,
        comparison: run.comparison.as_ref().map(Comparison::of),
        cells: run.cells.iter().map(cell).collect(),
        orphaned: run.orphaned.iter().map(|key| key.as_str()).collect(),
    };
    escape::json(&format!("{:#}", serde_json::json!(document))) + "\n"
}

/// Returns the JSON schema (draft 7) of the document.
pub fn schema() -> String {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Run<'static>>();
    format!("{:#}\n", schema.to_value())
}

fn mutants(judged: &JudgedMutants) -> Mutants<'_> {
    let unmutated = judged.unmutated.iter().map(|one| Unmutated {
        kernel: &one.base,
        outcome: one.word(),
        failed: one.failed.as_ref().map(Key::as_str),
        cells: one.cells.iter().map(Key::as_str).collect(),
    });
    let mutants = judged.mutants.iter().map(|run| {
        let mutant = &run.planned.mutant;
        Mutant {
            kernel: &run.planned.base,
            name: &mutant.name,
            about: &mutant.about,
            area: &mutant.area,
            breaks: mutant.breaks.to_string(),
            like: mutant.like.as_deref(),
            outcome: run.outcome.word(),
            cannot_show: mutant.cannot_show.as_deref(),
            decided_by: run.outcome.cell().map(Key::as_str),
            cells: run.cells.iter().map(Key::as_str).collect(),
        }
    });
    Mutants { unmutated: unmutated.collect(), mutants: mutants.collect() }
}

fn cell(cell: &CellSummary) -> Cell<'_> {
    Cell {
        key: cell.key.as_str(),
        verdict: cell.verdict.as_ref().map(Verdict::name),
        label: cell.label.as_deref(),
        not_run: cell.not_run.as_deref(),
        lacks: match &cell.verdict {
            Some(Verdict::Skip(lacks)) => Some(lacks),
            _ => None,
        },
        stopped: cell.stopped.as_ref().map(|stopped| Stopped {
            stage: stopped.stage.to_string(),
            what: &stopped.what,
            hint: stopped.hint.as_deref(),
        }),
        seen: &cell.seen,
        findings: cell.findings.iter().map(finding).collect(),
        promises: cell.promises.iter().map(ToString::to_string).collect(),
        attempts: cell.attempts.iter().map(|verdict| verdict.as_ref().map(Verdict::name)).collect(),
        elapsed_ms: cell.elapsed_ms,
        repeat: &cell.repeat,
        logs: cell.logs.display().to_string(),
        control: cell.control,
        tolerated: cell.tolerated.as_ref().map(|known| Tolerated {
            reason: &known.reason,
            link: known.link.as_deref(),
            who: &known.who,
            until: known.until.to_string(),
        }),
        accepted: cell.standing.as_ref().map(accepted),
    }
}

fn finding(finding: &Finding) -> Entry<'_> {
    let Finding { subject, promise, what, expected, found, detail, .. } = finding;
    Entry {
        promise: promise.map(|promise| promise.to_string()),
        subject: Subject {
            step: subject.step,
            look: subject.look.as_deref(),
            guest: subject.guest.as_deref(),
            region: subject.region.as_deref(),
        },
        what,
        expected,
        found,
        detail,
    }
}

fn accepted(standing: &Standing) -> Accepted<'_> {
    let (note, diff) = match standing {
        Standing::Compared(Outcome::Same) | Standing::New => (None, None),
        Standing::Compared(Outcome::NewWitness { note }) => (Some(note.clone()), None),
        Standing::Compared(Outcome::ShapeMoved { note, diff, .. }) => (Some(note.clone()), Some(&**diff)),
        Standing::Compared(Outcome::Changed { diff, .. }) => (None, Some(&**diff)),
        Standing::Compared(Outcome::NotComparable(facts)) => {
            let facts: Vec<_> = facts.iter().map(ToString::to_string).collect();
            (Some(facts.join("; ")), None)
        }
        Standing::Missing(gap) => (Some(standings::reason(gap)), None),
        Standing::Unreadable { why } => (Some(why.clone()), None),
    };
    Accepted { standing: standing.word(), note, diff, changes: sentences(standing.changes()) }
}
