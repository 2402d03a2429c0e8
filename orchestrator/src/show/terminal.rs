//! A run as lines for a terminal.

use crate::review::Standing;
use s2lab_model::{
    escape,
    plan::Key,
    report::{CellSummary, Outcome},
    verdict::Verdict,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// In a verdict's place where there is none.
const INTERRUPTED: &str = "interrupted";
const NOT_RUN: &str = "not run";

/// The verdicts' column. What is longer, `INCONCLUSIVE` and `interrupted`, is rare and moves its own line only; a width that
/// followed the verdicts would not be known while the run goes on, and its lines are those of `s2lab report`.
const VERDICT: usize = "TIMEOUT".len();
/// Under the verdicts' column: the lines that belong to a cell.
const BELOW: &str = "\n         ";

/// Widths that keep the columns of a run's lines straight.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    key: usize,
}

impl Columns {
    pub fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        Self { key: keys.map(str::len).max().unwrap_or_default() }
    }
}

/// Whether to colour, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// A verdict's word in its colour.
    fn verdict(self, word: &str, passed: bool, skipped: bool) -> String {
        const GREEN: u8 = 32;
        const RED: u8 = 31;
        const YELLOW: u8 = 33;
        let colour = if passed {
            GREEN
        } else if skipped {
            YELLOW
        } else {
            RED
        };
        // Padded first: escape sequences have no width.
        let padded = format!("{word:<VERDICT$}");
        if self.0 { format!("\x1b[1;{colour}m{padded}\x1b[0m") } else { padded }
    }
}

/// The line of a cell; one that has not passed names the command that repeats it, and where to look.
pub fn cell(summary: &CellSummary, columns: Columns, paint: Paint, cell_folder: &Path) -> String {
    let CellSummary { key, verdict, elapsed_ms, seen, label, finding, hint, attempts, not_run, repeat } =
        summary;
    let (word, passed, skipped) = match verdict {
        Some(verdict) => (verdict.name(), verdict.passed(), matches!(verdict, Verdict::Skip(_))),
        None => (without_verdict(summary), false, true),
    };
    let seconds = elapsed_ms.map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100)).unwrap_or_default();
    let word = paint.verdict(word, passed, skipped);
    let mut line = format!("{word}  {key:<width$} {seconds:>8}", width = columns.key);
    let taken = match verdict {
        Some(Verdict::Timeout(stage)) => Some(format!("in stage {stage}")),
        Some(Verdict::Skip(reason)) => Some(escape::line(reason)),
        _ => None,
    };
    for fact in seen.iter().chain(label).chain(&taken).chain(attempts) {
        line.push_str("   ");
        line.push_str(fact);
    }
    let mut line = line.trim_end().to_owned();
    let why = match verdict {
        // The reason stands there already.
        Some(Verdict::Skip(_)) => None,
        None => not_run.as_deref(),
        Some(verdict) if !passed => Some(finding.as_deref().unwrap_or(verdict.cause())),
        Some(_) => None,
    };
    if let Some(why) = why {
        line.push_str(BELOW);
        line.push_str(why);
    }
    // A verdict that is SKIP has its reason, and needs nothing to be done.
    if let Some(hint) = hint.as_deref().filter(|_| !passed && !skipped) {
        line.push_str(&format!("{BELOW}hint: {hint}"));
    }
    if !passed {
        let repeat: Vec<_> = repeat.iter().map(|argument| quoted(argument)).collect();
        line.push_str(&format!("{BELOW}repeat: s2lab {}   logs: {}", repeat.join(" "), home(cell_folder)));
    }
    line
}

/// What stands in the verdict's place.
fn without_verdict(cell: &CellSummary) -> &'static str {
    if cell.not_run.is_some() { NOT_RUN } else { INTERRUPTED }
}

/// An argument as a shell wants it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", escape::line(argument).replace('\'', "'\\''"))
}

