//! The clock of all deadlines: time in which s2lab itself did not run is not counted, and of the
//! time in which a host waited for a CPU, only a fifth.
//! A stopped s2lab (Ctrl-Z, a debugger, a machine without a free core) receives nothing; messages
//! wait in its sockets. So each wait looks at the clock several times a second, and a longer gap
//! between two looks is s2lab's own.

mod starved;

use starved::Starved;
use std::{
    future::Future,
    ops::Add,
    pin::pin,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The longest time between two looks of one wait.
const TURN: Duration = Duration::from_millis(100);
/// The least gap between two looks that is a jump: s2lab did not run.
const GAP: Duration = Duration::from_millis(500);
/// The time that counts for a jump. It is not zero, so that a deadline passes however often s2lab
/// is stopped.
const JUMP: Duration = Duration::from_millis(10);
/// The longest time after a jump that does not count either: s2lab then reads the messages that
/// have arrived.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Of time in which a host waits for a CPU, one part in so many counts. So a deadline takes at most so
/// many times as long.
const STARVED: u32 = 5;
/// The longest waiting for a CPU that is kept to be subtracted from later time. The kernel counts a wait when it
/// is over.
const OWED: Duration = Duration::from_secs(10);

/// A moment of this clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// Returns the time since then.
    pub fn elapsed(self) -> Duration {
        now().since(self)
    }

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// The end of a time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time limit has passed")]
pub struct Elapsed;

struct Clock {
    last: Instant,
    counted: Counted,
    starved: Starved,
}

/// Returns the process's clock.
fn clock() -> MutexGuard<'static, Clock> {
    static CLOCK: LazyLock<Mutex<Clock>> = LazyLock::new(|| {
        Mutex::new(Clock { last: Instant::now(), counted: Counted::default(), starved: Starved::default() })
    });
    // Every critical section leaves the clock valid.
    CLOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the present moment.
pub fn now() -> Moment {
    let mut clock = clock();
    let real = Instant::now();
    let gap = real.saturating_duration_since(clock.last);
    clock.last = real;
    let starved = clock.starved.since_last(real);
    Moment(clock.counted.step(gap, starved))
}

/// A program that the process waits for. Its waits for a CPU count a fifth, until this is dropped.
#[derive(Debug)]
pub struct Followed(u64);

impl Followed {
    /// Follows the program with this number.
    pub fn new(pid: i32) -> Self {
        Self(clock().starved.add(pid))
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        clock().starved.remove(self.0);
    }
}

/// Returns the rest of a wait until `end`, or one turn of it, after which the clock is read again.
/// Returns None if the wait is over.
pub fn turn(end: Moment) -> Option<Duration> {
    let left = end.since(now());
    (!left.is_zero()).then(|| left.min(TURN))
}

/// Waits for `work` until `end`. A result that `work` has by then is never lost: it is polled last.
///
/// # Errors
/// [`Elapsed`] if `work` is not done by then.
pub async fn timeout_at<F: Future>(end: Moment, work: F) -> Result<F::Output, Elapsed> {
    let mut work = pin!(work);
    loop {
        let left = turn(end);
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = sleep(left.unwrap_or_default()) => if left.is_none() { return Err(Elapsed) },
        }
    }
}

/// Waits for `work` for `limit`.
///
/// # Errors
/// [`Elapsed`] if `work` is not done by then.
pub async fn timeout<F: Future>(limit: Duration, work: F) -> Result<F::Output, Elapsed> {
    timeout_at(now() + limit, work).await
}

/// The time that was counted until the last look.
#[derive(Debug, Default)]
struct Counted {
    time: Duration,
    /// The time to come that does not count.
    free: Duration,
    /// The waiting for a CPU that is not subtracted yet.
    owed: Duration,
}

impl Counted {
    /// Counts the time since the last look, in which a host has waited `starved` for a CPU.
    fn step(&mut self, gap: Duration, starved: Duration) -> Duration {
        self.owed = OWED.min(self.owed + starved);
        if gap > GAP {
            tracing::debug!(ms = gap.as_millis(), "s2lab has not run");
            self.time += JUMP;
            self.free = CATCH_UP.min(gap / 4);
        } else {
            let free = self.free.min(gap);
            self.free -= free;
            let left = gap - free;
            let off = self.owed.min(left * (STARVED - 1) / STARVED);
            self.owed -= off;
            self.time += left - off;
        }
        self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_jump_is_not_counted_and_what_came_meanwhile_has_time_to_be_read() {
        let mut counted = Counted::default();
        for _ in 0..10 {
            counted.step(TURN, Duration::ZERO);
        }
        assert_eq!(counted.time, 1000 * MS);
        assert_eq!(counted.step(9500 * MS, Duration::ZERO), 1000 * MS + JUMP);
        for _ in 0..10 {
            counted.step(TURN, Duration::ZERO);
        }
        assert_eq!(counted.time, 1000 * MS + JUMP, "a second to read");
        assert_eq!(counted.step(TURN, Duration::ZERO), 1100 * MS + JUMP);
        // A shorter gap leaves less time; the following ones make up for it.
        counted.step(800 * MS, Duration::ZERO);
        assert_eq!(counted.step(200 * MS, Duration::ZERO), 1100 * MS + 2 * JUMP);
    }

    #[test]
    fn a_deadline_passes_however_often_s2lab_is_stopped() {
        let mut counted = Counted::default();
        for _ in 0..800 {
            counted.step(Duration::from_secs(60), Duration::ZERO);
            counted.step(MS, Duration::ZERO);
        }
        assert_eq!(counted.time, Duration::from_secs(8));
    }

    #[test]
    fn a_host_that_waits_for_a_cpu_has_five_times_as_long() {
        let mut counted = Counted::default();
        assert_eq!(counted.step(100 * MS, 30 * MS), 70 * MS);
        assert_eq!(counted.step(100 * MS, Duration::ZERO), 170 * MS, "an idle machine");
        for _ in 0..10 {
            counted.step(100 * MS, 100 * MS);
        }
        assert_eq!(counted.time, 370 * MS, "a fifth of it counts");
        // A wait is known when it is over, so the time after it counts less.
        let mut late = Counted::default();
        for _ in 0..40 {
            late.step(100 * MS, Duration::ZERO);
        }
        for wait in [4000, 0, 0, 0, 0] {
            late.step(100 * MS, MS * wait);
        }
        assert_eq!(late.time, 4100 * MS);
    }

    #[test]
    fn a_long_wait_for_a_cpu_is_not_kept_for_ever() {
        let mut counted = Counted::default();
        counted.step(MS, Duration::from_secs(3600));
        for _ in 0..1000 {
            counted.step(100 * MS, Duration::ZERO);
        }
        let off = Duration::from_secs(100) + MS - counted.time;
        assert_eq!(off, OWED);
    }

    #[test]
    fn moments_are_in_order() {
        let first = now();
        assert!(now() >= first && first + MS > first);
        assert_eq!(first.since(first + MS), Duration::ZERO);
        assert_eq!(turn(first), None);
        assert_eq!(turn(first + Duration::MAX), Some(TURN));
    }

    #[tokio::test]
    async fn what_is_done_at_the_end_is_not_lost() {
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));
        assert_eq!(timeout(20 * MS, std::future::pending::<()>()).await, Err(Elapsed));
        let slow = async {
            sleep(2 * TURN).await;
            2
        };
        assert_eq!(timeout(Duration::MAX, slow).await, Ok(2), "in several turns");
    }
}
