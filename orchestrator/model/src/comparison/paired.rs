//! Statistics of pairs of boots: how many times as long the second kernel takes as the first.
//!
//! All arithmetic after the logarithms is that of integers, so a log gives the same numbers on every
//! machine.

/// The fewest pairs: with fewer than 7, sign flips cannot reach a p value that two-sided tests with
/// a margin below 5 % leave room for.
pub const FEWEST_PAIRS: u32 = 7;
/// The most pairs: all sign flips of 16 pairs are 65,536.
pub const MOST_PAIRS: u32 = 16;
/// Logarithms are counted in billionths.
const UNIT: f64 = 1e9;
/// Ratios are counted in millionths.
const MILLION: f64 = 1e6;

/// The ratio of the times of the second and the first kernel, over all pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paired {
    /// The number of pairs.
    pub pairs: u32,
    /// The Hodges-Lehmann estimate, in millionths: the median of the Walsh averages, which are the
    /// means of two of the log ratios (each with itself, too).
    pub ratio: u64,
    /// The exact interval of the signed-rank test, in millionths: the Walsh averages of rank k, from
    /// below and from above. k is the largest for which a signed-rank statistic is below k with a
    /// probability of at most 2.5 % (Hollander, Wolfe, Chicken, "Nonparametric Statistical Methods",
    /// 3.3).
    pub low: u64,
    pub high: u64,
    /// The number of sign flips of the log ratios, of 2 to the power of `pairs`, whose sum is as far
    /// from 0 as that of the log ratios, or farther.
    pub extreme: u32,
}

impl Paired {
    /// Returns the statistics of pairs of times, of which the first is that of the first kernel.
    /// Returns None if there are fewer than [`FEWEST_PAIRS`] or more than [`MOST_PAIRS`], or if a
    /// time is 0.
    pub fn of(times: &[(u64, u64)]) -> Option<Paired> {
        let pairs = u32::try_from(times.len()).ok()?;
        if !(FEWEST_PAIRS..=MOST_PAIRS).contains(&pairs) || times.iter().any(|(a, b)| *a == 0 || *b == 0) {
            return None;
        }
        let ratios: Vec<i64> = times.iter().map(|(a, b)| log_ratio(*a, *b)).collect();
        let sums = walsh_sums(&ratios);
        let rank = rank(pairs);
        let middle = |at: usize| sums.get(at).copied();
        let median = middle((sums.len() - 1) / 2)? + middle(sums.len() / 2)?;
        let low = middle(rank.checked_sub(1)?)?;
        let high = middle(sums.len().checked_sub(rank)?)?;
        Some(Paired {
            pairs,
            // The sum of two averages, each of which is a sum of two.
            ratio: millionths(median as f64 / 4.0),
            low: millionths(low as f64 / 2.0),
            high: millionths(high as f64 / 2.0),
            extreme: extreme(&ratios, pairs),
        })
    }

    /// Returns the exact p value of the sign flips, two-sided.
    pub fn p(&self) -> f64 {
        f64::from(self.extreme) / f64::from(1_u32 << self.pairs)
    }
}

fn log_ratio(first: u64, second: u64) -> i64 {
    ((second as f64 / first as f64).ln() * UNIT).round() as i64
}

fn millionths(log_ratio: f64) -> u64 {
    ((log_ratio / UNIT).exp() * MILLION).round() as u64
}

/// Returns the sums of two of the log ratios, each with itself too, in ascending order.
fn walsh_sums(ratios: &[i64]) -> Vec<i64> {
    let pairs = ratios.iter().enumerate();
    let mut sums: Vec<_> =
        pairs.flat_map(|(at, one)| ratios.iter().skip(at).map(move |other| one + other)).collect();
    sums.sort_unstable();
    sums
}

/// Returns the rank of the interval's ends among the Walsh averages: the number of values from 0 on
/// that a signed-rank statistic has with a probability of at most 1/40 in all.
fn rank(pairs: u32) -> usize {
    let largest = (pairs * (pairs + 1) / 2) as usize;
    // The number of sets of ranks with each sum.
    let mut sets = vec![0_u64; largest + 1];
    sets[0] = 1;
    for rank in 1..=pairs as usize {
        for sum in (rank..=largest).rev() {
            sets[sum] += sets[sum - rank];
        }
    }
    let mut below = 0;
    let mut is_rare = |of: &u64| {
        below += of;
        below * 40 <= 1 << pairs
    };
    sets.iter().take_while(|of| is_rare(of)).count()
}

