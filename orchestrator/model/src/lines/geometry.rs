//! `stored g0  granule 4K, IPA 40 bits, start level 1`: the format of a guest's tables at a look.

use super::words::size;
use super::{LineError, Word, columns, line};
use crate::scenario::Size;
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// The look's name.
    pub look: Word,
    pub guest: Word,
    pub granule: Size,
    pub ipa_bits: u32,
    pub start_level: i8,
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Geometry { look, guest, .. } = self;
        write!(f, "{look} {guest}  {}", self.values().join(", "))
    }
}

impl Geometry {
    pub(crate) fn values(&self) -> Vec<String> {
        let Geometry { granule, ipa_bits, start_level, .. } = self;
        vec![
            format!("granule {granule}"),
            format!("IPA {ipa_bits} bits"),
            format!("start level {start_level}"),
        ]
    }
}

impl FromStr for Geometry {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "LOOK GUEST  granule SIZE, IPA N bits, start level N", |text| {
            let [place, geometry] = columns(text)?;
            let (look, guest) = place.split_once(' ')?;
            let (granule, rest) = geometry.strip_prefix("granule ")?.split_once(", IPA ")?;
            let (bits, level) = rest.split_once(" bits, start level ")?;
            Some(Geometry {
                look: look.parse().ok()?,
                guest: guest.parse().ok()?,
                granule: size(granule)?,
                ipa_bits: bits.parse().ok()?,
                start_level: level.parse().ok()?,
            })
        })
    }
}
