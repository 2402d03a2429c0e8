//! `s2lab explain`.

use crate::harness::Home;
use s2lab_model::scenario::load;

#[test]
fn a_cell() {
    let home = Home::new();
    home.write("lab/Image", "");
    let mut session = home.session();
    session.s2lab(&["explain", "bar@debian-6.12"]);
    session.note("a kernel that declares nothing is held against every alternative");
    session.s2lab(&["explain", "scenarios/bar.yaml", "--kernel", "./Image", "--modules", "images"]);
    for none in [&["explain", "bra@debian-6.1"][..], &["explain"]] {
        assert_eq!(session.s2lab(none).status.code(), Some(2));
    }
    session.check("explain");
}

/// What is shown as the scenario is a scenario, and the same one.
#[test]
fn the_scenario_that_is_shown_can_be_run() {
    let home = Home::new();
    for cell in home.plan(&["*"]) {
        let output = home.command(&["explain", &cell.key]).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let (scenario, rest) = shown.split_once("\n\n").unwrap();
        let file = format!("{}.yaml", cell.scenario.scenario);
        assert_eq!(load::load(&file, scenario).unwrap(), cell.scenario);
        assert!(rest.starts_with(&format!("# The kernel, {}\n", cell.kernel)), "{rest}");
    }
}
