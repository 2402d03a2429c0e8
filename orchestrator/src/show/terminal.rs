//! A run as lines for a terminal.

use super::{command, comparison, mutants};
use s2lab_model::{
    escape,
    history::CellEnding,
    judge::endings,
    night::KnownFailure,
    report::{Outcome, Standing},
    summary::{CellSummary, RunSummary},
    verdict::Verdict,
};
use std::path::{Path, PathBuf};

/// The words in a verdict's place where there is none.
const INTERRUPTED: &str = "interrupted";
const NOT_RUN: &str = "not run";

/// The width of the verdicts' column. A longer word, `interrupted`, is rare and
/// moves only its own line. A width that depended on the verdicts would not be known while the run
/// goes on, and its lines are those of `s2lab report`.
const VERDICT: usize = "TIMEOUT".len();
/// The indentation of the lines that belong to a cell, under the verdicts' column.
const BELOW: &str = "\n         ";

/// The widths that align the columns of a run's lines.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    key: usize,
}

impl Columns {
    pub fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        Self { key: keys.map(str::len).max().unwrap_or_default() }
    }
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// A cell's word in its colour.
    fn verdict(self, cell: &CellSummary) -> String {
        const GREEN: u8 = 32;
        const RED: u8 = 31;
        const YELLOW: u8 = 33;
        let colour = match &cell.verdict {
            Some(Verdict::Pass { .. }) => GREEN,
            Some(Verdict::Skip(_)) | None => YELLOW,
            Some(_) => RED,
        };
        // Padding comes first, because escape sequences have no width.
        let padded = format!("{:<VERDICT$}", word(cell));
        if self.0 { format!("\x1b[1;{colour}m{padded}\x1b[0m") } else { padded }
    }
}

/// A whole run: the lines of its cells, or of its mutants, those of its comparison, and the last line.
pub fn run(run: &RunSummary, paint: Paint) -> String {
    if let Some(mutants) = &run.mutants {
        return format!("{} · {}", mutants::lines(run, mutants), home(&run.folder));
    }
    let columns = Columns::of(run.cells.iter().map(|cell| cell.key.as_str()));
    let cells: String = run.cells.iter().map(|one| cell(one, columns, paint) + "\n").collect();
    let compared = run.comparison.iter().flat_map(comparison::lines);
    cells + &compared.map(|line| line + "\n").collect::<String>() + &last_line(run)
}

/// The lines of a cell. The first one says what is wrong; the last one how to repeat it, and where
/// to look.
pub fn cell(cell: &CellSummary, columns: Columns, paint: Paint) -> String {
    let seconds = cell.elapsed_ms.map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100));
    let (word, seconds) = (paint.verdict(cell), seconds.unwrap_or_default());
    let mut line = format!("{word}  {:<width$} {seconds:>8}", cell.key, width = columns.key);
    let facts = facts(cell);
    match why(cell) {
        None => facts.iter().for_each(|fact| line.push_str(&format!("   {fact}"))),
        Some(why) => {
            line.push_str(&format!("   {why}"));
            let below = more_findings(cell).into_iter().chain([facts.join("   ")]);
            below.filter(|text| !text.is_empty()).for_each(|text| line.push_str(&format!("{BELOW}{text}")));
        }
    }
    let mut line = line.trim_end().to_owned();
    let hint = cell.stopped.as_ref().and_then(|stopped| stopped.hint.as_ref());
    // A SKIP has its reason, and needs nothing to be done.
    if let Some(hint) = hint.filter(|_| !cell.passed() && !cell.skipped() && cell.verdict.is_some()) {
        line.push_str(&format!("{BELOW}hint: {}", escape::line(hint)));
    }
    if let Some(KnownFailure { until, who, reason, .. }) = &cell.tolerated {
        let tolerated = escape::line(&format!("tolerated until {until} by {who}: {reason}"));
        line.push_str(&format!("{BELOW}{tolerated}"));
    }
    // The whole run is interrupted; what to repeat is `run --failed`.
    if !cell.passed() && (cell.verdict.is_some() || cell.not_run.is_some()) {
        let repeat = command::repeat(cell).join(" ");
        line.push_str(&format!("{BELOW}repeat: {repeat}   logs: {}", home(&cell.logs)));
    }
    line
}

