//! `s2lab tables`: the tables of a cell's looks, all of them, from the event log and `raw/`; or what
//! differs between those of two cells.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say_bytes,
    shared::{
        answers::{AnswerArguments, FORMAT},
        judged::{log, recorded},
        runs::{LATEST, latest, named},
    },
};
use crate::{
    run::{folder::RunFolder, judging::RawPages},
    show::tables::{
        comparison,
        json::{self, CellTables},
        look,
    },
};
use clap::Args;
use s2lab_model::{
    diagnostic::suggest,
    plan::Key,
    record::{Cell, Record, Run},
    steps::Look,
    tables::{Comparison, LookTables},
};
use std::collections::BTreeSet;

#[derive(Debug, Args)]
#[command(mut_arg(FORMAT, |format| format.help(
    "Form of the output: lines for people, or a document of which `s2lab schema tables` prints the \
     schema; JSON always has addresses and descriptors"
)))]
pub(crate) struct Arguments {
    /// The cell, [RUN] KEY; or two cells to compare, [RUN] KEY KEY or RUN RUN KEY. RUN: a bundle, a run's
    /// folder, its name or `latest`, the default
    #[arg(value_name = "RUN|KEY", required = true, num_args = 1..=3)]
    what: Vec<String>,
    /// Only the look of this name
    #[arg(long, value_name = "NAME")]
    look: Option<String>,
    /// Only the looks at this guest
    #[arg(long, value_name = "NAME")]
    guest: Option<String>,
    /// With addresses in the host and descriptors; neighbours there alone are in one line
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    form: AnswerArguments,
}

/// A cell of a run, with the looks that were asked for.
struct CellLooks {
    key: Key,
    folder: RunFolder,
    /// The number of the attempt, if the cell has several.
    attempt: Option<usize>,
    looks: Vec<LookTables>,
}

pub(crate) fn tables(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let cells = cells(context, arguments)?;
    let compared = match cells.as_slice() {
        [old, new] => {
            let raw = arguments.raw || arguments.form.is_json();
            Some((&old.key, &new.key, Comparison::of(&old.looks, &new.looks, raw)))
        }
        _ => None,
    };
    let text = match (arguments.form.is_json(), &compared) {
        (true, _) => {
            let all: Vec<_> = cells.iter().map(CellLooks::for_json).collect();
            json::document(&all, compared.as_ref().map(|(.., compared)| compared))
        }
        (false, Some((old, new, compared))) => not_whole(&cells) + &comparison(old, new, compared),
        (false, None) => cells.iter().map(|cell| cell.text(arguments.raw)).collect(),
    };
    say_bytes(text.as_bytes())?;
    let whole = cells.iter().flat_map(|cell| &cell.looks).all(|look| look.missing.is_empty());
    Ok(match compared {
        _ if !whole => exit::LAB,
        Some((.., compared)) if !compared.is_same() => exit::DIFFERENT,
        _ => exit::FINE,
    })
}

/// An argument: a run, or a key.
enum Argument {
    Run(RunFolder),
    Key(Key),
}

/// Returns the cells that the arguments name, one or two.
fn cells(context: &Context, arguments: &Arguments) -> Result<Vec<CellLooks>, Failure> {
    use Argument::{Key as K, Run as R};
    let words = arguments.what.iter().map(|word| argument(context, word));
    let mut words = words.collect::<Result<Vec<_>, _>>()?;
    if let [K(_), ..] = words.as_slice() {
        words.insert(0, R(latest(context)?));
    }
    let chosen = match words.as_slice() {
        [R(run), K(key)] => vec![(run, vec![key])],
        [R(run), K(old), K(new)] => vec![(run, vec![old, new])],
        [R(old), R(new), K(key)] => vec![(old, vec![key]), (new, vec![key])],
        _ => {
            return Err(Failure::Usage {
                message: "the arguments name neither one cell nor two".into(),
                hint: Some(
                    "`s2lab tables [RUN] KEY` prints tables; [RUN] KEY KEY and RUN RUN KEY compare".into(),
                ),
            });
        }
    };
    let mut cells = vec![];
    for (folder, keys) in chosen {
        let run = recorded(&log(folder)?, folder)?;
        for key in keys {
            cells.push(looks_of(&run, folder, key, arguments)?);
        }
    }
    Ok(cells)
}

