//! Holding a guest: a thread on each vCPU spins in user space with a nonce in x19 and the vCPU's
//! number in x20. When the machine is stopped, the nonce shows that this vCPU runs this guest's
//! agent, and with it its page tables.

use super::{Guest, bar::Mapped, span::all_cpus};
use crate::{agent::Answers, fault};
use rustix::thread::{CpuSet, sched_setaffinity};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{Held, Hold, Release};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The states of the word that the spinning thread watches.
const SPIN: u32 = 0;
const STOP: u32 = 1;
const NOT_YET: u32 = 2;
/// The time in which a thread must get its first turn.
const STARTS: Duration = Duration::from_secs(10);

/// The word with which a thread says that it cannot run on its vCPU.
const NOT_THERE: u32 = 3;

/// A thread that spins until it is released.
pub(crate) struct Spinner {
    word: Arc<AtomicU32>,
    thread: JoinHandle<()>,
}

/// Starts a thread on each vCPU.
fn spinners(nonce: u64) -> Result<Vec<Spinner>, Failure> {
    let mut all = vec![];
    for (vcpu, cpu) in (0..).zip(all_cpus()?) {
        match Spinner::start(nonce, vcpu, cpu) {
            Ok(spinner) => all.push(spinner),
            Err(why) => {
                all.into_iter().for_each(Spinner::release);
                return Err(why);
            }
        }
    }
    Ok(all)
}

impl Spinner {
    /// Returns when the thread spins on `cpu`, which is the vCPU with this number. The kernel takes
    /// turns between it and the thread that reads the port.
    pub(crate) fn start(nonce: u64, vcpu: u64, cpu: usize) -> Result<Spinner, Failure> {
        let word = Arc::new(AtomicU32::new(NOT_YET));
        let watched = Arc::clone(&word);
        let run = move || {
            let mut set = CpuSet::new();
            set.set(cpu);
            if sched_setaffinity(None, &set).is_err() {
                return watched.store(NOT_THERE, SeqCst);
            }
            watched.store(SPIN, SeqCst);
            spin(nonce, vcpu, &watched);
        };
        let error = |why: &dyn std::fmt::Display| fault::system("start", "the spinning thread", why);
        let thread = std::thread::Builder::new().spawn(run).map_err(|why| error(&why))?;
        let begin = Instant::now();
        while word.load(SeqCst) == NOT_YET {
            if begin.elapsed() > STARTS {
                return Err(error(&"it got no turn"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if word.load(SeqCst) == NOT_THERE {
            return Err(error(&format_args!("it cannot run on vCPU {cpu}")));
        }
        Ok(Spinner { word, thread })
    }

    pub(crate) fn release(self) {
        self.word.store(STOP, SeqCst);
        // It cannot have panicked: it only loads a word.
        let _ = self.thread.join();
    }
}

impl Answers<Hold> for Guest {
    fn answer(&mut self, ask: Hold) -> Result<Held, Failure> {
        if !self.spinners.is_empty() {
            return Err(fault::invalid("the guest is held already"));
        }
        self.spinners = spinners(ask.nonce)?;
        let mappings = self.mapped.iter().map(Mapped::mapping).collect();
        let vcpus = u32::try_from(self.spinners.len()).unwrap_or(u32::MAX);
        Ok(Held { pid: std::process::id(), mappings, vcpus })
    }
}

impl Answers<Release> for Guest {
    fn answer(&mut self, _: Release) -> Result<(), Failure> {
        if self.spinners.is_empty() {
            return Err(fault::invalid("the guest is not held"));
        }
        self.spinners.drain(..).for_each(Spinner::release);
        Ok(())
    }
}

// A function of its own, because LLVM reserves x19 and does not allow it in `asm!`.
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.s2lab_spin, \"ax\", @progbits",
    ".balign 64",
    ".type s2lab_spin, %function",
    "s2lab_spin:",
    "stp x19, x20, [sp, #-16]!",
    "mov x19, x0",
    "mov x20, x1",
    "2:",
    "ldar w3, [x2]",
    "cbz w3, 2b",
    "ldp x19, x20, [sp], #16",
    "ret",
    ".size s2lab_spin, . - s2lab_spin",
    ".popsection",
);

/// Spins with `nonce` in x19 and `vcpu` in x20 until `word` is not [`SPIN`].
#[cfg(target_arch = "aarch64")]
fn spin(nonce: u64, vcpu: u64, word: &AtomicU32) {
    unsafe extern "C" {
        fn s2lab_spin(nonce: u64, vcpu: u64, word: *const u32);
    }
    // SAFETY: the function follows the procedure call standard (x19 and x20 are saved and restored,
    // x3 is free to use), and the word lives as long as the borrow.
    unsafe { s2lab_spin(nonce, vcpu, word.as_ptr()) }
}

/// Other architectures have no x19. The tests of the rest need a thread that spins.
#[cfg(not(target_arch = "aarch64"))]
fn spin(nonce: u64, vcpu: u64, word: &AtomicU32) {
    while word.load(SeqCst) == SPIN {
        std::hint::black_box((nonce, vcpu));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_until_released() {
        let spinner = Spinner::start(0x1234_5678, 0, all_cpus().unwrap()[0]).unwrap();
        assert!(!spinner.thread.is_finished());
        spinner.release();
    }

    #[test]
    fn each_vcpu_has_a_thread() {
        let cpus = all_cpus().unwrap();
        let spinners = spinners(1).unwrap();
        assert_eq!(spinners.len(), cpus.len());
        spinners.into_iter().for_each(Spinner::release);
        let nowhere = Spinner::start(1, 0, CpuSet::MAX_CPU - 1).map(Spinner::release);
        assert!(nowhere.unwrap_err().message.contains("it cannot run on vCPU"));
    }
}
