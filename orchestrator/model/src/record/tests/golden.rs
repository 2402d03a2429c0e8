//! Logs as they were written once. A file of a version that was released never changes: what is
//! younger must read it. They have the events of [`Story::after`], whose table pages they name.
//!
//! `S2LAB_WRITE_LOGS=1 cargo test -p s2lab-model golden` writes them again, which is for a new
//! version alone.

use super::*;
use crate::comparison::FEWEST_PAIRS;
use crate::event::{KernelOrigin, SeriesOrigin};
use crate::hash::digest;
use crate::judge::fixture::{BAR_IPA, HYPERVISOR, host_tables};
use crate::judge::judge_run;
use crate::night::{KnownFailure, Night};
use crate::record::environment;
use crate::record::parse::{Skipped, parse};
use crate::scenario::{Size, Vmm};
use crate::shards::{Inputs, KernelIdentity, PlanFile, Shard};
use crate::steps::{
    Actor, Counted, Counts, DeviceOperated, DumpedTables, Executed, FaultRun, HostStep, Invalidated,
    MemslotOperated, MemslotStep, ProbeOutcome, ProbeStep, Raced, Step, TlbiRun, TracedFaults, TracedTlbi,
    WhileStep,
};
use guest_tables::{HostTables, VmmTables};
use s2lab_protocol::ask::{Dumped, DumpedRange, Faulted, Pages, ProgramEnd};
use s2lab_protocol::{Barrier, By, DeviceOperation, Manner, MemslotOperation, Order, ProbeEnd, ProbeKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const OURS: &str = "2.4.jsonl";
/// Those of earlier minors.
const EARLIER: [&str; 4] = ["2.0.jsonl", "2.1.jsonl", "2.2.jsonl", "2.3.jsonl"];
/// One of a minor that this s2lab does not know.
const AHEAD: &str = "2.9.jsonl";

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// With every optional key.
fn ours() -> Vec<Value> {
    let mut story = Story::after();
    let series = SeriesOrigin {
        patches: 2,
        digest: digest(b"patches"),
        subject: Some("[PATCH v2 0/2] KVM: arm64: x".into()),
        message_id: Some("20261122150000.1-1@example.org".into()),
        files: vec!["images/patches/6.1-wc".into()],
    };
    let origin = KernelOrigin {
        about: "commit c0ffee of /src/linux, built with images/config/boot.config".into(),
        commit: Some("c0ffee".into()),
        series: Some(series),
    };
    story.kernels.insert("test".into(), origin);
    story.lab_commit = Some("5f3a1c0e9b7d5f3a1c0e9b7d5f3a1c0e9b7d5f3a".into());
    let at = story.events.iter().position(|event| matches!(event, Event::Environment { .. })).unwrap();
    story.events.insert(at, Event::Machine { kind: "x86_64, 2 CPUs, QEMU Virtual CPU version 2.5+".into() });
    let reset = story
        .events
        .iter()
        .position(|event| matches!(event, Event::Observed { data: Observation::Reset(_), .. }));
    story.events.splice(
        reset.unwrap() + 1..reset.unwrap() + 1,
        [invalidated(), counted(), traced_faults(), dumped_tables()],
    );
    story.events.iter_mut().for_each(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            let vttbr = look.registers["VTTBR_EL2"];
            look.vcpus = [("0".into(), vttbr), ("1".into(), vttbr)].into();
            look.registers.extend(VmmTables::of(0).registers().map(|(name, value)| (name.to_owned(), value)));
        }
        if let Event::Environment { variable, .. } = event {
            variable.insert(environment::PLUGIN.into(), format!("sha256:{}", digest(b"plugin")));
        }
    });
    let known = KnownFailure {
        scenario: "vfio-*".into(),
        kernel: "test".into(),
        reason: "The BAR is Device.".into(),
        link: Some("https://example.org/1".into()),
        who: "x".into(),
        until: "2026-11-30".parse().unwrap(),
    };
    story.night = Some(Night { date: "2026-11-22".parse().unwrap(), known: vec![known] });
    story.shuffle = Some(7);
    story.cell.resolved.needs = [("IOMMUFD".into(), "x".into())].into();
    story.cell.resolved.excluded = Some("too slow".into());
    with_manners(&mut story);
    with_program(&mut story);
    story = story.looking_at_host(&host());
    let mut lines: Vec<Value> =
        story.lines().iter().map(|line| serde_json::to_value(line).unwrap()).collect();
    let plan = &mut lines[0]["event"]["plan"];
    plan["mutants"] = json!([{"base": "linux-6.1-wc", "mutant": {
        "name": "tlbi-no-barrier", "about": "KVM: arm64: x", "area": "TLB", "breaks": "I9 alarm", "like": "B15",
        "cannot-show": "no TLB is late"
    }}]);
    let second = json!(format!("{KEY}+compare=second"));
    let mut cell = plan["cells"][0].clone();
    cell["key"] = second.clone();
    plan["cells"].as_array_mut().unwrap().push(cell);
    plan["compare"] = json!({"first": KEY, "second": second, "pairs": FEWEST_PAIRS});
    plan["shard"] = json!(Shard::new("1/2".parse().unwrap(), whole(&story.cell)));
    lines
}

