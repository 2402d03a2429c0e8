//! `s2lab plan`, shards of a run, and `s2lab merge`.

use crate::{
    harness::Home,
    story::{Behaves, Story},
};
use s2lab_model::{
    event::PlannedCell,
    shards::{PlanFile, Shard, ShardNumber},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};

const PLAN: &str = "plan.json";
const BAR: &str = "bar@debian-6.12";

fn plan(home: &Home) -> PlanFile {
    let output = home.command(&["plan", "-o", "../plan.json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PlanFile::load(&home.read(PLAN)).unwrap()
}

/// Writes a run of these cells to `folder`, as `s2lab run` with the plan would.
fn write(home: &Home, folder: &str, plan: &PlanFile, number: Option<&str>) {
    write_with(home, folder, plan, number, BAR);
}

/// Writes a run like [`write`] in which the cell `fails` fails.
fn write_with(home: &Home, folder: &str, plan: &PlanFile, number: Option<&str>, fails: &str) {
    let part = plan.part(number.map_or(ShardNumber::WHOLE, |number| number.parse().unwrap()));
    let cells: Vec<_> = part.into_iter().map(|cell| cell.cell.clone()).collect();
    let behaves =
        |cell: &PlannedCell| if cell.key == *fails { Behaves::Before } else { Behaves::as_declared(cell) };
    Story::of(&cells, behaves).write(&home.path(folder));
    for cell in &cells {
        let consoles = format!("{folder}/cells/{}/console.host.log", cell.key);
        home.write(&consoles, format!("the console of {}\n", cell.key));
    }
    change(home, folder, |line| {
        let of = &mut line["event"]["plan"];
        (of["s2lab"], of["lab"]) = (plan.s2lab.clone().into(), json!(home.lab()));
        if let Some(number) = number {
            of["shard"] = json!(Shard::new(number.parse().unwrap(), plan.clone()));
        }
    });
}

/// Changes the first line of a log.
fn change(home: &Home, folder: &str, change: impl FnOnce(&mut Value)) {
    let log = home.read(&format!("{folder}/events.jsonl"));
    let (first, rest) = log.split_once('\n').unwrap();
    let mut line = serde_json::from_str(first).unwrap();
    change(&mut line);
    home.write(&format!("{folder}/events.jsonl"), format!("{line}\n{rest}"));
}

/// Returns the files of a run by their names. Of the log it has the lines without their times.
fn files(folder: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    let log = found.remove("events.jsonl").unwrap();
    let masked = log.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["ms"] = 0.into();
        format!("{line}\n")
    });
    found.insert("events.jsonl".into(), masked.collect());
    found
}

#[test]
fn a_plan_and_its_shards() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["plan", "-o", "../plan.json"]);
    let stdout = home.command(&["plan"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8(stdout).unwrap(), home.read(PLAN), "the same bytes");
    for shard in ["1/3", "2/3", "3/3"] {
        session.s2lab(&["run", "--plan", "../plan.json", "--shard", shard, "--dry-run"]);
        let of = |arguments: &[&str]| {
            let all = [arguments, &["--shard", shard, "--dry-run"]].concat();
            home.command(&all).output().unwrap().stdout
        };
        assert_eq!(of(&["run"]), of(&["run", "--plan", "../plan.json"]), "everyone has the same split");
    }
    session.s2lab(&["run", "--plan", "../plan.json", "--dry-run"]);
    session.note("a selection, and more shards than groups");
    session.s2lab(&["plan", "bar", "--exclude", "bar@debian-6.1", "-o", "../bar.json"]);
    session.s2lab(&["run", "--plan", "../bar.json", "--dry-run"]);
    session.s2lab(&["run", "--plan", "../bar.json", "--shard", "2/2"]);
    session.check("plan");
    assert_eq!(home.tree("state"), Vec::<String>::new());
}

