//! The merge of the logs of shards into the log that one run of the whole plan would have written.

use super::{PlanFile, Shard, ShardNumber};
use crate::escape;
use crate::event::{CellEnd, Event, Line, Plan, PlannedCell, SessionId, Stage, StopCause, Version};
use crate::plan::Key;
use crate::record::{Cell, LogError, Run, lines};
use std::collections::BTreeMap;

/// The log of a shard.
#[derive(Debug)]
pub struct Part {
    /// The name of its run, for messages.
    pub name: String,
    /// The milliseconds between the begin of the first shard and the begin of this one.
    pub late_ms: u64,
    lines: Vec<Line>,
    run: Run,
    shard: Shard,
}

/// The reason why logs do not make one run.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error("{name}: {source}")]
    Log { name: String, source: LogError },
    #[error("{name}: version {found} of the event log is newer than this s2lab")]
    Newer { name: String, found: Version },
    #[error("{name} is not the run of a shard")]
    NotAShard { name: String },
    #[error("{name}: the plan in its log is damaged: {why}")]
    Damaged { name: String, why: String },
    #[error("{name} is of the plan {of}, and {other} of the plan {than}")]
    OtherPlan { name: String, of: String, other: String, than: String },
    #[error("{name} is shard {number}, and {other} is shard {than}: a plan has one split")]
    OtherSplit { name: String, number: ShardNumber, other: String, than: ShardNumber },
    #[error("{name} and {other} differ in {what}")]
    Unlike { name: String, other: String, what: &'static str },
    #[error("the cell {key} is in {name} and in {other}, both shard {number}")]
    Twice { key: Key, name: String, other: String, number: ShardNumber },
    #[error("{name} has the cell {key}, which is not one of shard {number}")]
    Foreign { name: String, key: Key, number: ShardNumber },
    #[error("no run is given")]
    Nothing,
    #[error("the logs do not make one: {0}")]
    Invalid(LogError),
}

/// The run that the shards make.
#[derive(Debug, PartialEq, Eq)]
pub struct Merged {
    /// The text of the event log.
    pub log: String,
    /// The place of the part that carried out each cell.
    pub sources: BTreeMap<Key, usize>,
    /// The cells that no part carried out, in the plan's order.
    pub missing: Vec<MissingCell>,
}

/// A cell that never came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCell {
    pub key: Key,
    pub shard: ShardNumber,
    /// The reason, in a line.
    pub why: String,
}

impl MergeError {
    /// A hint what to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotAShard { .. } => Some("`s2lab run --shard I/N` or `s2lab run --plan FILE` makes one"),
            Self::OtherPlan { .. } | Self::OtherSplit { .. } | Self::Unlike { .. } => {
                Some("give the runs of one plan, with the same arguments")
            }
            Self::Twice { .. } => Some("give one run of each shard: if it was run again, the new one alone"),
            Self::Newer { .. } => Some("use the s2lab that made the run"),
            _ => None,
        }
    }
}

impl Part {
    /// Reads the log of the run `name`.
    ///
    /// # Errors
    /// If it is not the log of a shard that this s2lab knows in full.
    pub fn read(name: &str, text: &str) -> Result<Self, MergeError> {
        let name = name.to_owned();
        let wrong = |source| MergeError::Log { name: name.clone(), source };
        let run = Run::read(text).map_err(wrong)?;
        let lines = lines(text).map_err(wrong)?;
        // What is not known would be lost.
        if let Some(line) = lines.iter().find(|line| line.v.is_ahead()) {
            return Err(MergeError::Newer { name, found: line.v });
        }
        let Some(shard) = run.plan.shard.as_deref().cloned() else {
            return Err(MergeError::NotAShard { name });
        };
        let damaged = |why: String| MergeError::Damaged { name: name.clone(), why };
        shard.whole.check().map_err(damaged)?;
        if shard.whole.digest() != shard.plan {
            return Err(damaged("it does not have its digest".into()));
        }
        if run.plan.s2lab != shard.whole.s2lab {
            return Err(damaged("another s2lab has run it".into()));
        }
        let part = shard.whole.part(shard.number);
        let known = |cell: &PlannedCell| {
            part.iter().any(|of| of.cell.key == cell.key && of.cell.resolved == cell.resolved)
        };
        if let Some(cell) = run.plan.cells.iter().find(|cell| !known(cell)) {
            return Err(MergeError::Foreign { name, key: cell.key.clone(), number: shard.number });
        }
        Ok(Self { name, late_ms: 0, lines, run, shard })
    }

    /// Returns the time at which it began, by RFC 3339.
    pub fn started(&self) -> &str {
        &self.run.plan.started
    }

    /// Returns the lab folder that it names.
    pub fn lab(&self) -> Option<&str> {
        self.run.plan.lab.as_deref()
    }

