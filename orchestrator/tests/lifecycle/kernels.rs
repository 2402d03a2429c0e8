//! Runs one of whose kernels is fetched or built while its other cells run.

use crate::{
    attempts::cell,
    lab::{CELL as EARLY, Checked, Lab, NONE, Order, expect, soon},
};
use fake_qemu::script::Script;
use rustix::process::Signal;
use s2lab::boot::files::BootFiles;
use s2lab_cache::CacheError;
use s2lab_model::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

/// The cell of the late kernel. It is the first of the plan.
pub(crate) const CELL: &str = "lifecycle@late";
/// The kernel that is not there at first.
pub(crate) const LATE: &str = "late";
/// The file in the lab's folder that ends the preparation.
const ARRIVES: &str = "arrives";
const OFTEN: Duration = Duration::from_millis(10);

/// The end of the preparation of the late kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Late {
    Arrives,
    DoesNotBuild,
}

impl Late {
    /// Plays the preparation, in the child.
    pub(crate) fn prepare(self, boot: &BootFiles, folder: &Path) -> impl Future<Output = ()> + use<> {
        let (kernels, arrives): (_, PathBuf) = (Arc::clone(boot.kernels()), folder.join(ARRIVES));
        let files = boot.kernel("fake").cloned();
        async move {
            while !arrives.exists() {
                tokio::time::sleep(OFTEN).await;
            }
            let missing = || CacheError::Offline { missing: "its source".into() };
            let files = files.filter(|_| self == Self::Arrives);
            kernels.settle(LATE, files.ok_or_else(missing));
        }
    }
}

fn begin(order: &Order) -> Result<Lab, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let script = Script { series: true, ..Script::default() };
    Lab::ordered(folder, &script, order, Command::new(program)).map_err(|e| e.to_string())
}

/// Waits until the log has the end of the only cell that can begin.
fn early_is_over(lab: &Lab) -> Checked {
    soon("the other cell does not end", || lab.log().contains("\"cell-ended\""))?;
    expect("the late cell waits", lab.log().lines().filter(|line| is_begin(line, CELL)).count(), 0)?;
    expect("the other does not", lab.log().lines().filter(|line| is_begin(line, EARLY)).count(), 1)
}

fn is_begin(line: &str, key: &str) -> bool {
    line.contains("\"cell-started\"") && line.contains(&format!("\"{key}\""))
}

fn arrive(lab: &Lab) -> Checked {
    std::fs::write(lab.folder.path().join(ARRIVES), "").map_err(|e| e.to_string())
}

/// The cell of the kernel that is there does not wait for the other one, which comes first in the plan.
pub(crate) fn arrives() -> Checked {
    let mut lab = begin(&Order { late: Some(Late::Arrives), ..Order::default() })?;
    early_is_over(&lab)?;
    arrive(&lab)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let run = lab.judged()?;
    let keys: Vec<_> = run.cells.iter().map(|cell| cell.planned.key.to_string()).collect();
    expect("the order of the plan", keys, vec![CELL.to_owned(), EARLY.to_owned()])?;
    let passed = run.cells.iter().all(|cell| cell.verdict.as_ref().is_some_and(Verdict::passed));
    expect("all passed", passed, true)?;
    expect("exit code", run.exit, 0)
}

/// A kernel that cannot be had is a MISS of its cells alone, with the reason.
pub(crate) fn does_not_build() -> Checked {
    let mut lab = begin(&Order { late: Some(Late::DoesNotBuild), ..Order::default() })?;
    early_is_over(&lab)?;
    arrive(&lab)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let run = lab.judged()?;
    let passed = cell(&run, EARLY)?.verdict.as_ref().is_some_and(Verdict::passed);
    expect("the other passed", passed, true)?;
    let late = cell(&run, CELL)?;
    expect("verdict", late.verdict.clone(), Some(Verdict::Miss))?;
    let findings = late.attempts.iter().flat_map(|attempt| &attempt.judgement.findings);
    let found: Vec<_> = findings.map(|finding| finding.found.clone()).collect();
    let due = "kernel late: offline, and the cache does not have its source";
    expect("the reason", found.join("; "), due.to_owned())
}

/// Nobody waits for a kernel whose cells will not begin.
pub(crate) fn left_behind() -> Checked {
    // After the signal nothing more is to come.
    let mut lab = begin(&Order { late: Some(Late::Arrives), ..Order::default() })?;
    early_is_over(&lab)?;
    lab.signal(Signal::TERM)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let run = lab.judged()?;
    expect("attempts", cell(&run, CELL)?.attempts.len(), 0)?;
    expect("exit code", run.exit, 143)?;
    // `--fail-fast` leaves the cell out.
    let order = Order { late: Some(Late::Arrives), none_before: true, fail_fast: true, ..Order::default() };
    let mut lab = begin(&order)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let run = lab.judged()?;
    let why = cell(&run, CELL)?.not_run.clone();
    expect("why", why, Some(format!("--fail-fast: {NONE} was MISS")))
}
