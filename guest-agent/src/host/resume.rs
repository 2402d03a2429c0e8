//! The host goes on in another machine than that in which it was saved.

use super::Reader;
use crate::cpus;
use crate::link::{LinkError, in_json};
use crate::{agent::say_hello, fault};
use rustix::thread::{ClockId, NanosleepRelativeResult, clock_nanosleep_absolute, clock_nanosleep_relative};
use rustix::time::Timespec;
use s2lab_protocol::{Failure, Level};

/// A time that has passed in every kernel that runs a program.
const PAST: Timespec = Timespec { tv_sec: 0, tv_nsec: 1 };
/// Far less than the time between two heartbeats.
const SHORT: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

impl Reader {
    /// Begins anew with this nonce, and answers request `id`. The reader does it, because the next frame
    /// from s2lab has the nonce.
    pub(super) fn resume(&mut self, id: u64, nonce: u64) -> Result<(), LinkError> {
        let fired = on_each_cpu(fire_a_timer);
        self.incoming.adopt(nonce);
        self.link.begin_anew(nonce);
        say_hello(&self.root, &self.link, Level::Host, nonce)?;
        self.link.reply(id, fired.and_then(|()| in_json(&())))
    }
}

/// Does the work on one CPU after the other. This thread may run on all of them afterwards.
fn on_each_cpu(work: impl Fn() -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    // In a thread of its own, whose affinity ends with it.
    let worker = std::thread::scope(|scope| {
        let each = || cpus::all()?.into_iter().try_for_each(|cpu| cpus::pin_to(cpu).and_then(|()| work()));
        std::thread::Builder::new().spawn_scoped(scope, each).map(std::thread::ScopedJoinHandle::join)
    });
    match worker {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(fault::system("run", "on each vCPU", "the thread panicked")),
        Err(why) => Err(fault::system("start", "a thread", why)),
    }
}

/// Makes the timers of this CPU fire, and returns when a new one has done so.
///
/// QEMU (10.0.2, 11.1.3) does not migrate the EL2 timers. The timer that was programmed in the machine that was
/// saved never fires in the other one, and timers behind it do not program the clock. One in the past is before
/// all others: it fires at once, and the kernel runs all that are overdue (Linux kernel/time/hrtimer.c,
/// hrtimer_interrupt).
fn fire_a_timer() -> Result<(), Failure> {
    let failed = |why| fault::system("sleep", "for a moment", why);
    clock_nanosleep_absolute(ClockId::Monotonic, &PAST).map_err(failed)?;
    match clock_nanosleep_relative(ClockId::Monotonic, &SHORT) {
        NanosleepRelativeResult::Err(why) => Err(failed(why)),
        // A signal has ended it early.
        NanosleepRelativeResult::Ok | NanosleepRelativeResult::Interrupted(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    #[test]
    fn each_cpu_is_visited_once_and_this_thread_keeps_all() {
        let before = cpus::all().unwrap();
        let visited = Mutex::new(Vec::new());
        on_each_cpu(|| {
            visited.lock().unwrap().extend(cpus::all()?);
            Ok(())
        })
        .unwrap();
        assert_eq!(*visited.lock().unwrap(), before);
        assert_eq!(cpus::all().unwrap(), before);
    }

    #[test]
    fn a_timer_fires_after_a_while() {
        let begin = Instant::now();
        fire_a_timer().unwrap();
        assert!(begin.elapsed() >= Duration::from_nanos(1_000_000));
    }
}
