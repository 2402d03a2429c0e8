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

/// A scenario that not every kernel can run at every point.
const FAR: &str = "scenario: far
about: Some points are excluded, and kernels may lack something.
promises: [I5]
needs: {IOMMUFD: its cdev is used}
axes:
  host.cpu: [neoverse-v1, a64fx]
  guests.g0.memory: [64M, 128M]
exclude:
  - {at: {cpu: neoverse-v1, memory: 128M}, reason: One CPU with so much memory is enough.}
host: {cpu: neoverse-v1}
guests:
  g0: {vmm: builtin, memory: 64M}
steps:
  - look: {name: up}
expect:
  - {at: up, of: ram, stage2: Normal-WB}
";
/// Kernels of which the fragments say something before they are built.
const BUILT: &str = "  pages:
    {about: x, provider: source, package: linux, suites: [sid], version: '1', config: [pages.config], traits: []}
  cdev:
    {about: x, provider: source, package: linux, suites: [sid], version: '1', config: [cdev.config], traits: []}
default:";

/// Returns a home whose lab has [`FAR`] and [`BUILT`].
fn home_with_promises() -> Home {
    let home = Home::new();
    home.write("lab/scenarios/far.yaml", FAR);
    let kernels = home.read("lab/images/kernels.yaml");
    home.write("lab/images/kernels.yaml", kernels.replace("default:", BUILT));
    home.write("lab/images/pages.config", "CONFIG_ARM64_16K_PAGES=y\n");
    home.write("lab/images/cdev.config", "CONFIG_IOMMUFD=y\n");
    home
}

#[test]
fn the_promises_and_what_is_expected_on_each_kernel() {
    let home = home_with_promises();
    let mut session = home.session();
    let table = session.s2lab(&["list", "--promises"]);
    assert_eq!(table.status.code(), Some(0));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert_eq!(session.s2lab(&["list", "--promises", "idle"]).status.code(), Some(2));
    session.note("a fragment that is no configuration");
    home.write("lab/images/cdev.config", "IOMMUFD\n");
    assert_eq!(session.s2lab(&["list", "--promises"]).status.code(), Some(2));
    session.check("promises");
}

/// The document has each cell of the table.
#[test]
fn the_expected_results_for_programs() {
    let home = home_with_promises();
    let output = home.command(&["list", "--promises", "--format", "json"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = document["cells"].as_array().unwrap();
    let facts = ["expected", "as", "reason", "skip_if", "promises"];
    let of = |key: &str| {
        let cell = cells.iter().find(|cell| cell["key"] == key).unwrap();
        facts.map(|fact| cell[fact].to_string())
    };
    let far = r#"["I5","I17"]"#;
    let lacks = r#"["the kernel lacks CONFIG_IOMMUFD (its cdev is used)"]"#;
    assert_eq!(of("bar@upstream"), ["\"PASS\"", "\"wc-honoured\"", "null", "[]", r#"["I1","I4","I17"]"#]);
    assert_eq!(of("far@pages+cpu=neoverse-v1+memory=64M"), ["\"PASS\"", "null", "null", lacks, far]);
    assert_eq!(of("far@cdev+cpu=a64fx+memory=128M"), ["\"PASS\"", "null", "null", "[]", far]);
    let excluded = "\"One CPU with so much memory is enough.\"";
    assert_eq!(of("far@cdev+cpu=neoverse-v1+memory=128M"), ["\"SKIP\"", "null", excluded, "[]", far]);
    let pages = "\"a64fx has no pages of 16K, and the kernel has CONFIG_ARM64_16K_PAGES\"";
    assert_eq!(of("far@pages+cpu=a64fx+memory=64M"), ["\"SKIP\"", "null", pages, "[]", far]);
    assert_eq!(cells.len(), 5 * (1 + 1 + 4), "each scenario at each point on each kernel");
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