/// Reads an argument: a path, or the name of a run, else a key.
fn argument(context: &Context, word: &str) -> Result<Argument, Failure> {
    if word == LATEST {
        return latest(context).map(Argument::Run);
    }
    if let Some(run) = named(context, word)? {
        return Ok(Argument::Run(run));
    }
    let no_key = |_| Failure::Usage {
        message: format!("`{word}` is neither a run nor a key"),
        hint: Some("a key is SCENARIO@KERNEL; `s2lab report` prints those of a run".into()),
    };
    word.parse().map(Argument::Key).map_err(no_key)
}

/// Returns the looks of a cell: those of the last attempt that has any.
fn looks_of(run: &Run, folder: &RunFolder, key: &Key, arguments: &Arguments) -> Result<CellLooks, Failure> {
    let cell = run.cells.iter().find(|cell| cell.planned.key == *key).ok_or_else(|| Failure::Usage {
        message: format!("the run has no cell `{key}`"),
        hint: Some(suggest(key.as_str(), run.cells.iter().map(|cell| cell.planned.key.as_str()))),
    })?;
    let has_look = |attempt: &Record| attempt.all::<Look>().next().is_some();
    let at = cell.attempts.iter().rposition(has_look).ok_or_else(|| no_look(cell))?;
    let looks = match cell.attempts.get(at) {
        Some(attempt) => chosen(attempt, &folder.pages(), arguments)?,
        None => vec![],
    };
    let attempt = (cell.attempts.len() > 1).then_some(at + 1);
    Ok(CellLooks { key: key.clone(), folder: folder.clone(), attempt, looks })
}

fn no_look(cell: &Cell) -> Failure {
    let hint = match &cell.not_run {
        Some(why) => format!("the run did not come to it: {why}"),
        None => "the cell has no step `look`, or ended before it".into(),
    };
    Failure::Usage {
        message: format!("there is no look of `{}` in the log", cell.planned.key),
        hint: Some(hint),
    }
}

/// Decodes the looks that the arguments name.
fn chosen(attempt: &Record, pages: &RawPages, arguments: &Arguments) -> Result<Vec<LookTables>, Failure> {
    let all: Vec<&Look> = attempt.all::<Look>().map(|look| look.data).collect();
    for (kind, name, known) in [
        ("look", &arguments.look, all.iter().map(|look| look.name.as_str()).collect::<BTreeSet<_>>()),
        ("guest", &arguments.guest, all.iter().map(|look| look.guest.as_str()).collect()),
    ] {
        if let Some(name) = name.as_deref().filter(|name| !known.contains(name)) {
            let message = format!("{}: no {kind} `{name}` was seen", attempt.planned.key);
            return Err(Failure::Usage { message, hint: Some(suggest(name, known)) });
        }
    }
    let is_named = |name: &Option<String>, of: &str| name.as_deref().is_none_or(|name| name == of);
    let asked_for =
        |look: &&Look| is_named(&arguments.look, &look.name) && is_named(&arguments.guest, &look.guest);
    let around = &attempt.session.around;
    let looks: Vec<_> =
        all.into_iter().filter(asked_for).map(|look| LookTables::of(look, around, pages)).collect();
    if looks.is_empty() {
        let message = format!("{}: that guest did not run at that look", attempt.planned.key);
        return Err(Failure::Usage { message, hint: None });
    }
    Ok(looks)
}

impl CellLooks {
    fn text(&self, raw: bool) -> String {
        let attempt = self.attempt.map(|attempt| format!("  attempt {attempt}")).unwrap_or_default();
        let of = format!("{}{attempt}", self.key);
        let looks: Vec<_> = self.looks.iter().map(|one| look(&of, one, raw)).collect();
        looks.join("\n")
    }

    fn for_json(&self) -> CellTables<'_> {
        let run = self.folder.path().display().to_string();
        CellTables { key: self.key.as_str(), run, looks: &self.looks }
    }
}

/// Returns the lines about what could not be read of two cells, before their comparison.
fn not_whole(cells: &[CellLooks]) -> String {
    let lines = cells.iter().flat_map(|cell| {
        let missing = cell.looks.iter().flat_map(|look| &look.missing);
        missing.map(|what| format!("{}: {}\n", cell.key, crate::show::tables::not_readable(what)))
    });
    lines.collect()
}
