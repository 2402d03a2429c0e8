//! The steps of a scenario: one file each, and a row in each list of this file. The file of a step
//! has its written form, its observations, the check that they are there, and its lines in a
//! report.

mod access;
mod count;
mod device;
mod dma;
mod dump;
mod exec;
mod faults;
mod frames;
mod host_look;
mod load;
mod look;
mod manner;
mod meanwhile;
mod measure;
mod memslot;
mod probe;
mod reset;
mod store;
mod suite;
mod tlbi;

use crate::finding::{Finding, Subject};
use crate::judge::isolation::Isolation;
use crate::kconfig::Need;
use crate::lines::{LineError, Promised, Shape};
use crate::record::{At, Record, host_look::DecodedHostLook, look::DecodedLook};
use s2lab_mmu::Stage2Leaf;
use s2lab_protocol::Bar;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{any::Any, fmt, str::FromStr};
use strum::VariantNames;

pub use access::{Access, Words};
pub use count::{CountLine, Counted, Counts, FaultRun, Stage2Fault};
pub use device::{Actor, DeviceLine, DeviceOperated, GuestStep, HostStep};
pub use dma::{DmaDone, DmaLine, DmaStep};
pub use dump::DumpedTables;
pub use exec::{ExecLine, ExecStep, Executed, HOST, ProgramEnding, TestLine};
pub use faults::TracedFaults;
pub use frames::{FramesDone, FramesLine, FramesStep};
pub use host_look::{HostLook, HostLookLine};
pub use load::{LoadLine, LoadStep, LoadedBytes};
pub use look::{Beside, Look, LookLine, LookOf, LookStep, VmaFlags};
pub(crate) use manner::{is_usual_vcpus, usual_vcpus};
pub use meanwhile::{Raced, WhileLine, WhileStep};
pub use measure::{MeasureLine, MeasureStep, Sample};
pub use memslot::{MemslotLine, MemslotOperated, MemslotStep, Outcome};
pub use probe::{Ending, ProbeLine, ProbeOutcome, ProbeStep, Probed};
pub(crate) use probe::{access_words, words as probe_words};
pub use reset::{AfterReset, MethodLine, Reset, ResetLine};
pub use store::{StoreLine, StoreStep, Stored};
pub use suite::{Selftest, Suite, SuiteStep};
pub use tlbi::{Invalidated, TlbiRun, TracedTlbi};

/// The actions, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub enum Step {
    /// A guest stores to a device.
    Store(StoreStep),
    /// A guest loads from a device.
    Load(LoadStep),
    /// s2lab reads the tables.
    Look(LookStep),
    /// A guest stores several times, and each time is a sample.
    Measure(MeasureStep),
    /// The host acts on a device.
    Host(HostStep),
    /// A guest acts on a device.
    Guest(GuestStep),
    /// The VMM of a guest operates on a memslot.
    Memslot(MemslotStep),
    /// A guest stores while the host acts on the device.
    While(WhileStep),
    /// A guest transfers data to and from a drive.
    Dma(DmaStep),
    /// A guest and the host exchange frames through a virtual function.
    Frames(FramesStep),
    /// A guest tries an access that may fault; only other probes of the guest may follow.
    Probe(ProbeStep),
    /// A program of yours runs.
    Exec(ExecStep),
    /// Selftests of the kernel's own tree run.
    Suite(SuiteStep),
}

impl Step {
    pub(crate) fn kind(&self) -> &dyn StepKind {
        match self {
            Step::Store(step) => step,
            Step::Load(step) => step,
            Step::Look(step) => step,
            Step::Measure(step) => step,
            Step::Host(step) => step,
            Step::Guest(step) => step,
            Step::Memslot(step) => step,
            Step::While(step) => step,
            Step::Dma(step) => step,
            Step::Frames(step) => step,
            Step::Probe(step) => step,
            Step::Exec(step) => step,
            Step::Suite(step) => step,
        }
    }

    /// Returns the device that it is about.
    pub fn device(&self) -> Option<&str> {
        self.kind().device()
    }

    /// Returns the device that it removes from stage 2 of its guest until the next access.
    pub fn removes(&self) -> Option<Removal<'_>> {
        self.kind().removes()
    }

    /// Returns each removal after which stage 2 is read, in their order.
    pub fn removals(&self) -> Vec<Removal<'_>> {
        self.kind().removals()
    }

    /// Returns the step, if it is of this kind.
    pub(crate) fn of<T: StepKind>(&self) -> Option<&T> {
        (self.kind() as &dyn Any).downcast_ref()
    }
}

