//! Colour, silence, pipes that close and disks that are full.

use crate::{
    harness::Home,
    story::{Behaves, Story},
};
use s2lab_model::event::StopCause;

#[test]
fn colour() {
    let home = Home::new();
    let story = Story::of(&home.plan(&[]), |_| Behaves::Before);
    home.add_run(&story.stopped("idle@debian-6.1", StopCause::Lacking, "no /dev/kvm", None));
    let coloured = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = home.command(&[&["report"], arguments].concat());
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        (output.stdout.contains(&0x1b), output)
    };
    let plain = coloured(&[], &[]).1.stdout;
    for (variables, arguments, expected) in [
        (&[][..], &[][..], false),
        (&[], &["--color", "always"], true),
        (&[], &["--color", "never"], false),
        (&[("CLICOLOR_FORCE", "1")], &[], true),
        (&[("CLICOLOR_FORCE", "0")], &[], false),
        (&[("CLICOLOR_FORCE", "")], &[], false),
        (&[("CLICOLOR_FORCE", "1")], &["--color", "never"], false),
        // No colour if the user wants none.
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[], false),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "0")], &[], false),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], &[], true),
        (&[("NO_COLOR", "1")], &["--color", "always"], true),
    ] {
        let (found, output) = coloured(variables, arguments);
        assert_eq!(found, expected, "{variables:?} {arguments:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut bare = String::new();
        for part in text.split('\x1b') {
            bare.push_str(if bare.is_empty() && !text.starts_with('\x1b') {
                part
            } else {
                part.split_once('m').map_or(part, |(_, rest)| rest)
            });
        }
        assert_eq!(bare.as_bytes(), plain, "colour changes nothing but colour");
    }
    let mut session = home.session();
    session.s2lab(&["report", "--color", "always"]);
    session.check("colour");
}

#[test]
fn silence_and_talk() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    for (arguments, code) in [(&["report"][..], 0), (&["list"], 0), (&["lint"], 0), (&["check"], 5)] {
        let loud = home.command(arguments).output().unwrap();
        assert_eq!(loud.status.code(), Some(code));
        for more in ["-q", "-v", "-vv"] {
            let output = home.command(&[arguments, &[more]].concat()).output().unwrap();
            assert_eq!(output.stdout, loud.stdout, "results are results");
            assert_eq!(output.status, loud.status);
            assert!(!output.stderr.contains(&0x1b), "no colour where there is no terminal");
            assert!(more != "-q" || output.stderr.is_empty(), "{arguments:?}");
        }
        let loud = String::from_utf8(loud.stderr).unwrap();
        assert!(loud.lines().all(|line| line.starts_with("the latest run of ")), "{loud}");
    }
    let quiet = home.command(&["run", "--offline", "-q"]).output().unwrap();
    assert!(
        String::from_utf8(quiet.stderr).unwrap().starts_with("error: "),
        "errors are printed even with -q"
    );
    assert!(quiet.stdout.is_empty());
}

/// A reader that ends early is no error, changes no exit code, and causes no panic.
#[test]
fn a_pipe_that_closes() {
    let home = Home::new();
    home.add_run(&Story::of(&home.plan(&[]), |_| Behaves::Before));
    for (line, code) in [
        ("s2lab list | :", 0),
        ("s2lab list --help | :", 0),
        ("s2lab report | :", 1),
        ("s2lab report --cell bar@debian-6.12 | :", 1),
        ("s2lab check | :", 5),
        ("s2lab lint | :", 0),
        ("s2lab run --dry-run | :", 0),
        ("s2lab run --offline --format events | :", 3),
        ("{ s2lab run --offline -vv 2>&1 >&3 | :; } 3>&1", 3),
        ("{ s2lab lint ../none 2>&1 >&3 | :; } 3>&1", 2),
    ] {
        let line = line.replace("| :", "| { exec 0<&-; }");
        let status = if line.starts_with('{') {
            line.replace("; }; }", "; }; exit ${PIPESTATUS[0]}; }")
        } else {
            format!("{line}; exit ${{PIPESTATUS[0]}}")
        };
        let output = home.shell(&status).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!errors.contains("panic"), "{line}: {errors}");
        assert_eq!(output.status.code(), Some(code), "{line}: {errors}");
    }
}

#[test]
fn a_disk_that_is_full() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    let mut session = home.session();
    for line in ["list", "lint", "report", "check", "run --dry-run", "run --offline --format events"] {
        let output = session.shell(&format!("s2lab {line} > /dev/full"));
        assert_eq!(output.status.code(), Some(3), "{line}");
    }
    session.check("full");
    let output =
        home.shell("trap '' XFSZ; ulimit -f 0; s2lab run --offline 2>&1 | /bin/cat; exit ${PIPESTATUS[0]}");
    let output = { output }.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("File too large"), "{text}");
    assert!(!text.contains("panic"), "{text}");
}

/// A scenario or an accepted report may come with a pull request, and a log from anywhere.
#[test]
fn no_file_steers_the_terminal() {
    let home = Home::new();
    let story = Story::well(&home.plan(&["idle@debian-6.1"]));
    home.add_run(&story);
    assert!(home.command(&["accept"]).status().unwrap().success());
    let accepted = "lab/reports/idle/debian-6.1.txt";
    let steered = |from: &str, to: &str| home.read(accepted).replace(from, to);
    let mut outputs = vec![];
    for text in [
        steered("neoverse-n1", "\u{1b}[2Jn1"),
        steered("Normal-WB", "\u{1b}[2JWB"),
        steered("[shape]", "[\u{1b}[2J]"),
    ] {
        assert!(text.contains('\u{1b}'));
        let before = home.read(accepted);
        home.write(accepted, text);
        outputs.push(home.command(&["check"]).output().unwrap());
        home.write(accepted, before);
    }
    let idle = home.read("lab/scenarios/idle.yaml");
    home.write(
        "lab/scenarios/idle.yaml",
        idle.replace("The RAM", "\"\\e[2JThe RAM").replace("write-back.", "write-back.\""),
    );
    for verb in [&["list"][..], &["explain", "idle"], &["lint"]] {
        outputs.push(home.command(verb).output().unwrap());
    }
    home.write("lab/scenarios/idle.yaml", idle.replace("neoverse-n1", "\"\\e[2J\""));
    outputs.push(home.command(&["lint"]).output().unwrap());
    home.write(
        "state/s2lab/runs/20261122T150000.000Z-1/events.jsonl",
        story.text().replace("cell-started", "\u{1b}[2J"),
    );
    outputs.push(home.command(&["report"]).output().unwrap());
    for output in outputs {
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!shown.is_empty() && !shown.contains('\u{1b}'), "{shown:?}");
    }
}
