//! Lines of KVM's own dump of a guest's stage 2, `stage2_page_tables` in debugfs.
//!
//! `0x0000008000000000-0x0000008000200000           2M 2   R W X AF BLK`: the range of IPAs, its size,
//! the level, the flags (Linux 6.12 to 7.2 arch/arm64/mm/ptdump.c, note_page, and arch/arm64/kvm/ptdump.c,
//! stage2_pte_bits). A range without a leaf has no flags.

use crate::ask::DumpedRange;

impl DumpedRange {
    /// Returns the range of a line, if it has leaves.
    pub fn parse(line: &str) -> Option<DumpedRange> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let (ipa, end) = (address(start)?, address(end)?);
        let _size = words.next()?;
        let level = words.next()?.parse().ok()?;
        let flags: Vec<_> = words.collect();
        let range = DumpedRange { ipa, end, level, flags: flags.join(" ") };
        (ipa < end && !flags.is_empty() && range.flags.len() <= Self::LONGEST_FLAGS).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flags(line: &str) -> Option<String> {
        DumpedRange::parse(line).map(|range| range.flags)
    }

    #[test]
    fn a_line_has_range_level_and_flags() {
        let line = "0x0000008000000000-0x0000008001000000          16M 2   R W X AF BLK";
        let due =
            DumpedRange { ipa: 0x80_0000_0000, end: 0x80_0100_0000, level: 2, flags: "R W X AF BLK".into() };
        assert_eq!(DumpedRange::parse(line), Some(due));
        let newer = "0x0000008000000000-0x0000008000001000           4K 3   R W PXNUXN AF    ";
        assert_eq!(flags(newer).unwrap(), "R W PXNUXN AF");
    }

    #[test]
    fn other_lines_have_none() {
        for line in [
            "",
            "---[ Guest IPA ]---",
            "0x0000000000000000-0x0000000008000000         128M 2",
            "0x10-0x10 0K 3 R",
            "0x10-0x20 0K three R",
            "10-20 0K 3 R",
            &format!("0x10-0x20 0K 3 {}", "R ".repeat(100)),
        ] {
            assert_eq!(DumpedRange::parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".{0,200}") {
            let _ = DumpedRange::parse(&line);
        }
    }
}
