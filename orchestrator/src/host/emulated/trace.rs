//! The TLBI instructions that QEMU's plugin records in shared memory.

use super::memory::{HostRam, SharedMemory};
use s2lab_mmu::PhysMem;
use s2lab_model::steps::{Counts, Stage2Fault, TracedTlbi};
use s2lab_trace::{
    AREAS, Accesses, Area, DROP, Head, KEEP, MAGIC, RING, Record, SIZE, Trace, UNREAD, VCPUS, WIDTHS,
};
use std::{io, mem::offset_of, ops::Range};

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
    /// Those of the stage-2 faults since then, if they are counted.
    pub faults: Vec<Stage2Fault>,
    /// The reason why some may be missing.
    pub incomplete: Option<String>,
}

/// The bytes of code that are searched at a time.
const PIECE: usize = 1 << 20;

/// Returns the addresses of all instructions in `code` that are recorded. It lies in the RAM.
pub(in crate::host) fn recorded_in(ram: &HostRam, code: Range<u64>) -> Vec<u64> {
    let mut found = vec![];
    for start in code.clone().step_by(PIECE) {
        let length = usize::try_from(code.end - start).map_or(PIECE, |left| left.min(PIECE));
        let Some(bytes) = ram.bytes(start, length) else { break };
        let mut from = 0;
        while let Some(offset) = s2lab_trace::next_recorded(&bytes, from) {
            found.push(start + offset as u64);
            from = offset + 4;
        }
    }
    found
}

/// Returns the instruction at an address, which is a multiple of 4.
pub(in crate::host) fn instruction(memory: &dyn PhysMem, address: u64) -> Option<u32> {
    let both = memory.read_u64(address & !7)?;
    Some((both >> (8 * (address & 4))) as u32)
}

/// The content of one record, or the reason why there is none.
enum Slot {
    Written(TracedTlbi),
    Fault(Stage2Fault),
    /// A CPU is about to execute it.
    Begun,
    Overwritten,
    Unread,
}

impl TlbiTrace {
    /// `counting`: accesses to BARs are counted, too.
    pub(super) fn new(counting: bool) -> io::Result<Self> {
        let trace = Self { memory: SharedMemory::new("trace", SIZE as u64)? };
        trace.write(offset_of!(Trace, head) + offset_of!(Head, counting), counting.into())?;
        Ok(trace)
    }

    /// Returns true if the plugin has started and records nothing yet.
    pub(in crate::host) fn waits(&self) -> bool {
        self.head(offset_of!(Head, magic)) == MAGIC && !self.has_begun()
    }

    /// Has the plugin record when a vCPU goes on the next time. `keeps`: QEMU keeps the code that it has translated.
    pub(in crate::host) fn begin(&self, keeps: bool) -> io::Result<()> {
        let wanted = if keeps { KEEP } else { DROP };
        self.write(offset_of!(Trace, head) + offset_of!(Head, wanted), wanted)
    }

    /// Returns true if each access is counted.
    pub(in crate::host) fn counts_accesses(&self) -> bool {
        self.head(offset_of!(Head, counting)) != 0
    }

    pub(in crate::host) fn has_begun(&self) -> bool {
        self.head(offset_of!(Head, begun)) != 0
    }

    fn write(&self, offset: usize, word: u64) -> io::Result<()> {
        self.memory.write(offset as u64, &word.to_ne_bytes())
    }

    /// Counts the accesses to these areas of physical memory from now on.
    pub fn count(&self, areas: &[Range<u64>]) -> io::Result<()> {
        for (area, index) in areas.iter().zip(0..AREAS) {
            let base = offset_of!(Trace, head) + offset_of!(Head, areas) + index * size_of::<Area>();
            self.write(base + offset_of!(Area, start), area.start)?;
            self.write(base + offset_of!(Area, end), area.end)?;
        }
        Ok(())
    }

