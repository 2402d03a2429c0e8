//! Runs of shards, and `s2lab merge` of them.

use crate::lab::{Checked, Lab, Order, Part, RUN, expect};
use fake_qemu::script::{Act, Moment, Script};
use rustix::process::Signal;
use s2lab_model::shards::ShardNumber;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const CELLS: usize = 4;
/// The keys in the log whose values vary from run to run: times, the time of a store, the number of random
/// stops of a look; and the numbers of lines, some of which are compared apart.
const MASKED: [&str; 5] = ["seq", "ms", "pause_us", "nanos", "stops"];

/// The words of lines about a console; the rest of a log has a fixed order.
const CONSOLE: [&str; 2] = ["\"console-tested\"", "\"host mode\""];
/// The words before a nonce in a host's console.
const BEFORE_NONCE: [&str; 2] = ["test line of the console, ", "the end of a cell, "];

fn begin(shard: Option<&str>, script: &Script) -> Result<Lab, String> {
    let shard = shard.map(str::parse::<ShardNumber>).transpose().map_err(|e| e.to_string())?;
    let order = Order { part: Some(Part { cells: CELLS, shard }), ..Order::default() };
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    Lab::ordered(folder, script, &order, Command::new(program)).map_err(|e| e.to_string())
}

fn script() -> Script {
    Script { series: true, ..Script::default() }
}

/// Runs a shard, or all cells, to the end.
fn done(shard: Option<&str>) -> Result<Lab, String> {
    let mut lab = begin(shard, &script())?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    Ok(lab)
}

fn run(lab: &Lab) -> PathBuf {
    lab.folder.path().join(RUN)
}

/// A merged run, and what was printed.
struct Merged {
    folder: tempfile::TempDir,
    exit: Option<i32>,
    said: String,
}

fn merge(labs: &[&Lab]) -> Result<Merged, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2lab"));
    command.arg("merge").args(labs.iter().map(|lab| run(lab))).arg("--out").arg(folder.path().join(RUN));
    command.env_clear().stdin(Stdio::null()).current_dir(folder.path());
    for variable in ["HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
        command.env(variable, folder.path());
    }
    let output = command.output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok(Merged { folder, exit: output.status.code(), said })
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(name, value)| match MASKED.contains(&name.as_str()) {
                true => *value = Value::Null,
                false => mask(value),
            })
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Returns the files of a run that a bundle has, with the log masked.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).map_err(|e| e.to_string())? {
            let path = entry.map_err(|e| e.to_string())?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).map_err(|e| e.to_string())?.display().to_string();
            found.insert(name, fs::read(&path).map_err(|e| e.to_string())?);
        }
    }
    found.retain(|name, _| s2lab::run::bundle::is_of_run(name));
    // Each host gets a nonce of its own, which its console shows.
    for (_, console) in found.iter_mut().filter(|(name, _)| name.ends_with("console.host.log")) {
        let text = String::from_utf8_lossy(console).into_owned();
        let lines = text.lines().map(|line| {
            let nonce = BEFORE_NONCE.iter().find_map(|words| Some(line.find(words)? + words.len()));
            format!("{}\n", nonce.and_then(|at| line.get(..at)).unwrap_or(line))
        });
        *console = lines.collect::<String>().into_bytes();
    }
    let log = found.get("events.jsonl").cloned().unwrap_or_default();
    let mut masked = String::new();
    // A console is read beside the agent: what it shows may be logged before or after the hello.
    let of_console = |line: &&str| CONSOLE.iter().any(|words| line.contains(words));
    let log = String::from_utf8_lossy(&log).into_owned();
    let (beside, lines): (Vec<_>, Vec<_>) = log.lines().partition(of_console);
    for line in lines.into_iter().chain(beside) {
        let mut line = serde_json::from_str(line).map_err(|e| e.to_string())?;
        mask(&mut line);
        masked += &format!("{line}\n");
    }
    found.insert("events.jsonl".into(), masked.into_bytes());
    Ok(found)
}

/// Checks that the merged run is that of one machine.
fn is_whole(merged: &Merged) -> Checked {
    let whole = done(None)?;
    let judged = Command::new(env!("CARGO_BIN_EXE_s2lab"))
        .args(["report", &run(&whole).display().to_string()])
        .env_clear()
        .envs(["HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"].map(|name| (name, whole.folder.path())))
        .current_dir(whole.folder.path())
        .output();
    expect("report", judged.map_err(|e| e.to_string())?.status.code(), merged.exit)?;
    let (found, due) = (files(&merged.folder.path().join(RUN))?, files(&run(&whole))?);
    expect("the files", found.keys().collect::<Vec<_>>(), due.keys().collect())?;
    let reports = found.keys().filter(|name| name.starts_with("reports/")).count();
    expect("the reports", reports, CELLS)?;
    for (name, due) in &due {
        let found = String::from_utf8_lossy(&found[name]);
        let due = String::from_utf8_lossy(due);
        let other = found.lines().zip(due.lines()).find(|(found, due)| found != due);
        expect(name, other, None)?;
        expect(name, found.lines().count(), due.lines().count())?;
    }
    Ok(())
}

pub(crate) fn merged() -> Checked {
    let shards = [done(Some("1/3"))?, done(Some("2/3"))?, done(Some("3/3"))?];
    let [first, second, third] = &shards;
    let merged = merge(&[third, first, second])?;
    expect("exit code", (merged.exit, &merged.said), (Some(0), &merged.said))?;
    is_whole(&merged)
}

pub(crate) fn killed() -> Checked {
    let first = done(Some("1/2"))?;
    let mut second = begin(Some("2/2"), &script().and(Moment::Request("store".into()), Act::Hang))?;
    second.wait_for("guest-up")?;
    second.signal(Signal::KILL)?;
    second.ended()?;
    second.gone()?;
    let merged = merge(&[&first, &second])?;
    expect("exit code", (merged.exit, &merged.said), (Some(3), &merged.said))?;
    for due in ["MISS: shard 2/2 ended before this cell had a result: lifecycle@fake+n=3", "1 LOST, 1 MISS"] {
        expect(due, (merged.said.contains(due), &merged.said), (true, &merged.said))?;
    }
    let again = done(Some("2/2"))?;
    let merged = merge(&[&first, &again])?;
    expect("exit code after its repeat", merged.exit, Some(0))?;
    is_whole(&merged)
}
