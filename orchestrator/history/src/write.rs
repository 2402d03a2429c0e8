//! Adding runs.

use crate::{History, HistoryError, Result, nights};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use s2lab_model::{
    event::Stage,
    hash::digest,
    history::{Facts, RunEnding, facts, finding},
    measures::{Boot, Measure},
    night::PastNight,
    report::Standing,
    statistics::{Summary, median_interval, summary},
    summary::{CellSummary, RunSummary},
    verdict::Verdict,
};

/// The result of adding a run, with its number in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is in the history now.
    New(i64),
    /// It was there, and is replaced by what it is now.
    Again(i64),
    /// It was there with more cells, and stays so: a part of a run does not replace it.
    Part(i64),
}

impl Added {
    /// Returns the number of the run in the history.
    pub fn id(self) -> i64 {
        match self {
            Added::New(id) | Added::Again(id) | Added::Part(id) => id,
        }
    }
}

impl History {
    /// Adds a run, as a whole or not at all. Two runs are the same if they began at the same time
    /// in one lab folder.
    ///
    /// # Errors
    /// The run is not in the history then, and everything else is as before.
    pub fn add(&mut self, run: &RunSummary) -> Result<Added> {
        self.add_merged(run, &[])
    }

    /// Adds a run like [`History::add`] in place of the runs of its shards, each by its lab folder
    /// and its begin: their cells are those of the merged run.
    ///
    /// # Errors
    /// Everything is as before then.
    pub fn add_merged(&mut self, run: &RunSummary, shards: &[(Option<&str>, &str)]) -> Result<Added> {
        let began = began(run)?;
        let failed = self.failed("write");
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        for (lab, started) in shards {
            let remove = "DELETE FROM run WHERE lab = ?1 AND started = ?2";
            transaction.execute(remove, params![lab.unwrap_or_default(), started]).map_err(&failed)?;
        }
        let added = add(&transaction, run, began).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(added)
    }
}

/// Returns the time at which the run began, in nanoseconds since 1970.
pub(crate) fn began(run: &RunSummary) -> Result<i64> {
    let time = run.started.parse::<Timestamp>();
    let time = time.map_err(|_| HistoryError::Time { started: run.started.clone() })?;
    Ok(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX))
}

fn add(connection: &Connection, run: &RunSummary, began: i64) -> rusqlite::Result<Added> {
    let lab = run.lab.as_deref().unwrap_or_default();
    let known = connection.prepare_cached(
        "SELECT id, (SELECT count(*) FROM cell WHERE cell.run = run.id) FROM run WHERE lab = ?1 AND started = ?2",
    )?;
    let known = { known }
        .query_row(params![lab, run.started], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let added = match known {
        Some((id, cells)) if cells > count(run.cells.len()) => return Ok(Added::Part(id)),
        Some((id, _)) => {
            connection.execute("DELETE FROM cell WHERE run = ?1", [id])?;
            Added::Again(id)
        }
        None => {
            // The rest of the row follows.
            connection.execute(
                "INSERT INTO run (lab, started, started_ns, name, folder, s2lab, ending, exit)
                 VALUES (?1, ?2, ?3, '', '', '', '', 0)",
                params![lab, run.started, began],
            )?;
            Added::New(connection.last_insert_rowid())
        }
    };
    let name = run.folder.file_name().unwrap_or_default().to_string_lossy();
    let night = PastNight::of(run);
    connection.execute(
        "UPDATE run SET name = ?2, folder = ?3, s2lab = ?4, elapsed_ms = ?5, ending = ?6, exit = ?7,
         date = ?8, night = ?9 WHERE id = ?1",
        params![
            added.id(),
            name,
            run.folder.to_string_lossy(),
            run.s2lab,
            run.cells.iter().filter_map(ended).max().map(integer),
            ending(run).to_string(),
            run.exit,
            night.as_ref().map(|night| night.date.to_string()),
            night.as_ref().map(|night| night.good),
        ],
    )?;
    for cell in &run.cells {
        let row = add_cell(connection, added.id(), run, cell)?;
        if let Some(night) = &night {
            nights::add_cell(connection, lab, row, night, cell)?;
        }
    }
    Ok(added)
}

/// Returns the end of the cell's last attempt, in milliseconds since the run began.
fn ended(cell: &CellSummary) -> Option<u64> {
    cell.started_ms?.checked_add(cell.elapsed_ms?)
}

fn ending(run: &RunSummary) -> RunEnding {
    match (run.interrupted, run.whole) {
        (Some(_), _) => RunEnding::Interrupted,
        (None, true) => RunEnding::Ended,
        (None, false) => RunEnding::Lost,
    }
}

/// Returns the number of its row.
fn add_cell(connection: &Connection, run: i64, of: &RunSummary, cell: &CellSummary) -> rusqlite::Result<i64> {
    let environment = environment(connection, &facts(of, cell))?;
    let (verdict, argument) = parts(cell.verdict.as_ref());
    let boot = cell.stages.iter().rfind(|span| span.stage == Stage::HostBoot);
    connection
        .prepare_cached(
            "INSERT INTO cell (run, key, verdict, argument, not_run, complete, elapsed_ms, boot_ms, report,
                               standing, finding, lead, machine, environment)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            run,
            cell.key.as_str(),
            verdict,
            argument,
            cell.not_run,
            cell.complete,
            cell.elapsed_ms.map(integer),
            boot.and_then(|span| span.elapsed_ms()).map(integer),
            cell.report.as_ref().map(|report| digest(report.text().as_bytes())),
            cell.standing.as_ref().map(Standing::word),
            finding(cell),
            cell.lead_line(),
            cell.machine,
            environment,
        ])?;
    let id = connection.last_insert_rowid();
    add_attempts(connection, id, cell)?;
    add_changes(connection, id, cell)?;
    cell.measures.iter().try_for_each(|of| add_measure(connection, id, of))?;
    Ok(id)
}

