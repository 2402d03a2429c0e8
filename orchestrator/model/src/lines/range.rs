//! `  nic +0x0..0x200000  1 x 2M level 2  at IPA 0x8000000000..0x8000200000  bits 0x400000000007d4
//! ...`: neighbouring stage-2 leaves that are alike.

use super::words::{hex, hex_range, size};
use super::{Area, Attributes, COLUMN, LineError, line};
use crate::scenario::Size;
use s2lab_mmu::Stage2Leaf;
use std::{fmt, str::FromStr};

/// The bits of a stage-2 leaf that are promised of a device (DDI 0487, D8, "Block descriptor and
/// Page descriptor formats"): MemAttr, S2AP, SH, AF and XN.
const PROMISED: u64 = 0b1111 << 2 | 0b11 << 6 | 0b11 << 8 | 1 << 10 | 0b11 << 53;

/// Neighbouring leaves that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub area: Area,
    /// The place in the region; none where the region has no first byte of its own.
    pub place: Option<Place>,
    /// The IPAs, without the last.
    pub ipa: (u64, u64),
    pub leaves: Leaves,
}

/// A place in a device: `+0x0..0x200000`, or `BAR 0 +0x0..0x1000` if it is not the scenario's BAR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub bar: Option<u8>,
    pub bytes: (u64, u64),
}

/// A number of leaves of one level with the same attribute bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaves {
    pub count: u64,
    /// The size of each leaf.
    pub size: Size,
    pub level: i8,
    /// The attribute bits of the descriptor.
    pub bits: u64,
    pub attributes: Attributes,
    pub contiguous: bool,
    pub dbm: bool,
    /// Bits 58:55.
    pub software: u8,
}

impl Leaves {
    pub(crate) fn of(leaf: &Stage2Leaf, count: u64) -> Leaves {
        Leaves {
            count,
            size: Size(leaf.size),
            level: leaf.level,
            bits: leaf.attributes(),
            attributes: Attributes::of(leaf),
            contiguous: leaf.contiguous,
            dbm: leaf.dbm,
            software: leaf.software,
        }
    }

    /// The attribute bits that are not promised of a device.
    pub(crate) fn other_bits(&self) -> u64 {
        self.bits & !PROMISED
    }

    /// `1 x 2M level 2`
    fn count(&self) -> String {
        format!("{} x {} level {}", self.count, self.size, self.level)
    }

    /// All but the count: `bits 0x400000000007d4  stage2 Normal-NC  ...`
    fn attributes(&self) -> String {
        format!("bits {:#x}{COLUMN}{}{}", self.bits, self.attributes, self.extras())
    }

    /// The words for what is seldom set, each after a column.
    fn extras(&self) -> String {
        let mut text = String::new();
        let software = format!("software {:#x}", self.software);
        for (is_set, word) in
            [(self.contiguous, "contiguous"), (self.dbm, "DBM"), (self.software != 0, software.as_str())]
        {
            if is_set {
                text.push_str(COLUMN);
                text.push_str(word);
            }
        }
        text
    }

    pub(super) fn read(count: &str, rest: &[&str]) -> Option<Leaves> {
        let (n, rest_of_count) = count.split_once(" x ")?;
        let (of, level) = rest_of_count.split_once(" level ")?;
        let (bits, words) = rest.split_first()?;
        let (attributes, extras) = words.split_at_checked(super::attributes::COLUMNS)?;
        let software = extras.iter().find_map(|word| word.strip_prefix("software "));
        Some(Leaves {
            count: n.parse().ok()?,
            size: size(of)?,
            level: level.parse().ok()?,
            bits: hex(bits.strip_prefix("bits ")?)?,
            attributes: Attributes::read(&attributes.join(COLUMN))?,
            contiguous: extras.contains(&"contiguous"),
            dbm: extras.contains(&"DBM"),
            software: software.map_or(Some(0), |bits| hex(bits)?.try_into().ok())?,
        })
    }
}

impl fmt::Display for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{COLUMN}{}", self.count(), self.attributes())
    }
}

impl FromStr for Leaves {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "N x SIZE level N  bits BITS  ATTRIBUTES", |text| {
            let columns: Vec<_> = text.split(COLUMN).collect();
            let (count, rest) = columns.split_first()?;
            Leaves::read(count, rest)
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bar) = self.bar {
            write!(f, "BAR {bar} ")?;
        }
        write!(f, "+{:#x}..{:#x}", self.bytes.0, self.bytes.1)
    }
}

impl Place {
    /// The region and the place in it of `nic BAR 0 +0x0..0x1000`.
    fn read(text: &str) -> Option<(Area, Option<Place>)> {
        let Some((before, bytes)) = text.rsplit_once(" +") else { return Some((Area::read(text)?, None)) };
        let (area, bar) = match before.split_once(" BAR ") {
            Some((area, bar)) => (area, Some(bar.parse().ok()?)),
            None => (before, None),
        };
        Some((Area::read(area)?, Some(Place { bar, bytes: hex_range(bytes)? })))
    }
}

impl Range {
    /// The range without the attributes that stand in the promised part.
    pub fn shape(&self) -> String {
        let other = self.leaves.other_bits();
        format!("{}  other bits {other:#x}{}", self.layout(), self.leaves.extras())
    }

    /// All but the attributes.
    fn layout(&self) -> String {
        let Range { area, place, ipa: (from, to), leaves } = self;
        let place = place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
        format!("{area}{place}  {}  at IPA {from:#x}..{to:#x}", leaves.count())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.layout(), self.leaves.attributes())
    }
}

impl FromStr for Range {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "NAME +FROM..TO  N x SIZE level N  at IPA FROM..TO  bits BITS  ATTRIBUTES", |text| {
            let columns: Vec<_> = text.split(COLUMN).collect();
            let [place, count, ipa, rest @ ..] = columns.as_slice() else { return None };
            let (area, place) = Place::read(place)?;
            let ipa = hex_range(ipa.strip_prefix("at IPA ")?)?;
            Some(Range { area, place, ipa, leaves: Leaves::read(count, rest)? })
        })
    }
}
