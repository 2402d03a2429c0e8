//! Annotations in GitHub's workflow commands, and the summary of a step (docs.github.com, "Workflow
//! commands for GitHub Actions"; actions/runner, ActionCommand.cs).

use super::{command, excerpt, markdown, outline, standings, terminal};
use s2lab_model::{
    changes::{CellResult, Change, DiffSummary, groups},
    escape,
    plan::Key,
    report::{Outcome, Standing},
    summary::{CellSummary, RunSummary},
};

/// The most annotations. GitHub shows so many of a kind in a step.
const MOST: usize = 10;
/// The longest summary of a step, in bytes. GitHub drops a longer one.
pub const SUMMARY: usize = 1 << 20;
/// The most names and sentences in one annotation.
const NAMED: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Warning,
    Notice,
}

/// A workflow command. Its lines are of visible ASCII.
struct Annotation {
    level: Level,
    title: String,
    lines: Vec<String>,
}

/// Returns the annotations of a run: what has not passed, then what differs from the accepted
/// reports, then the failures that are tolerated.
pub fn run(run: &RunSummary) -> String {
    let cells = outline::worst_first(run);
    let bad = cells.iter().filter(|cell| !cell.passed() && !cell.skipped()).map(|cell| {
        let known = excerpt::known(cell);
        let level = if known.is_some() { Level::Notice } else { Level::Error };
        let repeat = format!("repeat: {}", command::repeat(cell).join(" "));
        let lines = known.into_iter().chain([excerpt::reason(cell), repeat]).collect();
        Annotation { level, title: format!("{} {}", terminal::word(cell), cell.key), lines }
    });
    let changed = cells.iter().filter_map(|cell| match &cell.standing {
        _ if cell.tolerated.is_some() => None,
        Some(standing @ Standing::Compared(Outcome::Changed { .. })) => {
            Some(differs(Level::Warning, cell, standing))
        }
        _ => None,
    });
    let lost = (!run.whole).then(|| Annotation {
        level: Level::Error,
        title: "LOST".into(),
        lines: vec!["the event log stops before the run's end".into()],
    });
    text(lost.into_iter().chain(bad).chain(changed).collect())
}

/// Returns the annotations of a comparison with the accepted reports: what `check` does not accept.
pub fn check(run: &RunSummary) -> String {
    let cells = outline::worst_first(run).into_iter().filter_map(|cell| {
        let standing = cell.standing.as_ref().filter(|standing| !standing.is_fine())?;
        Some(differs(Level::Error, cell, standing))
    });
    let orphaned = run.orphaned.iter().map(|key| Annotation {
        level: Level::Error,
        title: format!("orphaned {key}"),
        lines: vec!["the lab has no such cell; remove the file".into()],
    });
    text(cells.chain(orphaned).collect())
}

/// Returns the annotations of a diff: each change with the cells that have it.
pub fn diff(diff: &DiffSummary) -> String {
    let differing = diff.cells.iter().filter_map(|cell| match &cell.result {
        CellResult::Differs(changes) => Some((&cell.new, changes.as_slice())),
        CellResult::Same | CellResult::NotComparable(_) => None,
    });
    let groups = groups(differing);
    let changes = groups.iter().map(|group| Annotation {
        level: Level::Warning,
        title: format!("changed on {}", names(&group.keys)),
        lines: vec![group.change.what.clone()],
    });
    let refused = diff.cells.iter().filter_map(|cell| match &cell.result {
        CellResult::NotComparable(facts) => Some(Annotation {
            level: Level::Warning,
            title: format!("not comparable {}", cell.new),
            lines: facts.iter().take(NAMED).map(|fact| escape::line(&fact.to_string())).collect(),
        }),
        CellResult::Same | CellResult::Differs(_) => None,
    });
    let only = [(&diff.old, &diff.only_old), (&diff.new, &diff.only_new)];
    let only = only.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(side, keys)| Annotation {
        level: Level::Notice,
        title: format!("only in {}", escape::line(side)),
        lines: vec![names(keys)],
    });
    text(changes.chain(refused).chain(only).collect())
}

/// Returns the summary of a run's step, of at most `room` bytes; it is empty if none fits.
pub fn summary(run: &RunSummary, room: usize) -> String {
    within(markdown::run_within(run, room.min(SUMMARY)), room)
}

/// Returns the summary of a diff's step like [`summary`].
pub fn diff_summary(diff: &DiffSummary, room: usize) -> String {
    within(markdown::diff(diff), room)
}

fn within(text: String, room: usize) -> String {
    Some(text).filter(|text| text.len() <= room.min(SUMMARY)).unwrap_or_default()
}

