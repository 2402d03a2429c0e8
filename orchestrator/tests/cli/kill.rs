//! Trials of verbs that write into a user's folder, killed at random moments. They are not part of
//! the everyday tests; CONTRIBUTING.md has the command.

use crate::{harness::Home, story::Story};
use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// The number of calls of each verb that are killed.
const KILLS: u32 = 100;

/// Returns a random moment of a call that takes `whole`, or shortly after it.
fn moment(whole: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    whole.mul_f64(random as f64 / u64::MAX as f64 * 1.2)
}

/// Returns the time of a call, which succeeds.
fn whole(home: &Home, arguments: &[&str]) -> Duration {
    let began = Instant::now();
    let output = home.command(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    began.elapsed()
}

fn killed(home: &Home, arguments: &[&str], after: Duration) {
    let mut child = home.command(arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
    sleep(after);
    // The process may have ended.
    let _ = child.kill();
    child.wait().unwrap();
}

/// Returns every file below `root` that is not hidden, and its content.
fn files(home: &Home, root: &str) -> BTreeMap<String, Vec<u8>> {
    let hidden = |below: &String| below.split('/').any(|part| part.starts_with('.'));
    let below = home.tree(root).into_iter().filter(|below| !hidden(below) && !below.ends_with('/'));
    below.map(|below| (below.clone(), fs::read(home.path(root).join(below)).unwrap())).collect()
}

/// Kills calls at random moments. `check` gets the number of each, and returns true if the call did
/// its work.
fn trial(whole: Duration, mut call: impl FnMut(u32, Duration) -> bool) {
    let done = (0..KILLS).filter(|n| call(*n, moment(whole))).count();
    println!("{done} of {KILLS} calls, of {whole:?} each, were done");
    assert!(done > 0 && done < KILLS as usize, "the moments miss the call: {done} of {KILLS}");
}

#[test]
#[ignore = "a trial of half a minute"]
fn new_is_whole_or_nothing() {
    let home = Home::new();
    let time = whole(&home, &["new", "whole"]);
    let whole = home.read("lab/scenarios/whole.yaml");
    trial(time, |n, after| {
        let name = format!("killed-{n}");
        let path = home.lab().join(format!("scenarios/{name}.yaml"));
        let due = whole.replace("whole", &name);
        killed(&home, &["new", &name], after);
        let done = path.exists();
        if !done {
            assert!(home.command(&["new", &name]).output().unwrap().status.success());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), due);
        fs::remove_file(path).unwrap();
        done
    });
    assert!(home.command(&["lint"]).output().unwrap().status.success());
}

#[test]
#[ignore = "a trial of half a minute"]
fn init_is_whole_or_nothing() {
    let home = Home::new();
    let time = whole(&home, &["init", "whole"]);
    let due = files(&home, "lab/whole");
    assert!(due.len() > 3, "{due:?}");
    trial(time, |n, after| {
        let name = format!("killed-{n}");
        killed(&home, &["init", &name], after);
        let folder = format!("lab/{name}");
        // This file marks a folder as a lab folder.
        let done = home.path(&folder).join("images/kernels.yaml").exists();
        if !done {
            let next = home.command(&["init", &name]).output().unwrap();
            assert!(next.status.success(), "{}", String::from_utf8_lossy(&next.stderr));
        }
        assert!(files(&home, &folder) == due, "{:?}", home.tree(&folder));
        let lint = home.command(&["lint"]).current_dir(home.path(&folder)).output().unwrap();
        assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
        done
    });
}

#[test]
#[ignore = "a trial of half a minute"]
fn accept_is_whole_or_nothing() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    let time = whole(&home, &["accept"]);
    let due = files(&home, "lab/reports");
    assert!(due.len() > 3, "{due:?}");
    let empty = |root: &Path| {
        fs::remove_dir_all(root).unwrap();
        fs::create_dir(root).unwrap();
    };
    // All cells are alike: they are new, and pass.
    let calls = [&["accept"][..], &["accept", "--like", "idle@debian-6.1"]];
    trial(time, |n, after| {
        empty(&home.lab().join("reports"));
        killed(&home, calls[n as usize % calls.len()], after);
        let found = files(&home, "lab/reports");
        assert!(found.iter().all(|(file, text)| due.get(file) == Some(text)), "{:?}", found.keys());
        assert!(home.command(&["accept"]).output().unwrap().status.success());
        assert!(files(&home, "lab/reports") == due);
        assert_eq!(home.command(&["check"]).output().unwrap().status.code(), Some(0));
        found == due
    });
}
