//! The log of one cell, cut out of the log of its run.

use super::fold::{LogError, lines};
use super::parse::whole_lines;
use crate::escape;
use crate::event::{Event, Line, SessionId};
use crate::plan::Key;
use serde_json::Value;
use std::collections::BTreeSet;

/// Returns the log of the cell `key` alone: the plan with this cell, its lines, and the lines of
/// its sessions and of the run, numbered from 0. Keys and events of a later version stay in it.
///
/// # Errors
/// A line that is not one of a log.
pub fn only(text: &str, key: &Key) -> Result<String, LogError> {
    let lines = lines(text)?;
    let of_cell = |line: &&Line| line.cell.as_ref() == Some(key);
    let started = lines.iter().filter(of_cell).filter_map(|line| match line.event {
        Event::CellStarted { session, .. } => session,
        _ => None,
    });
    let sessions: BTreeSet<SessionId> = started.collect();
    let belongs = |line: &Line| match (line.session, &line.cell) {
        (Some(session), _) => sessions.contains(&session),
        (None, Some(cell)) => cell == key,
        (None, None) => true,
    };
    let kept = whole_lines(text).zip(&lines).filter(|(_, line)| belongs(line));
    kept.zip(0..).map(|((text, line), seq)| renumbered(text, line, seq, key)).collect()
}

/// Returns the text of a line with another number. The plan keeps only the cell `key`.
fn renumbered(text: &str, line: &Line, seq: u64, key: &Key) -> Result<String, LogError> {
    let wrong = |error: serde_json::Error| LogError::Json {
        at: usize::try_from(line.seq).unwrap_or(usize::MAX),
        why: error.to_string(),
    };
    let mut value: Value = serde_json::from_str(text).map_err(wrong)?;
    value["seq"] = seq.into();
    let cells = value.pointer_mut("/event/plan/cells").and_then(Value::as_array_mut);
    if let Some(cells) = cells {
        cells.retain(|cell| cell["key"] == key.as_str());
    }
    Ok(escape::json(&value.to_string()) + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::Story;
    use crate::record::Run;

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    #[test]
    fn one_cell_is_left_with_its_session() {
        let (story, key) = (Story::after(), "other@test".parse::<Key>().unwrap());
        let mut both = story.lines();
        let Event::Plan(plan) = &mut both[0].event else { panic!("{:?}", both[0]) };
        let mut other = plan.cells[0].clone();
        other.key = key.clone();
        plan.cells.push(other);
        let end = both.pop().unwrap();
        // A second cell, in a session of its own.
        for mut line in both.clone().into_iter().skip(1) {
            line.session = line.session.map(|session| session + 7);
            line.cell = line.cell.map(|_| key.clone());
            if let Event::CellStarted { session, .. } = &mut line.event {
                *session = session.map(|session| session + 7);
            }
            both.push(line);
        }
        both.push(end);
        for (line, seq) in both.iter_mut().zip(0..) {
            line.seq = seq;
        }
        let whole = Run::read(&text(&both)).unwrap();
        for cell in &whole.cells {
            let alone = Run::read(&only(&text(&both), &cell.planned.key).unwrap()).unwrap();
            assert_eq!(alone.cells, std::slice::from_ref(cell));
            assert!(alone.ended && alone.plan.lab == whole.plan.lab);
        }
        // A log of one cell stays as it is.
        let one = text(&story.lines());
        let same = only(&one, &story.cell.key).unwrap();
        assert_eq!(Run::read(&same).unwrap(), Run::read(&one).unwrap());
    }

    #[test]
    fn parts_of_a_later_version_stay() {
        let story = Story::after();
        let mut lines: Vec<Value> = story.lines().iter().map(|line| serde_json::json!(line)).collect();
        let end = lines.pop().unwrap();
        lines.push(serde_json::json!({"v": "2.99", "seq": 0, "ms": 9, "event": {"new": {"key": 1}}}));
        lines.push(end);
        for (line, seq) in lines.iter_mut().zip(0..) {
            (line["seq"], line["v"]) = (seq.into(), "2.99".into());
        }
        lines[1]["young"] = true.into();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let alone = only(&text, &story.cell.key).unwrap();
        assert_eq!(Run::read(&alone).unwrap().skipped, Run::read(&text).unwrap().skipped);
        assert!(alone.contains("young") && alone.contains("\"new\""), "{alone}");
    }
}
