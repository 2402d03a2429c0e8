//! `step 0  measure x  boot 1  n 6  median 3 ns  95 % 1..6  min 1  max 6`: the samples of measures. They
//! decide nothing, and neither do the sizes of the host's own stage 2.

use super::{LineError, Word, columns, line};
use crate::statistics::{CONFIDENCE, Summary};
use s2lab_protocol::MapKind;
use std::{fmt, str::FromStr};

/// A line of `[numbers]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Number {
    /// The first line: what the numbers are worth.
    Head { emulated: bool },
    /// The throughput of the stores of one width of one step, over all attempts at the cell. Reports have
    /// it that were accepted before `measure` was the only step with numbers: it is read, and not written
    /// any more.
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
    /// The samples of a measure in one boot of the host.
    Measure {
        /// From 0, in the scenario's order.
        step: usize,
        name: Word,
        /// The number of the attempt at the cell, from 1.
        boot: usize,
        /// Nanoseconds of one store.
        samples: Summary,
        /// The interval of the median, see [`crate::statistics::median_interval`].
        interval: Option<(u64, u64)>,
    },
    /// The sizes of what a look at the host's own stage 2 has seen.
    HostLook {
        /// From 0, in the scenario's order.
        step: usize,
        name: Word,
        /// Leaves.
        ram: usize,
        mmio: usize,
        /// Pages.
        hypervisor: usize,
        stacks: usize,
    },
}

const EMULATED: &str = "emulated, never decide";
const REAL: &str = "never decide";
const FORM: &str = "step N  measure NAME  boot N  n N  median N ns  95 % N..N  min N  max N";

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Head { emulated } => f.write_str(if *emulated { EMULATED } else { REAL }),
            Number::Store { step, guest, device, map, width, samples } => {
                let Summary { n, median, min, max } = samples;
                write!(f, "step {step}  store {guest} {device} {map} {width} B")?;
                write!(f, "  n {n}  median {median} MB/s  min {min}  max {max}")
            }
            Number::Measure { step, name, boot, samples, interval } => {
                let Summary { n, median, min, max } = samples;
                write!(f, "step {step}  measure {name}  boot {boot}  n {n}  median {median} ns  ")?;
                match interval {
                    Some((low, high)) => write!(f, "{} {low}..{high}", confidence())?,
                    None => write!(f, "{} unknown", confidence())?,
                }
                write!(f, "  min {min}  max {max}")
            }
            Number::HostLook { step, name, ram, mmio, hypervisor, stacks } => {
                write!(f, "step {step}  look {name} of host  ram {ram} leaves  mmio {mmio} leaves  ")?;
                write!(f, "hypervisor {hypervisor} pages  stacks {stacks} pages")
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
            _ => read_measure(text).or_else(|| read_store(text)).or_else(|| read_host_look(text)),
        })
    }
}

/// Returns the level of an interval, `95 %`.
fn confidence() -> String {
    format!("{} %", (CONFIDENCE * 100.0).round())
}

/// Returns the number between the two words.
fn number<T: FromStr>(text: &str, before: &str, after: &str) -> Option<T> {
    text.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
}

fn read_measure(text: &str) -> Option<Number> {
    let [step, name, boot, n, median, interval, min, max] = columns(text)?;
    let interval = match interval.strip_prefix(&confidence())?.strip_prefix(' ')? {
        "unknown" => None,
        range => {
            let (low, high) = range.split_once("..")?;
            Some((low.parse().ok()?, high.parse().ok()?))
        }
    };
    Some(Number::Measure {
        step: number(step, "step ", "")?,
        name: name.strip_prefix("measure ")?.parse().ok()?,
        boot: number(boot, "boot ", "")?,
        samples: Summary {
            n: number(n, "n ", "")?,
            median: number(median, "median ", " ns")?,
            min: number(min, "min ", "")?,
            max: number(max, "max ", "")?,
        },
        interval,
    })
}

fn read_store(text: &str) -> Option<Number> {
    let [step, store, n, median, min, max] = columns(text)?;
    let words: Vec<_> = store.split(' ').collect();
    let [_, guest, device, map, width, _] = words[..] else { return None };
    Some(Number::Store {
        step: number(step, "step ", "")?,
        guest: guest.parse().ok()?,
        device: device.parse().ok()?,
        map: map.parse().ok()?,
        width: width.parse().ok()?,
        samples: Summary {
            n: number(n, "n ", "")?,
            median: number(median, "median ", " MB/s")?,
            min: number(min, "min ", "")?,
            max: number(max, "max ", "")?,
        },
    })
}

fn read_host_look(text: &str) -> Option<Number> {
    let [step, look, ram, mmio, hypervisor, stacks] = columns(text)?;
    Some(Number::HostLook {
        step: number(step, "step ", "")?,
        name: look.strip_prefix("look ")?.strip_suffix(" of host")?.parse().ok()?,
        ram: number(ram, "ram ", " leaves")?,
        mmio: number(mmio, "mmio ", " leaves")?,
        hypervisor: number(hypervisor, "hypervisor ", " pages")?,
        stacks: number(stacks, "stacks ", " pages")?,
    })
}
