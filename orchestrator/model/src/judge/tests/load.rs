//! The step `load`.

use super::*;
use crate::finding::Subject;
use crate::scenario::Promise;
use crate::steps::{LoadStep, LoadedBytes};
use s2lab_protocol::{Manner, MapKind};

const STEP: usize = 5;

/// A story with a load of 4K by 8 and by 64 bytes before its probe.
fn loading() -> Story {
    let mut story = Story::after().edit(|event| {
        if let Event::Observed { step: step @ STEP, data: Observation::Probed(_) } = event {
            *step += 1;
        }
    });
    let bar = story.events.iter().find_map(|event| match event {
        Event::Observed { data: Observation::Stored(stored), .. } => Some(stored.result.bar),
        _ => None,
    });
    let (bar, map, bytes) = (bar.unwrap(), MapKind::Wc, 4096);
    let step =
        serde_json::json!({"guest": "g0", "device": "nic", "map": map, "width": [8, 64], "bytes": bytes});
    let step: LoadStep = serde_json::from_value(step).unwrap();
    story.cell.resolved.steps.insert(STEP, Step::Load(step));
    for width in [8, 64] {
        let (guest, device) = ("g0".into(), "nic".into());
        let (loads, manner) = (bytes / u64::from(width), Manner::default());
        let loaded = LoadedBytes { guest, device, map, width, manner, bytes, bar, loads, difference: None };
        story = story.and(Event::Observed { step: STEP, data: Observation::LoadedBytes(loaded) });
    }
    story
}

fn edited(change: fn(&mut LoadedBytes)) -> Story {
    loading().edit(|event| {
        if let Event::Observed { data: Observation::LoadedBytes(loaded), .. } = event {
            change(loaded);
        }
    })
}

#[test]
fn equal_bytes_pass_and_are_in_the_report() {
    assert_eq!(verdict(&loading()), pass("wc-honoured"));
    let report = loading().report().to_string();
    assert!(report.contains("\n  load g0 nic wc 8 B: 512 loads, equal\n"), "{report}");
}

#[test]
fn other_bytes_are_the_kernels_fault() {
    let wrong = || edited(|loaded| loaded.difference = Some(64));
    found(
        &wrong(),
        Verdict::Fail,
        &["load 64 B by g0 from nic in step 5", "in the 64 bytes from offset 0x40"],
    );
    let finding = wrong().attempt().judgement.findings.remove(0);
    let subject = Subject::step(STEP).guest("g0").region("nic");
    assert_eq!((finding.subject, finding.promise), (subject, Some(Promise::BAR)));
    assert!(wrong().report().to_string().contains("load g0 nic wc 8 B: 512 loads, DIFFERS"));
    // The later end of the cell does not matter.
    found(&wrong().stopped(StopCause::Timeout), Verdict::Fail, &["load 8 B by g0"]);
}

#[test]
fn each_load_is_there_once_and_as_planned() {
    let of_width = |event: &Event| matches!(event, Event::Observed { data: Observation::LoadedBytes(of), .. } if of.width == 64);
    found(&loading().without(of_width), Verdict::Miss, &["step 5, load 64 B by g0 from nic", "found 0"]);
    let again = loading().events.into_iter().find(of_width).unwrap();
    found(&loading().and(again), Verdict::Miss, &["step 5, load 64 B", "found 2"]);
    let other: [fn(&mut LoadedBytes); 5] = [
        |of| of.map = MapKind::Device,
        |of| of.bytes = 2048,
        |of| of.guest = "g1".into(),
        |of| of.loads = 1,
        |of| of.loads = 4096,
    ];
    for change in other {
        found(&edited(change), Verdict::Miss, &["step 5, load: expected 4K bytes by g0 from nic"]);
    }
}

#[test]
fn the_bar_is_the_scenarios() {
    let other = edited(|loaded| loaded.bar.index = 4);
    found(&other, Verdict::Fail, &["g0's load from nic in step 5", "contradicts QEMU"]);
}
