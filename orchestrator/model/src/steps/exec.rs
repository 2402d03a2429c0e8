//! The step `exec`: a program of the user's runs in the host or in a guest. What a program's end means is here
//! for the step `suite` too.

mod line;

use super::{Due, Observed, StepAttempt, StepKind, StepLine, Unmapped};
use crate::finding::{Finding, Subject, Weight};
use crate::ktap::{Ktap, TestResult};
use crate::lines::{Promised, Text, Word};
use crate::record::At;
use crate::scenario::{Timeout, schema};
use s2lab_protocol::ask::{ProgramEnd, RunProgram};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use line::{EXEC, TEST};
pub use line::{ExecLine, ProgramEnding, TestLine};

/// The word for the host as the place of a program. A guest of this name cannot be meant.
pub const HOST: &str = "host";
/// The exit code of a program that has run none of its tests: `KSFT_SKIP` (Linux 6.12
/// tools/testing/selftests/kselftest.h).
pub(super) const SKIPPED: i32 = 4;
/// The last lines of the output that are evidence.
const EVIDENCE: usize = 24;

/// A program runs, and must exit with 0. Results of tests that it prints as KTAP are in the report,
/// and each must be `ok`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ExecStep {
    /// `host`, or a guest that boots a Linux.
    #[serde(rename = "in")]
    pub place: String,
    /// The path, relative to the scenario's file, of a static ELF program for arm64; 16M at most.
    #[schemars(schema_with = "schema::program_path")]
    pub file: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::program_arguments")]
    pub args: Vec<String>,
    /// The time after which it is killed, with its process group; 30s if left out.
    #[serde(default = "Timeout::usual")]
    pub timeout: Timeout,
}

impl ExecStep {
    /// Returns the guest that runs the program, or None for the host.
    pub fn guest(&self) -> Option<&str> {
        Some(self.place.as_str()).filter(|place| *place != HOST)
    }

    /// Returns the name of its file, without folders.
    pub fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the name of the file and the arguments.
    fn command(&self) -> String {
        [self.name()].into_iter().chain(self.args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }

    fn is_of(&self, executed: &Executed) -> bool {
        executed.place == self.place && executed.file == self.file
    }

    fn subject(&self, attempt: &StepAttempt<'_>) -> Subject {
        match self.guest() {
            Some(guest) => attempt.subject().guest(guest),
            None => attempt.subject(),
        }
    }

    fn run(&self) -> ProgramOf<'_> {
        ProgramOf { name: self.name(), place: &self.place, timeout: self.timeout }
    }
}

impl StepKind for ExecStep {
    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let found = attempt.all::<Executed>().filter(|executed| self.is_of(executed.data)).count();
        vec![Due { subject: self.subject(attempt), what: self.run().what(attempt), found }]
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let findings = |executed: At<'_, Executed>| {
            let (executed, run) = (executed.data, self.run());
            match executed.skips() {
                Some(reason) => vec![run.skips(attempt, self.subject(attempt), &reason)],
                None => run.findings(attempt, &self.subject(attempt), executed),
            }
        };
        attempt.all::<Executed>().flat_map(findings).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let lines = |executed: At<'_, Executed>| executed.data.lines(&self.command());
        attempt.all().flat_map(lines).collect()
    }
}

/// The program that a step runs, for findings.
pub(super) struct ProgramOf<'a> {
    pub(super) name: &'a str,
    pub(super) place: &'a str,
    pub(super) timeout: Timeout,
}

impl ProgramOf<'_> {
    fn of(&self) -> String {
        format!("{} in {}", self.name, self.place)
    }

    pub(super) fn what(&self, attempt: &StepAttempt<'_>) -> String {
        format!("step {}, {}", attempt.at, self.of())
    }

    /// Returns the finding for a program that has run none of its tests.
    pub(super) fn skips(&self, attempt: &StepAttempt<'_>, subject: Subject, reason: &str) -> Finding {
        let found = format!("{} skips: {reason}", self.name);
        Finding::new(Weight::Lacking, subject, self.what(attempt), "a test that runs", found)
    }

    /// Returns the findings of a run of the program that has not skipped its tests.
    pub(super) fn findings(
        &self,
        attempt: &StepAttempt<'_>,
        subject: &Subject,
        executed: &Executed,
    ) -> Vec<Finding> {
        let of = self.of();
        let ktap = Ktap::parse(&executed.output);
        let finding = |what: String, expected: &str, found: &str| {
            Finding::new(Weight::Kernel, subject.clone(), what, expected, found)
        };
        let mut out = vec![];
        if executed.end != ProgramEnd::Exit(0) {
            let found = self.found(&executed.end);
            out.push(finding(self.what(attempt), "exit code 0", &found).with(executed.last_lines()));
        }
        let bad = ktap.tests.iter().filter(|test| test.result == TestResult::NotOk);
        out.extend(
            bad.map(|test| {
                finding(format!("step {}, test {} of {of}", attempt.at, test.name), "ok", "not ok")
            }),
        );
        out.extend(ktap.troubles.iter().map(|trouble| {
            finding(format!("step {}, results of {of}", attempt.at), &trouble.expected, &trouble.found)
        }));
        out
    }

    /// Returns the words for an end.
    fn found(&self, end: &ProgramEnd) -> String {
        match end {
            ProgramEnd::Exit(code) => format!("exit code {code}"),
            ProgramEnd::Signal(number) => format!("killed by signal {number}"),
            ProgramEnd::Timeout => format!("no end within {}, and killed", self.timeout),
            ProgramEnd::Flood => {
                format!("more than {}K of output, and killed", RunProgram::MOST_OUTPUT >> 10)
            }
            ProgramEnd::Stuck => "no end after SIGKILL: it is stuck in the kernel".to_owned(),
            ProgramEnd::NotStarted(why) => format!("not started: {why}"),
        }
    }
}

/// A program has run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// `host`, or the guest.
    #[serde(rename = "in")]
    pub place: String,
    /// The path of the program; of a selftest `SUITE/TEST`, with its arguments.
    pub file: String,
    pub end: ProgramEnd,
    /// Its stdout and stderr together; what is not UTF-8 is replaced.
    pub output: String,
}

impl Observed for Executed {
    /// A program may reset devices, or turn off their memory space.
    fn unmaps(&self) -> Option<Unmapped<'_>> {
        Some(Unmapped::All)
    }
}

impl Executed {
    /// Returns the reason if it has run none of its tests.
    pub(super) fn skips(&self) -> Option<String> {
        let may_skip = matches!(self.end, ProgramEnd::Exit(0 | SKIPPED));
        Ktap::parse(&self.output).skips().filter(|_| may_skip).map(str::to_owned)
    }

    /// Returns the lines of its end and of its tests. `command` is what it is called there.
    pub(super) fn lines(&self, command: &str) -> Vec<Promised> {
        let (place, command) = (Word::new(&self.place), Text::new(command));
        let ending = ProgramEnding::of(&self.end);
        let program = ExecLine { place: place.clone(), command: command.clone(), ending };
        let tests = Ktap::parse(&self.output).tests.into_iter().map(|test| {
            let (place, command) = (place.clone(), command.clone());
            StepLine::Test(TestLine { place, command, name: Text::new(&test.name), result: test.result })
        });
        std::iter::once(StepLine::Exec(program)).chain(tests).map(Promised::Step).collect()
    }

    /// Returns the last lines of the output.
    fn last_lines(&self) -> Vec<String> {
        let lines: Vec<_> = self.output.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.iter().skip(lines.len().saturating_sub(EVIDENCE)).map(|line| (*line).to_owned()).collect()
    }
}
