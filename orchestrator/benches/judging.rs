//! Benchmark of judging while a run's log grows: the first cell of 200 and the last, and the first
//! attempt of 400 and the last. The last may cost at most 1.5 times the first.
//!
//! `cargo bench --bench judging`. The log is scripted; nothing boots.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is wrong")]

mod planned;
#[expect(dead_code, reason = "made for the tests of the command line, which change it")]
#[path = "../tests/cli/story.rs"]
mod story;

use s2lab::{
    run::judging::{Judging, RawPages},
    show::terminal::{self, Columns, Paint},
};
use s2lab_model::{
    event::{Attempts, Event},
    summary::CellSummary,
};
use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};
use story::Story;

const CELLS: usize = 200;
const ATTEMPTS: u32 = 400;
/// The number of neighbours whose median counts, at either end.
const SAMPLE: usize = 25;

fn main() {
    let cells = planned::cells(CELLS);
    print("cell", &costs(&Story::well(&cells), Attempts::Once));
    let once = || Story::well(&cells[..1]);
    let course = Attempts::Repeat(ATTEMPTS);
    let story = (1..ATTEMPTS).fold(once().attempting(course), |story, _| story.again(once()));
    print("attempt", &costs(&story, course));
}

/// Returns the time from each attempt's end, which is that of its session, until it is judged and
/// its line is made.
fn costs(story: &Story, course: Attempts) -> Vec<Duration> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judging");
    story.write(&folder);
    let judging = Judging::new(RawPages::new(folder.join("raw")));
    let (mut costs, mut cell) = (vec![], None);
    for line in story.lines() {
        judging.line(&serde_json::to_string(&line).unwrap());
        match line.event {
            Event::CellEnded { .. } => cell = line.cell,
            Event::SessionEnded => {
                let key = cell.take().unwrap();
                let began = Instant::now();
                if judging.another(&key, course) == Some(false) {
                    let cell = CellSummary::of(&judging.cell(&key).unwrap(), folder.join("cells"));
                    let columns = Columns::of([key.as_str()].into_iter());
                    black_box(terminal::cell(&cell, columns, Paint(false)));
                }
                costs.push(began.elapsed());
            }
            _ => {}
        }
    }
    assert_eq!(judging.judgements(), costs.len());
    costs
}

fn print(what: &str, costs: &[Duration]) {
    let median = |costs: &[Duration]| {
        let mut costs = costs.to_vec();
        costs.sort();
        costs[costs.len() / 2].as_micros()
    };
    let (first, last) = (median(&costs[..SAMPLE]), median(&costs[costs.len() - 1 - SAMPLE..costs.len() - 1]));
    let ratio = last as f64 / first as f64;
    println!("{what} 1: {first} us, {what} {}: {last} us, {ratio:.2} times", costs.len());
}
