//! Crashes: the lines that a kernel prints around an alarm, cut out of its console, and a
//! fingerprint that identifies the crash on another run. Sources: Linux 6.1 and 6.12,
//! kernel/panic.c, lib/bug.c, arch/arm64/kernel/{traps,stacktrace}.c. `tests/consoles` has real
//! ones.

pub mod symbols;

use crate::console::classify;
use crate::event::AlarmClass;

/// The most lines of one crash. An oops with registers, a trace and the panic after it has about
/// 60.
pub const MAX_LINES: usize = 96;
/// The most bytes that are kept of one line.
pub const MAX_LINE: usize = 512;
/// The number of functions in a fingerprint: enough to distinguish two crashes, few enough to be
/// equal on two kernels.
const DEPTH: usize = 4;

/// The first line of a WARN and a BUG.
const CUT_HERE: &str = "[ cut here ]";
const END_OF_TRACE: &str = "---[ end trace";
const END_OF_PANIC: &str = "---[ end Kernel panic";
const TRACE: &str = "Call trace:";
const PC: &str = "pc : ";
/// The text before the place in the line `kvm [1]: nVHE hyp panic at: [<address>] function+offset!`
/// (arch/arm64/kvm/handle_exit.c).
const HYP_PLACE: &str = "hyp panic at: [<";
/// The text before the place in the line `BUG: KASAN: use-after-free in function+offset`
/// (mm/kasan/report.c).
const KASAN_PLACE: &str = "BUG: KASAN: ";
/// The line before the hypervisor's own trace, whose lines are `kvm [1]:  [<address>]
/// function+offset` (arch/arm64/kvm/stacktrace.c).
const HYP_TRACE: &str = "nVHE call trace:";
/// Functions that every trace of its kind has, which therefore distinguish nothing.
const COMMON: [&str; 17] = [
    "__kvm_nvhe_hyp_panic",
    "dump_backtrace",
    "show_stack",
    "dump_stack_lvl",
    "dump_stack",
    "panic",
    "vpanic",
    "nmi_panic",
    "die",
    "__warn",
    "warn_slowpath_fmt",
    "report_bug",
    "sched_show_task",
    "show_regs",
    "__switch_to",
    "__schedule",
    "schedule",
];

/// Cuts crashes out of one console, line by line.
#[derive(Debug, Default)]
pub struct Cutter {
    block: Option<Block>,
}

#[derive(Debug)]
struct Block {
    lines: Vec<String>,
    /// The first alarm. None directly after `[ cut here ]`.
    class: Option<AlarmClass>,
    /// True if the kernel does not continue.
    fatal: bool,
    traced: bool,
    /// True after the end of an oops: only a panic still belongs to it.
    over: bool,
}

impl Cutter {
    /// Returns true if a line without an alarm can change anything.
    pub fn wants(&self, line: &[u8]) -> bool {
        self.block.is_some() || line.windows(CUT_HERE.len()).any(|part| part == CUT_HERE.as_bytes())
    }

    /// Takes the next line, with its class if it is an alarm. Returns the lines of a crash that is
    /// complete.
    pub fn push(&mut self, line: &str, class: Option<AlarmClass>) -> Option<Vec<String>> {
        // A trace opens a crash without a name. A guest's fault is one line: its explanation is
        // known after the run only.
        let class = class
            .filter(|class| class.names_a_crash() || (*class == AlarmClass::Trace && self.block.is_none()));
        let done = match &self.block {
            Some(block) if block.ends_before(line, class) => self.finish(),
            _ => None,
        };
        if self.block.is_none() && (class.is_some() || line.contains(CUT_HERE)) {
            self.block = Some(Block { lines: vec![], class: None, fatal: false, traced: false, over: false });
        }
        if self.block.as_mut().is_some_and(|block| block.take(line, class)) {
            return self.finish();
        }
        done
    }

    /// Returns the crash that has begun, if there is one. The console ends here.
    pub fn finish(&mut self) -> Option<Vec<String>> {
        self.block.take().filter(|block| block.class.is_some()).map(|block| block.lines)
    }
}

impl Block {
    /// Takes a line and returns true if the crash ends with it.
    fn take(&mut self, line: &str, class: Option<AlarmClass>) -> bool {
        let end = line.floor_char_boundary(MAX_LINE);
        self.lines.push(line.get(..end).unwrap_or_default().to_owned());
        self.class = self.class.or(class);
        self.fatal |= class.is_some_and(AlarmClass::is_fatal);
        self.traced |= line.contains(TRACE);
        self.over = self.fatal && line.contains(END_OF_TRACE);
        self.lines.len() >= MAX_LINES
            || line.contains(END_OF_PANIC)
            || (!self.fatal && line.contains(END_OF_TRACE))
            || (self.class == Some(AlarmClass::Kasan) && !message(line).is_empty() && is_ruler(line))
    }

