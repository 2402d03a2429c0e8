//! `s2lab lint`: shows every mistake in every file; nothing boots.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::{complain, say},
    shared::answers::AnswerArguments,
    shared::answers::answer,
    shared::cells::{is_file, lab_cells},
};
use crate::lab::{
    KERNELS_FILE, KNOWN_FILE, Lab, LabError, Mistake, Mistakes, kernels, known, scenarios, unmatched,
};
use crate::show::answer::{self, Answer};
use clap::Args;
use s2lab_model::diagnostic::{Diagnostic, suggest};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Names of scenarios, scenario files, kernels.yaml, known.yaml; default: all files of the lab
    #[arg(value_name = "NAME|FILE")]
    what: Vec<PathBuf>,
    #[command(flatten)]
    form: AnswerArguments,
}

/// A file to check: its name says which kind it is.
enum FileKind {
    Kernels(PathBuf),
    Scenario(PathBuf),
    Known(PathBuf),
}

pub(crate) fn lint(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let lab = if arguments.what.is_empty() { Some(context.lab()?) } else { None };
    let files = match &lab {
        Some(lab) => all(lab)?,
        None => arguments.what.iter().map(|what| named(context, what)).collect::<Result<_, _>>()?,
    };
    let (mut mistakes, mut count) = (vec![], files.len());
    for file in &files {
        let read = match file {
            // The files that a wrong list names are not known.
            FileKind::Kernels(path) => {
                kernels(path).and_then(|_| lab.as_ref().map_or(Ok(0), Lab::check_named))
            }
            FileKind::Scenario(path) => scenarios(std::slice::from_ref(path)).map(|_| 0),
            FileKind::Known(path) => known(path).map(|_| 0),
        };
        match read {
            Ok(named) => count += named,
            Err(LabError::Mistakes(Mistakes(found))) => mistakes.extend(found),
            Err(other) => return Err(other.into()),
        }
    }
    // The cells of a lab with mistakes are not known.
    let warnings = match &lab {
        Some(lab) if mistakes.is_empty() && lab.known_file().exists() => {
            unmatched(&lab.known_file(), &lab_cells(lab)?)?
        }
        _ => vec![],
    };
    if arguments.form.is_json() {
        let exit = if mistakes.is_empty() { exit::FINE } else { exit::USAGE };
        let mistakes = mistakes.iter().flat_map(each).collect();
        answer(&Answer::Lint { files: count, mistakes, warnings: warnings.iter().map(written).collect() })?;
        return Ok(exit);
    }
    if !mistakes.is_empty() {
        return Err(LabError::Mistakes(Mistakes(mistakes)).into());
    }
    warnings.iter().for_each(|warning| complain(warning.to_string().trim_end()));
    say(&fine(count, warnings.len()))?;
    Ok(exit::FINE)
}

fn written(one: &Diagnostic) -> answer::Mistake {
    answer::Mistake {
        file: one.file.clone(),
        line: Some(one.line),
        column: Some(one.column),
        message: one.message.clone(),
        hint: one.help.clone(),
    }
}

/// The mistakes in one file, each with its place.
fn each(mistake: &Mistake) -> Vec<answer::Mistake> {
    match mistake {
        Mistake::Written(diagnostics) => diagnostics.iter().map(written).collect(),
        Mistake::Unreadable { place, why } => {
            let (file, line, column, hint) = (place.clone(), None, None, None);
            vec![answer::Mistake { file, line, column, message: why.clone(), hint }]
        }
    }
}

/// All files of the lab folder.
fn all(lab: &Lab) -> Result<Vec<FileKind>, Failure> {
    let kernels = [FileKind::Kernels(lab.kernels_file())];
    let known = Some(lab.known_file()).filter(|path| path.symlink_metadata().is_ok()).map(FileKind::Known);
    let scenarios =
        [lab.scenario_files()?, lab.compare_files()?].concat().into_iter().map(FileKind::Scenario);
    Ok(kernels.into_iter().chain(known).chain(scenarios).collect())
}

/// The file that an argument names, by its path or, of a scenario in the lab folder, by its name.
fn named(context: &Context, what: &Path) -> Result<FileKind, Failure> {
    if what.file_name().is_some_and(|name| name == KERNELS_FILE) {
        return Ok(FileKind::Kernels(what.to_owned()));
    }
    if what.file_name().is_some_and(|name| name == KNOWN_FILE) {
        return Ok(FileKind::Known(what.to_owned()));
    }
    let name = what.to_str().filter(|text| !is_file(text) && !what.exists());
    let Some(name) = name else { return Ok(FileKind::Scenario(what.to_owned())) };
    let lab = context.lab()?;
    let path = lab.scenario(name);
    if path.exists() {
        return Ok(FileKind::Scenario(path));
    }
    let files = lab.scenario_files()?;
    let known = files.iter().filter_map(|path| path.file_stem()?.to_str());
    Err(Failure::Usage {
        message: format!("there is no scenario `{name}` in the lab folder, and no file of this name"),
        hint: Some(suggest(name, known)),
    })
}

fn fine(files: usize, warnings: usize) -> String {
    let count = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let warnings = (warnings > 0).then(|| format!(", {}", count(warnings, "warning")));
    format!("{}, no mistakes{}", count(files, "file"), warnings.unwrap_or_default())
}
