//! `s2lab compare` up to the point where it needs a machine, and its runs as `report` shows them.

use crate::{harness::Home, story::Story};
use s2lab_model::{
    event::{Event, StopCause},
    steps::Observation,
};
use serde_json::Value;

const TIMED: &str = "scenario: timed
about: The time of stores.
host: {cpu: neoverse-v1, devices: {nic: {model: ivshmem-plain, bar: 16M}}}
guests:
  g0: {vmm: qemu, assign: {nic: vfio-pci}}
steps:
  - measure: {name: x, warm-up: 1, samples: 1, store: {guest: g0, device: nic, map: wc, width: [8], bytes: 4K}}
  - look: {name: stored}
expect:
  - {at: stored, of: ram, stage2: Normal-WB}
";
const FIRST: &str = "timed@debian-6.1";
const SECOND: &str = "timed@debian-6.12";
/// The times of pairs of boots, in nanoseconds.
const SLOWER: [(u64, u64); 7] = [
    (250_000, 350_000),
    (260_000, 355_000),
    (240_000, 352_000),
    (250_000, 349_000),
    (255_000, 360_000),
    (251_000, 352_000),
    (249_000, 348_000),
];

fn home() -> Home {
    let home = Home::new();
    home.write("lab/scenarios/timed.yaml", TIMED);
    home
}

/// Returns a run of boots of both cells, whose samples take these times.
fn compared(home: &Home, times: &[(u64, u64)]) -> Story {
    let cells = home.plan(&[FIRST, SECOND]);
    let takes = |nanos: u64| {
        move |event: &mut Event| {
            if let Event::Observed { data: Observation::Sample(sample), .. } = event {
                sample.stored.result.nanos = nanos;
            }
        }
    };
    let pair = |(first, second): &(u64, u64)| {
        Story::well(&cells).edit(FIRST, takes(*first)).edit(SECOND, takes(*second))
    };
    times.iter().map(pair).reduce(Story::again).unwrap().comparing(FIRST, SECOND)
}

#[test]
fn what_cannot_be_compared_makes_nothing() {
    let home = home();
    let mut session = home.session();
    for arguments in [
        &["debian-6.1"][..],
        &["debian-6.1", "debian-6.2", "timed"],
        &["debian-6.1", "debian-6.12", "timde"],
        &["debian-6.1", "debian-6.12", "bar"],
        &["debian-6.1", "debian-6.12", "timed", "--pairs", "6"],
        &["debian-6.1", "debian-6.12", "timed", "--format", "junit"],
    ] {
        let output = session.s2lab(&[&["compare", "--offline"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    session.check("compare-not-planned");
    assert_eq!(home.tree("state"), Vec::<String>::new());
}

#[test]
fn it_says_before_how_long_it_takes() {
    let home = home();
    home.add_run(&Story::well(&home.plan(&[FIRST, SECOND])).on("of this kind"));
    let mut session = home.session();
    assert_eq!(
        session.s2lab(&["compare", "debian-6.1", "debian-6.12", "timed", "--offline"]).status.code(),
        Some(3)
    );
    assert_eq!(
        session.s2lab(&["compare", "debian-6.1", "debian-6.1", "timed", "--offline", "-q"]).status.code(),
        Some(3)
    );
    session.note("the plan is in the log, so report exits like it");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    session.check_runs("compare-offline");
}

#[test]
fn a_comparison_is_shown_from_its_log() {
    let home = home();
    home.add_run(&compared(&home, &SLOWER));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(5));
    let output = session.s2lab(&["report", "--format", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let comparison = &document["comparison"];
    assert_eq!((&document["exit"], &comparison["decision"]), (&5.into(), &"DIFFERENT".into()));
    assert_eq!(comparison["measures"][0]["boots"][1], serde_json::json!([260_000, 355_000]));
    // By the script beside the golden values of the statistics.
    assert_eq!(comparison["measures"][0]["p"], 2.0 / 128.0);

    session.note("the same kernels, alike, and then too noisy to decide");
    home.add_run(&compared(&home, &SLOWER.map(|(first, _)| (first, first + 1))));
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(0));
    let noisy = |(pair, (first, second)): (usize, (u64, u64))| {
        if pair % 2 == 0 { (first, second) } else { (second, first) }
    };
    let noisy: Vec<_> = SLOWER.into_iter().enumerate().map(noisy).collect();
    home.add_run(&compared(&home, &noisy));
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(4));
    session.check("compare-report");
}

#[test]
fn a_comparison_of_which_a_boot_failed_has_no_decision() {
    let home = home();
    let cells = home.plan(&[FIRST, SECOND]);
    let failed = Story::well(&cells).stopped(SECOND, StopCause::Kernel, "a panic", None);
    home.add_run(&compared(&home, &SLOWER[..1]).again(failed));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(1));
    session.check("compare-failed");
}

/// Scenarios that are there to be compared are no cells of a run of everything.
#[test]
fn scenarios_of_comparisons_are_linted_and_not_run() {
    let home = home();
    std::fs::create_dir(home.path("lab/scenarios/compare")).unwrap();
    std::fs::rename(home.path("lab/scenarios/timed.yaml"), home.path("lab/scenarios/compare/timed.yaml"))
        .unwrap();
    let mut session = home.session();
    session.s2lab(&["list"]);
    session.s2lab(&["lint"]);
    assert_eq!(
        session.s2lab(&["compare", "debian-6.1", "debian-6.12", "timed", "--offline"]).status.code(),
        Some(3)
    );
    home.write("lab/scenarios/compare/timed.yaml", TIMED.replace("samples", "smaples"));
    assert_eq!(session.s2lab(&["lint"]).status.code(), Some(2));
    session.check_runs("compare-scenarios");
}