    /// Returns true if the crash ended before this line. Traces of stalls, lockdep and hung tasks
    /// have no end mark.
    fn ends_before(&self, line: &str, class: Option<AlarmClass>) -> bool {
        if self.fatal {
            return self.over && !class.is_some_and(AlarmClass::is_fatal);
        }
        // A stuck vCPU prints nothing, and other vCPUs report other alarms.
        if class.is_some_and(|class| !class.is_fatal() && self.class.is_some_and(|first| first != class)) {
            return true;
        }
        let text = message(line);
        let belongs = text.starts_with([' ', '\t'])
            || [TRACE, "Code: ", "---["].iter().any(|start| text.starts_with(start));
        self.traced && self.class != Some(AlarmClass::Kasan) && !belongs
    }
}

/// Returns true for the lines between which KASAN's reports stand.
fn is_ruler(line: &str) -> bool {
    message(line).bytes().all(|byte| byte == b'=')
}

/// Returns a line without the kernel's time stamp and caller, `[    1.234567][    T1] `. Its
/// indentation stays.
fn message(line: &str) -> &str {
    if !line.starts_with('[') {
        return line;
    }
    line.split_once("] ").map_or(line, |(_, message)| message)
}

/// A decoded crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    pub class: AlarmClass,
    /// The functions of the trace, innermost first, without those that every trace has.
    pub functions: Vec<String>,
}

impl Crash {
    /// Decodes the lines that a [`Cutter`] has cut out. Returns None if no line is an alarm.
    pub fn of(lines: &[String]) -> Option<Crash> {
        let classes: Vec<_> = lines.iter().filter_map(classify).collect();
        // On the console, the kernel's view of a hypervisor panic comes first.
        let hyp = classes.iter().find(|class| **class == AlarmClass::HypPanic);
        let named = classes.iter().find(|class| class.names_a_crash());
        let class = *hyp.or(named).or(classes.first())?;
        let messages = || lines.iter().map(|line| message(line));
        let place = messages().find_map(|text| {
            let pc = text.strip_prefix(PC);
            let hyp = || Some(text.split_once(HYP_PLACE)?.1.split_once(">] ")?.1);
            let kasan = || Some(text.strip_prefix(KASAN_PLACE)?.rsplit_once(" in ")?.1);
            pc.or_else(hyp).or_else(kasan)
        });
        let trace = messages().skip_while(|text| !text.starts_with(TRACE)).skip(1);
        // A call that never returns may be the last of its function; then the return address is the
        // first of the next function.
        let inside = |text: &&str| !text.contains("+0x0/");
        let trace =
            trace.take_while(|text| text.starts_with([' ', '\t'])).filter(inside).map(str::trim_start);
        let hyp_trace: Vec<&str> = messages()
            .skip_while(|text| !text.contains(HYP_TRACE))
            .skip(1)
            .map_while(|text| Some(text.split_once(" [<")?.1.split_once(">] ")?.1))
            .collect();
        // The hypervisor's own trace. The kernel's trace only shows the caller of the hypervisor.
        let trace: Vec<&str> = if hyp_trace.is_empty() { trace.collect() } else { hyp_trace };
        let place = place.and_then(function);
        let mut trace: Vec<String> = trace.into_iter().filter_map(function).collect();
        // The functions before the place itself are those that report it.
        if let Some(at) = place.as_ref().and_then(|place| trace.iter().position(|f| f == place)) {
            trace.drain(..at);
        }
        let mut functions: Vec<String> = place.into_iter().chain(trace).collect();
        functions.dedup();
        functions.retain(|function| !COMMON.contains(&function.as_str()));
        functions.truncate(DEPTH);
        Some(Crash { class, functions })
    }

    /// Returns a text that is equal for the same crash on two runs: it has no address, offset, time
    /// or CPU number.
    pub fn fingerprint(&self) -> String {
        match self.functions.as_slice() {
            [] => self.class.name().to_owned(),
            functions => format!("{} in {}", self.class.name(), functions.join(" < ")),
        }
    }
}

/// Returns the function in `name.isra.0+0x12/0x34 [module] (P)`, without the suffix that the
/// compiler appended. Returns None for an address without a name.
fn function(entry: &str) -> Option<String> {
    let (name, _) = entry.split_once("+0x")?;
    let name = name.split_once('.').map_or(name, |(name, _)| name);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(fits)).then(|| name.to_owned())
}

