//! Files of the user: s2lab does not overwrite or remove those in a lab folder, in a run from
//! elsewhere, or beside the runs.

use crate::{
    harness::{Home, RUN},
    story::{Behaves, Story},
};
use std::{fs, os::unix::fs::symlink};

/// A run's folder comes from elsewhere, with links in it.
#[test]
fn a_report_goes_through_no_link() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    home.write("home/profile", "mine");
    for part in ["reports", "cells"] {
        let _ = fs::remove_dir_all(home.of_run(part));
    }
    symlink(home.path("home"), home.of_run("reports")).unwrap();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report", "--quiet"]).status.code(), Some(2));
    session.note("links in the place of the files are replaced");
    fs::remove_file(home.of_run("reports")).unwrap();
    fs::create_dir(home.of_run("reports")).unwrap();
    symlink(home.path("home/profile"), home.of_run("reports/idle@debian-6.1.txt")).unwrap();
    session.s2lab(&["report"]);
    session.check("files-report");
    assert!(home.of_run("reports/idle@debian-6.1.txt").symlink_metadata().unwrap().is_file());
    assert_eq!(home.read("home/profile"), "mine");
    assert_eq!(home.tree("home"), ["profile"]);
}

/// git keeps links: a cloned repository may have any.
#[test]
fn a_lab_folder_with_links_is_not_written_through() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    fs::remove_dir_all(home.path("lab/reports")).unwrap();
    fs::create_dir(home.path("lab/reports")).unwrap();
    symlink(home.path("home"), home.path("lab/reports/idle")).unwrap();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["accept"]).status.code(), Some(2));
    session.note("scenarios/mine.yaml leads elsewhere");
    symlink(home.path("home/mine.yaml"), home.path("lab/scenarios/mine.yaml")).unwrap();
    assert_eq!(session.s2lab(&["new", "mine"]).status.code(), Some(2));
    session.note("so does scenarios");
    fs::rename(home.path("lab/scenarios"), home.path("home/scenarios")).unwrap();
    symlink(home.path("home/scenarios"), home.path("lab/scenarios")).unwrap();
    assert_eq!(session.s2lab(&["new", "other"]).status.code(), Some(2));
    session.check("files-lab");
    assert!(home.path("home/mine.yaml").symlink_metadata().is_err());
    assert!(home.path("home/scenarios/other.yaml").symlink_metadata().is_err());
    assert!(home.path("home/debian-6.1.txt").symlink_metadata().is_err());
}

#[test]
fn old_runs_go_and_nothing_else() {
    let home = Home::new();
    let mut session = home.session();
    let keep = |number: &str, arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("S2LAB_KEEP_RUNS", number);
        command
    };
    let run = ["run", "--offline", "--quiet", "idle@debian-6.1"];
    for wrong in ["many", "-1"] {
        let shown = format!("S2LAB_KEEP_RUNS={wrong} s2lab run");
        assert_eq!(session.keep(&shown, &mut keep(wrong, &run)).status.code(), Some(2));
    }
    assert_eq!(home.tree("state"), Vec::<String>::new());
    session.check("files-keep");

    let first = {
        keep("0", &run).output().unwrap();
        home.runs()[0].clone()
    };
    // The run of an s2lab without marks, and a copy of it.
    home.add_run(&Story::of(&home.plan(&["idle"]), |_| Behaves::Before));
    home.write("state/s2lab/runs/notes/note", "mine");
    let copied = home.shell(&format!("/bin/cp -r ../state/s2lab/runs/{first} ../state/s2lab/runs/baseline"));
    assert!({ copied }.status().unwrap().success());
    let all = home.runs();
    keep("0", &run).output().unwrap();
    assert_eq!(home.runs().len(), all.len() + 1);
    let output = keep("2", &run).output().unwrap();
    let stderr = home.stable(&String::from_utf8(output.stderr).unwrap());
    let line = "the newest 2 are kept, see S2LAB_KEEP_RUNS";
    assert!(
        stderr.contains(&format!("removed the old run TMP/state/s2lab/runs/{first}: {line}\n")),
        "{stderr}"
    );
    let left = home.runs();
    assert!(!left.contains(&first) && left.len() == all.len() + 1, "{left:?}");
    for kept in [RUN, "notes", "baseline"] {
        assert!(left.iter().any(|name| name == kept), "{kept}: {left:?}");
    }
    let out = ["run", "--offline", "--quiet", "idle@debian-6.1", "--out", "../out"];
    assert!(!String::from_utf8(keep("1", &out).output().unwrap().stderr).unwrap().contains("removed"));
}
