//! The time that other programs have waited for a CPU. A host that gets no CPU is not late.

use crate::outside::{self, kinds};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    path::Path,
    time::{Duration, Instant},
};

/// The shortest time between two readings, which take some ten system calls for each program.
const PAUSE: Duration = Duration::from_millis(50);

/// The programs whose waits for a CPU are read.
#[derive(Debug, Default)]
pub(super) struct Starved {
    programs: BTreeMap<u64, Program>,
    next: u64,
    read: Option<Instant>,
}

#[derive(Debug)]
struct Program {
    pid: i32,
    /// The waiting time of each thread until the last reading.
    threads: HashMap<OsString, Duration>,
}

impl Starved {
    /// Adds a program. The returned number removes it.
    pub(super) fn add(&mut self, pid: i32) -> u64 {
        self.next += 1;
        self.programs.insert(self.next, Program { pid, threads: HashMap::new() });
        self.next
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.programs.remove(&number);
    }

    /// Returns the longest time that one thread of any program has waited since the last reading.
    /// Returns zero if that is not long ago.
    pub(super) fn since_last(&mut self, now: Instant) -> Duration {
        let early = self.read.is_some_and(|read| now.saturating_duration_since(read) < PAUSE);
        if early || self.programs.is_empty() {
            return Duration::ZERO;
        }
        self.read = Some(now);
        self.programs.values_mut().map(Program::waited).max().unwrap_or_default()
    }
}

impl Program {
    /// Returns the longest time that one thread has waited since the last reading. A program that
    /// has ended waits for nothing.
    fn waited(&mut self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid));
        let tasks = tasks.into_iter().flatten().flatten();
        let now: HashMap<_, _> =
            tasks.filter_map(|task| Some((task.file_name(), run_delay(&task.path())?))).collect();
        let before = |thread| self.threads.get(thread).copied().unwrap_or_default();
        let waited = now.iter().map(|(thread, total)| total.saturating_sub(before(thread))).max();
        self.threads = now;
        waited.unwrap_or_default()
    }
}

/// Returns the time that a thread has waited for a CPU since it began: the second number of its
/// `schedstat` (Linux 6.12 Documentation/scheduler/sched-stats.rst). A kernel without
/// CONFIG_SCHED_INFO has no such file.
fn run_delay(task: &Path) -> Option<Duration> {
    parse(&outside::read_text(&task.join("schedstat"), kinds::SYSTEM).ok()?)
}

fn parse(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use std::process::{Child, Command, Stdio};

    #[test]
    fn the_second_number_is_the_wait() {
        assert_eq!(parse("2151 9300000 17\n"), Some(Duration::from_micros(9300)));
        for other in ["", "7", "1 x 2", "1 -2 3"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    /// A program that is killed at the end.
    struct Busy(Child);

    impl Busy {
        /// Starts a program that uses all of the only CPU that it may use.
        fn start(cpu: usize) -> Self {
            let mut shell = Command::new("sh");
            let child = shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap();
            let pid = rustix::process::Pid::from_raw(child.id().cast_signed());
            let mut set = CpuSet::new();
            set.set(cpu);
            sched_setaffinity(pid, &set).unwrap();
            Self(child)
        }

        fn pid(&self) -> i32 {
            self.0.id().cast_signed()
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn a_program_that_shares_its_cpu_has_waited() {
        let own = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU).find(|cpu| own.is_set(*cpu)).unwrap();
        let (one, _other) = (Busy::start(cpu), Busy::start(cpu));
        let mut starved = Starved::default();
        let number = starved.add(one.pid());
        let (begin, mut waited) = (Instant::now(), Duration::ZERO);
        while waited < Duration::from_millis(200) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{waited:?}");
            std::thread::sleep(PAUSE);
            waited += starved.since_last(Instant::now());
        }
        assert_eq!(starved.since_last(Instant::now()), Duration::ZERO, "read a moment ago");
        starved.remove(number);
        std::thread::sleep(2 * PAUSE);
        assert_eq!(starved.since_last(Instant::now()), Duration::ZERO, "nobody is left");
    }
}
