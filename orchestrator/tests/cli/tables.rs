//! `s2lab tables`.

use crate::{
    harness::{Home, RUN},
    story::{Behaves, Story},
};
use s2lab_model::event::{Attempts, Event, StopCause};
use std::fs;

const BAR_BEFORE: &str = "bar@debian-6.1";
const BAR_AFTER: &str = "bar@debian-6.12";
const OTHER: &str = "20261121T150000.000Z-7";

#[test]
fn the_tables_of_a_cell() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["tables", BAR_AFTER]).status.code(), Some(0));
    session.s2lab(&["tables", RUN, BAR_AFTER, "--look", "stored", "--guest", "g0", "--raw"]);
    session.note("what is not in the run");
    for wrong in [
        &["bar@debian-6.13"][..],
        &["none"],
        &[RUN],
        &[RUN, RUN],
        &[BAR_AFTER, RUN],
        &[BAR_AFTER, "--look", "store"],
        &[BAR_AFTER, "--guest", "g1"],
    ] {
        let output = session.s2lab(&[&["tables"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    session.check("tables");
}

#[test]
fn two_cells_compared() {
    let home = Home::new();
    let cells = home.plan(&[]);
    home.tell_as(OTHER, &Story::of(&cells, |_| Behaves::Before));
    home.add_run(&Story::well(&cells));
    let mut session = home.session();
    session.note("two cells of a run");
    assert_eq!(session.s2lab(&["tables", BAR_BEFORE, BAR_AFTER]).status.code(), Some(5));
    assert_eq!(session.s2lab(&["tables", "latest", BAR_AFTER, BAR_AFTER]).status.code(), Some(0));
    session.note("the same cell in two runs");
    assert_eq!(session.s2lab(&["tables", OTHER, RUN, BAR_AFTER, "--raw"]).status.code(), Some(5));
    assert_eq!(session.s2lab(&["tables", OTHER, RUN, BAR_BEFORE]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["tables", OTHER, RUN, BAR_BEFORE, BAR_AFTER]).status.code(), Some(2));
    session.check("tables-compared");
}

#[test]
fn what_is_readable_is_shown() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[BAR_AFTER])));
    let whole = home.command(&["tables", BAR_AFTER, "--look", "stored"]).output().unwrap().stdout;
    let whole = String::from_utf8(whole).unwrap();
    let mut sorted: Vec<_> = fs::read_dir(home.of_run("raw")).unwrap().map(|e| e.unwrap().path()).collect();
    sorted.sort();
    let (mut shown, mut missing) = (0, 0);
    for page in &sorted {
        let bytes = fs::read(page).unwrap();
        fs::remove_file(page).unwrap();
        let output = home.command(&["tables", BAR_AFTER, "--look", "stored"]).output().unwrap();
        fs::write(page, bytes).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        if text == whole {
            // A page of another look.
            assert_eq!(output.status.code(), Some(0));
            continue;
        }
        missing += 1;
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("not readable: the page of "), "{text}");
        shown += usize::from(text.lines().any(|line| line.contains("  nic +0x0..")));
    }
    assert!(missing > 4 && shown > 2, "{missing} {shown}");
    let mut session = home.session();
    fs::remove_dir_all(home.of_run("raw")).unwrap();
    session.note("no page is there");
    assert_eq!(session.s2lab(&["tables", BAR_AFTER, "--look", "stored"]).status.code(), Some(3));
    assert_eq!(session.s2lab(&["tables", BAR_AFTER, BAR_AFTER, "--look", "stored"]).status.code(), Some(3));
    session.check("tables-missing");
}

#[test]
fn which_attempt_has_the_looks() {
    let home = Home::new();
    let cells = home.plan(&["bar", "idle@debian-6.12"]);
    let up = |event: &Event| matches!(event, Event::CellStarted { .. } | Event::CellEnded { .. });
    let lost = Story::well(&cells).only(BAR_BEFORE, up).only(BAR_AFTER, up);
    let again = Story::well(&cells).only(BAR_BEFORE, up);
    home.add_run(&lost.attempting(Attempts::Retry(1)).again(again));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["tables", BAR_AFTER, "--look", "stored"]).status.code(), Some(0));
    session.note("it never came to a look");
    assert_eq!(session.s2lab(&["tables", BAR_BEFORE]).status.code(), Some(2));
    session.note("it was not run");
    let story = Story::of(&cells, |_| Behaves::Before).stopped(BAR_AFTER, StopCause::Lab, "QEMU ended", None);
    home.add_run(&story.not_run("idle@debian-6.12", "--fail-fast: bar@debian-6.12 was MISS"));
    assert_eq!(session.s2lab(&["tables", "idle@debian-6.12"]).status.code(), Some(2));
    session.check("tables-attempts");
}

#[test]
fn tables_as_one_document() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["bar"])));
    let mut session = home.session();
    session.s2lab(&["tables", BAR_AFTER, "--look", "stored", "--format", "json"]);
    session.check("tables-json");
    let output = home.command(&["tables", BAR_BEFORE, BAR_AFTER, "--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["cells"].as_array().unwrap().len(), 2);
    let look = &document["comparison"]["looks"][0];
    assert_eq!(document["comparison"]["same"], false);
    assert_eq!(look["moves"][0]["new"]["stage2"], "Normal-NC");
}

#[test]
fn a_bundle_has_the_same_tables() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["bar"])));
    let of_run = home.command(&["tables", BAR_AFTER]).output().unwrap();
    assert!(home.command(&["bundle", RUN, "--out", "../run.tar.gz"]).status().unwrap().success());
    let of_bundle = home.command(&["tables", "../run.tar.gz", BAR_AFTER]).output().unwrap();
    assert_eq!(of_bundle.status.code(), Some(0), "{}", String::from_utf8_lossy(&of_bundle.stderr));
    assert_eq!(of_bundle.stdout, of_run.stdout);
}
