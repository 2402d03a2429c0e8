//! The step `host: {reset: ...}`: a device is reset through VFIO, and stage 2 of its guest is read
//! again.

use super::{Beside, Due, Observed, StepAttempt, StepKind, StepLine};
use crate::finding::{Finding, Weight};
use crate::hex;
use crate::lines::{LineError, Promised, Shape, Text, Word, columns, line};
use crate::record::At;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::{fmt, str::FromStr};

/// The words in a device's `reset_method` (Linux drivers/pci/pci.c, pci_reset_fn_methods, 6.1 to
/// 7.2).
const METHODS: [&str; 7] = ["device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus"];

/// The host acts on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HostStep {
    /// The device to reset through VFIO; a guest must have it.
    pub reset: String,
}

impl StepKind for HostStep {
    fn device(&self) -> Option<&str> {
        Some(&self.reset)
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        vec![Due {
            subject: attempt.subject().region(&self.reset),
            what: format!("step {}, reset of {}", attempt.at, self.reset),
            found: attempt.all::<Reset>().filter(|reset| reset.device == self.reset).count(),
        }]
    }

    /// Returns a finding for each reset by a method that no kernel has.
    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        let unlike = |Reset { device, method }: &Reset| {
            let what = format!("step {}, reset of {device}", attempt.at);
            let (subject, found) = (attempt.subject().region(device), format!("`{method}`"));
            Finding::new(Weight::Kernel, subject, what, "a method of the kernel's", found)
        };
        attempt.all::<Reset>().filter(|reset| !reset.is_known()).map(|reset| unlike(reset.data)).collect()
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        let line = |reset: At<'_, Reset>| ResetLine { device: Word::new(&reset.device) };
        attempt.all().map(line).map(|line| Promised::Step(StepLine::Reset(line))).collect()
    }

    fn shape(&self, attempt: &StepAttempt<'_>) -> Vec<Shape> {
        let line = |reset: At<'_, Reset>| {
            let (device, method) = (Word::new(&reset.device), Text::new(&reset.method));
            Shape::Method(MethodLine { device, method })
        };
        attempt.all().map(line).collect()
    }
}

/// A device was reset, and by which method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    pub device: String,
    pub method: String,
}

impl Observed for Reset {
    fn unmaps(&self) -> Option<&str> {
        Some(&self.device)
    }
}

impl Reset {
    /// Returns true for a method that a kernel has.
    fn is_known(&self) -> bool {
        let mut words = self.method.split_whitespace().peekable();
        words.peek().is_some() && words.all(|word| METHODS.contains(&word))
    }
}

/// Stage 2 of the guest that has the device, right after [`Reset`]; there is one if the guest was
/// looked at before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AfterReset {
    pub device: String,
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
