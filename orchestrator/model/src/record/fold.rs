//! Events to records.

use super::{
    Alarm, Cell, Crash, Environment, Kernel, Probed, Record, Reset, Run, StageSpan, Stored, Surroundings,
    VmaFlags, environment,
};
use crate::escape::{LONGEST, bounded};
use crate::event::{Event, LOG_VERSION, Line, Plan, PlannedCell, Stage};
use crate::plan::{Key, MOST_CELLS};
use crate::scenario::load;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Why a sequence of lines is not the log of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("line {at}: not an event: {why}")]
    Json { at: usize, why: String },
    #[error("line {seq}: version {found} of the event log; this s2lab reads version {LOG_VERSION}")]
    Version { seq: u64, found: u32 },
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
    #[error("the scenario of the cell `{key}` is none that a run can have: {why}")]
    Scenario { key: Key, why: String },
    #[error("line {seq}: an event of the cell `{key}`, which is not in the plan")]
    Unplanned { seq: u64, key: Key },
    #[error("line {seq}: an event of a cell, but of which is not said")]
    NoCell { seq: u64 },
    #[error("line {seq}: an event of the whole run, said of the cell `{key}`")]
    NotOfACell { seq: u64, key: Key },
    #[error("line {seq}: the cell `{key}` {why}")]
    OutOfPlace { seq: u64, key: Key, why: &'static str },
    #[error("line {seq}: the run had ended before")]
    AfterEnd { seq: u64 },
}

/// What every version of a line has, whatever else is in it.
#[derive(Deserialize)]
struct Version {
    v: u32,
    seq: u64,
}

/// The lines of an `events.jsonl`. A last line without its line feed was torn by a crash: it is left out, so that the cells
/// before it can still be told. Any other line that is not an event is an error: that of its version, if it has another one.
pub fn lines(text: &str) -> Result<Vec<Line>, LogError> {
    whole_lines(text).enumerate().map(|(at, line)| parse(at, line)).collect()
}

fn whole_lines(text: &str) -> std::str::Lines<'_> {
    text.rfind('\n').map_or("", |end| text.get(..=end).unwrap_or_default()).lines()
}

fn parse(at: usize, line: &str) -> Result<Line, LogError> {
    serde_json::from_str(line).map_err(|error: serde_json::Error| match serde_json::from_str(line) {
        Ok(Version { v, seq }) if v != LOG_VERSION => LogError::Version { seq, found: v },
        _ => LogError::Json { at, why: bounded(&error.to_string(), LONGEST) },
    })
}

/// A key that was left out in the file is written as nothing in the log.
fn forget_absent(value: &mut serde_json::Value) {
    use serde_json::Value::{Array, Null, Object};
    match value {
        Object(object) => {
            object.retain(|_, value| {
                !matches!(value, Null) && !matches!(value, Array(list) if list.is_empty())
            });
            object.values_mut().for_each(forget_absent);
        }
        Array(list) => list.iter_mut().for_each(forget_absent),
        _ => {}
    }
}

/// Holds the plan's scenarios to what is demanded of their files: what is judged is bounded by them.
fn check(plan: &Plan) -> Result<(), LogError> {
    if plan.cells.len() > MOST_CELLS {
        return Err(LogError::TooManyCells { count: plan.cells.len() });
    }
    let mut right = HashSet::new();
    for PlannedCell { key, scenario, .. } in &plan.cells {
        let wrong = |why: &str| LogError::Scenario { key: key.clone(), why: bounded(why, LONGEST) };
        let mut value = serde_json::to_value(scenario).map_err(|error| wrong(&error.to_string()))?;
        forget_absent(&mut value);
        let text = value.to_string();
        // JSON is YAML. One scenario is in the plan for each kernel.
        if !right.contains(&text) {
            let loaded = load(&format!("{}.yaml", scenario.scenario), &text);
            loaded.map_err(|mistakes| wrong(mistakes.iter().next().map_or("", |first| &first.message)))?;
            right.insert(text);
        }
    }
    Ok(())
}

/// A log that is folded line by line, while it grows.
#[derive(Debug, Default)]
pub struct Fold {
    /// None: not even the plan was there.
    run: Option<Run>,
    /// Where the plan has each key.
    places: BTreeMap<Key, usize>,
    /// Lines so far.
    done: usize,
}

impl Fold {
    /// Takes the next line of an `events.jsonl`, without its line feed.
    ///
    /// # Errors
    /// What is no line of a log, or none that can follow the lines before it.
    pub fn text(&mut self, line: &str) -> Result<(), LogError> {
        let line = parse(self.done, line)?;
        if let (Event::Plan(plan), None) = (&line.event, &self.run) {
            check(plan)?;
        }
        self.line(line)
    }

