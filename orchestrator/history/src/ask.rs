//! Questions about past runs.

use crate::{History, Result};
use rusqlite::{
    Connection, Row, params,
    types::{FromSqlError, Type},
};
use s2lab_model::{
    history::{CellEnding, Facts, MOST_TIMES, MeasureName, PastCell, PastMeasure, PastRun, expected},
    plan::Key,
    verdict::Verdict,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// The columns of [`run`].
const RUN: &str = "SELECT id, name, folder, lab, started, s2lab, elapsed_ms, ending, exit, night,
    (SELECT count(*) FROM cell WHERE cell.run = run.id), started_ns FROM run";
/// The columns of [`cell`].
const CELL: &str =
    "SELECT cell.run, key, verdict, argument, not_run, complete, cell.elapsed_ms, boot_ms, report,
    standing, finding, lead, environment, (SELECT count(*) FROM attempt WHERE attempt.cell = cell.id)
    FROM cell JOIN run ON run.id = cell.run";

impl History {
    /// Returns the runs of a lab folder (None: of all), the oldest first.
    pub fn runs(&self, lab: Option<&str>) -> Result<Vec<PastRun>> {
        let failed = self.failed("read");
        let sql = format!("{RUN} WHERE ?1 IS NULL OR lab = ?1 ORDER BY started_ns, id");
        let mut statement = self.connection.prepare_cached(&sql).map_err(&failed)?;
        let runs = statement.query_map([lab], run).map_err(&failed)?;
        runs.collect::<rusqlite::Result<_>>().map_err(&failed)
    }

    /// Returns the ends of a run's cells.
    pub fn endings(&self, run: i64) -> Result<Vec<CellEnding>> {
        let failed = self.failed("read");
        let sql = "SELECT run, key, verdict, argument, not_run IS NOT NULL, tolerated
            FROM cell WHERE run = ?1 ORDER BY id";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let endings = statement.query_map([run], |row| {
            Ok(CellEnding { verdict: verdict(row)?, not_run: row.get(4)?, tolerated: row.get(5)? })
        });
        endings.map_err(&failed)?.collect::<rusqlite::Result<_>>().map_err(&failed)
    }

    /// Returns the lab folders of all runs; an empty name stands for runs whose log does not name
    /// one.
    pub fn labs(&self) -> Result<Vec<String>> {
        let failed = self.failed("read");
        let sql = "SELECT DISTINCT lab FROM run ORDER BY lab";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let labs = statement.query_map([], |row| row.get(0)).map_err(&failed)?;
        labs.collect::<rusqlite::Result<_>>().map_err(&failed)
    }

    /// Returns the cells of a lab folder (None: of all) by key, those of the oldest run first: the
    /// order of [`s2lab_model::history::Trend::of`].
    pub fn cells(&self, lab: Option<&str>) -> Result<BTreeMap<Key, Vec<PastCell>>> {
        let _moment = self.connection.unchecked_transaction().map_err(self.failed("read"))?;
        let facts = self.facts("", None)?;
        let mut by_key = BTreeMap::<_, Vec<_>>::new();
        for cell in self.past_cells(lab, None, &facts)? {
            by_key.entry(cell.key.clone()).or_default().push(cell);
        }
        Ok(by_key)
    }

    /// Returns the past of one cell like [`History::cells`]; nothing if there is none.
    pub fn past(&self, key: &Key, lab: Option<&str>) -> Result<Vec<PastCell>> {
        let _moment = self.connection.unchecked_transaction().map_err(self.failed("read"))?;
        let of_key = "WHERE environment IN (SELECT environment FROM cell WHERE key = ?1)";
        let facts = self.facts(of_key, Some(key))?;
        self.past_cells(lab, Some(key), &facts)
    }

    /// Returns the measures of a cell, those of the oldest run first, boot by boot.
    pub fn measures(&self, key: &Key, lab: Option<&str>) -> Result<Vec<PastMeasure>> {
        let failed = self.failed("read");
        let sql = "SELECT run.id, step, measure.name, boot, samples, median, low, high, min, max
            FROM measure JOIN cell ON cell.id = measure.cell JOIN run ON run.id = cell.run
            WHERE cell.key = ?1 AND (?2 IS NULL OR run.lab = ?2)
            ORDER BY run.started_ns, run.id, step, measure.name, boot";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let measures = statement.query_map(params![key.as_str(), lab], measure).map_err(&failed)?;
        measures.collect::<rusqlite::Result<_>>().map_err(&failed)
    }

    /// Returns the expected time of each cell on a machine of this kind (see
    /// [`s2lab_model::event::Event::Machine`]), host boot included: the median of its newest
    /// complete runs there, at most ten, of all lab folders. A cell without such a run is left out.
    pub fn durations<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key>,
        machine: &str,
    ) -> Result<BTreeMap<Key, Duration>> {
        let failed = self.failed("read");
        let sql = "SELECT cell.elapsed_ms FROM cell JOIN run ON run.id = cell.run
            WHERE key = ?1 AND machine = ?2 AND complete AND cell.elapsed_ms IS NOT NULL
            ORDER BY run.started_ns DESC, run.id DESC LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let most = i64::try_from(MOST_TIMES).unwrap_or(i64::MAX);
        let mut times = |key: &Key| -> rusqlite::Result<Vec<u64>> {
            statement.query_map(params![key.as_str(), machine, most], |row| unsigned(row, 0))?.collect()
        };
        let mut found = BTreeMap::new();
        for key in keys {
            let time = expected(&times(key).map_err(&failed)?);
            found.extend(time.map(|time| (key.clone(), time)));
        }
        Ok(found)
    }

    fn past_cells(
        &self,
        lab: Option<&str>,
        key: Option<&Key>,
        facts: &HashMap<i64, Arc<Facts>>,
    ) -> Result<Vec<PastCell>> {
        let runs = self.runs(lab)?.into_iter().map(|run| (run.id, Arc::new(run)));
        let runs: HashMap<_, _> = runs.collect();
        let failed = self.failed("read");
        let one = if key.is_some() { "key = ?2" } else { "?2 IS NULL" };
        let sql =
            format!("{CELL} WHERE (?1 IS NULL OR lab = ?1) AND {one} ORDER BY started_ns, run.id, cell.id");
        let mut statement = self.connection.prepare_cached(&sql).map_err(&failed)?;
        let cells = statement.query_map(params![lab, key.map(Key::as_str)], |row| cell(row, &runs, facts));
        cells.map_err(&failed)?.collect::<rusqlite::Result<_>>().map_err(&failed)
    }

    /// Returns the facts of environments by their number, of those that a clause chooses.
    fn facts(&self, of: &str, key: Option<&Key>) -> Result<HashMap<i64, Arc<Facts>>> {
        let failed = self.failed("read");
        let facts = facts(&self.connection, of, key).map_err(&failed)?;
        Ok(facts.into_iter().map(|(id, facts)| (id, Arc::new(facts))).collect())
    }
}

