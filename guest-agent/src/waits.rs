//! The wait for what the kernel reports to nobody: the agent looks again until a time has passed.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Returns the first answer of `look`, which is called again after each `pause`; None if `patience` passes without
/// an answer.
pub(crate) fn until<T>(
    patience: Duration,
    pause: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let begin = Instant::now();
    loop {
        // What comes while the time passes still counts.
        let is_last = begin.elapsed() > patience;
        match look() {
            None if !is_last => sleep(pause),
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_until_there_is_an_answer() {
        let mut looks = 0;
        let mut third = || {
            looks += 1;
            (looks == 3).then_some("third")
        };
        assert_eq!(until(Duration::from_secs(60), Duration::from_millis(1), &mut third), Some("third"));
        assert_eq!(looks, 3);
    }

    #[test]
    fn it_looks_once_more_when_the_time_has_passed() {
        let begin = Instant::now();
        let patience = Duration::from_millis(20);
        let mut last = Duration::ZERO;
        let answer: Option<()> = until(patience, Duration::from_millis(1), || {
            last = begin.elapsed();
            None
        });
        assert!(answer.is_none() && last > patience, "{last:?}");
    }
}
