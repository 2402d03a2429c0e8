//! The axes of a scenario: cells at their points, and `--set`.

use crate::{
    harness::{Home, RUN},
    story::Story,
};
use std::path::Path;

const KEY: &str = "hosts@debian-6.12+cpu=neoverse-v1+mode=nvhe";
const EXCLUDED: &str = "hosts@debian-6.12+cpu=neoverse-n2+mode=nvhe";

const AXES: &str = "axes:
  host.cpu: [neoverse-v1, neoverse-n2]
  host.arguments: {as: mode, values: {vhe: [], nvhe: [kvm-arm.mode=nvhe]}}
exclude:
  - {at: {cpu: neoverse-n2, mode: nvhe}, reason: One CPU without VHE is enough.}
host:
";

/// Returns a home whose lab folder has a scenario with two axes.
fn home() -> Home {
    let home = Home::new();
    let bar = home.read("lab/scenarios/bar.yaml");
    home.write(
        "lab/scenarios/hosts.yaml",
        bar.replace("scenario: bar", "scenario: hosts\nsets: [core]").replace("host:\n", AXES),
    );
    home
}

#[test]
fn cells_of_the_points() {
    let home = home();
    let mut session = home.session();
    for arguments in [
        &["list", "hosts"][..],
        &["list", "hosts@debian-6.12"],
        &["list", KEY],
        &["list", "hosts+cpu=neoverse-v1+mode=nvhe"],
        &["list", "hosts+*mode=nvhe", "--kernel", "debian-6.12", "--exclude", "hosts+cpu=neoverse-n2*"],
        &["list", "hosts@*+*mode=nvhe", "--exclude", "*@*+qemu=newest", "--exclude", "*@debian-6.1"],
        &["run", "--dry-run", "hosts@debian-6.12", "--set", "host.cpu=a64fx"],
        &["run", "--dry-run", "hosts@debian-6.12", "--set", "host.arguments=nvhe", "--set", "host.cpu=max"],
        &["run", "--dry-run", "idle@debian-6.12", "--set", "guests.g0.memory=64M"],
        &[
            "run",
            "--dry-run",
            "idle@debian-6.12+memory=64M",
            "bar@debian-6.12",
            "--set",
            "guests.g0.memory=64M",
        ],
        &["run", "--dry-run", "scenarios/hosts.yaml", "--kernel", "debian-6.1", "--set", "host.cpu=max"],
        &["run", "--dry-run", "--set", "core"],
        &["run", "--dry-run", "bar@debian-6.12", "--set", "core", "--exclude", "*@debian-6.1"],
        &["run", "--dry-run", "--set", "core", "--set", "host.cpu=a64fx", "--kernel", "debian-6.12"],
        &["run", "--dry-run", "--set", "full", "--kernel", "debian-6.1"],
        &["lint"],
    ] {
        let output = session.s2lab(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    session.check("axes");
}

#[test]
fn points_that_are_wrong() {
    let home = home();
    let mut session = home.session();
    for arguments in [
        &["list", "hosts@debian-6.12+cpu=neoverse-v1"][..],
        &["list", "hosts@debian-6.12+cpu=max+mode=vhe"],
        &["list", "hosts+cpu=neoverse-v1+mode=nvh"],
        &["list", "hosts", "--set", "cpu"],
        &["list", "--set", "host.cpu"],
        &["list", "--set", "cor"],
        &["list", "hosts", "--set", "cpu=max"],
        &["list", "hosts", "--set", "host.cpu=pentium"],
        &["list", "hosts", "--set", "host.devices.gpu.bar=4K"],
        &["list", "hosts", "--set", "host.devices.nic.bar=4K"],
        &["list", "hosts", "--set", "host.cpu=max", "--set", "host.cpu=a64fx"],
        &["run", "--failed", "--set", "host.cpu=max"],
        &["list", "--promises", "--set", "host.cpu=max"],
    ] {
        let output = session.s2lab(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    session.check("axes-wrong");
}

/// The scenario has two steps `while`. The second one is what a file's own axis varies in another.
#[test]
fn a_seed_is_that_of_each_loop() {
    let home = home();
    let shipped = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/full").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let text = shipped("zap-during-faults.yaml");
    home.write("lab/scenarios/full/zap-during-faults.yaml", &text);
    let axis = |also: &str| format!("axes: {{steps.3.while.seed: {also}}}\nhost:\n");
    let own = |name: &str, also: &str| {
        let named = text.replace("scenario: zap-during-faults", &format!("scenario: {name}"));
        home.write(
            &format!("lab/scenarios/full/{name}.yaml"),
            named.replace("\nhost:\n", &format!("\n{}", axis(also))),
        );
    };
    own("both", "{also: [steps.5.while.seed], values: [7, 9]}");
    own("one", "[7, 9]");
    let mut session = home.session();
    for (code, arguments) in [
        (0, &["run", "--dry-run", "zap-during-faults@debian-6.12", "--seed", "8"][..]),
        (0, &["run", "--dry-run", "zap-during-faults@debian-6.12+seed=8", "hosts@debian-6.1", "--seed", "8"]),
        (0, &["run", "--dry-run", "both@debian-6.12", "--seed", "8"]),
        (2, &["run", "--dry-run", "one@debian-6.12", "--seed", "8"]),
        (2, &["run", "--dry-run", "hosts@debian-6.12", "--seed", "8"]),
        (2, &["run", "--dry-run", "zap-during-faults@debian-6.12", "--seed", "x"]),
        (2, &["run", "--failed", "--seed", "8"]),
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(code), "{arguments:?}");
    }
    session.check("axes-seed");
    let explained =
        home.command(&["explain", "zap-during-faults@debian-6.12", "--seed", "8"]).output().unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    let seeds = |seed: &str| explained.matches(&format!("seed: {seed}\n")).count();
    assert_eq!((seeds("8"), seeds("7")), (2, 0), "{explained}");
}

/// Every verb knows a cell by its whole key.
#[test]
fn a_point_has_its_own_accepted_report() {
    let home = home();
    let other = "hosts@debian-6.12+cpu=neoverse-v1+mode=vhe";
    home.add_run(&Story::well(&home.plan(&[KEY, other])));
    let accepted = |file: &str| home.path("lab/reports/hosts").join(file).exists();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["accept", KEY]).status.code(), Some(0));
    assert!(accepted("debian-6.12+cpu=neoverse-v1+mode=nvhe.txt"));
    assert!(!accepted("debian-6.12+cpu=neoverse-v1+mode=vhe.txt"));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    assert_eq!(session.s2lab(&["accept", "hosts@debian-6.12"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["diff", KEY, other]).status.code(), Some(2));
    session.s2lab(&["history", "add", RUN]);
    session.s2lab(&["history", "hosts@debian-6.12"]);
    session.check("axes-accepted");
    for (key, due) in [(KEY, 1), ("hosts@debian-6.12", 2)] {
        let output = home.command(&["report", "--cell", key]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.matches("s2lab report 2    hosts@debian-6.12+cpu=").count(), due, "{key}: {text}");
    }
    for form in ["junit", "ktap", "json"] {
        let output = home.command(&["report", "--format", form]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("debian-6.12+cpu=neoverse-v1+mode=nvhe"), "{text}");
    }
}

/// A point that the file does not have is run and never accepted: `check` would not know its report.
#[test]
fn a_point_that_is_only_set_is_not_accepted() {
    let home = home();
    let lab = home.read("lab/scenarios/hosts.yaml");
    home.write("lab/scenarios/hosts.yaml", lab.replace("neoverse-n2", "max"));
    let set = home.plan(&["hosts@debian-6.12+cpu=max+mode=vhe"]);
    home.write("lab/scenarios/hosts.yaml", lab);
    home.add_run(&Story::well(&set));
    let output = home.command(&["accept", "*@*+*"]).output().unwrap();
    let error = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("the scenario does not have this point of its axes"), "{error}");
}

#[test]
fn an_excluded_point_is_explained() {
    let home = home();
    let text = |arguments: &[&str]| {
        let output = home.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let explained = text(&["explain", EXCLUDED]);
    assert!(
        explained.starts_with(&format!(
            "# {EXCLUDED}\n# Excluded, so it does not run: One CPU without VHE is enough.\n"
        )),
        "{explained}"
    );
    let point = text(&["explain", KEY]);
    assert!(point.contains("\n  arguments:\n  - kvm-arm.mode=nvhe\n") && !point.contains("axes"), "{point}");
    assert!(point.contains("s2lab.nonce=<nonce> kvm-arm.mode=nvhe'"), "{point}");
    let json: serde_json::Value =
        serde_json::from_str(&text(&["list", EXCLUDED, KEY, "--format", "json"])).unwrap();
    let excluded = |at: usize| json["cells"][at]["excluded"].as_str();
    assert_eq!((excluded(0), excluded(1)), (None, Some("One CPU without VHE is enough.")));
}

/// The kernel of a cell decides too. A kernel that declares nothing runs the point.
#[test]
fn an_exclusion_may_be_for_kernels_with_a_trait() {
    let home = home();
    let by_trait =
        "exclude:\n  - {at: {mode: nvhe}, when: wc-honoured, reason: The series is tried with VHE.}\n";
    let text = home.read("lab/scenarios/hosts.yaml").replace("exclude:\n", by_trait);
    home.write("lab/scenarios/hosts.yaml", text);
    let idle = home.read("lab/scenarios/idle.yaml");
    let no_axes = "exclude: [{unless: wc-honoured, reason: It is about the series.}]\nhost:";
    home.write("lab/scenarios/idle.yaml", idle.replacen("host:", no_axes, 1));
    home.write("lab/Image", "");
    let mut session = home.session();
    for arguments in [
        &["lint"][..],
        &["list", "hosts+*mode=nvhe", "idle"],
        &["list", "hosts+*mode=nvhe", "idle", "--kernel", "./Image"],
        &["run", "--dry-run", "idle"],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(0), "{arguments:?}");
    }
    session.check("axes-by-trait");
    let output = home.command(&["explain", KEY]).output().unwrap();
    let explained = String::from_utf8(output.stdout).unwrap();
    let due = format!("# {KEY}\n# Excluded, so it does not run: The series is tried with VHE.\n");
    assert!(explained.starts_with(&due), "{explained}");
    assert!(explained.contains("\n  arguments:\n  - kvm-arm.mode=nvhe\n"), "its own values: {explained}");
    let output = home.command(&["list", "--promises"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("\nS    It is about the series.\n     idle on 1\n"), "{table}");
}

/// The command that repeats a cell of a file, or of a set value, means that point alone.
#[test]
fn a_point_is_repeated_alone() {
    let home = home();
    let repeat = |arguments: &[&str]| {
        let all = [&["list", "--format", "json"], arguments].concat();
        let output = home.command(&all).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let cells = json["cells"].as_array().unwrap().clone();
        for cell in &cells {
            let words: Vec<_> =
                cell["repeat"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            let again = home.command(&[&words[..], &["--dry-run"]].concat()).output().unwrap();
            assert_eq!(
                String::from_utf8(again.stdout).unwrap(),
                format!("{}\n", cell["key"].as_str().unwrap())
            );
        }
        cells.len()
    };
    assert_eq!(repeat(&["hosts@debian-6.12"]), 4);
    assert_eq!(repeat(&["scenarios/hosts.yaml", "--kernel", "debian-6.12"]), 4);
    assert_eq!(repeat(&["hosts", "--kernel", "debian-6.12", "--set", "host.cpu=max"]), 2);
    assert_eq!(repeat(&["scenarios/hosts.yaml", "--kernel", "debian-6.12", "--set", "host.cpu=max"]), 2);
    assert_eq!(repeat(&["idle@debian-6.12", "--set", "host.cpu=max"]), 1);
}

/// Each machine makes the cells of the plan again, from its words.
#[test]
fn a_plan_has_the_points() {
    let home = home();
    let s2lab = |arguments: &[&str]| {
        let output = home.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    s2lab(&["plan", "hosts@debian-6.12", "--set", "host.cpu=max", "-o", "plan.json"]);
    let cells = |shard: &str| s2lab(&["run", "--plan", "plan.json", "--shard", shard, "--dry-run"]);
    let mut all = [cells("1/2"), cells("2/2")];
    all.sort_unstable();
    assert_eq!(all, ["nvhe", "vhe"].map(|mode| format!("hosts@debian-6.12+cpu=max+mode={mode}\n")));
}
