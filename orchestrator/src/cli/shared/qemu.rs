//! `--qemu`: the QEMUs of the hosts, by words that make an axis, or a program of the user's.

use crate::cli::failure::Failure;
use crate::home;
use clap::{Args, builder::TypedValueParser};
use s2lab_model::{
    diagnostic::closest,
    plan::{Axis, QemuChoice},
};
use std::path::{Path, PathBuf};

/// Their heading in `--help`.
const HEADING: &str = "QEMU";
/// The hint about a value that is neither a word nor a file.
const WORDS: &str = "the words are `default` and `newest`, with a comma between them; others are files";

#[derive(Debug, Clone, Args, Default, PartialEq, Eq)]
pub(crate) struct QemuArguments {
    /// The hosts' QEMU: `default` (the machine's from 10.0, else the cache's), `newest` (the newest that
    /// the archive has; keys get `+qemu=newest`), both as `default,newest`, or a qemu-system-aarch64 of
    /// yours
    #[arg(long = "qemu", help_heading = HEADING, value_name = "newest|default|FILE", value_parser = value())]
    qemus: Vec<QemuArgument>,
}

/// A value of `--qemu`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum QemuArgument {
    Words(Vec<QemuChoice>),
    File(PathBuf),
}

/// A value whose parts between commas are all words, else a path.
fn value() -> impl TypedValueParser<Value = QemuArgument> {
    home::argument().map(|path| {
        let words = path.to_str().into_iter().flat_map(|text| text.split(','));
        let words: Vec<_> = words.map(QemuChoice::of_word).collect();
        match words.iter().copied().collect::<Option<Vec<_>>>().filter(|words| !words.is_empty()) {
            Some(words) => QemuArgument::Words(words),
            None => QemuArgument::File(path),
        }
    })
}

impl QemuArguments {
    /// Checks values that are neither words nor files, and several QEMUs of which one is a file.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for argument in &self.qemus {
            let QemuArgument::File(path) = argument else { continue };
            let text = path.display().to_string();
            if !text.contains('/') && !path.exists() {
                let last = text.rsplit(',').next().unwrap_or(&text);
                let near = closest(last, &QemuChoice::ALL.map(QemuChoice::word));
                let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                return Err(usage(format!("--qemu {text}: no such file, and not a word"), near + WORDS));
            }
            if self.qemus.len() > 1 {
                let hint = "give it alone: its cells have the keys of the default QEMU";
                return Err(usage(format!("--qemu {text}: a program and another QEMU"), hint.into()));
            }
        }
        Ok(())
    }

    /// Returns the axis of the QEMUs.
    pub(crate) fn axis(&self) -> Axis {
        match self.file() {
            // Its cells are those of the default QEMU, and no others.
            Some(_) => {
                let mut axis = QemuChoice::axis(&[]);
                axis.points.retain(|point| point.chosen);
                axis
            }
            None => QemuChoice::axis(&self.choices()),
        }
    }

    /// Returns the program of the user's.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.qemus.iter().find_map(|argument| match argument {
            QemuArgument::File(path) => Some(path.as_path()),
            QemuArgument::Words(_) => None,
        })
    }

    /// Returns true if words are given.
    pub(crate) fn has_words(&self) -> bool {
        !self.choices().is_empty()
    }

    fn choices(&self) -> Vec<QemuChoice> {
        let words = self.qemus.iter().filter_map(|argument| match argument {
            QemuArgument::Words(words) => Some(words),
            QemuArgument::File(_) => None,
        });
        words.flatten().copied().collect()
    }

    /// Returns the argument for one of the words.
    pub(crate) fn word(choice: QemuChoice) -> [String; 2] {
        ["--qemu".to_owned(), choice.word().to_owned()]
    }

    /// Returns the arguments for the same words.
    pub(crate) fn words(&self) -> Vec<String> {
        self.choices().into_iter().flat_map(Self::word).collect()
    }
}

fn usage(message: String, hint: String) -> Failure {
    Failure::Usage { message, hint: Some(hint) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        qemu: QemuArguments,
    }

    fn parsed(values: &[&str]) -> QemuArguments {
        let words = values.iter().flat_map(|value| ["--qemu", value]);
        Line::try_parse_from(["s2lab"].into_iter().chain(words)).unwrap().qemu
    }

    fn points(values: &[&str]) -> Vec<(Option<String>, bool)> {
        parsed(values).axis().points.into_iter().map(|point| (point.value, point.chosen)).collect()
    }

    #[test]
    fn words_choose_points_and_a_file_has_only_the_plain_one() {
        let newest = || Some("newest".to_owned());
        let without = [(None, true), (newest(), false)];
        assert_eq!(points(&[]), without);
        assert_eq!(points(&["default"]), without);
        assert_eq!(points(&["newest"]), [(newest(), true)]);
        let both = [(None, true), (newest(), true)];
        assert_eq!(points(&["newest,default"]), both);
        assert_eq!(points(&["default", "newest", "newest"]), both);
        assert_eq!(points(&["./newest"]), [(None, true)]);
        assert_eq!(parsed(&["./newest"]).file(), Some(Path::new("./newest")));
        assert_eq!(parsed(&["default,newest"]).words(), ["--qemu", "default", "--qemu", "newest"]);
    }

    #[test]
    fn a_value_that_is_nothing_is_named() {
        let error = |values: &[&str]| match parsed(values).check() {
            Err(Failure::Usage { message, hint }) => format!("{message}; {}", hint.unwrap_or_default()),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            error(&["newst"]),
            "--qemu newst: no such file, and not a word; did you mean `newest`? the words are `default` and \
             `newest`, with a comma between them; others are files"
        );
        assert!(error(&["default,nevest"]).contains("did you mean `newest`?"));
        assert!(error(&["/bin/true", "newest"]).starts_with("--qemu /bin/true: a program and another QEMU"));
        // What a program is, is asked of the program.
        assert!(parsed(&["./newst"]).check().is_ok());
        assert!(parsed(&["newest", "default"]).check().is_ok());
    }
}
