//! Holding a guest: a thread spins in user space with a nonce in x19. When the machine is stopped,
//! the nonce shows that this vCPU runs this guest's agent, and with it its page tables.

use super::{Guest, bar::Mapped};
use crate::{agent::Answers, fault};
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

/// A thread that spins until it is released.
pub(crate) struct Spinner {
    word: Arc<AtomicU32>,
    thread: JoinHandle<()>,
}

impl Spinner {
    /// Returns when the thread spins. On a single vCPU the kernel takes turns between it and the
    /// thread that reads the port.
    pub(crate) fn start(nonce: u64) -> Result<Spinner, Failure> {
        let word = Arc::new(AtomicU32::new(NOT_YET));
        let watched = Arc::clone(&word);
        let run = move || {
            watched.store(SPIN, SeqCst);
            spin(nonce, &watched);
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
        if self.spinner.is_some() {
            return Err(fault::invalid("the guest is held already"));
        }
        self.spinner = Some(Spinner::start(ask.nonce)?);
        Ok(Held { pid: std::process::id(), mappings: self.mapped.iter().map(Mapped::mapping).collect() })
    }
}

impl Answers<Release> for Guest {
    fn answer(&mut self, _: Release) -> Result<(), Failure> {
        let spinner = self.spinner.take().ok_or_else(|| fault::invalid("the guest is not held"))?;
        spinner.release();
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
    "stp x19, x30, [sp, #-16]!",
    "mov x19, x0",
    "2:",
    "ldar w2, [x1]",
    "cbz w2, 2b",
    "ldp x19, x30, [sp], #16",
    "ret",
    ".size s2lab_spin, . - s2lab_spin",
    ".popsection",
);

/// Spins with `nonce` in x19 until `word` is not [`SPIN`].
#[cfg(target_arch = "aarch64")]
fn spin(nonce: u64, word: &AtomicU32) {
    unsafe extern "C" {
        fn s2lab_spin(nonce: u64, word: *const u32);
    }
    // SAFETY: the function follows the procedure call standard (x19 is saved and restored, x2 is
    // free to use), and the word lives as long as the borrow.
    unsafe { s2lab_spin(nonce, word.as_ptr()) }
}

/// Other architectures have no x19. The tests of the rest need a thread that spins.
#[cfg(not(target_arch = "aarch64"))]
fn spin(nonce: u64, word: &AtomicU32) {
    while word.load(SeqCst) == SPIN {
        std::hint::black_box(nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_until_released() {
        let spinner = Spinner::start(0x1234_5678).unwrap();
        assert!(!spinner.thread.is_finished());
        spinner.release();
    }
}