    /// Returns the accesses so far to the `area`-th area, by all vCPUs.
    pub fn counts(&self, area: usize) -> Counts {
        let number = |offset: usize, width: usize| {
            let words = (0..VCPUS).map(|vcpu| {
                let place = (vcpu * AREAS + area) * size_of::<Accesses>() + offset + width * size_of::<u64>();
                self.word(offset_of!(Trace, accesses) + place)
            });
            words.fold(0, u64::saturating_add)
        };
        let by_width = |offset| (0..WIDTHS).map(|width| (1 << width, number(offset, width))).collect();
        let unplaced = self.head(offset_of!(Head, unplaced));
        Counts {
            stores: by_width(offset_of!(Accesses, stores)),
            loads: by_width(offset_of!(Accesses, loads)),
            unplaced,
        }
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
        let incomplete =
            |why: String| Recorded { instructions: vec![], faults: vec![], incomplete: Some(why) };
        if self.head(offset_of!(Head, magic)) != MAGIC {
            return incomplete("the plugin did not start, or is of another version".into());
        }
        if !self.has_begun() {
            return incomplete("the plugin has not begun to record".into());
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
        let (mut instructions, mut faults) = (vec![], vec![]);
        for number in begin.0..end {
            match self.slot(number) {
                Slot::Written(tlbi) => instructions.push(tlbi),
                Slot::Fault(fault) => faults.push(fault),
                Slot::Begun if end - number <= VCPUS as u64 => {}
                Slot::Begun => return incomplete(format!("instruction {number} was not recorded")),
                Slot::Overwritten => return incomplete(format!("instruction {number} was overwritten")),
                Slot::Unread => return incomplete("a register could not be read".into()),
            }
        }
        Recorded { instructions, faults, incomplete: None }
    }

    fn head(&self, offset: usize) -> u64 {
        self.word(offset_of!(Trace, head) + offset)
    }

    fn word(&self, offset: usize) -> u64 {
        self.memory.word(offset as u64).unwrap_or_default()
    }

    fn slot(&self, number: u64) -> Slot {
        let base = offset_of!(Trace, ring) + (number as usize % RING) * size_of::<Record>();
        let word = |offset: usize| self.word(base + offset);
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
        let fault = Stage2Fault { hpfar: tlbi.operand, esr: word(offset_of!(Record, syndrome)) };
        // The plugin may have begun to write another record meanwhile.
        match (written, word(offset_of!(Record, written))) {
            (before, after) if before > number + 1 || before != after => Slot::Overwritten,
            (before, _) if before != number + 1 => Slot::Begun,
            _ if [pstate, tlbi.vttbr, tlbi.hcr].contains(&UNREAD) => Slot::Unread,
            _ if tlbi.word == 0 => Slot::Fault(fault),
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
            self.write(offset, word).unwrap();
        }

        fn started() -> Self {
            let trace = Self::new(true).unwrap();
            trace.put(offset_of!(Head, magic), MAGIC);
            trace.put(offset_of!(Head, begun), 1);
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
    fn the_instructions_that_are_recorded_are_found_in_code() {
        let ram = HostRam { memory: SharedMemory::new("code", 3 * PIECE as u64).unwrap(), start: 0x1000 };
        // IPAS2E1IS and a NOP, a NOP and VMALLE1IS, and VALE1IS twice.
        let words = [0xd503_201f_d50c_8021u64, 0xd508_831f_d503_201f, 0xd508_83a0_d508_83a0];
        for (word, offset) in words.iter().zip((0..).step_by(8)) {
            ram.memory.write(offset, &word.to_le_bytes()).unwrap();
        }
        let end = 0x1000 + 3 * PIECE as u64;
        ram.memory.write(2 * PIECE as u64 + 4, &0xd50c_8021u32.to_le_bytes()).unwrap();
        assert_eq!(recorded_in(&ram, 0x1000..0x1100), [0x1000, 0x100c]);
        assert_eq!(recorded_in(&ram, 0x1004..0x100c), [0; 0]);
        assert_eq!(recorded_in(&ram, 0x1008..end), [0x100c, 0x1004 + 2 * PIECE as u64]);
        assert_eq!(recorded_in(&ram, end..end + 4), [0; 0]);
        assert_eq!(instruction(&ram, 0x100c), Some(0xd508_831f));
        assert_eq!(instruction(&ram, 0xffc), None);
    }

    #[test]
    fn the_plugin_is_asked_once_to_record() {
        let trace = TlbiTrace::new(false).unwrap();
        trace.put(offset_of!(Head, magic), MAGIC);
        assert_eq!(trace.head(offset_of!(Head, wanted)), 0);
        assert!(trace.waits());
        trace.begin(true).unwrap();
        assert_eq!(trace.head(offset_of!(Head, wanted)), KEEP);
        trace.put(offset_of!(Head, begun), 1);
        assert!(!trace.waits());
    }

    #[test]
    fn accesses_are_the_sum_of_all_vcpus() {
        let trace = TlbiTrace::started();
        trace.count(&[0x1000..0x2000, 0x8000..0x9000]).unwrap();
        assert_eq!(trace.head(offset_of!(Head, areas) + 3 * 8), 0x9000);
        assert_eq!(trace.head(offset_of!(Head, counting)), 1);
        for (vcpu, number) in [(0, 3), (7, 4)] {
            let place = (vcpu * AREAS + 1) * size_of::<Accesses>() + offset_of!(Accesses, stores) + 3 * 8;
            trace.put(offset_of!(Trace, accesses) + place, number);
        }
        let counts = trace.counts(1);
        assert_eq!((counts.stores[&8], counts.stores[&16], counts.loads[&8]), (7, 0, 0));
        assert_eq!(trace.counts(0).stores[&8], 0);
    }

    #[test]
    fn faults_are_no_instructions() {
        let trace = TlbiTrace::started();
        trace.record(0);
        let slot = offset_of!(Trace, ring);
        trace.put(slot + offset_of!(Record, instruction), 1 << 32);
        trace.put(slot + offset_of!(Record, operand), 0x80_0000_0010);
        trace.put(slot + offset_of!(Record, syndrome), 0x24 << 26 | 7);
        let recorded = trace.since(Moment(0));
        assert_eq!(recorded.instructions, []);
        assert_eq!(recorded.faults, [Stage2Fault { hpfar: 0x80_0000_0010, esr: 0x24 << 26 | 7 }]);
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
        let trace = TlbiTrace::new(false).unwrap();
        let begin = trace.now();
        assert_eq!(trace.why(begin), "the plugin did not start, or is of another version");
        assert!(!trace.waits(), "it has not started");
        trace.put(offset_of!(Head, magic), MAGIC);
        assert_eq!(trace.why(begin), "the plugin has not begun to record");
        trace.put(offset_of!(Head, begun), 1);
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
