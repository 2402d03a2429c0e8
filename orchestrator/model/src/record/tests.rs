use super::{LogError, Run, fold::Fold, lines, look::decode};
use crate::cell::ResolvedCell;
use crate::event::{CellEnd, Event, Line, Place, PlannedCell, Stage, StopCause};
use crate::judge::fixture::{KEY, SESSION, Story, elsewhere};
use crate::kernel::Traits;
use crate::plan::{Key, MOST_CELLS};
use crate::steps::{AfterReset, Look, Observation, Probed, Reset, Stored, VmaFlags};
use proptest::prelude::*;

mod golden;

fn fold(change: impl FnOnce(&mut Vec<Line>)) -> Result<Run, LogError> {
    let mut lines = Story::after().lines();
    change(&mut lines);
    Run::fold(lines)
}

/// Folds like [`fold`], with the numbers corrected after the change.
fn renumbered(change: impl FnOnce(&mut Vec<Line>)) -> Result<Run, LogError> {
    fold(|lines| {
        change(lines);
        lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
    })
}

fn at(lines: &[Line], what: impl Fn(&Event) -> bool) -> usize {
    lines.iter().position(|line| what(&line.event)).unwrap()
}

#[test]
fn a_log_folds_to_its_cells() {
    let run = fold(|_| {}).unwrap();
    assert!(run.ended && run.interrupted.is_none());
    let record = &run.cells[0].attempts[0];
    assert_eq!(
        (
            record.all::<Stored>().count(),
            record.all::<Look>().count(),
            record.all::<Probed>().count(),
            record.all::<VmaFlags>().count()
        ),
        (3, 2, 1, 2)
    );
    assert_eq!((record.all::<Reset>().count(), record.all::<AfterReset>().count()), (1, 1));
    assert_eq!(record.session.around.bar("nic").unwrap().index, 2, "not the one that is not prefetchable");
    assert_eq!(record.elapsed_ms(), Some(270));
    let stage = &record.stages[0];
    assert_eq!((stage.started_ms, stage.ended_ms), (40, Some(120)));
    assert_eq!(record.environment().blocking["page size"], "4096");
    assert_eq!(record.environment().variable["kernel"], "6.12.95");
    assert_eq!(record.environment().variable["guest kernel"], "6.12.90-cloud");
}

#[test]
fn what_is_no_log_is_refused() {
    let key = || KEY.parse().unwrap();
    let other = || Some("other@test".parse().unwrap());
    assert_eq!(Run::fold([]), Err(LogError::Empty));
    let major = |l: &mut Vec<Line>| l[3].v.major = 3;
    assert_eq!(
        fold(major),
        Err(LogError::Version { seq: 3, found: format!("3.{}", crate::event::LOG_VERSION.minor) })
    );
    assert_eq!(fold(|l| drop(l.remove(3))), Err(LogError::Gap { expected: 3, found: 4 }));
    assert_eq!(fold(|l| l.swap(3, 4)), Err(LogError::Gap { expected: 3, found: 4 }));
    assert_eq!(fold(|l| drop(l.remove(0))), Err(LogError::Gap { expected: 0, found: 1 }));
    assert_eq!(renumbered(|l| drop(l.remove(0))), Err(LogError::NoPlan));
    assert_eq!(renumbered(|l| l[0].cell = other()), Err(LogError::NoPlan));
    assert_eq!(renumbered(|l| l[3] = l[0].clone()), Err(LogError::SecondPlan { seq: 3 }));
    let unplanned = LogError::Unplanned { seq: 4, key: "other@test".parse().unwrap() };
    assert_eq!(fold(|l| l[4].cell = other()), Err(unplanned));
    let last = Story::after().lines().len() - 1;
    let scope = |seq: usize, scope| Err(LogError::Scope { seq: seq as u64, scope });
    assert_eq!(fold(|l| l[4].cell = None), scope(4, "cell"));
    assert_eq!(fold(|l| l[4].session = Some(SESSION)), scope(4, "cell"));
    assert_eq!(fold(|l| l[3].session = None), scope(3, "session"));
    assert_eq!(fold(|l| l[3].cell = Some(key())), scope(3, "session"));
    assert_eq!(fold(|l| l[last].cell = Some(key())), scope(last, "run"));
    assert_eq!(fold(|l| l[last].session = Some(SESSION)), scope(last, "run"));
    assert_eq!(renumbered(|l| l.push(l[3].clone())), Err(LogError::AfterEnd { seq: last as u64 + 1 }));
    let twice = |l: &mut Vec<Line>| {
        if let Event::Plan(plan) = &mut l[0].event {
            plan.cells.push(plan.cells[0].clone());
        }
    };
    assert_eq!(fold(twice), Err(LogError::TwicePlanned { key: key() }));
}

