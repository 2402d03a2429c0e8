//! Cells that share one boot of a host: what one of them does to the host, and what its end does to
//! the others.

use crate::lab::{Checked, Lab, Order, RUN_ENDS, expect, within};
use fake_qemu::script::{Act, Moment, Script};
use rustix::process::Signal;
use s2lab_model::{event::Attempts, judge::JudgedRun, verdict::Verdict};
use std::process::Command;

const CELLS: usize = 3;
const WARN: &str = "WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/mmu.c:1 f+0x0/0x10";

fn script() -> Script {
    Script { series: true, ..Script::default() }
}

fn at(request: &str) -> Moment {
    Moment::Request(request.into())
}

fn begin(script: &Script, order: &Order) -> Result<Lab, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    Lab::ordered(folder, script, order, Command::new(program)).map_err(|e| e.to_string())
}

fn order() -> Order {
    Order { shared: CELLS, ..Order::default() }
}

/// Returns the words for the verdicts, and for each cell the boot that served it and its place there.
fn summary(run: &JudgedRun) -> Vec<(String, String)> {
    let of = |attempt: &s2lab_model::judge::JudgedAttempt| {
        let verdict = attempt.judgement.verdict.as_ref().map_or("none", Verdict::name);
        let place = attempt.record.environment().variable.get("session").cloned().unwrap_or_default();
        let place = place.split(", after").next().unwrap_or_default().to_owned();
        (verdict.to_owned(), place)
    };
    run.cells.iter().flat_map(|cell| &cell.attempts).map(of).collect()
}

/// Runs to the end, and checks the attempts in the order of the cells.
fn holds(script: &Script, order: &Order, due: &[(&str, &str)]) -> Result<Lab, String> {
    let mut lab = begin(script, order)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let due: Vec<_> =
        due.iter().map(|(verdict, place)| ((*verdict).to_owned(), (*place).to_owned())).collect();
    expect(&format!("the cells; {}", lab.said()), summary(&lab.judged()?), due)?;
    Ok(lab)
}

const ONE_BOOT: [(&str, &str); CELLS] =
    [("PASS", "boot 1, its first cell"), ("PASS", "boot 1, its cell 2"), ("PASS", "boot 1, its cell 3")];
const OWN_BOOTS: [(&str, &str); CELLS] = [
    ("PASS", "boot 1, its first cell"),
    ("PASS", "boot 2, its first cell"),
    ("PASS", "boot 3, its first cell"),
];
/// The second cell ends the first boot.
const SECOND_FAILS: [(&str, &str); CELLS] =
    [("PASS", "boot 1, its first cell"), ("FAIL", "boot 1, its cell 2"), ("PASS", "boot 2, its first cell")];

pub(crate) fn shared() -> Checked {
    let lab = holds(&script(), &order(), &ONE_BOOT)?;
    let console = |n: usize| {
        let cell = format!("run/cells/lifecycle@fake+n={n}/console.host.log");
        std::fs::read_to_string(lab.folder.path().join(cell)).map_err(|e| e.to_string())
    };
    // Each cell has its part of the console.
    expect("the first console", console(0)?.starts_with("[    0.000000] Booting Linux"), true)?;
    for n in 1..CELLS {
        let console = console(n)?;
        let note = format!("s2lab: the host has served lifecycle@fake+n={} before", n - 1);
        expect("a note", console.starts_with(&note), true)?;
        expect("the boot", console.contains("Booting Linux"), false)?;
    }
    Ok(())
}

/// A cell that the scenario excludes takes no host, and its reason is that of its SKIP.
pub(crate) fn excluded() -> Checked {
    let order = Order { excluded: true, ..order() };
    let due = [("SKIP", ""), ("PASS", "boot 1, its first cell"), ("PASS", "boot 1, its cell 2")];
    let lab = holds(&script(), &order, &due)?;
    let verdict = lab.judged()?.cells.first().and_then(|cell| cell.verdict.clone());
    expect("the reason", verdict, Some(Verdict::Skip("excluded by the scenario: too slow".into())))?;
    let again = Order { attempts: Attempts::Repeat(2), shared: 1, ..order };
    holds(&script(), &again, &[("SKIP", ""), ("SKIP", "")]).map(drop)
}

/// It may have changed anything in the host.
pub(crate) fn a_program_in_the_host() -> Checked {
    let due = [OWN_BOOTS[0], OWN_BOOTS[1], ("PASS", "boot 2, its cell 2")];
    holds(&script(), &Order { programs_in: Some(0), ..order() }, &due).map(drop)
}

/// The reports are those of cells in hosts of their own, but for variable facts.
pub(crate) fn alone_and_shared() -> Checked {
    let alone = holds(
        &script(),
        &Order { part: Some(crate::lab::Part { cells: CELLS, shard: None }), ..Order::default() },
        &OWN_BOOTS,
    )?;
    let shared = holds(&script(), &order(), &ONE_BOOT)?;
    let reports = |lab: &Lab| -> Result<Vec<String>, String> {
        let of = |cell| {
            let report = s2lab_model::report::Report::of_cell(cell).map(|report| report.to_string());
            let text = report.unwrap_or_default();
            let never = |line: &&str| !line.starts_with("  variable ") && !line.starts_with("  step ");
            text.lines().filter(never).collect::<Vec<_>>().join("\n")
        };
        Ok(lab.judged()?.cells.iter().map(of).collect())
    };
    expect("the reports", reports(&shared)?, reports(&alone)?)
}