#[test]
fn a_plan_that_is_not_of_this_checkout_is_refused() {
    let home = Home::new();
    plan(&home);
    let text = home.read(PLAN);
    home.write("newer.json", text.replace("\"format\": 1", "\"format\": 2"));
    home.write("none.json", "{}");
    home.write("s2lab.json", text.replace(s2lab::cli::VERSION, "0.0.1"));
    home.write("cell.json", text.replacen("\"group\": 1", "\"group\": 9", 1));
    let mut session = home.session();
    let run = |session: &mut crate::harness::Session<'_>, more: &[&str]| {
        let refused = session.s2lab(&[&["run"], more].concat());
        assert_eq!(refused.status.code(), Some(2), "{more:?}");
    };
    for file in ["newer", "none", "s2lab", "cell", "missing"] {
        run(&mut session, &["--plan", &format!("../{file}.json"), "--shard", "1/2"]);
    }
    for shard in ["0/3", "4/3", "1", "1/0", "-1/3"] {
        run(&mut session, &[&format!("--shard={shard}")]);
    }
    run(&mut session, &["--plan", "../plan.json", "idle"]);
    session.note("a kernel, then a scenario changes");
    let kernels = home.read("lab/images/kernels.yaml");
    home.write("lab/images/kernels.yaml", kernels.replace("suites: [bookworm]", "suites: [sid]"));
    run(&mut session, &["--plan", "../plan.json", "--shard", "1/2"]);
    let bar = home.read("lab/scenarios/bar.yaml");
    home.write("lab/images/kernels.yaml", kernels);
    home.write("lab/scenarios/bar.yaml", bar.replacen("bar: 16M", "bar: 32M", 1));
    run(&mut session, &["--plan", "../plan.json", "--shard", "1/2"]);
    session.check("plan-refused");
    assert_eq!(home.tree("state"), Vec::<String>::new());
}

/// A merged run is in the history once, in place of the runs of its shards.
#[test]
fn a_merged_run_is_in_the_history_once() {
    let home = Home::new();
    let plan = plan(&home);
    write(&home, "one", &plan, Some("1/2"));
    write(&home, "two", &plan, Some("2/2"));
    change(&home, "two", |line| line["event"]["plan"]["started"] = "2026-11-22T15:00:07Z".into());
    let s2lab = |arguments: &[&str]| home.command(arguments).output().unwrap();
    let runs = || {
        let answer: Value = serde_json::from_slice(&s2lab(&["history", "--format", "json"]).stdout).unwrap();
        let cells = answer["cells"].as_array().unwrap().iter();
        let run = |cell: &Value| {
            let folder = cell["last"]["folder"].as_str().unwrap();
            format!("{} {}", folder.rsplit('/').next().unwrap(), cell["runs"])
        };
        cells.map(run).collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert!(s2lab(&["history", "add", "../one", "../two"]).status.success());
    assert_eq!(runs(), ["one 1", "two 1"]);
    let merge = ["merge", "../one", "../two", "--out"];
    s2lab(&[&merge[..], &["../elsewhere", "--history", "../other.sqlite"]].concat());
    assert_eq!(runs(), ["one 1", "two 1"]);
    for folder in ["merged", "again"] {
        let said = s2lab(&[&merge[..], &[&format!("../{folder}")]].concat());
        assert!(!String::from_utf8_lossy(&said.stderr).contains("history"));
        assert_eq!(runs(), [format!("{folder} 1")]);
    }
    home.write("state/s2lab/history.sqlite", "no history");
    let said = s2lab(&[&merge[..], &["../warned"]].concat());
    assert_eq!(said.status.code(), Some(1), "the exit code of the run");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("warning: the run is not in the history"), "{said}");
}

/// The log differs in its times alone, and all other files are the same.
#[test]
fn the_merged_run_is_that_of_one_machine() {
    let home = Home::new();
    let plan = plan(&home);
    write(&home, "whole", &plan, None);
    let whole = home.command(&["report", "../whole"]).output().unwrap();
    for (name, number) in [("one", "1/3"), ("two", "2/3"), ("three", "3/3")] {
        write(&home, name, &plan, Some(number));
    }
    let bundle = home.command(&["bundle", "../two", "--out", "../two.tar.gz"]).output().unwrap();
    assert!(bundle.status.success());
    // A folder, a bundle, and any order.
    for (runs, out) in [(["three", "one", "two"], "a"), (["two.tar.gz", "three", "one"], "b")] {
        let (runs, out) = (runs.map(|run| format!("../{run}")), format!("../{out}"));
        let runs: Vec<_> = runs.iter().map(String::as_str).collect();
        let more = ["--plan", "../plan.json", "--out", &out];
        let merged = home.command(&[&["merge"], &runs[..], &more].concat()).output().unwrap();
        assert_eq!(merged.status.code(), Some(1), "{}", String::from_utf8_lossy(&merged.stderr));
        let shown = |output: Vec<u8>, folder: &str| {
            String::from_utf8(output).unwrap().replace(home.path(folder).to_str().unwrap(), "RUN")
        };
        let of = &out["../".len()..];
        assert_eq!(shown(merged.stdout, of), shown(whole.stdout.clone(), "whole"));
        let (merged, due) = (files(&home.path(of)), files(&home.path("whole")));
        assert_eq!(merged.keys().collect::<Vec<_>>(), due.keys().collect::<Vec<_>>());
        let reports = due.keys().filter(|name| name.starts_with("reports/")).count();
        assert_eq!(reports, plan.cells.len());
        for (name, text) in due {
            assert_eq!(merged[&name], text, "{name}");
        }
        let again = home.command(&["report", &out]).output().unwrap();
        assert_eq!(again.status.code(), Some(1));
        assert_eq!(files(&home.path(of)), merged, "`report` makes the same of it");
    }
}