/// Returns the number of sign flips whose sum is as far from 0 as the sum of all, or farther.
fn extreme(ratios: &[i64], pairs: u32) -> u32 {
    let seen = ratios.iter().sum::<i64>().abs();
    let sum = |flips: u32| -> i64 {
        let signed = ratios.iter().enumerate();
        signed.map(|(at, ratio)| if flips >> at & 1 == 1 { -ratio } else { *ratio }).sum()
    };
    let all = (0..1_u32 << pairs).filter(|flips| sum(*flips).abs() >= seen).count();
    u32::try_from(all).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by a script that enumerates: logarithms and Walsh averages as floating-point numbers; k from
    /// the sums of all 2^n sets of ranks; p from all 2^n products of signs.
    ///
    /// ```python
    /// d = [log(b / a) for a, b in pairs]; n = len(d)
    /// walsh = sorted((x + y) / 2 for x, y in combinations_with_replacement(d, 2)); m = len(walsh)
    /// sums = [sum(i + 1 for i in range(n) if s[i]) for s in product([0, 1], repeat=n)]
    /// k = next(k for k in count() if sum(w <= k for w in sums) / 2**n > 0.025)
    /// exp((walsh[(m - 1) // 2] + walsh[m // 2]) / 2), exp(walsh[k - 1]), exp(walsh[m - k])
    /// sum(abs(sum(s * x for s, x in zip(g, d))) >= abs(sum(d)) - 1e-12 for g in product([1, -1], repeat=n))
    /// ```
    #[test]
    fn golden_values() {
        let slower = [(100, 110), (102, 111), (98, 109), (101, 108), (99, 112), (103, 110), (100, 107)];
        let alike =
            [(1000, 1010), (1010, 1000), (990, 1003), (1005, 999), (1000, 1000), (1002, 1007), (998, 985)];
        // One of the boots was disturbed.
        let disturbed = [(250, 350), (260, 355), (240, 352), (250, 349), (255, 360), (251, 900), (249, 348)];
        let eight =
            [(100, 103), (100, 98), (100, 131), (100, 104), (100, 99), (100, 101), (100, 106), (100, 97)];
        for (times, pairs, ratio, low, high, extreme) in [
            (&slower[..], 7, 1_090_221, 1_068_980, 1_115_547, 2),
            (&alike, 7, 999_984, 990_099, 1_010_000, 120),
            (&disturbed, 7, 1_408_814, 1_381_394, 2_249_912, 2),
            (&eight, 8, 1_019_583, 980_000, 1_161_594, 58),
        ] {
            assert_eq!(Paired::of(times), Some(Paired { pairs, ratio, low, high, extreme }), "{times:?}");
        }
        assert_eq!(Paired::of(&slower).unwrap().p(), 0.015_625);
    }

    /// The critical values of published tables for the signed-rank test at 5 %, two-sided, and 1.
    #[test]
    fn ranks() {
        for (pairs, critical) in
            [(7, 2), (8, 3), (9, 5), (10, 8), (11, 10), (12, 13), (13, 17), (14, 21), (15, 25), (16, 29)]
        {
            assert_eq!(rank(pairs), critical + 1, "{pairs}");
        }
    }

    #[test]
    fn the_kernels_change_places() {
        let times = [(100, 110), (102, 111), (98, 109), (101, 108), (99, 112), (103, 110), (100, 107)];
        let (there, back) = (Paired::of(&times).unwrap(), Paired::of(&times.map(|(a, b)| (b, a))).unwrap());
        assert_eq!(there.extreme, back.extreme);
        for (one, other) in [(there.ratio, back.ratio), (there.low, back.high), (there.high, back.low)] {
            assert!((one as f64 * other as f64 / 1e12 - 1.0).abs() < 1e-5, "{one} {other}");
        }
    }

    #[test]
    fn too_few_too_many_or_without_time() {
        assert_eq!(Paired::of(&[(1, 2); 6]), None);
        assert_eq!(Paired::of(&[(1, 2); 17]), None);
        let mut times = [(1, 2); 16];
        assert!(Paired::of(&times).is_some());
        times[3] = (0, 1);
        assert_eq!(Paired::of(&times), None);
        let extremes = Paired::of(&[(1, u64::MAX); 7]).unwrap();
        assert!(extremes.high > extremes.ratio / 2);
    }
}