/// The types that stage 2 gave each device, the alternative of the expectations, the attempts.
pub fn facts(cell: &CellSummary) -> Vec<String> {
    let seen = cell.seen.iter().map(|(device, types)| {
        let types: Vec<_> = types.iter().map(String::as_str).collect();
        escape::line(&format!("{device} {}", types.join(" and ")))
    });
    let label = cell.label.as_ref().map(|label| match cell.passed() {
        true => format!("as {label}"),
        false => format!("expected as {label}"),
    });
    let verdicts = cell.attempts.iter().map(Option::as_ref);
    let attempts = endings(verdicts).map(|how| format!("{} attempts: {how}", cell.attempts.len()));
    seen.chain(label).chain(attempts).collect()
}

/// The reason that a cell has not passed.
pub fn why(cell: &CellSummary) -> Option<String> {
    match &cell.verdict {
        None => cell.not_run.as_deref().map(escape::line),
        Some(Verdict::Pass { .. }) => None,
        Some(Verdict::Skip(reason)) => Some(escape::line(reason)),
        Some(verdict) => Some(cell.lead_line().unwrap_or_else(|| verdict.cause().to_owned())),
    }
}

/// The promise that a failed cell breaks, and the number of further findings.
fn more_findings(cell: &CellSummary) -> Option<String> {
    let more = further(cell).map(|more| format!("{more}: s2lab report --cell {}", cell.key));
    let parts: Vec<_> = broken(cell).into_iter().chain(more).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The promise that a failed cell breaks, or those that it may break.
pub fn broken(cell: &CellSummary) -> Option<String> {
    if cell.verdict != Some(Verdict::Fail) {
        return None;
    }
    match cell.lead()?.promise {
        Some(promise) => Some(format!("breaks {promise}")),
        None if cell.promises.is_empty() => None,
        None => {
            let promises: Vec<_> = cell.promises.iter().map(ToString::to_string).collect();
            Some(format!("of the promises {}", promises.join(" ")))
        }
    }
}

/// The number of findings besides the one that leads.
pub fn further(cell: &CellSummary) -> Option<String> {
    match cell.findings.len() {
        _ if cell.skipped() => None,
        0 | 1 => None,
        2 => Some("1 more finding".into()),
        n => Some(format!("{} more findings", n - 1)),
    }
}

/// The verdict's word, or what stands in its place.
pub fn word(cell: &CellSummary) -> &'static str {
    word_of(cell.verdict.as_ref(), cell.not_run.is_some())
}

fn word_of(verdict: Option<&Verdict>, not_run: bool) -> &'static str {
    match verdict {
        Some(verdict) => verdict.name(),
        None if not_run => NOT_RUN,
        None => INTERRUPTED,
    }
}

/// The last line: how many cells ended how, how that compares, where the run lies.
pub fn last_line(run: &RunSummary) -> String {
    let seed = run.shuffle.map(|seed| format!(" · shuffled with seed {seed}")).unwrap_or_default();
    format!("{}{seed} · {}", counts(run), home(&run.folder))
}

/// The number of cells that ended how, and how that compares.
pub fn counts(run: &RunSummary) -> String {
    if run.comparison.is_some() {
        return endings_of(run);
    }
    let compared = if run.compared { compared(run) } else { "no lab folder to compare with".into() };
    format!("{}, {compared}", endings_of(run))
}

fn endings_of(run: &RunSummary) -> String {
    counted(&run.cells.iter().map(CellEnding::of).collect::<Vec<_>>(), run.whole)
}

