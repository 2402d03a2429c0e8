//! The summary of a morning: what of a night is new, what is mended, what is tolerated, and what is
//! still broken.

use super::past::{failure, qemu_version};
use super::{Date, KnownFailure, Past, ResultClass, StaleEntry};
use crate::changes::{CellResult, Change, ChangeKind};
use crate::judge::CONTROL_FINDING;
use crate::plan::{Key, QemuChoice};
use crate::record::environment;
use crate::summary::{CellSummary, RunSummary};
use crate::verdict::Verdict;
use std::collections::{BTreeMap, BTreeSet};

/// The exit code of a night in which everything passed or is tolerated, and that a person must
/// nevertheless look at.
const DIFFERENT: u8 = 5;
/// The exit code of a failure of the lab.
const LAB: u8 = 3;

/// A night, compared with those before it: the only input of what `s2lab nightly` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Morning {
    pub run: RunSummary,
    pub date: Date,
    /// The history cannot be read, so the nights before are not known.
    pub unread: bool,
    /// The night before, if there was one.
    pub before: Option<Date>,
    /// The latest night in which everything was fine or tolerated.
    pub last_good: Option<Date>,
    /// The results that differ from those of the night before. Only these are loud.
    pub new: Vec<NewResult>,
    pub mended: Vec<Mended>,
    pub tolerated: Vec<Tolerated>,
    /// The entries of `known.yaml` that a person must look at.
    pub stale: Vec<StaleEntry>,
    pub broken: Vec<StillBroken>,
    /// The cells of the night before that are not in this one.
    pub gone: Vec<Key>,
    /// The cells whose pages are mapped in other sizes than in their last good night, which a kernel
    /// may choose.
    pub shapes: Vec<Key>,
    /// The cells that pass, and whose last good report has other conditions.
    pub not_comparable: Vec<Key>,
    /// The negative controls, one for each QEMU; none: no cell of the night has one.
    pub controls: Vec<(Key, Control)>,
    /// The QEMU of the night's hosts, by its word: `newest` and a version.
    pub qemus: BTreeMap<&'static str, String>,
    /// The kernels whose release is not that of the night before, and the QEMUs of another version.
    pub moved: Vec<Moved>,
    /// The exit code.
    pub exit: u8,
}

/// A result that the night before did not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResult {
    pub key: Key,
    pub what: Different,
    /// The changes against the report of the last good night.
    pub changes: Vec<Change>,
    /// The last night in which the cell was fine.
    pub good: Option<Good>,
}

/// The way in which a result differs from that of the night before, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Different {
    /// The cell was fine, or no night had it.
    Fails,
    /// The cell failed before, in another way.
    FailsOtherwise,
    /// The cell had a result.
    NoResult,
    /// The cell passes, and its report differs.
    Changed,
}

/// A night in which a cell was fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Good {
    pub date: Date,
    /// The release of the kernel.
    pub release: Option<String>,
}

/// A cell that is fine again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    pub key: Key,
    /// The verdict of the night before; none: the run did not come to the cell.
    pub was: Option<String>,
    /// The first night in which it was not fine, and the number of them.
    pub since: Date,
    pub nights: usize,
}

/// A cell whose failure is tolerated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tolerated {
    pub key: Key,
    pub entry: KnownFailure,
    /// The number of nights in a row in which it was tolerated, with this one.
    pub nights: usize,
}

/// A cell that is as broken as in the night before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillBroken {
    pub key: Key,
    /// The first of these nights, and the number of them, with this one.
    pub since: Date,
    pub nights: usize,
}

/// The result of the negative control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Its expectations are unmet, as they must be.
    Works,
    /// An inverted expectation is met: no result of the night can be trusted.
    Met,
    /// It has no result.
    NoResult,
}

/// A kernel with another release, or a QEMU of another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The kernel's name, or `default QEMU` or `newest QEMU`.
    pub what: String,
    pub from: String,
    pub to: String,
}

impl Morning {
    /// Compares a night with those before it. Returns None if the run is no night.
    pub fn of(run: RunSummary, past: &Past) -> Option<Self> {
        let night = run.night.clone()?;
        let mut morning = Self {
            date: night.date,
            unread: past.unread,
            before: past.nights.first().map(|night| night.date),
            last_good: past.nights.iter().find(|night| night.good).map(|night| night.date),
            new: vec![],
            mended: vec![],
            tolerated: vec![],
            stale: night.stale(run.cells.iter().map(|cell| (&cell.key, cell.verdict.as_ref()))),
            broken: vec![],
            gone: gone(&run, past),
            shapes: vec![],
            not_comparable: vec![],
            controls: controls(&run),
            qemus: qemus(&run),
            moved: moved(&run, past),
            exit: run.exit,
            run,
        };
        let cells: Vec<_> = morning.run.cells.iter().filter(|cell| !cell.control).cloned().collect();
        cells.iter().for_each(|cell| morning.sort(cell, past));
        morning.new.sort_by_key(|new| new.what);
        // Without a control that fails nothing shows that the tables are read rightly. By the table of
        // exit codes 3 comes before these.
        let is_unproven = morning.controls.iter().any(|(_, control)| *control == Control::NoResult);
        if is_unproven && matches!(morning.exit, 0 | 2 | 4) {
            morning.exit = LAB;
        }
        if morning.exit == 0 && !(morning.new.is_empty() && morning.stale.is_empty()) {
            morning.exit = DIFFERENT;
        }
        Some(morning)
    }

    /// Returns the cell of the night with this key.
    pub fn cell(&self, key: &Key) -> Option<&CellSummary> {
        self.run.cells.iter().find(|cell| cell.key == *key)
    }

