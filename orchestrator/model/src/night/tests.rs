use super::past::failure;
use super::*;
use crate::event::{PlannedCell, StopCause};
use crate::finding::{Finding, Weight};
use crate::judge::fixture::{BAR_IPA, BAR_PA, DEVICE_BLOCK, Machine, NC_BLOCK, Story, traits};
use crate::kernel::Trait;
use crate::plan::shuffled;
use crate::record::{Run, environment};
use crate::steps::ProbeOutcome;
use crate::summary::{CellSummary, RunSummary};
use guest_tables::BLOCK;
use s2lab_protocol::{GuestEnd, ProbeEnd};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const KNOWN: &str = "# yaml-language-server: $schema=docs/known.schema.json
known:
  - scenario: vfio-pci-bar
    kernel: te*
    reason: The BAR is Device.
    link: https://example.org/1
    who: the vfio team
    until: 2026-11-05
";

fn known() -> KnownFailures {
    load("known.yaml", KNOWN).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn keys(keys: &[&str]) -> BTreeSet<Key> {
    keys.iter().map(|key| key.parse().unwrap()).collect()
}

/// A kernel that declares the series, and maps BARs as it likes.
fn story(bar: u64) -> Story {
    story_of(&Machine::with(bar))
}

fn story_of(machine: &Machine) -> Story {
    let traits = traits(&[Trait::WcConveyed, Trait::WcHonoured]);
    let (state, detail) = ("internal-error".into(), "kvm run failed Bad address".into());
    let outcome = match machine.bar {
        DEVICE_BLOCK => ProbeOutcome::GuestEnded(GuestEnd::Stopped { state, detail }),
        _ => ProbeOutcome::Answered(ProbeEnd::Ok),
    };
    Story::of(traits, machine, true, outcome)
}

/// A second block of the BAR is mapped for loads only, of which nothing is expected.
fn changed() -> Story {
    let second = (BAR_IPA + BLOCK, BAR_PA + BLOCK, 2, NC_BLOCK & !(1 << 7));
    story_of(&Machine { more: vec![second], ..Machine::with(NC_BLOCK) })
}

/// The run of the story on that day of November.
fn run(day: u8, story: &Story, known: &[KnownFailure]) -> RunSummary {
    let date = format!("2026-11-{day:02}").parse().unwrap();
    let story = Story { night: Some(Night { date, known: known.to_vec() }), ..story.clone() };
    RunSummary::of(&story.run(), Path::new(&format!("runs/{day}")), |_| PathBuf::new(), None)
}

/// The parts of a morning, in a line.
fn parts(morning: &Morning) -> String {
    let new = morning.new.iter().map(|new| format!("new {:?} ({} changes)", new.what, new.changes.len()));
    let mended =
        morning.mended.iter().map(|of| format!("mended: {:?} since {}, {}", of.was, of.since, of.nights));
    let tolerated = morning.tolerated.iter().map(|of| format!("tolerated {}", of.nights));
    let stale = morning.stale.iter().map(|of| format!("{:?}", of.why));
    let broken = morning.broken.iter().map(|of| format!("broken since {}, {}", of.since, of.nights));
    let all: Vec<_> = new.chain(mended).chain(tolerated).chain(stale).chain(broken).collect();
    format!("{} exit {}: {}", morning.date, morning.exit, all.join("; "))
}

/// The mornings of nights in a row, as they would be remembered.
fn mornings(nights: &[(Story, &[KnownFailure])]) -> Vec<String> {
    let mut past = Past::default();
    let mut out = vec![];
    for ((story, known), day) in nights.iter().zip(1..) {
        let run = run(day, story, known);
        out.push(parts(&Morning::of(run.clone(), &past).unwrap()));
        let cell = &run.cells[0];
        if let (ResultClass::Fine, Some(report)) = (ResultClass::of(cell.verdict.as_ref()), &cell.report) {
            past.good.insert(cell.key.clone(), report.clone());
        }
        past.nights.insert(0, PastNight::of(&run).unwrap());
    }
    out
}

#[test]
fn a_regression_appears_stays_is_tolerated_expires_and_is_mended() {
    let (good, bad, known) = (story(NC_BLOCK), story(DEVICE_BLOCK), known().known);
    let nights: [(Story, &[KnownFailure]); 8] = [
        (good.clone(), &[]),
        (bad.clone(), &[]),
        (bad.clone(), &[]),
        (bad.clone(), &known),
        (bad.clone(), &known),
        (bad, &known),
        (good.clone(), &known),
        (good, &[]),
    ];
    insta::assert_snapshot!(mornings(&nights).join("\n"));
}

#[test]
fn a_tolerated_failure_that_changes_is_new() {
    let known = known().known;
    let panicked = story(NC_BLOCK).stopped(StopCause::Kernel);
    let nights: [(Story, &[KnownFailure]); 3] =
        [(story(DEVICE_BLOCK), &known), (panicked.clone(), &known), (panicked, &known)];
    insta::assert_snapshot!(mornings(&nights).join("\n"));
}

/// Another type is another failure. Other evidence is not, and neither are the times and addresses
/// with which a cell stops.
#[test]
fn equal_failures_have_equal_words() {
    let words = |story: Story, change: fn(&mut Finding)| {
        let mut cell = run(1, &story, &[]).cells.remove(0);
        let before = failure(&cell);
        cell.findings.iter_mut().for_each(change);
        (before.clone(), failure(&cell) == before)
    };
    let other_type = |finding: &mut Finding| finding.found = "Normal-WB".into();
    let (tables, stopped) = (|| story(DEVICE_BLOCK), || story(NC_BLOCK).stopped(StopCause::Kernel));
    let (text, same) = words(tables(), other_type);
    assert_eq!(text, "FAIL stage2 of nic at look stored, guest g0: Device-nGnRE instead of Normal-NC");
    assert!(!same);
    assert!(words(tables(), |finding| finding.detail.clear()).1);
    assert!(words(stopped(), other_type).1);
}

/// The history of an earlier s2lab has no failures of nights.
#[test]
fn a_failure_that_is_not_known_counts_as_the_same() {
    let bad = story(DEVICE_BLOCK);
    let mut before = PastNight::of(&run(1, &bad, &[])).unwrap();
    assert!(before.cells.values().all(|cell| cell.failure.is_some()));
    before.cells.values_mut().for_each(|cell| cell.failure = None);
    let past = Past { nights: vec![before], ..Past::default() };
    insta::assert_snapshot!(
        parts(&Morning::of(run(2, &bad, &[]), &past).unwrap()),
        @"2026-11-02 exit 1: broken since 2026-11-01, 2"
    );
    let unread = Morning::of(run(2, &bad, &[]), &Past { unread: true, ..Past::default() }).unwrap();
    assert!(unread.unread && unread.before.is_none());
    insta::assert_snapshot!(parts(&unread), @"2026-11-02 exit 1: new Fails (0 changes)");
}

/// A night is good if everything is fine or tolerated, and its negative control works.
#[test]
fn the_last_good_night_has_a_working_control() {
    let night = |day, bar, known: &[KnownFailure]| run(day, &story(bar), known);
    let good = |run: &RunSummary| PastNight::of(run).unwrap().good;
    assert!(good(&night(1, NC_BLOCK, &[])));
    assert!(!good(&night(1, DEVICE_BLOCK, &[])));
    assert!(good(&night(1, DEVICE_BLOCK, &known().known)));
    assert!(!good(&RunSummary { cells: vec![], ..night(1, NC_BLOCK, &[]) }), "there is no cell");
    for (bar, works) in [(NC_BLOCK, true), (DEVICE_BLOCK, false)] {
        let mut run = night(1, NC_BLOCK, &[]);
        let cell = story(bar).cell.control().unwrap();
        run.cells.extend(self::run(1, &Story { cell, ..story(bar) }, &[]).cells);
        assert_eq!(good(&run), works);
        assert_eq!(PastNight::of(&run).unwrap().cells.len(), 1, "the control is no cell of the night");
    }
}

#[test]
fn a_failure_of_the_lab_is_never_tolerated() {
    let known = known().known;
    let (good, lost) = (story(NC_BLOCK), story(NC_BLOCK).stopped(StopCause::Lab));
    let nights: [(Story, &[KnownFailure]); 4] =
        [(good.clone(), &[]), (lost.clone(), &known), (lost, &known), (good, &[])];
    insta::assert_snapshot!(mornings(&nights).join("\n"));
}

#[test]
fn a_cell_that_passes_with_another_report_is_new_once() {
    let good = story(NC_BLOCK);
    let other = changed();
    let nights: [(Story, &[KnownFailure]); 3] = [(good, &[]), (other.clone(), &[]), (other, &[])];
    insta::assert_snapshot!(mornings(&nights).join("\n"));
}

/// What a person must see first comes first, whatever the order of the cells.
#[test]
fn the_worst_of_what_is_new_comes_first() {
    let named =
        |run: RunSummary, key: &str| CellSummary { key: key.parse().unwrap(), ..run.cells[0].clone() };
    let keys = ["a@test", "b@test"];
    let good = run(1, &story(NC_BLOCK), &[]);
    let before = RunSummary { cells: keys.map(|key| named(good.clone(), key)).into(), ..good };
    let reports = before.cells.iter().map(|cell| (cell.key.clone(), cell.report.clone().unwrap()));
    let past =
        Past { nights: vec![PastNight::of(&before).unwrap()], good: reports.collect(), ..Past::default() };
    let changed = named(run(2, &changed(), &[]), keys[0]);
    let fails = named(run(2, &story(DEVICE_BLOCK), &[]), keys[1]);
    let night = RunSummary { cells: vec![changed, fails], ..run(2, &story(DEVICE_BLOCK), &[]) };
    let morning = Morning::of(night, &past).unwrap();
    let new: Vec<_> = morning.new.iter().map(|new| (new.what, new.key.as_str())).collect();
    assert_eq!(new, [(Different::Fails, keys[1]), (Different::Changed, keys[0])]);
}

/// `lint` warns of an entry without a cell; of a night that has only some cells nothing follows.
#[test]
fn an_entry_without_a_cell_in_the_night_is_not_stale() {
    let stale = |known: Vec<KnownFailure>, story: &Story| {
        Morning::of(run(1, story, &known), &Past::default())
            .unwrap()
            .stale
            .iter()
            .map(|entry| entry.why)
            .collect::<Vec<_>>()
    };
    let other = KnownFailure { scenario: "other".into(), ..known().known[0].clone() };
    assert_eq!(stale(vec![other], &story(NC_BLOCK)), []);
    assert_eq!(stale(known().known, &story(NC_BLOCK)), [Stale::Passing]);
    assert_eq!(stale(known().known, &story(DEVICE_BLOCK)), []);
}

/// A kernel may choose the sizes of pages, and nothing else.
#[test]
fn pages_of_other_sizes_alone_are_not_new() {
    let good = run(1, &story(NC_BLOCK), &[]);
    let key = good.cells[0].key.clone();
    let report = good.cells[0].report.clone().unwrap();
    let past = Past {
        nights: vec![PastNight::of(&good).unwrap()],
        good: [(key.clone(), report)].into(),
        ..Past::default()
    };
    let other_sizes = |story: &Story| {
        let mut run = run(2, story, &[]);
        run.cells[0].report.as_mut().unwrap().shape.lines.clear();
        Morning::of(run, &past).unwrap()
    };
    let alone = other_sizes(&story(NC_BLOCK));
    assert_eq!((alone.shapes.as_slice(), alone.new.len(), alone.exit), (&[key][..], 0, 0));
    let more = other_sizes(&changed());
    assert_eq!((more.shapes.len(), more.exit), (0, 5));
    assert_eq!(more.new.iter().map(|new| new.what).collect::<Vec<_>>(), [Different::Changed]);
}

#[test]
fn kernels_that_moved_and_cells_that_are_gone_are_named() {
    let mut before = PastNight::of(&run(1, &story(NC_BLOCK), &[])).unwrap();
    let mut cell = before.cells.values().next().unwrap().clone();
    cell.release = Some("6.12.90".into());
    before.cells.values_mut().for_each(|known| *known = cell.clone());
    before.cells.insert("other@gone".parse().unwrap(), cell);
    let mut earlier = PastNight { date: "2026-10-31".parse().unwrap(), ..before.clone() };
    earlier.cells.values_mut().for_each(|cell| cell.release = Some("6.12.80".into()));
    let past = Past { nights: vec![before, earlier], ..Past::default() };
    let morning = Morning::of(run(2, &story(NC_BLOCK), &[]), &past).unwrap();
    let moved = Moved { what: "test".into(), from: "6.12.90".into(), to: "6.12.95".into() };
    assert_eq!((morning.moved, morning.gone), (vec![moved], vec!["other@gone".parse().unwrap()]));
    assert_eq!((morning.before, morning.last_good), (morning.last_good, Some("2026-11-01".parse().unwrap())));
    let with_qemu = |version: &str| {
        let mut run = run(2, &story(NC_BLOCK), &[]);
        let fact = format!("{version} (package 1:{version}+ds-1 sha256:aa)");
        run.cells[0].environment.variable.insert(environment::QEMU.into(), fact);
        run.cells[0].key = "vfio-pci-bar@test+qemu=newest".parse().unwrap();
        run
    };
    let past = Past { nights: vec![PastNight::of(&with_qemu("11.1.3")).unwrap()], ..Past::default() };
    let morning = Morning::of(with_qemu("11.1.4"), &past).unwrap();
    let moved = Moved { what: "newest QEMU".into(), from: "11.1.3".into(), to: "11.1.4".into() };
    assert_eq!((morning.moved, &*morning.qemus["newest"]), (vec![moved], "11.1.4"));
    let no_night = RunSummary::of(&story(NC_BLOCK).run(), Path::new("x"), |_| PathBuf::new(), None);
    assert_eq!(Morning::of(no_night, &Past::default()), None);
}

#[test]
fn the_exit_code_counts_what_is_tolerated_as_a_pass() {
    let (bad, known) = (story(DEVICE_BLOCK), known().known);
    let exits = |day| run(day, &bad, &known).exit;
    assert_eq!([exits(4), exits(5), exits(6)], [0, 0, 1], "the last day of the entry is 5");
    assert_eq!(run(5, &bad, &known).cells[0].tolerated.as_ref(), known.first());
    assert_eq!(run(6, &bad, &known).cells[0].tolerated, None);
}

#[test]
fn a_control_passes_because_its_expectations_are_unmet() {
    let control = |story: Story| {
        let cell = story.cell.control().unwrap();
        Story { cell, ..story }
    };
    let log: String = control(story(NC_BLOCK))
        .lines()
        .iter()
        .map(|line| serde_json::to_string(line).unwrap() + "\n")
        .collect();
    assert!(Run::read(&log).is_ok(), "{:?}", Run::read(&log).err());
    // Only a control may be inverted.
    assert!(Run::read(&log.replace("+control=inverted", "+control=other")).is_err());
    // The whole story of the cell is that of a kernel with the series.
    let run = |story: Story| run(1, &control(story), &known().known);
    let works = run(story(NC_BLOCK));
    assert_eq!((works.exit, works.cells[0].control), (0, true));
    assert_eq!(works.cells[0].verdict.as_ref().unwrap().to_string(), "PASS as negative control");
    let met = run(story(DEVICE_BLOCK));
    assert_eq!(
        (met.exit, met.cells[0].verdict.as_ref(), met.cells[0].tolerated.as_ref()),
        (3, Some(&Verdict::Miss), None)
    );
    let lead = met.cells[0].lead().unwrap();
    assert_eq!(
        (lead.weight, &*lead.what, &*lead.expected, &*lead.found),
        (
            Weight::Doubt,
            "negative control: stage2 of nic at look stored",
            "anything but Device-nGnRE",
            "Device-nGnRE"
        )
    );
    let no_result = run(story(NC_BLOCK).stopped(StopCause::Kernel));
    let result = |run: RunSummary| Morning::of(run, &Past::default()).unwrap().controls[0].1;
    assert_eq!([works, met, no_result].map(result), [Control::Works, Control::Met, Control::NoResult]);
}

/// A check that was not made must not be silent.
#[test]
fn a_control_without_a_result_is_a_failure_of_the_lab() {
    let exit = |verdict: Verdict, of: fn(&mut RunSummary)| {
        let mut night = run(1, &story(NC_BLOCK), &[]);
        let control = CellSummary {
            key: "a@test+control=inverted".parse().unwrap(),
            control: true,
            verdict: Some(verdict),
            ..night.cells[0].clone()
        };
        night.cells.push(control);
        of(&mut night);
        Morning::of(night, &Past::default()).unwrap().exit
    };
    let skip = || Verdict::Skip("QEMU is too old".into());
    assert_eq!(exit(Verdict::PASS, |_| ()), 0);
    assert_eq!(exit(skip(), |_| ()), 3);
    assert_eq!(exit(skip(), |night| night.exit = 4), 3);
    // A failure of the kernel, and a signal, come first.
    assert_eq!(exit(skip(), |night| night.exit = 1), 1);
    assert_eq!(exit(skip(), |night| night.exit = 130), 130);
}

#[test]
fn a_control_inverts_the_types_of_devices_alone() {
    let of = |story: Story| story.cell.control().unwrap();
    let expected = |cell: &PlannedCell| {
        let expect = cell.resolved.expect.iter();
        expect
            .map(|e| format!("{:?} {} {}", e.at, e.of, e.stage2.unwrap().name()))
            .collect::<Vec<_>>()
            .join("; ")
    };
    let (before, after) = (of(Story::before()), of(Story::after()));
    assert_eq!(expected(&before), "[\"stored\", \"again\"] nic Normal-NC");
    assert_eq!(expected(&after), "[\"stored\", \"again\"] nic Device-nGnRE");
    assert_eq!(before.repeat, ["run", "vfio-pci-bar@test+control=inverted"]);
    assert_eq!((before.control(), Story::after().undeclared().cell.control()), (None, None));
    // The one that a lab meets that always sees Normal-NC.
    let cells = [Story::after().cell, Story::before().cell];
    assert_eq!(crate::plan::controls(&cells), [before]);
    assert_eq!(crate::plan::controls(&cells[..1]), [after]);
    let mut nothing = Story::after().cell;
    nothing.resolved.expect.retain(|expectation| expectation.of == "ram");
    assert_eq!(crate::plan::controls(&[nothing]), []);
}

/// Each QEMU is another way to read the tables.
#[test]
fn each_qemu_of_a_night_has_a_control() {
    let newest = |cell: PlannedCell| PlannedCell {
        key: Key::of(cell.key.scenario(), cell.key.kernel(), [("qemu", "newest")]).unwrap(),
        ..cell
    };
    let cells = [newest(Story::before().cell), Story::after().cell, newest(Story::after().cell)];
    let keys: Vec<_> = crate::plan::controls(&cells).iter().map(|control| control.key.to_string()).collect();
    assert_eq!(
        keys,
        ["vfio-pci-bar@test+control=inverted", "vfio-pci-bar@test+control=inverted+qemu=newest"]
    );
}

#[test]
fn a_seed_orders_two_cells_alike_in_every_run() {
    let cell = |n: usize| PlannedCell { key: format!("a@k{n}").parse().unwrap(), ..Story::after().cell };
    let order = |cells: Vec<PlannedCell>, seed| {
        let keys = shuffled(cells, seed).into_iter().map(|cell| cell.key.to_string());
        keys.collect::<Vec<_>>()
    };
    let all = || (0..9).map(cell).collect::<Vec<_>>();
    let first = order(all(), 7);
    assert_eq!(first, order(all().into_iter().rev().collect(), 7));
    assert_ne!(first, order(all(), 8));
    let some = order([3, 1, 8].map(cell).into(), 7);
    assert_eq!(first.into_iter().filter(|key| some.contains(key)).collect::<Vec<_>>(), some);
}

#[test]
fn known_failures_read_back() {
    let known = known();
    let text = serde_yaml::to_string(&known).unwrap();
    assert_eq!(load("x", &text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}")), known);
    let entry = &known.known[0];
    assert!(entry.is_for(&"vfio-pci-bar@test+qemu=newest".parse().unwrap()));
    for other in ["vfio-pci-bar@debian-6.1", "ram@test", "vfio-pci-bar@test+control=inverted"] {
        assert!(!entry.is_for(&other.parse().unwrap()), "{other}");
    }
}

#[test]
fn all_mistakes_at_once() {
    let text = "known:
  - {scenario: Bar, kernel: '', reason: '', link: example.org/1, who: 5, until: 2026-02-29}
  - {scenario: a, kernel: b, reason: x, link: 'https://a b', who: x, until: tomorrow, untill: 1}
  - {scenario: a, kernel: b, reason: x, who: x, until: 2026-02-28}
  - {scenario: a, kernel: c, reason: x, who: x}
more: 1
";
    insta::assert_snapshot!(load("known.yaml", text).unwrap_err());
}

#[test]
fn an_entry_without_a_cell_is_a_warning() {
    let text = "known:
  - {scenario: vfio-pci-baar, kernel: debian-6.1, reason: x, who: x, until: 2026-12-01}
  - {scenario: vfio-*, kernel: debian-6.12, reason: x, who: x, until: 2026-12-01}
  - {scenario: vfio-pci-bar, kernel: debian-*, reason: x, who: x, until: 2026-12-01}
";
    let cells = keys(&["vfio-pci-bar@debian-6.1", "ram@debian-6.12"]);
    let found: Vec<_> = unmatched("known.yaml", text, &cells).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(found.join("\n"));
}