/// One kind of step.
pub(crate) trait StepKind: Any {
    /// Returns the options that the kernel under test must have for it, beside those of its
    /// devices and guests.
    fn needs(&self) -> &'static [Need] {
        &[]
    }

    /// Returns the device that it is about.
    fn device(&self) -> Option<&str> {
        None
    }

    /// Returns the device that it removes from stage 2 of its guest until the next access.
    fn removes(&self) -> Option<Removal<'_>> {
        None
    }

    /// Returns each removal after which stage 2 is read: those of a loop are several.
    fn removals(&self) -> Vec<Removal<'_>> {
        self.removes().into_iter().collect()
    }

    /// Returns the observations that are due.
    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due>;

    /// Returns a finding for each observation that differs from the step.
    fn unlike(&self, _attempt: &StepAttempt<'_>) -> Vec<Finding> {
        vec![]
    }

    /// Returns its lines in the promised part of a report.
    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised>;

    /// Returns its lines in the part that the kernel may choose freely.
    fn shape(&self, _attempt: &StepAttempt<'_>) -> Vec<Shape> {
        vec![]
    }
}

/// A device that must leave stage 2 of its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removal<'a> {
    pub device: &'a str,
    /// The word of what removes it: `reset`.
    pub by: &'static str,
    pub part: RemovedPart,
}

impl<'a> Removal<'a> {
    pub(crate) fn whole(device: &'a str, by: &'static str) -> Self {
        Removal { device, by, part: RemovedPart::Whole }
    }
}

/// The part of a device that must leave stage 2. More may leave it: KVM removes a whole block if a part of it goes
/// (Linux 6.1 to 7.2 arch/arm64/kvm/hyp/pgtable.c, stage2_unmap_walker).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemovedPart {
    /// All BARs.
    Whole,
    /// The second quarter of the BAR of [`Bar::chosen`](s2lab_protocol::Bar::chosen).
    SecondQuarter,
}

impl RemovedPart {
    /// Returns true if the leaf reaches into the part. `bar` is the chosen BAR of its device.
    pub(crate) fn has(self, leaf: &Stage2Leaf, bar: Option<Bar>) -> bool {
        let (RemovedPart::SecondQuarter, Some(bar)) = (self, bar) else { return true };
        let quarter = bar.size / 4;
        let start = bar.start.saturating_add(quarter);
        leaf.pa < start.saturating_add(quarter) && start < leaf.pa.saturating_add(leaf.size)
    }
}

impl fmt::Display for RemovedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemovedPart::Whole => "its BARs",
            RemovedPart::SecondQuarter => "the second quarter of its BAR",
        })
    }
}

/// A step in an attempt at its cell.
pub(crate) struct StepAttempt<'a> {
    /// The number of the step, from 0.
    pub(crate) at: usize,
    pub(crate) record: &'a Record,
    /// The looks of the whole attempt.
    pub(crate) looks: &'a [DecodedLook],
    /// The result of the rules of isolation for each of `looks`.
    pub(crate) isolation: &'a [Isolation],
    /// The looks at the host's own stage 2, of the whole attempt.
    pub(crate) hosts: &'a [DecodedHostLook],
}

impl<'a> StepAttempt<'a> {
    /// The step's observations of one kind.
    fn all<T: Observed>(&self) -> impl Iterator<Item = At<'a, T>> + use<'a, T> {
        self.record.at(self.at)
    }

    /// The looks of the step.
    fn looks(&self) -> impl Iterator<Item = (&'a DecodedLook, &'a Isolation)> + use<'a> {
        let at = self.at;
        self.looks.iter().zip(self.isolation).filter(move |(look, _)| look.step == at)
    }

    fn subject(&self) -> Subject {
        Subject::step(self.at)
    }
}

/// An observation that must be there exactly once.
pub(crate) struct Due {
    pub(crate) subject: Subject,
    pub(crate) what: String,
    /// The number of such observations.
    pub(crate) found: usize,
}

/// The content of an [`Event::Observed`](crate::event::Event::Observed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Observation {
    Stored(Stored),
    LoadedBytes(LoadedBytes),
    Look(Look),
    HostLook(HostLook),
    Reset(Reset),
    DeviceOperated(DeviceOperated),
    MemslotOperated(MemslotOperated),
    Raced(Raced),
    AfterReset(AfterReset),
    Probed(Probed),
    VmaFlags(VmaFlags),
    Invalidated(Invalidated),
    Counted(Counted),
    Sample(Sample),
    TracedFaults(TracedFaults),
    DumpedTables(DumpedTables),
    Executed(Executed),
    DmaDone(DmaDone),
    FramesDone(FramesDone),
}

impl Observation {
    pub(crate) fn data(&self) -> &dyn Observed {
        match self {
            Observation::Stored(data) => data,
            Observation::LoadedBytes(data) => data,
            Observation::Look(data) => data,
            Observation::HostLook(data) => data,
            Observation::Reset(data) => data,
            Observation::DeviceOperated(data) => data,
            Observation::MemslotOperated(data) => data,
            Observation::Raced(data) => data,
            Observation::AfterReset(data) => data,
            Observation::Probed(data) => data,
            Observation::VmaFlags(data) => data,
            Observation::Invalidated(data) => data,
            Observation::Counted(data) => data,
            Observation::Sample(data) => data,
            Observation::TracedFaults(data) => data,
            Observation::DumpedTables(data) => data,
            Observation::Executed(data) => data,
            Observation::DmaDone(data) => data,
            Observation::FramesDone(data) => data,
        }
    }

