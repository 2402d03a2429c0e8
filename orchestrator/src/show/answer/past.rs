//! The answers of `history` and `trend`.

use s2lab_model::history::{self, MeasureName, PastCell, PastMeasure, Rate, Stand, expected};
use s2lab_model::verdict::Verdict;
use schemars::JsonSchema;
use serde::Serialize;

/// A cell of past runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CellHistory {
    pub key: String,
    /// The number of runs that planned the cell.
    pub runs: usize,
    /// The newest of them.
    pub last: PastResult,
    /// The newest run in which the cell passed.
    pub last_good: Option<PastResult>,
    /// The oldest bad run after that one; null if the newest verdict about the kernel is good.
    pub first_bad: Option<PastResult>,
    pub flaky: FlakyRate,
    /// Since when the newest result stands: the same verdict with the same findings.
    pub stands: Option<Stands>,
}

/// A cell in one run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PastResult {
    /// The name of the run's folder.
    pub run: String,
    pub folder: String,
    pub lab: Option<String>,
    /// The time at which the run began, by RFC 3339.
    pub started: String,
    /// True for a good night, false for another one; null: the run was none.
    pub night: Option<bool>,
    /// PASS, FAIL, TIMEOUT, FLAKY, ERROR, MISS, LOST or SKIP; null: interrupted, or
    /// not run.
    pub verdict: Option<&'static str>,
    /// The alternative of a PASS, the stage of a TIMEOUT, the reason of a SKIP.
    pub argument: Option<String>,
    pub not_run: Option<String>,
    /// The finding that leads. It may come from a guest.
    pub lead: Option<String>,
    /// The standing against the report that was accepted then, like `accepted.standing` of a run.
    pub standing: Option<String>,
    pub attempts: u64,
    /// The last attempt came to its end.
    pub complete: bool,
    /// The time of the last attempt, milliseconds.
    pub elapsed_ms: Option<u64>,
    /// The time of its host's boot.
    pub boot_ms: Option<u64>,
    /// The kind of the machine.
    pub machine: Option<String>,
}

/// The share of flaky runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FlakyRate {
    /// The runs that are FLAKY, or differ from the run before under the same conditions.
    pub flaky: usize,
    /// The runs with a verdict about the kernel.
    pub judged: usize,
}

/// Since when a result stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stands {
    /// The run, by the name of its folder.
    pub since: String,
    /// The number of runs with it.
    pub runs: usize,
}

/// The past of one cell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Trend {
    /// The file of the history.
    pub file: String,
    #[serde(flatten)]
    pub cell: CellHistory,
    /// The runs, the oldest first.
    pub results: Vec<PastResult>,
    /// The facts that differ between the last good run and the first bad one.
    pub changed: Vec<FactChange>,
    /// The expected time of the cell on the machine of the newest run, milliseconds.
    pub expected_ms: Option<u64>,
    /// The measures. They decide nothing.
    pub measures: Vec<Measure>,
}

/// A fact with another value.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FactChange {
    pub fact: String,
    pub from: String,
    pub to: String,
}

/// A measure over runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Measure {
    /// From 0, in the scenario's order.
    pub step: u64,
    pub name: String,
    /// The boots of the host, those of the oldest run first.
    pub boots: Vec<MeasuredBoot>,
}

/// A measure in one boot of the host. Times are nanoseconds of one store.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MeasuredBoot {
    /// The name of the run's folder.
    pub run: String,
    /// The number of the attempt at the cell, from 1.
    pub boot: u64,
    /// The number of samples.
    pub samples: u64,
    pub median: u64,
    /// The ends of the 95 % interval of the median; null: the samples are too few.
    pub interval: Option<[u64; 2]>,
    pub min: u64,
    pub max: u64,
}

impl CellHistory {
    /// `cells` is the past of one cell, the oldest run first.
    pub fn of(trend: &history::Trend<'_>, cells: &[PastCell]) -> Self {
        let Rate { flaky, judged } = trend.flaky;
        let stands = |Stand { since, runs }| Stands { since: since.run.name.clone(), runs };
        Self {
            key: trend.last.key.to_string(),
            runs: cells.len(),
            last: PastResult::of(trend.last),
            last_good: trend.last_good.map(PastResult::of),
            first_bad: trend.first_bad.map(PastResult::of),
            flaky: FlakyRate { flaky, judged },
            stands: history::stand(cells).map(stands),
        }
    }
}

impl PastResult {
    pub fn of(cell: &PastCell) -> Self {
        let run = &cell.run;
        Self {
            run: run.name.clone(),
            folder: run.folder.display().to_string(),
            lab: run.lab.clone(),
            started: run.started.clone(),
            night: run.night,
            verdict: cell.verdict.as_ref().map(Verdict::name),
            argument: cell.verdict.as_ref().and_then(Verdict::argument),
            not_run: cell.not_run.clone(),
            lead: cell.lead.clone(),
            standing: cell.standing.clone(),
            attempts: cell.attempts,
            complete: cell.complete,
            elapsed_ms: cell.elapsed_ms,
            boot_ms: cell.boot_ms,
            machine: cell.fact(history::fact::MACHINE).map(str::to_owned),
        }
    }
}

impl Trend {
    /// `cells` and `measured` are those of one cell, the oldest run first.
    pub fn of(
        file: String,
        trend: &history::Trend<'_>,
        cells: &[PastCell],
        times: &[u64],
        measured: &[PastMeasure],
    ) -> Self {
        let change = |change: &history::FactChange<'_>| FactChange {
            fact: change.name.to_owned(),
            from: change.from.to_owned(),
            to: change.to.to_owned(),
        };
        let newest_first: Vec<_> = times.iter().rev().copied().collect();
        let expected = expected(&newest_first).and_then(|time| u64::try_from(time.as_millis()).ok());
        Self {
            file,
            cell: CellHistory::of(trend, cells),
            results: cells.iter().map(PastResult::of).collect(),
            changed: trend.changed.iter().map(change).collect(),
            expected_ms: expected,
            measures: measures(cells, measured),
        }
    }
}

fn measures(cells: &[PastCell], measured: &[PastMeasure]) -> Vec<Measure> {
    let run = |id: i64| cells.iter().find(|cell| cell.run.id == id).map(|cell| cell.run.name.clone());
    let boot = |of: &PastMeasure| {
        let PastMeasure { boot, samples, median, min, max, .. } = *of;
        let interval = of.interval.map(<[u64; 2]>::from);
        Some(MeasuredBoot { run: run(of.run)?, boot, samples, median, interval, min, max })
    };
    let mut names: Vec<&MeasureName> = measured.iter().map(|one| &one.name).collect();
    names.sort();
    names.dedup();
    let one = |name: &MeasureName| {
        let boots = measured.iter().filter(|one| one.name == *name).filter_map(boot).collect();
        Measure { step: name.step, name: name.name.clone(), boots }
    };
    names.into_iter().map(one).collect()
}
