//! Input that could hang s2lab, take all memory or make it panic: special files, huge logs, limits
//! of the machine.

use crate::{
    harness::{Home, Session},
    story::{Behaves, Story},
};
use s2lab_model::event::Event;
use s2lab_model::steps::Observation;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const BAR: &str = "bar@debian-6.12";
/// A time that is far more than any of these needs; some once took minutes.
const SOON: Duration = Duration::from_secs(20);

/// Returns a home whose lab has a kernel that is built from source as well.
fn with_a_source() -> Home {
    let home = Home::new();
    let kernels = home.read("lab/images/kernels.yaml");
    let source = "kernels:
  linux-6.1: {about: x, provider: source, package: linux-source-6.1, suites: [bookworm], track: newest,
    config: [config/boot.config], traits: []}";
    home.write("lab/images/config/boot.config", "CONFIG_ARM64=y\n");
    home.write("lab/images/kernels.yaml", kernels.replace("kernels:", source));
    home
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Puts each kind of file that is not a regular one in the place of `path`, in turn.
fn instead(path: &Path, mut then: impl FnMut(&str)) {
    let _ = fs::remove_file(path);
    for what in ["pipe", "device", "folder"] {
        match what {
            "pipe" => pipe(path),
            "device" => symlink("/dev/zero", path).unwrap(),
            _ => fs::create_dir(path).unwrap(),
        }
        then(what);
        let _ = (fs::remove_file(path), fs::remove_dir(path));
    }
}

#[test]
fn what_is_no_file_is_not_read() {
    let home = with_a_source();
    home.add_run(&Story::well(&home.plan(&["bar@debian-6.12"])));
    assert!(home.command(&["accept"]).status().unwrap().success());
    home.write("folder/a.patch", "");
    home.write("quilt/series", "");
    let page = fs::read_dir(home.of_run("raw")).unwrap().next().unwrap().unwrap().path();
    let kept = fs::read(&page).unwrap();
    let mut session = home.session();
    session.note("a table page");
    instead(&page, |what| {
        let due = match what {
            "pipe" => "a named pipe, not a file",
            "device" => "a character device, not a file",
            _ => "a folder, not a file",
        };
        let said = home.command(&["report"]).output().unwrap();
        assert_eq!(said.status.code(), Some(3), "{what}");
        let said = String::from_utf8_lossy(&said.stdout);
        assert!(said.contains(&format!("cannot be read from raw/: it is {due}")), "{what}: {said}");
    });
    fs::write(&page, kept).unwrap();
    for (place, arguments) in [
        (home.path("lab/reports/bar/debian-6.12.txt"), &["check"][..]),
        (
            home.path("folder/a.patch"),
            &["list", "idle@*~*", "--kernel", "linux-6.1", "--series", "../folder"],
        ),
        (home.path("quilt/series"), &["list", "idle@*~*", "--kernel", "linux-6.1", "--series", "../quilt"]),
        (home.path("lab/images/config/boot.config"), &["cache", "path", "linux-6.1"]),
        (home.path("lab/scenarios/idle.yaml"), &["lint"]),
        (home.of_run("events.jsonl"), &["report"]),
    ] {
        let before = fs::read(&place).unwrap();
        instead(&place, |what| {
            session.note(&format!("{}: a {what}", home.stable(&place.display().to_string())));
            session.s2lab(arguments);
        });
        fs::write(&place, before).unwrap();
    }
    session.check("bounds-no-files");
}

/// The files are nearer than another lab folder, and than the built-in one.
#[test]
fn what_would_mark_a_lab_folder_and_is_no_file() {
    let home = Home::new();
    fs::create_dir_all(home.path("lab/below/images")).unwrap();
    fs::create_dir_all(home.path("lab/below/work")).unwrap();
    let place = home.path("lab/below/images/kernels.yaml");
    let mut session = home.session();
    let list = |session: &mut Session<'_>| {
        session.keep(
            "cd below/work; s2lab list",
            home.command(&["list"]).current_dir(home.path("lab/below/work")),
        );
        session
            .keep("cd below; s2lab new x", home.command(&["new", "x"]).current_dir(home.path("lab/below")));
        session.s2lab(&["--lab", "below", "list"]);
    };
    instead(&place, |what| {
        session.note(&format!("a {what}"));
        list(&mut session);
    });
    symlink("nowhere", &place).unwrap();
    session.note("a link that leads nowhere");
    list(&mut session);
    session.check("bounds-lab");
}

#[test]
fn a_series_may_come_out_of_a_pipe() {
    let home = with_a_source();
    home.write("a.patch", "Subject: [PATCH] one\n\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n");
    home.program("cat");
    let mut session = home.session();
    session.shell("s2lab list 'idle@*~*' --kernel linux-6.1 --series <(cat ../a.patch)");
    session.shell("cat ../a.patch | s2lab list 'idle@*~*' --kernel linux-6.1 --series /dev/stdin");
    session.shell("s2lab list 'idle@*~*' --kernel linux-6.1 --series <(true)");
    session.check("bounds-series-of-a-pipe");
}

