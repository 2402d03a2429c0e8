//! Opening a history. A file that is not one, or a newer one, stays as it is.

use crate::{
    History, HistoryError, PATIENCE, Result,
    error::of,
    schema::{APPLICATION, STEPS},
};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::path::Path;

/// The content of a file.
enum Content {
    /// Nothing yet.
    Empty,
    /// A history of this version.
    History(i64),
    Foreign,
}

impl History {
    /// Opens an existing history. One of an earlier version is brought to this one.
    ///
    /// # Errors
    /// [`HistoryError::Missing`] if there is no file.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.try_exists().unwrap_or(true) {
            return Err(HistoryError::Missing { path: path.to_owned() });
        }
        Self::with(path, OpenFlags::SQLITE_OPEN_READ_WRITE, &STEPS)
    }

    /// Opens a history, and makes it if there is no file. Its folder must exist.
    pub fn create(path: &Path) -> Result<Self> {
        Self::with(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, &STEPS)
    }

    fn with(path: &Path, flags: OpenFlags, steps: &[&str]) -> Result<Self> {
        let failed = of("open", path);
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
        prepare(&connection).map_err(&failed)?;
        let mut history = Self { path: path.to_owned(), connection };
        history.bring_up(steps)?;
        Ok(history)
    }

    /// Makes the tables of the newest version, if they are not there.
    fn bring_up(&mut self, steps: &[&str]) -> Result<()> {
        let newest = i64::try_from(steps.len()).unwrap_or(i64::MAX);
        let (failed, path) = (self.failed("open"), self.path.clone());
        let transaction = self.connection.transaction().map_err(&failed)?;
        let found = version(&transaction, &path, newest)?;
        transaction.finish().map_err(&failed)?;
        if found == newest {
            return Ok(());
        }
        // Another process may have done it meanwhile.
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let found = version(&transaction, &path, newest)?;
        let missing = usize::try_from(found).ok().and_then(|found| steps.get(found..)).unwrap_or_default();
        for step in missing {
            transaction.execute_batch(step).map_err(&failed)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(&failed)?;
        transaction.pragma_update(None, "user_version", newest).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }
}

/// Sets a connection up. The rollback journal is SQLite's default, see `docs/decisions/0012`.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The file may come from elsewhere: nothing in it is run.
    connection.pragma_update(None, "trusted_schema", false)
}

/// Returns the version of the history; 0 for an empty file.
fn version(connection: &Connection, path: &Path, newest: i64) -> Result<i64> {
    match content(connection).map_err(of("read", path))? {
        Content::Empty => Ok(0),
        Content::History(found) if found > newest => {
            Err(HistoryError::Newer { path: path.to_owned(), found, known: newest })
        }
        Content::History(found) => Ok(found),
        Content::Foreign => {
            let why = "it is the database of another program".to_owned();
            Err(HistoryError::NotAHistory { path: path.to_owned(), why })
        }
    }
}

