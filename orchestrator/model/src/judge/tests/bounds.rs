//! The work of a judgement is bounded, whatever the size of a log.

use crate::cell::ResolvedCell;
use crate::event::{AlarmClass, Event};
use crate::judge::fixture::{Pages, Story};
use crate::judge::{JudgedRun, MOST_FINDINGS, judge_run};
use crate::record::{LogError, Run};
use crate::report::{LONGEST, Report};
use crate::scenario::{MAX_EXPECTATIONS, MAX_STEPS};
use crate::steps::{Observation, Stored};
use crate::verdict::Verdict;
use std::cell::Cell;

fn text(story: &Story) -> String {
    story.lines().iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
}

/// Returns the run, and the number of requested pages.
fn asked(story: &Story) -> (JudgedRun, usize) {
    let asked = Cell::new(0);
    let pages = |digest: &str| {
        asked.set(asked.get() + 1);
        story.pages.get(digest).cloned()
    };
    let run = judge_run(Run::fold(story.lines()).unwrap(), &pages);
    (run, asked.get())
}

fn found(story: &Story) -> String {
    let attempt = story.attempt();
    assert_eq!(attempt.judgement.verdict, Some(Verdict::Miss));
    attempt.judgement.findings.iter().map(|finding| format!("{}\n", finding.found)).collect()
}

#[test]
fn a_plan_that_lint_would_refuse_is_no_plan() {
    let read = |change: &dyn Fn(&mut ResolvedCell)| {
        let mut story = Story::after();
        change(&mut story.cell.resolved);
        match Run::read(&text(&story)) {
            Err(LogError::Cell { key, why }) if key == story.cell.key => Err(why),
            Err(other) => panic!("{other}"),
            Ok(_) => Ok(()),
        }
    };
    assert_eq!(read(&|_| ()), Ok(()));
    let many = |most| Err(format!("at most {most} may be here, there are {}", most + 1));
    let steps =
        |n| move |s: &mut ResolvedCell| s.steps.splice(0..0, vec![s.steps[0].clone(); n]).for_each(drop);
    assert_eq!(read(&steps(MAX_STEPS + 1 - 6)), many(MAX_STEPS));
    let expect = |n| move |s: &mut ResolvedCell| s.expect.extend(vec![s.expect[0].clone(); n]);
    assert_eq!(read(&expect(MAX_EXPECTATIONS + 1 - 7)), many(MAX_EXPECTATIONS));
    assert_eq!(read(&expect(MAX_EXPECTATIONS - 7)), Ok(()));
    assert!(read(&|s| s.guests.clear()).is_err() && read(&|s| s.host.memory.0 = 1 << 50).is_err());
}

#[test]
fn a_look_that_no_step_asks_for_is_not_decoded() {
    let (_, once) = asked(&Story::after());
    let mut story = Story::after();
    let look = story
        .events
        .iter()
        .find(|e| matches!(e, Event::Observed { data: Observation::Look(_), .. }))
        .unwrap()
        .clone();
    let Event::Observed { data: Observation::Look(other), .. } = &look else { panic!("no look") };
    let other = crate::steps::Look { guest: "g9".into(), ..other.clone() };
    let other = Event::Observed { step: 1, data: Observation::Look(other) };
    for event in [&look, &look, &other] {
        story = story.and(event.clone());
    }
    let (run, pages) = asked(&story);
    assert_eq!((pages, &run.cells[0].verdict), (once, &Some(Verdict::Miss)));
    assert_eq!(found(&story).matches("no step asks for it").count(), 3, "{}", found(&story));
}

#[test]
fn a_page_of_a_look_is_read_once() {
    let (_, once) = asked(&Story::after());
    let mut story = Story::after();
    for event in &mut story.events {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            let digest = look.pages.values().next().unwrap().clone();
            // The pages are elsewhere in the host's RAM, where no table leads.
            look.pages.extend((0..1000).map(|n| (0x9000_0000 + n * 4096, digest.clone())));
        }
    }
    let (run, pages) = asked(&story);
    assert_eq!(pages, once);
    assert!(run.cells[0].verdict.as_ref().unwrap().passed());
}

