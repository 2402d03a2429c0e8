//! Help, version, and mistakes on the command line itself.

use crate::harness::Home;

#[test]
fn help() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&[]).status.code(), Some(2));
    session.s2lab(&["--help"]);
    for verb in ["run", "list", "explain", "shell", "lint", "report", "check", "accept", "doctor"] {
        session.s2lab(&[verb, "--help"]);
    }
    session.check("help");
}

#[test]
fn the_version_has_the_commit() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["--version"]);
    session.check("version");
}

#[test]
fn mistakes_on_the_command_line() {
    let home = Home::new();
    let mut session = home.session();
    for arguments in [
        &["lits"][..],
        &["list", "--colour", "always"],
        &["list", "--color", "sometimes"],
        &["run", "--jobs", "0"],
        &["run", "--modules", "/lib/modules"],
        &["run", "--config", "/boot/config"],
        &["list", "--lab", ""],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(2), "{arguments:?}");
    }
    session.check("mistakes");
}
