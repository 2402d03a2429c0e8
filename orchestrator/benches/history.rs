//! Benchmark of `s2lab history` and `s2lab trend` on 10,000 past cells, and of `s2lab runs` on 200 runs
//! that are kept. The goal is one second each.
//!
//! `cargo bench --bench history`. The runs are made up; nothing boots.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is wrong")]

#[expect(dead_code, reason = "made for the tests of the history, which use all of it")]
#[path = "../history/tests/history/sample.rs"]
mod sample;

use s2lab_history::{FILE, History};
use s2lab_model::summary::{CellSummary, RunSummary};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Runs and cells of each: many cells, and cells with a long past.
const SHAPES: [(u32, usize); 2] = [(50, 200), (2_000, 5)];
/// The runs that are kept, and the cells of each.
const KEPT: (u32, usize) = (200, 34);
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
    let state = kept();
    let took = (0..TIMES).map(|_| time_of_runs(&state)).min().unwrap();
    println!("{} runs of {} cells\n  runs: {} ms", KEPT.0, KEPT.1, took.as_millis());
    fs::remove_dir_all(state).unwrap();
}

/// Makes a state folder whose runs are in the history. Their logs cannot be read, so that nothing can
/// be judged.
fn kept() -> PathBuf {
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runs-state");
    let _ = fs::remove_dir_all(&state);
    let (count, cells) = KEPT;
    fs::create_dir_all(state.join("s2lab")).unwrap();
    let mut history = History::create(&state.join("s2lab").join(FILE)).unwrap();
    let keys: Vec<_> = (0..cells).map(|cell| format!("s{cell}@k")).collect();
    for number in 0..count {
        let name = format!("20261101T020000.{:03}Z-7", number);
        let folder = state.join("s2lab/runs").join(&name);
        for key in &keys {
            fs::create_dir_all(folder.join("cells").join(key)).unwrap();
            fs::write(folder.join("cells").join(key).join("console.host.log"), "x").unwrap();
        }
        fs::write(folder.join("events.jsonl"), "x").unwrap();
        fs::write(folder.join("run.json"), format!("{{\"run\":\"{name}\",\"failed\":false}}")).unwrap();
        let run = RunSummary {
            started: format!("2026-11-01T02:00:00.{number:03}Z"),
            folder,
            ..sample::run(1, &keys.iter().map(String::as_str).collect::<Vec<_>>())
        };
        history.add(&run).unwrap();
    }
    state
}

fn time_of_runs(state: &Path) -> Duration {
    let began = Instant::now();
    let output =
        Command::new(env!("CARGO_BIN_EXE_s2lab")).arg("runs").env("XDG_STATE_HOME", state).output().unwrap();
    let time = began.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.matches("34 cells: 34 passed").count(), KEPT.0 as usize, "{said}");
    time
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
