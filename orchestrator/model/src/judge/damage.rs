//! A damaged event log: nothing after the damage is read, so cells that had not ended are MISS.

use super::{JudgedAttempt, JudgedCell};
use crate::finding::{Finding, Subject, Weight};
use crate::record::LogError;
use crate::verdict::Verdict;

/// Makes LOST cells MISS, with the damage as their finding.
pub(super) fn hold(cells: &mut [JudgedCell], damage: &LogError) {
    for cell in cells.iter_mut().filter(|cell| is_lost(&cell.verdict)) {
        // An attempt that has ended is LOST by itself.
        if cell.attempts.iter().any(|attempt| !is_open(attempt) && is_lost(&attempt.judgement.verdict)) {
            continue;
        }
        cell.verdict = Some(Verdict::Miss);
        let finding = Finding::new(Weight::Lab, Subject::cell(), "event log", "whole", damage.to_string());
        cell.damage = Some(finding);
        let open = cell.attempts.iter_mut().filter(|attempt| is_open(attempt));
        open.for_each(|attempt| attempt.judgement.verdict = Some(Verdict::Miss));
    }
}

fn is_lost(verdict: &Option<Verdict>) -> bool {
    *verdict == Some(Verdict::Lost)
}

fn is_open(attempt: &JudgedAttempt) -> bool {
    attempt.record.end.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Attempts, CellEnd, Event, Line, StopCause};
    use crate::judge::fixture::{Story, elsewhere};
    use crate::judge::{JudgedRun, judge_run};
    use crate::plan::Key;
    use crate::record::Run;
    use crate::report::Report;
    use crate::summary::CellSummary;

    /// Returns the lines of a log with the cells `a@k` and `b@k`, the second as in `second`.
    fn two(second: &Story) -> Vec<String> {
        let lines = Story::after().lines();
        let (plan, end, first) = (&lines[0], &lines[lines.len() - 1], &lines[1..lines.len() - 1]);
        let mut plan = plan.clone();
        let Event::Plan(planned) = &mut plan.event else { panic!("no plan") };
        let keys = ["a@k", "b@k"].map(|key| key.parse::<Key>().unwrap());
        let cell = planned.cells.remove(0);
        planned.cells.extend(keys.clone().map(|key| crate::event::PlannedCell { key, ..cell.clone() }));
        let second = second.lines();
        let events = [
            elsewhere(first, &keys[0], 0).collect::<Vec<Line>>(),
            elsewhere(&second[1..second.len() - 1], &keys[1], 1).collect(),
        ];
        let mut all = vec![plan];
        all.extend(events.into_iter().flatten().chain([end.clone()]));
        all.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
        all.iter().map(|line| serde_json::to_string(line).unwrap()).collect()
    }

    fn judged(log: &[u8]) -> Result<JudgedRun, LogError> {
        let pages = Story::after().pages;
        Ok(judge_run(Run::read_as_far(log)?, &|digest: &str| pages.get(digest).cloned()))
    }

    /// Returns the log with the line `at` replaced.
    fn damaged(lines: &[String], at: usize, by: &[u8]) -> Vec<u8> {
        let bytes = |(n, line): (usize, &String)| {
            let line = if n == at { by } else { line.as_bytes() };
            [line, b"\n"].concat()
        };
        lines.iter().enumerate().flat_map(bytes).collect()
    }

    /// At each line, by each kind of damage: a cell that had ended is as it was, the other is MISS.
    #[test]
    fn cells_that_ended_before_the_damage_are_as_they_were() {
        let lines = two(&Story::after());
        let whole = judged(&damaged(&lines, usize::MAX, b"")).unwrap();
        assert!(whole.damage.is_none() && whole.exit == 0, "{:?}", whole.damage);
        let ends: Vec<_> = (0..lines.len()).filter(|at| lines[*at].contains("cell-ended")).collect();
        let other = lines[2].clone();
        for at in 1..lines.len() {
            let again = lines[1].replace("\"seq\":1,", &format!("\"seq\":{at},"));
            let text = [other.as_bytes(), again.as_bytes()];
            let bytes = [&b"hello"[..], b"", b"\0\0\0\0", b"{\"v\":\"2.0\xff\"}"];
            for by in bytes.into_iter().chain(text) {
                let read = judged(&damaged(&lines, at, by));
                // The line is in its own place.
                if lines[at].as_bytes() == by {
                    assert_eq!(read.unwrap(), whole);
                    continue;
                }
                let run = read.unwrap();
                let damage = run.damage.as_ref().unwrap().to_string();
                assert_eq!((run.ended, run.exit), (false, 3), "{at}: {damage}");
                for ((cell, before), end) in run.cells.iter().zip(&whole.cells).zip(&ends) {
                    if *end < at {
                        assert_eq!(cell.verdict, before.verdict, "{at}: {damage}");
                        assert_eq!(Report::of_cell(cell), Report::of_cell(before), "{at}: {damage}");
                    } else {
                        assert_eq!(cell.verdict, Some(Verdict::Miss), "{at}: {damage}");
                        let summary = CellSummary::of(cell, "logs".into());
                        assert_eq!(summary.lead().unwrap().found, damage, "{at}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_its_plan_nothing_is_read() {
        let lines = two(&Story::after());
        assert!(matches!(judged(&damaged(&lines, 0, b"hello")), Err(LogError::Json { at: 0, .. })));
        assert_eq!(judged(b"").unwrap_err(), LogError::Empty);
        assert_eq!(judged(lines[0].as_bytes()).unwrap_err(), LogError::Empty);
    }

    /// The verdict of an attempt that has ended does not come from the damage, nor does that of a
    /// kernel that has crashed.
    #[test]
    fn what_was_known_before_the_damage_stays() {
        let kept = Story::after().edit(|event| {
            if let Event::CellEnded { end } = event {
                *end = CellEnd::Kept;
            }
        });
        for (second, due) in [
            (kept, Verdict::Lost),
            (Story::after().stopped(StopCause::Timeout), Verdict::Timeout(crate::event::Stage::Steps)),
            (Story::after().stopped(StopCause::Kernel), Verdict::Fail),
        ] {
            let lines = two(&second);
            let run = judged(&damaged(&lines, lines.len() - 1, b"hello")).unwrap();
            assert_eq!((run.cells[1].verdict.as_ref(), &run.cells[1].damage), (Some(&due), &None));
        }
    }

    #[test]
    fn an_attempt_that_may_be_missing_is_named() {
        let mut lines = two(&Story::after());
        let once = serde_json::to_value(Attempts::Once).unwrap();
        let mut plan: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(plan["event"]["plan"]["attempts"] == once || plan["event"]["plan"]["attempts"].is_null());
        plan["event"]["plan"]["attempts"] = serde_json::to_value(Attempts::Repeat(2)).unwrap();
        lines[0] = plan.to_string();
        let run = judged(&damaged(&lines, lines.len() - 1, b"hello")).unwrap();
        for cell in &run.cells {
            assert_eq!((cell.verdict.as_ref(), cell.damage.is_some()), (Some(&Verdict::Miss), true));
            assert!(cell.attempts[0].judgement.verdict.as_ref().unwrap().passed());
            let report = Report::of_cell(cell).unwrap().text();
            assert!(report.contains("MISS") && report.contains("event log  lab"), "{report}");
        }
    }
}
