//! Lines of the kernel's trace with the event `kvm_guest_fault`.
//!
//! `  qemu-system-aar-149  (    141) [000] .....  28.167550: kvm_guest_fault: ipa 0x8001003000, hsr 0x93400045, ...`
//! (Linux 6.1 to 7.2 kernel/trace/trace_output.c, trace_print_context; arch/arm64/kvm/trace_arm.h). With the
//! option `record-tgid` a line has the process of the thread, or `(-------)` if the kernel does not know it.

/// The mark between the context of a line and its event.
const EVENT: &str = ": kvm_guest_fault: ";
/// The part of a line that says that events were overwritten before they were read
/// (kernel/trace/trace.c, print_trace_line).
const LOST: &str = "[LOST ";
/// ESR_EL2.DFSC and IFSC without the level (DDI 0487, ESR_EL2): a translation fault.
const FSC_TYPE: u64 = 0b11_1100;
const TRANSLATION: u64 = 0b00_0100;

/// A stage-2 fault of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracedFault {
    /// The thread of the VMM that runs the vCPU.
    pub thread: u32,
    /// The process of the thread, if the line has it. The kernel notes it when the thread leaves its CPU.
    pub process: Option<u32>,
    /// The IPA of the page.
    pub ipa: u64,
    /// ESR_EL2.
    pub esr: u64,
}

impl TracedFault {
    /// Returns the fault of a line, if it has one.
    pub fn parse(line: &str) -> Option<TracedFault> {
        let (context, fields) = line.split_once(EVENT)?;
        // The name of a thread may have any character.
        let (task, _) = context.rsplit_once(" [")?;
        let task = task.trim_end();
        let (task, process) = match task.strip_suffix(')').and_then(|task| task.rsplit_once(" (")) {
            Some((task, process)) => (task, process.trim_start().parse().ok()),
            None => (task, None),
        };
        let (_, thread) = task.trim_end().rsplit_once('-')?;
        let field = |name: &str| {
            let value = fields.split(", ").find_map(|field| field.strip_prefix(name)?.strip_prefix(" 0x"))?;
            u64::from_str_radix(value.trim_end(), 16).ok()
        };
        Some(TracedFault { thread: thread.parse().ok()?, process, ipa: field("ipa")?, esr: field("hsr")? })
    }

    /// Returns true if stage 2 did not map the page.
    pub fn is_translation(&self) -> bool {
        self.esr & FSC_TYPE == TRANSLATION
    }
}

/// Returns true if the line says that events are missing.
pub fn has_lost(line: &str) -> bool {
    line.contains(LOST) && !line.contains(EVENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From Debian's 6.12.95.
    const LINE: &str = " qemu-system-aar-149     [000] .....    28.167550: kvm_guest_fault: ipa 0x8001003000, hsr \
        0x93400045, hxfar 0xffff80008004d014, pc 0xffffd8695a937da4";

    #[test]
    fn a_line_has_thread_page_and_syndrome() {
        let fault = TracedFault::parse(LINE).unwrap();
        assert_eq!(fault, TracedFault { thread: 149, process: None, ipa: 0x80_0100_3000, esr: 0x9340_0045 });
        let named = LINE.replace("qemu-system-aar", "a [1] -b- [");
        assert_eq!(TracedFault::parse(&named), Some(fault));
    }

    /// The forms of trace_print_context with `record-tgid`.
    #[test]
    fn a_line_may_have_the_process() {
        let process = |field: &str| {
            let line = LINE.replace("-149     [", &format!("-149     {field} ["));
            TracedFault::parse(&line).map(|fault| (fault.thread, fault.process))
        };
        assert_eq!(process("(    141)"), Some((149, Some(141))));
        assert_eq!(process("(4194303)"), Some((149, Some(4_194_303))));
        assert_eq!(process("(-------)"), Some((149, None)));
    }

    #[test]
    fn other_lines_have_none() {
        for line in [
            "",
            "# tracer: nop",
            "CPU:1 [LOST 4 EVENTS]",
            &LINE.replace("kvm_guest_fault", "kvm_entry"),
            &LINE.replace("ipa 0x", "ipa "),
            &LINE.replace("-149", "-one"),
            &LINE.replace("[000]", ""),
        ] {
            assert_eq!(TracedFault::parse(line), None, "{line}");
        }
    }

    /// The values of DFSC are those of the architecture (DDI 0487, ESR_EL2).
    #[test]
    fn only_translation_faults_are_such() {
        let is =
            |fsc| TracedFault { thread: 1, process: None, ipa: 0, esr: 0x9340_0040 | fsc }.is_translation();
        let of_translation: Vec<u64> = (0..64).filter(|fsc| is(*fsc)).collect();
        assert_eq!(of_translation, [0b000100, 0b000101, 0b000110, 0b000111]);
    }

    #[test]
    fn lost_events_are_noticed() {
        assert!(has_lost("CPU:1 [LOST 4 EVENTS]"));
        assert!(!has_lost(LINE) && !has_lost(&LINE.replace("qemu-system-aar", "[LOST ")));
    }

    proptest! {
        #[test]
        fn a_fault_round_trips(name in "[ -~]{0,15}", thread: u32, process: Option<u32>, cpu in 0u32..512, ipa: u64, esr: u64) {
            let of = process.map_or("(-------)".to_owned(), |process| format!("({process:7})"));
            let line = format!("{name:>16}-{thread:<7} {of} [{cpu:03}] d..1.  1.5: kvm_guest_fault: ipa {ipa:#x}, hsr {esr:#010x}, hxfar 0x0, pc 0x1\n");
            prop_assert_eq!(TracedFault::parse(&line), Some(TracedFault { thread, process, ipa, esr }));
        }

        #[test]
        fn no_line_makes_it_panic(line in ".{0,200}") {
            let _ = (TracedFault::parse(&line), has_lost(&line));
        }
    }
}
