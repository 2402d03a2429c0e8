//! Rows of the table of faults.

use fake_qemu::script::{Act, Moment, PluginAnswer, Script};
pub(crate) use s2lab::host::deadlines::Deadline;
use s2lab_model::event::Stage;
use std::{io, path::Path};

/// The value of [`Row::config`] for no option.
pub(crate) const NOTHING: &str = "";

/// A fault and the result that s2lab must give.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) script: Script,
    /// If set, the real agent serves the host, in a folder that stands for its `/`.
    pub(crate) host: Option<HostFolder>,
    /// The option that the known configuration of the kernel lacks, or [`NOTHING`]. None: the
    /// configuration is unknown.
    pub(crate) config: Option<&'static str>,
    /// The verdict as printed.
    pub(crate) verdict: &'static str,
    /// The stage in which the cell stopped. None: it came to its end.
    pub(crate) stage: Option<Stage>,
    pub(crate) within: Within,
    /// A part of the reasons for the verdict; empty for a pass.
    pub(crate) says: &'static str,
    /// A witness whose testimony is not compared, and the begin of what it says. None: it says nothing
    /// of interest, or it is a reason for the verdict.
    pub(crate) hears: Option<(&'static str, &'static str)>,
    /// True if the scenario counts the accesses to its device.
    pub(crate) counts: bool,
    /// The name of the scenario's file, and its text.
    pub(crate) scenario: (&'static str, &'static str),
    /// True if programs run first, in the guest and in the host.
    pub(crate) programs: bool,
    /// The selftests of the kernel's tree that run first, if there are any.
    pub(crate) selftests: &'static [&'static str],
    /// The number of vCPUs of the scenario's guest.
    pub(crate) vcpus: u32,
    pub(crate) module: Module,
}

/// The state of s2lab's own module for the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Module {
    Built,
    /// The kernel is not built here.
    None,
    /// It does not build.
    Failed,
}

/// A change of the folder of [`crate::agent::make`].
#[derive(Clone, Copy)]
pub(crate) struct HostFolder {
    pub(crate) what: &'static str,
    pub(crate) change: fn(&Path) -> io::Result<()>,
}

/// The time of the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// Within seconds: no deadline has to pass.
    Soon,
    /// After this deadline.
    After(Deadline),
}

/// The scenario with each kind of step that QEMU's guests have.
pub(crate) const LIFECYCLE: (&str, &str) = ("lifecycle.yaml", include_str!("scenario.yaml"));
/// The scenario of a guest of the built-in VMM.
const MEMSLOTS: (&str, &str) = ("memslots.yaml", include_str!("memslots.yaml"));
/// The scenario of a guest that transfers data.
const DMA: (&str, &str) = ("dma.yaml", include_str!("dma.yaml"));
/// The scenario of a guest that has a virtual function.
const FUNCTION: (&str, &str) = ("function.yaml", include_str!("function.yaml"));
/// The scenario of selftests that drive a device.
const SUITE: (&str, &str) = ("suite.yaml", include_str!("suite.yaml"));
/// The scenario of a device that is unplugged.
const HOTPLUG: (&str, &str) = ("hotplug.yaml", include_str!("hotplug.yaml"));
/// The scenario of a guest that stores while the host acts.
const WHILE: (&str, &str) = ("while.yaml", include_str!("while.yaml"));
/// The scenario of a guest with memory of s2lab's own module.
const MODULE: (&str, &str) = ("module.yaml", include_str!("module.yaml"));
/// The scenario of a host in protected mode.
const PROTECTED: (&str, &str) = ("protected.yaml", include_str!("protected.yaml"));

/// Returns a good run on a kernel with the series.
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
        hears: None,
        counts: false,
        scenario: LIFECYCLE,
        programs: false,
        selftests: &[],
        vcpus: 1,
        module: Module::Built,
    }
}

/// Returns a run in which one thing goes wrong.
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

    /// Makes the kernel's configuration known and complete.
    pub(crate) fn configured(self) -> Self {
        Self { config: Some(NOTHING), ..self }
    }

    /// Makes the run stop before its end.
    pub(crate) fn stops(self, verdict: &'static str, stage: Stage, says: &'static str) -> Self {
        Self { verdict, stage: Some(stage), says, ..self }
    }

    /// Makes the run come to its end and be judged.
    pub(crate) fn judged(self, verdict: &'static str, says: &'static str) -> Self {
        Self { verdict, stage: None, says, ..self }
    }

    /// Gives s2lab a plugin, which this QEMU answers.
    pub(crate) fn plugin(mut self, answer: PluginAnswer) -> Self {
        self.script.plugin = Some(answer);
        self
    }

    /// Makes the scenario count.
    pub(crate) fn counting(self) -> Self {
        Self { counts: true, ..self }
    }

    /// Makes the scenario run programs.
    pub(crate) fn running_programs(self) -> Self {
        Self { programs: true, ..self }
    }

    /// Makes the scenario run selftests.
    pub(crate) fn running_selftests(self, selftests: &'static [&'static str]) -> Self {
        Self { selftests, ..self }
    }

    pub(crate) fn with_memslots(self) -> Self {
        Self { scenario: MEMSLOTS, ..self }
    }

    pub(crate) fn with_a_drive(self) -> Self {
        Self { scenario: DMA, ..self }
    }

    pub(crate) fn with_a_function(self) -> Self {
        Self { scenario: FUNCTION, ..self }
    }

    pub(crate) fn with_a_suite(self) -> Self {
        Self { scenario: SUITE, ..self }
    }

    pub(crate) fn that_plugs(self) -> Self {
        Self { scenario: HOTPLUG, ..self }
    }

    pub(crate) fn with_a_loop(self) -> Self {
        Self { scenario: WHILE, ..self }
    }

    pub(crate) fn with_the_module(self) -> Self {
        Self { scenario: MODULE, ..self }
    }

    pub(crate) fn protected(self) -> Self {
        Self { scenario: PROTECTED, ..self }
    }

    /// Gives the scenario's guest two vCPUs.
    pub(crate) fn two_vcpus(self) -> Self {
        Self { vcpus: 2, ..self }
    }

    /// Makes a witness say this, beside a pass.
    pub(crate) fn hears(self, witness: &'static str, said: &'static str) -> Self {
        Self { hears: Some((witness, said)), ..self }
    }

    pub(crate) fn after(self, deadline: Deadline) -> Self {
        Self { within: Within::After(deadline), ..self }
    }
}
