//! The question if this QEMU takes the plugin.

use super::{
    cpu::{self, CpuError},
    memory::SharedMemory,
    process::Launcher,
};
use crate::host::deadlines::Deadlines;
use s2lab_cache::Qemu;
use s2lab_trace::{INTERFACE, INTERFACES};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
};

/// The longest message of a QEMU that refuses the plugin.
const LONGEST: u64 = 4096;

/// QEMU's answers to the questions before a machine is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// The `-cpu` argument of the scenario's CPU model.
    pub(super) cpu: String,
    /// The version of the plugin interface with which QEMU takes the plugin, or the reason why there is no
    /// plugin.
    interface: Result<i32, String>,
}

impl Answers {
    /// Returns the plugin, if QEMU takes it, or the reason why there is none.
    pub(super) fn plugin<'a>(&self, plugin: Result<&'a Path, &str>) -> Result<Taken<'a>, String> {
        let file = plugin.map_err(str::to_owned)?;
        self.interface.clone().map(|interface| Taken { file, interface })
    }
}

/// A plugin that QEMU takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken<'a> {
    pub(super) file: &'a Path,
    /// The version of the plugin interface.
    interface: i32,
}

impl Taken<'_> {
    /// Makes the plugin in this QEMU declare the version.
    pub(super) fn declare(&self, qemu: &mut Command) {
        qemu.env(OsStr::from_bytes(INTERFACE.to_bytes()), self.interface.to_string());
    }
}

/// The questions before a machine is made.
#[derive(Debug, Clone, Copy)]
pub struct Questions<'a> {
    pub qemu: &'a Qemu,
    /// The scenario's CPU model.
    pub cpu: &'a str,
    /// QEMU's plugin, or the reason why there is none.
    pub plugin: Result<&'a Path, &'a str>,
    pub deadlines: Deadlines,
}

/// Asks QEMU both at once, for each version of the plugin interface until it takes the plugin; one that
/// takes none is asked once more.
pub(in crate::host) async fn ask(
    launcher: &Launcher,
    questions: &Questions<'_>,
) -> Result<Answers, CpuError> {
    let why = match questions.plugin {
        Ok(file) => {
            let mut why = String::new();
            for interface in INTERFACES {
                let plugin = Taken { file, interface };
                match with(launcher, questions, plugin).await {
                    Ok(cpu) => return Ok(Answers { cpu, interface: Ok(interface) }),
                    Err(Refusal::Unknown(error)) => return Err(error),
                    Err(Refusal::Plugin(reason)) => why = reason,
                }
            }
            why
        }
        Err(why) => why.to_owned(),
    };
    let Questions { qemu, cpu: model, deadlines, .. } = *questions;
    let cpu = cpu::argument(launcher, qemu.command(), model, deadlines, Stdio::null()).await?;
    Ok(Answers { cpu, interface: Err(why) })
}

enum Refusal {
    /// A QEMU with the plugin that does not know the CPU model.
    Unknown(CpuError),
    Plugin(String),
}

async fn with(launcher: &Launcher, questions: &Questions<'_>, plugin: Taken<'_>) -> Result<String, Refusal> {
    let cannot = |error: std::io::Error| Refusal::Plugin(format!("QEMU could not be asked: {error}"));
    let messages = SharedMemory::new("messages", LONGEST).map_err(cannot)?;
    let stderr = messages.fd().try_clone_to_owned().map_err(cannot)?;
    let mut qemu = questions.qemu.command();
    qemu.arg("-plugin").arg(plugin.file);
    plugin.declare(&mut qemu);
    let asked = cpu::argument(launcher, qemu, questions.cpu, questions.deadlines, stderr.into()).await;
    asked.map_err(|error| match error {
        CpuError::Unknown { .. } => Refusal::Unknown(error),
        error => Refusal::Plugin(format!("QEMU does not take it: {}", said(&messages, &error))),
    })
}

/// Returns the last line of QEMU's messages, or the error.
fn said(messages: &SharedMemory, error: &CpuError) -> String {
    let words = (0..LONGEST).step_by(size_of::<u64>()).map_while(|offset| messages.word(offset));
    let bytes = words.flat_map(u64::to_le_bytes).take_while(|byte| *byte != 0);
    let text = String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned();
    text.lines().next_back().map_or_else(|| error.to_string(), |line| line.trim().to_owned())
}
