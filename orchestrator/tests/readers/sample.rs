//! A judged run of any size, for checks and measurements of what is shown of a run: scripted logs,
//! reports, an accepted report that differs, consoles of real kernels.

use crate::story::{Behaves, Story};
use s2lab::run::judging::RawPages;
use s2lab_model::{
    cell::ResolvedCell,
    console::classify,
    event::{PlannedCell, Stage},
    judge::{JudgedRun, judge_run},
    kernel::{Trait, Traits},
    measures::{Boot, Measure},
    plan::Key,
    record::{Run, StageSpan},
    report::{Report, Standing, compare},
    scenario::{Scenario, load},
    summary::{CellSummary, RunSummary},
};
use std::{collections::BTreeMap, fs, path::Path};

const SCENARIOS: [(&str, &str); 2] = [
    ("vfio-pci-bar.yaml", include_str!("../../../scenarios/vfio-pci-bar.yaml")),
    ("ram-stays-cacheable.yaml", include_str!("../../../scenarios/ram-stays-cacheable.yaml")),
];
/// The cells of a kernel: the first scenario has two points.
const OF_KERNEL: usize = 3;
/// The console of the cell that fails. The others print what comes before its crash.
const CRASH: &str = include_str!("../../model/tests/consoles/oops-6.12.log");
/// The kernel whose cells fail, against their accepted reports.
pub(crate) const BROKEN: &str = "linux-6.1-wc";
/// Milliseconds from which each stage lasts to the next.
const STAGES: [(Stage, u64); 7] = [
    (Stage::Prepare, 0),
    (Stage::Preflight, 1_200),
    (Stage::HostBoot, 1_300),
    (Stage::Bind, 7_900),
    (Stage::GuestBoot, 8_000),
    (Stage::Steps, 14_100),
    (Stage::ShutDown, 16_300),
];
const END: u64 = 16_900;
/// Times of stores in nanoseconds.
const SAMPLES: [u64; 9] = [553_000, 342_000, 765_000, 600_000, 580_000, 571_000, 498_000, 644_000, 590_000];

/// Returns a run of at least `cells` cells, whose log and consoles are in `folder`.
pub(crate) fn run(folder: &Path, cells: usize) -> RunSummary {
    let named = ["debian-6.1", "debian-6.12", "linux-6.1", BROKEN].map(str::to_owned);
    let kernels = named.into_iter().chain((2..).map(|n| format!("linux-7.{n}")));
    let cells: Vec<_> = kernels.take(cells.div_ceil(OF_KERNEL)).flat_map(|kernel| planned(&kernel)).collect();
    let well = judged(&folder.join("well"), &Story::well(&cells));
    let behaves = |cell: &PlannedCell| match cell.kernel == BROKEN {
        true => Behaves::Before,
        false => Behaves::as_declared(cell),
    };
    let seen = judged(&folder.join("run"), &Story::of(&cells, behaves));
    let standings = seen.cells.iter().zip(&well.cells).map(|(cell, accepted)| {
        let (new, accepted) = (Report::of_cell(cell).unwrap(), Report::of_cell(accepted).unwrap());
        (cell.planned.key.clone(), Standing::Compared(compare(&accepted, &new).outcome))
    });
    let folder = folder.join("run");
    let logs = |key: &_| folder.join("cells").join(format!("{key}"));
    let mut run = RunSummary::of(&seen, &folder, logs, Some(standings.collect()));
    for (cell, accepted) in run.cells.iter_mut().zip(&well.cells) {
        let differs = cell.standing.as_ref().is_some_and(Standing::differs);
        cell.accepted = Report::of_cell(accepted).filter(|_| differs);
        complete(cell);
    }
    run
}

fn planned(kernel: &str) -> Vec<PlannedCell> {
    let traits = match ["debian-6.1", "linux-6.1"].contains(&kernel) {
        true => Traits::Exactly([].into()),
        false => Traits::Exactly([Trait::WcConveyed, Trait::WcHonoured].into()),
    };
    let cell = |scenario: &Scenario, axes: &BTreeMap<String, String>| {
        let axes = axes.iter().map(|(axis, value)| (axis.as_str(), value.as_str()));
        let key = Key::of(&scenario.scenario, kernel, axes).unwrap();
        PlannedCell {
            repeat: vec!["run".into(), key.to_string()],
            key,
            kernel: kernel.into(),
            about: scenario.about.clone(),
            resolved: ResolvedCell::of(scenario, traits.clone()),
        }
    };
    let cells = |(name, text): (&str, &str)| {
        let scenario = load(name, text).unwrap();
        let points = &scenario.matrix.points;
        match points.is_empty() {
            true => vec![cell(&scenario, &BTreeMap::new())],
            false => points.iter().map(|point| cell(&point.scenario, &point.values)).collect(),
        }
    };
    SCENARIOS.into_iter().flat_map(cells).collect()
}

fn judged(folder: &Path, story: &Story) -> JudgedRun {
    story.write(folder);
    judge_run(Run::fold(story.lines()).unwrap(), &RawPages::new(folder.join("raw")))
}

/// Adds stages, samples and consoles, which a scripted log does not have.
fn complete(cell: &mut CellSummary) {
    let ends = STAGES.iter().skip(1).map(|(_, end)| *end).chain([END]);
    let spans = STAGES.iter().zip(ends).map(|((stage, started_ms), end)| StageSpan {
        stage: *stage,
        started_ms: *started_ms,
        ended_ms: Some(end),
    });
    cell.stages = spans.collect();
    cell.elapsed_ms = Some(END);
    let boots = vec![Boot { number: 1, samples: SAMPLES.to_vec() }];
    cell.measures = vec![Measure { step: 0, name: "stores".into(), boots }];
    fs::create_dir_all(&cell.logs).unwrap();
    let healthy: Vec<_> = CRASH.lines().take_while(|line| classify(line).is_none()).collect();
    let healthy = format!("{}\n{}\n", boot(), healthy.join("\n"));
    let text = if cell.key.kernel() == BROKEN { boot() + CRASH } else { healthy.clone() };
    fs::write(cell.logs.join("console.host.log"), &text).unwrap();
    fs::write(cell.logs.join("console.g0.log"), healthy).unwrap();
}

/// Returns lines like those of a boot, 18 KB of which no two are equal.
fn boot() -> String {
    let line = |n: u64| {
        format!("[    0.{n:06}] node 0: [mem {:#018x}-{:#018x}]\n", n * 0x9e37_79b9, n * 0x9e37_89b9)
    };
    (0..260).map(line).collect()
}
