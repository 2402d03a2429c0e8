//! Saved hosts: what a cell says on a host that goes on, and what happens if that does not.

use crate::lab::{Checked, Lab, Order, Part, expect};
use fake_qemu::script::{Act, Moment, Script};
use s2lab_model::{
    judge::{JudgedAttempt, JudgedRun},
    record::environment::{BOOT, RESUMED},
    report::Report,
    verdict::Verdict,
};
use std::{process::Command, time::Duration};

const CELLS: usize = 3;
/// The deadline of agents that do not answer, and of heartbeats that do not come.
const PATIENCE: Duration = Duration::from_millis(1500);

fn script() -> Script {
    Script { series: true, ..Script::default() }
}

fn order() -> Order {
    Order { part: Some(Part { cells: CELLS, shard: None }), resume: true, ..Order::default() }
}

/// Returns the verdict of each cell, and whether its host was resumed.
fn summary(run: &JudgedRun) -> Vec<(String, bool)> {
    let of = |attempt: &JudgedAttempt| {
        let verdict = attempt.judgement.verdict.as_ref().map_or("none", Verdict::name);
        let boot = attempt.record.environment().variable.get(BOOT).cloned();
        (verdict.to_owned(), boot.as_deref() == Some(RESUMED))
    };
    run.cells.iter().flat_map(|cell| &cell.attempts).map(of).collect()
}

/// Runs to the end. All cells must pass, and these must be resumed.
fn holds(script: &Script, order: &Order, resumed: [bool; CELLS]) -> Result<Lab, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut lab = Lab::ordered(folder, script, order, Command::new(program)).map_err(|e| e.to_string())?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let due: Vec<_> = resumed.map(|resumed| ("PASS".to_owned(), resumed)).into();
    expect(&format!("the cells; {}", lab.said()), summary(&lab.judged()?), due)?;
    Ok(lab)
}

/// Returns the reports without what is never compared.
fn reports(lab: &Lab) -> Result<Vec<String>, String> {
    let of = |cell| {
        let text = Report::of_cell(cell).map(|report| report.to_string()).unwrap_or_default();
        let compared = |line: &&str| !line.starts_with("  variable ") && !line.starts_with("  step ");
        text.lines().filter(compared).collect::<Vec<_>>().join("\n")
    };
    Ok(lab.judged()?.cells.iter().map(of).collect())
}

fn console(lab: &Lab, cell: usize, name: &str) -> Result<String, String> {
    let path = format!("run/cells/lifecycle@fake+n={cell}/console.{name}.log");
    std::fs::read_to_string(lab.folder.path().join(path)).map_err(|e| e.to_string())
}

pub(crate) fn resumed() -> Checked {
    let lab = holds(&script(), &order(), [false, true, true])?;
    let booted = holds(&script(), &Order { resume: false, ..order() }, [false; CELLS])?;
    expect("the reports", reports(&lab)?, reports(&booted)?)?;
    for cell in 0..CELLS {
        let (host, guest) = (console(&lab, cell, "host")?, console(&lab, cell, "g0")?);
        expect("boots on the host's console", host.matches("Booting Linux on").count(), 1)?;
        expect("boots on the guest's console", guest.matches("Booting Linux, the guest").count(), 1)?;
    }
    Ok(())
}

/// The steps do not count, the guests do.
pub(crate) fn of_other_cells() -> Checked {
    holds(&script(), &Order { programs_in: Some(1), ..order() }, [false, true, true])?;
    holds(&script(), &Order { unlike: true, ..order() }, [false, true, false]).map(drop)
}

/// Counting begins with the steps.
pub(crate) fn of_cells_that_count() -> Checked {
    let script = Script { plugin: Some(fake_qemu::script::PluginAnswer::Taken), ..script() };
    let counts = || Order { counts: true, ..order() };
    let lab = holds(&script, &counts(), [false, true, true])?;
    let booted = holds(&script, &Order { resume: false, ..counts() }, [false; CELLS])?;
    expect("the reports", reports(&lab)?, reports(&booted)?)
}

/// Whatever the host does not do, a new one boots.
pub(crate) fn in_vain() -> Checked {
    let qmp = |command: &str| Moment::Qmp(command.into());
    let resume = || Moment::Request("resume".into());
    let acts = [
        (qmp("migrate"), Act::Unsavable),
        (qmp("migrate-incoming"), Act::Exit(1)),
        (resume(), Act::Exit(1)),
        (resume(), Act::Ignore),
        (resume(), Act::StopBeating),
    ];
    for (moment, act) in acts {
        let order = Order { patience: Some(PATIENCE), ..order() };
        let lab = holds(&script().and(moment, act), &order, [false; CELLS])?;
        for cell in 0..CELLS {
            let host = console(&lab, cell, "host")?;
            expect("boots on the console", host.matches("Booting Linux on").count(), 1)?;
        }
    }
    Ok(())
}

/// A host with a warning is the result of its cell alone.
pub(crate) fn not_with_an_alarm() -> Checked {
    let warn = Act::Print("WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/mmu.c:1 f+0x0/0x10".into());
    let script = script().and(Moment::Hello, warn);
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut lab =
        Lab::ordered(folder, &script, &order(), Command::new(program)).map_err(|e| e.to_string())?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let due = vec![("FAIL".to_owned(), false); CELLS];
    expect(&format!("the cells; {}", lab.said()), summary(&lab.judged()?), due)
}
