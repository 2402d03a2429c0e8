//! Simulated boots, which show how often the rule of [`Decision`] is right.

use super::{decision::Decision, paired::Paired};

/// The number of comparisons of each simulation.
const COMPARISONS: usize = 1000;

/// Random numbers of a seed: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
struct Random(u64);

impl Random {
    /// Returns a number from 0 to 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a number of a normal distribution with mean 0 and variance 1, nearly: the sum of 12
    /// uniform ones.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// The conditions of simulated boots.
#[derive(Debug, Clone, Copy)]
struct Conditions {
    pairs: usize,
    /// The ratio of the times of the second and the first kernel.
    ratio: f64,
    /// The standard deviation of the log of one boot's time.
    spread: f64,
    /// The part of the boots that other work on the machine makes half as long again.
    disturbed: f64,
    /// The growth of the log of the time from one boot to the next.
    drift: f64,
}

/// One kernel against itself: 7 pairs, and boots that differ by 2 %.
const USUAL: Conditions = Conditions { pairs: 7, ratio: 1.0, spread: 0.02, disturbed: 0.0, drift: 0.0 };

/// Returns how many of [`COMPARISONS`] are SAME, and how many are DIFFERENT.
fn decided(Conditions { pairs, ratio, spread, disturbed, drift }: Conditions) -> (usize, usize) {
    let mut random = Random(7);
    let (mut same, mut different) = (0, 0);
    for _ in 0..COMPARISONS {
        let mut boot = |at: usize, ratio: f64| {
            let slow = if random.uniform() < disturbed { 1.5 } else { 1.0 };
            (1e6 * ratio * slow * (random.normal() * spread + at as f64 * drift).exp()) as u64
        };
        let pair = |pair: usize| match pair % 2 {
            0 => (boot(2 * pair, 1.0), boot(2 * pair + 1, ratio)),
            _ => {
                let second = boot(2 * pair, ratio);
                (boot(2 * pair + 1, 1.0), second)
            }
        };
        let times: Vec<_> = (0..pairs).map(pair).collect();
        match Decision::of(&Paired::of(&times).unwrap()) {
            Decision::Same => same += 1,
            Decision::Different => different += 1,
            Decision::Inconclusive => {}
        }
    }
    (same, different)
}

/// Fewer than 1 of 100 comparisons of a kernel with itself are DIFFERENT, even if its boots differ by
/// 10 %. Whatever they differ by, it is fewer than 1 of 20.
#[test]
fn a_kernel_is_hardly_ever_different_from_itself() {
    let conditions = [
        USUAL,
        Conditions { spread: 0.05, ..USUAL },
        Conditions { spread: 0.1, ..USUAL },
        Conditions { spread: 0.1, pairs: 10, ..USUAL },
        Conditions { disturbed: 0.1, ..USUAL },
        Conditions { disturbed: 0.3, ..USUAL },
        Conditions { drift: 0.02, ..USUAL },
    ];
    for conditions in conditions {
        let (_, different) = decided(conditions);
        assert!(different * 100 < COMPARISONS, "{different} of {COMPARISONS}: {conditions:?}");
    }
    let (_, different) = decided(Conditions { spread: 0.5, ..USUAL });
    assert!(different * 20 < COMPARISONS, "{different} of {COMPARISONS}");
}

/// At least half of the comparisons of a kernel with itself are SAME, if boots differ by 2 % and 3 of
/// 100 are disturbed; without that, 8 of 10.
#[test]
fn a_kernel_is_mostly_the_same_as_itself() {
    for (conditions, percent) in [
        (USUAL, 80),
        (Conditions { disturbed: 0.03, ..USUAL }, 50),
        (Conditions { drift: 0.01, ..USUAL }, 80),
        (Conditions { spread: 0.03, pairs: 10, ..USUAL }, 70),
    ] {
        let (same, _) = decided(conditions);
        assert!(same * 100 >= COMPARISONS * percent, "{same} of {COMPARISONS}: {conditions:?}");
    }
}

/// A stage-2 fault takes 250 us under emulation; 100 us more are 1.4 times.
#[test]
fn a_slow_kernel_is_different() {
    for spread in [0.02, 0.05, 0.1] {
        let (same, different) = decided(Conditions { ratio: 1.4, spread, ..USUAL });
        assert!(same == 0 && different * 100 >= COMPARISONS * 95, "{same} {different} with {spread}");
    }
    let (same, _) = decided(Conditions { ratio: 1.1, ..USUAL });
    assert!(same * 100 <= COMPARISONS, "{same}");
}
