//! Runs with several attempts of a cell, and runs that leave cells out.

use crate::lab::{CELL, Checked, Lab, NONE, Order, Person, RUN, expect};
use fake_qemu::script::Script;
use s2lab_model::{
    event::Attempts,
    judge::{JudgedCell, JudgedRun, endings},
    verdict::Verdict,
};
use std::process::Command;

/// Runs an order to its end.
pub(crate) fn done(order: &Order) -> Result<(Lab, JudgedRun), String> {
    let text = |error: Box<dyn std::error::Error>| error.to_string();
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let script = Script { series: true, ..Script::default() };
    let mut lab = Lab::ordered(folder, &script, order, Command::new(program)).map_err(text)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    match order.person {
        Some(Person::Panics) => lab.no_process()?,
        _ => lab.gone()?,
    }
    let judged = lab.judged()?;
    Ok((lab, judged))
}

/// Returns an order whose first attempt is a MISS.
fn missed_once(attempts: Attempts) -> Order {
    Order { attempts, person: Some(Person::Panics), ..Order::default() }
}

pub(crate) fn cell<'a>(run: &'a JudgedRun, key: &str) -> Result<&'a JudgedCell, String> {
    run.cells.iter().find(|cell| cell.planned.key == key).ok_or_else(|| format!("no cell {key}"))
}

fn consoles(lab: &Lab) -> Vec<bool> {
    let cell = lab.folder.path().join(RUN).join("cells").join(CELL);
    let is_there = |folder: &str| cell.join(folder).join("console.host.log").is_file();
    ["", "2", "3", "4"].map(is_there).into()
}

pub(crate) fn repeated() -> Checked {
    let order = Order { attempts: Attempts::Repeat(3), ..Order::default() };
    let (lab, run) = done(&order)?;
    let cell = cell(&run, CELL)?;
    expect("endings", endings(cell.verdicts()).as_deref(), Some("3 PASS"))?;
    expect("passed", cell.verdict.as_ref().is_some_and(Verdict::passed), true)?;
    expect("exit code", run.exit, 0)?;
    expect("consoles", consoles(&lab), vec![true, true, true, false])
}

pub(crate) fn repeated_and_different() -> Checked {
    let (_, run) = done(&missed_once(Attempts::Repeat(2)))?;
    let cell = cell(&run, CELL)?;
    expect("endings", endings(cell.verdicts()).as_deref(), Some("MISS, then PASS"))?;
    expect("verdict", cell.verdict.clone(), Some(Verdict::Flaky))?;
    expect("exit code", run.exit, Verdict::Flaky.exit())
}

pub(crate) fn retried() -> Checked {
    let (lab, run) = done(&missed_once(Attempts::Retry(3)))?;
    let cell = cell(&run, CELL)?;
    expect("endings", endings(cell.verdicts()).as_deref(), Some("MISS, then PASS"))?;
    expect("passed", cell.verdict.as_ref().is_some_and(Verdict::passed), true)?;
    expect("exit code", run.exit, 0)?;
    expect("consoles", consoles(&lab), vec![true, true, false, false])
}

/// A panic of s2lab in one cell ends that cell alone.
pub(crate) fn panicked() -> Checked {
    let (_, run) = done(&missed_once(Attempts::Retry(1)))?;
    let cell = cell(&run, CELL)?;
    expect("endings", endings(cell.verdicts()).as_deref(), Some("MISS, then PASS"))?;
    let findings = cell.attempts.iter().flat_map(|attempt| &attempt.judgement.findings);
    let found: Vec<_> = findings.map(|finding| format!("{}: {}", finding.what, finding.found)).collect();
    expect("findings", found, vec!["stage steps: s2lab has a defect: a defect of the test".to_owned()])?;
    expect("exit code", run.exit, 0)
}

/// Retries never turn such a result into a pass; the next cell is run nevertheless.
pub(crate) fn retried_in_vain() -> Checked {
    let order = Order { attempts: Attempts::Retry(2), none_before: true, ..Order::default() };
    let (_, run) = done(&order)?;
    expect("endings", endings(cell(&run, NONE)?.verdicts()).as_deref(), Some("3 MISS"))?;
    expect("verdict", cell(&run, NONE)?.verdict.clone(), Some(Verdict::Miss))?;
    expect("attempts at the other", cell(&run, CELL)?.attempts.len(), 1)?;
    expect("exit code", run.exit, Verdict::Miss.exit())
}

pub(crate) fn fail_fast() -> Checked {
    let order = Order { fail_fast: true, none_before: true, ..Order::default() };
    let (_, run) = done(&order)?;
    let left = cell(&run, CELL)?;
    expect("verdict", left.verdict.clone(), None)?;
    let why = format!("--fail-fast: {NONE} was MISS");
    expect("why", left.not_run.clone(), Some(why))?;
    expect("attempts", left.attempts.len(), 0)?;
    expect("the run's end", run.ended, true)?;
    expect("exit code", run.exit, Verdict::Miss.exit())
}