    /// Checks that it belongs to the same run as `other`.
    fn goes_with(&self, other: &Self) -> Result<(), MergeError> {
        let (name, than) = (self.name.clone(), other.name.clone());
        if self.shard.plan != other.shard.plan {
            let (of, that) = (self.shard.plan.clone(), other.shard.plan.clone());
            return Err(MergeError::OtherPlan { name, of, other: than, than: that });
        }
        let (number, that) = (self.shard.number, other.shard.number);
        if number.of() != that.of() {
            return Err(MergeError::OtherSplit { name, number, other: than, than: that });
        }
        match self.run.plan.attempts == other.run.plan.attempts {
            true => Ok(()),
            false => Err(MergeError::Unlike { name, other: than, what: "--repeat or --retry" }),
        }
    }

    /// Returns the reason why the cell has no result. None: it has one, even if that is LOST.
    fn lacks(&self, cell: &Cell) -> Option<String> {
        let end = cell.attempts.last().map(|last| last.end.as_ref());
        let lacks = match end {
            _ if cell.not_run.is_some() => false,
            None | Some(Some(CellEnd::Stopped { cause: StopCause::Interrupted, .. })) => true,
            // After a kill the attempt is LOST.
            Some(None) => self.run.interrupted.is_some(),
            Some(Some(_)) => false,
        };
        let number = self.shard.number;
        lacks.then(|| match &self.run.interrupted {
            Some(signal) => format!("{signal} ended shard {number} before this cell had a result"),
            None => format!("shard {number} ended before this cell had a result"),
        })
    }

    /// Returns the cells in groups: all that share a boot with another, directly or not.
    fn groups(&self) -> Groups<'_> {
        let mut first: BTreeMap<SessionId, &Key> = BTreeMap::new();
        let mut groups = Groups { leaders: BTreeMap::new(), lines: BTreeMap::new() };
        for line in &self.lines {
            if let (Some(key), Event::CellStarted { session: Some(id), .. }) = (&line.cell, &line.event) {
                groups.join(first.entry(*id).or_insert(key), key);
            }
        }
        for line in &self.lines {
            let of_session = line.session.and_then(|id| first.get(&id).copied());
            if let Some(key) = line.cell.as_ref().or(of_session) {
                groups.lines.entry(groups.leader(key)).or_default().push(line);
            }
        }
        groups
    }
}

/// The cells of a part that stay together in a merged log, because they share sessions.
struct Groups<'a> {
    /// The leader of each cell that has another one.
    leaders: BTreeMap<&'a Key, &'a Key>,
    /// The lines of each group, by its leader.
    lines: BTreeMap<&'a Key, Vec<&'a Line>>,
}

impl<'a> Groups<'a> {
    fn leader(&self, mut key: &'a Key) -> &'a Key {
        while let Some(leader) = self.leaders.get(key) {
            key = leader;
        }
        key
    }

    fn join(&mut self, one: &'a Key, other: &'a Key) {
        let (one, other) = (self.leader(one), self.leader(other));
        if one != other {
            self.leaders.insert(other, one);
        }
    }
}

/// Merges the logs of shards. `plan` is the plan that they must have, if one is expected. A cell
/// that never came is in the log as one that the lab could not begin.
///
/// # Errors
/// If the logs are not of one plan and one split, or a cell is in two of them.
pub fn merge(parts: &[Part], plan: Option<&PlanFile>) -> Result<Merged, MergeError> {
    let first = parts.iter().min_by_key(|part| part.late_ms).ok_or(MergeError::Nothing)?;
    if let Some(plan) = plan
        && plan.digest() != first.shard.plan
    {
        let (name, of) = (first.name.clone(), first.shard.plan.clone());
        return Err(MergeError::OtherPlan { name, of, other: "--plan".into(), than: plan.digest() });
    }
    parts.iter().try_for_each(|part| part.goes_with(first))?;
    let sources = sources(parts)?;
    let whole = &first.shard.whole;
    let mut writer = LogWriter::default();
    writer.write(0, None, Event::Plan(merged_plan(first, parts, &sources)));
    let mut groups: Vec<_> = parts.iter().map(Part::groups).collect();
    let mut missing = vec![];
    let mut carried_out = BTreeMap::new();
    for (key, shard) in numbered(whole, first.shard.number.of()) {
        let source = sources.get(key);
        let lacks = match source {
            None => Some(format!("shard {shard} never came")),
            Some(source) => source.part.lacks(source.cell),
        };
        match (lacks, source) {
            (Some(why), _) => {
                writer.write_missing(key, &why, shard);
                missing.push(MissingCell { key: key.clone(), shard, why });
            }
            (None, Some(source)) => {
                // The first cell of a group brings the lines of all.
                let lines = groups.get_mut(source.place).and_then(|groups| {
                    let leader = groups.leader(&source.cell.planned.key);
                    groups.lines.remove(leader)
                });
                let is_there = |line: &&Line| {
                    let of = line.cell.as_ref().and_then(|key| sources.get(key));
                    of.is_none_or(|of| of.part.lacks(of.cell).is_none())
                };
                writer.write_cells(source.part, lines.into_iter().flatten().filter(is_there));
                carried_out.insert(key.clone(), source.place);
            }
            (None, None) => {}
        }
    }
    writer.write(writer.last_ms, None, Event::RunEnded);
    Run::read(&writer.text).map_err(MergeError::Invalid)?;
    Ok(Merged { log: writer.text, sources: carried_out, missing })
}

/// A cell in the log of a part.
struct Source<'a> {
    place: usize,
    part: &'a Part,
    cell: &'a Cell,
}

