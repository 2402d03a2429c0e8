//! `unaligned store g0 nic wc: ok`: the ending of an unaligned store.

use super::words::one_of;
use super::{LineError, Word, line};
use s2lab_protocol::MapKind;
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub guest: Word,
    pub device: Word,
    pub map: MapKind,
    pub ending: Ending,
}

/// The ending of an unaligned store, as far as it is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Ok,
    Fault,
    /// The store completed, but the bytes read back are wrong.
    Wrong,
}

impl Ending {
    pub(super) const ALL: [Ending; 3] = [Ending::Ok, Ending::Fault, Ending::Wrong];
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Ok => "ok",
            Ending::Fault => "fault",
            Ending::Wrong => "wrong",
        })
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Probe { guest, device, map, ending } = self;
        write!(f, "unaligned store {guest} {device} {map}: {ending}")
    }
}

impl FromStr for Probe {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "unaligned store GUEST DEVICE MAP: ENDING", |text| {
            let words: Vec<_> = text.split(' ').collect();
            let [_, _, guest, device, map, ending] = words[..] else { return None };
            Some(Probe {
                guest: guest.parse().ok()?,
                device: device.parse().ok()?,
                map: map.strip_suffix(':')?.parse().ok()?,
                ending: one_of(Ending::ALL, ending)?,
            })
        })
    }
}
