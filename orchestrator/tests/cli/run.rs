//! `s2lab run` up to the point where it needs a machine.

use crate::{
    harness::Home,
    mutants::BUILT,
    story::{Behaves, Story},
};
use s2lab_model::event::StopCause;

#[test]
fn a_dry_run_makes_nothing() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["run", "--dry-run"]);
    session.s2lab(&["run", "--dry-run", "idle@*"]);
    session.note("more kernels than the default ones");
    session.s2lab(&["run", "--dry-run", "idle@*", "--all-kernels"]);
    session.s2lab(&["run", "--dry-run", "scenarios/idle.yaml", "--all-kernels"]);
    session.s2lab(&["run", "--dry-run", "idle@*", "idle@upstream"]);
    session.s2lab(&["run", "--dry-run", "idle@*", "--kernel", "upstream"]);
    assert_eq!(session.s2lab(&["run", "--dry-run", "idle@up*"]).status.code(), Some(2));
    session.note("verbs that boot nothing, and nights, take all by a glob");
    session.s2lab(&["list", "idle@*"]);
    session.s2lab(&["nightly", "--dry-run", "idle@*"]);
    session.check("dry-run");
    assert_eq!(home.tree("state"), Vec::<String>::new());
    assert_eq!(home.tree("cache"), Vec::<String>::new());
}

#[test]
fn what_cannot_be_planned_makes_nothing() {
    let home = Home::new();
    home.write("Image", "");
    home.write("x86.config", "CONFIG_X86_64=y\n");
    let mut session = home.session();
    for arguments in [
        &["idel"][..],
        &["--kernel", "debian-6.2"],
        &["--kernel", "../no/Image"],
        &["--kernel", "debian-6.1", "--modules", "."],
        &["--kernel", "../Image", "--modules", "../Image"],
        &["--kernel", "debian-6.1", "--config", "../x86.config"],
        &["--kernel", "../Image", "--config", "../no.config"],
        &["--kernel", "../Image", "--config", "../x86.config"],
        &["--kernel", "../Image", "--config", "../Image"],
        &["scenarios/no.yaml"],
    ] {
        let output = session.s2lab(&[&["run", "--offline"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    session.check("run-not-planned");
    assert_eq!(home.tree("state"), Vec::<String>::new());
    assert_eq!(home.tree("cache"), Vec::<String>::new());
}

/// The machine has no apt, so nothing can be fetched: the line comes before that is known.
#[test]
fn what_the_kernels_need_is_printed_first() {
    let home = Home::new();
    let list = home.read("lab/images/kernels.yaml").replace("default:", BUILT);
    home.write("lab/images/kernels.yaml", list);
    home.write("lab/images/config/a.config", "CONFIG_KVM=y\n");
    let deb = r#"{"name":"p","version":"1","architecture":"arm64","size":61200000,"sha256":"5e"}"#;
    let known = format!(r#"{{"linux-image-cloud-arm64 for arm64 from bookworm-backports":[{deb}]}}"#);
    home.write("cache/s2lab/objects/resolved.json", known);
    let mut session = home.session();
    let all = ["run", "--all-kernels"];
    assert_eq!(session.s2lab(&all).status.code(), Some(3));
    session.note("offline, only builds are left");
    session.s2lab(&[&all[..], &["--offline"]].concat());
    session.s2lab(&["run", "bar@debian-6.1", "--offline"]);
    session.note("silent");
    session.s2lab(&["run", "bar@debian-6.1", "--quiet"]);
    session.note("an earlier build");
    home.write("cache/s2lab/build/kernel/whole-build", "431");
    session.s2lab(&["run", "bar@built", "idle@built"]);
    session.check_runs("needs");
}

/// The cells of a saved host are one boot, and gdb begins at the first instruction.
#[test]
fn a_saved_host_is_no_sample_and_has_no_first_instruction() {
    let home = Home::new();
    let mut session = home.session();
    for other in ["--repeat=2", "--gdb"] {
        assert_eq!(session.s2lab(&["run", "--resume", other]).status.code(), Some(2), "{other}");
    }
    session.check("run-resume-refused");
    assert_eq!(home.tree("state"), Vec::<String>::new());
}

/// Returns the name of the only run, which has the time in it.
fn only_run(home: &Home) -> String {
    let names = home.runs();
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].clone()
}

#[test]
fn offline_with_an_empty_store() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["run", "--offline"]).status.code(), Some(3));
    session.note("the same from the files that the run has left");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    session.s2lab(&["check"]);
    session.s2lab(&["accept"]);
    let run = only_run(&home);
    session.check_runs("offline");
    assert!(!home.path("lab/reports").join("idle").exists());
    let left: Vec<_> = home.tree("state/s2lab/runs").iter().map(|path| path.replace(&run, "RUN")).collect();
    insta::assert_snapshot!("offline-left", left.join("\n"));
}

#[test]
fn the_event_log_on_stdout() {
    let home = Home::new();
    let output = home.command(&["run", "--offline", "--format", "events", "idle"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let run = only_run(&home);
    let kept = home.read(&format!("state/s2lab/runs/{run}/events.jsonl"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), kept);
    assert!(s2lab_model::record::Run::read(&kept).unwrap().ended);
}

/// `--out` is for a folder without a run; a folder with a run is not changed.
#[test]
fn a_run_is_never_written_over() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["run", "--offline", "idle", "--out", "../out"]);
    let before = (home.read("out/events.jsonl"), home.read("out/s2lab.log"));
    assert_eq!(session.s2lab(&["run", "--offline", "idle", "--out", "../out"]).status.code(), Some(2));
    session.check("out-twice");
    assert_eq!((home.read("out/events.jsonl"), home.read("out/s2lab.log")), before);
}

/// The command that repeats a cell names all that the cell was made of beyond the lab, and plans
/// that cell.
#[test]
fn a_cell_of_files_can_be_repeated() {
    let home = Home::new();
    let mine = home.read("lab/scenarios/idle.yaml").replace("scenario: idle", "scenario: mine");
    home.write("my own/mine.yaml", mine);
    home.image("my own/Image-6.19");
    home.write("lab/images/modules.builtin", "");
    home.write("my own/config-6.19", "CONFIG_ARM64=y\n");
    let mut session = home.session();
    let from = [
        "../my own/mine.yaml",
        "--kernel",
        "../my own/Image-6.19",
        "--modules",
        "images",
        "--config",
        "../my own/config-6.19",
    ];
    session.s2lab(&[&["run", "--offline"], &from[..]].concat());
    let shown = session.s2lab(&["report"]);
    session.s2lab(&["run", "--offline", "../my own/mine.yaml", "bar@upstream"]);
    session.s2lab(&["report"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let (_, command) = shown.split_once("repeat: ").unwrap();
    let (command, _) = command.split_once("   logs: ").unwrap();
    let again = session.shell(&format!("{command} --dry-run"));
    assert_eq!(String::from_utf8(again.stdout).unwrap(), "mine@image-6.19\n");
    session.check_runs("repeat");
}

#[test]
fn what_has_failed_is_run_again() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["run", "--failed"]).status.code(), Some(2));
    let cells = home.plan(&[]);
    let story = Story::of(&cells, |_| Behaves::Before);
    home.add_run(&story.stopped("idle@debian-6.1", StopCause::Lacking, "no /dev/kvm", None));
    session.s2lab(&["report"]);
    session.s2lab(&["run", "--failed", "--dry-run"]);
    assert_eq!(session.s2lab(&["run", "--failed", "idle"]).status.code(), Some(2));
    home.add_run(&Story::well(&cells));
    session.note("all is well");
    assert_eq!(session.s2lab(&["run", "--failed"]).status.code(), Some(3));
    session.note("at work");
    let log = std::fs::File::open(home.of_run("events.jsonl")).unwrap();
    log.lock().unwrap();
    assert_eq!(session.s2lab(&["run", "--failed"]).status.code(), Some(2));
    session.check("failed");
}

