//! The scenarios that ship, on the kernels that ship: the same as accepted, and shown again from
//! the log.

use crate::harness::{Place, left_over};
use std::fs;

/// One run for all that holds for every shipped cell.
#[test]
fn the_shipped_scenarios_are_as_accepted() {
    let place = Place::new();
    // In a random order: no cell leans on another.
    let run = place.s2lab(["run", "--shuffle"]);
    assert_eq!((run.code, run.signal), (Some(0), None), "{}{}", run.stdout, run.stderr);
    let shown = run.normal();
    let (cells, last) = shown.rsplit_once('\n').unwrap();
    insta::assert_snapshot!(sorted(cells).join("\n"));
    // The next line compares the run. A shape moves when the archive has a newer kernel.
    assert!(last.starts_with("6 cells: 6 passed, "), "{last}");
    assert_eq!(left_over(&place), Vec::<String>::new());

    let check = place.s2lab(["check"]);
    assert_eq!(check.code, Some(0), "the accepted reports differ:\n{}", check.stdout);

    let reports = place.reports();
    assert_eq!(reports.len(), 6);
    let folder = place.run();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().unwrap().to_str().unwrap() {
            "events.jsonl" | "raw" => {}
            _ if path.is_dir() => fs::remove_dir_all(&path).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
    }
    let again = place.s2lab(["report"]);
    assert_eq!((again.code, sorted(&again.stdout)), (Some(0), sorted(&run.stdout)));
    assert_eq!(place.reports(), reports);
}

/// Returns the lines, sorted. A run prints a cell when it ends, and two hosts end in either order.
fn sorted(shown: &str) -> Vec<&str> {
    let mut lines: Vec<_> = shown.lines().collect();
    lines.sort_unstable();
    lines
}
