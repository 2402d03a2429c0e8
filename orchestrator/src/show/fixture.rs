//! A run with a cell of every verdict and every standing, for the tests of what is shown.

use proptest::prelude::*;
use s2lab_model::{
    changes::{CellDiff, CellResult, Change, ChangeKind, DiffSummary},
    event::{SeriesOrigin, Stage},
    finding::{Finding, Subject, Weight},
    lines::Text,
    measures::{Boot, Measure},
    night::KnownFailure,
    record::{Environment, StageSpan},
    report::{Difference, Gap, Outcome, Report, Standing},
    scenario::Promise,
    summary::{CellSummary, KernelSummary, RunSummary, Stopped},
    verdict::Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// A text that tries to be more than text, in every form that reads it.
pub(crate) const HOSTILE: &str =
    "@torvalds | `x` ``` </details><img src=x> #1 [a](http://b) www.c.d e@f.gh\n# \u{202e}\x1b[31m";

pub(crate) fn change(kind: ChangeKind, what: &str) -> Change {
    Change { kind, what: what.into() }
}

pub(crate) fn finding(weight: Weight, what: &str, expected: &str, found: &str) -> Finding {
    let (what, expected, found) = (what.into(), expected.into(), found.into());
    let detail = vec!["IPA 0x8000000000 -> PA 0x10000000000, level 2".into()];
    Finding { weight, subject: Subject::default(), promise: None, what, expected, found, detail }
}

fn promised(promise: &str, finding: Finding) -> Finding {
    Finding { promise: Promise::try_from(promise.to_owned()).ok(), ..finding }
}

/// A cell that passes as accepted.
pub(crate) fn cell(key: &str) -> CellSummary {
    CellSummary {
        key: key.parse().unwrap(),
        digest: "5e".repeat(32),
        verdict: Some(Verdict::Pass { as_: Some("wc-honoured".into()) }),
        label: Some("wc-honoured".into()),
        seen: BTreeMap::from([("nic".into(), BTreeSet::from(["Normal-NC".into()]))]),
        findings: vec![],
        promises: vec![],
        stopped: None,
        attempts: vec![Some(Verdict::PASS)],
        elapsed_ms: Some(16_449),
        complete: true,
        not_run: None,
        repeat: vec!["run".into(), key.into()],
        logs: format!("/runs/1/cells/{key}").into(),
        standing: Some(Standing::Compared(Outcome::Same)),
        report: Some(report(key, "PASS as wc-honoured", "Normal-NC", "0x7d4", &[])),
        kernel: kernel(key),
        environment: Environment::default(),
        machine: None,
        series: key.contains('~').then(series),
        started_ms: Some(1_000),
        stages: vec![stage(Stage::HostBoot, 20, Some(9_500)), stage(Stage::Steps, 9_500, Some(16_400))],
        guests: vec!["g0".into()],
        measures: vec![measure(&[&[553_000, 342_000, 765_000, 600_000, 580_000, 571_000], &[561_000]])],
        control: false,
        tolerated: None,
        accepted: None,
    }
}

fn stage(stage: Stage, started_ms: u64, ended_ms: Option<u64>) -> StageSpan {
    StageSpan { stage, started_ms, ended_ms }
}

/// A measure with samples of these boots.
pub(crate) fn measure(boots: &[&[u64]]) -> Measure {
    let boots = (1..).zip(boots).map(|(number, samples)| Boot { number, samples: samples.to_vec() });
    Measure { step: 0, name: "stores".into(), boots: boots.collect() }
}

/// A kernel of the list, or one from the command line.
fn kernel(key: &str) -> KernelSummary {
    let given = key.ends_with("@given");
    let about = "commit 5f3a1c0e9b7d of /src/linux, built with images/config/boot.config";
    KernelSummary {
        release: Some("6.1.176".into()),
        image: Some("ac1b9306ed90e875d764ac1b9306ed90e875d764ac1b9306ed90e875d7640000".into()),
        about: given.then(|| about.into()),
        commit: given.then(|| "5f3a1c0e9b7d5f3a1c0e9b7d5f3a1c0e9b7d5f3a".into()),
        ..KernelSummary::default()
    }
}

pub(crate) fn series() -> SeriesOrigin {
    SeriesOrigin {
        patches: 4,
        digest: "5fbfc53a0fd260d0bb05895e9a5c585f7cc4383ac25346dbf6ad5a375ee80e8c".into(),
        subject: Some("[PATCH v9 0/4] KVM: arm64: Allow the VM to select DEVICE_* and NORMAL_NC".into()),
        message_id: Some("20240220072926.6466-1-someone/x@example.org".into()),
        files: vec![],
    }
}

/// A report with one look at a BAR of this type.
fn report(key: &str, verdict: &str, of: &str, bits: &str, findings: &[Finding]) -> Report {
    let mut report = Report::empty(key.parse().unwrap(), Text::new(verdict));
    let range = "nic +0x0..0x200000  1 x 2M level 2  at IPA 0x8000000000..0x8000200000";
    let tables = [
        "look stored, guest g0".to_owned(),
        format!("  {range}  bits {bits}  stage2 {of}  rw  exec  SH inner  AF"),
        "  ram varies  31 x 2M level 2  bits 0x7d8  stage2 Normal-WB  rw  exec  SH inner  AF".into(),
    ];
    report.tables.lines = tables.iter().map(|line| line.parse().unwrap()).collect();
    let promised = [
        "look stored, guest g0".to_owned(),
        format!("  nic  stage2 {of}  rw  exec  SH inner  AF"),
        "  ram  stage2 Normal-WB  SH inner".into(),
        "  maps only its own: 256M of RAM at 0x40000000, nic".into(),
    ];
    report.promised.lines = promised.iter().map(|line| line.parse().unwrap()).collect();
    let lines = findings.iter().flat_map(|Finding { what, promise, expected, found, detail, .. }| {
        let promise = promise.map(|promise| format!("  {promise}")).unwrap_or_default();
        let head = [
            format!("{}{promise}", Text::new(what)),
            format!("  expected {}", Text::new(expected)),
            format!("  found    {}", Text::new(found)),
        ];
        head.into_iter().chain(detail.iter().map(|text| format!("  | {}", Text::new(text))))
    });
    report.findings.lines = lines.map(|line| line.parse().unwrap()).collect();
    report
}

/// A cell whose BAR has another type than it should.
pub(crate) fn failed(key: &str, standing: Standing) -> CellSummary {
    let nic = finding(Weight::Tables, "stage2 of nic at look stored, guest g0", "Normal-NC", "Device-nGnRE");
    let findings = vec![
        promised("I1", nic),
        finding(Weight::Kernel, "VMAs over nic at look stored, guest g0", "flag `??`", "no flag `??`"),
    ];
    CellSummary {
        verdict: Some(Verdict::Fail),
        seen: BTreeMap::from([("nic".into(), BTreeSet::from(["Device-nGnRE".into()]))]),
        report: Some(report(key, "FAIL", "Device-nGnRE", "0x7c4", &findings)),
        findings,
        promises: vec![Promise::BAR],
        standing: Some(standing),
        ..cell(key)
    }
}

/// A cell whose failure an entry of `known.yaml` tolerates.
pub(crate) fn tolerated(key: &str) -> CellSummary {
    let known = KnownFailure {
        scenario: "bar".into(),
        kernel: "debian-*".into(),
        reason: "vfio-pci lost its mark.".into(),
        link: Some("https://example.org/bug/7".into()),
        who: "the vfio team".into(),
        until: "2026-12-24".parse().unwrap(),
    };
    CellSummary { tolerated: Some(known), ..failed(key, changed(vec![])) }
}

/// The cell with these findings, in its report too.
fn with(cell: CellSummary, verdict: Verdict, findings: Vec<Finding>) -> CellSummary {
    let report = Some(report(cell.key.as_str(), &verdict.to_string(), "Normal-NC", "0x7d4", &findings));
    CellSummary { verdict: Some(verdict), report, findings, ..cell }
}

/// A cell without a result about the kernel.
fn without_result(key: &str, verdict: Option<Verdict>) -> CellSummary {
    let gap = match &verdict {
        Some(verdict) => Gap::Lab(verdict.clone()),
        None => Gap::Interrupted,
    };
    CellSummary {
        verdict,
        label: None,
        seen: BTreeMap::new(),
        standing: Some(Standing::Missing(gap)),
        report: None,
        ..cell(key)
    }
}

fn stopped(cell: CellSummary, what: &str) -> CellSummary {
    let stopped =
        Stopped { stage: Stage::GuestBoot, what: what.into(), hint: Some("see the console".into()) };
    let finding = finding(Weight::Lab, "stage guest-boot", "done", what);
    CellSummary { stopped: Some(stopped), findings: vec![finding], ..cell }
}

fn standing(key: &str, standing: Standing) -> CellSummary {
    CellSummary { standing: Some(standing), ..cell(key) }
}

pub(crate) fn changed(changes: Vec<Change>) -> Standing {
    let diff = "kernel: 6.1.170 -> 6.1.176\n--- accepted\n+++ new\n@@ -1 +1 @@\n-  nic  stage2 Normal-NC  rw\n+  nic  stage2 Device-nGnRE  rw\n";
    Standing::Compared(Outcome::Changed { diff: diff.into(), changes })
}

fn failures() -> [CellSummary; 5] {
    let worse = vec![
        change(ChangeKind::Verdict, "verdict: PASS as wc-honoured became FAIL"),
        change(ChangeKind::Promised, "nic: Normal-NC became Device-nGnRE"),
    ];
    let hostile = vec![finding(Weight::Kernel, HOSTILE, HOSTILE, HOSTILE)];
    let differ = vec![finding(Weight::Tables, "2 attempts", "the same", "PASS, then FAIL")];
    let late = finding(Weight::Lab, "stage guest-boot", "done", "no answer for 90 s");
    let timeout =
        with(standing("idle@linux-6.1~v9", Standing::New), Verdict::Timeout(Stage::GuestBoot), vec![late]);
    [
        failed("bar@linux-6.1~v9", changed(worse)),
        failed("bar@linux-6.12", Standing::Compared(Outcome::Same)),
        with(failed("bar@given", Standing::New), Verdict::Fail, hostile),
        stopped(timeout, "no answer for 90 s"),
        CellSummary {
            attempts: vec![Some(Verdict::PASS), Some(Verdict::Fail)],
            ..with(standing("idle@given", Standing::New), Verdict::Flaky, differ)
        },
    ]
}

fn gaps() -> [CellSummary; 5] {
    let mut left = without_result("other@given", None);
    left.not_run = Some("--fail-fast: bar@given was FAIL".into());
    left.standing = Some(Standing::Missing(Gap::NotRun("--fail-fast: bar@given was FAIL".into())));
    left.attempts.clear();
    [
        stopped(without_result("idle@debian-6.1", Some(Verdict::Miss)), "QEMU ended (signal 9)"),
        without_result("bar@debian-6.1", Some(Verdict::Lost)),
        stopped(without_result("other@debian-6.1", Some(Verdict::Error)), "no device `nic`"),
        without_result("other@linux-6.12", None),
        left,
    ]
}

fn others() -> Vec<CellSummary> {
    let leaves = || vec![change(ChangeKind::Shape, "nic's leaves went from 2M to 4K (shape)")];
    let moved = || {
        let note = "shape moved with 6.1.170 -> 6.1.176".into();
        Standing::Compared(Outcome::ShapeMoved { note, diff: "-a\n+b\n".into(), changes: leaves() })
    };
    let cpu = |name: &str| Some(name.to_owned());
    let cpu = Difference { name: "cpu".into(), accepted: cpu("neoverse-n1"), new: cpu("neoverse-v1") };
    let skip = Verdict::Skip("no vfio-pci in the kernel".into());
    vec![
        standing("bar-a@linux-6.12", Standing::Compared(Outcome::Same)),
        standing(
            "bar-b@linux-6.12",
            changed(vec![change(ChangeKind::Promised, "ram: Normal-WB became Normal-NC")]),
        ),
        standing("bar-c@linux-6.12", moved()),
        standing("bar-d@linux-6.12", moved()),
        standing("bar-e@linux-6.12", Standing::Compared(Outcome::NotComparable(vec![cpu]))),
        standing("bar-f@linux-6.12", Standing::Unreadable { why: "line 3: merged with conflicts".into() }),
        standing(
            "bar-g@linux-6.12",
            Standing::Compared(Outcome::NewWitness { note: "new witness: vmid".into() }),
        ),
        standing("bar-h@linux-6.12", Standing::New),
        CellSummary { verdict: Some(skip), seen: BTreeMap::new(), ..cell("bar-j@linux-6.12") },
    ]
}

/// The run, whose cells are in no order that matters.
pub(crate) fn run() -> RunSummary {
    let cells = others().into_iter().chain(failures()).chain(gaps());
    run_of(cells.collect())
}

pub(crate) fn run_of(cells: Vec<CellSummary>) -> RunSummary {
    RunSummary {
        s2lab: "0.1.0 (24b34e4c)".into(),
        started: "2026-11-22T15:00:00Z".into(),
        folder: "/runs/1".into(),
        lab: Some("built-in".into()),
        lab_commit: None,
        shuffle: None,
        night: None,
        mutants: None,
        cells,
        interrupted: None,
        whole: true,
        comparison: None,
        compared: true,
        orphaned: vec!["gone@debian-6.1".parse().unwrap()],
        exit: 1,
    }
}

/// A diff with every result.
pub(crate) fn diff() -> DiffSummary {
    let cells = run().cells.into_iter().take(6).map(|cell| {
        let result = match cell.standing {
            Some(Standing::Compared(
                Outcome::Changed { changes, .. } | Outcome::ShapeMoved { changes, .. },
            )) => CellResult::Differs(changes),
            Some(Standing::Compared(Outcome::NotComparable(facts))) => CellResult::NotComparable(facts),
            _ => CellResult::Same,
        };
        let fact = |name: &str, accepted: &str, new: &str| Difference {
            name: name.into(),
            accepted: Some(accepted.into()),
            new: Some(new.into()),
        };
        let factor = if cell.key.kernel() == "given" { "3.1" } else { "3.0" };
        let long = "16dfef0c3622fe13fb915c4b8eb22618bf1b1113d8fcdcc4cdb66dbf60378fd0";
        let variables = vec![
            fact("factor", "2.9", factor),
            fact("kernel", "6.1.176", "6.1.192"),
            fact("kernel image", long, HOSTILE),
        ];
        CellDiff { old: cell.key.clone(), new: cell.key, result, variables }
    });
    let keys = |text: &str| vec![text.parse().unwrap()];
    let sides = ("main".to_owned(), format!("HEAD {HOSTILE}"));
    DiffSummary::new(sides, cells.collect(), (keys("bar@old"), keys("bar@new")))
}

/// Any text, often one that a form could take for more than text.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "@torvalds",
        "#123",
        "GH-1",
        "a/b#1",
        "`",
        "``",
        "```",
        "|",
        "\\",
        "\n",
        "\r\n",
        "  ",
        "<b>",
        "</details>",
        "<!--",
        "-->",
        "&#64;x",
        "[a](http://b)",
        "![a](b)",
        "https://a.bc",
        "www.a.bc",
        "a@b.cd",
        "*",
        "__",
        "~~~",
        "# ",
        "- ",
        "---|",
        "$x$",
        ":+1:",
        "\u{202e}",
        "\u{1b}[31m",
        "\0",
        "\u{e9}",
        "From ",
        "-- ",
        "x",
        "word ",
        "1234567890",
    ]);
    let tokens = prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat());
    let long = ("[ -~]{1,3}", 1usize..400).prop_map(|(text, n)| text.repeat(n));
    prop_oneof![4 => tokens, 1 => any::<String>(), 1 => long]
}

