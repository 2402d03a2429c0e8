use super::*;
use std::os::unix::fs::symlink;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Makes a run that has ended.
fn ended(state: &Path, second: i64, failed: bool) -> PathBuf {
    let run = RunFolder::create(state, None, at(second)).unwrap();
    fs::create_dir(run.cell_path(&"a@k".parse().unwrap())).unwrap();
    for file in ["cells/a@k/console.host.log", "raw/0123abcd", "reports/a@k.txt", TRACE] {
        fs::write(run.path().join(file), "text").unwrap();
    }
    run.note_end(failed).unwrap();
    run.path().to_owned()
}

/// Returns the runs that are removed when a run begins at `second`.
fn gone(state: &Path, second: i64, keep: usize) -> Vec<PathBuf> {
    gone_if(state, second, keep, |_| panic!("all have ended"))
}

fn gone_if(
    state: &Path,
    second: i64,
    keep: usize,
    failed: impl Fn(&RunFolder) -> Option<bool>,
) -> Vec<PathBuf> {
    let own = RunFolder::create(state, None, at(second)).unwrap();
    let gone = forget(&own, at(second), NonZeroUsize::new(keep).unwrap(), failed).unwrap();
    assert!(own.events().exists());
    own.note_end(false).unwrap();
    gone
}

#[test]
fn the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (0..5).map(|second| ended(dir.path(), second, false)).collect();
    assert_eq!(gone(dir.path(), 9, 4), runs[..2]);
    assert!(runs[..2].iter().all(|run| !run.exists()) && runs[2..].iter().all(|run| run.exists()));
    // The clock goes back: the run that begins stays, and those of its future are the oldest.
    assert_eq!(gone(dir.path(), 1, 4), runs[2..3]);
    assert_eq!(gone(dir.path(), 0, 1).len(), 4);
}

/// The runs are copies, renamed ones, notes, ones with other files, links, and runs of another
/// place.
#[test]
fn what_s2lab_did_not_make_stays() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    let run = ended(dir.path(), 1, false);
    let copy = |to: &str| {
        let copied = std::process::Command::new("cp").arg("-r").args([&run, &runs.join(to)]).status();
        assert!(copied.unwrap().success());
        runs.join(to)
    };
    let mut stay = vec![copy("baseline-v9"), copy("19700101T000000.500Z-1")];
    let out = runs.join("19700101T000000.600Z-2");
    drop(RunFolder::create(dir.path(), Some(&out), at(0)).unwrap());
    symlink(&run, runs.join("19700101T000000.700Z-3")).unwrap();
    stay.extend([out, runs.join("19700101T000000.700Z-3")]);
    fs::create_dir(runs.join("notes")).unwrap();
    stay.push(runs.join("notes"));
    let beside = ["notes", "raw/notes", "reports/notes.txt", "cells/notes", "cells/a@k/notes", "cells/a@k/2"];
    for (n, name) in (2..).zip(beside) {
        let run = ended(dir.path(), n, false);
        fs::write(run.join(name), "mine").unwrap();
        stay.push(run.join(name));
    }
    let linked = ended(dir.path(), 20, false);
    fs::remove_dir_all(linked.join("raw")).unwrap();
    symlink(runs.join("notes"), linked.join("raw")).unwrap();
    stay.push(linked);
    assert_eq!(gone(dir.path(), 99, 1), [run]);
    for path in stay {
        assert!(path.symlink_metadata().is_ok(), "{}", path.display());
    }
}

#[test]
fn a_run_with_a_fail_stays() {
    let dir = tempfile::tempdir().unwrap();
    let failed = ended(dir.path(), 1, true);
    let killed = RunFolder::create(dir.path(), None, at(2)).unwrap().path().to_owned();
    let torn = RunFolder::create(dir.path(), None, at(3)).unwrap().path().to_owned();
    assert!(gone_if(dir.path(), 90, 1, |_| None).is_empty());
    let judged = |run: &RunFolder| Some(run.path() == killed);
    assert_eq!(gone_if(dir.path(), 91, 2, judged), [torn]);
    // It was judged once.
    gone(dir.path(), 92, 1);
    assert!(failed.exists() && killed.exists());
}

#[test]
fn a_run_at_work_stays() {
    let dir = tempfile::tempdir().unwrap();
    let first = RunFolder::create(dir.path(), None, at(0)).unwrap();
    let clone = first.clone();
    drop(first);
    assert!(gone(dir.path(), 9, 1).is_empty());
    let seen = RunFolder::open(dir.path(), clone.path().to_str().unwrap()).unwrap();
    assert!(seen.is_at_work().unwrap());
    drop(clone);
    assert!(!seen.is_at_work().unwrap());
    assert_eq!(gone_if(dir.path(), 10, 2, |_| Some(false)).len(), 1);
    assert!(!seen.events().exists());
}

/// Several runs begin at once. Half-removed runs of a crash are removed too.
#[test]
fn removal_survives_others_and_crashes() {
    let dir = tempfile::tempdir().unwrap();
    for second in 0..40 {
        let run = ended(dir.path(), second, false);
        if second % 2 == 0 {
            fs::remove_dir_all(run.join("cells")).unwrap();
            fs::remove_file(run.join(TRACE)).unwrap();
        }
    }
    let state = dir.path();
    let gone: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (100..104)
            .map(|second| {
                let begin = move || gone_if(state, second, 1, |_| None).len();
                std::thread::Builder::new().spawn_scoped(scope, begin).unwrap()
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(gone >= 40, "{gone}");
    let left = fs::read_dir(dir.path().join("runs")).unwrap();
    let folders = left.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count();
    assert!(folders <= 4, "{folders}");
}

#[test]
fn names_of_runs() {
    for name in ["20261122T163221.903Z-9121", &format!("{}-1", stamp(at(0)))] {
        assert!(is_name(name), "{name}");
    }
    for name in [
        "20261122T163221.903Z",
        "20261122T163221.903Z-",
        "20261122T163221.903Z-x",
        "20261122T163221.903Z-+9",
        "20261122T163221.903Z-09",
        "20261122T163221.903Z-9 copy",
        "20261322T163221.903Z-9",
        "20261122T163221Z-9",
        "baseline",
    ] {
        assert!(!is_name(name), "{name}");
    }
}

/// Runs by hand push out no night, and nights no run by hand.
#[test]
fn nights_are_counted_apart() {
    let dir = tempfile::tempdir().unwrap();
    let night = |second| {
        let run = RunFolder::create(dir.path(), None, at(second)).unwrap();
        run.mark_night().unwrap();
        fs::write(run.path().join(MORNING), "text").unwrap();
        fs::write(run.path().join(PAGE), "text").unwrap();
        run
    };
    let ended = |second| {
        let run = night(second);
        run.note_end(false).unwrap();
        run.path().to_owned()
    };
    let nights: Vec<_> = (0..3).map(ended).collect();
    let by_hand = self::ended(dir.path(), 3, false);
    assert_eq!(gone(dir.path(), 9, 1), [by_hand]);
    let own = night(10);
    let removed = forget(&own, at(10), NonZeroUsize::new(2).unwrap(), |_| None).unwrap();
    assert_eq!(removed, nights[..2]);
    assert_eq!(fs::read_dir(dir.path().join("runs")).unwrap().count(), 4, "latest, a run, two nights");
}
