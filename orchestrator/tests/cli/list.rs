//! `s2lab list`, and the meaning of selectors.

use crate::harness::Home;

#[test]
fn what_a_selector_takes() {
    let home = Home::new();
    let mut session = home.session();
    for arguments in [
        &[][..],
        &["idle"],
        &["*"],
        &["*@*"],
        &["*@debian-6.1*", "idle@upstream"],
        &["b?r", "--kernel", "upstream"],
        &["--kernel", "debian-6.12", "--kernel", "debian-6.12"],
        &["--kernel", "./Image", "--kernel", "debian-6.1"],
        &["scenarios/bar.yaml"],
        &["scenarios/bar.yaml", "idle@upstream"],
        &["scenarios/bar.yaml", "./scenarios/bar.yaml", "bar"],
    ] {
        home.write("lab/Image", "");
        let output = session.s2lab(&[&["list"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    session.check("selectors");
}

#[test]
fn the_kernels_there_are() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["list", "--kernels"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["list", "--kernels", "idle"]).status.code(), Some(2));
    session.check("kernels");
}

#[test]
fn the_promises_and_who_holds_them() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["list", "--promises"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["list", "--promises", "idle"]).status.code(), Some(2));
    session.check("promises");
}

#[test]
fn what_there_is_not() {
    let home = Home::new();
    home.write("elsewhere/bar.yaml", home.read("lab/scenarios/bar.yaml"));
    home.write("6.12/Image", "");
    home.write("6.13/Image", "");
    let mut session = home.session();
    for arguments in [
        &["idel"][..],
        &["bar@debian-6.2"],
        &["zebra"],
        &["idle", "b*x"],
        &["--kernel", "debian-6.2"],
        &["--kernel", "./no/Image"],
        &["--kernel", "images"],
        &["--kernel", "./images"],
        &["--kernel", "/"],
        &["--kernel", "../6.12/Image", "--kernel", "../6.13/Image"],
        &["--kernel", "debian-6.1", "--modules", "."],
        &["--kernel", "../6.12/Image", "--modules", "./no"],
        &["scenarios/no.yaml"],
        &["../elsewhere/bar.yaml", "bar"],
        &[""],
    ] {
        let output = session.s2lab(&[&["list"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    session.check("no-match");
}

/// A lab folder has thousands of cells at the most. The error of an unknown key names a few.
#[test]
fn an_unknown_key_is_answered_with_the_nearest_of_many() {
    let home = Home::new();
    let kernel = "{about: x, provider: debian, package: linux, suites: [s], track: newest, traits: []}";
    let kernels: String = (100..150).map(|n| format!("  debian-{n}: {kernel}\n")).collect();
    let listed = home.read("lab/images/kernels.yaml");
    home.write("lab/images/kernels.yaml", listed.replace("default:", &format!("{kernels}default:")));
    let of_compare = home.read("lab/scenarios/bar.yaml").replace("scenario: bar", "scenario: bar-stores");
    home.write("lab/scenarios/compare/bar-stores.yaml", of_compare);
    let mut session = home.session();
    for arguments in [
        &["run", "bar-stores@debian-6.12"][..],
        &["run", "far-away@debian-6.12"],
        &["list", "bar@debian-99"],
        &["list", "--kernel", "debian-6.2"],
        &["list", "--kernel", "zebra"],
        &["shell", "bar@*"],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(2), "{arguments:?}");
    }
    session.note("the command of the hint");
    session.s2lab(&["list", "scenarios/compare/bar-stores.yaml", "--kernel", "debian-6.12"]);
    session.check("nearest");
}

#[test]
fn a_lab_without_scenarios() {
    let home = Home::new();
    let mut session = home.session();
    std::fs::remove_dir_all(home.path("lab/scenarios")).unwrap();
    session.s2lab(&["list"]);
    session.s2lab(&["lint"]);
    std::fs::create_dir(home.path("lab/scenarios")).unwrap();
    session.note("the folder is there, but nothing is in it");
    session.s2lab(&["list"]);
    session.s2lab(&["lint"]);
    session.check("no-scenarios");
}

#[test]
fn cells_are_left_out() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["list", "--exclude", "idle"]);
    session.s2lab(&["list", "--exclude", "*@debian-6.1", "--exclude", "bar*"]);
    session.s2lab(&["run", "-j", "2", "--dry-run", "bar", "--exclude", "bar@debian-6.1"]);
    for wrong in ["far", "*"] {
        assert_eq!(session.s2lab(&["list", "--exclude", wrong]).status.code(), Some(2), "{wrong}");
    }
    session.check("exclude");
}
