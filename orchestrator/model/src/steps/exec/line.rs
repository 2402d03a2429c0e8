//! The lines of a program and of its tests in a report.

use crate::ktap::TestResult;
use crate::lines::{LineError, Text, Word, columns, line, one_of};
use s2lab_protocol::ask::ProgramEnd;
use std::{fmt, str::FromStr};

pub(in crate::steps) const EXEC: &str = "exec";
pub(in crate::steps) const TEST: &str = "test";

/// `exec host repro --loops 3: exit 0`: the end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecLine {
    pub place: Word,
    /// The name of the file and the arguments.
    pub command: Text,
    pub ending: ProgramEnding,
}

/// `test host repro --loops 3  suite/case: ok`: a result of one of its tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestLine {
    pub place: Word,
    pub command: Text,
    pub name: Text,
    pub result: TestResult,
}

/// The end of a program in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramEnding {
    Exit(i32),
    Signal(i32),
    Timeout,
    Flood,
    Stuck,
    NotStarted,
}

impl ProgramEnding {
    /// The endings without a number.
    pub(crate) const WORDS: [ProgramEnding; 4] =
        [ProgramEnding::Timeout, ProgramEnding::Flood, ProgramEnding::Stuck, ProgramEnding::NotStarted];

    pub(super) fn of(end: &ProgramEnd) -> ProgramEnding {
        match end {
            ProgramEnd::Exit(code) => ProgramEnding::Exit(*code),
            ProgramEnd::Signal(number) => ProgramEnding::Signal(*number),
            ProgramEnd::Timeout => ProgramEnding::Timeout,
            ProgramEnd::Flood => ProgramEnding::Flood,
            ProgramEnd::Stuck => ProgramEnding::Stuck,
            ProgramEnd::NotStarted(_) => ProgramEnding::NotStarted,
        }
    }
}

impl fmt::Display for ProgramEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramEnding::Exit(code) => write!(f, "exit {code}"),
            ProgramEnding::Signal(number) => write!(f, "signal {number}"),
            ProgramEnding::Timeout => f.write_str("timeout"),
            ProgramEnding::Flood => f.write_str("flood"),
            ProgramEnding::Stuck => f.write_str("stuck"),
            ProgramEnding::NotStarted => f.write_str("not started"),
        }
    }
}

impl FromStr for ProgramEnding {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "the end of a program", |text| match text.split_once(' ') {
            Some(("exit", code)) => Some(ProgramEnding::Exit(code.parse().ok()?)),
            Some(("signal", number)) => Some(ProgramEnding::Signal(number.parse().ok()?)),
            _ => one_of(ProgramEnding::WORDS, text),
        })
    }
}

impl TestResult {
    pub(crate) const ALL: [TestResult; 4] =
        [TestResult::Ok, TestResult::NotOk, TestResult::Skip, TestResult::Todo];
}

impl fmt::Display for TestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TestResult::Ok => "ok",
            TestResult::NotOk => "not ok",
            TestResult::Skip => "skip",
            TestResult::Todo => "todo",
        })
    }
}

impl fmt::Display for ExecLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExecLine { place, command, ending } = self;
        write!(f, "{EXEC} {place} {command}: {ending}")
    }
}

impl FromStr for ExecLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "exec PLACE COMMAND: ENDING", |text| {
            let (begin, ending) = text.rsplit_once(": ")?;
            let (place, command) = program(begin, EXEC)?;
            Some(ExecLine { place, command, ending: ending.parse().ok()? })
        })
    }
}

impl fmt::Display for TestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TestLine { place, command, name, result } = self;
        write!(f, "{TEST} {place} {command}  {name}: {result}")
    }
}

impl FromStr for TestLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "test PLACE COMMAND  NAME: RESULT", |text| {
            let [begin, test] = columns(text)?;
            let (place, command) = program(begin, TEST)?;
            let (name, result) = test.rsplit_once(": ")?;
            let (name, result) = (name.parse().ok()?, one_of(TestResult::ALL, result)?);
            Some(TestLine { place, command, name, result })
        })
    }
}

/// Returns the place and the command after the first word of a line.
fn program(text: &str, word: &str) -> Option<(Word, Text)> {
    let (place, command) = text.strip_prefix(word)?.strip_prefix(' ')?.split_once(' ')?;
    Some((place.parse().ok()?, command.parse().ok()?))
}
