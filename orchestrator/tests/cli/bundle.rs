//! `s2lab bundle`, and a bundle in the place of a run.

use crate::{
    harness::{Home, RUN},
    story::{Behaves, Story},
};
use s2lab_model::{
    crash::symbols::Names,
    event::{AlarmClass, Event},
    hash::digest,
};
use std::{fs, io::Read as _, os::unix::fs::symlink};

const BAR: &str = "bar@debian-6.12";

/// Makes a run with consoles, a crash, and files that no bundle has.
fn add_run(home: &Home) {
    let cells = home.plan(&[]);
    let story =
        Story::of(&cells, |cell| if cell.key == BAR { Behaves::Before } else { Behaves::as_declared(cell) });
    let line = "BUG: spinlock bad magic".to_owned();
    let alarm = Event::Alarm { console: "host".into(), class: AlarmClass::Bug, line: line.clone() };
    let crash = Event::Crash { console: "host".into(), lines: vec![line], names: Names::default() };
    let story = story.and(BAR, alarm).and(BAR, crash);
    home.add_run(&story);
    for (file, text) in [
        ("console.host.log", "[    0.000000] Booting Linux\n"),
        ("console.g0.log", "guest\n"),
        ("qemu.log", "qemu\n"),
        ("qemu.args", "/home/user/.cache/s2lab\n"),
        ("2/console.host.log", "again\n"),
    ] {
        home.write(&format!("state/s2lab/runs/{RUN}/cells/{BAR}/{file}"), text);
    }
    home.write(&format!("state/s2lab/runs/{RUN}/s2lab.log"), "");
}

/// The names in a bundle, with the digests of pages counted.
fn names(home: &Home, file: &str) -> Vec<String> {
    let packed = fs::File::open(home.path(file)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut names = vec![];
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes).unwrap();
        let name = entry.path().unwrap().display().to_string();
        match name.strip_prefix("s2lab-run/raw/") {
            Some(of) => assert_eq!(digest(&bytes), of),
            None => names.push(name),
        }
    }
    names
}

#[test]
fn a_bundle_is_read_like_the_run() {
    let home = Home::new();
    add_run(&home);
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(1));
    session.s2lab(&["bundle"]);
    session.note("once more: nothing is overwritten");
    assert_eq!(session.s2lab(&["bundle", RUN]).status.code(), Some(2));
    let file = format!("lab/s2lab-{RUN}.tar.gz");
    let first = fs::read(home.path(&file)).unwrap();
    for name in names(&home, &file) {
        session.note(&name);
    }
    // The reports are made again, and all is the same.
    fs::remove_dir_all(home.of_run("reports")).unwrap();
    session.s2lab(&["bundle", "--out", "../again.tar.gz"]);
    assert!(first == fs::read(home.path("again.tar.gz")).unwrap(), "the same bytes");
    let of = |arguments: &[&str]| {
        let output = home.command(arguments).current_dir(home.path("home")).output().unwrap();
        (output.status.code(), home.stable(&String::from_utf8(output.stdout).unwrap()))
    };
    let (run, bundle) = (home.of_run("").display().to_string(), "../again.tar.gz");
    for arguments in [&["report", "--cell", BAR][..], &["report", "--format", "events"]] {
        let with = |run: &str| of(&[arguments, &[run]].concat());
        assert_eq!(with(bundle), with(&run), "{arguments:?}");
    }
    // Only the folder differs, which is the bundle.
    let folder = format!("TMP/state/s2lab/runs/{RUN}");
    for form in ["json", "html"] {
        let shown = |run: &str, folder: &str| {
            let (code, text) = of(&["report", "--format", form, run]);
            (code, text.replace(folder, "FOLDER"))
        };
        let of_bundle = shown(bundle, "TMP/again.tar.gz");
        assert_eq!(of_bundle, shown(&run, &folder), "{form}");
        assert!(form == "json" || of_bundle.1.matches(" data-z=").count() == 2, "the consoles are there");
    }
    let before = home.tree("");
    session.note("the run is gone");
    fs::remove_dir_all(home.of_run("")).unwrap();
    session.s2lab(&["report", "../again.tar.gz"]);
    assert_eq!(session.s2lab(&["check", "../again.tar.gz"]).status.code(), Some(5));
    session.s2lab(&["accept", "--run", "../again.tar.gz", "idle@*"]);
    session.s2lab(&["check", "../again.tar.gz"]);
    assert!(first == fs::read(home.path("again.tar.gz")).unwrap(), "nothing writes into a bundle");
    let new: Vec<_> = home.tree("").into_iter().filter(|path| !before.contains(path)).collect();
    assert!(new.iter().all(|path| path.starts_with("lab/reports/idle")), "{new:?}");
    session.check("bundle");
}

