//! The reports that `s2lab diff` takes from the cache: the same answer as by judging, and only while
//! everything that they depend on is as it was.

use crate::{
    harness::{Home, S2LAB},
    story::{Behaves, Story},
};
use s2lab_model::{
    event::{AlarmClass, Attempts, Event, LOG_VERSION, StopCause},
    hash::digest,
    steps::{Observation, Reset},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const BAR: &str = "bar@debian-6.12";

fn reset_by(method: &'static str) -> impl Fn(&mut Event) {
    move |event| {
        if let Event::Observed { data: Observation::Reset(Reset { method: of, .. }), .. } = event {
            *of = method.into();
        }
    }
}

/// Returns the files of the cache that have reports.
fn kept(home: &Home) -> Vec<PathBuf> {
    let names = home.tree("cache").into_iter().filter(|name| name.starts_with("s2lab/reports/"));
    names.filter(|name| !name.ends_with('/')).map(|name| home.path("cache").join(name)).collect()
}

fn diff(home: &Home, program: &Path, cache: &str) -> Output {
    let mut command = Command::new(program);
    home.prepare(&mut command);
    fs::create_dir_all(home.path(cache)).unwrap();
    command.env("XDG_CACHE_HOME", home.path(cache));
    command.args(["diff", "../old", "../new", "--format", "json"]).output().unwrap()
}

fn with_cache(home: &Home) -> Output {
    diff(home, Path::new(S2LAB), "cache")
}

/// Compares both runs by judging them.
fn judged(home: &Home) -> Output {
    let _ = fs::remove_dir_all(home.path("empty"));
    diff(home, Path::new(S2LAB), "empty")
}

/// Returns a home with two runs whose reports are in the cache. The file of the run `new` is
/// forged, so that it shows if the answer comes from there.
fn forged() -> (Home, PathBuf) {
    let home = Home::new();
    let story = || Story::well(&home.plan(&[]));
    story().write(&home.path("old"));
    story().edit(BAR, reset_by("flr")).write(&home.path("new"));
    assert!(home.command(&["diff", "../new", "../new"]).output().unwrap().status.success());
    let files = kept(&home);
    assert_eq!(files.len(), 1, "{files:?}");
    let text = fs::read_to_string(&files[0]).unwrap();
    let content = text[64..].replace("method flr", "method pm");
    fs::write(&files[0], digest(content.as_bytes()) + &content).unwrap();
    assert!(is_forged(&with_cache(&home)));
    (home, files[0].clone())
}

fn is_forged(answer: &Output) -> bool {
    let text = String::from_utf8_lossy(&answer.stdout);
    assert!(text.contains("\"cells\""), "{text}{}", String::from_utf8_lossy(&answer.stderr));
    text.contains("method bus became pm")
}

/// Replaces a file, or removes it, and returns its content.
fn change(path: &Path, content: Option<&[u8]>) -> Option<Vec<u8>> {
    let before = fs::read(path).ok();
    match content {
        Some(content) => fs::write(path, content).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    before
}

#[test]
fn a_change_of_anything_that_is_judged_is_judged() {
    let (home, file) = forged();
    let log = home.path("new/events.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let of_log = [
        ("a time in the log", text.replacen("\"ms\":1000,", "\"ms\":1001,", 1)),
        ("a method in the log", text.replace("\"method\":\"flr\"", "\"method\":\"bus\"")),
        ("a log that is cut", text[..text.len() / 2].to_owned()),
        ("a log without its last line feed", text.trim_end().to_owned()),
    ];
    let page = home.tree("new/raw").first().map(|name| home.path("new/raw").join(name)).unwrap();
    let other = fs::read(&file).unwrap();
    let changes = of_log
        .iter()
        .map(|(what, text)| (*what, log.clone(), Some(text.as_bytes())))
        .chain([
            ("a page that is gone", page.clone(), None),
            ("a page with another content", page, Some(&b"another"[..])),
            ("a new page", home.path("new/raw").join(digest(b"page")), Some(b"page")),
            ("no file in the cache", file.clone(), None),
            ("an empty file in the cache", file.clone(), Some(b"")),
            ("half a file in the cache", file.clone(), Some(&other[..other.len() / 2])),
            (
                "a file in the cache with another digest",
                file.clone(),
                Some(&[if other[0] == b'0' { &b"1"[..] } else { b"0" }, &other[1..]].concat()),
            ),
        ])
        .map(|(what, path, content)| (what, path, content.map(<[u8]>::to_vec)))
        .collect::<Vec<_>>();
    for (what, path, content) in changes {
        let before = change(&path, content.as_deref());
        let answer = with_cache(&home);
        assert!(!is_forged(&answer), "{what}");
        assert_eq!(answer, judged(&home), "{what}");
        change(&path, before.as_deref());
        assert!(is_forged(&with_cache(&home)), "as before: {what}");
    }
}

/// A build of other code is another program.
#[test]
fn another_program_judges() {
    let (home, _) = forged();
    let other = home.path("other");
    let mut bytes = fs::read(S2LAB).unwrap();
    bytes.push(0);
    fs::copy(S2LAB, &other).unwrap();
    assert!(is_forged(&diff(&home, &other, "cache")), "a copy is the same program");
    fs::write(&other, bytes).unwrap();
    assert!(!is_forged(&diff(&home, &other, "cache")));
    assert!(is_forged(&with_cache(&home)), "each has a file of its own");
}

/// A folder from elsewhere may have any reports.
#[test]
fn the_reports_in_a_runs_folder_are_not_read() {
    let (home, file) = forged();
    fs::remove_file(file).unwrap();
    let truth = judged(&home);
    assert!(home.command(&["report", "../new"]).output().unwrap().status.success());
    let report = format!("new/reports/{BAR}.txt");
    let text = home.read(&report).replace("method flr", "method pm");
    let more = text.replace(BAR, "bar@debian-9");
    home.write(&report, text);
    home.write("new/reports/bar@debian-9.txt", more);
    for _ in 0..2 {
        assert_eq!(with_cache(&home), truth);
    }
    fs::remove_dir_all(home.path("new/reports")).unwrap();
    assert_eq!(with_cache(&home), truth);
}

/// Returns runs of all kinds, each with its name, and true if its reports may be kept.
fn stories(home: &Home) -> Vec<(&'static str, Story, bool)> {
    let well = || Story::well(&home.plan(&[]));
    let alarm = Event::Alarm {
        console: "host".into(),
        class: AlarmClass::Warn,
        line: "WARNING: CPU: 0 PID: 1 at mm/x.c:1 x+0x0/0x1".into(),
    };
    let repeated = || well().attempting(Attempts::Repeat(2));
    let is_no_look = |event: &Event| !matches!(event, Event::Observed { data: Observation::Look(_), .. });
    vec![
        ("all is well", well(), true),
        ("another kernel", Story::of(&home.plan(&[]), |_| Behaves::Before), true),
        ("a finding of the tables", Story::of(&home.plan(&["bar"]), |_| Behaves::After), true),
        ("another shape", well().edit(BAR, reset_by("flr")), true),
        ("an alarm", well().and(BAR, alarm), true),
        ("a failure of the lab", well().stopped(BAR, StopCause::Lab, "QEMU ended", Some("look")), true),
        ("a failure of the kernel", well().stopped(BAR, StopCause::Kernel, "a panic", None), true),
        ("a timeout", well().stopped(BAR, StopCause::Timeout, "nothing for 8 s", None), true),
        ("a cell that lacks something", well().stopped(BAR, StopCause::Lacking, "KVM", None), true),
        ("a look is missing", well().only(BAR, is_no_look), true),
        ("a cell that is not run", well().not_run(BAR, "fail-fast"), true),
        ("interrupted", well().interrupted(BAR, "SIGINT"), true),
        ("two attempts", repeated().again(well()), true),
        ("two attempts that differ", repeated().again(well().edit(BAR, reset_by("flr"))), true),
        ("an attempt is missing", repeated(), true),
        ("some cells", Story::well(&home.plan(&["idle"])), true),
        ("killed in a cell", well().torn_after(BAR, 5), false),
        ("killed before a cell", well().torn_after(BAR, 0), false),
    ]
}

#[test]
fn the_answer_is_the_same_in_both_ways() {
    let home = Home::new();
    Story::well(&home.plan(&[])).write(&home.path("old"));
    // The run in which all is well is also the old side.
    let (mut files, mut answers) = (0, std::collections::BTreeSet::new());
    for (what, story, is_kept) in stories(&home) {
        let _ = fs::remove_dir_all(home.path("new"));
        story.write(&home.path("new"));
        let truth = judged(&home);
        assert!(!truth.stdout.is_empty(), "{what}");
        assert_eq!(with_cache(&home), truth, "{what}: judged");
        files += usize::from(is_kept);
        assert_eq!(kept(&home).len(), files, "{what}");
        assert_eq!(with_cache(&home), truth, "{what}: from the cache");
        assert_eq!(kept(&home).len(), files, "{what}");
        answers.insert(truth.stdout);
    }
    assert!(answers.len() > 12, "{}", answers.len());
}

/// The note about what was skipped is printed each time.
#[test]
fn a_log_of_a_later_version_is_judged_each_time() {
    let home = Home::new();
    Story::well(&home.plan(&[])).write(&home.path("old"));
    let later = format!("\"v\":\"{}.{}\"", LOG_VERSION.major, LOG_VERSION.minor + 1);
    let text = home.read("old/events.jsonl").replace(&format!("\"v\":\"{LOG_VERSION}\""), &later);
    home.write("new/events.jsonl", text.replacen(&later, &format!("\"zone\":1,{later}"), 2));
    for page in home.tree("old/raw") {
        home.write(&format!("new/raw/{page}"), fs::read(home.path("old/raw").join(&page)).unwrap());
    }
    let truth = judged(&home);
    assert!(String::from_utf8_lossy(&truth.stderr).contains("skipped 2 x key `zone`"), "{truth:?}");
    for _ in 0..2 {
        assert_eq!(with_cache(&home), truth);
        assert_eq!(kept(&home).len(), 1, "that of the old side");
    }
}

/// A run and `diff` use the same names.
#[test]
fn a_run_keeps_its_reports_when_it_ends() {
    let home = Home::new();
    for out in ["../old", "../new"] {
        home.command(&["run", "--offline", "idle", "--out", out]).output().unwrap();
    }
    let files = kept(&home);
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(with_cache(&home), judged(&home));
    assert_eq!(kept(&home), files);
}
