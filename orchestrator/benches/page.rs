//! Benchmark of the page of a run of 200 cells: its bytes, the time to make it, and the time until
//! Chromium paints something of it. The limits are 5 MiB and one second.
//!
//! `cargo bench --bench page`. The log is scripted; nothing boots.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is wrong")]

#[path = "../tests/readers/sample.rs"]
mod sample;
#[expect(dead_code, reason = "made for the tests of the command line, which change it")]
#[path = "../tests/cli/story.rs"]
mod story;

use readers::{Browser, View};
use s2lab::show::page;
use std::{
    fs,
    time::{Duration, Instant},
};

const CELLS: usize = 200;
/// The number of times that each time is measured; the median counts.
const TURNS: usize = 5;
const MOST_TIME: Duration = Duration::from_secs(1);

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let run = sample::run(folder.path(), CELLS);
    let mut html = String::new();
    let made = median(|| {
        let began = Instant::now();
        html = page::run(&run);
        began.elapsed()
    });
    let bytes = html.len();
    println!(
        "{} cells: {bytes} bytes, {} KiB a cell, made in {made:?}",
        run.cells.len(),
        bytes / run.cells.len() / 1024
    );
    assert!(bytes <= page::MOST_BYTES, "more than 5 MiB");
    let file = folder.path().join("page.html");
    fs::write(&file, html).unwrap();
    match Browser::get() {
        Ok(browser) => {
            let mut page = browser.open(&file, View::default()).unwrap();
            let paint = median(|| {
                page.load().unwrap();
                page.first_paint().unwrap()
            });
            println!("first paint in Chromium after {paint:?}");
            assert!(paint < MOST_TIME, "more than {MOST_TIME:?}");
        }
        Err(missing) => println!("first paint not measured: {missing}"),
    }
}

fn median(mut measure: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..TURNS).map(|_| measure()).collect();
    times.sort();
    times[TURNS / 2]
}
