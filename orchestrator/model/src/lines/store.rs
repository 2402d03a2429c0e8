//! `store g0 nic wc 8 B: 131072 stores, BAR file equal, read-back equal`: the result of one width
//! of a store step.

use super::words::bit;
use super::{LineError, Word, line};
use s2lab_protocol::MapKind;
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub guest: Word,
    pub device: Word,
    pub map: MapKind,
    /// Bytes.
    pub width: u32,
    pub stores: u64,
    /// The BAR's file holds the pattern.
    pub file_equal: bool,
    /// The guest reads the pattern back.
    pub reads_back: bool,
}

const FORM: &str = "store GUEST DEVICE MAP WIDTH B: N stores, BAR file equal, read-back equal";
const EQUAL: &str = "equal";
const DIFFERS: &str = "DIFFERS";

fn word(equal: bool) -> &'static str {
    if equal { EQUAL } else { DIFFERS }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Store { guest, device, map, width, stores, file_equal, reads_back } = self;
        let (file, back) = (word(*file_equal), word(*reads_back));
        write!(
            f,
            "store {guest} {device} {map} {width} B: {stores} stores, BAR file {file}, read-back {back}"
        )
    }
}

impl FromStr for Store {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| {
            let words: Vec<_> = text.split(' ').collect();
            let [_, guest, device, map, width, _, stores, _, _, _, file, _, back] = words[..] else {
                return None;
            };
            Some(Store {
                guest: guest.parse().ok()?,
                device: device.parse().ok()?,
                map: map.parse().ok()?,
                width: width.parse().ok()?,
                stores: stores.parse().ok()?,
                file_equal: bit(file.strip_suffix(',')?, EQUAL, DIFFERS)?,
                reads_back: bit(back, EQUAL, DIFFERS)?,
            })
        })
    }
}