/// The invalidations of the reset, of which the log has all keys.
fn invalidated() -> Event {
    let traced = |word, operand| TracedTlbi { word, operand, el: 2, vcpu: 1, vttbr: 3 << 48, hcr: 1 };
    let (first, then) = (traced(0xd50c_8021, BAR_IPA >> 12), Some(traced(0xd508_831f, 0)));
    let runs = vec![TlbiRun { first, then, step: 1, times: 512 }];
    let incomplete = Some("the plugin keeps 65536 instructions, and there were more".into());
    let data = Invalidated { guest: "g0".into(), device: "nic".into(), runs, incomplete };
    Event::Observed { step: 2, data: Observation::Invalidated(data) }
}

/// The faults of the look before.
fn traced_faults() -> Event {
    let incomplete = Some("the kernel has overwritten events of the trace".into());
    let faulted = Faulted { runs: vec![Pages { ipa: BAR_IPA, pages: 512 }], incomplete };
    let data = TracedFaults { guest: "g0".into(), faulted };
    Event::Observed { step: 1, data: Observation::TracedFaults(data) }
}

/// KVM's dump at the look before.
fn dumped_tables() -> Event {
    let range =
        DumpedRange { ipa: BAR_IPA, end: BAR_IPA + (2 << 20), level: 2, flags: "R W X AF BLK".into() };
    let data = DumpedTables { guest: "g0".into(), dumped: Dumped::Ranges(vec![range]) };
    Event::Observed { step: 1, data: Observation::DumpedTables(data) }
}

/// Counts of the same step.
fn counted() -> Event {
    let accesses = Counts { stores: [(8, 512)].into(), loads: [(8, 512)].into(), unplaced: 0 };
    let faults = vec![FaultRun { ipa: BAR_IPA, step: 0x1000, times: 512, instruction: false }];
    let Event::Observed { data: Observation::Invalidated(Invalidated { runs, incomplete, .. }), .. } =
        invalidated()
    else {
        unreachable!()
    };
    let data = Counted { device: "nic".into(), accesses, faults, tlbis: runs, incomplete };
    Event::Observed { step: 2, data: Observation::Counted(data) }
}

/// Gives each key of an access to the last store, and adds a probe.
fn with_manners(story: &mut Story) {
    let cell = &mut story.cell.resolved;
    cell.guests.values_mut().for_each(|guest| guest.vcpus = 2);
    let (order, barrier, chunk) = (Order::Random, Barrier::Dsb, 512);
    let manner = Manner { order, seed: 7, barrier, from: 4096, chunk, vcpus: 2 };
    let Step::Store(store) = &mut cell.steps[3] else { panic!("no store") };
    (store.width, store.by) = (vec![64], Some(By::Dgh));
    (store.order, store.seed, store.barrier, store.vcpus) = (order, 7, barrier, 2);
    (store.from, store.chunk) = (Some(Size(4096)), Size(chunk));
    for event in &mut story.events {
        if let Event::Observed { step: 3, data: Observation::Stored(stored) } = event {
            (stored.width, stored.by, stored.manner) = (64, Some(By::Dgh), manner);
        }
    }
    let Step::Probe(probe) = cell.steps[5].clone() else { panic!("no probe") };
    let ProbeStep { guest, device, map, .. } = probe.clone();
    let kind = ProbeKind::Atomic;
    cell.steps.push(Step::Probe(ProbeStep { kind, ..probe }));
    let outcome = ProbeOutcome::Answered(ProbeEnd::Ok);
    let probed = Probed { guest, device, map, kind, outcome, arrived: false };
    with_exception(story, &probed);
    let last = story.events.iter().position(|event| matches!(event, Event::CellRecord { .. })).unwrap();
    story.events.insert(last, Event::Observed { step: 6, data: Observation::Probed(probed) });
    with_operations(story);
}

