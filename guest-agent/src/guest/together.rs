//! Work on several CPUs at the same time.

use crate::fault;
use s2lab_protocol::Failure;
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

/// Does the work of each of `count` CPUs, from 0, in a thread each, and returns the results.
/// `begin` runs first in each thread. The work begins when all threads are there.
pub(crate) fn together<T: Send>(
    count: u32,
    begin: impl Fn(u32) -> Result<(), Failure> + Sync,
    work: impl Fn(u32) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    if count == 1 {
        return Ok(vec![work(0)?]);
    }
    let line = Barrier::new(count as usize);
    // Locked until it is known whether all threads will come to the line.
    let all_started = Mutex::new(false);
    let on = |cpu: u32| {
        let begun = begin(cpu);
        if !*all_started.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(fault::system("start", "a thread for each vCPU", "one did not start"));
        }
        // Each thread gets there, also one that cannot run.
        line.wait();
        begun.and_then(|()| work(cpu))
    };
    std::thread::scope(|scope| {
        let mut started = all_started.lock().unwrap_or_else(PoisonError::into_inner);
        let start = |cpu| std::thread::Builder::new().spawn_scoped(scope, move || on(cpu));
        // The closure is borrowed, so that each thread has it.
        let threads: Result<Vec<_>, _> = (0..count).map(start).collect();
        *started = threads.is_ok();
        drop(started);
        let threads =
            threads.map_err(|why| fault::system("start", "a thread for each vCPU", why))?.into_iter();
        let joined = |thread: ScopedJoinHandle<'_, Result<T, Failure>>| {
            thread.join().unwrap_or_else(|_| Err(fault::system("run", "a thread", "it panicked")))
        };
        threads.map(joined).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn each_cpu_works_once_and_all_at_the_same_time() {
        let (begun, met) = (AtomicU32::new(0), Barrier::new(2));
        let begin = |cpu| {
            begun.fetch_add(1u32 << cpu, Ordering::SeqCst);
            Ok(())
        };
        // A thread alone would wait for ever.
        let work = |cpu| {
            met.wait();
            Ok((cpu, begun.load(Ordering::SeqCst)))
        };
        assert_eq!(together(2, begin, work).unwrap(), [(0, 3), (1, 3)]);
    }

    #[test]
    fn a_cpu_that_cannot_begin_does_not_work() {
        let begin = |cpu| if cpu == 1 { Err(fault::invalid("no such vCPU")) } else { Ok(()) };
        let failure = together(2, begin, |cpu| if cpu == 1 { panic!("it works") } else { Ok(()) });
        assert_eq!(failure.unwrap_err().message, "no such vCPU");
    }
}
