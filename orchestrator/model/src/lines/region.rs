//! `  nic  stage2 Normal-NC  rw  never-exec  SH inner  AF`: what stage 2 gives a region at a look,
//! as far as it must not vary.

use super::attributes::{STAGE2, read_sh, read_stage2, show_sh};
use super::{Area, Attributes, COLUMN, LineError, Text, columns, line};
use s2lab_mmu::Shareability;
use std::{fmt, str::FromStr};

/// One of the attribute sets of a region's leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Region {
    NothingMapped(Area),
    /// A device, or what is neither RAM nor a BAR.
    Mapped {
        area: Area,
        attributes: Attributes,
    },
    /// KVM ages and maps RAM as the guest runs: permissions and access flags vary.
    Ram {
        stage2: Text,
        sh: Option<Shareability>,
    },
}

impl Region {
    pub(crate) fn area(&self) -> Area {
        match self {
            Region::NothingMapped(area) | Region::Mapped { area, .. } => area.clone(),
            Region::Ram { .. } => Area::Ram,
        }
    }

    /// Returns the columns behind the area, the type first and without its `stage2`.
    pub(crate) fn in_words(&self) -> Vec<String> {
        let text = match self {
            Region::NothingMapped(_) => NOTHING.to_owned(),
            Region::Mapped { attributes, .. } => attributes.to_string(),
            Region::Ram { stage2, sh } => format!("{STAGE2}{stage2}{COLUMN}{}", show_sh(*sh)),
        };
        let columns = text.split(COLUMN);
        columns.map(|column| column.strip_prefix(STAGE2).unwrap_or(column).to_owned()).collect()
    }
}

const FORM: &str = "NAME  stage2 TYPE  rw  EXEC  SH NAME  AF";
const NOTHING: &str = "nothing mapped";

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Region::NothingMapped(area) => write!(f, "{area}  {NOTHING}"),
            Region::Mapped { area, attributes } => write!(f, "{area}  {attributes}"),
            Region::Ram { stage2, sh } => write!(f, "{}  stage2 {stage2}  {}", Area::Ram, show_sh(*sh)),
        }
    }
}

impl FromStr for Region {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, FORM, |text| {
            let (area, rest) = text.split_once(COLUMN)?;
            let area = Area::read(area)?;
            if rest == NOTHING {
                return Some(Region::NothingMapped(area));
            }
            match area {
                Area::Ram => {
                    let [stage2, sh] = columns(rest)?;
                    Some(Region::Ram { stage2: read_stage2(stage2)?, sh: read_sh(sh)? })
                }
                area => Some(Region::Mapped { area, attributes: Attributes::read(rest)? }),
            }
        })
    }
}
