//! The step `load`: L0 puts a pattern into a BAR's memory, and a guest loads it.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::Bytes;
use s2lab_model::scenario::FLASH;
use s2lab_model::steps::{self, LoadStep, Observation};
use s2lab_protocol::{
    ask::{Load, Loaded},
    pattern,
};
use std::ops::Range;

/// The bytes of the pattern that are made at a time.
const PIECE: u64 = 64 << 10;

impl CellContext<'_, '_> {
    pub(super) async fn load(&mut self, index: usize, step: &LoadStep) -> Result<(), Stop> {
        for &width in &step.width {
            let (seed, manner) = (self.seed(index, width), step.manner());
            // The flash has no image, so it reads as zeroes.
            let word: fn(u64, u64) -> u64 = match self.planned.resolved.behind(&step.device, index) {
                FLASH => |_, _| 0,
                _ => {
                    put(self.bar(index, &step.device)?, manner.from..manner.from + step.bytes.0, seed)?;
                    pattern
                }
            };
            let ask = Load {
                device: step.device.clone(),
                address: self.guest_address(&step.guest, &step.device)?,
                map: step.map,
                width,
                manner,
                bytes: step.bytes.0,
            };
            let loaded = self.ask_guest(&step.guest, ask, self.for_accesses()).await?;
            let difference = difference(&loaded, |offset| word(seed, offset));
            let Loaded { bar, map, width, manner, bytes, loads, .. } = loaded;
            let (guest, device) = (step.guest.clone(), step.device.clone());
            let loaded =
                steps::LoadedBytes { guest, device, map, width, manner, bytes, bar, loads, difference };
            self.observed(index, Observation::LoadedBytes(loaded));
        }
        Ok(())
    }
}

/// Writes the pattern to bytes of a device's memory.
pub(super) fn put(memory: &Bytes, bytes: Range<u64>, seed: u64) -> Result<(), Stop> {
    for start in bytes.clone().step_by(PIECE as usize) {
        let words = (start..bytes.end.min(start + PIECE)).step_by(size_of::<u64>());
        let piece: Vec<u8> = words.flat_map(|offset| pattern(seed, offset).to_le_bytes()).collect();
        memory.write(start, &piece).map_err(|why| Stop::lab(format!("the device's memory: {why}")))?;
    }
    Ok(())
}

/// Returns the offset in the BAR of the first part whose digest is not that of its words.
fn difference(loaded: &Loaded, word: impl Fn(u64) -> u64) -> Option<u64> {
    let from = loaded.manner.from;
    let mut parts = Load::parts(loaded.bytes).zip(&loaded.digests);
    let differs = |(start, length): (u64, u64), digest: u64| {
        let offsets = (from + start..from + start + length).step_by(size_of::<u64>());
        Load::digest(offsets.map(|offset| (offset, word(offset)))) != digest
    };
    parts.find_map(|(part, digest)| differs(part, *digest).then_some(from + part.0))
}
