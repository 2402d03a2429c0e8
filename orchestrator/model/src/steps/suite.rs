//! The step `suite`: selftests of the kernel's own tree run in the host, with a device if the suite needs one.

use super::exec::{ProgramOf, SKIPPED};
use super::{Due, Executed, HOST, StepAttempt, StepKind, StepLine, TestLine};
use crate::finding::Finding;
use crate::ktap::TestResult;
use crate::lines::{Promised, Text, Word};
use crate::scenario::{Timeout, schema};
use s2lab_protocol::ask::ProgramEnd;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

/// Selftests of the tree from which the kernel under test is built run in the host, one after the other.
/// Each must exit with 0, and what it prints as KTAP must be `ok`. On a kernel whose tree is not known, or
/// does not have one of the tests, the cell is SKIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SuiteStep {
    /// The suite that has the tests.
    pub of: Suite,
    /// The tests by their names, each with its arguments behind it: `kvm_page_table_test -b 64M`.
    #[schemars(schema_with = "schema::selftests")]
    pub tests: Vec<String>,
    /// A device of the host that no guest has. The host binds it to vfio-pci, and its address is the last argument of
    /// each test. Only for suites of VFIO, which need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub device: Option<String>,
    /// The time after which a test is killed, with its process group; 30s if left out.
    #[serde(default = "Timeout::usual")]
    pub timeout: Timeout,
}

/// A suite of selftests.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    Display,
    EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Suite {
    /// `tools/testing/selftests/kvm`.
    KvmSelftests,
    /// `tools/testing/selftests/vfio`, since Linux 6.18.
    VfioSelftests,
}

impl Suite {
    /// Returns its folder in `tools/testing/selftests`.
    pub fn folder(self) -> &'static str {
        match self {
            Suite::KvmSelftests => "kvm",
            Suite::VfioSelftests => "vfio",
        }
    }

    /// Returns the packages of Debian with the static libraries that its programs are linked with, besides the C
    /// library (Linux 7.3 tools/testing/selftests/vfio/lib/libvfio.mk).
    pub fn libraries(self) -> &'static [&'static str] {
        match self {
            Suite::KvmSelftests => &[],
            Suite::VfioSelftests => &["uuid-dev"],
        }
    }

    /// Returns true if its tests need a device.
    pub(crate) fn needs_device(self) -> bool {
        match self {
            Suite::KvmSelftests => false,
            Suite::VfioSelftests => true,
        }
    }
}

/// A test of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selftest<'a> {
    suite: Suite,
    /// The name and the arguments, as they are written.
    written: &'a str,
}

impl<'a> Selftest<'a> {
    /// Returns the name of its program.
    pub fn name(&self) -> &'a str {
        self.written.split(' ').next().unwrap_or_default()
    }

    pub fn args(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.written.split(' ').skip(1)
    }

    /// Returns `SUITE/TEST` with the arguments, by which the log knows it.
    pub fn file(&self) -> String {
        format!("{}/{}", self.suite, self.written)
    }
}

impl SuiteStep {
    /// Yields its tests.
    pub fn tests(&self) -> impl Iterator<Item = Selftest<'_>> {
        self.tests.iter().map(|written| Selftest { suite: self.of, written })
    }

    /// Yields the runs of a test.
    fn runs<'a>(attempt: &StepAttempt<'a>, test: Selftest<'_>) -> impl Iterator<Item = &'a Executed> {
        let file = test.file();
        attempt
            .all::<Executed>()
            .map(|executed| executed.data)
            .filter(move |one| one.place == HOST && one.file == file)
    }

    fn program<'a>(&self, test: Selftest<'a>) -> ProgramOf<'a> {
        ProgramOf { name: test.name(), place: HOST, timeout: self.timeout }
    }
}

/// Returns the reason if a test has not run. Unlike programs in general, selftests may say so by their
/// exit code alone.
fn skips(executed: &Executed) -> Option<String> {
    let by_code = || (executed.end == ProgramEnd::Exit(SKIPPED)).then(|| format!("exit code {SKIPPED}"));
    executed.skips().or_else(by_code)
}

/// Returns the lines of a test. One that prints no results counts as one, as in the kernel's own runner
/// (Linux 6.12 tools/testing/selftests/kselftest/runner.sh).
fn lines(test: Selftest<'_>, executed: &Executed) -> Vec<Promised> {
    let mut lines = executed.lines(&test.file());
    if let [Promised::Step(StepLine::Exec(program))] = &lines[..] {
        let result = match (skips(executed), &executed.end) {
            (Some(_), _) => TestResult::Skip,
            (None, ProgramEnd::Exit(0)) => TestResult::Ok,
            _ => TestResult::NotOk,
        };
        let (place, command) = (Word::new(HOST), program.command.clone());
        let line = TestLine { place, command, name: Text::new(test.name()), result };
        lines.push(Promised::Step(StepLine::Test(line)));
    }
    lines
}

impl StepKind for SuiteStep {
    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let due = |test| Due {
            subject: attempt.subject(),
            what: self.program(test).what(attempt),
            found: Self::runs(attempt, test).count(),
        };
        self.tests().map(due).collect()
    }

    /// A skipped test is a line of the report. If all are skipped, nothing was tested.
    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let runs = || self.tests().flat_map(|test| Self::runs(attempt, test).map(move |run| (test, run)));
        let nothing_ran = runs().all(|(_, executed)| skips(executed).is_some());
        let findings = |(test, executed)| match skips(executed) {
            Some(reason) if nothing_ran => {
                vec![self.program(test).skips(attempt, attempt.subject(), &reason)]
            }
            Some(_) => vec![],
            None => self.program(test).findings(attempt, &attempt.subject(), executed),
        };
        runs().flat_map(findings).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        self.tests()
            .flat_map(|test| Self::runs(attempt, test).flat_map(move |run| lines(test, run)))
            .collect()
    }
}
