//! `reset nic`, and, because the kernel may choose it, apart from it `reset nic  method bus`.

use super::{LineError, Text, Word, columns, line};
use std::{fmt, str::FromStr};

const RESET: &str = "reset ";

/// A device was reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    pub device: Word,
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RESET}{}", self.device)
    }
}

impl FromStr for Reset {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "reset DEVICE", |text| Some(Reset { device: text.strip_prefix(RESET)?.parse().ok()? }))
    }
}

/// The method of a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    pub device: Word,
    pub method: Text,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RESET}{}  method {}", self.device, self.method)
    }
}

impl FromStr for Method {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "reset DEVICE  method NAME", |text| {
            let [device, method] = columns(text)?;
            let device = device.strip_prefix(RESET)?.parse().ok()?;
            Some(Method { device, method: method.strip_prefix("method ")?.parse().ok()? })
        })
    }
}
