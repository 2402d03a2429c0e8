//! `--format` and `--output`: the forms of what a verb prints, on stdout and in files.

use crate::cli::{
    failure::Failure,
    render::{all, say_bytes},
};
use crate::{
    home,
    show::{Form, Format, Printed, StepWriter, Writer, github},
};
use clap::{
    Args, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};
use s2lab_model::{changes::DiffSummary, night::Morning, summary::RunSummary};
use s2lab_os::whole;
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

/// The arguments that choose forms.
#[derive(Debug, Args)]
pub(crate) struct OutputArguments {
    /// Form of the output; docs/outputs.md describes each
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Write the output in this form to FILE, besides stdout; repeatable
    #[arg(long, value_name = "FORMAT=FILE", value_parser = OsStringValueParser::new().try_map(|text| parsed(&text)))]
    output: Vec<OutputFile>,
    /// Nothing is printed or written.
    #[arg(skip)]
    silent: bool,
}

/// A file and its form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OutputFile {
    format: Format,
    path: PathBuf,
}

/// The outputs of a verb whose summary is `S`.
pub(crate) struct Outputs<'a, S> {
    pub(crate) format: Format,
    silent: bool,
    stdout: Option<Writer<S>>,
    files: Vec<(&'a OutputFile, Writer<S>)>,
    /// The summary of a CI system's step, of at most so many bytes.
    summary: Option<StepWriter<S>>,
}

/// The file that a step of GitHub's appends its summary to.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

impl OutputArguments {
    /// Returns the arguments of a verb that carries out another one, whose output nobody reads.
    pub(crate) fn silent() -> Self {
        Self { format: Format::Human, output: vec![], silent: true }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Returns the outputs of `run` and `report`.
    ///
    /// # Errors
    /// If the verb does not have a form, or two outputs have one file.
    pub(crate) fn of_run(&self, verb: &str) -> Result<Outputs<'_, RunSummary>, Failure> {
        self.outputs(verb, |form| form.run)
    }

    /// Returns the outputs of `compare` like [`OutputArguments::of_run`].
    pub(crate) fn of_compare(&self) -> Result<Outputs<'_, RunSummary>, Failure> {
        self.outputs("compare", |form| form.compare)
    }

    /// Returns the outputs of `check` like [`OutputArguments::of_run`].
    pub(crate) fn of_check(&self) -> Result<Outputs<'_, RunSummary>, Failure> {
        self.outputs("check", |form| form.check)
    }

    /// Returns the outputs of `diff` like [`OutputArguments::of_run`].
    pub(crate) fn of_diff(&self) -> Result<Outputs<'_, DiffSummary>, Failure> {
        self.outputs("diff", |form| form.diff)
    }

    /// Returns the outputs of `nightly` like [`OutputArguments::of_run`].
    pub(crate) fn of_nightly(&self) -> Result<Outputs<'_, Morning>, Failure> {
        self.outputs("nightly", |form| form.nightly)
    }

    fn outputs<S>(&self, verb: &str, of: fn(Form) -> Printed<S>) -> Result<Outputs<'_, S>, Failure> {
        let (stdout, mut summary) = match of(self.format.form()) {
            Printed::Nothing => {
                let message = format!("`{verb}` has no form {}", self.format.name());
                return Err(refused(message, of, |printed| !matches!(printed, Printed::Nothing)));
            }
            printed => printed.functions(),
        };
        let mut files = Vec::new();
        for (at, output) in self.output.iter().enumerate() {
            let (Some(document), of_file) = of(output.format.form()).functions() else {
                let message = format!("`{verb}` writes no file of the form {}", output.format.name());
                return Err(refused(message, of, |printed| printed.functions().0.is_some()));
            };
            if self.output.iter().take(at).any(|other| other.path == output.path) {
                let message = format!("two outputs go to {}", output.path.display());
                return Err(Failure::Usage { message, hint: Some("name a file for each".into()) });
            }
            summary = summary.or(of_file);
            files.push((output, document));
        }
        let stdout = stdout.filter(|_| !self.silent);
        Ok(Outputs { format: self.format, silent: self.silent, stdout, files, summary })
    }
}

impl<S> Outputs<'_, S> {
    /// Returns true if lines for people are printed while the verb works.
    pub(crate) fn has_lines(&self) -> bool {
        self.format == Format::Human && !self.silent
    }

    /// Prints the document on stdout and writes the files.
    ///
    /// # Errors
    /// See [`Outputs::write`].
    pub(crate) fn print(&self, summary: &S) -> Result<(), Failure> {
        self.write(summary, self.document(summary))
    }

    /// Prints the document on stdout, if the form has one.
    pub(crate) fn document(&self, summary: &S) -> Result<(), Failure> {
        self.stdout.map_or(Ok(()), |document| say_bytes(document(summary).as_bytes()))
    }

    /// Writes the files, and the summary of a step. `printed` is the result on stdout.
    ///
    /// # Errors
    /// The last error. Those before it are printed, and all other files are written.
    pub(crate) fn write(&self, summary: &S, printed: Result<(), Failure>) -> Result<(), Failure> {
        let write = |(OutputFile { path, .. }, document): &(&OutputFile, Writer<S>)| {
            let written = whole::replace(path, document(summary).as_bytes());
            written.map_err(Failure::io(format!("cannot write {}", path.display())))
        };
        let files = self.files.iter().map(write);
        all([printed].into_iter().chain(files).chain([self.write_step(summary)]))
    }

    /// Appends the summary of the step, if a form has one and the step wants it.
    fn write_step(&self, summary: &S) -> Result<(), Failure> {
        let path = std::env::var_os(STEP_SUMMARY).filter(|path| !path.is_empty()).map(PathBuf::from);
        let (Some(text), Some(path)) = (self.summary, path) else { return Ok(()) };
        let appended = whole::append(&path, |size| {
            text(summary, github::SUMMARY.saturating_sub(usize::try_from(size).unwrap_or(usize::MAX)))
        });
        appended.map_err(Failure::io(format!("cannot write {} (${STEP_SUMMARY})", path.display())))
    }
}

/// Returns the error that names the forms for which `goes` is true.
fn refused<S>(message: String, of: fn(Form) -> Printed<S>, goes: fn(&Printed<S>) -> bool) -> Failure {
    let formats = Format::value_variants().iter().filter(|format| goes(&of(format.form())));
    let names: Vec<_> = formats.map(|format| format.name()).collect();
    Failure::Usage { message, hint: Some(format!("one of {}", names.join(", "))) }
}

/// Reads `FORMAT=FILE`.
fn parsed(text: &OsStr) -> Result<OutputFile, String> {
    let bytes = text.as_bytes();
    let is = bytes.iter().position(|byte| *byte == b'=').ok_or("it is FORMAT=FILE, and `=` is missing")?;
    let (name, path) = (bytes.get(..is).unwrap_or_default(), bytes.get(is + 1..).unwrap_or_default());
    let name = String::from_utf8_lossy(name);
    let format = Format::from_str(&name, false).map_err(|_| {
        let known: Vec<_> = Format::value_variants().iter().map(|format| format.name()).collect();
        format!("`{name}` is not a form; one of {}", known.join(", "))
    })?;
    match path {
        b"" => Err("it is FORMAT=FILE, and FILE is missing".into()),
        b"-" => Err("`-` is not a file; --format prints on stdout".into()),
        path => Ok(OutputFile {
            format,
            path: home::expand(PathBuf::from(OsString::from(OsStr::from_bytes(path)))),
        }),
    }
}