fn content(connection: &Connection) -> rusqlite::Result<Content> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (pragma("application_id")?, pragma("user_version")?, tables) {
        (0, 0, 0) => Content::Empty,
        (APPLICATION, version @ 1.., 1..) => Content::History(version),
        _ => Content::Foreign,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_model::summary::RunSummary;
    use std::fs;

    fn open(path: &Path, steps: &[&str]) -> Result<History> {
        History::with(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, steps)
    }

    /// Whatever opens it, the file stays as it is.
    #[track_caller]
    fn refused(path: &Path) -> String {
        let before = fs::read(path).unwrap();
        let text = History::open(path).unwrap_err().to_string();
        assert_eq!(History::create(path).unwrap_err().to_string(), text);
        assert_eq!(fs::read(path).unwrap(), before);
        let beside = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left beside it");
        text.replace(path.to_str().unwrap(), "PATH")
    }

    #[test]
    fn what_is_not_a_history_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h");
        fs::write(&path, "notes\n".repeat(1000)).unwrap();
        assert_eq!(refused(&path), "PATH is not a history of s2lab: it is not an SQLite database");
        fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE run (id INTEGER)").unwrap();
        assert_eq!(refused(&path), "PATH is not a history of s2lab: it is the database of another program");
    }

    #[test]
    fn a_newer_history_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h");
        let newer = [STEPS.as_slice(), &["CREATE TABLE shard (id INTEGER) STRICT"]].concat();
        drop(open(&path, &newer).unwrap());
        let text = refused(&path);
        assert_eq!(text, "the history PATH is of version 4, and this s2lab knows up to 3");
    }

    #[test]
    fn an_older_history_is_brought_up_and_keeps_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h");
        let steps =
            ["CREATE TABLE a (x INTEGER) STRICT", "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7"];
        open(&path, &steps[..1]).unwrap().connection.execute("INSERT INTO a VALUES (3)", []).unwrap();
        let history = open(&path, &steps).unwrap();
        let row =
            history.connection.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(row, Ok((3, 7)));
        assert_eq!(version(&history.connection, &path, 2).unwrap(), 2);
        // A step that fails leaves the version before it.
        let broken = [steps.as_slice(), &["ALTER TABLE a ADD COLUMN z", "nonsense"]].concat();
        assert!(matches!(open(&path, &broken).unwrap_err(), HistoryError::Sqlite { .. }));
        assert_eq!(version(&open(&path, &steps).unwrap().connection, &path, 2).unwrap(), 2);
    }

    fn run(started: &str) -> RunSummary {
        RunSummary {
            s2lab: "0.1.0".into(),
            started: started.into(),
            folder: "/runs/1".into(),
            lab: None,
            lab_commit: None,
            shuffle: None,
            night: None,
            mutants: None,
            cells: vec![],
            interrupted: None,
            whole: true,
            comparison: None,
            compared: false,
            orphaned: vec![],
            exit: 0,
        }
    }

    /// Version 1 had no dates of nights.
    #[test]
    fn the_nights_of_the_first_version_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h");
        let first = open(&path, &STEPS[..1]).unwrap();
        let add = "INSERT INTO run VALUES (1, '', '2026-11-01T23:59:59Z', 1793577599000000000, 'n', '/n', '0.1',
                                          NULL, 'ended', 1, 0), (2, '', '2', 2, 'r', '/r', '0.1', NULL, 'ended', 0, NULL);
            INSERT INTO environment VALUES (1, 'd');
            INSERT INTO cell (run, key, verdict, complete, environment) VALUES (1, 'a@k', 'FAIL', 1, 1)";
        first.connection.execute_batch(add).unwrap();
        drop(first);
        let history = History::open(&path).unwrap();
        let past = history.nights_before(&run("2026-11-02T00:00:00Z")).unwrap();
        let [night] = &past.nights[..] else { panic!("{past:?}") };
        assert_eq!((night.date.to_string(), night.good), ("2026-11-01".into(), false));
        let cell = &night.cells["a@k"];
        assert_eq!((cell.verdict.as_deref(), &cell.failure, cell.tolerated), (Some("FAIL"), &None, false));
    }

    /// Versions 1 and 2 had throughputs of stores.
    #[test]
    fn the_throughputs_of_the_second_version_stay_and_are_no_measures() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h");
        let second = open(&path, &STEPS[..2]).unwrap();
        let add = "INSERT INTO run VALUES (1, '', '1', 1, 'r', '/r', '0.1', NULL, 'ended', 0, NULL, NULL);
            INSERT INTO environment VALUES (1, 'd');
            INSERT INTO cell (run, key, verdict, complete, environment) VALUES (1, 'a@k', 'PASS', 1, 1);
            INSERT INTO number VALUES (1, 0, 'g0', 'nic', 'wc', 8, 3, 553, 342, 765)";
        second.connection.execute_batch(add).unwrap();
        drop(second);
        let history = History::open(&path).unwrap();
        assert_eq!(version(&history.connection, &path, 3).unwrap(), 3);
        let key = "a@k".parse().unwrap();
        assert_eq!(history.past(&key, None).unwrap().len(), 1);
        assert_eq!(history.measures(&key, None).unwrap(), []);
        let median = "SELECT median FROM number";
        assert_eq!(history.connection.query_row(median, [], |row| row.get(0)), Ok(553));
    }

    #[test]
    fn a_writer_that_never_ends_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h");
        let mut history = History::create(&path).unwrap();
        history.connection.busy_timeout(std::time::Duration::from_millis(20)).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let run = run("2026-11-01T02:00:00Z");
        for refused in [history.add(&run).unwrap_err(), history.runs(None).unwrap_err()] {
            assert!(matches!(refused, HistoryError::Busy { .. }), "{refused}");
        }
        other.execute_batch("ROLLBACK").unwrap();
        history.add(&run).unwrap();
    }

    #[test]
    fn a_missing_history_is_made_by_a_writer_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h");
        assert!(matches!(History::open(&path), Err(HistoryError::Missing { .. })));
        assert!(!path.exists());
        assert!(matches!(History::create(&dir.path().join("none/h")), Err(HistoryError::Sqlite { .. })));
        assert!(matches!(History::create(dir.path()), Err(HistoryError::Sqlite { .. })));
        // A writer that was killed before its first commit leaves an empty file.
        fs::write(&path, "").unwrap();
        History::open(&path).unwrap();
        History::create(&path).unwrap();
    }
}
