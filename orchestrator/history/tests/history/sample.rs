//! Made-up summaries of runs.

use s2lab_model::{
    changes::{Change, ChangeKind},
    event::Stage,
    finding::{Finding, Subject, Weight},
    measures::{Boot, Measure},
    night::Night,
    plan::Key,
    record::{Environment, StageSpan, environment},
    report::{Outcome, Standing},
    summary::{CellSummary, KernelSummary, RunSummary},
    verdict::Verdict,
};
use std::collections::BTreeMap;

pub(crate) const MACHINE: &str = "x86_64, 2 CPUs, a model";

/// A run of the day `day` of November with cells that pass.
pub(crate) fn run(day: u32, keys: &[&str]) -> RunSummary {
    RunSummary {
        s2lab: "0.1.0 (24b34e4c)".into(),
        started: format!("2026-11-{day:02}T02:00:00Z"),
        folder: format!("/runs/{day}").into(),
        lab: Some("/lab".into()),
        lab_commit: Some("c0ffee".into()),
        shuffle: None,
        night: None,
        mutants: None,
        cells: keys.iter().map(|key| cell(key)).collect(),
        interrupted: None,
        whole: true,
        comparison: None,
        compared: true,
        orphaned: vec![],
        exit: 0,
    }
}

/// A night of that day with these cells.
pub(crate) fn night(day: u32, cells: Vec<CellSummary>) -> RunSummary {
    let date = format!("2026-11-{day:02}").parse().unwrap();
    RunSummary { night: Some(Night { date, known: vec![] }), cells, ..run(day, &[]) }
}

pub(crate) fn cell(key: &str) -> CellSummary {
    let span = |stage, started_ms, ended_ms| StageSpan { stage, started_ms, ended_ms };
    CellSummary {
        key: key.parse().unwrap(),
        digest: "5e".into(),
        verdict: Some(Verdict::Pass { as_: Some("wc-honoured".into()) }),
        label: Some("wc-honoured".into()),
        seen: BTreeMap::new(),
        findings: vec![],
        promises: vec![],
        stopped: None,
        attempts: vec![Some(Verdict::PASS)],
        started_ms: Some(1_000),
        elapsed_ms: Some(16_000),
        complete: true,
        stages: vec![span(Stage::HostBoot, 1_000, Some(9_500)), span(Stage::Steps, 9_500, None)],
        kernel: KernelSummary::default(),
        environment: facts("6.1.1", "1.3"),
        machine: Some(MACHINE.into()),
        series: None,
        report: None,
        not_run: None,
        repeat: vec![],
        logs: "/runs".into(),
        guests: vec![],
        measures: vec![measure(&[&[553, 342, 765], &[6, 1, 5, 2, 4, 3]])],
        control: false,
        tolerated: None,
        standing: Some(Standing::Compared(Outcome::Same)),
        accepted: None,
    }
}

/// A measure with samples of these boots.
fn measure(boots: &[&[u64]]) -> Measure {
    let boots = (1..).zip(boots).map(|(number, samples)| Boot { number, samples: samples.to_vec() });
    Measure { step: 2, name: "stores".into(), boots: boots.collect() }
}

pub(crate) fn facts(kernel: &str, factor: &str) -> Environment {
    let variable = [
        (environment::KERNEL, kernel),
        (environment::FACTOR, factor),
        (environment::ATTEMPTS, factor),
        (environment::KERNEL_CONFIG, environment::UNKNOWN),
    ];
    let blocking = [(environment::CPU, "neoverse-v1")];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Environment { blocking: blocking.map(owned).into(), variable: variable.map(owned).into() }
}

/// A cell whose BAR has another type than it should.
pub(crate) fn failed(key: &str, evidence: &str) -> CellSummary {
    let finding = |what: &str| Finding {
        weight: Weight::Tables,
        subject: Subject::default(),
        promise: None,
        what: what.into(),
        expected: "Normal-NC".into(),
        found: "Device-nGnRE".into(),
        detail: vec![evidence.into()],
    };
    let changes =
        vec![Change { kind: ChangeKind::Promised, what: "nic: Normal-NC became Device-nGnRE".into() }];
    CellSummary {
        verdict: Some(Verdict::Fail),
        attempts: vec![Some(Verdict::Fail)],
        findings: vec![finding("stage2 of nic"), finding("stage2 of ram")],
        standing: Some(Standing::Compared(Outcome::Changed { diff: String::new(), changes })),
        ..cell(key)
    }
}

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}