/// The last line: how many cells ended how, how that compares, where the run lies. `whole`: the log tells of the run's end.
/// `standings`: none if there is no lab to compare with.
pub fn summary(
    cells: &[CellSummary],
    whole: bool,
    standings: Option<&BTreeMap<Key, Standing>>,
    run: &Path,
) -> String {
    let mut counts: Vec<(&str, usize)> = vec![];
    for cell in cells {
        let word = match &cell.verdict {
            Some(verdict) if verdict.passed() => "passed",
            Some(verdict) => verdict.name(),
            None => without_verdict(cell),
        };
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, n)) => *n += 1,
            None => counts.push((word, 1)),
        }
    }
    let mut parts: Vec<_> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
    if cells.iter().all(|cell| matches!(cell.verdict, Some(Verdict::Skip(_)))) {
        parts.push("nothing was tested".into());
    }
    if !whole {
        parts.push("LOST: the log stops before the run's end".into());
    }
    parts.push(standings.map_or("no lab folder to compare with".into(), compared));
    let cells = match cells.len() {
        1 => "1 cell".to_owned(),
        n => format!("{n} cells"),
    };
    format!("{cells}: {} · {}", parts.join(", "), home(run))
}

/// How a run's reports stand against the accepted ones, in a few words.
fn compared(standings: &BTreeMap<Key, Standing>) -> String {
    let count = |is: fn(&Standing) -> bool| standings.values().filter(|s| is(s)).count();
    let parts = [
        (count(|s| matches!(s, Standing::Compared(Outcome::Changed { .. }))), "changed against accepted"),
        (
            count(|s| matches!(s, Standing::Compared(Outcome::NotComparable(_)))),
            "not comparable with accepted",
        ),
        (count(|s| matches!(s, Standing::New)), "not accepted yet"),
        (count(|s| matches!(s, Standing::Missing { .. })), "not compared"),
        (count(|s| matches!(s, Standing::Unreadable { .. })), "accepted reports that cannot be read"),
        (count(|s| matches!(s, Standing::Compared(Outcome::ShapeMoved { .. }))), "shape moved"),
    ];
    let parts: Vec<_> =
        parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() { "same as accepted".into() } else { parts.join(", ") }
}

/// A path with the home folder as `~`.
fn home(path: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    match home.and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned)) {
        Some(below) => format!("~/{}", below.display()),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_model::event::Stage;

    fn summary_of(verdict: Option<Verdict>) -> CellSummary {
        CellSummary {
            key: "vfio-pci-bar@debian-6.1".parse().unwrap(),
            verdict,
            elapsed_ms: Some(16_449),
            seen: vec!["nic Device-nGnRE".into()],
            label: Some("as before the series".into()),
            finding: Some("stage2 of nic: expected Normal-NC, found Device-nGnRE".into()),
            hint: Some("see crash.txt".into()),
            attempts: None,
            not_run: None,
            repeat: vec!["run".into(), "./a b/mine.yaml".into(), "--kernel".into(), "debian-6.1".into()],
        }
    }

    #[test]
    fn lines() {
        let verdicts = [
            Some(Verdict::Pass { as_: Some("before the series".into()) }),
            Some(Verdict::Fail),
            Some(Verdict::Skip("vfio-pci is not there".into())),
            Some(Verdict::Timeout(Stage::GuestBoot)),
            Some(Verdict::Inconclusive),
            None,
        ];
        let lines: Vec<_> = verdicts
            .map(|v| cell(&summary_of(v), Columns { key: 26 }, Paint(false), Path::new("/runs/1/cells/x")))
            .into();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn the_last_line_counts() {
        let cells = [
            summary_of(Some(Verdict::PASS)),
            summary_of(Some(Verdict::PASS)),
            summary_of(Some(Verdict::Fail)),
        ];
        let key = |text: &str| text.parse().unwrap();
        let standings =
            BTreeMap::from([(key("a@k"), Standing::Compared(Outcome::Same)), (key("b@k"), Standing::New)]);
        assert_eq!(
            summary(&cells, true, Some(&standings), Path::new("/runs/1")),
            "3 cells: 2 passed, 1 FAIL, 1 not accepted yet · /runs/1"
        );
        assert_eq!(
            summary(&[summary_of(Some(Verdict::Skip("x".into())))], false, None, Path::new("/runs/1")),
            "1 cell: 1 SKIP, nothing was tested, LOST: the log stops before the run's end, no lab folder to compare with · /runs/1"
        );
    }
}
