//! `s2lab bundle`: a run in one file.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say,
    shared::answers::{AnswerArguments, answer},
    shared::judged::{Judged, log},
    shared::runs::open,
};
use crate::{
    home,
    run::{
        bundle::{Bundle, Contents, TooMuch},
        folder::RunFolder,
    },
    show::answer::Answer,
};
use clap::Args;
use s2lab_model::{diagnostic::suggest, hash::digest, record::only, report::Report};
use s2lab_os::{outside::kinds, whole::Folder};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A run's folder or its name, or a bundle; default: the latest of the lab folder
    run: Option<String>,
    /// Only the cell with this key: its part of the log, its pages and its consoles
    #[arg(long, value_name = "KEY")]
    cell: Option<String>,
    /// The file, which must not exist; default: s2lab-RUN.tar.gz in the working folder
    #[arg(long, value_name = "FILE", value_parser = home::argument())]
    out: Option<PathBuf>,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn bundle(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let folder = open(context, arguments.run.as_deref())?;
    if folder.is_at_work().map_err(Failure::io(folder.events().display().to_string()))? {
        let message = format!("the run {} is still at work", folder.path().display());
        return Err(Failure::Usage { message, hint: Some("wait for its end".into()) });
    }
    let judged = Judged::read(&folder)?;
    let (judged, log) = match &arguments.cell {
        None => (judged, folder.read_log()?),
        Some(key) => {
            let (judged, log) = alone(&folder, &judged, key)?;
            (judged, log.into_bytes())
        }
    };
    let contents = contents(&folder, &judged, log)?;
    let bytes = contents.pack().map_err(Failure::io("cannot pack the run"))?;
    let path = arguments.out.clone().unwrap_or_else(|| default_name(&folder, arguments.cell.as_deref()));
    // The reader's limits hold for what is written.
    Bundle::of(&bytes).map_err(|why| too_much(&why))?;
    write(&path, &bytes)?;
    if !arguments.form.is_json() {
        say(&format!("{}: {} files", path.display(), contents.count()))?;
        return Ok(exit::FINE);
    }
    answer(&Answer::Bundle {
        file: path.display().to_string(),
        files: contents.count(),
        bytes: bytes.len(),
        sha256: digest(&bytes),
        cells: judged.run.cells.iter().map(|cell| cell.planned.key.to_string()).collect(),
    })?;
    Ok(exit::FINE)
}

/// Returns the log of one cell, and the run that it makes. The report must be the same.
fn alone(folder: &RunFolder, whole: &Judged, key: &str) -> Result<(Judged, String), Failure> {
    let cells = &whole.run.cells;
    let Some(cell) = cells.iter().find(|cell| cell.planned.key == key) else {
        let hint = suggest(key, cells.iter().map(|cell| cell.planned.key.as_str()));
        return Err(Failure::Usage { message: format!("the run has no cell `{key}`"), hint: Some(hint) });
    };
    let key = &cell.planned.key;
    let part = only(&log(folder)?, key).map_err(|source| Failure::Log { path: folder.events(), source })?;
    let judged = Judged::of_log(&part, folder)?;
    let shown = |judged: &Judged| judged.reports.get(key).map(Report::text);
    if shown(&judged) != shown(whole) {
        let message = format!("the verdict on {key} depends on other cells of {}", key.kernel());
        return Err(Failure::Usage { message, hint: Some("bundle the whole run".into()) });
    }
    Ok((judged, part))
}

/// Everything that is needed to judge the run again, and what people read of it.
fn contents(folder: &RunFolder, judged: &Judged, log: Vec<u8>) -> Result<Contents, Failure> {
    let read = |name: &str, kind| folder.read(name, kind).map_err(Failure::io("cannot bundle the run"));
    let mut contents = Contents::new().map_err(|why| too_much(&why))?;
    let mut add = |name: &str, bytes| contents.add(name, bytes).map_err(|why: TooMuch| too_much(&why));
    add("events.jsonl", log)?;
    let attempts = || judged.run.cells.iter().flat_map(|cell| &cell.attempts);
    let pages: BTreeSet<_> = attempts().flat_map(|attempt| attempt.record.pages()).collect();
    for name in pages.into_iter().map(|digest| format!("raw/{digest}")) {
        if let Some(page) = read(&name, kinds::TABLE_PAGE)? {
            add(&name, page)?;
        }
    }
    // A crash of the log comes before a file of its name.
    for (name, text) in judged.derived() {
        add(&name, text.into_bytes())?;
    }
    for cell in &judged.run.cells {
        let key = &cell.planned.key;
        for name in folder.files_of(key).map_err(Failure::io(folder.cell_path(key).display().to_string()))? {
            if let Some(file) = read(&name, kinds::CONSOLE)? {
                add(&name, file)?;
            }
        }
    }
    Ok(contents)
}

fn too_much(why: &impl std::fmt::Display) -> Failure {
    let hint = Some("`--cell KEY` makes a smaller one".into());
    Failure::Usage { message: format!("the run does not fit into a bundle: {why}"), hint }
}

/// Returns the name by that of the run.
fn default_name(folder: &RunFolder, cell: Option<&str>) -> PathBuf {
    let name = folder.path().file_name().unwrap_or(OsStr::new("run")).to_string_lossy();
    // A part of a bundle is named by that bundle.
    let name = name.strip_suffix(ENDING).unwrap_or(&name);
    let name = name.strip_prefix(BEGINNING).unwrap_or(name);
    let cell = cell.map(|key| format!("-{key}")).unwrap_or_default();
    format!("{BEGINNING}{name}{cell}{ENDING}").into()
}

const BEGINNING: &str = "s2lab-";
const ENDING: &str = ".tar.gz";

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| Failure::Usage {
        message: format!("--out {}: not the name of a file", path.display()),
        hint: None,
    })?;
    let written = Folder::open(folder).and_then(|folder| folder.write_new(name, bytes));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Usage {
            message: format!("{} already exists", path.display()),
            hint: Some("remove it, or name another file with --out".into()),
        },
        _ => Failure::io(format!("cannot write {}", path.display()))(error),
    })
}
