//! The plugin of a QEMU that takes it: the TLBI instructions of the scripted host, in the memory that
//! s2lab shares.

use crate::{Error, memory::Memory, script::Tlbi};
use guest_tables::BLOCK;
use s2lab_trace::{DESCRIPTOR, Head, MAGIC, RING, Record, SIZE, Trace};
use std::{
    mem::offset_of,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// IPAS2E1IS with X1 and VMALLE1IS (DDI 0487, C5.5).
const IPAS2E1IS: u64 = 0xd50c_8021;
const VMALLE1IS: u64 = 0xd508_831f;
/// PSTATE: EL2h.
const EL2: u64 = 0x3c9;
/// HCR_EL2: VM and E2H.
const HCR: u64 = 1 << 34 | 1;

/// The plugin's memory.
pub(crate) struct Plugin {
    memory: Memory,
    records: AtomicU64,
}

impl Plugin {
    /// Begins, by the value of `-plugin`.
    pub(crate) fn start(value: &str) -> Result<Self, Error> {
        let number = value.split(',').find_map(|part| part.strip_prefix(DESCRIPTOR)?.strip_prefix('='));
        let number = number.ok_or_else(|| Error::Arguments(format!("no {DESCRIPTOR} in -plugin {value}")))?;
        let memory = Memory::open(&format!("/proc/self/fd/{number}"), SIZE as u64, 0)?;
        memory.write(offset_of!(Head, begun) as u64, &1u64.to_ne_bytes())?;
        memory.write(offset_of!(Head, magic) as u64, &MAGIC.to_ne_bytes())?;
        Ok(Self { memory, records: AtomicU64::new(0) })
    }

    /// Writes a word of the memory.
    pub(crate) fn write(&self, offset: u64, word: u64) -> Result<(), Error> {
        self.memory.write(offset, &word.to_ne_bytes())
    }

    /// Records the instructions of a guest with this VTTBR_EL2.
    pub(crate) fn record(&self, all: &[Tlbi], vttbr: u64) -> Result<(), Error> {
        for tlbi in all {
            let number = self.records.fetch_add(1, Relaxed);
            let base = offset_of!(Trace, ring) + (number as usize % RING) * size_of::<Record>();
            for (offset, word) in [
                (offset_of!(Record, instruction), tlbi.word),
                (offset_of!(Record, operand), tlbi.operand),
                (offset_of!(Record, pstate), EL2),
                (offset_of!(Record, vttbr), vttbr),
                (offset_of!(Record, hcr), HCR),
                (offset_of!(Record, written), number + 1),
            ] {
                self.write((base + offset) as u64, word)?;
            }
            self.write(offset_of!(Head, records) as u64, number + 1)?;
        }
        Ok(())
    }
}

/// Returns the instructions of KVM when it removes blocks of these IPAs.
pub(crate) fn of_kvm(ipas: Range<u64>) -> Vec<Tlbi> {
    let block =
        |ipa: u64| [Tlbi { word: IPAS2E1IS, operand: ipa >> 12 }, Tlbi { word: VMALLE1IS, operand: 0 }];
    ipas.step_by(BLOCK as usize).flat_map(block).collect()
}