#[test]
fn what_the_host_tells_of_is_few() {
    let bars = Story::after().edit(|event| {
        if let Event::DeviceBound(bound) = event {
            bound.bars.extend(vec![bound.bars[0]; 4000]);
        }
    });
    assert!(found(&bars).contains("4002 BARs of one device; there are at most 6"), "{}", found(&bars));
    let mappings = Story::after().edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            look.mappings = vec![look.mappings[0].clone(); 3000];
        }
    });
    assert!(found(&mappings).contains("3000 mappings of one guest; there are at most 96"));
    let mut ram = Story::after();
    let event = ram.events.iter().find(|e| matches!(e, Event::HostRam { .. })).unwrap().clone();
    (0..20).for_each(|_| ram.events.insert(5, event.clone()));
    assert!(found(&ram).contains("21 ranges of RAM; there are at most 16"));
}

#[test]
fn findings_are_few_and_the_rest_is_counted() {
    let mut story = Story::after();
    let stored = story
        .events
        .iter()
        .find(|e| matches!(e, Event::Observed { data: Observation::Stored(_), .. }))
        .unwrap()
        .clone();
    for _ in 0..1000 {
        let mut wrong = stored.clone();
        if let Event::Observed { data: Observation::Stored(Stored { file_difference, .. }), .. } = &mut wrong
        {
            *file_difference = Some(8);
        }
        story.events.insert(12, wrong);
    }
    let judgement = story.attempt().judgement;
    assert_eq!((judgement.verdict, judgement.findings.len()), (Some(Verdict::Fail), MOST_FINDINGS + 1));
    let last = judgement.findings.last().unwrap();
    assert!(last.found.ends_with(" more"), "{last:?}");
}

/// The alarms are many lines of many consoles, each in a crash or in none.
#[test]
fn alarms_are_found_in_their_crashes() {
    let mut story = Story::after();
    for n in 0..300 {
        let (console, line) = (format!("c{}", n % 3), format!("WARNING: CPU: {n}"));
        if n % 2 == 0 {
            let lines = vec!["before".into(), line.clone()];
            story = story.and(Event::Crash { console: console.clone(), lines, names: Default::default() });
        }
        story = story.and(Event::Alarm { console, class: AlarmClass::Warn, line });
    }
    let findings = story.attempt().judgement.findings;
    let details: Vec<_> = findings.iter().map(|finding| finding.detail.join(", ")).collect();
    assert_eq!(details, ["before, WARNING: CPU: 0", "WARNING: CPU: 1", "before, WARNING: CPU: 2"]);
}

/// Returns `n` long facts, the last of which is `last`.
fn large(n: usize, last: &str) -> (Report, Pages) {
    let long = |n: usize| (format!("fact {n:05}"), "x".repeat(150));
    let mut variable: std::collections::BTreeMap<_, _> = (0..n).map(long).collect();
    variable.insert("fact 99999".into(), last.into());
    let blocking = variable.clone();
    let mut story = Story::after().and(Event::Environment { blocking, variable });
    let stored = story
        .events
        .iter()
        .find(|e| matches!(e, Event::Observed { data: Observation::Stored(_), .. }))
        .unwrap()
        .clone();
    story.events.splice(12..12, vec![stored; n]);
    (story.report(), story.pages)
}

#[test]
fn a_report_that_is_written_can_be_read() {
    let (report, _) = large(30_000, "one");
    let text = report.text();
    assert!(text.len() <= LONGEST, "{}", text.len());
    assert_eq!(Report::parse(&text).as_ref(), Ok(&report));
    assert!(text.lines().any(|line| line.starts_with("  and ") && line.contains(" more, sha256 ")));
    // Omitted lines still count.
    assert_eq!(report, large(30_000, "one").0);
    assert_ne!(report.blocking, large(30_000, "two").0.blocking);
}
