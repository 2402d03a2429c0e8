//! The stage-2 faults of guests, from KVM's trace event `kvm_guest_fault` in an instance of the
//! kernel's trace that is the agent's alone (Linux Documentation/trace/ftrace.rst, "Instances").

use super::Host;
use crate::{agent::Answers, root::Root};
use rustix::fs::OFlags;
use s2lab_protocol::ask::{Faulted, Faults, Pages};
use s2lab_protocol::trace::{TracedFault, has_lost};
use s2lab_protocol::{BAR_WINDOWS, Failure};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const TRACING: &str = "sys/kernel/tracing";
const INSTANCE: &str = "sys/kernel/tracing/instances/s2lab";
const EVENT: &str = "events/kvm/kvm_guest_fault";
/// The memory for events of one CPU, in KiB. An event has 44 bytes: some 20,000 of them.
const BUFFER_KIB: &str = "1024";
/// The most bytes of text that are read at once: 150 for an event.
const MOST_TEXT: usize = 16 << 20;
/// The most faults that wait for a request about their guest.
const MOST_PENDING: usize = 1 << 16;

impl Answers<Faults> for Host<'_> {
    fn answer(&mut self, Faults { guest }: Faults) -> Result<Faulted, Failure> {
        let pid = self.running(&guest)?.vmm.pid();
        let root = &self.agent.root;
        let threads = threads(&root.path(format!("proc/{pid}/task")));
        let has_ended = |thread: u32| !root.exists(format!("proc/{thread}"));
        let none = |why: &str| Faulted { runs: vec![], incomplete: Some(why.to_owned()) };
        Ok(match &mut self.trace {
            Some(Ok(trace)) => trace.of(pid, &threads, has_ended),
            Some(Err(why)) => none(why),
            None => none("no guest was started"),
        })
    }
}

/// Returns the threads of a process, by its folder `task`.
fn threads(folder: &Path) -> BTreeSet<u32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Returns the kernel's filter for [`BAR_WINDOWS`].
fn filter() -> String {
    let windows = BAR_WINDOWS.map(|(start, end)| format!("(ipa >= {start:#x} && ipa < {end:#x})"));
    windows.join(" || ")
}

/// The fault of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    /// The thread that ran the vCPU, and its process.
    thread: u32,
    process: Option<u32>,
    ipa: u64,
}

/// The trace of all guests.
pub(super) struct FaultTrace {
    pipe: Box<dyn Read>,
    /// The beginning of a line whose end has not been read.
    rest: Vec<u8>,
    /// The pages that have faulted.
    pending: BTreeSet<Fault>,
    /// The reason why faults are missing from now on.
    incomplete: Option<String>,
}

