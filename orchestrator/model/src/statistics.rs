//! Statistics of samples: their number, the median, the extremes.

/// A summary of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub n: usize,
    /// The median. Of an even number of samples it is the mean of the two in the middle, rounded
    /// down.
    pub median: u64,
    pub min: u64,
    pub max: u64,
}

/// Returns the summary, or None without samples.
pub fn summary(samples: &[u64]) -> Option<Summary> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let (n, min, max) = (sorted.len(), *sorted.first()?, *sorted.last()?);
    let median = sorted.get((n - 1) / 2)?.midpoint(*sorted.get(n / 2)?);
    Some(Summary { n, median, min, max })
}

/// The confidence of [`median_interval`].
pub const CONFIDENCE: f64 = 0.95;

/// Returns an interval that covers the median of what the samples are drawn from with at least
/// [`CONFIDENCE`], by order statistics and whatever the distribution (Conover, "Practical
/// Nonparametric Statistics", 3.2). None: the samples are too few, fewer than 6.
pub fn median_interval(samples: &[u64]) -> Option<(u64, u64)> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let n = sorted.len();
    // The probabilities of 0, 1, ... samples below the median: binomial, with 1/2.
    let (mut ln_probability, mut below, mut rank) = (-(n as f64) * std::f64::consts::LN_2, 0.0, 0);
    loop {
        below += ln_probability.exp();
        if below > (1.0 - CONFIDENCE) / 2.0 || rank >= n / 2 {
            break;
        }
        ln_probability += ((n - rank) as f64 / (rank + 1) as f64).ln();
        rank += 1;
    }
    let first = rank.checked_sub(1)?;
    Some((*sorted.get(first)?, *sorted.get(n - 1 - first)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_extremes() {
        assert_eq!(summary(&[]), None);
        assert_eq!(summary(&[7]), Some(Summary { n: 1, median: 7, min: 7, max: 7 }));
        assert_eq!(summary(&[9, 1, 5]), Some(Summary { n: 3, median: 5, min: 1, max: 9 }));
        assert_eq!(summary(&[9, 1, 5, 6]), Some(Summary { n: 4, median: 5, min: 1, max: 9 }));
        assert_eq!(summary(&[342, 765]), Some(Summary { n: 2, median: 553, min: 342, max: 765 }));
        assert_eq!(summary(&[u64::MAX, u64::MAX]).map(|summary| summary.median), Some(u64::MAX));
    }

    /// The ranks of published tables for the sign test at 95 %.
    #[test]
    fn an_interval_of_the_median() {
        let ranks = |n: u64| median_interval(&(1..=n).rev().collect::<Vec<_>>());
        for n in 0..6 {
            assert_eq!(ranks(n), None, "{n}");
        }
        for (n, interval) in
            [(6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))]
        {
            assert_eq!(ranks(n), Some(interval), "{n}");
        }
        let (from, to) = ranks(10_000).unwrap();
        assert!((4_890..4_910).contains(&from) && from + to == 10_001, "{from} {to}");
    }
}