/// Adds a probe that ends in an exception, after that of step 6.
fn with_exception(story: &mut Story, other: &Probed) {
    let kind = ProbeKind::Fetch;
    let Probed { guest, device, map, .. } = other.clone();
    let step = ProbeStep { guest: guest.clone(), device: device.clone(), map, kind };
    story.cell.resolved.steps.push(Step::Probe(step));
    let outcome = ProbeOutcome::Answered(ProbeEnd::Exception(0x8600_0010));
    let data = Observation::Probed(Probed { guest, device, map, kind, outcome, arrived: false });
    let last = story.events.iter().position(|event| matches!(event, Event::HostDown { .. })).unwrap();
    story.events.insert(last, Event::Observed { step: 7, data });
}

/// Makes the guest one of the built-in VMM, and adds operations on its device as the first steps.
fn with_operations(story: &mut Story) {
    let cell = &mut story.cell.resolved;
    cell.guests.values_mut().for_each(|guest| guest.vmm = Vmm::Builtin);
    let (guest, device) = ("g0".to_owned(), "nic".to_owned());
    let operation = MemslotOperation::Log;
    let log = MemslotStep { guest: guest.clone(), of: device.clone(), operation, with: None };
    let Step::Store(store) = cell.steps[3].clone() else { panic!("no store") };
    let host = vec![HostStep::Reset(device.clone())];
    let steps = [
        Step::Host(HostStep::MemoryOff(device.clone())),
        Step::Host(HostStep::MemoryOn(device.clone())),
        Step::Memslot(log),
        Step::While(WhileStep { store, host: host.clone(), log: true, rounds: 1, seed: 7 }),
    ];
    let more = steps.len();
    cell.steps.splice(0..0, steps);
    for event in &mut story.events {
        if let Event::Observed { step, .. } = event {
            *step += more;
        }
    }
    let operated = |operation| {
        Observation::DeviceOperated(DeviceOperated { by: Actor::Host, device: device.clone(), operation })
    };
    let logged =
        MemslotOperated { guest: guest.clone(), of: device.clone(), operation, with: None, errno: Some(22) };
    let (operations, refused, passes, faults) = (host, None, 40, 0);
    let of = device.clone();
    let raced =
        Raced { guest, device: of, rounds: 1, seed: 7, operations, log: true, refused, passes, faults };
    let last = 3 + more;
    let stored = story.events.iter().find_map(|event| match event {
        Event::Observed { step, data: data @ Observation::Stored(_) } if *step == last => Some(data.clone()),
        _ => None,
    });
    let observed = [
        operated(DeviceOperation::MemoryOff),
        operated(DeviceOperation::MemoryOn),
        Observation::MemslotOperated(logged),
    ];
    let at = story.events.iter().position(|event| matches!(event, Event::Observed { .. })).unwrap();
    let observed = observed.into_iter().enumerate();
    let looped = [Observation::Raced(raced), stored.unwrap()].map(|data| (3, data));
    let observed = observed.chain(looped).map(|(step, data)| Event::Observed { step, data });
    story.events.splice(at..at, observed);
}

/// Adds a program as the last step.
fn with_program(story: &mut Story) {
    let (place, file) = ("host".to_owned(), "bin/repro".to_owned());
    let written = json!({"in": place, "file": file, "args": ["-n", "3"], "timeout": "1m"});
    let step = story.cell.resolved.steps.len();
    story.cell.resolved.steps.push(Step::Exec(serde_json::from_value(written).unwrap()));
    story.cell.resolved.programs.insert(file.clone(), digest(b"program"));
    let output = "KTAP version 1\n1..1\nok 1 map\n".to_owned();
    let data = Observation::Executed(Executed { place, file, end: ProgramEnd::Exit(0), output });
    let last = story.events.iter().position(|event| matches!(event, Event::HostDown { .. })).unwrap();
    story.events.insert(last, Event::Observed { step, data });
}

/// The own tables of a host in protected mode.
fn host() -> HostTables {
    let mut tables = host_tables();
    tables.withhold(HYPERVISOR.start, 2);
    tables
}