/// Files and images are given again as they were, and only to the cells that failed.
#[test]
fn what_has_failed_of_files_is_run_again() {
    let home = Home::new();
    let mine = home.read("lab/scenarios/idle.yaml").replace("scenario: idle", "scenario: mine");
    home.write("my own/mine.yaml", mine);
    home.image("my own/Image-6.19");
    let from = ["run", "--offline", "../my own/mine.yaml", "--kernel", "../my own/Image-6.19"];
    assert_eq!(home.command(&from).output().unwrap().status.code(), Some(3));
    let again = home.command(&["run", "--failed", "--dry-run"]).output().unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), "mine@image-6.19\n");
}

#[test]
fn how_often() {
    let home = Home::new();
    let mut session = home.session();
    for arguments in [&["--repeat", "0"][..], &["--repeat", "2", "--retry", "1"], &["--retry", "1001"]] {
        assert_eq!(session.s2lab(&[&["run"], arguments].concat()).status.code(), Some(2));
    }
    session.check("how-often");
    home.command(&["run", "--offline", "--repeat", "3", "idle"]).output().unwrap();
    let run = only_run(&home);
    let log = home.read(&format!("state/s2lab/runs/{run}/events.jsonl"));
    assert!(log.lines().next().unwrap().contains("\"attempts\":{\"repeat\":3}"), "{log}");
}
