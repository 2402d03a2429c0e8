//! The reset of a device through VFIO, as a step `host` has it, and stage 2 right after a step that
//! removes a device.

use super::{Beside, Due, Observed, StepAttempt, StepLine, Unmapped};
use crate::finding::{Finding, Weight};
use crate::hex;
use crate::lines::{LineError, Promised, Shape, Text, Word, columns, line};
use crate::record::At;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::{fmt, str::FromStr};

/// The words in a device's `reset_method` (Linux drivers/pci/pci.c, pci_reset_fn_methods, 6.1 to
/// 7.2).
const METHODS: [&str; 7] = ["device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus"];

/// Returns what is due of the reset of `device` in an attempt at its step.
pub(super) fn due(device: &str, attempt: &StepAttempt<'_>) -> Due {
    Due {
        subject: attempt.subject().region(device),
        what: format!("step {}, reset of {device}", attempt.at),
        found: attempt.all::<Reset>().filter(|reset| reset.device == device).count(),
    }
}

/// Returns a finding for each reset by a method that no kernel has.
pub(super) fn unlike(attempt: &StepAttempt<'_>) -> Vec<Finding> {
    let unlike = |Reset { device, method }: &Reset| {
        let what = format!("step {}, reset of {device}", attempt.at);
        let (subject, found) = (attempt.subject().region(device), format!("`{method}`"));
        Finding::new(Weight::Kernel, subject, what, "a method of the kernel's", found)
    };
    attempt.all::<Reset>().filter(|reset| !reset.is_known()).map(|reset| unlike(reset.data)).collect()
}

/// Returns the lines of the resets of a step.
pub(super) fn promised(attempt: &StepAttempt<'_>) -> Vec<Promised> {
    let line = |reset: At<'_, Reset>| ResetLine { device: Word::new(&reset.device) };
    attempt.all().map(line).map(|line| Promised::Step(StepLine::Reset(line))).collect()
}

/// Returns the lines with the methods.
pub(super) fn shape(attempt: &StepAttempt<'_>) -> Vec<Shape> {
    let line = |reset: At<'_, Reset>| {
        let (device, method) = (Word::new(&reset.device), Text::new(&reset.method));
        Shape::Method(MethodLine { device, method })
    };
    attempt.all().map(line).collect()
}

/// A device was reset, and by which method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    pub device: String,
    pub method: String,
}

impl Observed for Reset {
    fn unmaps(&self) -> Option<Unmapped<'_>> {
        Some(Unmapped::Device(&self.device))
    }
}

impl Reset {
    /// Returns true for a method that a kernel has.
    fn is_known(&self) -> bool {
        let mut words = self.method.split_whitespace().peekable();
        words.peek().is_some() && words.all(|word| METHODS.contains(&word))
    }
}

/// Stage 2 of the guest that has the device, right after a step that removes the device from it;
/// there is one if the guest was looked at before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AfterReset {
    pub device: String,
    /// The round of a loop, from 1. None for a step with one removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    pub tables: Beside,
    /// Like [`Look::pages`](super::Look::pages).
    #[serde(with = "hex::keys")]
    pub pages: BTreeMap<u64, String>,
}

impl Observed for AfterReset {
    fn is_due(&self) -> bool {
        false
    }
}

/// The word of a reset.
pub(super) const WORD: &str = "reset";
const RESET: &str = "reset ";

/// `reset nic`: a device was reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetLine {
    pub device: Word,
}

impl fmt::Display for ResetLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RESET}{}", self.device)
    }
}

impl FromStr for ResetLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "reset DEVICE", |text| Some(ResetLine { device: text.strip_prefix(RESET)?.parse().ok()? }))
    }
}

/// `reset nic  method bus`: the method, which the kernel may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodLine {
    pub device: Word,
    pub method: Text,
}

impl fmt::Display for MethodLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RESET}{}  method {}", self.device, self.method)
    }
}

impl FromStr for MethodLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "reset DEVICE  method NAME", |text| {
            let [device, method] = columns(text)?;
            let device = device.strip_prefix(RESET)?.parse().ok()?;
            Some(MethodLine { device, method: method.strip_prefix("method ")?.parse().ok()? })
        })
    }
}