    /// As [`Fold::text`], with a line that was read before.
    pub fn line(&mut self, line: Line) -> Result<(), LogError> {
        let expected = self.done as u64;
        match line {
            Line { v, seq, .. } if v != LOG_VERSION => return Err(LogError::Version { seq, found: v }),
            Line { seq, .. } if seq != expected => return Err(LogError::Gap { expected, found: seq }),
            _ => self.done += 1,
        }
        if let Some(run) = &mut self.run {
            return run.line(line, &self.places);
        }
        let Line { cell: None, event: Event::Plan(plan), .. } = line else { return Err(LogError::NoPlan) };
        let run = Run::planned(plan)?;
        let keys = run.plan.cells.iter().enumerate();
        self.places = keys.map(|(place, cell)| (cell.key.clone(), place)).collect();
        self.run = Some(run);
        Ok(())
    }

    /// What there is so far.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The place of the cell `key` in the plan, and the cell.
    pub fn cell(&self, key: &Key) -> Option<(usize, &Cell)> {
        let place = *self.places.get(key)?;
        Some((place, self.run.as_ref()?.cells.get(place)?))
    }

    /// Takes the records of those attempts out that have ended; what is not taken is in [`Fold::run`].
    pub(crate) fn take_ended(&mut self, place: usize) -> Vec<Record> {
        let cell = self.run.as_mut().and_then(|run| run.cells.get_mut(place));
        let ended = |attempt: &mut Record| attempt.end.is_some();
        cell.map(|cell| cell.attempts.extract_if(.., ended).collect()).unwrap_or_default()
    }

    /// The run, as far as the log goes.
    pub fn finish(self) -> Result<Run, LogError> {
        self.run.ok_or(LogError::Empty)
    }
}

impl Run {
    /// The lines of an `events.jsonl`, folded. See [`lines`] for a torn last line.
    pub fn read(text: &str) -> Result<Run, LogError> {
        let mut fold = Fold::default();
        whole_lines(text).try_for_each(|line| fold.text(line))?;
        fold.finish()
    }

    /// Folds a log, or what there is of one.
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
        Ok(Run { plan, cells, interrupted: None, ended: false })
    }

    fn line(&mut self, line: Line, places: &BTreeMap<Key, usize>) -> Result<(), LogError> {
        let Line { seq, ms, cell, event, .. } = line;
        if self.ended {
            return Err(LogError::AfterEnd { seq });
        }
        match (event, cell) {
            (Event::Plan(_), _) => Err(LogError::SecondPlan { seq }),
            (Event::Interrupted { signal }, None) => {
                // A second signal changes nothing about why the run was interrupted.
                self.interrupted.get_or_insert(signal);
                Ok(())
            }
            (Event::RunEnded, None) => {
                self.ended = true;
                Ok(())
            }
            (Event::Interrupted { .. } | Event::RunEnded, Some(key)) => {
                Err(LogError::NotOfACell { seq, key })
            }
            (_, None) => Err(LogError::NoCell { seq }),
            (event, Some(key)) => {
                let Some(cell) = places.get(&key).and_then(|place| self.cells.get_mut(*place)) else {
                    return Err(LogError::Unplanned { seq, key });
                };
                cell.event(ms, event).map_err(|why| LogError::OutOfPlace { seq, key, why })
            }
        }
    }
}

impl Cell {
    /// Applies an event; the error says what is wrong with its place in the log.
    fn event(&mut self, ms: u64, event: Event) -> Result<(), &'static str> {
        if self.not_run.is_some() {
            return Err("is told not to be run");
        }
        let begun = self.begun;
        let open = self.attempts.last_mut().filter(|attempt| attempt.end.is_none());
        match (event, open) {
            (Event::NotRun { .. }, _) if begun => Err("was begun before it is told not to be run"),
            (Event::NotRun { why }, None) => {
                self.not_run = Some(why);
                Ok(())
            }
            (Event::CellStarted, None) => {
                self.begun = true;
                self.attempts.push(Record::started(Arc::clone(&self.planned), ms));
                Ok(())
            }
            (Event::CellStarted, Some(_)) => Err("is started while it runs"),
            (_, None) => Err("is not running"),
            (event, Some(attempt)) => attempt.event(ms, event),
        }
    }
}

