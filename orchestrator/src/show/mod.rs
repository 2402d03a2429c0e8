//! The outputs of a run for people and programs: functions of its summary. A form is a file here and
//! a row in [`Format::form`].

pub mod answer;
pub mod boots;
pub mod changes;
pub mod command;
pub mod comparison;
pub mod crash;
pub mod diff;
pub mod excerpt;
#[cfg(test)]
pub(crate) mod fixture;
mod fold;
pub mod github;
pub mod history;
pub mod json;
pub mod junit;
pub mod kcidb;
pub mod ktap;
pub mod lore;
pub mod mail;
pub mod markdown;
pub mod morning;
pub mod mutants;
pub mod needs;
pub mod outline;
pub mod page;
pub mod past;
pub mod progress;
pub mod promises;
pub mod review;
pub mod standings;
pub mod tables;
pub mod terminal;
pub mod tested;
pub mod trend;

use clap::ValueEnum;
use s2lab_model::{changes::DiffSummary, night::Morning, summary::RunSummary};
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
    // XML that CI systems read.
    Junit,
    // The text that kernel tests print.
    Ktap,
    // JSON for the KernelCI database.
    Kcidb,
    // Annotations; also appends the summary of the step to $GITHUB_STEP_SUMMARY.
    Github,
    // A comment in a pull request, at most 65,000 characters.
    Markdown,
    // A mail to a list, at most 75 columns.
    Lore,
    // A page for a browser, in one file.
    Html,
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
    /// A document, and a summary for the step of a CI system, of at most so many bytes.
    Annotations {
        document: Writer<S>,
        summary: StepWriter<S>,
    },
}

/// The outputs of all verbs in one form.
pub struct Form {
    /// The output of `run` and `report`.
    pub run: Printed<RunSummary>,
    /// The output of `compare`.
    pub compare: Printed<RunSummary>,
    /// The output of `check`.
    pub check: Printed<RunSummary>,
    /// The output of `diff`.
    pub diff: Printed<DiffSummary>,
    /// The output of `nightly`: the summary of the morning for people, that of the run for programs.
    pub nightly: Printed<Morning>,
}

/// The function that writes the summary of a step, of at most so many bytes.
pub type StepWriter<S> = fn(&S, usize) -> String;

impl<S> Printed<S> {
    /// Returns the functions of a form that is made of the summary.
    pub fn functions(&self) -> (Option<Writer<S>>, Option<StepWriter<S>>) {
        match *self {
            Printed::Nothing | Printed::Log => (None, None),
            Printed::Document(document) => (Some(document), None),
            Printed::Annotations { document, summary } => (Some(document), Some(summary)),
        }
    }
}

