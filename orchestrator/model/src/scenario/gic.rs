//! The interrupt controller of hosts.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The version of a host's GIC. QEMU's `virt` has both (QEMU 10.0 hw/arm/virt.c, `gic-version`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Gic {
    /// A guest of QEMU's gets the virtual CPU interface as memory.
    V2,
    /// CPU interfaces are system registers.
    #[default]
    V3,
}

impl Gic {
    const ALL: [Gic; 2] = [Gic::V2, Gic::V3];

    /// Returns the number in a scenario and on QEMU's command line.
    pub fn number(self) -> u8 {
        match self {
            Gic::V2 => 2,
            Gic::V3 => 3,
        }
    }

    pub(super) fn is_usual(&self) -> bool {
        *self == Gic::default()
    }
}

impl TryFrom<u8> for Gic {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        let known = Gic::ALL.into_iter().find(|gic| gic.number() == number);
        known.ok_or_else(|| format!("{number} is no version of a GIC: 2 or 3"))
    }
}

impl From<Gic> for u8 {
    fn from(gic: Gic) -> u8 {
        gic.number()
    }
}

/// The versions, for the schema.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    let numbers = Gic::ALL.map(Gic::number);
    json_schema!({"type": "integer", "enum": numbers, "default": Gic::default().number()})
}