/// The plan that the cell is a shard of.
fn whole(cell: &PlannedCell) -> PlanFile {
    let identity = KernelIdentity { digest: digest(b"test"), origin: None, is_built: true };
    PlanFile::new(Inputs {
        s2lab: "0.1.0",
        selection: vec![cell.key.to_string()],
        guest: digest(b"guest"),
        kernels: BTreeMap::from([(cell.kernel.clone(), identity)]),
        cells: std::slice::from_ref(cell),
        durations: &BTreeMap::new(),
    })
}

/// With an event, an observation and keys that are not known.
fn ahead() -> Vec<Value> {
    let mut lines = ours();
    let up = lines.iter().position(|line| line["event"].get("host-up").is_some()).unwrap();
    lines[up]["event"]["host-up"]["firmware"] = json!("edk2");
    lines[up]["zone"] = json!("UTC");
    let cell = &mut lines[0]["event"]["plan"]["cells"][0];
    cell["shard"] = json!([1, 2]);
    cell["resolved"]["host"]["sockets"] = json!(2);
    cell["resolved"]["steps"][4]["store"]["pace"] = json!("slow");
    let of = |event: Value| json!({"v": "", "seq": 0, "ms": 0, "cell": KEY, "event": event});
    let end = lines.iter().position(|line| line["event"].get("cell-ended").is_some()).unwrap();
    lines.insert(end, of(json!({"observed": {"step": 5, "data": {"loaded": {"words": [1, 2]}}}})));
    lines.insert(end, of(json!({"guest-power": {"guest": "g0", "state": "off"}})));
    lines.insert(end, of(json!("guest-power")));
    for (line, seq) in lines.iter_mut().zip(0..) {
        (line["v"], line["seq"]) = (json!("2.9"), json!(seq));
    }
    lines
}

fn golden(name: &str, now: &[Value]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs").join(name);
    if std::env::var_os("S2LAB_WRITE_LOGS").is_some() {
        std::fs::write(&path, text(now)).unwrap();
    }
    std::fs::read_to_string(path).unwrap()
}

fn passes(run: Run) -> bool {
    let mut pages = Story::after().pages;
    pages.extend(host().pages().into_values().map(|page| (digest(&page), page)));
    let judged = judge_run(run, &|digest: &str| pages.get(digest).cloned());
    judged.exit == 0 && judged.cells[0].verdict.as_ref().is_some_and(|verdict| verdict.passed())
}

#[test]
fn a_golden_log_of_this_version_passes() {
    let run = Run::read(&golden(OURS, &ours())).unwrap();
    assert!(run.skipped.is_empty() && passes(run));
}

/// The files are as they were written.
#[test]
fn golden_logs_of_earlier_minors_pass() {
    for name in EARLIER {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs").join(name);
        let run = Run::read(&std::fs::read_to_string(path).unwrap()).unwrap();
        let has_22 = [run.plan.lab_commit.is_some(), run.plan.night.is_some()];
        assert_eq!(has_22, [name >= "2.2.jsonl"; 2], "{name}");
        assert!(run.skipped.is_empty() && passes(run), "{name}");
    }
}

#[test]
fn what_a_younger_minor_has_is_skipped_and_named() {
    let run = Run::read(&golden(AHEAD, &ahead())).unwrap();
    assert_eq!(
        run.skipped.to_string(),
        "the event log is of version 2.9, and this s2lab knows 2.4: skipped 2 x event `guest-power`, \
         1 x event `observed loaded`, 1 x key `event.cells.resolved.host.sockets`, \
         1 x key `event.cells.resolved.steps.pace`, 1 x key `event.cells.shard`, 1 x key `event.firmware`, \
         1 x key `zone`"
    );
    assert!(passes(run));
}

#[test]
fn a_key_of_a_younger_minor_may_stand_anywhere_in_the_resolved_cell() {
    for place in [
        "",
        "/host",
        "/host/devices/nic",
        "/guests/g0",
        "/steps/3/while",
        "/steps/3/while/store",
        "/steps/4/store",
        "/steps/5/look",
        "/steps/9/probe",
        "/steps/12/exec",
        "/expect/0",
    ] {
        let mut lines = ours();
        let resolved = format!("/event/plan/cells/0/resolved{place}");
        lines[0].pointer_mut(&resolved).unwrap()["younger"] = json!({"a": [1]});
        let refused = Run::read(&text(&lines)).unwrap_err();
        assert!(matches!(&refused, LogError::Json { why, .. } if why.contains("younger")), "{refused}");
        lines.iter_mut().for_each(|line| line["v"] = json!("2.9"));
        let run = Run::read(&text(&lines)).unwrap();
        assert!(run.skipped.to_string().ends_with("younger`"), "{}", run.skipped);
        assert!(passes(run), "{place}");
    }
}