    /// Returns the observation, if it is of this kind.
    pub(crate) fn of<T: Observed>(&self) -> Option<&T> {
        (self.data() as &dyn Any).downcast_ref()
    }
}

/// One kind of observation.
pub trait Observed: Any {
    /// Returns true if it is an observation that its step is [`Due`]. The others belong to one.
    fn is_due(&self) -> bool {
        true
    }

    /// Returns the access of a guest to a BAR that it shows.
    fn access(&self) -> Option<Access<'_>> {
        None
    }

    /// Returns the store that it shows.
    fn stored(&self) -> Option<&Stored> {
        None
    }

    /// Returns the BARs that this may have taken from stage 2, before it stored anything.
    fn unmaps(&self) -> Option<Unmapped<'_>> {
        None
    }

    /// Returns a finding for each wrong byte range in step `at`, or None if no bytes were compared.
    fn bytes(&self, _at: usize) -> Option<Vec<Finding>> {
        None
    }
}

/// BARs that stage 2 may not have any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmapped<'a> {
    /// Those of a device.
    Device(&'a str),
    /// Some of a device: the kernel removes a part of a BAR, and may remove more.
    PartOf(&'a str),
    /// Those of all devices.
    All,
}

/// A line of a step in the promised part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepLine {
    Store(StoreLine),
    Load(LoadLine),
    Look(LookLine),
    HostLook(HostLookLine),
    Measure(MeasureLine),
    Reset(ResetLine),
    Device(DeviceLine),
    Memslot(MemslotLine),
    While(WhileLine),
    Probe(ProbeLine),
    Exec(ExecLine),
    Test(TestLine),
    Dma(DmaLine),
    Frames(FramesLine),
}

impl StepLine {
    /// Returns the subject, which has no value, and the values: a line is `SUBJECT: VALUE, VALUE`,
    /// or a subject alone.
    pub(crate) fn parts(&self) -> (String, Vec<String>) {
        let text = self.to_string();
        match (self, text.rsplit_once(": ")) {
            (
                StepLine::Store(_)
                | StepLine::Load(_)
                | StepLine::HostLook(_)
                | StepLine::Measure(_)
                | StepLine::Memslot(_)
                | StepLine::While(_)
                | StepLine::Probe(_)
                | StepLine::Exec(_)
                | StepLine::Test(_)
                | StepLine::Dma(_)
                | StepLine::Frames(_),
                Some((subject, values)),
            ) => (subject.to_owned(), values.split(", ").map(str::to_owned).collect()),
            _ => (text, vec![]),
        }
    }
}

impl fmt::Display for StepLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepLine::Store(line) => line.fmt(f),
            StepLine::Load(line) => line.fmt(f),
            StepLine::Look(line) => line.fmt(f),
            StepLine::HostLook(line) => line.fmt(f),
            StepLine::Measure(line) => line.fmt(f),
            StepLine::Reset(line) => line.fmt(f),
            StepLine::Device(line) => line.fmt(f),
            StepLine::Memslot(line) => line.fmt(f),
            StepLine::While(line) => line.fmt(f),
            StepLine::Probe(line) => line.fmt(f),
            StepLine::Exec(line) => line.fmt(f),
            StepLine::Test(line) => line.fmt(f),
            StepLine::Dma(line) => line.fmt(f),
            StepLine::Frames(line) => line.fmt(f),
        }
    }
}

impl FromStr for StepLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        match text.split(' ').next() {
            Some("store") => text.parse().map(StepLine::Store),
            Some("load") => text.parse().map(StepLine::Load),
            Some("look") if HostLookLine::is_it(text) => text.parse().map(StepLine::HostLook),
            Some("look") => text.parse().map(StepLine::Look),
            Some("measure") => text.parse().map(StepLine::Measure),
            Some("reset") => text.parse().map(StepLine::Reset),
            Some("host" | "guest") => text.parse().map(StepLine::Device),
            Some(meanwhile::WHILE) => text.parse().map(StepLine::While),
            Some("memslot") => text.parse().map(StepLine::Memslot),
            Some(exec::EXEC) => text.parse().map(StepLine::Exec),
            Some(exec::TEST) => text.parse().map(StepLine::Test),
            Some(dma::DMA) => text.parse().map(StepLine::Dma),
            Some(frames::FRAMES) => text.parse().map(StepLine::Frames),
            Some(word) if ProbeLine::is_begun(word) => text.parse().map(StepLine::Probe),
            _ => Err(LineError { form: "the line of a step" }),
        }
    }
}
