//! A console: kept in a file, watched for what a healthy kernel does not print.

use s2lab_model::{
    console::{classify, host_mode},
    event::{AlarmClass, Event},
    record::environment::HOST_MODE,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::Path,
};

use super::log::EventLog;

/// Longest line that is looked at, bytes; the kernel's own limit is 1 KiB, a hostile guest's is none.
const MAX_LINE: usize = 4096;
/// Most of a console that is kept, bytes. A flood beyond it is counted, not stored.
const MAX_FILE: u64 = 64 << 20;
/// Most alarms of one console that become events: a kernel in a loop of warnings must not fill the log.
const MAX_ALARMS: usize = 32;

/// One console of a cell.
pub struct Console {
    /// `host` or the guest's name.
    name: String,
    file: File,
    kept: u64,
    line: Vec<u8>,
    alarms: usize,
    log: EventLog,
    mode_told: bool,
}

impl Console {
    pub fn create(folder: &Path, name: &str, log: EventLog) -> io::Result<Self> {
        let file = File::create(folder.join(format!("console.{name}.log")))?;
        Ok(Self { name: name.into(), file, kept: 0, line: vec![], alarms: 0, log, mode_told: false })
    }

    /// Takes bytes as they come; tells of an alarm after which the kernel does not go on.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<Option<(AlarmClass, String)>> {
        let room = usize::try_from(MAX_FILE - self.kept).unwrap_or(usize::MAX);
        let (keep, rest) = bytes.split_at(room.min(bytes.len()));
        self.file.write_all(keep)?;
        self.kept += keep.len() as u64;
        if !rest.is_empty() && !keep.is_empty() {
            writeln!(self.file, "\ns2lab: the console goes on beyond {MAX_FILE} bytes; not kept")?;
        }
        let mut fatal = None;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = MAX_LINE - self.line.len();
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if ended {
                fatal = fatal.or(self.line_ended());
            }
        }
        Ok(fatal)
    }

    fn line_ended(&mut self) -> Option<(AlarmClass, String)> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if let (false, Some(mode)) = (self.mode_told, host_mode(&line)) {
            self.mode_told = true;
            let blocking = BTreeMap::from([(HOST_MODE.to_owned(), mode.to_owned())]);
            self.log.event(Event::Environment { blocking, variable: BTreeMap::new() });
        }
        let class = classify(&line)?;
        self.alarms += 1;
        if self.alarms <= MAX_ALARMS {
            self.log.event(Event::Alarm { console: self.name.clone(), class, line: line.clone() });
        }
        class.is_fatal().then_some((class, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (tempfile::TempDir, Console) {
        let dir = tempfile::tempdir().unwrap();
        let (log, _writer) = EventLog::create(&dir.path().join("events.jsonl"), |_, _| ()).unwrap();
        let console = Console::create(dir.path(), "host", log).unwrap();
        (dir, console)
    }

    #[tokio::test]
    async fn an_alarm_is_seen_across_any_cut() {
        let text = b"[1.0] hello\r\n[2.0] Kernel panic - not syncing: x\r\n";
        for cut in 0..text.len() {
            let (_dir, mut console) = console();
            let first = console.push(&text[..cut]).unwrap();
            let second = console.push(&text[cut..]).unwrap();
            let expected = Some((AlarmClass::Panic, "[2.0] Kernel panic - not syncing: x".to_owned()));
            assert_eq!(first.or(second), expected, "cut at {cut}");
        }
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