pub(crate) fn crash_in_the_first() -> Checked {
    let panic = Act::Print("Kernel panic - not syncing: x".into());
    let script = script().and(at("store"), panic).and(at("store"), Act::Exit(0));
    let due = OWN_BOOTS.map(|(_, place)| ("FAIL", place));
    holds(&script, &order(), &due).map(drop)
}

pub(crate) fn crash_in_the_second() -> Checked {
    let panic = Act::Print("Kernel panic - not syncing: x".into());
    let script =
        script().and_later(at("start-guest"), 1, panic).and_later(at("start-guest"), 1, Act::Exit(0));
    holds(&script, &order(), &SECOND_FAILS).map(drop)
}

/// A line on the console, and a taint, count against the cell in which they came.
pub(crate) fn a_trace_of_the_second() -> Checked {
    for act in [Act::Print(WARN.into()), Act::Taint(512), Act::LeakTables(64)] {
        holds(&script().and_later(at("bind"), 1, act), &order(), &SECOND_FAILS)?;
    }
    Ok(())
}

/// A warning right before the record of the first cell is the first cell's.
pub(crate) fn a_trace_before_the_record() -> Checked {
    let script = script().and(at("end-cell"), Act::Print(WARN.into()));
    holds(&script, &order(), &OWN_BOOTS.map(|(_, place)| ("FAIL", place))).map(drop)
}

pub(crate) fn not_clean() -> Checked {
    for act in [Act::Unclean("x".into()), Act::MuteConsole] {
        holds(&script().and(at("end-cell"), act), &order(), &OWN_BOOTS)?;
    }
    Ok(())
}

pub(crate) fn repeated() -> Checked {
    let order = Order { shared: 2, attempts: Attempts::Repeat(2), ..Order::default() };
    // The next attempt at the last cell comes first.
    let due = [
        ("PASS", "boot 1, its first cell"),
        ("PASS", "boot 2, its cell 2"),
        ("PASS", "boot 1, its cell 2"),
        ("PASS", "boot 2, its first cell"),
    ];
    holds(&script(), &order, &due).map(drop)
}

/// Starts a run that waits in its second cell for ever.
fn waiting_in_the_second() -> Result<Lab, String> {
    let lab = begin(&script().and_later(at("start-guest"), 1, Act::Hang), &order())?;
    within(RUN_ENDS, "no second cell", || lab.log().matches("\"cell-started\"").count() == 2)?;
    within(RUN_ENDS, "no device of the second cell", || lab.log().matches("\"device-bound\"").count() == 2)?;
    Ok(lab)
}

pub(crate) fn killed_in_the_second() -> Checked {
    let mut lab = waiting_in_the_second()?;
    lab.signal(Signal::KILL)?;
    lab.ended()?;
    lab.gone()?;
    let run = lab.judged()?;
    let due = [("PASS", "boot 1, its first cell"), ("LOST", "boot 1, its cell 2")];
    expect(
        &format!("the cells; {}", lab.said()),
        summary(&run),
        due.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec(),
    )?;
    expect("exit code", run.exit, Verdict::Lost.exit())
}

pub(crate) fn interrupted_in_the_second() -> Checked {
    let mut lab = waiting_in_the_second()?;
    lab.signal(Signal::INT)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let run = lab.judged()?;
    let due = [("PASS", "boot 1, its first cell"), ("none", "boot 1, its cell 2")];
    expect(
        &format!("the cells; {}", lab.said()),
        summary(&run),
        due.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec(),
    )?;
    expect("exit code", run.exit, 130)
}

/// After a kill around the change from one cell to the next, each cell that the log has the end of is
/// whole.
pub(crate) fn killed_between_cells() -> Checked {
    for n in 0..8 {
        let mut lab = begin(&script(), &order())?;
        within(RUN_ENDS, "no end of a cell", || lab.log().contains("\"cell-record\""))?;
        std::thread::sleep(std::time::Duration::from_millis(n * 3));
        lab.signal(Signal::KILL)?;
        lab.ended()?;
        lab.gone()?;
        let run = lab.judged()?;
        let first = run.cells.first().ok_or("no cell")?;
        let ended = first.attempts.first().is_some_and(|attempt| attempt.record.end.is_some());
        let passed = first.verdict.as_ref().is_some_and(Verdict::passed);
        expect("the first cell passed exactly if it has ended", passed, ended)?;
        let later =
            run.cells.iter().skip(1).filter(|cell| cell.verdict.as_ref().is_some_and(Verdict::passed));
        let ends = lab.log().matches("\"cell-ended\"").count();
        expect("the cells that passed", later.count() + usize::from(passed), ends)?;
    }
    Ok(())
}