/// Returns true for general registers, the lines with the least information.
pub fn is_registers(line: &str) -> bool {
    let text = message(line);
    let register =
        text.strip_prefix('x').and_then(|rest| rest.split_once(':')).map(|(number, _)| number.trim());
    register.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<Vec<String>> {
        let mut cutter = Cutter::default();
        let mut found: Vec<_> = text.lines().filter_map(|line| cutter.push(line, classify(line))).collect();
        found.extend(cutter.finish());
        found
    }

    #[test]
    fn a_message_without_an_alarm_after_cut_here_is_no_crash() {
        assert_eq!(cut("------------[ cut here ]------------\nsomething\n"), Vec::<Vec<String>>::new());
    }

    #[test]
    fn what_follows_a_trace_is_no_part_of_it_and_may_begin_the_next() {
        let text = "a\nINFO: task x:1 blocked for more than 5 seconds.\n      Not tainted\nCall trace:\n f+0x1/0x2\n\
                    INFO: task y:2 blocked for more than 5 seconds.\nCall trace:\n g+0x1/0x2\nsomething else\nb";
        let found = cut(text);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [4, 3], "{found:?}");
        let fingerprints: Vec<_> =
            found.iter().map(|lines| Crash::of(lines).unwrap().fingerprint()).collect();
        assert_eq!(fingerprints, ["hung task in f", "hung task in g"]);
    }

    #[test]
    fn a_guest_that_survives_an_oops_goes_on_outside_of_it() {
        let text =
            "Internal error: Oops: 1 [#1] SMP\n---[ end trace 0000000000000000 ]---\nnote: init exited\n";
        assert_eq!(cut(text)[0].len(), 2);
        let text = "Internal error: Oops: 1 [#1] SMP\n---[ end trace 0000000000000000 ]---\n\
                    Kernel panic - not syncing: Oops: Fatal exception\nSMP: stopping secondary CPUs\n";
        assert_eq!(cut(text)[0].len(), 4);
    }

    #[test]
    fn a_hyp_panic_is_known_by_its_place() {
        let lines = [
            "kvm [1]: nVHE hyp panic at: [<ffff8000080a1234>] __kvm_nvhe_handle_trap+0x1c/0x20!",
            "kvm [1]: Cannot dump pKVM nVHE stacktrace: !CONFIG_PROTECTED_NVHE_STACKTRACE",
            "Kernel panic - not syncing: HYP panic:",
        ];
        let crash = Crash::of(&lines.map(str::to_owned)).unwrap();
        assert_eq!(crash.fingerprint(), "hyp panic in __kvm_nvhe_handle_trap");
    }

    #[test]
    fn kasan_ends_with_its_ruler() {
        let ruler = "=".repeat(66);
        let text = format!(
            "[    1.0] {ruler}\n[    1.0] BUG: KASAN: slab-out-of-bounds in f+0x1/0x2\n[    1.0] Call trace:\n[    1.0]  f+0x1/0x2\n\
             [    1.0] Allocated by task 1:\n[    1.0] {ruler}\n[    1.0] Disabling lock debugging due to kernel taint\n"
        );
        assert_eq!(cut(&text)[0].len(), 5);
    }

    #[test]
    fn registers_are_known() {
        assert!(is_registers("[    5.437232] x26: 0000000000000000 x25: 0000000000001000"));
        assert!(is_registers("x8 : 0000000000000000 x7 : 0000000000000010"));
        assert!(!is_registers("[    5.437232] xfs: something") && !is_registers("pc : f+0x1/0x2"));
    }

    proptest! {
        #[test]
        fn hostile_consoles_are_cut_within_bounds(lines in proptest::collection::vec(
            prop_oneof![
                Just("------------[ cut here ]------------".to_owned()), Just("Call trace:".to_owned()),
                Just("---[ end trace 0 ]---".to_owned()), Just("WARNING: CPU: 0".to_owned()),
                Just("Internal error: x".to_owned()), Just("BUG: KASAN: x".to_owned()), Just("[] ".to_owned()),
                "\\PC{0,600}", " [a-z.]{0,9}\\+0x1",
            ], 0..400)
        ) {
            for crash in cut(&lines.join("\n")) {
                prop_assert!(crash.len() <= MAX_LINES && crash.iter().all(|line| line.len() <= MAX_LINE));
                prop_assert!(Crash::of(&crash).is_some_and(|crash| crash.functions.len() <= DEPTH));
            }
        }

        #[test]
        fn numbers_are_not_in_a_fingerprint(numbers in proptest::array::uniform4(any::<u32>())) {
            let [a, b, c, d] = numbers;
            let text = format!(
                "[{a:5}.{b:06}] watchdog: BUG: soft lockup - CPU#{c} stuck for {d}s! [init:{a}]\n\
                 [{a:5}.{b:06}] pc : spin.isra.{c}+{d:#x}/{a:#x} [kvm]\n[    1.2] Call trace:\n\
                 [    1.2]  spin.isra.{c}+{d:#x}/{a:#x} [kvm] (P)\n[    1.2]  caller+{d:#x}/{c:#x}\n"
            );
            let crash = Crash::of(&cut(&text)[0]).unwrap();
            prop_assert_eq!(crash.fingerprint(), "stall in spin < caller");
        }
    }
}