#[test]
fn what_never_came_is_a_miss() {
    let home = Home::new();
    let plan = plan(&home);
    for (name, number) in [("one", "1/3"), ("two", "2/3"), ("three", "3/3")] {
        write_with(&home, name, &plan, Some(number), "");
    }
    home.write("empty/events.jsonl", "");
    // The second was killed in its only cell.
    let log = home.read("two/events.jsonl");
    let end = log.find("\"guest-up\"").map(|at| log[..at].rfind('\n').unwrap() + 1).unwrap();
    let mut session = home.session();
    home.write("killed/events.jsonl", &log[..end]);
    let merged = session.s2lab(&["merge", "../one", "../two", "../empty", "--out", "../merged"]);
    assert_eq!(merged.status.code(), Some(3));
    session.note("the second was killed");
    assert_eq!(session.s2lab(&["merge", "../one", "../killed", "--out", "../lost"]).status.code(), Some(3));
    session.note("below the state folder, where it is the latest run");
    assert_eq!(session.s2lab(&["merge", "../one", "../two", "../three"]).status.code(), Some(0));
    session.s2lab(&["report"]);
    session.check_runs("merge-missing");
}

#[test]
fn runs_that_do_not_belong_together_are_refused() {
    let home = Home::new();
    let plan = plan(&home);
    for (name, number) in
        [("one", Some("1/2")), ("two", Some("2/2")), ("third", Some("1/3")), ("whole", None)]
    {
        write(&home, name, &plan, number);
    }
    home.command(&["plan", "idle", "-o", "../idle.json"]).output().unwrap();
    let other = PlanFile::load(&home.read("idle.json")).unwrap();
    write(&home, "other", &other, Some("2/2"));
    write(&home, "newer", &plan, Some("2/2"));
    change(&home, "newer", |line| line["v"] = "2.99".into());
    write(&home, "next", &plan, Some("2/2"));
    change(&home, "next", |line| line["v"] = "3.0".into());
    write(&home, "format", &plan, Some("2/2"));
    change(&home, "format", |line| line["event"]["plan"]["shard"]["whole"]["format"] = 2.into());
    home.write("taken/note", "mine");
    let before = home.tree("");
    let mut session = home.session();
    for runs in [
        &["one", "two", "two"][..],
        &["one", "third"],
        &["one", "other"],
        &["one", "newer"],
        &["one", "next"],
        &["one", "format"],
        &["one", "whole"],
        &["one", "nowhere"],
    ] {
        let runs: Vec<_> = runs.iter().map(|run| format!("../{run}")).collect();
        let runs: Vec<_> = runs.iter().map(String::as_str).collect();
        let refused = session.s2lab(&[&["merge"], &runs[..], &["--out", "../merged"]].concat());
        assert_eq!(refused.status.code(), Some(2), "{runs:?}");
    }
    let other = ["merge", "../one", "../two", "--plan", "../idle.json", "--out", "../merged"];
    assert_eq!(session.s2lab(&other).status.code(), Some(2));
    let taken = ["merge", "../one", "../two", "--out", "../taken"];
    assert_eq!(session.s2lab(&taken).status.code(), Some(2));
    assert_eq!(session.s2lab(&["merge"]).status.code(), Some(2));
    assert_eq!(home.tree(""), before, "nothing is written");
    let transcript = [plan.digest(), PlanFile::load(&home.read("idle.json")).unwrap().digest()];
    session.check_with("merge-refused", &transcript);
}

/// Every option in a file of `docs/ci` is one of its verb.
#[test]
fn the_files_for_engines_use_options_that_exist() {
    let home = Home::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ci");
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "sh" && end != "yml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let Some((_, command)) = line.split_once("s2lab ") else { continue };
            let mut words = command.split_whitespace();
            let verb = words.next().unwrap();
            if !["plan", "run", "merge", "bundle"].contains(&verb) {
                continue;
            }
            let help = home.command(&[verb, "--help"]).output().unwrap().stdout;
            let help = String::from_utf8(help).unwrap();
            for option in words.take_while(|word| *word != "||").filter(|word| word.starts_with('-')) {
                assert!(
                    help.contains(&format!("{option} ")) || help.contains(&format!("{option},")),
                    "{path:?}: {line}"
                );
                found += 1;
            }
        }
    }
    assert!(found >= 12, "{found}");
}