impl FaultTrace {
    /// Begins to trace. Fails with the reason if the kernel cannot do it.
    pub(super) fn start(root: &Root) -> Result<FaultTrace, String> {
        if !root.exists(format!("{TRACING}/{EVENT}")) {
            return Err("the kernel has no trace event kvm_guest_fault".into());
        }
        std::fs::create_dir_all(root.path(INSTANCE)).map_err(|why| format!("{INSTANCE}: {why}"))?;
        let set = |file: &str, value: &str| {
            root.write(format!("{INSTANCE}/{file}"), value).map_err(|why| why.message)
        };
        set("buffer_size_kb", BUFFER_KIB)?;
        // Each line has the process of its thread, which may have ended by then.
        set("options/record-tgid", "1")?;
        set(&format!("{EVENT}/filter"), &filter())?;
        set(&format!("{EVENT}/enable"), "1")?;
        // Reading takes events away, and waits for one if it may.
        let mut options = File::options();
        options.read(true).custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default());
        let pipe = options.open(root.path(format!("{INSTANCE}/trace_pipe")));
        Ok(FaultTrace::of_pipe(pipe.map_err(|why| format!("{INSTANCE}/trace_pipe: {why}"))?))
    }

    fn of_pipe(pipe: impl Read + 'static) -> FaultTrace {
        FaultTrace { pipe: Box::new(pipe), rest: vec![], pending: BTreeSet::new(), incomplete: None }
    }

    /// Forgets the faults so far, and what is missing of them: a cell has ended.
    pub(super) fn forget(&mut self) {
        self.incomplete = self.drain().err();
        self.pending.clear();
        self.rest.clear();
    }

    /// Returns the pages at which a VMM with these threads has faulted since the last such request. A line
    /// has no process if the thread has run without a break since its first fault. Nobody knows the guest
    /// of such a thread that has ended.
    pub(super) fn of(
        &mut self,
        vmm: u32,
        threads: &BTreeSet<u32>,
        has_ended: impl Fn(u32) -> bool,
    ) -> Faulted {
        if let Err(why) = self.drain() {
            self.incomplete.get_or_insert(why);
        }
        let is_own = |fault: &Fault| match fault.process {
            Some(process) => process == vmm,
            None => threads.contains(&fault.thread),
        };
        let own: BTreeSet<u64> =
            self.pending.iter().filter(|fault| is_own(fault)).map(|fault| fault.ipa).collect();
        self.pending.retain(|fault| !is_own(fault));
        let known = self.pending.len();
        self.pending.retain(|fault| fault.process.is_some() || !has_ended(fault.thread));
        if self.pending.len() < known {
            self.incomplete.get_or_insert_with(|| "a thread that has ended has faulted".to_owned());
        }
        let mut runs = Pages::runs(own);
        if runs.len() > Pages::MOST {
            runs.truncate(Pages::MOST);
            let why = format!("the faults are in more than {} runs of pages", Pages::MOST);
            return Faulted { runs, incomplete: Some(why) };
        }
        Faulted { runs, incomplete: self.incomplete.clone() }
    }

    /// Reads all events that there are.
    fn drain(&mut self) -> Result<(), String> {
        let mut part = vec![0; 64 * 1024];
        let mut read = 0;
        loop {
            let bytes = match self.pipe.read(&mut part) {
                Ok(0) => return Ok(()),
                Ok(bytes) => bytes,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) => return Err(format!("trace_pipe: {why}")),
            };
            read += bytes;
            if read > MOST_TEXT {
                return Err(format!("trace_pipe has more than {MOST_TEXT} bytes"));
            }
            for byte in part.iter().take(bytes) {
                match byte {
                    b'\n' => self.line()?,
                    // A line has less than 300 bytes (kernel/trace/trace.h, a page for all of it).
                    byte if self.rest.len() < 4096 => self.rest.push(*byte),
                    _ => return Err("trace_pipe has an endless line".into()),
                }
            }
        }
    }

    fn line(&mut self) -> Result<(), String> {
        let line = std::mem::take(&mut self.rest);
        let line = String::from_utf8_lossy(&line);
        if has_lost(&line) {
            return Err("the kernel has overwritten events of the trace".into());
        }
        let Some(fault) = TracedFault::parse(&line).filter(TracedFault::is_translation) else {
            return Ok(());
        };
        let TracedFault { thread, process, ipa, .. } = fault;
        self.pending.insert(Fault { thread, process, ipa: ipa & !(Pages::SIZE - 1) });
        match self.pending.len() > MOST_PENDING {
            true => Err(format!("more than {MOST_PENDING} pages have faulted")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The process of a VMM that has the threads of a test.
    const VMM: u32 = 1000;

    fn line(thread: u32, ipa: u64) -> String {
        format!(
            " qemu-{thread}   [000] ..... 1.5: kvm_guest_fault: ipa {ipa:#x}, hsr 0x93400045, hxfar 0x0, pc 0x1\n"
        )
    }

    fn of(text: &str, threads: &[u32]) -> Faulted {
        FaultTrace::of_pipe(std::io::Cursor::new(text.to_owned())).of(
            VMM,
            &threads.iter().copied().collect(),
            |_| false,
        )
    }

    /// A pipe that has each part once, and nothing in between.
    struct Parts(Vec<&'static str>);

    impl Read for Parts {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            match self.0.is_empty() {
                true => Err(ErrorKind::WouldBlock.into()),
                false => self.0.remove(0).as_bytes().read(to),
            }
        }
    }

    #[test]
    fn faults_are_those_of_the_guests_threads() {
        let text = [(7, 0x80_0000_2000), (8, 0x80_0000_0000), (7, 0x80_0000_1abc), (7, 0x80_0000_1000)];
        let text: String = text.iter().map(|(thread, ipa)| line(*thread, *ipa)).collect();
        let run = |ipa, pages| Pages { ipa, pages };
        assert_eq!(of(&text, &[7]).runs, [run(0x80_0000_1000, 2)]);
        assert_eq!(of(&text, &[9]).runs, []);
        let mut trace = FaultTrace::of_pipe(std::io::Cursor::new(text));
        assert_eq!(trace.of(VMM, &[7].into(), |_| false).runs.len(), 1);
        assert_eq!(trace.of(VMM, &[7].into(), |_| false).runs, [], "each is told once");
        assert_eq!(
            trace.of(VMM, &[8].into(), |_| false),
            Faulted { runs: vec![run(0x80_0000_0000, 1)], incomplete: None }
        );
    }

    #[test]
    fn the_guest_of_a_thread_that_has_ended_is_unknown() {
        let text: String = [(7, 0x1000), (8, 0x2000)].map(|(thread, ipa)| line(thread, ipa)).concat();
        let mut trace = FaultTrace::of_pipe(std::io::Cursor::new(text));
        let first = trace.of(VMM, &[7].into(), |thread| thread == 8);
        assert_eq!(first.runs, [Pages { ipa: 0x1000, pages: 1 }]);
        assert_eq!(first.incomplete.unwrap(), "a thread that has ended has faulted");
        let next = trace.of(VMM, &[9].into(), |_| false);
        assert!(next.incomplete.is_some(), "its guest may be any other one of the cell");
        trace.forget();
        assert_eq!(trace.of(VMM, &[9].into(), |_| false).incomplete, None);
    }

    /// The built-in VMM has threads of its own for each request to two vCPUs. A thread of another VMM may have
    /// the number of one that has ended.
    #[test]
    fn a_line_with_a_process_needs_no_thread() {
        let of = |vmm: u32, ipa: u64| line(7, ipa).replace("-7 ", &format!("-7     ({vmm:7})"));
        let text = [of(VMM, 0x1000), of(2000, 0x2000), of(VMM, 0x3000)].concat();
        let run = |ipa| Pages { ipa, pages: 1 };
        let mut trace = FaultTrace::of_pipe(std::io::Cursor::new(text));
        let first = trace.of(VMM, &[9].into(), |_| true);
        assert_eq!(first, Faulted { runs: vec![run(0x1000), run(0x3000)], incomplete: None });
        let other = trace.of(2000, &[].into(), |_| true);
        assert_eq!(other, Faulted { runs: vec![run(0x2000)], incomplete: None });
    }

    /// A thread of the next cell may have the number of one of this cell.
    #[test]
    fn a_cell_has_no_faults_of_the_one_before() {
        let lost = format!("{}CPU:1 [LOST 4 EVENTS]\n", line(7, 0x1000));
        let mut trace = FaultTrace::of_pipe(std::io::Cursor::new(lost));
        assert!(trace.of(VMM, &[9].into(), |_| false).incomplete.is_some());
        trace.forget();
        assert_eq!(trace.of(VMM, &[7].into(), |_| false), Faulted { runs: vec![], incomplete: None });
    }

    #[test]
    fn a_fault_that_is_no_translation_fault_does_not_count() {
        let permission = line(7, 0x1000).replace("93400045", "9340004f");
        assert_eq!(of(&permission, &[7]).runs, []);
    }

    #[test]
    fn a_line_may_come_in_parts() {
        let mut trace = FaultTrace::of_pipe(Parts(vec![
            " qemu-7   [000] ..... 1.5: kvm_guest_fault: ipa 0x1000, hsr 0x9340",
            "0045, hxfar 0x0, pc 0x1\nCPU",
        ]));
        assert_eq!(trace.of(VMM, &[7].into(), |_| false).runs, [Pages { ipa: 0x1000, pages: 1 }]);
    }

    #[test]
    fn what_is_missing_has_a_reason() {
        let lost = format!("CPU:1 [LOST 4 EVENTS]\n{}", line(7, 0x1000));
        assert_eq!(of(&lost, &[7]).incomplete.unwrap(), "the kernel has overwritten events of the trace");
        let endless = "x".repeat(5000);
        assert_eq!(of(&endless, &[7]).incomplete.unwrap(), "trace_pipe has an endless line");
        let many: String = (0..=Pages::MOST as u64).map(|n| line(7, n * 2 * Pages::SIZE)).collect();
        let many = of(&many, &[7]);
        assert_eq!(many.incomplete.unwrap(), "the faults are in more than 2048 runs of pages");
        assert_eq!(many.runs.len(), Pages::MOST);
        let pending: String = (0..=MOST_PENDING as u64).map(|n| line(8, n * Pages::SIZE)).collect();
        assert_eq!(of(&pending, &[7]).incomplete.unwrap(), "more than 65536 pages have faulted");
    }

    #[test]
    fn a_kernel_without_the_event_is_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let why = FaultTrace::start(&root).map(drop).unwrap_err();
        assert_eq!(why, "the kernel has no trace event kvm_guest_fault");
        // A folder does not fill itself like that of tracefs.
        fs::create_dir_all(folder.path().join(TRACING).join(EVENT)).unwrap();
        let why = FaultTrace::start(&root).map(drop).unwrap_err();
        assert!(why.contains("buffer_size_kb"), "{why}");
    }

    #[test]
    fn the_trace_is_set_up_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(TRACING).join(EVENT)).unwrap();
        let instance = folder.path().join(INSTANCE);
        fs::create_dir_all(instance.join(EVENT)).unwrap();
        fs::create_dir(instance.join("options")).unwrap();
        for file in [
            "buffer_size_kb",
            "options/record-tgid",
            "events/kvm/kvm_guest_fault/filter",
            "events/kvm/kvm_guest_fault/enable",
        ] {
            fs::write(instance.join(file), "").unwrap();
        }
        fs::write(instance.join("trace_pipe"), line(7, 0x1000)).unwrap();
        let mut trace = FaultTrace::start(&Root::at(folder.path())).unwrap();
        assert_eq!(trace.of(VMM, &[7].into(), |_| false).runs, [Pages { ipa: 0x1000, pages: 1 }]);
        let set = |file: &str| fs::read_to_string(instance.join(file)).unwrap();
        assert_eq!(set("events/kvm/kvm_guest_fault/enable"), "1");
        assert_eq!(set("options/record-tgid"), "1");
        let windows =
            "(ipa >= 0x10000000 && ipa < 0x40000000) || (ipa >= 0x8000000000 && ipa < 0xffffffffffffffff)";
        assert_eq!(set("events/kvm/kvm_guest_fault/filter"), windows);
    }
}
