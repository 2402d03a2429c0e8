//! `  nic  mapped wc  effective Normal-NC  all touched pages alike`: what a guest's mapping of a
//! BAR has from both stages together.

use super::{Area, LineError, columns, effective_name, line};
use s2lab_mmu::MemoryType;
use s2lab_protocol::MapKind;
use std::{collections::BTreeSet, fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub device: Area,
    pub map: MapKind,
    /// The types of the touched pages, by name; None: left open by the architecture.
    pub effective: Vec<Option<MemoryType>>,
}

const AND: &str = " and ";
const ALIKE: &str = "all touched pages alike";
const DIFFER: &str = "touched pages DIFFER";
const UNTOUCHED: &str = "no page touched";

impl Mapping {
    pub(crate) fn new(
        device: &str,
        map: MapKind,
        effective: impl Iterator<Item = Option<MemoryType>>,
    ) -> Self {
        let types: BTreeSet<_> = effective.map(|of| (effective_name(of), of)).collect();
        let effective = types.into_iter().map(|(_, of)| of).collect();
        Mapping { device: Area::device(device), map, effective }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mapping { device, map, effective } = self;
        let alike = match effective.len() {
            0 => return write!(f, "{device}  mapped {map}  {UNTOUCHED}"),
            1 => ALIKE,
            _ => DIFFER,
        };
        let names: Vec<_> = effective.iter().map(|of| effective_name(*of)).collect();
        write!(f, "{device}  mapped {map}  effective {}  {alike}", names.join(AND))
    }
}

impl FromStr for Mapping {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "NAME  mapped MAP  effective TYPE  all touched pages alike", |text| {
            let (device, map, effective) = match columns::<3>(text) {
                Some([device, map, _]) => (device, map, vec![]),
                None => {
                    let [device, map, effective, _] = columns(text)?;
                    let names = effective.strip_prefix("effective ")?.split(AND);
                    (device, map, names.map(read_effective).collect::<Option<Vec<_>>>()?)
                }
            };
            let map = map.strip_prefix("mapped ")?.parse().ok()?;
            Some(Mapping { device: Area::read(device)?, map, effective })
        })
    }
}

fn read_effective(text: &str) -> Option<Option<MemoryType>> {
    if text == effective_name(None) { Some(None) } else { text.parse().ok().map(Some) }
}
