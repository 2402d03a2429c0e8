//! The outputs of a run for people and programs: functions of its summary. A form is a file here and
//! a row in [`Format::form`].

pub mod command;
pub mod crash;
#[cfg(test)]
pub(crate) mod fixture;
pub mod json;
pub mod lore;
pub mod mail;
pub mod markdown;
pub mod outline;
pub mod progress;
pub mod review;
pub mod standings;
pub mod terminal;
pub mod tested;

use clap::ValueEnum;
use s2lab_model::{changes::DiffSummary, summary::RunSummary};
use terminal::Paint;

/// Forms of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    // Lines for people.
    Human,
    // The event log, as it grows.
    Events,
    // One document, of which `s2lab schema run` prints the schema.
    Json,
    // A comment in a pull request, at most 65,000 characters.
    Markdown,
    // A mail to a list, at most 75 columns.
    Lore,
}

/// The function that writes a summary `S` in one form.
pub type Writer<S> = fn(&S) -> String;

/// A verb's output in one form, made of a summary `S`.
pub enum Printed<S> {
    /// The verb does not have the form.
    Nothing,
    /// The event log. It is no function of the summary, and already a file of the run.
    Log,
    Document(Writer<S>),
}

/// The outputs of all verbs in one form.
pub struct Form {
    /// The output of `run` and `report`.
    pub run: Printed<RunSummary>,
    /// The output of `check`.
    pub check: Printed<RunSummary>,
    /// The output of `diff`.
    pub diff: Printed<DiffSummary>,
}

impl Format {
    /// The table of forms.
    pub fn form(self) -> Form {
        use Printed::{Document, Log, Nothing};
        match self {
            Format::Human => Form {
                run: Document(|run| terminal::run(run, Paint(false)) + "\n"),
                check: Document(standings::lines),
                diff: Nothing,
            },
            Format::Events => Form { run: Log, check: Nothing, diff: Nothing },
            Format::Json => {
                Form { run: Document(json::document), check: Document(json::document), diff: Nothing }
            }
            Format::Markdown => Form {
                run: Document(markdown::run),
                check: Document(markdown::run),
                diff: Document(markdown::diff),
            },
            Format::Lore => {
                Form { run: Document(lore::run), check: Document(lore::run), diff: Document(lore::diff) }
            }
        }
    }

    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_each_form_with_its_verbs() {
        let text = include_str!("../../../docs/outputs.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows = rows
            .map(|row| row.split('|').map(|column| column.trim().trim_end_matches('`')).collect::<Vec<_>>());
        let documented: Vec<_> = rows
            .filter_map(|row| match row[..] {
                [name, _, run, check, diff, ""] => {
                    Some((name.to_owned(), [run, check, diff].map(|c| !c.is_empty())))
                }
                _ => None,
            })
            .collect();
        let has = |format: &Format| {
            let Form { run, check, diff } = format.form();
            let (run, check) = (!matches!(run, Printed::Nothing), !matches!(check, Printed::Nothing));
            (format.name(), [run, check, !matches!(diff, Printed::Nothing)])
        };
        assert_eq!(documented, Format::value_variants().iter().map(has).collect::<Vec<_>>());
    }
}