/// The accepted reports have any size, and no line of the run's.
#[test]
fn a_large_report_is_compared_soon() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[BAR])));
    assert!(home.command(&["accept"]).status().unwrap().success());
    let good = home.read("lab/reports/bar/debian-6.12.txt");
    let (head, rest) = good.split_once("[promised]\n").unwrap();
    let (_, tail) = rest.split_once("[witnesses]").unwrap();
    // The last size is above the limit.
    for lines in [100_000, 250_000, 600_000] {
        let promised: String = (0..lines).map(|n| format!("  reset {n}\n")).collect();
        home.write(
            "lab/reports/bar/debian-6.12.txt",
            format!("{head}[promised]\n{promised}[witnesses]{tail}"),
        );
        let began = Instant::now();
        let said = home.command(&["check"]).output().unwrap();
        assert!(began.elapsed() < SOON, "{lines} lines: {:?}", began.elapsed());
        let said = String::from_utf8(said.stdout).unwrap();
        let is_read = lines < 600_000;
        assert_eq!(said.contains("changed"), is_read, "{said}");
        assert_eq!(said.contains("it is larger than 4 MiB, the limit of a report"), !is_read, "{said}");
        assert!(said.lines().count() < 2000, "{}", said.lines().count());
    }
}

/// The log has one look and its pages many times over, and other content that only a made-up log
/// has.
#[test]
fn a_log_from_elsewhere_is_judged_soon() {
    let home = Home::new();
    let cells = home.plan(&[BAR]);
    let story = || Story::of(&cells, |_| Behaves::After);
    let looks = |change: &dyn Fn(&mut s2lab_model::steps::Look)| {
        story().edit(BAR, |event| {
            if let Event::Observed { data: Observation::Look(look), .. } = event {
                change(look);
            }
        })
    };
    let mappings = looks(&|look| look.mappings = vec![look.mappings[0].clone(); 3000]);
    let bars = story().edit(BAR, |event| {
        if let Event::DeviceBound(bound) = event {
            bound.bars = vec![bound.bars[0]; 4000];
        }
    });
    for (what, story) in [("mappings", mappings), ("BARs", bars)] {
        home.add_run(&story);
        let began = Instant::now();
        let said = home.command(&["report"]).output().unwrap();
        assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
        assert_eq!(said.status.code(), Some(3), "{what}");
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains("there are at most"), "{what}: {said}");
    }
    let mut cells = home.plan(&[BAR]);
    let more = vec![cells[0].resolved.expect[0].clone(); 500];
    cells[0].resolved.expect.extend(more);
    home.add_run(&Story::of(&cells, |_| Behaves::After));
    let mut session = home.session();
    session.s2lab(&["report"]);
    session.check("bounds-plan");
}

#[test]
fn a_variable_of_the_runtime_says_nothing() {
    let home = Home::new();
    let said = |value: Option<&str>| {
        let mut command = home.command(&["run", "--offline", "idle@debian-6.1"]);
        command.envs(value.map(|value| ("TOKIO_WORKER_THREADS", value)));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let due = said(None);
    assert_eq!(due.0, Some(3));
    for value in ["0", "x", "-1", "18446744073709551616"] {
        assert_eq!(said(Some(value)), due, "{value}");
    }
}

#[test]
fn what_the_machine_does_not_give_is_an_error_with_a_hint() {
    let home = Home::new();
    let mut session = home.session();
    session.shell("ulimit -n 8; s2lab run --offline idle@debian-6.1");
    session.check("bounds-files");
    // How much a thread takes differs from machine to machine.
    let mut refused = 0;
    for kib in (40_000..120_000).step_by(10_000) {
        let line = format!("ulimit -v {kib}; s2lab run --offline idle@debian-6.1");
        let output = home.shell(&line).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{kib}: {said}");
        if said.contains("threads: ") {
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(said.contains("hint: a limit on"), "{said}");
            refused += 1;
        }
    }
    assert!(refused > 0);
}

fn program(home: &Home, name: &str, mode: u32, script: &str) {
    home.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(home.path(&format!("bin/{name}")), fs::Permissions::from_mode(mode)).unwrap();
}

/// `execvp` returns EACCES for it, and also for a folder that cannot be searched.
#[test]
fn what_cannot_be_executed_is_not_there() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["run", "idle@debian-6.1"]);
    program(&home, "apt-get", 0o644, "");
    session.note("apt-get is a file that cannot be executed");
    session.s2lab(&["run", "idle@debian-6.1"]);
    session.check_runs("bounds-not-executable");
}

#[test]
fn a_qemu_that_hangs_is_not_taken() {
    let home = Home::new();
    home.program("sleep");
    program(&home, "qemu-system-aarch64", 0o755, "exec sleep 1000");
    let began = Instant::now();
    let output = home.command(&["doctor"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("note     qemu         not in the cache: the first run fetches it"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}