/// The number of cells that ended how: `3 cells: 2 passed, 1 failed`. `whole`: the log has the run's
/// end.
pub fn counted(cells: &[CellEnding], whole: bool) -> String {
    let mut counts: Vec<(&str, usize)> = vec![];
    for CellEnding { verdict, not_run, tolerated } in cells {
        let word = match verdict {
            _ if *tolerated => "tolerated",
            Some(Verdict::Pass { .. }) => "passed",
            Some(Verdict::Fail) => "failed",
            Some(Verdict::Skip(_)) => "skipped",
            verdict => word_of(verdict.as_ref(), *not_run),
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
    let cells = match cells.len() {
        1 => "1 cell".to_owned(),
        n => format!("{n} cells"),
    };
    format!("{cells}: {}", parts.join(", "))
}

/// A count of the standings, in a few words.
fn compared(run: &RunSummary) -> String {
    let standings: Vec<_> = run.cells.iter().filter_map(|cell| cell.standing.as_ref()).collect();
    let count = |is: fn(&Standing) -> bool| standings.iter().filter(|s| is(s)).count();
    let parts = [
        (count(|s| matches!(s, Standing::Compared(Outcome::Changed { .. }))), "changed against accepted"),
        (
            count(|s| matches!(s, Standing::Compared(Outcome::NotComparable(_)))),
            "not comparable with accepted",
        ),
        (count(|s| matches!(s, Standing::New)), "not accepted yet"),
        (count(|s| matches!(s, Standing::Missing(_))), "not compared"),
        (count(|s| matches!(s, Standing::Unreadable { .. })), "accepted reports that cannot be read"),
        (count(|s| matches!(s, Standing::Compared(Outcome::ShapeMoved { .. }))), "shape moved"),
        (count(|s| matches!(s, Standing::Compared(Outcome::NewWitness { .. }))), "with a new witness"),
    ];
    let parts: Vec<_> =
        parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() { "same as accepted".into() } else { parts.join(", ") }
}

/// Returns a path with the home folder as `~`.
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
    use s2lab_model::{
        event::Stage,
        finding::{Subject, Weight},
        verdict::Interrupt,
    };
    use s2lab_model::{finding::Finding, summary::Stopped};
    use std::collections::{BTreeMap, BTreeSet};

    fn cell_of(verdict: Option<Verdict>) -> CellSummary {
        let finding = |what: &str| Finding {
            weight: Weight::Tables,
            subject: Subject::default(),
            promise: None,
            what: what.into(),
            expected: "Normal-NC".into(),
            found: "Device-nGnRE".into(),
            detail: vec![],
        };
        CellSummary {
            key: "vfio-pci-bar@debian-6.1".parse().unwrap(),
            verdict,
            label: Some("before the series".into()),
            seen: BTreeMap::from([("nic".into(), BTreeSet::from(["Device-nGnRE".into()]))]),
            findings: ["stage2 of nic", "stage2 of gpu", "more"].map(finding).into(),
            promises: vec![],
            stopped: None,
            attempts: vec![],
            elapsed_ms: Some(16_449),
            repeat: vec!["run".into(), "./a b/mine.yaml".into(), "--kernel".into(), "debian-6.1".into()],
            logs: "/runs/1/cells/x".into(),
            standing: None,
            ..crate::show::fixture::cell("a@b")
        }
    }

    fn run_of(cells: Vec<CellSummary>) -> RunSummary {
        RunSummary {
            s2lab: "0.1.0".into(),
            started: "2026-11-22T15:00:00Z".into(),
            folder: "/runs/1".into(),
            lab: None,
            shuffle: None,
            night: None,
            mutants: None,
            comparison: None,
            cells,
            interrupted: None::<Interrupt>,
            whole: true,
            compared: true,
            lab_commit: None,
            orphaned: vec![],
            exit: 0,
        }
    }

    #[test]
    fn lines() {
        let stopped =
            Stopped { stage: Stage::GuestBoot, what: "no answer".into(), hint: Some("see crash.txt".into()) };
        let mut timeout = cell_of(Some(Verdict::Timeout(Stage::GuestBoot)));
        timeout.findings[0].found = "no answer".into();
        timeout.stopped = Some(stopped);
        let verdicts = [
            Some(Verdict::Pass { as_: Some("before the series".into()) }),
            Some(Verdict::Fail),
            Some(Verdict::Skip("vfio-pci is not there".into())),
            Some(Verdict::Lost),
            None,
        ];
        let lines: Vec<_> = verdicts
            .map(cell_of)
            .into_iter()
            .chain([timeout])
            .map(|one| cell(&one, Columns { key: 26 }, Paint(false)))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn the_last_line_counts() {
        let stands = |verdict, standing| CellSummary { standing: Some(standing), ..cell_of(Some(verdict)) };
        let run = run_of(vec![
            stands(Verdict::PASS, Standing::Compared(Outcome::Same)),
            stands(Verdict::PASS, Standing::New),
            stands(Verdict::Fail, Standing::Compared(Outcome::Same)),
        ]);
        assert_eq!(last_line(&run), "3 cells: 2 passed, 1 failed, 1 not accepted yet · /runs/1");
        let skipped = vec![cell_of(Some(Verdict::Skip("x".into())))];
        assert_eq!(
            last_line(&RunSummary { whole: false, compared: false, ..run_of(skipped) }),
            "1 cell: 1 skipped, nothing was tested, LOST: the log stops before the run's end, no lab folder to compare with · /runs/1"
        );
    }
}