    /// Adds a cell to the parts that it belongs to.
    fn sort(&mut self, cell: &CellSummary, past: &Past) {
        match ResultClass::of(cell.verdict.as_ref()) {
            ResultClass::Fine => self.fine(cell, past),
            ResultClass::Failed => self.failed(cell, past),
            ResultClass::NoResult => {
                let before = past.trail(&cell.key).next().map(|(_, before)| before.class);
                match before {
                    Some(ResultClass::NoResult) => self.still_broken(&cell.key, past),
                    _ => self.add(Different::NoResult, cell, past),
                }
            }
        }
    }

    fn fine(&mut self, cell: &CellSummary, past: &Past) {
        let Some((_, before)) = past.trail(&cell.key).next() else { return };
        if before.class != ResultClass::Fine {
            let streak = past.streak(&cell.key);
            let dates: BTreeSet<_> = streak.failed.union(&streak.missing).copied().collect();
            let since = dates.first().copied().unwrap_or(self.date);
            let (key, was) = (cell.key.clone(), before.verdict.clone());
            self.mended.push(Mended { key, was, since, nights: dates.len() });
        }
        match against(cell, past) {
            CellResult::Same => {}
            CellResult::NotComparable(_) => self.not_comparable.push(cell.key.clone()),
            CellResult::Differs(changes) if changes.iter().all(|of| of.kind == ChangeKind::Shape) => {
                self.shapes.push(cell.key.clone());
            }
            CellResult::Differs(_) => self.add(Different::Changed, cell, past),
        }
    }

    fn failed(&mut self, cell: &CellSummary, past: &Past) {
        let before = past.trail(&cell.key).find(|(_, before)| before.class != ResultClass::NoResult);
        let before = before.map(|(_, before)| before).filter(|before| before.class == ResultClass::Failed);
        let known = before.and_then(|before| before.failure.as_deref());
        let otherwise = known.is_some_and(|known| known != failure(cell));
        if let Some(entry) = cell.tolerated.clone() {
            let mut dates = past.streak(&cell.key).tolerated;
            dates.insert(self.date);
            self.tolerated.push(Tolerated { key: cell.key.clone(), entry, nights: dates.len() });
        }
        match before {
            Some(_) if otherwise => self.add(Different::FailsOtherwise, cell, past),
            _ if cell.tolerated.is_some() => {}
            Some(_) => self.still_broken(&cell.key, past),
            None => self.add(Different::Fails, cell, past),
        }
    }

    fn add(&mut self, what: Different, cell: &CellSummary, past: &Past) {
        let changes = match against(cell, past) {
            CellResult::Differs(changes) if what != Different::NoResult => changes,
            _ => vec![],
        };
        let good = past.last_good(&cell.key);
        let good = good.map(|(night, cell)| Good { date: night.date, release: cell.release.clone() });
        self.new.push(NewResult { key: cell.key.clone(), what, changes, good });
    }

    fn still_broken(&mut self, key: &Key, past: &Past) {
        let streak = past.streak(key);
        let mut dates: BTreeSet<_> = streak.failed.union(&streak.missing).copied().collect();
        dates.insert(self.date);
        let since = dates.first().copied().unwrap_or(self.date);
        self.broken.push(StillBroken { key: key.clone(), since, nights: dates.len() });
    }
}

/// Compares a cell with its report of the last good night. Without one it counts as the same.
fn against(cell: &CellSummary, past: &Past) -> CellResult {
    match (past.good.get(&cell.key), &cell.report) {
        (Some(good), Some(report)) => CellResult::of(&Ok(good.clone()), &Ok(report.clone())),
        _ => CellResult::Same,
    }
}

fn gone(run: &RunSummary, past: &Past) -> Vec<Key> {
    let there: BTreeSet<_> = run.cells.iter().map(|cell| &cell.key).collect();
    let before = past.nights.first().into_iter().flat_map(|night| night.cells.keys());
    before.filter(|key| !there.contains(key)).cloned().collect()
}

/// Returns the negative controls of a night, and their results.
pub(super) fn controls(run: &RunSummary) -> Vec<(Key, Control)> {
    let result = |cell: &CellSummary| {
        // Other findings may weigh more: a witness contradicts what the lab sees.
        let is_met = cell.findings.iter().any(|finding| finding.what.starts_with(CONTROL_FINDING));
        match &cell.verdict {
            _ if is_met => Control::Met,
            Some(Verdict::Pass { .. }) => Control::Works,
            _ => Control::NoResult,
        }
    };
    let cells = run.cells.iter().filter(|cell| cell.control);
    cells.map(|cell| (cell.key.clone(), result(cell))).collect()
}

/// Returns the version of each QEMU that a cell of the night has run on.
fn qemus(run: &RunSummary) -> BTreeMap<&'static str, String> {
    let version = |cell: &CellSummary| {
        let version = qemu_version(cell.environment.variable.get(environment::QEMU)?);
        Some((QemuChoice::of(&cell.key)?.word(), version.to_owned()))
    };
    run.cells.iter().filter_map(version).collect()
}

fn moved(run: &RunSummary, past: &Past) -> Vec<Moved> {
    let cells = run.cells.iter();
    let now: BTreeMap<_, _> =
        cells.filter_map(|cell| Some((cell.key.kernel(), cell.kernel.release.as_deref()?))).collect();
    let before = past.releases();
    let moved = |what: String, from: Option<&str>, to: &str| {
        let from = from.filter(|from| *from != to)?;
        Some(Moved { what, from: from.to_owned(), to: to.to_owned() })
    };
    let kernels = now.into_iter().filter_map(|(name, to)| moved(name.into(), before.get(name).copied(), to));
    let (qemus, before) = (qemus(run), past.qemus());
    let qemus =
        qemus.iter().filter_map(|(word, to)| moved(format!("{word} QEMU"), before.get(word).copied(), to));
    kernels.chain(qemus).collect()
}
