//! The fold of events to records.

use super::parse::{Skipped, parse, whole_lines};
use super::session::once;
use super::{Alarm, Cell, Crash, Kernel, Observations, Record, Run, Session, StageSpan};
use crate::cell::ResolvedCell;
use crate::escape::{LONGEST, bounded};
use crate::event::{Event, LOG_VERSION, Line, Place, Plan, PlannedCell, Scope, SessionId, Stage, Version};
use crate::plan::{Key, MOST_CELLS};
use crate::scenario::load;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// The reason why a sequence of lines is not the log of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("line {at}: not an event: {why}")]
    Json { at: usize, why: String },
    #[error("line {seq}: {}", version(found))]
    Version { seq: u64, found: String },
    #[error("the log has a gap: line {expected} is missing, {found} follows")]
    Gap { expected: u64, found: u64 },
    #[error("the log is empty: not even the plan is there")]
    Empty,
    #[error("the log does not begin with the plan")]
    NoPlan,
    #[error("line {seq}: a second plan")]
    SecondPlan { seq: u64 },
    #[error("the plan has {count} cells, and a run has at most {MOST_CELLS}")]
    TooManyCells { count: usize },
    #[error("the plan names the cell `{key}` twice")]
    TwicePlanned { key: Key },
    #[error("the cell `{key}` is none that a run can have: {why}")]
    Cell { key: Key, why: String },
    #[error("the comparison of the plan is none that a run can have: {why}")]
    Compare { why: String },
    #[error("line {seq}: an event of the cell `{key}`, which is not in the plan")]
    Unplanned { seq: u64, key: Key },
    #[error("line {seq}: an event of a {scope}, and the line does not name that alone")]
    Scope { seq: u64, scope: &'static str },
    #[error("line {seq}: the session {session} {why}")]
    Session { seq: u64, session: SessionId, why: &'static str },
    #[error("line {seq}: the cell `{key}` {why}")]
    OutOfPlace { seq: u64, key: Key, why: &'static str },
    #[error("line {seq}: the run had ended before")]
    AfterEnd { seq: u64 },
}

/// The version since which a device is bound for a cell.
const OWN_DEVICES: Version = Version { major: 2, minor: 4 };

fn is_of_device(event: &Event) -> bool {
    matches!(event, Event::DeviceBound(_) | Event::BarPlaced { .. })
}

fn version(found: &str) -> String {
    let reads = LOG_VERSION.major;
    match found {
        "1" => format!("version 1 of the event log was never released; this s2lab reads version {reads}"),
        _ => format!("version {found} of the event log; this s2lab reads version {reads}"),
    }
}

/// The lines of an `events.jsonl`. A last line without its line feed was torn by a crash and is
/// left out. Any other line that is not an event is an error: that of its version, if it has
/// another one.
pub fn lines(text: &str) -> Result<Vec<Line>, LogError> {
    let mut skipped = Skipped::default();
    whole_lines(text).enumerate().map(|(at, line)| parse(at, line, &mut skipped)).collect()
}

/// Checks the plan's cells: each is one that planning makes of a scenario that loads. Their
/// scenarios bound the work of the judgement.
fn check(plan: &Plan) -> Result<(), LogError> {
    if plan.cells.len() > MOST_CELLS {
        return Err(LogError::TooManyCells { count: plan.cells.len() });
    }
    if let Some(why) = plan.compare.as_ref().and_then(|compare| compare.trouble(&plan.cells)) {
        return Err(LogError::Compare { why: bounded(&why, LONGEST) });
    }
    let mut right = HashSet::new();
    for PlannedCell { key, about, resolved, .. } in &plan.cells {
        let wrong = |why: &str| LogError::Cell { key: key.clone(), why: bounded(why, LONGEST) };
        let written = resolved.written(key.scenario(), about);
        let text = serde_json::to_string(&written).map_err(|error| wrong(&error.to_string()))?;
        if !resolved.has_its_programs() {
            return Err(wrong("its programs are not those of its steps"));
        }
        // One scenario is in the plan for each kernel.
        if right.contains(&text) {
            continue;
        }
        // JSON is YAML.
        let scenario = load(&format!("{}.yaml", key.scenario()), &text)
            .map_err(|mistakes| wrong(mistakes.iter().next().map_or("", |first| &first.message)))?;
        let (inverted, excluded) = (key.is_control(), resolved.excluded.clone());
        let programs = resolved.programs.clone();
        let again = ResolvedCell::of(&scenario, resolved.traits.clone());
        let again = ResolvedCell { inverted, excluded, programs, ..again };
        if again != *resolved {
            return Err(wrong("its scenario resolves to another cell"));
        }
        right.insert(text);
    }
    Ok(())
}

/// A log that is folded line by line, while it grows.
#[derive(Debug, Default)]
pub struct Fold {
    /// The run. None: not even the plan was read.
    run: Option<Run>,
    /// The places of keys in the plan.
    places: BTreeMap<Key, usize>,
    /// The number of lines so far.
    done: usize,
    skipped: Skipped,
}

impl Fold {
    /// Takes the next line of an `events.jsonl`, without its line feed.
    ///
    /// # Errors
    /// A line that is not one of a log, or that cannot follow the lines before it.
    pub fn text(&mut self, line: &str) -> Result<(), LogError> {
        let line = parse(self.done, line, &mut self.skipped)?;
        if let (Event::Plan(plan), None) = (&line.event, &self.run) {
            check(plan)?;
        }
        self.line(line)
    }

    /// Takes a decoded line like [`Fold::text`].
    pub fn line(&mut self, line: Line) -> Result<(), LogError> {
        let expected = self.done as u64;
        match line {
            Line { v, seq, .. } if !v.is_read() => {
                return Err(LogError::Version { seq, found: v.to_string() });
            }
            Line { seq, .. } if seq != expected => return Err(LogError::Gap { expected, found: seq }),
            _ => self.done += 1,
        }
        if let Some(run) = &mut self.run {
            return run.line(line, &self.places);
        }
        let Line { session: None, cell: None, event: Event::Plan(plan), .. } = line else {
            return Err(LogError::NoPlan);
        };
        let run = Run::planned(plan)?;
        let keys = run.plan.cells.iter().enumerate();
        self.places = keys.map(|(place, cell)| (cell.key.clone(), place)).collect();
        self.run = Some(run);
        Ok(())
    }

    /// Returns the run so far.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The cell `key`, with those attempts that were not taken.
    pub fn cell(&self, key: &Key) -> Option<Cell> {
        let place = self.place(key)?;
        let run = self.run.as_ref()?;
        let mut cell = run.cells.get(place)?.clone();
        cell.attempts.iter_mut().for_each(|attempt| run.join(attempt));
        Some(cell)
    }

    /// The place of the cell `key` in the plan.
    pub(crate) fn place(&self, key: &Key) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Takes the records of those attempts out that have ended, together with their session or with a
    /// record of their own; what is not taken is in [`Fold::run`].
    pub(crate) fn take_ended(&mut self, place: usize) -> Vec<Record> {
        let Some(run) = &mut self.run else { return vec![] };
        let Some(cell) = run.cells.get_mut(place) else { return vec![] };
        let sessions = &run.sessions;
        let over = |id: Option<SessionId>| id.and_then(|id| sessions.get(&id)).is_none_or(|of| of.ended);
        let ended =
            |attempt: &mut Record| attempt.has_own_end() || attempt.end.is_some() && over(attempt.session_id);
        let mut taken: Vec<_> = cell.attempts.extract_if(.., ended).collect();
        taken.iter_mut().for_each(|attempt| run.join(attempt));
        taken
    }

    /// Returns the run, up to the end of the log.
    pub fn finish(self) -> Result<Run, LogError> {
        let mut run = self.run.ok_or(LogError::Empty)?;
        let mut cells = std::mem::take(&mut run.cells);
        cells.iter_mut().flat_map(|cell| &mut cell.attempts).for_each(|attempt| run.join(attempt));
        Ok(Run { cells, skipped: self.skipped, ..run })
    }
}

impl Run {
    /// Folds the lines of an `events.jsonl`. See [`lines`] for a torn last line.
    pub fn read(text: &str) -> Result<Run, LogError> {
        let mut fold = Fold::default();
        whole_lines(text).try_for_each(|line| fold.text(line))?;
        fold.finish()
    }

    /// Folds the lines of an `events.jsonl` like [`Run::read`], up to the first that is not a line of
    /// this log. That one is the damage, and the run has no end.
    ///
    /// # Errors
    /// If the plan cannot be read.
    pub fn read_as_far(log: &[u8]) -> Result<Run, LogError> {
        let end = log.iter().rposition(|byte| *byte == b'\n').ok_or(LogError::Empty)?;
        let mut fold = Fold::default();
        let mut lines = log.get(..end).unwrap_or_default().split(|byte| *byte == b'\n').enumerate();
        let text = |(at, line)| {
            let text = str::from_utf8(line);
            text.map_err(|error| LogError::Json { at, why: error.to_string() })
        };
        let damage = lines.find_map(|line| text(line).and_then(|text| fold.text(text)).err());
        match damage {
            Some(damage) if fold.run.is_none() => Err(damage),
            damage => {
                let run = fold.finish()?;
                Ok(Run { ended: run.ended && damage.is_none(), damage, ..run })
            }
        }
    }

    /// Folds a log, or a part of one.
    pub fn fold(lines: impl IntoIterator<Item = Line>) -> Result<Run, LogError> {
        let mut fold = Fold::default();
        lines.into_iter().try_for_each(|line| fold.line(line))?;
        fold.finish()
    }

    fn planned(plan: Plan) -> Result<Run, LogError> {
        let mut keys = BTreeSet::new();
        if let Some(twice) = plan.cells.iter().find(|cell| !keys.insert(&cell.key)) {
            return Err(LogError::TwicePlanned { key: twice.key.clone() });
        }
        let cell = |planned: &PlannedCell| Cell {
            planned: Arc::new(planned.clone()),
            attempts: vec![],
            not_run: None,
            begun: false,
        };
        let cells = plan.cells.iter().map(cell).collect();
        let (sessions, skipped) = (BTreeMap::new(), Skipped::default());
        Ok(Run { plan, cells, interrupted: None, ended: false, skipped, damage: None, sessions })
    }

    fn line(&mut self, line: Line, places: &BTreeMap<Key, usize>) -> Result<(), LogError> {
        let Line { v, seq, ms, session, cell, event } = line;
        if self.ended {
            return Err(LogError::AfterEnd { seq });
        }
        match (event.scope(), session, cell) {
            (Scope::Run, ..) if matches!(event, Event::Unknown(_)) => Ok(()),
            (Scope::Run, None, None) => self.event(seq, event),
            (Scope::Session, Some(id), None) => {
                self.session(id, event).map_err(|why| LogError::Session { seq, session: id, why })
            }
            // Before 2.4 the devices of a host were bound once in a boot.
            (Scope::Cell, Some(id), None) if v < OWN_DEVICES && is_of_device(&event) => {
                self.session(id, event).map_err(|why| LogError::Session { seq, session: id, why })
            }
            (Scope::Cell, None, Some(key)) => {
                let Some(cell) = places.get(&key).and_then(|place| self.cells.get_mut(*place)) else {
                    return Err(LogError::Unplanned { seq, key });
                };
                let open = |id: SessionId| self.sessions.get(&id).is_some_and(|session| !session.ended);
                match &event {
                    Event::CellStarted { session: Some(id), .. } if !open(*id) => {
                        let why = "is started in a session that is not open";
                        Err(LogError::OutOfPlace { seq, key, why })
                    }
                    _ => cell.event(ms, event).map_err(|why| LogError::OutOfPlace { seq, key, why }),
                }
            }
            (scope, ..) => Err(LogError::Scope { seq, scope: scope.word() }),
        }
    }

    fn event(&mut self, seq: u64, event: Event) -> Result<(), LogError> {
        match event {
            Event::Interrupted { signal } => {
                // A second signal does not change the reason of the interruption.
                self.interrupted.get_or_insert(signal);
            }
            Event::RunEnded => self.ended = true,
            _ => return Err(LogError::SecondPlan { seq }),
        }
        Ok(())
    }

    fn session(&mut self, id: SessionId, event: Event) -> Result<(), &'static str> {
        match event {
            // The facts of the first one stay.
            Event::SessionStarted if self.sessions.contains_key(&id) => Err("was started before"),
            Event::SessionStarted => once(self.sessions.insert(id, Session::default()), "was started before"),
            event => self.sessions.get_mut(&id).ok_or("was not started")?.event(event),
        }
    }

    /// Gives an attempt what its session has said so far.
    fn join(&self, attempt: &mut Record) {
        if let Some(session) = attempt.session_id.and_then(|id| self.sessions.get(&id)) {
            attempt.join(session);
        }
    }
}

impl Cell {
    /// Applies an event. The error names the defect of its place in the log.
    fn event(&mut self, ms: u64, event: Event) -> Result<(), &'static str> {
        if self.not_run.is_some() {
            return Err("is left out of the run");
        }
        let begun = self.begun;
        let open = self.attempts.last_mut().filter(|attempt| attempt.end.is_none());
        match (event, open) {
            (Event::NotRun { .. }, _) if begun => Err("was begun before it is left out of the run"),
            (Event::NotRun { why }, None) => {
                self.not_run = Some(why);
                Ok(())
            }
            (Event::CellStarted { session, place }, None) => {
                self.begun = true;
                self.attempts.push(Record::started(Arc::clone(&self.planned), session, place, ms));
                Ok(())
            }
            (Event::CellStarted { .. }, Some(_)) => Err("is started while it runs"),
            (_, None) => Err("is not running"),
            (event, Some(attempt)) => attempt.event(ms, event),
        }
    }
}

