//! `s2lab nightly` and `known.yaml`, as far as no machine is needed.

use crate::{
    harness::Home,
    story::{Behaves, Story},
};
use s2lab_model::{kernel::Trait, night::load};

const KNOWN: &str = "# yaml-language-server: $schema=../docs/known.schema.json
known:
  - scenario: bar
    kernel: debian-6.12
    reason: vfio-pci lost its mark in a merge.
    link: https://example.org/bug/7
    who: the vfio team
    until: 2026-11-22
";

/// A run on that date, in which the BAR of a kernel with the series is Device.
fn broken(home: &Home, date: &str) -> Story {
    let known = load("known.yaml", KNOWN).unwrap_or_else(|mistakes| panic!("{mistakes}")).known;
    let story = Story::of(&home.plan(&["bar"]), |_| Behaves::Before);
    story.on_the_night(date, known)
}

#[test]
fn known_failures_are_checked() {
    let home = Home::new();
    let mut session = home.session();
    home.write("lab/known.yaml", KNOWN);
    session.s2lab(&["lint"]);
    session.s2lab(&["lint", "known.yaml"]);
    session.note("an entry of a scenario that was renamed");
    home.write("lab/known.yaml", KNOWN.replace("scenario: bar", "scenario: baar"));
    session.s2lab(&["lint"]);
    session.s2lab(&["lint", "--format", "json"]);
    session.note("mistakes");
    home.write("lab/known.yaml", KNOWN.replace("until: 2026-11-22", "until: soon").replace("who", "whom"));
    assert_eq!(session.s2lab(&["lint"]).status.code(), Some(2));
    session.s2lab(&["nightly", "--date", "2026-11-22"]);
    session.check("known");
    assert!(!home.path("state/s2lab/runs").exists());
}

#[test]
fn a_night_has_a_negative_control() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["nightly", "--dry-run"]);
    session.s2lab(&["nightly", "--dry-run", "*@debian-6.12"]);
    session.s2lab(&["nightly", "--dry-run", "idle"]);
    session.note("by its key like every other cell");
    session.s2lab(&["list", "bar@debian-6.12+control=inverted", "idle@debian-6.1"]);
    session.s2lab(&["list", "idle@debian-6.1+control=inverted"]);
    session.note("wrong dates");
    for date in ["2026-02-29", "today", ""] {
        assert_eq!(session.s2lab(&["nightly", "--date", date]).status.code(), Some(2), "{date}");
    }
    session.check("nightly-plan");
}

/// A past night is judged with the date and the known failures of its log.
#[test]
fn a_tolerated_failure_is_shown_with_its_entry() {
    let home = Home::new();
    let mut session = home.session();
    home.add_run(&broken(&home, "2026-11-22"));
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(0));
    session.s2lab(&["report", "--format", "markdown"]);
    session.note("the day after");
    home.add_run(&broken(&home, "2026-11-23"));
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(1));
    session.check("tolerated");
}

#[test]
fn a_negative_control_is_neither_compared_nor_accepted() {
    let home = Home::new();
    let mut session = home.session();
    let mut cells = home.plan(&["bar@debian-6.1"]);
    cells.extend(s2lab_model::plan::controls(&cells));
    let lacks =
        |cell: &s2lab_model::event::PlannedCell| cell.resolved.traits.has(Trait::WcHonoured) == Some(false);
    assert!(cells.iter().all(lacks));
    home.add_run(&Story::well(&cells).on_the_night("2026-11-22", vec![]));
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(0));
    session.s2lab(&["check"]);
    assert_eq!(session.s2lab(&["accept"]).status.code(), Some(0));
    session.s2lab(&["check"]);
    assert_eq!(session.s2lab(&["accept", "bar@debian-6.1+control=inverted"]).status.code(), Some(2));
    session.check("negative-control");
    assert_eq!(home.tree("lab/reports"), ["bar/", "bar/debian-6.1.txt"]);
}
