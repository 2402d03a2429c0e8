//! Times, durations and rows of bars, as `history`, `trend` and `compare` print them.

use jiff::{Timestamp, tz::TimeZone};
use s2lab_model::{escape, statistics::summary};

/// Returns the time of a run in UTC to the minute: `2026-11-22 15:00`.
pub fn minute(started: &str) -> String {
    match started.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => escape::line(started),
    }
}

/// Returns seconds with one decimal: `16.4 s`.
pub fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// Returns nanoseconds in the unit in which they have one to three digits before the point.
pub fn duration(nanos: u64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    match units.into_iter().find(|(unit, _)| nanos >= *unit) {
        Some((unit, name)) => format!("{:.2} {name}", nanos as f64 / unit as f64),
        None => format!("{nanos} ns"),
    }
}

/// Returns a bar for each value between the smallest and the largest, and a space for none.
pub fn bars(values: &[Option<u64>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let known: Vec<u64> = values.iter().flatten().copied().collect();
    let Some(all) = summary(&known) else { return " ".repeat(values.len()) };
    let range = u128::from(all.max - all.min);
    let bar = |value: u64| {
        let above = u128::from(value.saturating_sub(all.min)) * 7;
        // Equal values are at the bottom.
        let place = above.checked_div(range).unwrap_or(0);
        usize::try_from(place).ok().and_then(|place| BARS.get(place)).copied().unwrap_or(' ')
    };
    values.iter().map(|value| value.map_or(' ', bar)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        assert_eq!(minute("2026-11-22T15:00:59.9Z"), "2026-11-22 15:00");
        assert_eq!(minute("at\nnoon"), "at\\nnoon");
        assert_eq!([0, 16_449, 100_000].map(seconds), ["0.0 s", "16.4 s", "100.0 s"]);
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        let all = [7, 999, 1000, 594_321, 16_661_008, 2_500_000_000].map(duration);
        assert_eq!(all, ["7 ns", "999 ns", "1.00 us", "594.32 us", "16.66 ms", "2.50 s"]);
    }

    #[test]
    fn bars_go_from_the_smallest_to_the_largest() {
        assert_eq!(bars(&[Some(1), None, Some(8), Some(4)]), "▁ █▄");
        assert_eq!(bars(&[Some(5), Some(5)]), "▁▁");
        assert_eq!(bars(&[None, None]), "  ");
        assert_eq!(bars(&[Some(0), Some(u64::MAX)]), "▁█");
    }

    proptest! {
        #[test]
        fn one_bar_a_value_in_the_same_order(values in proptest::collection::vec(proptest::option::of(any::<u64>()), 0..40)) {
            let shown: Vec<char> = bars(&values).chars().collect();
            prop_assert_eq!(shown.len(), values.len());
            for (one, a) in values.iter().zip(&shown) {
                prop_assert_eq!(one.is_none(), *a == ' ');
                for (other, b) in values.iter().zip(&shown) {
                    prop_assert!(!(one.is_some() && other.is_some() && one < other && a > b));
                }
            }
        }
    }
}