impl Record {
    fn started(
        planned: Arc<PlannedCell>,
        session_id: Option<SessionId>,
        place: Option<Place>,
        ms: u64,
    ) -> Record {
        Record {
            planned,
            session_id,
            place,
            session: Session::default(),
            own: Session::default(),
            guests: BTreeMap::new(),
            observations: Observations::default(),
            alarms: vec![],
            crashes: vec![],
            stages: vec![],
            started_ms: ms,
            ended_ms: None,
            end: None,
        }
    }

    fn event(&mut self, ms: u64, event: Event) -> Result<(), &'static str> {
        match event {
            Event::StageStarted { stage } => {
                self.stages.push(StageSpan { stage, started_ms: ms, ended_ms: None })
            }
            Event::StageEnded { stage } => self.stage_ended(stage, ms)?,
            Event::DeviceBound(_) | Event::BarPlaced { .. } | Event::CellRecord { .. } => {
                self.own.event(event)?;
            }
            Event::GuestUp { guest, release, page_size, taint } => {
                let up = self.guests.insert(guest, Kernel { release, page_size, taint });
                once(up, "has a guest that came up twice")?;
            }
            Event::Observed { step, data } => self.observations.add(step, data),
            Event::Alarm { console, class, line } => self.alarms.push(Alarm { console, class, line }),
            Event::Crash { console, lines, names } => self.crashes.push(Crash { console, lines, names }),
            Event::CellEnded { end } => {
                self.ended_ms = Some(ms);
                self.end = Some(end);
            }
            _ => return Err("has an event that is none of a running cell"),
        }
        Ok(())
    }

    fn stage_ended(&mut self, stage: Stage, ms: u64) -> Result<(), &'static str> {
        let begun = self.stages.iter_mut().rfind(|span| span.stage == stage);
        begun.ok_or("ends a stage that was not begun")?.ended_ms = Some(ms);
        Ok(())
    }
}
