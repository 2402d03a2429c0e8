//! `step 0  store g0 nic wc 8 B  n 2  median 553 MB/s  min 342  max 765`: throughput, which decides
//! nothing.

use super::{LineError, Word, columns, line};
use crate::statistics::Summary;
use s2lab_protocol::MapKind;
use std::{fmt, str::FromStr};

/// A line of `[numbers]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Number {
    /// The first line: what the numbers are worth.
    Head { emulated: bool },
    /// The throughput of one kind of store of one step, over all attempts at the cell.
    Store {
        /// From 0, in the scenario's order.
        step: usize,
        guest: Word,
        device: Word,
        map: MapKind,
        width: u32,
        /// MB/s.
        samples: Summary,
    },
}

const EMULATED: &str = "emulated, never decide";
const REAL: &str = "never decide";
const FORM: &str = "step N  store GUEST DEVICE MAP WIDTH B  n N  median N MB/s  min N  max N";

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Head { emulated } => f.write_str(if *emulated { EMULATED } else { REAL }),
            Number::Store { step, guest, device, map, width, samples } => {
                let Summary { n, median, min, max } = samples;
                write!(f, "step {step}  store {guest} {device} {map} {width} B")?;
                write!(f, "  n {n}  median {median} MB/s  min {min}  max {max}")
            }
        }
    }
}

impl FromStr for Number {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| match text {
            EMULATED => Some(Number::Head { emulated: true }),
            REAL => Some(Number::Head { emulated: false }),
            _ => read_store(text),
        })
    }
}

fn read_store(text: &str) -> Option<Number> {
    let [step, store, n, median, min, max] = columns(text)?;
    let words: Vec<_> = store.split(' ').collect();
    let [_, guest, device, map, width, _] = words[..] else { return None };
    let number = |text: &str, before: &str, after: &str| -> Option<u64> {
        text.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    };
    Some(Number::Store {
        step: step.strip_prefix("step ")?.parse().ok()?,
        guest: guest.parse().ok()?,
        device: device.parse().ok()?,
        map: map.parse().ok()?,
        width: width.parse().ok()?,
        samples: Summary {
            n: n.strip_prefix("n ")?.parse().ok()?,
            median: number(median, "median ", " MB/s")?,
            min: number(min, "min ", "")?,
            max: number(max, "max ", "")?,
        },
    })
}