/// Its cell cannot be judged, so it is not skipped.
#[test]
fn a_step_of_a_younger_minor_is_refused_with_the_version() {
    let mut lines = ours();
    lines[0]["event"]["plan"]["cells"][0]["resolved"]["steps"][0] = json!({"hotplug": {"device": "nic"}});
    lines.iter_mut().for_each(|line| line["v"] = json!("2.9"));
    let refused = Run::read(&text(&lines)).unwrap_err().to_string();
    let due =
        "line 0: not an event: version 2.9 of the event log, this s2lab knows 2.4: unknown variant `hotplug`";
    assert!(refused.starts_with(due), "{refused}");
}

/// The promises of a report are those of the plan, so they are checked.
#[test]
fn a_cell_that_planning_does_not_make_is_refused() {
    let mut lines = ours();
    let promises = &mut lines[0]["event"]["plan"]["cells"][0]["resolved"]["promises"];
    assert_eq!(*promises, json!(["I1", "I4", "I6", "I17"]));
    *promises = json!(["I1", "I4", "I6"]);
    let why = "its scenario resolves to another cell".to_owned();
    assert_eq!(Run::read(&text(&lines)), Err(LogError::Cell { key: KEY.parse().unwrap(), why }));
}

/// An unknown part is skipped in a younger log, and a mistake in one of this version.
#[test]
fn a_log_of_this_version_has_nothing_that_is_not_known() {
    let ours = golden(AHEAD, &ahead()).replace("\"v\":\"2.9\"", "\"v\":\"2.4\"");
    for (line, why) in ours.lines().zip(0..).filter(|(line, _)| {
        ["firmware", "guest-power", "shard", "loaded\":{\"words"].iter().any(|word| line.contains(word))
    }) {
        let read = parse(why, line, &mut Skipped::default());
        assert!(matches!(read, Err(LogError::Json { .. })), "{read:?}");
    }
}

/// Any other mistake is a mistake in a younger log too.
#[test]
fn a_younger_log_is_held_to_the_rest() {
    let lines: Vec<String> = golden(AHEAD, &ahead()).lines().map(str::to_owned).collect();
    let read = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        Run::read(&(lines.join("\n") + "\n"))
    };
    assert!(matches!(read(&|l| drop(l.remove(3))), Err(LogError::Gap { .. })));
    let unknown = lines.iter().position(|line| line.contains("guest-power")).unwrap();
    assert!(matches!(read(&|l| drop(l.remove(unknown))), Err(LogError::Gap { .. })), "it counts as a line");
    let words = |from: &'static str, to: &'static str| {
        read(&move |l: &mut Vec<String>| l.iter_mut().for_each(|line| *line = line.replace(from, to)))
    };
    assert!(matches!(words("\"page_size\":4096", "\"page_size\":\"4K\""), Err(LogError::Json { .. })));
    assert!(matches!(words("\"page_size\":4096,", ""), Err(LogError::Json { .. })), "a key that it needs");
}

#[test]
fn other_versions_are_refused_by_name() {
    let text = golden(OURS, &ours());
    let read = |v: &str| Run::read(&text.replace("\"v\":\"2.4\"", &format!("\"v\":{v}"))).unwrap_err();
    assert_eq!(
        read("1").to_string(),
        "line 0: version 1 of the event log was never released; this s2lab reads version 2"
    );
    assert_eq!(
        read("\"3.1\"").to_string(),
        "line 0: version 3.1 of the event log; this s2lab reads version 2"
    );
    assert!(matches!(read("\"x\""), LogError::Version { .. }));
    assert!(matches!(read("null"), LogError::Json { .. }));
}

/// However many there are, a few are named.
#[test]
fn what_is_skipped_is_bounded() {
    let mut lines = ahead();
    let at = lines.iter().position(|line| line["event"] == json!("guest-power")).unwrap();
    for n in 0..1000 {
        let mut line = lines[at].clone();
        line["event"] = json!(format!("{n}\u{1b}[2J{}", "x".repeat(1000)));
        lines.insert(at, line);
    }
    lines.iter_mut().zip(0..).for_each(|(line, seq)| line["seq"] = json!(seq));
    let said = Run::read(&text(&lines)).unwrap().skipped.to_string();
    assert!(said.len() < 3000 && said.contains(" x others") && !said.contains('\u{1b}'), "{said}");
}
