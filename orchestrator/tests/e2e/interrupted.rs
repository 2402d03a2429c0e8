//! Ctrl-C and `kill -9` in the middle of real runs.

use crate::harness::{Done, Place, left_over, scenario};
use s2lab_model::{
    event::{Event, Stage},
    record::Run,
};
use std::{
    fs,
    process::Child,
    time::{Duration, Instant},
};

/// The time after Ctrl-C in which everything must end.
const GONE: Duration = Duration::from_secs(5);
/// The time for a cell to reach a stage: others may hold the slot, and the cache may have to be
/// filled.
const REACHED: Duration = Duration::from_secs(30 * 60);

/// A host of its own for each stage, because Ctrl-C ends it.
#[test]
fn ctrl_c_leaves_a_partial_record_and_nothing_else() {
    for stage in [Stage::Prepare, Stage::HostBoot, Stage::GuestBoot, Stage::Steps] {
        let place = Place::new();
        let run = start(&place);
        wait_for(&place, stage);
        let begin = Instant::now();
        let done = kill(&place, run, "INT");
        assert!(begin.elapsed() < GONE, "in {stage}: {:?}", begin.elapsed());
        assert_eq!(done.code, Some(130), "in {stage}: {}{}", done.stdout, done.stderr);
        assert_eq!(left_over(&place), Vec::<String>::new(), "in {stage}");
        let log = fs::read_to_string(place.run().join("events.jsonl")).unwrap();
        let record = Run::read(&log).unwrap();
        assert_eq!(record.interrupted.as_deref(), Some("SIGINT"), "in {stage}");
        let shown = place.s2lab(["report"]);
        assert_eq!(shown.code, Some(130), "in {stage}: {}", shown.stdout);
        assert!(shown.stdout.starts_with("interrupted"), "in {stage}: {}", shown.stdout);
    }
}

/// A host of its own for each stage, because the kill ends it.
#[test]
fn kill_9_leaves_no_qemu_and_what_is_there_is_no_pass() {
    for stage in [Stage::HostBoot, Stage::GuestBoot, Stage::Steps] {
        let place = Place::new();
        let run = start(&place);
        wait_for(&place, stage);
        let done = kill(&place, run, "KILL");
        assert_eq!(done.signal, Some(9));
        let begin = Instant::now();
        while !left_over(&place).is_empty() {
            assert!(begin.elapsed() < GONE, "in {stage}: {:?}", left_over(&place));
            std::thread::sleep(Duration::from_millis(10));
        }
        let shown = place.s2lab(["report"]);
        assert_eq!(shown.code, Some(3), "in {stage}: {}", shown.stdout);
        assert!(shown.stdout.starts_with("LOST"), "in {stage}: {}", shown.stdout);
    }
}

fn start(place: &Place) -> Child {
    place.start(["run", &scenario("inverted"), "--kernel", "debian-6.12"])
}

fn wait_for(place: &Place, stage: Stage) {
    let begin = Instant::now();
    let log = place.path().join("s2lab/runs/latest/events.jsonl");
    let text = serde_json::to_string(&Event::StageStarted { stage }).unwrap();
    while !fs::read_to_string(&log).unwrap_or_default().contains(&text) {
        assert!(begin.elapsed() < REACHED, "the stage {stage} is not reached");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(place: &Place, child: Child, signal: &str) -> Done {
    let pid = rustix::process::Pid::from_child(&child);
    let signal = match signal {
        "INT" => rustix::process::Signal::INT,
        _ => rustix::process::Signal::KILL,
    };
    rustix::process::kill_process(pid, signal).unwrap();
    place.finish(child)
}
