//! A run that is judged while its log grows.

use crate::event::{Attempts, Event, Line};
use crate::judge::fixture::{Story, elsewhere};
use crate::judge::{LiveRun, another, judge_run};
use crate::plan::Key;
use crate::record::Run;
use std::cell::Cell;

/// Returns a log of `cells` cells with `attempts` at each, and its story.
fn log(cells: usize, attempts: u32) -> (Story, Vec<Line>) {
    let story = Story::after();
    let one = story.lines();
    let (plan, end, events) = (&one[0], &one[one.len() - 1], &one[1..one.len() - 1]);
    let mut lines = vec![plan.clone()];
    let Event::Plan(planned) = &mut lines[0].event else { panic!("no plan") };
    planned.attempts = if attempts == 1 { Attempts::Once } else { Attempts::Repeat(attempts) };
    let cell = planned.cells.remove(0);
    let keys: Vec<_> = (0..cells).map(|n| format!("bar@k{n}").parse::<Key>().unwrap()).collect();
    planned
        .cells
        .extend(keys.iter().map(|key| crate::event::PlannedCell { key: key.clone(), ..cell.clone() }));
    let all = keys.iter().flat_map(|key| (0..attempts).map(move |_| key));
    for (key, session) in all.zip(0..) {
        lines.extend(elsewhere(events, key, session));
    }
    lines.push(end.clone());
    lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
    (story, lines)
}

fn text(line: &Line) -> String {
    serde_json::to_string(line).unwrap()
}

/// Asks after every attempt, like a run does. Returns the number of judgements, the number of pages
/// read, and the result.
fn live(story: &Story, lines: &[Line], course: Attempts) -> (usize, usize, crate::judge::JudgedRun) {
    let read = Cell::new(0);
    let pages = |digest: &str| {
        read.set(read.get() + 1);
        story.pages.get(digest).cloned()
    };
    let (mut live, mut ended) = (LiveRun::default(), None);
    for line in lines {
        live.line(&text(line)).unwrap();
        match (&line.event, &line.cell) {
            (Event::CellEnded { .. }, key) => ended = key.clone(),
            (Event::SessionEnded, _) => {
                let key = ended.take().unwrap();
                if !another(course, live.attempts(&key, &pages)) {
                    assert!(live.cell(&key, &pages).unwrap().verdict.unwrap().passed());
                }
            }
            _ => {}
        }
    }
    let judgements = live.judgements();
    let run = live.finish(&pages).unwrap();
    (judgements, read.get(), run)
}

#[test]
fn what_is_judged_as_it_grows_is_what_the_log_says() {
    let (story, lines) = log(3, 2);
    let pages = |digest: &str| story.pages.get(digest).cloned();
    let whole: String = lines.iter().map(|line| text(line) + "\n").collect();
    let due = judge_run(Run::read(&whole).unwrap(), &pages);
    assert_eq!(live(&story, &lines, Attempts::Repeat(2)).2, due);
    // The result of a part of the log is the same too.
    for end in 1..lines.len() {
        let mut live = LiveRun::default();
        for line in &lines[..end] {
            live.line(&text(line)).unwrap();
            let _ = line.cell.as_ref().map(|key| live.attempts(key, &pages).len());
        }
        let so_far = judge_run(Run::fold(lines[..end].to_vec()).unwrap(), &pages);
        for cell in &so_far.cells {
            assert_eq!(live.cell(&cell.planned.key, &pages).as_ref(), Some(cell));
        }
        assert_eq!(live.finish(&pages).unwrap(), so_far, "{end} lines");
    }
}

#[test]
fn each_attempt_is_judged_once() {
    let (story, lines) = log(1, 1);
    let (judgements, pages, _) = live(&story, &lines, Attempts::Once);
    assert!(judgements == 1 && pages > 0);
    for (cells, attempts, course) in [(50, 1, Attempts::Once), (1, 60, Attempts::Repeat(60))] {
        let (story, lines) = log(cells, attempts);
        let times = cells * usize::try_from(attempts).unwrap();
        let (judged, read, run) = live(&story, &lines, course);
        assert_eq!((judged, read), (times, times * pages), "{cells} cells, {attempts} attempts");
        assert_eq!(run.exit, 0);
    }
}

#[test]
fn an_attempt_that_goes_on_is_judged_as_if_it_were_complete() {
    let (story, lines) = log(1, 1);
    let pages = |digest: &str| story.pages.get(digest).cloned();
    let (mut live, key) = (LiveRun::default(), "bar@k0".parse().unwrap());
    assert!(live.as_if_complete(&key, &pages).is_none());
    // The record of the cell has not come yet.
    for line in &lines[..lines.len() - 5] {
        live.line(&text(line)).unwrap();
    }
    assert!(matches!(lines[lines.len() - 5].event, Event::CellRecord { .. }));
    let judged = live.as_if_complete(&key, &pages).unwrap();
    assert!(judged.verdict.unwrap().passed());
    // Nothing of it remains.
    assert_eq!(live.cell(&key, &pages).unwrap().verdict, Some(crate::verdict::Verdict::Lost));
}
