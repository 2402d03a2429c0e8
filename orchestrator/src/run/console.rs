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
        let file = File::create(folder.join(format!("console.{name}.log")))?;
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

    /// Ends the console: a crash that has begun is complete.
    pub fn finish(&mut self) {
        if !self.line.is_empty() && !self.switch.is_off() {
            self.line_ended();
        }
        let crash = self.cutter.finish();
        self.crash(crash);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (tempfile::TempDir, Console) {
        let dir = tempfile::tempdir().unwrap();
        let (log, _writer) = EventLog::create(&dir.path().join("events.jsonl"), |_, _| ()).unwrap();
        let console = Console::create(dir.path(), "host", log, AlarmSwitch::default()).unwrap();
        (dir, console)
    }

    #[tokio::test]
    async fn an_alarm_is_seen_across_any_cut() {
        let text = b"[1.0] hello\r\n[2.0] Kernel panic - not syncing: x\r\n";
        for cut in 0..text.len() {
            let (_dir, mut console) = console();
            let first = console.push(&text[..cut]).unwrap();
            let second = console.push(&text[cut..]).unwrap();
            let line = "[2.0] Kernel panic - not syncing: x".to_owned();
            let expected = Some(ConsoleAlarm::Fatal(AlarmClass::Panic, line));
            assert_eq!(first.or(second), expected, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn the_test_line_is_seen_once_and_for_its_nonce_only() {
        let line = |nonce| format!("[    4.1][    T1] {}\r\n", s2lab_protocol::test_line(nonce));
        for (text, due) in [
            (line(7), 1),
            (line(7) + &line(7), 1),
            (format!("{}{}", "x".repeat(MAX_LINE), line(7)), 1),
            (line(8), 0),
            ("Kernel command line: console=ttyAMA0 s2lab.nonce=0000000000000007\r\n".into(), 0),
        ] {
            let (dir, console) = console();
            let mut console = console.tested_by(s2lab_protocol::test_line(7));
            console.push(text.as_bytes()).unwrap();
            console.log.flush().await;
            let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
            assert_eq!(log.matches("\"console-tested\"").count(), due, "{text}: {log}");
        }
    }

    #[tokio::test]
    async fn harmless_lines_hide_no_other_and_more_than_are_kept_are_told() {
        let (dir, mut console) = console();
        console.push("WARNING: Unprivileged eBPF is enabled\n".repeat(99).as_bytes()).unwrap();
        console.push(b"BUG: x\n").unwrap();
        console.log.flush().await;
        let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        let count = |class: &str| log.matches(&format!(r#""class":"{class}""#)).count();
        assert_eq!((count("warn"), count("dropped"), count("bug")), (MAX_ALARMS, 1, 1), "{log}");
    }

    #[tokio::test]
    async fn a_crash_is_cut_out_and_a_loop_of_them_bounded() {
        let (dir, mut console) = console();
        let oops = "Internal error: Oops: 1 [#1] SMP\r\npc : f+0x1/0x2\r\n---[ end trace 0 ]---\r\nnext\r\n";
        assert!(matches!(
            console.push(oops.repeat(9).as_bytes()),
            Ok(Some(ConsoleAlarm::Fatal(AlarmClass::Oops, _)))
        ));
        assert_eq!(console.crashes, MAX_CRASHES);
        console.log.flush().await;
        let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        let crash =
            r#""lines":["Internal error: Oops: 1 [#1] SMP","pc : f+0x1/0x2","---[ end trace 0 ]---"]"#;
        assert_eq!(log.matches(crash).count(), MAX_CRASHES, "{log}");
    }

    #[tokio::test]
    async fn a_crash_that_the_console_ends_in_is_kept() {
        let (_dir, mut console) = console();
        let begun = console
            .push(b"watchdog: BUG: soft lockup - CPU#0 stuck for 22s!\nCall trace:\n f+0x1/0x2\n g+0x");
        assert!(matches!(begun, Ok(Some(ConsoleAlarm::Stuck(AlarmClass::Stall, _)))), "{begun:?}");
        assert_eq!(console.crashes, 0);
        console.finish();
        assert_eq!(console.crashes, 1);
    }

    #[tokio::test]
    async fn what_is_said_under_a_persons_hands_is_kept_and_does_not_count() {
        let (dir, mut console) = console();
        let begun = "WARNING: CPU: 0 PID: 1 at x.c:1 f+0x0/0x4\nCall trace:\n f+0x0/0x4\n";
        assert_eq!(console.push(begun.as_bytes()).unwrap(), None);
        console.switch.turn_off();
        assert_eq!(console.push(b"Kernel panic - not syncing: sysrq\n").unwrap(), None);
        console.finish();
        console.log.flush().await;
        let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(read("console.host.log").contains("sysrq"));
        let log = read("events.jsonl");
        assert!(log.contains("f+0x0/0x4") && !log.contains("sysrq"), "{log}");
        assert_eq!(console.crashes, 1, "what had begun before is whole");
    }

    #[tokio::test]
    async fn addresses_without_a_name_get_one() {
        let map = "ffff800008000000 T _text\nffff800008010000 t f\nffff800008100000 B _end\n";
        let (dir, console) = console();
        let mut console = console.with_symbols(Some(Arc::new(Symbols::parse(map).unwrap())));
        let oops = "Internal error: Oops: 1 [#1]\npc : 0xffff800008010004\n---[ end trace 0 ]---\nx\n";
        assert!(console.push(oops.as_bytes()).unwrap().is_some());
        console.log.flush().await;
        let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        assert!(log.contains(r#""names":{"ffff800008010004":"f+0x4/0xf0000"}"#), "{log}");
    }

    #[tokio::test]
    async fn an_endless_line_takes_no_memory() {
        let (_dir, mut console) = console();
        for _ in 0..100 {
            console.push(&[b'x'; 64 * 1024]).unwrap();
        }
        assert!(console.line.len() <= MAX_LINE);
    }

    #[tokio::test]
    async fn an_alarm_far_behind_in_a_line_is_seen_once() {
        for before in (0..3 * MAX_LINE).step_by(61) {
            let (dir, mut console) = console();
            let line = format!("{}WARNING: a.c:1 at f+0x0/0x4, CPU#0: x/1\n", "y".repeat(before));
            console.push(line.as_bytes()).unwrap();
            console.log.flush().await;
            let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
            assert_eq!(log.matches("\"alarm\"").count(), 1, "behind {before} bytes: {log}");
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let (dir, mut console) = console();
        console.kept = MAX_FILE - 3;
        console.push(b"abcdef").unwrap();
        console.push(b"more").unwrap();
        let text = std::fs::read_to_string(dir.path().join("console.host.log")).unwrap();
        assert!(text.starts_with("abc\ns2lab: the console goes on"), "{text}");
        assert!(!text.contains("more"));
    }
}