impl Record {
    fn started(planned: Arc<PlannedCell>, ms: u64) -> Record {
        Record {
            planned,
            environment: Environment::default(),
            host: None,
            final_taint: None,
            console_tested: false,
            around: Surroundings::default(),
            guests: BTreeMap::new(),
            vmas: vec![],
            stores: vec![],
            looks: vec![],
            resets: vec![],
            after_resets: vec![],
            probes: vec![],
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
            Event::Environment { blocking, variable } => {
                self.environment.blocking.extend(blocking);
                self.environment.variable.extend(variable);
            }
            Event::StageStarted { stage } => {
                self.stages.push(StageSpan { stage, started_ms: ms, ended_ms: None })
            }
            Event::StageEnded { stage } => self.stage_ended(stage, ms)?,
            Event::HostUp { release, page_size, taint } => {
                let up = self.host.replace(Kernel { release, page_size, taint });
                once(up, "has a host that came up twice")?;
            }
            Event::ConsoleTested => {
                if std::mem::replace(&mut self.console_tested, true) {
                    return Err("has a console that was tested twice");
                }
            }
            Event::HostDown { taint } => {
                once(self.final_taint.replace(taint), "has a host that went down twice")?;
            }
            Event::HostRam { start, size } => {
                self.around
                    .ram
                    .push(start..start.checked_add(size).ok_or("has RAM beyond the address space")?);
            }
            Event::HostLoaded(loaded) => {
                if self.around.loaded.iter().any(|known| known.part == loaded.part) {
                    return Err("has something that was loaded twice");
                }
                self.around.loaded.push(loaded);
            }
            Event::HostMemory(memory) => {
                once(self.around.memory.replace(memory), "has a host that described its memory twice")?;
            }
            Event::DeviceBound(bound) => {
                once(
                    self.around.devices.insert(bound.device.clone(), bound),
                    "has a device that was bound twice",
                )?;
            }
            Event::BarPlaced { device, bar } => {
                let placed = self.around.placed.entry(device).or_default();
                let known = placed.iter().find(|known| known.index == bar.index).copied();
                once(known, "has a BAR that was placed twice")?;
                placed.push(bar);
            }
            Event::GuestUp { guest, release, page_size, taint } => {
                let up = self.guests.insert(guest, Kernel { release, page_size, taint });
                once(up, "has a guest that came up twice")?;
            }
            Event::VmaFlags { step, guest, device, vmas } => {
                self.vmas.push(VmaFlags { step, guest, device, vmas });
            }
            Event::Stored { step, guest, device, map, width, bytes, result, file_difference } => {
                self.stores.push(Stored { step, guest, device, map, width, bytes, result, file_difference });
            }
            Event::Look(look) => self.looks.push(look),
            Event::Reset { step, device, method } => self.resets.push(Reset { step, device, method }),
            Event::AfterReset(after) => self.after_resets.push(after),
            Event::Probed { step, guest, device, map, outcome } => {
                self.probes.push(Probed { step, guest, device, map, outcome });
            }
            Event::Alarm { console, class, line } => self.alarms.push(Alarm { console, class, line }),
            Event::Crash { console, lines, names } => self.crashes.push(Crash { console, lines, names }),
            Event::CellEnded { end } => {
                self.ended_ms = Some(ms);
                self.end = Some(end);
                self.derive_environment();
            }
            Event::Plan(_)
            | Event::CellStarted
            | Event::NotRun { .. }
            | Event::Interrupted { .. }
            | Event::RunEnded => {
                return Err("has an event of the run");
            }
        }
        Ok(())
    }

    fn stage_ended(&mut self, stage: Stage, ms: u64) -> Result<(), &'static str> {
        let begun = self.stages.iter_mut().rfind(|span| span.stage == stage);
        begun.ok_or("ends a stage that was not begun")?.ended_ms = Some(ms);
        Ok(())
    }

    /// What the machines said of themselves belongs to the environment, and wins over what was assumed.
    fn derive_environment(&mut self) {
        let Environment { blocking, variable } = &mut self.environment;
        if let Some(host) = &self.host {
            blocking.insert(environment::PAGE_SIZE.into(), host.page_size.to_string());
            variable.insert(environment::KERNEL.into(), host.release.clone());
        }
        let releases: BTreeSet<_> = self.guests.values().map(|guest| &guest.release).collect();
        for (name, guest) in &self.guests {
            let fact = match releases.len() {
                1 => environment::GUEST_KERNEL.to_owned(),
                _ => format!("{} {name}", environment::GUEST_KERNEL),
            };
            variable.insert(fact, guest.release.clone());
        }
    }
}

fn once<T>(before: Option<T>, why: &'static str) -> Result<(), &'static str> {
    if before.is_some() { Err(why) } else { Ok(()) }
}
