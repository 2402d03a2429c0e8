//! Nights: what is kept of them beside their cells, and the nights before a run.

use crate::{
    History, Result,
    ask::{key, unreadable, verdict},
    write::began,
};
use rusqlite::{Connection, Row, params};
use s2lab_model::{
    night::{Date, Past, PastCell, PastNight, ResultClass, qemu_version},
    plan::Key,
    record::environment,
    report::Report,
    summary::{CellSummary, RunSummary},
    verdict::Verdict,
};
use std::collections::{BTreeMap, HashMap};

/// The number of good reports of a cell that are kept. One is compared with the next night; nights
/// at once need those before them.
const KEPT: i64 = 3;

impl History {
    /// Returns the nights of the run's lab folder that began before the run, and the newest report
    /// of each cell in which it was fine. A report that this s2lab cannot read is left out.
    pub fn nights_before(&self, run: &RunSummary) -> Result<Past> {
        let before = (run.lab.as_deref().unwrap_or_default(), began(run)?);
        let failed = self.failed("read");
        let moment = self.connection.unchecked_transaction().map_err(&failed)?;
        let nights = nights(&moment, before).map_err(&failed)?;
        let good = good_reports(&moment, before).map_err(&failed)?;
        Ok(Past { unread: false, nights, good })
    }
}

/// The latest night comes first.
fn nights(connection: &Connection, (lab, began): (&str, i64)) -> rusqlite::Result<Vec<PastNight>> {
    let mut cells = cells(connection, (lab, began))?;
    let mut statement = connection.prepare_cached(
        "SELECT id, date, night IS TRUE FROM run WHERE lab = ?1 AND started_ns < ?2 AND date IS NOT NULL
         ORDER BY started_ns DESC, id DESC",
    )?;
    let nights = statement.query_map(params![lab, began], |row| {
        let date: String = row.get(1)?;
        let date: Date = date.parse().map_err(|error| unreadable(1, error))?;
        Ok(PastNight { date, good: row.get(2)?, cells: cells.remove(&row.get(0)?).unwrap_or_default() })
    })?;
    nights.collect()
}

/// Returns the cells of nights by the number of their run, without negative controls.
fn cells(
    connection: &Connection,
    (lab, began): (&str, i64),
) -> rusqlite::Result<HashMap<i64, BTreeMap<Key, PastCell>>> {
    let mut statement = connection.prepare_cached(
        "SELECT run.id, key, verdict, argument, failure, tolerated, fact.value, qemu.value
         FROM run JOIN cell ON cell.run = run.id
         LEFT JOIN fact ON fact.environment = cell.environment AND fact.name = ?3
         LEFT JOIN fact AS qemu ON qemu.environment = cell.environment AND qemu.name = ?4
         WHERE lab = ?1 AND started_ns < ?2 AND date IS NOT NULL",
    )?;
    let mut rows = statement.query(params![lab, began, environment::KERNEL, environment::QEMU])?;
    let mut found = HashMap::<_, BTreeMap<_, _>>::new();
    while let Some(row) = rows.next()? {
        let key = key(row)?;
        if !key.is_control() {
            found.entry(row.get(0)?).or_default().insert(key, cell(row)?);
        }
    }
    Ok(found)
}

fn cell(row: &Row<'_>) -> rusqlite::Result<PastCell> {
    let verdict = verdict(row)?;
    Ok(PastCell {
        class: ResultClass::of(verdict.as_ref()),
        verdict: verdict.as_ref().map(|verdict| Verdict::name(verdict).to_owned()),
        failure: row.get(4)?,
        tolerated: row.get(5)?,
        release: row.get(6)?,
        qemu: row.get::<_, Option<String>>(7)?.map(|fact| qemu_version(&fact).to_owned()),
    })
}

fn good_reports(
    connection: &Connection,
    (lab, began): (&str, i64),
) -> rusqlite::Result<BTreeMap<Key, Report>> {
    let mut statement = connection.prepare_cached(
        "SELECT text FROM good_report JOIN cell ON cell.id = good_report.cell JOIN run ON run.id = cell.run
         WHERE lab = ?1 AND started_ns < ?2 ORDER BY started_ns, run.id",
    )?;
    let texts = statement.query_map(params![lab, began], |row| row.get::<_, String>(0))?;
    let mut good = BTreeMap::new();
    for text in texts {
        // Later ones replace earlier ones.
        good.extend(Report::parse(&text?).ok().map(|report| (report.key.clone(), report)));
    }
    Ok(good)
}

/// Adds to the row of a cell what later nights need of it.
pub(crate) fn add_cell(
    connection: &Connection,
    lab: &str,
    row: i64,
    night: &PastNight,
    cell: &CellSummary,
) -> rusqlite::Result<()> {
    let Some(PastCell { class, failure, tolerated, .. }) = night.cells.get(&cell.key) else { return Ok(()) };
    let set = "UPDATE cell SET failure = ?2, tolerated = ?3 WHERE id = ?1";
    connection.prepare_cached(set)?.execute(params![row, failure, tolerated])?;
    let Some(report) = cell.report.as_ref().filter(|_| *class == ResultClass::Fine) else { return Ok(()) };
    let insert = "INSERT INTO good_report VALUES (?1, ?2)";
    connection.prepare_cached(insert)?.execute(params![row, report.text()])?;
    let forget = "DELETE FROM good_report WHERE cell IN (
            SELECT cell.id FROM cell JOIN good_report ON good_report.cell = cell.id
            JOIN run ON run.id = cell.run WHERE key = ?1 AND lab = ?2
            ORDER BY started_ns DESC, run.id DESC LIMIT -1 OFFSET ?3)";
    connection.prepare_cached(forget)?.execute(params![cell.key.as_str(), lab, KEPT]).map(drop)
}
