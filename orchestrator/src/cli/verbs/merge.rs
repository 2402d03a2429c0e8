//! `s2lab merge`: the runs of shards as one run.

use crate::cli::{
    context::Context,
    failure::Failure,
    render::{all, complain, say},
    shared::{
        history::HistoryArguments,
        judged::{Judged, log, recorded},
        outputs::OutputArguments,
        runs::open,
        shards::read,
    },
};
use crate::{
    home,
    run::{
        folder::{self, RunFolder},
        half_made::HalfMade,
    },
    show::{Format, terminal},
};
use clap::Args;
use jiff::Timestamp;
use s2lab_model::{
    event::BUILT_IN,
    plan::Key,
    record::{LogError, Run},
    shards::{MergeError, Merged, Part, merge as merge_logs},
};
use s2lab_os::outside::kinds;
use std::{collections::BTreeMap, io, path::PathBuf};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The runs of all shards: folders or their names, or bundles
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// The plan that the runs must have; default: the one in their logs
    #[arg(long, value_name = "FILE", value_parser = home::argument())]
    plan: Option<PathBuf>,
    /// Write the run there, where nothing may be, instead of under the state folder
    #[arg(long, value_name = "DIR", value_parser = home::argument())]
    out: Option<PathBuf>,
    #[command(flatten)]
    history: HistoryArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) fn merge(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let outputs = arguments.output.of_run("merge")?;
    let plan = arguments.plan.as_deref().map(read).transpose()?;
    let Shards { folders, parts } = Shards::open(context, &arguments.runs)?;
    let merged = merge_logs(&parts, plan.as_ref())?;
    let lab = parts.iter().find_map(Part::lab).unwrap_or(BUILT_IN);
    let places = context.places()?;
    let state = places.state.clone();
    let half = half_made(arguments, &state)?;
    let judged = write(&half, &merged, &folders)?;
    let folder = half.publish().map_err(Failure::io("cannot make the run's folder"))?;
    let noted = folder.note_latest(&state, lab).and_then(|()| folder.note_end(judged.has_failed()));
    report_missing(&merged);
    let accepted = context.lab().ok().map(|lab| lab.reports());
    let summary = judged.summary(&folder, accepted.as_deref());
    let printed = match outputs.format {
        Format::Human => say(&terminal::run(&summary, context.paint())),
        Format::Events => say(merged.log.trim_end()),
        _ => outputs.document(&summary),
    };
    let of_shards: Vec<_> = parts.iter().map(|part| (part.lab(), part.started())).collect();
    arguments.history.keep_merged(&places, &summary, &of_shards);
    all([outputs.write(&summary, printed), noted.map_err(Failure::io("cannot note the run"))])?;
    Ok(judged.run.exit)
}

/// The runs of shards, and their logs.
struct Shards {
    folders: Vec<RunFolder>,
    parts: Vec<Part>,
}

impl Shards {
    /// Opens the runs. One whose log has not even a plan counts as one that never came.
    fn open(context: &Context, runs: &[String]) -> Result<Self, Failure> {
        let (mut folders, mut parts) = (vec![], vec![]);
        for run in runs {
            let folder = open(context, Some(run))?;
            if folder.is_at_work().map_err(Failure::io(folder.events().display().to_string()))? {
                let message = format!("the run {} is still at work", folder.path().display());
                return Err(Failure::Usage { message, hint: Some("wait for its end".into()) });
            }
            match Part::read(run, &log(&folder)?) {
                Ok(part) => {
                    folders.push(folder);
                    parts.push(part);
                }
                Err(MergeError::Log { source: LogError::Empty, .. }) => {
                    complain(&format!("note: {run} ended before its first event; it counts as missing"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        note_begins(&mut parts);
        Ok(Self { folders, parts })
    }
}

/// Notes how much later than the first one each part began. A time that cannot be read is that of
/// the first one.
fn note_begins(parts: &mut [Part]) {
    let begins: Vec<Option<Timestamp>> = parts.iter().map(|part| part.started().parse().ok()).collect();
    let first = begins.iter().flatten().min().copied();
    for (part, begin) in parts.iter_mut().zip(begins) {
        let late = begin.zip(first).map(|(begin, first)| begin.duration_since(first).as_millis());
        part.late_ms = late.and_then(|late| u64::try_from(late).ok()).unwrap_or_default();
    }
}

fn half_made(arguments: &Arguments, state: &std::path::Path) -> Result<HalfMade, Failure> {
    let place = arguments.out.as_deref().unwrap_or(state).display();
    HalfMade::new(state, arguments.out.as_deref(), folder::now()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Usage {
            message: format!("--out {place}: {error}"),
            hint: Some("remove it, or name another folder".into()),
        },
        _ => Failure::io(format!("cannot make a run's folder in {place}"))(error),
    })
}

/// Writes the log, the pages that it names, the files of the cells, and what is derived from them.
fn write(half: &HalfMade, merged: &Merged, folders: &[RunFolder]) -> Result<Judged, Failure> {
    let run = half.run();
    let written = |name: &str, bytes: &[u8]| {
        half.write(name, bytes)
            .map_err(Failure::io(format!("cannot write {}", run.path().join(name).display())))
    };
    written("events.jsonl", merged.log.as_bytes())?;
    let record = recorded(&merged.log, &run)?;
    let pages = pages(&record);
    for (key, place) in &merged.sources {
        let Some(folder) = folders.get(*place) else { continue };
        let broken = |what: &str| Failure::io(format!("{}: {what}", folder.path().display()));
        let files = folder.files_of(key).map_err(broken("cannot list its files"))?;
        let of_cell = files.into_iter().map(|name| (name, kinds::CONSOLE));
        let raw =
            pages.get(key).into_iter().flatten().map(|digest| (format!("raw/{digest}"), kinds::TABLE_PAGE));
        for (name, kind) in of_cell.chain(raw) {
            if let Some(bytes) = folder.read(&name, kind).map_err(broken(&name))? {
                written(&name, &bytes)?;
            }
        }
    }
    let judged = Judged::of_record(record, &run);
    judged.derived().try_for_each(|(name, text)| written(&name, text.as_bytes()))?;
    Ok(judged)
}

/// Returns the digests of the table pages that each cell names.
fn pages(record: &Run) -> BTreeMap<Key, Vec<String>> {
    let pages = record.cells.iter().map(|cell| {
        let pages = cell.attempts.iter().flat_map(|attempt| attempt.pages().map(str::to_owned));
        (cell.planned.key.clone(), pages.collect())
    });
    pages.collect()
}

/// Prints the cells that never came, a line for each reason.
fn report_missing(merged: &Merged) {
    let mut reasons: Vec<(&str, Vec<&str>)> = vec![];
    for cell in &merged.missing {
        match reasons.iter_mut().find(|(why, _)| *why == cell.why) {
            Some((_, keys)) => keys.push(cell.key.as_str()),
            None => reasons.push((&cell.why, vec![cell.key.as_str()])),
        }
    }
    for (why, keys) in reasons {
        complain(&format!("MISS: {why}: {}", keys.join(", ")));
    }
}
