//! The TLBI instructions that QEMU's plugin records in shared memory.

use super::memory::SharedMemory;
use s2lab_model::steps::TracedTlbi;
use s2lab_trace::{Head, MAGIC, RING, Record, SIZE, Trace, UNREAD, VCPUS};
use std::{io, mem::offset_of};

/// PSTATE.EL, as the gdbstub's `cpsr` has it (DDI 0487, SPSR_EL2).
const EL_SHIFT: u32 = 2;

/// The memory that the plugin writes.
#[derive(Debug)]
pub struct TlbiTrace {
    memory: SharedMemory,
}

/// A moment, between two instructions that are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

/// The instructions since a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub instructions: Vec<TracedTlbi>,
    /// The reason why some may be missing.
    pub incomplete: Option<String>,
}

/// The content of one record, or the reason why there is none.
enum Slot {
    Written(TracedTlbi),
    /// A CPU is about to execute it.
    Begun,
    Overwritten,
    Unread,
}

impl TlbiTrace {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { memory: SharedMemory::new("trace", SIZE as u64)? })
    }

    pub(super) fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Returns this moment.
    pub fn now(&self) -> Moment {
        Moment(self.head(offset_of!(Head, records)))
    }

    /// Returns the instructions since `begin`. A record that a CPU still writes belongs to an
    /// instruction that is not executed yet; the last of them are left out.
    pub fn since(&self, begin: Moment) -> Recorded {
        let incomplete = |why: String| Recorded { instructions: vec![], incomplete: Some(why) };
        if self.head(offset_of!(Head, magic)) != MAGIC {
            return incomplete("the plugin did not start, or is of another version".into());
        }
        if let missing @ 1.. = self.head(offset_of!(Head, missing)) {
            return incomplete(format!("QEMU has not named {missing} registers that the plugin reads"));
        }
        let Moment(end) = self.now();
        let Some(count) = end.checked_sub(begin.0) else {
            return incomplete("the number of instructions went down".into());
        };
        if count > RING as u64 {
            return incomplete(format!("the plugin keeps {RING} instructions, and there were {count}"));
        }
        let mut instructions = vec![];
        for number in begin.0..end {
            match self.slot(number) {
                Slot::Written(tlbi) => instructions.push(tlbi),
                Slot::Begun if end - number <= VCPUS as u64 => {}
                Slot::Begun => return incomplete(format!("instruction {number} was not recorded")),
                Slot::Overwritten => return incomplete(format!("instruction {number} was overwritten")),
                Slot::Unread => return incomplete("a register could not be read".into()),
            }
        }
        Recorded { instructions, incomplete: None }
    }

    fn head(&self, offset: usize) -> u64 {
        self.memory.word((offset_of!(Trace, head) + offset) as u64).unwrap_or_default()
    }

    fn slot(&self, number: u64) -> Slot {
        let base = offset_of!(Trace, ring) + (number as usize % RING) * size_of::<Record>();
        let word = |offset: usize| self.memory.word((base + offset) as u64).unwrap_or_default();
        let written = word(offset_of!(Record, written));
        let (instruction, pstate) = (word(offset_of!(Record, instruction)), word(offset_of!(Record, pstate)));
        let tlbi = TracedTlbi {
            word: instruction & u64::from(u32::MAX),
            operand: word(offset_of!(Record, operand)),
            el: (pstate >> EL_SHIFT & 0b11) as u8,
            vcpu: (instruction >> 32) as u32,
            vttbr: word(offset_of!(Record, vttbr)),
            hcr: word(offset_of!(Record, hcr)),
        };
        // The plugin may have begun to write another record meanwhile.
        match (written, word(offset_of!(Record, written))) {
            (before, after) if before > number + 1 || before != after => Slot::Overwritten,
            (before, _) if before != number + 1 => Slot::Begun,
            _ if [pstate, tlbi.vttbr, tlbi.hcr].contains(&UNREAD) => Slot::Unread,
            _ => Slot::Written(tlbi),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IPAS2E1IS: u64 = 0xd50c_8021;

    impl TlbiTrace {
        fn put(&self, offset: usize, word: u64) {
            self.memory.write(offset as u64, &word.to_le_bytes()).unwrap();
        }

        fn started() -> Self {
            let trace = Self::new().unwrap();
            trace.put(offset_of!(Head, magic), MAGIC);
            trace
        }

        /// Writes a record like the plugin, with its number as the operand.
        fn record(&self, number: u64) {
            let base = offset_of!(Trace, ring) + (number as usize % RING) * size_of::<Record>();
            self.put(base + offset_of!(Record, instruction), IPAS2E1IS | 1 << 32);
            self.put(base + offset_of!(Record, operand), number);
            self.put(base + offset_of!(Record, pstate), 0x3c9);
            self.put(base + offset_of!(Record, vttbr), 3 << 48);
            self.put(base + offset_of!(Record, hcr), 1);
            self.put(base + offset_of!(Record, written), number + 1);
            self.put(offset_of!(Head, records), number + 1);
        }

        fn why(&self, begin: Moment) -> String {
            let recorded = self.since(begin);
            assert_eq!(recorded.instructions, []);
            recorded.incomplete.unwrap()
        }
    }

    fn operands(recorded: &Recorded) -> Vec<u64> {
        assert_eq!(recorded.incomplete, None);
        recorded.instructions.iter().map(|one| one.operand).collect()
    }

    #[test]
    fn the_instructions_between_two_moments_are_read() {
        let trace = TlbiTrace::started();
        (0..3).for_each(|number| trace.record(number));
        let begin = trace.now();
        assert_eq!(operands(&trace.since(begin)), [0; 0]);
        (3..6).for_each(|number| trace.record(number));
        let recorded = trace.since(begin);
        assert_eq!(operands(&recorded), [3, 4, 5]);
        let first = TracedTlbi { word: IPAS2E1IS, operand: 3, el: 2, vcpu: 1, vttbr: 3 << 48, hcr: 1 };
        assert_eq!(recorded.instructions[0], first);
        // One that is not executed yet.
        trace.put(offset_of!(Head, records), 7);
        assert_eq!(operands(&trace.since(begin)), [3, 4, 5]);
    }

    #[test]
    fn a_ring_that_was_too_small_is_not_whole() {
        let trace = TlbiTrace::started();
        let begin = trace.now();
        let ring = RING as u64;
        trace.record(0);
        trace.record(ring - 1);
        assert_eq!(trace.why(begin), "instruction 1 was not recorded");
        trace.put(offset_of!(Head, records), ring + 1);
        assert_eq!(trace.why(begin), "the plugin keeps 65536 instructions, and there were 65537");
        trace.record(ring);
        trace.put(offset_of!(Head, records), ring);
        assert_eq!(trace.why(begin), "instruction 0 was overwritten");
    }

    #[test]
    fn what_is_no_trace_is_not_read() {
        let trace = TlbiTrace::new().unwrap();
        let begin = trace.now();
        assert_eq!(trace.why(begin), "the plugin did not start, or is of another version");
        trace.put(offset_of!(Head, magic), MAGIC);
        trace.record(9);
        assert_eq!(trace.why(trace.now().after(1)), "the number of instructions went down");
        trace.put(offset_of!(Head, missing), 1);
        assert_eq!(trace.why(begin), "QEMU has not named 1 registers that the plugin reads");
        trace.put(offset_of!(Head, missing), 0);
        let slot = offset_of!(Trace, ring) + 9 * size_of::<Record>();
        trace.put(slot + offset_of!(Record, vttbr), UNREAD);
        assert_eq!(trace.why(Moment(9)), "a register could not be read");
    }

    impl Moment {
        fn after(self, more: u64) -> Self {
            Self(self.0 + more)
        }
    }

    proptest! {
        #[test]
        fn no_memory_panics(words in prop::collection::vec((0usize..SIZE / 8, any::<u64>()), 0..64), begin: u64) {
            let trace = TlbiTrace::started();
            for (at, word) in words {
                trace.put(at % 640 * 8, word);
            }
            for begin in [Moment(0), Moment(begin), trace.now()] {
                prop_assert!(trace.since(begin).instructions.len() <= RING);
            }
        }
    }
}