/// Returns the part that has each cell.
fn sources(parts: &[Part]) -> Result<BTreeMap<&Key, Source<'_>>, MergeError> {
    let mut found: BTreeMap<&Key, Source<'_>> = BTreeMap::new();
    for (place, part) in parts.iter().enumerate() {
        for cell in &part.run.cells {
            if let Some(other) = found.insert(&cell.planned.key, Source { place, part, cell }) {
                let (key, number) = (cell.planned.key.clone(), part.shard.number);
                let (name, other) = (part.name.clone(), other.part.name.clone());
                return Err(MergeError::Twice { key, name, other, number });
            }
        }
    }
    Ok(found)
}

/// Returns the cells of a plan in its order, each with its shard.
fn numbered(plan: &PlanFile, of: u32) -> Vec<(&Key, ShardNumber)> {
    let numbers = (1..=of).filter_map(|index| ShardNumber::new(index, of).ok());
    let shards =
        numbers.flat_map(|number| plan.part(number).into_iter().map(move |cell| (&cell.cell.key, number)));
    let shards: BTreeMap<_, _> = shards.collect();
    let of = |key| Some((key, *shards.get(key)?));
    plan.cells.iter().filter_map(|cell| of(&cell.cell.key)).collect()
}

/// Returns the plan of the whole run.
fn merged_plan(first: &Part, parts: &[Part], sources: &BTreeMap<&Key, Source<'_>>) -> Plan {
    let whole = &first.shard.whole;
    let kernels = whole.kernels.iter();
    let mut kernels: BTreeMap<_, _> =
        kernels.filter_map(|(name, kernel)| Some((name.clone(), kernel.origin.clone()?))).collect();
    kernels.extend(parts.iter().flat_map(|part| part.run.plan.kernels.clone()));
    let cell = |planned: &PlannedCell| match sources.get(&planned.key) {
        Some(source) => (*source.cell.planned).clone(),
        None => planned.clone(),
    };
    let cells = whole.cells.iter().map(|planned| cell(&planned.cell)).collect();
    Plan { shard: None, kernels, cells, ..first.run.plan.clone() }
}

/// The text of a log, line by line.
#[derive(Default)]
struct LogWriter {
    text: String,
    seq: u64,
    last_ms: u64,
    next_session: SessionId,
}

impl LogWriter {
    fn write(&mut self, ms: u64, cell: Option<&Key>, event: Event) {
        self.write_line(Line::new(0, ms, None, cell, event));
    }

    fn write_line(&mut self, line: Line) {
        let line = Line { seq: self.seq, ..line };
        // A line was read from JSON, or has only texts as keys.
        let json = serde_json::to_string(&line).unwrap_or_default();
        self.text.push_str(&escape::json(&json));
        self.text.push('\n');
        self.seq += 1;
        self.last_ms = self.last_ms.max(line.ms);
    }

    /// Writes the lines of cells, with sessions that no cell before has.
    fn write_cells<'a>(&mut self, part: &Part, lines: impl Iterator<Item = &'a Line>) {
        let mut sessions: BTreeMap<SessionId, SessionId> = BTreeMap::new();
        for line in lines {
            let started = match line.event {
                Event::CellStarted { session, .. } => session,
                _ => None,
            };
            for id in line.session.iter().chain(&started) {
                sessions.entry(*id).or_insert_with(|| {
                    self.next_session += 1;
                    self.next_session - 1
                });
            }
            let of = |id: Option<SessionId>| id.and_then(|id| sessions.get(&id).copied());
            let event = match &line.event {
                Event::CellStarted { session, place } => {
                    Event::CellStarted { session: of(*session), place: place.clone() }
                }
                event => event.clone(),
            };
            let ms = line.ms.saturating_add(part.late_ms);
            self.write_line(Line { ms, session: of(line.session), event, ..line.clone() });
        }
    }

    /// Writes that the lab could not begin a cell.
    fn write_missing(&mut self, key: &Key, why: &str, shard: ShardNumber) {
        let hint = format!("run shard {shard} again, and merge its new run in place of the old one");
        let end = CellEnd::Stopped {
            stage: Stage::Prepare,
            cause: StopCause::Lab,
            what: why.to_owned(),
            hint: Some(hint),
        };
        self.write(self.last_ms, Some(key), Event::CellStarted { session: None, place: None });
        self.write(self.last_ms, Some(key), Event::CellEnded { end });
    }
}
