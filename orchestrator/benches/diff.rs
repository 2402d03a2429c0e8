//! Benchmark of `s2lab diff` of two runs of 1,000 and of 2,000 cells. The goal for 2,000 is one
//! second. Nearly all of the time is that of judging both logs again.
//!
//! `cargo bench --bench diff`. The logs are scripted; nothing boots.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is wrong")]

#[expect(dead_code, reason = "made for the tests of the command line, which change it")]
#[path = "../tests/cli/story.rs"]
mod story;

use s2lab_model::{
    cell::ResolvedCell,
    event::{Event, PlannedCell},
    kernel::Traits,
    scenario::load,
    steps::{Observation, Reset},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use story::Story;

const CELLS: [usize; 2] = [1000, 2000];
/// The number of measurements of which the fastest counts: whatever else the machine does only adds
/// to a time.
const TIMES: usize = 5;
/// Each such cell has another reset method in the second run.
const EACH: usize = 10;

fn main() {
    let [half, whole] = CELLS.map(|cells| (cells, fastest(cells)));
    for (cells, time) in [half, whole] {
        println!("two runs of {cells} cells: {} ms", time.as_millis());
    }
    println!("twice the cells: {:.2} times", whole.1.as_secs_f64() / half.1.as_secs_f64());
}

fn fastest(cells: usize) -> Duration {
    let (old, new) = (run(cells, "old", false), run(cells, "new", true));
    (0..TIMES).map(|_| time(&old, &new)).min().unwrap()
}

fn time(old: &Path, new: &Path) -> Duration {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_s2lab")).arg("diff").args([old, new]).output().unwrap();
    let time = began.elapsed();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    time
}

/// Writes a run as the lab would, and returns its folder.
fn run(cells: usize, name: &str, changed: bool) -> PathBuf {
    let scenario = load("vfio-pci-bar.yaml", include_str!("../../scenarios/vfio-pci-bar.yaml")).unwrap();
    let cell = |n: usize| PlannedCell {
        key: format!("vfio-pci-bar@k{n}").parse().unwrap(),
        kernel: format!("k{n}"),
        about: scenario.about.clone(),
        repeat: vec![],
        resolved: ResolvedCell::of(&scenario, Traits::Exactly([].into())),
    };
    let cells: Vec<_> = (0..cells).map(cell).collect();
    let other = |event: &mut Event| {
        if let Event::Observed { data: Observation::Reset(Reset { method, .. }), .. } = event {
            *method = "flr".into();
        }
    };
    let changed = cells.iter().step_by(EACH).filter(|_| changed);
    let story = changed.fold(Story::well(&cells), |story, cell| story.edit(cell.key.as_str(), other));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("diff-{name}-{}", cells.len()));
    story.write(&folder);
    folder
}