#[test]
fn a_plan_that_no_run_can_have_is_refused_before_its_scenarios_are_looked_at() {
    let mut first = Story::after().lines().remove(0);
    if let Event::Plan(plan) = &mut first.event {
        let cell = PlannedCell {
            resolved: ResolvedCell { steps: vec![], ..plan.cells[0].resolved.clone() },
            ..plan.cells[0].clone()
        };
        plan.cells = vec![cell; MOST_CELLS + 1];
    }
    let refused = Fold::default().text(&serde_json::to_string(&first).unwrap());
    assert_eq!(refused, Err(LogError::TooManyCells { count: MOST_CELLS + 1 }));
}

#[test]
fn events_out_of_place_are_refused() {
    let why = |change: &dyn Fn(&mut Vec<Line>)| match renumbered(change) {
        Err(LogError::OutOfPlace { why, .. } | LogError::Session { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let double = |what: fn(&Event) -> bool| {
        why(&move |l: &mut Vec<Line>| {
            let at = at(l, what);
            l.insert(at, l[at].clone());
        })
    };
    assert_eq!(double(|e| matches!(e, Event::CellStarted { .. })), "is started while it runs");
    assert_eq!(double(|e| matches!(e, Event::CellEnded { .. })), "is not running");
    assert_eq!(double(|e| matches!(e, Event::HostUp { .. })), "has a host that came up twice");
    assert_eq!(double(|e| matches!(e, Event::GuestUp { .. })), "has a guest that came up twice");
    assert_eq!(double(|e| matches!(e, Event::DeviceBound(_))), "has a device that was bound twice");
    assert_eq!(double(|e| matches!(e, Event::BarPlaced { .. })), "has a BAR that was placed twice");
    let no_start = |l: &mut Vec<Line>| l.retain(|line| !matches!(line.event, Event::StageStarted { .. }));
    assert_eq!(why(&no_start), "ends a stage that was not begun");
    assert_eq!(why(&|l| drop(l.remove(2))), "is not running");
    assert_eq!(why(&|l| drop(l.remove(1))), "is started in a session that is not open");
    assert_eq!(why(&|l| drop(l.drain(1..3))), "was not started");
    assert_eq!(double(|e| matches!(e, Event::SessionStarted)), "was started before");
    assert_eq!(double(|e| matches!(e, Event::SessionEnded)), "has ended before");
    let ram = |l: &mut Vec<Line>| {
        let at = at(l, |e| matches!(e, Event::HostRam { .. }));
        l[at].event = Event::HostRam { start: u64::MAX, size: 2 };
    };
    assert_eq!(why(&ram), "has RAM beyond the address space");
}

#[test]
fn a_log_as_text_may_be_torn_in_its_last_line_only() {
    let all = Story::after().lines();
    let text: String = all.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    assert_eq!(lines(&text), Ok(all.clone()));
    assert_eq!(lines(&text[..text.len() - 1]).unwrap().len(), all.len() - 1);
    let damaged = text.replacen("\"event\"", "\"evnt\"", 1);
    assert!(matches!(lines(&damaged), Err(LogError::Json { at: 0, .. })));
}

#[test]
fn the_documents_examples_are_what_they_say() {
    let text = include_str!("../../../../docs/formats.md");
    let examples: Vec<_> =
        text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 3, "{examples:?}");
    let values = examples.iter().flat_map(|example| {
        serde_json::Deserializer::from_str(example).into_iter::<serde_json::Value>().map(Result::unwrap)
    });
    for value in values {
        if value.get("v").is_some() {
            serde_json::from_value::<Line>(value).unwrap();
        } else if value.get("version").is_some() {
            serde_json::from_value::<s2lab_protocol::Frame>(value).unwrap();
        } else {
            // The event is shortened: it must have its keys.
            let whole = Story::after()
                .events
                .into_iter()
                .find(|e| matches!(e, Event::Observed { data: Observation::Look(_), .. }))
                .unwrap();
            let whole = serde_json::to_value(whole).unwrap();
            for (key, _) in value["look"].as_object().unwrap() {
                assert!(whole["observed"]["data"]["look"].get(key).is_some(), "{key}");
            }
        }
    }
}

#[test]
fn guests_with_kernels_of_their_own_have_facts_of_their_own() {
    let second =
        Event::GuestUp { guest: "g1".into(), release: "6.1.0".into(), page_size: 4096, taint: Some(0) };
    let attempt = Story::after().and(second).attempt();
    let facts = attempt.record.environment().variable;
    assert_eq!(
        (facts["guest kernel g0"].as_str(), facts["guest kernel g1"].as_str()),
        ("6.12.90-cloud", "6.1.0")
    );
    assert!(!facts.contains_key("guest kernel"));
}

fn bit_flips() -> impl Strategy<Value = (usize, usize, u8)> {
    (0usize..64, 0usize..4096, 0u8..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_cut_at_any_byte_never_passes(cut: prop::sample::Index) {
        let story = Story::after();
        let text: String = story.lines().iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let end = text.find("cell-ended").unwrap();
        match Run::read(&text[..cut.index(end)]) {
            Err(error) => prop_assert_eq!(error, LogError::Empty),
            Ok(run) => {
                let judged = crate::judge::judge_run(run, &|d: &str| story.pages.get(d).cloned());
                prop_assert_eq!(&judged.cells[0].verdict, &Some(crate::verdict::Verdict::Lost));
            }
        }
    }

    #[test]
    fn a_log_that_stops_early_never_passes(keep in 0usize..20, declared: bool) {
        let mut story = Story::after();
        if !declared {
            story.cell.resolved.traits = Traits::AtLeast([].into());
        }
        let mut lines = story.lines();
        let end = at(&lines, |e| matches!(e, Event::CellEnded { .. }));
        lines.truncate(keep.min(end));
        match Run::fold(lines) {
            Err(error) => prop_assert_eq!((keep, error), (0, LogError::Empty)),
            Ok(run) => {
                let judged = crate::judge::judge_run(run, &|d: &str| story.pages.get(d).cloned());
                prop_assert_eq!(&judged.cells[0].verdict, &Some(crate::verdict::Verdict::Lost));
                prop_assert_eq!(judged.exit, 3);
            }
        }
    }

    #[test]
    fn a_log_that_lacks_an_observation_never_passes(out in 0usize..32) {
        let mut story = Story::after();
        let out = out % story.events.len();
        // Events that only name or time something may be missing: the environment, stages, one of
        // two readings of smaps. The host's own final record counts for no cell.
        let needed = !matches!(
            story.events[out],
            Event::SessionEnded | Event::HostDown { .. } | Event::Environment { .. } | Event::StageStarted { .. } | Event::StageEnded { .. } | Event::Observed { data: Observation::VmaFlags(_), .. }
        );
        story.events.remove(out);
        let mut lines = story.lines();
        lines.retain(|line| !matches!(line.event, Event::StageEnded { .. }));
        lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
        if let Ok(run) = Run::fold(lines) {
            let judged = crate::judge::judge_run(run, &|d: &str| story.pages.get(d).cloned());
            let passed = judged.cells[0].verdict.as_ref().is_some_and(|v| v.passed());
            prop_assert_eq!(passed, !needed, "without event {}", out);
        }
    }

    #[test]
    fn hostile_tables_and_registers_never_panic(
        flips in proptest::collection::vec(bit_flips(), 1..40),
        register in 0usize..7,
        value: u64,
        hostile_register: bool,
        va: u64,
        hostile_va: bool,
    ) {
        let mut story = Story::after();
        let mut pages: Vec<Vec<u8>> = story.pages.values().cloned().collect();
        for (page, byte, bit) in flips {
            let page = page % pages.len();
            pages[page][byte] ^= 1 << bit;
        }
        let renamed: Vec<(String, String)> =
            story.pages.keys().cloned().zip(pages.iter().map(|page| crate::hash::digest(page))).collect();
        for event in &mut story.events {
            let Event::Observed { data: Observation::Look(look), .. } = event else { continue };
            for digest in look.pages.values_mut() {
                *digest = renamed.iter().find(|(old, _)| old == digest).unwrap().1.clone();
            }
            if hostile_register {
                *look.registers.values_mut().nth(register).unwrap() = value;
            }
            if hostile_va {
                look.mappings[0].va = va;
            }
        }
        story.pages = renamed.into_iter().map(|(_, new)| new).zip(pages).collect();
        let run = Run::fold(story.lines()).unwrap();
        decode(&run.cells[0].attempts[0], &|d: &str| story.pages.get(d).cloned());
        let report = story.report();
        prop_assert_eq!(crate::report::Report::parse(&report.text()), Ok(report));
    }
}

#[test]
fn a_cell_that_is_not_run_has_nothing_else() {
    let story = Story::after();
    let lines = |events: &[Event]| {
        let all = story.lines();
        let mut lines = vec![all[0].clone()];
        lines.extend(events.iter().map(|event| Line { event: event.clone(), ..all[2].clone() }));
        lines.push(all.last().unwrap().clone());
        (0..).zip(lines).map(|(seq, line)| Line { seq, ..line }).collect::<Vec<_>>()
    };
    let not_run = || Event::NotRun { why: "because".into() };
    let run = Run::fold(lines(&[not_run()])).unwrap();
    assert_eq!((run.cells[0].not_run.as_deref(), run.cells[0].attempts.len()), (Some("because"), 0));
    let end = || Event::CellEnded { end: crate::event::CellEnd::Complete };
    for events in [
        vec![not_run(), not_run()],
        vec![not_run(), Event::CellStarted { session: None, place: None }],
        vec![Event::CellStarted { session: None, place: None }, not_run()],
        vec![Event::CellStarted { session: None, place: None }, end(), not_run()],
    ] {
        let folded = Run::fold(lines(&events));
        assert!(matches!(folded, Err(LogError::OutOfPlace { .. })), "{events:?}: {folded:?}");
    }
}

/// Logs that are older than the key do not have attempts, and neither do those of one attempt.
#[test]
fn a_plan_of_one_attempt_is_as_before() {
    let mut plan = Run::fold(Story::after().lines()).unwrap().plan;
    let text = serde_json::to_string(&plan).unwrap();
    assert!(!text.contains("attempts"), "{text}");
    assert_eq!(serde_json::from_str::<crate::event::Plan>(&text).unwrap(), plan);
    plan.attempts = crate::event::Attempts::Retry(2);
    let text = serde_json::to_string(&plan).unwrap();
    assert!(text.contains(r#""attempts":{"retry":2}"#), "{text}");
    assert_eq!(serde_json::from_str::<crate::event::Plan>(&text).unwrap(), plan);
}

/// The log of two cells of one boot of a host, one after the other, and the place of the line that
/// ends the first.
fn two_of_a_session() -> (Story, [Key; 2], Vec<Line>, usize) {
    let story = Story::after();
    let one = story.lines();
    let keys: [Key; 2] = [KEY.parse().unwrap(), "other@test".parse().unwrap()];
    let mut lines = one.clone();
    if let Event::Plan(plan) = &mut lines[0].event {
        let cell = PlannedCell { key: keys[1].clone(), ..plan.cells[0].clone() };
        plan.cells.push(cell);
    }
    let end = at(&one, |event| matches!(event, Event::CellEnded { .. }));
    let of_cell: Vec<_> = one.iter().filter(|line| line.cell.is_some()).cloned().collect();
    let mut second: Vec<_> = elsewhere(&of_cell, &keys[1], SESSION).collect();
    second[0].event = Event::CellStarted {
        session: Some(SESSION),
        place: Some(Place { before: 1, after: Some(keys[0].clone()) }),
    };
    // The host's final record is the last of the second cell.
    let down = at(&one, |event| matches!(event, Event::HostDown { .. }));
    second.insert(second.len() - 1, one[down].clone());
    lines.splice(end + 1..end + 1, second);
    lines.remove(down);
    lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
    (story, keys, lines, end - 1)
}

#[test]
fn cells_that_share_a_session_each_have_a_final_record() {
    let (story, keys, lines, first_end) = two_of_a_session();
    let pages = |digest: &str| story.pages.get(digest).cloned();
    let judged = |lines: &[Line]| crate::judge::judge_run(Run::fold(lines.to_vec()).unwrap(), &pages);
    let run = judged(&lines);
    assert!(run.cells.iter().all(|cell| cell.verdict.as_ref().is_some_and(|verdict| verdict.passed())));
    let records: Vec<_> = run.cells.iter().map(|cell| &cell.attempts[0].record).collect();
    assert_eq!(records[0].session, records[1].session);
    let place = |record: &super::Record| record.environment().variable["session"].clone();
    assert_eq!(place(records[0]), "boot 2, its first cell");
    assert_eq!(place(records[1]), format!("boot 2, its cell 2, after {KEY}"));
    // The first is judged as soon as it has ended, with the result of the whole log.
    let mut live = crate::judge::LiveRun::default();
    for (at, line) in lines.iter().enumerate() {
        live.line(&serde_json::to_string(line).unwrap()).unwrap();
        assert_eq!(live.attempts(&keys[0], &pages).len(), usize::from(at >= first_end), "line {at}");
    }
    assert_eq!(live.finish(&pages).unwrap(), run);
    // Wherever the log stops after that, the first cell is whole.
    for end in first_end + 1..lines.len() {
        let torn = judged(&lines[..end]);
        assert_eq!(torn.cells[0].attempts, run.cells[0].attempts, "{end} lines");
    }
    let torn = judged(&lines[..first_end + 2]);
    assert_eq!(torn.cells[1].verdict, Some(crate::verdict::Verdict::Lost));
    // A log of the second alone has its place.
    let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    let alone = Run::read(&super::only(&text, &keys[1]).unwrap()).unwrap();
    assert_eq!(alone.cells, [Run::read(&text).unwrap().cells[1].clone()]);
}

/// The final record of the host, or that of another cell, is none of a cell's.
#[test]
fn a_cell_without_its_own_final_record_does_not_pass() {
    let (story, keys, lines, _) = two_of_a_session();
    for (at, key) in keys.iter().enumerate() {
        let is_record =
            |line: &Line| line.cell.as_ref() == Some(key) && matches!(line.event, Event::CellRecord { .. });
        let mut without = lines.clone();
        without.retain(|line| !is_record(line));
        without.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
        let run =
            crate::judge::judge_run(Run::fold(without).unwrap(), &|d: &str| story.pages.get(d).cloned());
        let passed: Vec<_> =
            run.cells.iter().map(|cell| cell.verdict.as_ref().is_some_and(|v| v.passed())).collect();
        assert_eq!(passed, [at != 0, at != 1]);
    }
}

/// The record of a cell does not change by what a later cell of the session does to the host.
#[test]
fn a_taint_counts_for_the_cell_that_found_it() {
    let (story, keys, mut lines, _) = two_of_a_session();
    for line in &mut lines {
        match &mut line.event {
            Event::CellRecord { taint, .. } if line.cell.as_ref() == Some(&keys[1]) => *taint = Some(512),
            Event::HostDown { taint, .. } => *taint = Some(512),
            _ => {}
        }
    }
    let run = crate::judge::judge_run(Run::fold(lines).unwrap(), &|d: &str| story.pages.get(d).cloned());
    let verdicts: Vec<_> = run.cells.iter().map(|cell| cell.verdict.as_ref().unwrap().name()).collect();
    assert_eq!(verdicts, ["PASS", "FAIL"]);
}

/// Alone, such a cell has no booted host.
#[test]
fn a_cell_that_ends_in_preflight_has_no_facts_of_a_host_that_another_cell_booted() {
    let (_, keys, mut lines, _) = two_of_a_session();
    let facts = |lines: &[Line]| {
        let run = Run::fold(lines.to_vec()).unwrap();
        let facts = run.cells[1].attempts[0].environment();
        let host = ["host mode", "page size"].map(|fact| facts.blocking.contains_key(fact));
        (host, facts.blocking.contains_key("accelerator"), facts.variable.contains_key("kernel"))
    };
    for line in &mut lines {
        if let Event::Environment { blocking, .. } = &mut line.event {
            blocking.insert("host mode".into(), "vhe".into());
        }
    }
    assert_eq!(facts(&lines), ([true; 2], true, true));
    lines.retain(|line| {
        let is_second = line.cell.as_ref() == Some(&keys[1]);
        !is_second || matches!(line.event, Event::CellStarted { .. } | Event::CellEnded { .. })
    });
    lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
    let ended_in = |lines: &mut [Line], stage, cause| {
        for line in lines.iter_mut().filter(|line| line.cell.as_ref() == Some(&keys[1])) {
            if let Event::CellEnded { end } = &mut line.event {
                *end = CellEnd::Stopped { stage, cause, what: "no module".into(), hint: None };
            }
        }
    };
    for stage in [Stage::Prepare, Stage::Preflight] {
        ended_in(&mut lines, stage, StopCause::Lacking);
        assert_eq!(facts(&lines), ([false; 2], true, false));
    }
    // The host was at fault, or the cell needed it.
    for (stage, cause) in [(Stage::Prepare, StopCause::Kernel), (Stage::Bind, StopCause::Lacking)] {
        ended_in(&mut lines, stage, cause);
        assert_eq!(facts(&lines), ([true; 2], true, true));
    }
}

/// Before version 2.4 the devices of a session were bound once, and one final record was that of all
/// cells.
#[test]
fn a_session_of_an_older_log_binds_the_devices() {
    let older = |change: &dyn Fn(&mut Line)| {
        fold(|lines| {
            lines.retain(|line| !matches!(line.event, Event::CellRecord { .. }));
            for (line, seq) in lines.iter_mut().zip(0..) {
                line.seq = seq;
                line.v.minor = 3;
                if let Event::CellStarted { place, .. } = &mut line.event {
                    *place = None;
                }
                if matches!(line.event, Event::DeviceBound(_) | Event::BarPlaced { .. }) {
                    (line.session, line.cell) = (Some(SESSION), None);
                }
                change(line);
            }
        })
    };
    let run = older(&|_| ()).unwrap();
    let record = &run.cells[0].attempts[0];
    assert!(record.session.around.bar("nic").is_some() && record.session.final_taint == Some(Some(0)));
    assert!(!record.environment().variable.contains_key("session"));
    let younger = older(&|line| line.v.minor = 4);
    assert!(matches!(younger, Err(LogError::Scope { .. })), "{younger:?}");
}
