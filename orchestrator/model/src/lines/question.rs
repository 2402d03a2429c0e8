//! `  nic  hypervisor Device-nGnRE  stage2 is a question, not judged`: the type that the stage 2 of a guest hypervisor
//! gives a BAR. What KVM's shadow of it must have is open (docs/nesting.md).

use super::{Area, LineError, columns, line};
use s2lab_protocol::HypervisorType;
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub device: Area,
    pub hypervisor: HypervisorType,
}

/// The word before the type.
const HYPERVISOR: &str = "hypervisor ";
const OPEN: &str = "stage2 is a question, not judged";

impl Question {
    /// Returns true if the second column of a line begins as one of this kind.
    pub(super) fn begins(column: &str) -> bool {
        column.starts_with(HYPERVISOR)
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {HYPERVISOR}{}  {OPEN}", self.device, self.hypervisor)
    }
}

impl FromStr for Question {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "NAME  hypervisor TYPE  stage2 is a question, not judged", |text| {
            let [device, hypervisor, _] = columns(text)?;
            let name = hypervisor.strip_prefix(HYPERVISOR)?;
            let hypervisor = HypervisorType::ALL.into_iter().find(|of| of.name() == name)?;
            Some(Question { device: Area::read(device)?, hypervisor })
        })
    }
}