fn add_attempts(connection: &Connection, cell: i64, of: &CellSummary) -> rusqlite::Result<()> {
    let mut attempt = connection.prepare_cached("INSERT INTO attempt VALUES (?1, ?2, ?3, ?4)")?;
    for (number, verdict) in (1..).zip(&of.attempts) {
        let (verdict, argument) = parts(verdict.as_ref());
        attempt.execute(params![cell, number, verdict, argument])?;
    }
    let mut stage = connection.prepare_cached("INSERT INTO stage VALUES (?1, ?2, ?3, ?4)")?;
    for (number, span) in (1..).zip(&of.stages) {
        stage.execute(params![cell, number, span.stage.to_string(), span.elapsed_ms().map(integer)])?;
    }
    Ok(())
}

fn add_changes(connection: &Connection, cell: i64, of: &CellSummary) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3, ?4)")?;
    let changes = of.standing.as_ref().map(Standing::changes).unwrap_or_default();
    for (number, change) in (1..).zip(changes) {
        statement.execute(params![cell, number, change.kind.name(), change.what])?;
    }
    Ok(())
}

fn add_measure(connection: &Connection, cell: i64, of: &Measure) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("INSERT INTO measure VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    for Boot { number, samples } in &of.boots {
        let Some(Summary { n, median, min, max }) = summary(samples) else { continue };
        let (low, high) = median_interval(samples).map(|(low, high)| (integer(low), integer(high))).unzip();
        let [median, min, max] = [median, min, max].map(integer);
        let [step, boot, n] = [of.step, *number, n].map(count);
        statement.execute(params![cell, step, of.name, boot, n, median, low, high, min, max])?;
    }
    Ok(())
}

/// Returns the number of the environment with these facts, which is added if it is not there.
fn environment(connection: &Connection, facts: &Facts) -> rusqlite::Result<i64> {
    let digest = digest(serde_json::json!(facts).to_string().as_bytes());
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO environment (digest) VALUES (?1)")?;
    let is_new = insert.execute([&digest])? > 0;
    let mut select = connection.prepare_cached("SELECT id FROM environment WHERE digest = ?1")?;
    let id = select.query_row([&digest], |row| row.get(0))?;
    if is_new {
        let mut fact = connection.prepare_cached("INSERT INTO fact VALUES (?1, ?2, ?3)")?;
        for (name, value) in facts {
            fact.execute(params![id, name, value])?;
        }
    }
    Ok(id)
}

fn parts(verdict: Option<&Verdict>) -> (Option<&'static str>, Option<String>) {
    (verdict.map(Verdict::name), verdict.and_then(Verdict::argument))
}

/// Returns SQLite's integer, which has a sign.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
