//! Holding a guest: a thread on each vCPU spins with a nonce in x19 and the vCPU's number in x20.
//! When the machine is stopped, the nonce shows that this vCPU runs this guest's agent, and with it
//! its page tables.

use super::{Guest, machine::Machine};
use crate::{agent::Answers, fault};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{Held, Hold, Release};
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The states of the word that the spinning thread watches.
const SPIN: u32 = 1;
const STOP: u32 = 2;
const NOT_YET: u32 = 0;
/// The time in which a thread must get its first turn.
const STARTS: Duration = Duration::from_secs(10);

/// A thread that spins until it is released. `W` leads to the word that the thread watches.
pub(crate) struct Spinner<W> {
    word: W,
    thread: JoinHandle<Result<(), Failure>>,
}

impl<W: Deref<Target = AtomicU32> + Clone + Send + 'static> Spinner<W> {
    /// Runs `spin` in a thread: a call of [`spin`] in some machine. Returns when it spins.
    pub(crate) fn start(
        word: W,
        spin: impl FnOnce(&AtomicU32) -> Result<(), Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let error = |why: &dyn std::fmt::Display| fault::system("start", "the spinning thread", why);
        word.store(NOT_YET, SeqCst);
        let watched = word.clone();
        let thread = std::thread::Builder::new().spawn(move || spin(&watched)).map_err(|why| error(&why))?;
        let begin = Instant::now();
        // On a single vCPU the kernel takes turns between both threads.
        while word.load(SeqCst) == NOT_YET {
            if thread.is_finished() {
                return Err(match thread.join() {
                    Ok(Err(why)) => why,
                    _ => error(&"it does not spin"),
                });
            }
            if begin.elapsed() > STARTS {
                return Err(error(&"it got no turn"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Spinner { word, thread })
    }

    pub(crate) fn release(self) -> Result<(), Failure> {
        self.word.store(STOP, SeqCst);
        self.thread.join().unwrap_or_else(|_| Err(fault::system("run", "the spinning thread", "it panicked")))
    }
}

/// Sets `word`, and does the work at least once, until `word` changes.
pub(crate) fn repeat(word: &AtomicU32, mut work: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    word.store(SPIN, SeqCst);
    loop {
        work()?;
        if word.load(SeqCst) != SPIN {
            return Ok(());
        }
    }
}

/// The threads of a guest that is held, one for each vCPU; none if it is not held.
pub(crate) struct Spinners<W>(Vec<Spinner<W>>);

impl<W: Deref<Target = AtomicU32> + Clone + Send + 'static> Spinners<W> {
    pub(crate) fn none() -> Self {
        Spinners(Vec::new())
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.0.is_empty()
    }

    /// Starts a thread for each word and work, and returns their number. If one fails, those before it
    /// are released.
    pub(crate) fn hold<S>(&mut self, works: impl Iterator<Item = (W, S)>) -> Result<u32, Failure>
    where
        S: FnOnce(&AtomicU32) -> Result<(), Failure> + Send + 'static,
    {
        for (word, spin) in works {
            match Spinner::start(word, spin) {
                Ok(spinner) => self.0.push(spinner),
                Err(why) => {
                    // The first failure is the one that is reported.
                    let _ = self.release_all();
                    return Err(why);
                }
            }
        }
        Ok(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn release(&mut self) -> Result<(), Failure> {
        if !self.is_held() {
            return Err(fault::invalid("the guest is not held"));
        }
        self.release_all()
    }

    /// Returns the first failure.
    fn release_all(&mut self) -> Result<(), Failure> {
        self.0.drain(..).map(Spinner::release).fold(Ok(()), Result::and)
    }
}

impl<M: Machine> Answers<Hold> for Guest<M> {
    fn answer(&mut self, ask: Hold) -> Result<Held, Failure> {
        let vcpus = self.machine.hold(ask.nonce)?;
        Ok(Held { pid: std::process::id(), mappings: self.machine.mappings(), vcpus })
    }
}

impl<M: Machine> Answers<Release> for Guest<M> {
    fn answer(&mut self, _: Release) -> Result<(), Failure> {
        self.machine.release()
    }
}

// A function of its own, because LLVM reserves x19 and does not allow it in `asm!`.
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.s2lab_spin, \"ax\", @progbits",
    ".balign 64",
    ".globl s2lab_spin",
    ".hidden s2lab_spin",
    ".type s2lab_spin, %function",
    "s2lab_spin:",
    "stp x19, x20, [sp, #-16]!",
    "mov x19, x0",
    "mov x20, x1",
    "2:",
    "ldar w3, [x2]",
    "cmp w3, #1",
    "b.eq 2b",
    "ldp x19, x20, [sp], #16",
    "ret",
    ".size s2lab_spin, . - s2lab_spin",
    ".popsection",
);

/// Sets `word`, and spins with `nonce` in x19 and `vcpu` in x20 until it changes.
#[cfg(target_arch = "aarch64")]
pub(crate) fn spin(nonce: u64, vcpu: u64, word: &AtomicU32) {
    unsafe extern "C" {
        fn s2lab_spin(nonce: u64, vcpu: u64, word: *const u32);
    }
    word.store(SPIN, SeqCst);
    // SAFETY: the function follows the procedure call standard (x19 and x20 are saved and restored, x3
    // and the flags are free to use), and the word lives as long as the borrow.
    unsafe { s2lab_spin(nonce, vcpu, word.as_ptr()) }
}

/// Other architectures have no x19. The tests of the rest need a thread that spins.
#[cfg(not(target_arch = "aarch64"))]
pub(crate) fn spin(nonce: u64, vcpu: u64, word: &AtomicU32) {
    word.store(SPIN, SeqCst);
    while word.load(SeqCst) == SPIN {
        std::hint::black_box((nonce, vcpu));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn held_until_released() {
        let spins = |word: &AtomicU32| {
            spin(0x1234_5678, 0, word);
            Ok(())
        };
        let spinner = Spinner::start(Arc::default(), spins).unwrap();
        assert!(!spinner.thread.is_finished());
        spinner.release().unwrap();
    }

    #[test]
    fn a_thread_that_does_not_spin_is_noticed() {
        let spins = |_: &AtomicU32| Err(fault::invalid("no vCPU"));
        let spinner: Result<Spinner<Arc<AtomicU32>>, _> = Spinner::start(Arc::default(), spins);
        assert!(spinner.is_err_and(|failure| failure.message == "no vCPU"));
    }
}
