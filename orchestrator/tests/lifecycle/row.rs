//! What a row of the table of faults says.

use fake_qemu::script::{Act, Moment, Script};
pub(crate) use s2lab::host::deadlines::Deadline;
use s2lab_model::event::Stage;
use std::{io, path::Path};

/// In [`Row::config`]: no option.
pub(crate) const NOTHING: &str = "";

/// A fault and what s2lab must make of it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) script: Script,
    /// The real agent serves the host, in a folder that stands for its `/`.
    pub(crate) host: Option<HostFolder>,
    /// The kernel's configuration is known, and lacks this option, or [`NOTHING`]; none: it is not known.
    pub(crate) config: Option<&'static str>,
    /// As it is printed.
    pub(crate) verdict: &'static str,
    /// Where the cell stopped; none if it came to its end.
    pub(crate) stage: Option<Stage>,
    pub(crate) within: Within,
    /// What the reasons for the verdict contain; empty for a pass.
    pub(crate) says: &'static str,
}

/// The folder of [`crate::agent::make`], changed.
#[derive(Clone, Copy)]
pub(crate) struct HostFolder {
    pub(crate) what: &'static str,
    pub(crate) change: fn(&Path) -> io::Result<()>,
}

/// When the verdict is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// In seconds, no deadline has to pass.
    Soon,
    /// When this deadline has passed.
    After(Deadline),
}

/// A good run on a kernel with the series.
pub(crate) fn good(name: &'static str) -> Row {
    let script = Script { series: true, ..Script::default() };
    Row {
        name,
        script,
        host: None,
        config: None,
        verdict: "PASS as wc-honoured",
        stage: None,
        within: Within::Soon,
        says: "",
    }
}

/// A run in which one thing goes wrong.
pub(crate) fn fault(name: &'static str, at: Moment, act: Act) -> Row {
    good(name).and(at, act)
}

impl Row {
    pub(crate) fn and(mut self, at: Moment, act: Act) -> Self {
        self.script = self.script.and(at, act);
        self
    }

    pub(crate) fn without(self, option: &'static str) -> Self {
        Self { config: Some(option), ..self }
    }

    /// The kernel's configuration is known, and has all that is needed.
    pub(crate) fn configured(self) -> Self {
        Self { config: Some(NOTHING), ..self }
    }

    /// The run does not come to its end.
    pub(crate) fn stops(self, verdict: &'static str, stage: Stage, says: &'static str) -> Self {
        Self { verdict, stage: Some(stage), says, ..self }
    }

    /// The run comes to its end, and is judged.
    pub(crate) fn judged(self, verdict: &'static str, says: &'static str) -> Self {
        Self { verdict, stage: None, says, ..self }
    }

    pub(crate) fn after(self, deadline: Deadline) -> Self {
        Self { within: Within::After(deadline), ..self }
    }
}
