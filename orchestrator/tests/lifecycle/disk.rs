//! Full disks: the run's folder is on a file system in memory with little room, in a mount
//! namespace of its own. If the machine permits no such namespace these tests are ignored, and
//! listed as such.

use crate::lab::{Checked, FOLDER, Lab, Order, RUN, expect};
use fake_qemu::script::Script;
use s2lab_model::verdict::Verdict;
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

/// A script that mounts $1, runs the program $2, and copies its output to a place that is visible
/// from outside.
const INSIDE: &str = r#"
set -e
cd "$S2LAB_LIFECYCLE_FOLDER"
mkdir -p mounted run
mount -t tmpfs -o "$1" tmpfs run
set +e
"$2"
code=$?
cp -r run/. mounted/
exit $code
"#;

/// Returns a program that runs in namespaces of its own, in which it may mount.
pub(crate) fn apart() -> Command {
    let mut command = Command::new("unshare");
    command.args(if rustix::process::geteuid().is_root() { ["-m"].as_slice() } else { &["-r", "-m"] });
    command
}

/// Returns true if this machine lets the tests mount.
pub(crate) fn permitted() -> bool {
    let mut command = apart();
    command.args(["sh", "-c", "mount -t tmpfs -o size=4k tmpfs /mnt"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The result of a run with little room: its verdict, the reasons, and its own output.
struct Outcome {
    verdict: Option<Verdict>,
    reasons: String,
}

fn run(options: &str) -> Result<Outcome, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = apart();
    command.args(["sh", "-c", INSIDE, "sh", options]).arg(program).env(FOLDER, folder.path());
    let script = Script { series: true, ..Script::default() };
    let mut lab =
        Lab::ordered(folder, &script, &Order::default(), command).map_err(|error| error.to_string())?;
    let code = lab.ended()?;
    lab.gone()?;
    let folder = lab.folder.path();
    let said = std::fs::read_to_string(folder.join("stderr")).unwrap_or_default();
    // The mount point is empty outside of the namespace.
    std::fs::remove_dir(folder.join(RUN)).map_err(|e| e.to_string())?;
    std::fs::rename(folder.join("mounted"), folder.join(RUN)).map_err(|e| e.to_string())?;
    for page in std::fs::read_dir(folder.join(RUN).join("raw")).into_iter().flatten().flatten() {
        let length = page.metadata().map_err(|e| e.to_string())?.len();
        let half = page.file_name().as_encoded_bytes().ends_with(b".half");
        expect("a page under its name", half || length == 4096, true)?;
    }
    let Ok(judged) = lab.judged() else {
        // Even the plan is missing.
        expect("s2lab's own end", code, 1)?;
        return Ok(Outcome { verdict: None, reasons: said });
    };
    expect("either a verdict or an error", judged.ended, said.is_empty())?;
    let cell = judged.cells.first().ok_or("no cell")?;
    let findings = cell.attempts.iter().flat_map(|attempt| &attempt.judgement.findings);
    let reasons = findings.map(|f| format!("{}{:?}", f.found, f.detail)).collect::<String>() + &said;
    if judged.exit == 0 && (!judged.ended || !said.is_empty()) {
        return Err(format!("it passes, although: {reasons}"));
    }
    Ok(Outcome { verdict: cell.verdict.clone().filter(|_| judged.ended), reasons })
}

fn sweep(options: impl Iterator<Item = String>, kinds: &[&str]) -> Checked {
    let (mut met, mut all) = (BTreeSet::<&str>::new(), String::new());
    let mut last = None;
    for options in options {
        let outcome = run(&options).map_err(|why| format!("{options}: {why}"))?;
        let (verdict, reasons) = (&outcome.verdict, &outcome.reasons);
        match verdict {
            Some(Verdict::Pass { .. }) => {}
            Some(Verdict::Miss) | None => {
                expect(&format!("{options}: {reasons}"), reasons.contains("No space left on device"), true)?;
            }
            Some(other) => return Err(format!("{options}: {other}: {reasons}")),
        }
        if *verdict == Some(Verdict::Miss) {
            expect(&format!("a hint in {reasons}"), reasons.contains("make room"), true)?;
        }
        met.extend(kinds.iter().filter(|kind| reasons.contains(**kind)));
        all.push_str(&format!("{options}: {verdict:?} {reasons}\n"));
        last = outcome.verdict;
    }
    expect("with enough room it passes", last.is_some_and(|verdict| verdict.passed()), true)?;
    let missed: Vec<_> = kinds.iter().filter(|kind| !met.contains(*kind)).collect();
    if missed.is_empty() { Ok(()) } else { Err(format!("never met: {missed:?}\n{all}")) }
}

/// Gives room for more and more 4 KiB pages, so that each write fails once.
pub(crate) fn no_room() -> Checked {
    let sizes = (1..=24).chain([64]).map(|pages| format!("size={}k", 4 * pages));
    sweep(sizes, &["the event log", "cannot write in", "cannot keep the console", "cannot keep a table page"])
}

/// Gives room for more and more files and folders.
pub(crate) fn no_files() -> Checked {
    let counts = (2..=20).chain([64]).map(|inodes| format!("size=1m,nr_inodes={inodes}"));
    sweep(counts, &["cannot write in", "cannot keep"])
}