impl Format {
    /// The table of forms.
    pub fn form(self) -> Form {
        use Printed::{Annotations, Document, Log, Nothing};
        match self {
            Format::Human => Form {
                run: Document(|run| terminal::run(run, Paint(false)) + "\n"),
                compare: Document(|run| terminal::run(run, Paint(false)) + "\n"),
                check: Document(standings::lines),
                diff: Document(diff::lines),
                nightly: Document(morning::lines),
            },
            Format::Events => {
                Form { run: Log, compare: Log, check: Nothing, diff: Nothing, nightly: Nothing }
            }
            Format::Json => Form {
                run: Document(json::document),
                compare: Document(json::document),
                check: Document(json::document),
                diff: Document(diff::json::document),
                nightly: Document(|morning| json::document(&morning.run)),
            },
            Format::Junit => Form {
                run: Document(junit::document),
                compare: Nothing,
                check: Nothing,
                diff: Nothing,
                nightly: Document(|morning| junit::document(&morning.run)),
            },
            Format::Ktap => Form {
                run: Document(ktap::document),
                compare: Nothing,
                check: Nothing,
                diff: Nothing,
                nightly: Document(|morning| ktap::document(&morning.run)),
            },
            Format::Kcidb => Form {
                run: Document(kcidb::document),
                compare: Nothing,
                check: Nothing,
                diff: Nothing,
                nightly: Document(|morning| kcidb::document(&morning.run)),
            },
            Format::Github => Form {
                run: Annotations { document: github::run, summary: github::summary },
                compare: Nothing,
                check: Annotations { document: github::check, summary: github::summary },
                diff: Annotations { document: github::diff, summary: github::diff_summary },
                nightly: Annotations {
                    document: |morning| github::run(&morning.run),
                    summary: |morning, _| morning::markdown(morning),
                },
            },
            Format::Markdown => Form {
                run: Document(markdown::run),
                compare: Nothing,
                check: Document(markdown::run),
                diff: Document(markdown::diff),
                nightly: Document(morning::markdown),
            },
            Format::Lore => Form {
                run: Document(lore::run),
                compare: Nothing,
                check: Document(lore::run),
                diff: Document(lore::diff),
                nightly: Document(|morning| lore::run(&morning.run)),
            },
            Format::Html => Form {
                run: Document(page::run),
                compare: Nothing,
                check: Document(page::run),
                diff: Document(page::diff),
                nightly: Document(|morning| page::run(&morning.run)),
            },
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
    use s2lab_model::{report::Standing, verdict::Verdict};

    /// The text between the marks of each example is what is printed of a small run.
    /// `S2LAB_UPDATE_DOCS=1 cargo test -p s2lab --lib the_document` writes it.
    #[test]
    fn the_document_shows_what_is_printed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/outputs.md");
        let mut text = std::fs::read_to_string(path).unwrap();
        let skip = Verdict::Skip("no vfio-pci in the kernel".into());
        let mut skipped = fixture::cell("vfio-pci-bar@debian-6.12+fwb=yes");
        (skipped.verdict, skipped.report) = (Some(skip), None);
        let failed = fixture::failed("vfio-pci-bar@linux-6.1~v9+fwb=yes", Standing::New);
        let run = fixture::run_of(vec![failed, skipped]);
        for (format, language) in [
            (Format::Junit, "xml"),
            (Format::Ktap, "text"),
            (Format::Kcidb, "json"),
            (Format::Github, "text"),
        ] {
            let (document, _) = format.form().run.functions();
            let example = format!("```{language}\n{}```\n", document.unwrap()(&run));
            let (mark, end) = (format!("<!-- {} -->\n", format.name()), "<!-- end -->");
            let from = text.find(&mark).unwrap() + mark.len();
            let to = from + text[from..].find(end).unwrap();
            if std::env::var_os("S2LAB_UPDATE_DOCS").is_some() {
                text.replace_range(from..to, &example);
                std::fs::write(path, &text).unwrap();
            } else {
                assert_eq!(&text[from..to], example, "{}", format.name());
            }
        }
    }

    #[test]
    fn the_document_has_each_form_with_its_verbs() {
        let text = include_str!("../../../docs/outputs.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows = rows
            .map(|row| row.split('|').map(|column| column.trim().trim_end_matches('`')).collect::<Vec<_>>());
        let documented: Vec<_> = rows
            .filter_map(|row| match row[..] {
                [name, _, run, compare, check, diff, nightly, ""] => {
                    Some((name.to_owned(), [run, compare, check, diff, nightly].map(|c| !c.is_empty())))
                }
                _ => None,
            })
            .collect();
        let has = |format: &Format| {
            let Form { run, compare, check, diff, nightly } = format.form();
            let compare = !matches!(compare, Printed::Nothing);
            let (run, check) = (!matches!(run, Printed::Nothing), !matches!(check, Printed::Nothing));
            let (diff, nightly) = (!matches!(diff, Printed::Nothing), !matches!(nightly, Printed::Nothing));
            (format.name(), [run, compare, check, diff, nightly])
        };
        assert_eq!(documented, Format::value_variants().iter().map(has).collect::<Vec<_>>());
    }
}
