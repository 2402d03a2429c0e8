//! s2lab without a lab folder: the built-in one, and your own.

use crate::{
    harness::{Home, RUN},
    story::Story,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn checkout() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// Returns s2lab in a folder with nothing in it and nothing above it.
fn outside(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command.current_dir(home.path("home"));
    command
}

fn shown(mut command: Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (text, output.status.code())
}

#[test]
fn the_built_in_lab_is_the_checkouts() {
    let home = Home::new();
    let lab = checkout();
    for arguments in [&["list"][..], &["explain", "*"], &["lint"], &["run", "--dry-run"]] {
        let there = [arguments, &["--lab", lab.to_str().unwrap()]].concat();
        let there = shown(outside(&home, &there));
        assert_eq!(shown(outside(&home, arguments)), there);
        assert_eq!(there.1, Some(0));
    }
}

/// The folder of the cache cannot be written. A command that needs a lab says so, and a run works
/// without.
#[test]
fn without_a_place_for_it() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    fs::remove_dir(home.path("cache")).unwrap();
    home.write("cache", "");
    let mut session = home.session();
    for arguments in [&["list"][..], &["report"], &["report", RUN]] {
        session.keep(&format!("cd ../home; s2lab {}", arguments.join(" ")), &mut outside(&home, arguments));
    }
    session.check("built-in-nowhere");
}

#[test]
fn the_built_in_lab_is_not_changed() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    let mut session = home.session();
    for arguments in [&["accept"][..], &["new", "mine"]] {
        let output = session
            .keep(&format!("cd ../home; s2lab {}", arguments.join(" ")), &mut outside(&home, arguments));
        assert_eq!(output.status.code(), Some(2));
    }
    session.check("built-in-unchanged");
}

#[test]
fn a_lab_of_ones_own() {
    let home = Home::new();
    home.write("home/repository/README", "a repository that is there already");
    home.write("home/repository/.gitattributes", "*.png binary\n");
    home.write("home/taken/scenarios", "");
    home.write("home/file", "");
    let mut session = home.session();
    for line in ["init new/lab", "init repository", "init repository", "init taken", "init file"] {
        let arguments: Vec<_> = line.split(' ').collect();
        session.keep(&format!("cd ../home; s2lab {line}"), &mut outside(&home, &arguments));
    }
    session.note("it is a lab");
    session.keep(
        "cd ../home/repository/reports; s2lab lint -q | wc -l",
        home.shell("s2lab lint -q | while read -r line; do echo 1; done")
            .current_dir(home.path("home/repository/reports")),
    );
    session.note("the disk is full");
    session.keep(
        "cd ../home; ulimit -f 0; s2lab init full",
        home.shell("trap '' XFSZ; ulimit -f 0; s2lab init full 2>&1 | while read -r line; do echo \"$line\"; done; exit ${PIPESTATUS[0]}")
            .current_dir(home.path("home")),
    );
    session.check("init");

    assert_eq!(home.tree("home/taken"), ["scenarios"]);
    assert!(!home.path("home/full").exists());
    // The program has the reports of its default cells alone.
    let all_but_reports = |paths: Vec<String>| -> Vec<_> {
        paths.into_iter().filter(|path| !path.contains("/.") && !path.starts_with("reports/")).collect()
    };
    let shipped = Home::with_lab(&checkout()).tree("lab");
    let shipped = std::iter::once(".gitattributes".to_owned()).chain(shipped).collect();
    let own = home.tree("home/new/lab");
    assert!(own.contains(&"reports/vfio-pci-bar/debian-6.12+fwb=yes.txt".to_owned()), "{own:?}");
    assert_eq!(all_but_reports(own), all_but_reports(shipped));
    let text = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert_eq!(home.read("home/new/lab/images/kernels.yaml"), text(checkout().join("images/kernels.yaml")));
}

#[test]
fn a_scenario_to_begin_with() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["new", "mine"]);
    session.s2lab(&["lint", "scenarios/mine.yaml"]);
    session.s2lab(&["list", "mine"]);
    for (name, exit) in [("mine", 2), ("../mine", 2), ("Mine: yours", 2), ("", 2)] {
        assert_eq!(session.s2lab(&["new", name]).status.code(), Some(exit), "{name}");
    }
    session.check("new");
    assert_eq!(home.tree("lab/scenarios"), ["bar.yaml", "idle.yaml", "mine.yaml"]);
    assert!(!home.path("lab/mine.yaml").exists());
}

/// Brought parts are checked before a run is made.
#[test]
fn parts_that_will_not_do() {
    let home = Home::new();
    home.write("parts/text", "no program");
    fs::create_dir(home.path("parts/empty")).unwrap();
    let mut session = home.session();
    for arguments in [
        &["--qemu", "../parts/none"][..],
        &["--qemu", "/bin/true"],
        &["--rootfs", "../parts/none"],
        &["--rootfs", "../parts/empty"],
        &["--rootfs", "../parts/text"],
        &["--agent", "../parts/text"],
        &["--guest-kernel", "../parts/text"],
        &["--guest-modules", "../parts/empty"],
    ] {
        let output = session.s2lab(&[&["run", "--offline", "idle@debian-6.1"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    session.check("parts");
    assert!(!home.path("state/s2lab/runs").exists());
}

/// A repeated cell gets the same parts as in its first run.
#[test]
fn parts_are_brought_again() {
    let home = Home::new();
    home.image("Image");
    home.write("config", "CONFIG_ARM64=y\n");
    let from = [
        "run",
        "--offline",
        "idle",
        "--kernel",
        "../Image",
        "--config",
        "../config",
        "--guest-kernel",
        "../Image",
    ];
    assert_eq!(home.command(&from).output().unwrap().status.code(), Some(3));
    let again =
        ["run", "idle@image", "--kernel", "../Image", "--config", "../config", "--guest-kernel", "../Image"];
    let repeats = |home: &Home| {
        let run = home.runs().pop().unwrap();
        let log = home.read(&format!("state/s2lab/runs/{run}/events.jsonl"));
        let plan = log.lines().next().unwrap().to_owned();
        let words: Vec<_> = again.iter().map(|word| format!("{word:?}")).collect();
        assert!(plan.contains(&words.join(",")), "{plan}");
    };
    repeats(&home);
    assert_eq!(home.command(&["run", "--failed", "--offline"]).output().unwrap().status.code(), Some(3));
    assert_eq!(home.runs().len(), 2);
    repeats(&home);
    assert_ne!(home.runs()[0], RUN);
}
