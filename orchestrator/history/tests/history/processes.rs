//! Several processes with one history. Each is this test program again, with what it should do in
//! its environment.

use crate::sample::run;
use s2lab_history::{FILE, History};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// The path of the history and the first number of the runs to add.
const WRITER: &str = "S2LAB_TEST_WRITER";
/// The number of cells of a run: enough that a write takes a while.
const CELLS: usize = 300;
/// The word before the number of a run that is added.
const ADDED: &str = "added";

/// A run with a number, by its lab folder.
fn numbered(number: usize) -> s2lab_model::summary::RunSummary {
    let keys: Vec<String> = (0..CELLS).map(|cell| format!("s{cell}@k")).collect();
    let mut sample = run(1, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    sample.lab = Some(format!("/lab/{number}"));
    sample
}

/// Adds runs until it is killed, or `count` of them. It does nothing in an ordinary test run.
#[test]
fn writer() {
    let Ok(task) = env::var(WRITER) else { return };
    let words: Vec<_> = task.split(' ').collect();
    let [path, first, count] = words[..] else { panic!("{task}") };
    let (first, count): (usize, usize) = (first.parse().unwrap(), count.parse().unwrap());
    for number in first..first + count {
        History::create(Path::new(path)).unwrap().add(&numbered(number)).unwrap();
        println!("\n{ADDED} {number}");
    }
}

fn spawn(path: &Path, first: usize, count: usize) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "processes::writer", "--nocapture", "--test-threads", "1"]);
    command.env(WRITER, format!("{} {first} {count}", path.display()));
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn added(line: &str) -> Option<usize> {
    line.strip_prefix(ADDED)?.trim().parse().ok()
}

/// Returns the numbers of the runs in the history, all of which must be whole.
fn whole(path: &Path) -> BTreeSet<usize> {
    let outside = rusqlite::Connection::open(path).unwrap();
    let sound: String = outside.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let runs = History::open(path).unwrap().runs(None).unwrap();
    let cells: BTreeMap<_, _> = runs.iter().map(|run| (run.lab.clone().unwrap(), run.cells)).collect();
    assert_eq!(cells.len(), runs.len());
    assert!(cells.values().all(|cells| *cells == CELLS as u64), "{cells:?}");
    cells.keys().map(|lab| lab.strip_prefix("/lab/").unwrap().parse().unwrap()).collect()
}

/// All begin with no history, so they also make it at the same time.
#[test]
fn writers_at_once_lose_nothing() {
    const EACH: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let writers: Vec<_> = (0..3).map(|n| spawn(&path, n * EACH, EACH)).collect();
    for mut writer in writers {
        let mut said = String::new();
        writer.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(writer.wait().unwrap().success(), "{said}");
    }
    assert_eq!(whole(&path), (0..3 * EACH).collect());
}

/// A run that a writer has reported is in the history, and a run that it was killed in is there as a
/// whole or not at all.
#[test]
fn kills_in_the_middle_of_a_write_lose_nothing() {
    const KILLS: usize = 25;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let (mut reported, mut hot) = (BTreeSet::new(), 0);
    for kill in 0..KILLS {
        let mut writer = spawn(&path, kill * 1000, 1000);
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let first = lines.find_map(|line| added(&line.unwrap())).unwrap();
        thread::sleep(Duration::from_millis(kill as u64 * 3 % 37));
        writer.kill().unwrap();
        writer.wait().unwrap();
        // The pipe has what was printed before.
        let rest = lines.map_while(Result::ok).filter_map(|line| added(&line));
        reported.extend([first].into_iter().chain(rest));
        hot += usize::from(fs::exists(dir.path().join(format!("{FILE}-journal"))).unwrap());
        let found = whole(&path);
        assert!(reported.is_subset(&found), "lost: {:?}", reported.difference(&found));
        assert!(found.len() <= reported.len() + kill + 1, "one more for each kill at most");
    }
    assert!(hot > 0, "no kill was in the middle of a write");
}

#[test]
fn a_history_that_cannot_be_written_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    History::create(&path).unwrap().add(&run(1, &["a@k"])).unwrap();
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o444);
    // Root may write it nevertheless.
    let mut history = History::open(&path).unwrap();
    assert_eq!(history.runs(None).unwrap().len(), 1);
    if let Err(error) = history.add(&run(2, &["a@k"])) {
        assert_eq!(error.hint().as_deref(), Some("the file or its folder cannot be written"), "{error}");
    }
    mode(0o644);
}
