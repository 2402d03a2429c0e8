//! The progress of a comparison: how many of its boots are done, and how long the rest takes.

use std::time::Duration;

/// Returns the line after a boot. `elapsed` is the time since the first boot began.
pub fn line(done: u32, all: u32, elapsed: Duration) -> String {
    let left = all.saturating_sub(done);
    match (left, elapsed.checked_div(done)) {
        (0, _) | (_, None) => format!("boot {done} of {all} is done"),
        (_, Some(one)) => format!("boot {done} of {all} is done, about {} left", about(one * left)),
    }
}

/// Returns a duration in words, in seconds below two minutes.
pub fn about(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{} s", seconds.max(1)),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_is_done() {
        let after = |done, seconds| line(done, 14, Duration::from_secs(seconds));
        assert_eq!(after(2, 40), "boot 2 of 14 is done, about 4 min left");
        assert_eq!(after(13, 260), "boot 13 of 14 is done, about 20 s left");
        assert_eq!(after(14, 260), "boot 14 of 14 is done");
        assert_eq!(after(0, 0), "boot 0 of 14 is done");
        assert_eq!(
            [0, 119, 120, 121].map(|s| about(Duration::from_secs(s))),
            ["1 s", "119 s", "2 min", "3 min"]
        );
    }
}
