//! Lines of KVM's dump of stage 2.

use s2lab_protocol::ask::DumpedRange;

pub(crate) fn lines(data: &[u8]) {
    for range in String::from_utf8_lossy(data).lines().filter_map(DumpedRange::parse) {
        assert!(range.ipa < range.end && range.flags.len() <= DumpedRange::LONGEST_FLAGS, "{range:?}");
        let words: Vec<_> = range.flags.split(' ').collect();
        assert!(words.iter().all(|word| !word.is_empty()), "{range:?}");
        let line = format!("{:#018x}-{:#018x} 1K {} {}", range.ipa, range.end, range.level, range.flags);
        assert_eq!(DumpedRange::parse(&line), Some(range), "a range round-trips");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_dump_has_ranges() {
        let text = include_str!("../corpus/ptdump/recorded");
        let ranges: Vec<_> = text.lines().filter_map(DumpedRange::parse).collect();
        assert!(ranges.len() > 5 && ranges.iter().any(|range| range.flags.ends_with("AF BLK")), "{ranges:?}");
    }
}