fn facts(connection: &Connection, of: &str, key: Option<&Key>) -> rusqlite::Result<HashMap<i64, Facts>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT environment, name, value FROM fact {of}"))?;
    let mut rows = match key {
        Some(key) => statement.query([key.as_str()])?,
        None => statement.query([])?,
    };
    let mut found = HashMap::<_, Facts>::new();
    while let Some(row) = rows.next()? {
        found.entry(row.get(0)?).or_default().insert(row.get(1)?, row.get(2)?);
    }
    Ok(found)
}

fn run(row: &Row<'_>) -> rusqlite::Result<PastRun> {
    let lab: String = row.get(3)?;
    let ending: String = row.get(7)?;
    Ok(PastRun {
        id: row.get(0)?,
        name: row.get(1)?,
        folder: PathBuf::from(row.get::<_, String>(2)?),
        lab: Some(lab).filter(|lab| !lab.is_empty()),
        started: row.get(4)?,
        s2lab: row.get(5)?,
        elapsed_ms: optional(row, 6)?,
        ending: ending.parse().map_err(|error| unreadable(7, error))?,
        exit: row.get(8)?,
        night: row.get(9)?,
        cells: unsigned(row, 10)?,
        began: row.get(11)?,
    })
}

fn cell(
    row: &Row<'_>,
    runs: &HashMap<i64, Arc<PastRun>>,
    facts: &HashMap<i64, Arc<Facts>>,
) -> rusqlite::Result<PastCell> {
    let of: i64 = row.get(0)?;
    Ok(PastCell {
        run: runs.get(&of).cloned().ok_or(rusqlite::Error::IntegralValueOutOfRange(0, of))?,
        key: key(row)?,
        verdict: verdict(row)?,
        not_run: row.get(4)?,
        complete: row.get(5)?,
        elapsed_ms: optional(row, 6)?,
        boot_ms: optional(row, 7)?,
        report: row.get(8)?,
        standing: row.get(9)?,
        finding: row.get(10)?,
        lead: row.get(11)?,
        facts: facts.get(&row.get(12)?).cloned().unwrap_or_default(),
        attempts: unsigned(row, 13)?,
    })
}

pub(crate) fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let key: String = row.get(1)?;
    key.parse().map_err(|error| unreadable(1, error))
}

pub(crate) fn verdict(row: &Row<'_>) -> rusqlite::Result<Option<Verdict>> {
    let Some(name) = row.get::<_, Option<String>>(2)? else { return Ok(None) };
    let verdict = Verdict::of(&name, row.get(3)?);
    verdict
        .map(Some)
        .ok_or_else(|| unreadable(2, FromSqlError::Other(format!("no verdict is {name:?}").into())))
}

fn measure(row: &Row<'_>) -> rusqlite::Result<PastMeasure> {
    Ok(PastMeasure {
        run: row.get(0)?,
        name: MeasureName { step: unsigned(row, 1)?, name: row.get(2)? },
        boot: unsigned(row, 3)?,
        samples: unsigned(row, 4)?,
        median: unsigned(row, 5)?,
        interval: optional(row, 6)?.zip(optional(row, 7)?),
        min: unsigned(row, 8)?,
        max: unsigned(row, 9)?,
    })
}

fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

fn optional(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<u64>> {
    match row.get::<_, Option<i64>>(at)? {
        Some(_) => unsigned(row, at).map(Some),
        None => Ok(None),
    }
}

pub(crate) fn unreadable(
    at: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error))
}