#[test]
fn a_bundle_of_one_cell_has_its_report() {
    let home = Home::new();
    add_run(&home);
    let mut session = home.session();
    session.s2lab(&["bundle", "--cell", BAR]);
    session.s2lab(&["bundle", "--cell", "bar@debian-6.21"]);
    let file = format!("s2lab-{RUN}-{BAR}.tar.gz");
    session.s2lab(&["report", &file]);
    let report = |run: &str| home.command(&["report", "--cell", BAR, run]).output().unwrap().stdout;
    assert_eq!(report(&file), report(RUN));
    for name in names(&home, &format!("lab/{file}")) {
        session.note(&name);
    }
    session.note("out of the bundle of the run");
    session.s2lab(&["bundle", "--out", "../whole.tar.gz"]);
    session.s2lab(&["bundle", "../whole.tar.gz", "--cell", BAR, "--out", "../part.tar.gz"]);
    session.s2lab(&["bundle", "../part.tar.gz", "--cell", BAR]);
    let [first, second, third] =
        ["lab/".to_owned() + &file, "part.tar.gz".into(), format!("lab/s2lab-part-{BAR}.tar.gz")]
            .map(|file| fs::read(home.path(&file)).unwrap());
    assert!(first == second && second == third, "the same bytes");
    session.check("bundle-cell");
}

/// No set of traits explains both cells, and each alone passes.
#[test]
fn a_verdict_on_several_cells_needs_the_whole_run() {
    let home = Home::new();
    home.image("Image");
    let mut cells = home.plan(&["bar@debian-6.1", "bar@debian-6.12"]);
    for cell in &mut cells {
        cell.resolved.traits = s2lab_model::kernel::Traits::AtLeast(Default::default());
    }
    let (mut first, mut second) = (cells[0].clone(), cells[1].clone());
    first.key = "bar@own".parse().unwrap();
    second.key = "bar@own+axis=1".parse().unwrap();
    (first.kernel, second.kernel) = ("own".into(), "own".into());
    let story = Story::of(&[first, second], |cell| match cell.key.as_str() {
        "bar@own" => Behaves::Before,
        _ => Behaves::After,
    });
    home.add_run(&story);
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(1));
    assert_eq!(session.s2lab(&["bundle", "--cell", "bar@own"]).status.code(), Some(2));
    assert!(!home.tree("lab").iter().any(|path| path.ends_with(".gz")));
    session.s2lab(&["bundle"]);
    session.check("bundle-agreement");
}

#[test]
fn what_cannot_be_bundled() {
    let home = Home::new();
    add_run(&home);
    let mut session = home.session();
    let console = home.of_run(&format!("cells/{BAR}/console.host.log"));
    home.write("home/secret", "secret");
    session.note("a console that is a link to a file of the user's");
    fs::remove_file(&console).unwrap();
    symlink(home.path("home/secret"), &console).unwrap();
    assert_eq!(session.s2lab(&["bundle"]).status.code(), Some(3));
    session.note("a folder of consoles that is a link");
    fs::remove_dir_all(home.of_run(&format!("cells/{BAR}"))).unwrap();
    home.write("home/cell/console.host.log", "secret");
    symlink(home.path("home/cell"), home.of_run(&format!("cells/{BAR}"))).unwrap();
    session.s2lab(&["bundle"]);
    fs::remove_file(home.of_run(&format!("cells/{BAR}"))).unwrap();
    session.note("a run at work");
    let log = fs::OpenOptions::new().read(true).write(true).open(home.of_run("events.jsonl")).unwrap();
    log.lock().unwrap();
    session.s2lab(&["bundle"]);
    drop(log);
    session.note("a place that is not there");
    session.s2lab(&["bundle", "--out", "none/x.tar.gz"]);
    session.s2lab(&["bundle", "--out", ".."]);
    session.s2lab(&["bundle", "nonsense"]);
    assert!(!home.tree("lab").iter().any(|path| path.ends_with(".gz")), "nothing is left");
    session.check("bundle-refused");
}

#[test]
fn a_bundle_from_an_enemy() {
    let home = Home::new();
    add_run(&home);
    assert!(home.command(&["bundle", "--out", "../good"]).status().unwrap().success());
    let good = fs::read(home.path("good")).unwrap();
    let links = {
        let mut archive = tar::Builder::new(
            flate2::GzBuilder::new().operating_system(255).write(vec![], flate2::Compression::default()),
        );
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        archive.append_link(&mut header, "s2lab-run/cells", "/home").unwrap();
        archive.into_inner().unwrap().finish().unwrap()
    };
    let before = home.tree("");
    let mut session = home.session();
    for (what, bytes) in [
        ("torn", &good[..good.len() - 9]),
        ("more", &[&*good, b"more"].concat()),
        ("link", &links),
        ("text", b"s2lab report 2    a@k"),
        ("empty", b""),
    ] {
        home.write(&format!("x/{what}"), bytes);
        for verb in ["report", "check", "bundle"] {
            session.s2lab(&[verb, &format!("../x/{what}")]);
        }
        session.s2lab(&["accept", "--run", &format!("../x/{what}")]);
    }
    fs::remove_dir_all(home.path("x")).unwrap();
    assert_eq!(home.tree(""), before, "nothing is written");
    session.check("bundle-enemy");
}