/// The run with other texts in every place that a guest or a file chooses.
pub(crate) fn any_run() -> impl Strategy<Value = RunSummary> {
    prop::collection::vec(any_text(), 1..9).prop_map(|texts| with_texts(&texts))
}

fn with_texts(texts: &[String]) -> RunSummary {
    let mut next = texts.iter().cycle().cloned();
    let mut text = || next.next().unwrap_or_default();
    let mut run = run();
    (run.s2lab, run.started) = (text(), text());
    for cell in &mut run.cells {
        if let Some(series) = &mut cell.series {
            let (subject, message_id) = (Some(text()), Some(text()));
            *series =
                SeriesOrigin { patches: 2, message_id, subject, digest: text(), files: vec![text(), text()] };
        }
        (cell.kernel.release, cell.kernel.about) = (Some(text()), Some(text()));
        cell.label = Some(text());
        cell.seen = BTreeMap::from([(text(), BTreeSet::from([text(), text()]))]);
        cell.repeat = vec!["run".into(), text(), text()];
        cell.not_run = cell.not_run.as_ref().map(|_| text());
        for finding in &mut cell.findings {
            (finding.what, finding.expected, finding.found) = (text(), text(), text());
            finding.detail = vec![text()];
        }
        if let Some(stopped) = &mut cell.stopped {
            (stopped.what, stopped.hint) = (text(), Some(text()));
        }
        if let Some(Verdict::Skip(why)) = &mut cell.verdict {
            *why = text();
        }
        match &mut cell.standing {
            Some(Standing::Unreadable { why }) => *why = text(),
            Some(Standing::Missing(Gap::NotRun(why))) => *why = text(),
            Some(Standing::Compared(Outcome::Changed { diff, changes })) => {
                *diff = format!("{}\n{}", text(), text());
                changes.iter_mut().for_each(|change| change.what = text());
            }
            Some(Standing::Compared(Outcome::NotComparable(facts))) => {
                facts.iter_mut().for_each(|fact| fact.accepted = Some(text()));
            }
            _ => {}
        }
    }
    run
}
