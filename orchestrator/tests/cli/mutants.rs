//! `s2lab mutants`, and reports of its runs.

use crate::{
    harness::{Home, RUN},
    story::{Behaves, Story},
};
use s2lab_model::{event::PlannedCell, plan::Key};
use serde_json::{Value, json};
use std::fs;

/// A kernel that is built, beside those of the lab.
pub(crate) const BUILT: &str = "  built:
    about: Built from source.
    provider: source
    package: linux-source-6.1
    suites: [bookworm]
    version: 6.1.176-1
    config: [config/a.config]
    traits: [wc-conveyed, wc-honoured]
default:";

/// Returns the header of a mutant's patch.
fn patch(name: &str, breaks: &str, more: &str) -> String {
    format!(
        "Subject: [PATCH] KVM: arm64: Be {name}\n\nMutant: {name}\nArea: TLB\nBreaks: {breaks}\n{more}---\n\
         --- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n"
    )
}

/// Makes a lab folder whose kernel `built` has mutants.
fn home() -> Home {
    let home = Home::new();
    let list = home.read("lab/images/kernels.yaml").replace("default:", BUILT);
    home.write("lab/images/kernels.yaml", list);
    home.write("lab/images/config/a.config", "CONFIG_KVM=y\n");
    let write = |file: &str, text: String| home.write(&format!("lab/images/mutants/built/{file}"), text);
    write(
        "0000-base.patch",
        "Subject: [PATCH] The base\n---\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n".into(),
    );
    write("0001-wrong-type.patch", patch("wrong-type", "I1", "Like: B1\n"));
    write("0002-late.patch", patch("late", "I17", "Cannot-show: nothing is late here\n"));
    write("0003-slow.patch", patch("slow", "nothing", ""));
    home
}

#[test]
fn mutants_are_listed_and_planned() {
    let home = home();
    let mut session = home.session();
    for arguments in [
        &["--list"][..],
        &["--list", "wrong-*", "--kernel", "built"],
        &["--dry-run"],
        &["--dry-run", "wrong-type", "--scenario", "idle"],
    ] {
        let output = session.s2lab(&[&["mutants"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    session.s2lab(&["explain", "bar", "--kernel", "built~wrong-type"]);
    session.check("mutants-listed");
}

#[test]
fn what_is_no_mutant() {
    let home = home();
    let mut session = home.session();
    for arguments in [
        &["mutants", "wrong-tpye", "--list"][..],
        &["mutants", "--kernel", "debian-6.1", "--list"],
        &["mutants", "late"],
        &["mutants", "--format", "events", "--list", "nothing"],
        &["list", "--kernel", "built~wrong-tpye"],
        &["list", "--kernel", "debian-6.1~wrong-type"],
        &["list", "--kernel", "biult~wrong-type"],
        &["list", "--kernel", "built~wrong-type", "--series", "images/mutants/built"],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(2), "{arguments:?}");
    }
    home.write("lab/images/mutants/built/0004-x.patch", patch("x", "I99", ""));
    assert_eq!(session.s2lab(&["mutants", "--list"]).status.code(), Some(2));
    session.check("mutants-wrong");
}

/// Returns the cells of the kernel `built` with these mutants.
fn cells(home: &Home, mutants: &[&str]) -> Vec<PlannedCell> {
    let of = |mutant: &&str| {
        let kernel = format!("built~{mutant}");
        let cells = home.plan(&["bar@built"]);
        cells.into_iter().map(move |cell| PlannedCell {
            key: Key::of(cell.key.scenario(), &kernel, []).unwrap(),
            repeat: vec!["run".into(), format!("bar@{kernel}"), "--kernel".into(), kernel.clone()],
            kernel: kernel.clone(),
            ..cell
        })
    };
    mutants.iter().flat_map(of).collect()
}

fn mutant(name: &str, breaks: &str, cannot_show: Option<&str>) -> Value {
    let mut mutant = json!({"name": name, "about": format!("Be {name}"), "area": "TLB", "breaks": breaks});
    if let Some(why) = cannot_show {
        mutant["cannot-show"] = why.into();
    }
    json!({"base": "built", "mutant": mutant})
}

/// Adds a run on mutants, in which these kernels lose the VMA's flag.
fn add_run(home: &Home, kernels: &[&str], wrong: &[&str], mutants: Value) {
    let is_wrong = |cell: &PlannedCell| wrong.iter().any(|name| cell.kernel == format!("built~{name}"));
    let behaves = |cell: &PlannedCell| if is_wrong(cell) { Behaves::Before } else { Behaves::After };
    home.add_run(&Story::of(&cells(home, kernels), behaves));
    let path = home.of_run("events.jsonl");
    let log = fs::read_to_string(&path).unwrap();
    let (plan, rest) = log.split_once('\n').unwrap();
    let mut plan: Value = serde_json::from_str(plan).unwrap();
    plan["event"]["plan"]["mutants"] = mutants;
    fs::write(&path, format!("{plan}\n{rest}")).unwrap();
}

#[test]
fn a_run_on_mutants_is_shown_by_mutants() {
    let home = home();
    let kernels = ["none", "wrong-type", "blind", "slow", "loud", "other"];
    let mutants = json!([
        mutant("wrong-type", "I1", None),
        mutant("blind", "I1", None),
        mutant("late", "I17", Some("nothing is late here")),
        mutant("slow", "nothing", None),
        mutant("loud", "nothing", None),
        mutant("other", "I17", None),
        mutant("absent", "I9", None),
    ]);
    add_run(&home, &kernels, &["wrong-type", "loud", "other"], mutants);
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(1));
    let json = home.command(&["report", "--format", "json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let outcomes: Vec<_> = json["mutants"]["mutants"].as_array().unwrap().iter().collect();
    let outcomes: Vec<_> = outcomes.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    let due = ["caught", "survived", "cannot show", "harmless", "false alarm", "unrelated", "not judged"];
    assert_eq!(outcomes, due);
    assert_eq!(json["mutants"]["mutants"][0]["decided_by"], "bar@built~wrong-type");
    assert_eq!(json["mutants"]["unmutated"][0]["outcome"], "passes");
    // Reports of mutants are not accepted.
    assert_ne!(session.s2lab(&["accept", "*"]).status.code(), Some(0));
    assert_eq!(home.tree("lab/reports"), Vec::<String>::new());
    session.check("mutants-report");
}

#[test]
fn a_run_on_mutants_exits_by_its_mutants() {
    let home = home();
    let exit = |kernels: &[&str], wrong: &[&str], mutants: Value| {
        let _ = fs::remove_dir_all(home.path("state/s2lab/runs").join(RUN));
        add_run(&home, kernels, wrong, mutants);
        home.command(&["report"]).output().unwrap().status.code()
    };
    let caught = || json!([mutant("m", "I1", None)]);
    assert_eq!(exit(&["none", "m"], &["m"], caught()), Some(0));
    assert_eq!(exit(&["none", "m"], &[], caught()), Some(1));
    assert_eq!(exit(&["none", "m"], &["none", "m"], caught()), Some(1));
    assert_eq!(exit(&["m"], &["m"], caught()), Some(3));
    assert_eq!(exit(&["none"], &[], caught()), Some(3));
}
