//! Benchmark of `s2lab history` and `s2lab trend` on 10,000 past cells. The goal is one second each.
//!
//! `cargo bench --bench history`. The runs are made up; nothing boots.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is wrong")]

#[expect(dead_code, reason = "made for the tests of the history, which use all of it")]
#[path = "../history/tests/history/sample.rs"]
mod sample;

use s2lab_history::History;
use s2lab_model::summary::{CellSummary, RunSummary};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Runs and cells of each: many cells, and cells with a long past.
const SHAPES: [(u32, usize); 2] = [(50, 200), (2_000, 5)];
/// The number of measurements of which the fastest counts: whatever else the machine does only adds
/// to a time.
const TIMES: usize = 5;
/// Each such cell is bad.
const EACH: usize = 7;
/// The runs between two versions of s2lab, which are other conditions.
const VERSION: u32 = 3;

fn main() {
    for (runs, cells) in SHAPES {
        let began = Instant::now();
        let path = history(runs, cells);
        let (took, size) = (began.elapsed(), fs::metadata(&path).unwrap().len());
        println!("{runs} runs of {cells} cells: added in {} ms, {} KiB", took.as_millis(), size >> 10);
        for arguments in [&["history"][..], &["trend", "s0@k"], &["trend", "s0@k", "--limit", "10000"]] {
            println!("  {}: {} ms", arguments.join(" "), fastest(&path, arguments).as_millis());
        }
        fs::remove_file(path).unwrap();
    }
}

fn history(runs: u32, cells: usize) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{runs}.sqlite"));
    let _ = fs::remove_file(&path);
    let mut history = History::create(&path).unwrap();
    let keys: Vec<_> = (0..cells).map(|cell| format!("s{cell}@k")).collect();
    for number in 0..runs {
        let cell = |(place, key): (usize, &String)| match place.is_multiple_of(EACH) && number > runs / 2 {
            true => sample::failed(key, "at 0x1"),
            false => sample::cell(key),
        };
        let with_digest = |(place, cell)| CellSummary { digest: format!("{place:064x}"), ..cell };
        let run = RunSummary {
            started: format!("2026-11-01T02:00:00.{number:09}Z"),
            s2lab: format!("0.1.{} (24b34e4c)", number / VERSION),
            cells: keys.iter().enumerate().map(cell).enumerate().map(with_digest).collect(),
            ..sample::run(1, &[])
        };
        history.add(&run).unwrap();
    }
    path
}

fn fastest(path: &Path, arguments: &[&str]) -> Duration {
    (0..TIMES).map(|_| time(path, arguments)).min().unwrap()
}

fn time(path: &Path, arguments: &[&str]) -> Duration {
    let began = Instant::now();
    let mut s2lab = Command::new(env!("CARGO_BIN_EXE_s2lab"));
    let output = s2lab.args(arguments).arg("--all-labs").arg("--history").arg(path).output().unwrap();
    let time = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    time
}
