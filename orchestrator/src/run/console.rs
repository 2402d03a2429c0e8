//! A console: it is kept in a file, and searched for lines that a healthy kernel does not print.

use memchr::memmem;
use s2lab_model::{
    console::{classify, host_mode},
    crash::{Cutter, symbols::Symbols},
    escape,
    event::{AlarmClass, Event},
    record::environment::HOST_MODE,
};
use std::{
    cmp,
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::log::EventLog;
use tokio::sync::oneshot;

/// The longest line that is searched in one piece, in bytes. The kernel's own limit is 1 KiB; a
/// hostile guest has none. A longer line is searched piece by piece.
const MAX_LINE: usize = 4096;
/// The bytes that two pieces of a long line have in common: more than the longest sign of an alarm,
/// with a task's name.
const OVERLAP: usize = 128;
/// The most bytes that are kept of a console. Beyond it they are counted, not stored.
const MAX_FILE: u64 = 64 << 20;
/// The most alarms of one class on one console that become events: a kernel in a loop of warnings
/// must not fill the log.
const MAX_ALARMS: usize = 32;
/// The most crashes of one console that become events: the first explains most.
const MAX_CRASHES: usize = 4;

/// One console of a cell.
pub struct Console {
    /// `host` or the guest's name.
    name: String,
    file: File,
    kept: u64,
    line: Vec<u8>,
    /// The number of alarms of each class.
    alarms: BTreeMap<AlarmClass, usize>,
    cutter: Cutter,
    crashes: usize,
    log: EventLog,
    mode_told: bool,
    /// The line that a host's console must print once. None after it has.
    test_line: Option<String>,
    /// A line that somebody waits for.
    awaited: Option<(String, oneshot::Sender<()>)>,
    switch: AlarmSwitch,
    symbols: Option<Arc<Symbols>>,
}

/// A switch for the alarms of all consoles of a cell: a person in a host may do anything.
#[derive(Debug, Clone, Default)]
pub struct AlarmSwitch(Arc<AtomicBool>);

impl AlarmSwitch {
    /// Turns alarms off. Consoles are still kept.
    pub fn turn_off(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_off(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A line that stops its cell, or may do so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleAlarm {
    /// The kernel does not continue.
    Fatal(AlarmClass, String),
    /// The kernel may be stuck.
    Stuck(AlarmClass, String),
}

impl Console {
    pub fn create(folder: &Path, name: &str, log: EventLog, switch: AlarmSwitch) -> io::Result<Self> {
        let file = create(folder, name)?;
        Ok(Self {
            name: name.into(),
            file,
            kept: 0,
            line: vec![],
            alarms: BTreeMap::new(),
            cutter: Cutter::default(),
            crashes: 0,
            log,
            mode_told: false,
            test_line: None,
            awaited: None,
            switch,
            symbols: None,
        })
    }

    /// Adds the symbols of a kernel whose `System.map` is known.
    #[must_use]
    pub fn with_symbols(self, symbols: Option<Arc<Symbols>>) -> Self {
        Self { symbols, ..self }
    }

    /// Makes it the console of a host whose agent writes `line` to its kernel's log.
    #[must_use]
    pub fn tested_by(self, line: String) -> Self {
        Self { test_line: Some(line), ..self }
    }

    /// Takes bytes, and returns the most severe alarm, the first of its kind.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<Option<ConsoleAlarm>> {
        let room = usize::try_from(MAX_FILE - self.kept).unwrap_or(usize::MAX);
        let (keep, rest) = bytes.split_at(room.min(bytes.len()));
        self.file.write_all(keep)?;
        self.kept += keep.len() as u64;
        if !rest.is_empty() && !keep.is_empty() {
            writeln!(self.file, "\ns2lab: the console goes on beyond {MAX_FILE} bytes; not kept")?;
        }
        if self.switch.is_off() {
            return Ok(None);
        }
        let (mut fatal, mut stuck) = (None, None);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let mut note = |alarm| match alarm {
                Some(alarm @ ConsoleAlarm::Fatal(..)) => fatal = fatal.take().or(Some(alarm)),
                Some(alarm) => stuck = stuck.take().or(Some(alarm)),
                None => {}
            };
            let mut rest = text;
            while self.line.len() + rest.len() > MAX_LINE {
                let (piece, more) = rest.split_at(MAX_LINE - self.line.len());
                self.line.extend_from_slice(piece);
                note(self.piece_ended());
                rest = more;
            }
            self.line.extend_from_slice(rest);
            if ended {
                note(self.line_ended());
            }
        }
        Ok(fatal.or(stuck))
    }

    /// Returns true once the console has printed the line of the host's agent.
    pub fn is_tested(&self) -> bool {
        self.test_line.is_none()
    }

    pub fn has_alarms(&self) -> bool {
        !self.alarms.is_empty()
    }

    /// Ends the console: a crash that has begun is complete.
    pub fn finish(&mut self) {
        if !self.line.is_empty() && !self.switch.is_off() {
            self.line_ended();
        }
        let crash = self.cutter.finish();
        self.crash(crash);
    }

    /// Returns the moment at which a line with this text is shown. The caller has the text printed after
    /// this call.
    pub fn expect(&mut self, text: String) -> oneshot::Receiver<()> {
        let (shown, moment) = oneshot::channel();
        self.awaited = Some((text, shown));
        moment
    }

    /// Closes the console for the present cell: what comes next belongs to another one.
    pub fn end_cell(&mut self) {
        let crash = self.cutter.finish();
        self.crash(crash);
    }

    /// Continues for another cell of the host, in its folder and with its log. `note` is the first line
    /// of its file.
    pub fn begin_cell(&mut self, folder: &Path, log: EventLog, note: &str) -> io::Result<()> {
        self.file = create(folder, &self.name)?;
        writeln!(self.file, "s2lab: {note}")?;
        (self.kept, self.crashes, self.log) = (0, 0, log);
        self.alarms.clear();
        Ok(())
    }

    /// Ends a piece of a line that continues. The next piece does not repeat the alarm.
    fn piece_ended(&mut self) -> Option<ConsoleAlarm> {
        let shown = classify(&self.line).is_some();
        let kept = if shown { self.line.len() } else { self.line.len() - OVERLAP };
        let common = self.line.split_off(kept);
        self.line.extend_from_slice(&common);
        let alarm = self.line_ended();
        self.line = common;
        alarm
    }

    fn line_ended(&mut self) -> Option<ConsoleAlarm> {
        let mut bytes = std::mem::take(&mut self.line);
        let alarm = self.line(&bytes);
        // The next line uses its memory again.
        bytes.clear();
        self.line = bytes;
        alarm
    }

    /// Searches a line. Most lines of most consoles have no meaning, and take a search and no
    /// memory.
    fn line(&mut self, bytes: &[u8]) -> Option<ConsoleAlarm> {
        tracing::trace!("{}: {}", self.name, escape::line(&String::from_utf8_lossy(bytes)));
        if self.test_line.as_ref().is_some_and(|line| memmem::find(bytes, line.as_bytes()).is_some()) {
            self.test_line = None;
            self.log.event(Event::ConsoleTested);
        }
        if let Some((_, shown)) =
            self.awaited.take_if(|(line, _)| memmem::find(bytes, line.as_bytes()).is_some())
        {
            // Who has left does not need it.
            let _ = shown.send(());
        }
        let class = classify(bytes);
        let cuts = self.crashes < MAX_CRASHES;
        if class.is_none() && self.mode_told && !(cuts && self.cutter.wants(bytes)) {
            return None;
        }
        let line = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if let (false, Some(mode)) = (self.mode_told, host_mode(&line)) {
            self.mode_told = true;
            let blocking = BTreeMap::from([(HOST_MODE.to_owned(), mode.to_owned())]);
            self.log.event(Event::Environment { blocking, variable: BTreeMap::new() });
        }
        if let Some(class) = class {
            self.alarm(class, &line);
        }
        if cuts {
            let crash = self.cutter.push(&line, class);
            self.crash(crash);
        }
        match class? {
            class if class.is_fatal() => Some(ConsoleAlarm::Fatal(class, line)),
            class if class.is_stuck() => Some(ConsoleAlarm::Stuck(class, line)),
            _ => None,
        }
    }

    /// Counts an alarm. The kept ones may all be harmless, so an event reports that there were
    /// more.
    fn alarm(&mut self, class: AlarmClass, line: &str) {
        let before = self.alarms.entry(class).or_default();
        let (class, line) = match (*before).cmp(&MAX_ALARMS) {
            cmp::Ordering::Less => (class, line.to_owned()),
            cmp::Ordering::Equal => (
                AlarmClass::Dropped,
                format!("s2lab: more than {MAX_ALARMS} lines that say {}", class.name()),
            ),
            cmp::Ordering::Greater => return,
        };
        *before += 1;
        self.log.event(Event::Alarm { console: self.name.clone(), class, line });
    }

    fn crash(&mut self, lines: Option<Vec<String>>) {
        if let Some(lines) = lines {
            self.crashes += 1;
            let names = self.symbols.as_ref().map(|symbols| symbols.names(&lines)).unwrap_or_default();
            self.log.event(Event::Crash { console: self.name.clone(), lines, names });
        }
    }
}

/// Returns the name of the file with this console, in the folder of its cell.
pub(crate) fn file_name(name: &str) -> String {
    format!("console.{name}.log")
}

fn create(folder: &Path, name: &str) -> io::Result<File> {
    File::create(folder.join(file_name(name)))
}

#[cfg(test)]
mod tests;
