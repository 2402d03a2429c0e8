//! The turns of two hosts that are compared: each takes a sample while the other one waits.
//!
//! A machine is slower for seconds at a time, when its neighbours use the caches that they share with it. So both
//! samples of a turn come within milliseconds of each other.

use std::sync::Arc;
use tokio::sync::watch;

/// The number of samples that each host has taken. None: it takes no more.
type Taken = [Option<u64>; 2];

/// One host's place in a pair. The other one no longer waits for it once this is dropped.
#[derive(Debug)]
pub struct Turns {
    taken: Arc<watch::Sender<Taken>>,
    own: usize,
}

/// The right to take a sample, until it is dropped.
#[must_use]
pub struct Turn<'a>(&'a Turns);

impl Turns {
    /// Returns the places of the hosts of a pair.
    pub fn of_pair() -> [Self; 2] {
        let taken = Arc::new(watch::Sender::new([Some(0); 2]));
        [0, 1].map(|own| Self { taken: Arc::clone(&taken), own })
    }

    /// Waits for the turn of this host. It has no deadline of its own: the other host's sample has one, and its
    /// end is the end of its place.
    pub async fn next(&self) -> Turn<'_> {
        let mut taken = self.taken.subscribe();
        // The sender lives as long as `self`.
        let _ = taken.wait_for(|taken| self.is_next(taken)).await;
        Turn(self)
    }

    /// The hosts take their samples in the order ABBA: the first one begins a round, then the second one the next.
    fn is_next(&self, taken: &Taken) -> bool {
        let [own, other] = [taken[self.own], taken[1 - self.own]].map(|of| of.unwrap_or(u64::MAX));
        let begins = own % 2 == self.own as u64;
        other > own || begins && other == own
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Turns { taken, own } = self.0;
        taken.send_modify(|taken| taken[*own] = taken[*own].map(|count| count.saturating_add(1)));
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.taken.send_modify(|taken| taken[self.own] = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_os::waits::timeout;
    use std::{sync::Mutex, time::Duration};

    #[tokio::test]
    async fn samples_come_in_the_order_abba_whoever_is_first_there() {
        for late in [0, 1] {
            let order = Mutex::new(String::new());
            let [first, second] = Turns::of_pair();
            let host = async |turns: Turns, name, samples| {
                if turns.own == late {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                for _ in 0..samples {
                    let _turn = turns.next().await;
                    order.lock().unwrap().push(name);
                    // The turn is this host's for as long as it takes.
                    tokio::task::yield_now().await;
                    order.lock().unwrap().push(name);
                }
            };
            tokio::join!(host(first, 'a', 4), host(second, 'b', 4));
            assert_eq!(*order.lock().unwrap(), "aabbbbaaaabbbbaa");
        }
    }

    #[tokio::test]
    async fn a_host_that_has_ended_is_not_waited_for() {
        let [first, second] = Turns::of_pair();
        drop(first.next().await);
        let waiting = timeout(Duration::from_millis(20), first.next());
        assert!(waiting.await.is_err(), "the second host has taken no sample");
        let gone = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(second);
        };
        let going_on = async {
            for _ in 0..3 {
                drop(first.next().await);
            }
        };
        let both = async { tokio::join!(gone, going_on) };
        timeout(Duration::from_secs(20), both).await.expect("the first host waits for nobody");
    }
}
