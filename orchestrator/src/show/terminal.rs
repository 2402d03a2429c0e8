//! A run as lines for a terminal.

use crate::review::Standing;
use s2lab_model::{
    report::{CellSummary, Outcome},
    verdict::Verdict,
};
use std::{collections::BTreeMap, path::Path};

/// Widths that keep the columns of a run's lines straight.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    pub key: usize,
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
        let padded = format!("{word:<5}");
        if self.0 { format!("\x1b[1;{colour}m{padded}\x1b[0m") } else { padded }
    }
}

/// The line of a cell; one that has not passed names the command that repeats it, and where to look.
pub fn cell(summary: &CellSummary, columns: Columns, paint: Paint, cell_folder: &Path) -> String {
    let (word, passed, skipped) = match &summary.verdict {
        Some(verdict) => (verdict.to_string(), verdict.passed(), matches!(verdict, Verdict::Skip(_))),
        None => ("interrupted".to_owned(), false, true),
    };
    let word = word.split(" as ").next().unwrap_or(&word).to_owned();
    let seconds =
        summary.elapsed_ms.map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100)).unwrap_or_default();
    let mut line = format!(
        "{} {:<width$} {seconds:>8}",
        paint.verdict(&word, passed, skipped),
        summary.key,
        width = columns.key
    );
    let facts = summary.seen.iter().chain(&summary.label);
    for fact in facts {
        line.push_str("   ");
        line.push_str(fact);
    }
    if !passed && !skipped {
        if let Some(finding) = &summary.finding {
            line.push_str("\n      ");
            line.push_str(finding);
        }
        line.push_str(&format!(
            "\n      repeat: s2lab run '{}'   logs: {}",
            summary.key,
            cell_folder.display()
        ));
    }
    line
}

/// The last line: how many cells ended how, how that compares, where the run lies.
pub fn summary(cells: &[CellSummary], standings: &BTreeMap<String, Standing>, run: &Path) -> String {
    let mut counts: Vec<(String, usize)> = vec![];
    for cell in cells {
        let word = match &cell.verdict {
            Some(verdict) if verdict.passed() => "passed".to_owned(),
            Some(verdict) => verdict.name().to_owned(),
            None => "interrupted".to_owned(),
        };
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, n)) => *n += 1,
            None => counts.push((word, 1)),
        }
    }
    let counts: Vec<_> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let cells = match cells.len() {
        1 => "1 cell".to_owned(),
        n => format!("{n} cells"),
    };
    format!("{cells}: {}, {} · {}", counts.join(", "), compared(standings), home(run))
}

/// How a run's reports stand against the accepted ones, in a few words.
fn compared(standings: &BTreeMap<String, Standing>) -> String {
    let count = |is: fn(&Standing) -> bool| standings.values().filter(|s| is(s)).count();
    let parts = [
        (count(|s| matches!(s, Standing::Compared(Outcome::Changed { .. }))), "changed against accepted"),
        (
            count(|s| matches!(s, Standing::Compared(Outcome::NotComparable(_)))),
            "not comparable with accepted",
        ),
        (count(|s| matches!(s, Standing::New)), "not accepted yet"),
        (count(|s| matches!(s, Standing::Missing)), "without a report"),
        (count(|s| matches!(s, Standing::Compared(Outcome::ShapeMoved { .. }))), "shape moved"),
    ];
    let parts: Vec<_> =
        parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() { "same as accepted".into() } else { parts.join(", ") }
}

/// A path with the home folder as `~`.
fn home(path: &Path) -> String {
    let below = std::env::var_os("HOME").and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned));
    match below {
        Some(below) => format!("~/{}", below.display()),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary_of(verdict: Option<Verdict>) -> CellSummary {
        CellSummary {
            key: "vfio-pci-bar@debian-6.1".into(),
            verdict,
            elapsed_ms: Some(16_449),
            seen: vec!["nic Device-nGnRE".into()],
            label: Some("as before the series".into()),
            finding: Some("stage2 of nic: expected Normal-NC, found Device-nGnRE".into()),
        }
    }

    #[test]
    fn lines() {
        let verdicts = [
            Some(Verdict::Pass { as_: Some("before the series".into()) }),
            Some(Verdict::Fail),
            Some(Verdict::Skip("vfio-pci is not there".into())),
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
        let standings =
            BTreeMap::from([("a".into(), Standing::Compared(Outcome::Same)), ("b".into(), Standing::New)]);
        assert_eq!(
            summary(&cells, &standings, Path::new("/runs/1")),
            "3 cells: 2 passed, 1 FAIL, 1 not accepted yet · /runs/1"
        );
    }
}
