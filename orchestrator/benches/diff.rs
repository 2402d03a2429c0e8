//! Benchmark of `s2lab diff` of two runs of 1,000 and of 2,000 cells. The limit for 2,000 is one
//! second with the reports that the cache has of runs that have ended. The first time, without
//! them, nearly all of the time is that of judging both logs.
//!
//! `cargo bench --bench diff`. The logs are scripted; nothing boots.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is wrong")]

mod planned;
#[expect(dead_code, reason = "made for the tests of the command line, which change it")]
#[path = "../tests/cli/story.rs"]
mod story;

use s2lab_model::{
    event::Event,
    hash::digest,
    steps::{Observation, Reset},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use story::Story;

const CELLS: [usize; 2] = [1000, 2000];
const MOST_TIME: Duration = Duration::from_secs(1);
/// The number of measurements of which the fastest counts: whatever else the machine does only adds
/// to a time.
const TIMES: usize = 5;
/// Each such cell has another reset method in the second run.
const EACH: usize = 10;
/// The table pages of a cell that no other cell has. In the shipped scenarios on real hosts, a cell
/// has 8 to 12.
const PAGES: usize = 10;
const PAGE: usize = 4096;

fn main() {
    let times = CELLS.map(|cells| {
        let (first, again) = times(cells);
        println!(
            "two runs of {cells} cells: {} ms, the first time {} ms",
            again.as_millis(),
            first.as_millis()
        );
        again
    });
    println!("twice the cells: {:.2} times", times[1].as_secs_f64() / times[0].as_secs_f64());
    assert!(times[1] < MOST_TIME, "more than {MOST_TIME:?}");
}

/// Returns the time without reports in the cache, and the one with them.
fn times(cells: usize) -> (Duration, Duration) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runs = [run(cells, &folder.path().join("old"), false), run(cells, &folder.path().join("new"), true)];
    let cache = folder.path().join("cache");
    let first = time(&runs, &cache);
    (first, (0..TIMES).map(|_| time(&runs, &cache)).min().unwrap())
}

fn time(runs: &[PathBuf], cache: &Path) -> Duration {
    let mut diff = Command::new(env!("CARGO_BIN_EXE_s2lab"));
    diff.arg("diff").args(runs).env("XDG_CACHE_HOME", cache);
    let began = Instant::now();
    let output = diff.output().unwrap();
    let time = began.elapsed();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    time
}

/// Writes a run as the lab would, and returns its folder.
fn run(cells: usize, folder: &Path, changed: bool) -> PathBuf {
    let cells = planned::cells(cells);
    let other = |event: &mut Event| {
        if let Event::Observed { data: Observation::Reset(Reset { method, .. }), .. } = event {
            *method = "flr".into();
        }
    };
    let changed = cells.iter().step_by(EACH).filter(|_| changed);
    let story = changed.fold(Story::well(&cells), |story, cell| story.edit(cell.key.as_str(), other));
    story.write(folder);
    for n in 0..cells.len() * PAGES {
        let mut page = vec![0; PAGE];
        page[..size_of::<usize>()].copy_from_slice(&n.to_le_bytes());
        fs::write(folder.join("raw").join(digest(&page)), page).unwrap();
    }
    folder.to_owned()
}