fn differs(level: Level, cell: &CellSummary, standing: &Standing) -> Annotation {
    let lines = match standing {
        Standing::Compared(Outcome::Changed { changes, .. }) => sentences(changes),
        Standing::Compared(Outcome::NotComparable(facts)) => {
            facts.iter().take(NAMED).map(|fact| escape::line(&fact.to_string())).collect()
        }
        Standing::Missing(gap) => vec![escape::line(&standings::reason(gap))],
        Standing::Unreadable { why } => vec![escape::line(why)],
        Standing::New => vec!["accept it with `s2lab accept`".into()],
        Standing::Compared(Outcome::Same | Outcome::NewWitness { .. } | Outcome::ShapeMoved { .. }) => vec![],
    };
    Annotation { level, title: format!("{} {}", standings::word(standing), cell.key), lines }
}

fn sentences(changes: &[Change]) -> Vec<String> {
    let more = changes.len().checked_sub(NAMED).filter(|more| *more > 0);
    let named = changes.iter().take(NAMED).map(|change| escape::line(&change.what));
    named.chain(more.map(|more| format!("and {more} more"))).collect()
}

fn names(keys: &[Key]) -> String {
    let more = keys.len().checked_sub(NAMED).filter(|more| *more > 0);
    let named = keys.iter().take(NAMED).map(Key::to_string);
    named.chain(more.map(|more| format!("and {more} more"))).collect::<Vec<_>>().join(", ")
}

/// Returns the annotations as lines, the worst first.
fn text(mut annotations: Vec<Annotation>) -> String {
    annotations.sort_by_key(|annotation| annotation.level);
    if annotations.len() > MOST {
        let more = annotations.len() - (MOST - 1);
        annotations.truncate(MOST - 1);
        let (title, lines) = ("s2lab".into(), vec![format!("and {more} more")]);
        annotations.push(Annotation { level: Level::Notice, title, lines });
    }
    annotations.iter().map(Annotation::line).collect()
}

impl Annotation {
    fn line(&self) -> String {
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Notice => "notice",
        };
        let title = data(&self.title).replace(':', "%3A").replace(',', "%2C");
        format!("::{level} title={title}::{}\n", data(&self.lines.join("\n")))
    }
}

/// Escapes the text of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::fixture;
    use proptest::prelude::*;

    /// Reads lines like the runner: level, title, message.
    fn read(text: &str) -> Vec<(String, String, String)> {
        let plain = |text: &str| {
            let text = text.replace("%3A", ":").replace("%2C", ",");
            text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
        };
        let line = |line: &str| {
            let (level, rest) = line.strip_prefix("::")?.split_once(" title=")?;
            let (title, message) = rest.split_once("::")?;
            Some((level.to_owned(), plain(title), plain(message)))
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| panic!("{text}"))).collect()
    }

    #[test]
    fn a_run() {
        insta::assert_snapshot!(run(&fixture::run()));
        assert_eq!(read(&run(&fixture::run())).len(), MOST);
    }

    #[test]
    fn a_comparison() {
        insta::assert_snapshot!(format!("{}\n{}", check(&fixture::run()), diff(&fixture::diff())));
    }

    #[test]
    fn a_run_where_all_is_well_has_none() {
        assert_eq!(run(&fixture::run_of(vec![fixture::cell("bar@debian-6.12")])), "");
    }

    #[test]
    fn a_text_is_no_command() {
        let text = "100%, a: b\n::error title=x::y\r\n";
        let annotation = Annotation { level: Level::Notice, title: text.into(), lines: vec![text.into()] };
        let line = annotation.line();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert_eq!(read(&line), [("notice".to_owned(), text.to_owned(), text.to_owned())]);
    }

    #[test]
    fn a_summary_has_room_in_what_the_step_has_written() {
        let run = fixture::run_of(vec![fixture::failed("bar@debian-6.12", fixture::changed(vec![])); 200]);
        for room in [4096, 20_000] {
            let shown = summary(&run, room);
            assert!(!shown.is_empty() && shown.len() <= room, "{room}: {}", shown.len());
        }
        assert_eq!([summary(&run, 10), diff_summary(&fixture::diff(), 10)], ["", ""]);
        assert_eq!(diff_summary(&fixture::diff(), SUMMARY), markdown::diff(&fixture::diff()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_a_guest_writes(summary in fixture::any_run()) {
            for shown in [run(&summary), check(&summary)] {
                prop_assert!(shown.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{shown:?}");
                let lines = read(&shown);
                prop_assert!(lines.len() <= MOST);
                prop_assert!(lines.iter().all(|(level, ..)| ["error", "warning", "notice"].contains(&&**level)));
            }
        }
    }
}
